/** Writes records by kafkajs, alone or in transactions with a group's offsets. */
import { Buffer } from "node:buffer"
import { Effect, Exit, type Scope, Semaphore } from "effect"
import kafkajs, { type Transaction, type Message as VendorMessage, type Producer as VendorProducer } from "kafkajs"
import {
  type Committed,
  KafkaError,
  type KafkaMessage,
  type Place,
  type Producer,
  type ProducerOptions,
  type Transactions,
  type TransactionsOptions
} from "../services/Kafka.ts"
import type { Connection } from "../services/KafkaConnection.ts"
import * as Cluster from "./KafkaJsCluster.ts"
import * as Errors from "./KafkaJsErrors.ts"

const { CompressionTypes, Partitioners } = kafkajs

const compressions = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD
} as const

/** Tries again are ours: they are counted and told. The vendor insists on one where it is idempotent. */
const retry = { initialRetryTime: 100, retries: 1, maxRetryTime: 1_000 }

/** Only the producer that sent a batch can send it again so that the cluster knows it: a short trouble makes nothing twice. */
const idempotentRetry = { ...retry, retries: 3 }

interface Session {
  readonly producer: VendorProducer
  readonly close: () => void
}

/** Units: sends at the same time. */
const sendsMax = 2

/**
 * Each send has a producer to itself. An idempotent one of the vendor must not be shared: when a send gets no answer it
 * takes back its sequence numbers and lets the next one go out with them, which the broker then takes for a copy of the
 * first, confirms, and does not store.
 */
export const make = (options: ProducerOptions): Effect.Effect<Producer, never, Scope.Scope> =>
  Effect.gen(function* () {
    const free: Array<Reusable> = []
    for (let i = 0; i < sendsMax; i++) {
      const { idempotent } = options
      free.push(
        yield* session(options.connection, (kafka) =>
          kafka.producer({
            createPartitioner,
            allowAutoTopicCreation: true,
            idempotent,
            retry: idempotent ? idempotentRetry : retry
          })
        )
      )
    }
    const turns = Semaphore.makeUnsafe(sendsMax)
    const use = <A, E>(f: (session: Reusable) => Effect.Effect<A, E>): Effect.Effect<A, E> =>
      Effect.acquireUseRelease(
        Effect.sync(() => free.pop()!),
        f,
        (session) => Effect.sync(() => free.push(session))
      ).pipe(Semaphore.withPermits(turns, 1))
    return {
      send: (messages) => use((session) => send(options, session, messages))
    }
  })

const send = (options: ProducerOptions, { producer, reset }: Reusable, messages: ReadonlyArray<KafkaMessage>) =>
  Errors.tried(async () => {
    const { producer: vendor } = await producer()
    const sent = messages.map(sentOf)
    const acks = options.acks === "all" ? -1 : options.acks
    const confirmed: Confirmed = await vendor.sendBatch({ ...batchOf(options, messages, sent), acks })
    return acks === 0 ? sent.map(unconfirmed(messages)) : placesOf(messages, sent, confirmed)
  }).pipe(
    // What it wrote, a producer that failed does not know: the next send makes a new one. So does one nobody waits for.
    Effect.onExit((exit) => (Exit.isSuccess(exit) ? Effect.void : reset))
  )

export const makeTransactions = (options: TransactionsOptions): Effect.Effect<Transactions, never, Scope.Scope> =>
  Effect.map(
    session(options.connection, (kafka) =>
      kafka.producer({
        createPartitioner,
        allowAutoTopicCreation: true,
        idempotent: true,
        maxInFlightRequests: 1,
        transactionalId: options.transactionalId,
        transactionTimeout: options.timeoutMillis,
        retry
      })
    ),
    ({ producer, reset }): Transactions => {
      // A producer of the vendor takes the id from whoever has it at its first transaction, whenever that is: only `fence`
      // may do that, since what is known of positions was read before.
      let held = false
      const giveUp = Effect.andThen(
        Effect.sync(() => {
          held = false
        }),
        reset
      )
      const fence = Errors.tried(async () => {
        const { producer: vendor } = await producer()
        const transaction = await vendor.transaction()
        await transaction.abort()
        held = true
      })
      return {
        fence: Effect.andThen(
          giveUp,
          Effect.tapError(fence, () => giveUp)
        ),
        commit: (messages, offsets) =>
          Errors.tried(async () => {
            if (!held) {
              const reason = `the transactional id ${options.transactionalId} is not held any more`
              throw new KafkaError({ trouble: "fenced", reason })
            }
            const { producer: vendor } = await producer()
            await transact(await vendor.transaction(), options, messages, offsets)
          }).pipe(Effect.onExit((exit) => (Exit.isSuccess(exit) ? Effect.void : giveUp)))
      }
    }
  )

const transact = async (
  transaction: Transaction,
  options: TransactionsOptions,
  messages: ReadonlyArray<KafkaMessage>,
  offsets: ReadonlyArray<Committed>
): Promise<void> => {
  try {
    if (messages.length > 0) {
      const sent = messages.map(sentOf)
      placesOf(messages, sent, await transaction.sendBatch({ ...batchOf(options, messages, sent), acks: -1 }))
    }
    const topics = topicsOf(offsets)
    await concurrentAgain(() => transaction.sendOffsets({ consumerGroupId: options.group, topics }))
    await ended(() => transaction.commit())
  } catch (thrown) {
    if (transaction.isActive()) await transaction.abort().catch(() => {})
    throw thrown
  }
}

/** Whether it was carried out, an end that failed does not tell, unless somebody else had the id by then. */
const ended = async (end: () => Promise<void>): Promise<void> => {
  try {
    await end()
  } catch (thrown) {
    const { reason, trouble } = Errors.kafkaError(thrown)
    throw new KafkaError({ trouble: trouble === "fenced" ? trouble : "away", reason, cause: thrown })
  }
}

interface Reusable {
  readonly producer: () => Promise<Session>
  readonly reset: Effect.Effect<void>
}

/** Connected at its first use, and again after `reset`. */
const session = (connection: Connection, of: (kafka: kafkajs.Kafka) => VendorProducer) =>
  Effect.acquireRelease(
    Effect.sync((): Reusable => {
      let opened: Promise<Session> | undefined
      const connect = async (): Promise<Session> => {
        const { close, kafka } = Cluster.client(connection)
        const producer = of(kafka)
        try {
          await producer.connect()
        } catch (thrown) {
          opened = undefined
          close()
          throw thrown
        }
        return { producer, close }
      }
      return {
        producer: (): Promise<Session> => (opened ??= connect()),
        reset: Effect.sync(() => {
          const last = opened
          opened = undefined
          last?.then(({ close }) => close()).catch(() => {})
        })
      }
    }),
    ({ reset }) => reset
  )

/** A transaction that follows at once on another is asked to wait. Units: milliseconds. */
const concurrentMillis = 50
const concurrentMax = 40

const concurrentAgain = async <A>(call: () => Promise<A>): Promise<A> => {
  for (let i = 0; ; i++) {
    try {
      return await call()
    } catch (thrown) {
      if (Errors.vendorError(thrown).type !== "CONCURRENT_TRANSACTIONS" || i >= concurrentMax) throw thrown
      await new Promise((resume) => setTimeout(resume, concurrentMillis))
    }
  }
}

// ---------------------------------------------------------------------------------------------------- records

/** Has its partition from the first try on: the vendor would choose another for a second try of part of a batch. */
interface Sent extends VendorMessage {
  partition?: number
}

/** Murmur2 by key, as Kafka's own clients do. */
const createPartitioner: typeof Partitioners.DefaultPartitioner = () => {
  const choose = Partitioners.DefaultPartitioner()
  return (args) => {
    const sent = args.message as Sent
    sent.partition ??= choose(args)
    return sent.partition
  }
}

const sentOf = ({ headers, key, partition, timestamp, value }: KafkaMessage): Sent => ({
  key: key === null || typeof key === "string" ? key : buffer(key),
  value: value === null ? null : buffer(value),
  headers: headers as NonNullable<VendorMessage["headers"]>,
  ...(partition === undefined ? undefined : { partition }),
  ...(timestamp === undefined ? undefined : { timestamp: `${timestamp}` })
})

const buffer = (bytes: Uint8Array): Buffer =>
  Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)

const batchOf = (
  { compression, timeoutMillis }: Pick<ProducerOptions, "compression" | "timeoutMillis">,
  messages: ReadonlyArray<KafkaMessage>,
  sent: ReadonlyArray<Sent>
) => {
  const topics = new Map<string, Array<Sent>>()
  for (const [i, { topic }] of messages.entries()) {
    const known = topics.get(topic)
    if (known === undefined) topics.set(topic, [sent[i]!])
    else known.push(sent[i]!)
  }
  const topicMessages = [...topics].map(([topic, messages]) => ({ topic, messages }))
  return { topicMessages, timeout: timeoutMillis, compression: compressions[compression] }
}

/** Without acks nobody says where a record lies. */
const unconfirmed =
  (messages: ReadonlyArray<KafkaMessage>) =>
  ({ partition }: Sent, i: number) => ({ topic: messages[i]!.topic, partition: partition!, offset: -1 })

type Confirmed = ReadonlyArray<{ topicName: string; partition: number; baseOffset?: string; offset?: string }>

/** Records of a batch lie in their partition one after the other from its base offset on. */
const placesOf = (
  messages: ReadonlyArray<KafkaMessage>,
  sent: ReadonlyArray<Sent>,
  confirmed: Confirmed
): ReadonlyArray<Place & { readonly offset: number }> => {
  const next = new Map(
    confirmed.map((one) => [`${one.topicName}/${one.partition}`, Number(one.baseOffset ?? one.offset ?? -1)])
  )
  return messages.map(({ topic }, i) => {
    const partition = sent[i]!.partition!
    const name = `${topic}/${partition}`
    const offset = next.get(name)
    if (offset === undefined) {
      // The vendor asks a broker once: what has moved to one that has answered, it leaves out, and calls it done.
      throw new KafkaError({ trouble: "away", reason: `${name} has changed its leader and was not confirmed` })
    }
    if (offset >= 0) next.set(name, offset + 1)
    return { topic, partition, offset }
  })
}

const topicsOf = (offsets: ReadonlyArray<Committed>) =>
  Cluster.byTopic(offsets, ({ metadata, offset, partition }) => ({ partition, offset: `${offset}`, metadata })).map(
    ({ partitions, topic }) => ({ topic, partitions: [...partitions] })
  )
