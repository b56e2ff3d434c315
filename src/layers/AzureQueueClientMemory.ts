/** Azure Storage queues in memory, under Effect's clock and with faults on demand: for tests, and the reference of what a client does. */
import { Clock, Context, Effect, Layer, Redacted } from "effect"
import { type AzureQueue, AzureQueueClient, AzureQueueError, type SendOptions } from "../services/AzureQueue.ts"
import type { Connection } from "../services/AzureQueueConnection.ts"
import * as AzureQueueText from "../streams/AzureQueueText.ts"
import * as Faults from "./AzureQueueClientMemoryFaults.ts"

/** A message as it lies in its queue. */
export interface Lying {
  readonly id: string
  readonly text: string
  /** How often it has been received. */
  readonly dequeueCount: number
  /** Units: milliseconds since 1970; `expiresAt` is infinite where it never does. */
  readonly insertedAt: number
  readonly visibleAt: number
  readonly expiresAt: number
  /** The one that counts. */
  readonly receipt: string
}

/**
 * What a test does to the queues, and what it sees of them.
 *
 * A queue is named `account/queue`, or by its name alone in the account of `connection`.
 */
export interface Controls extends Faults.Controls {
  /** Makes a queue, as somebody else would; one that is there stays as it is. */
  readonly createQueue: (queue: string) => Effect.Effect<void>
  /** With all its messages. */
  readonly deleteQueue: (queue: string) => Effect.Effect<void>
  /** Sends, as somebody else would, and makes the queue if there is none; returns the message's id. */
  readonly put: (queue: string, text: string, options?: SendOptions) => Effect.Effect<string>
  /** All that lies in it now in the order it came, seen or not; undefined where there is no such queue. */
  readonly look: (queue: string) => Effect.Effect<ReadonlyArray<Lying> | undefined>
}

export interface AzureQueuesMemory extends Controls {
  readonly client: AzureQueueClient["Service"]
}

/** The controls, for tests that get the client by its layer. */
export class Queues extends Context.Service<Queues, AzureQueuesMemory>()(
  "sluice/layers/AzureQueueClientMemory/Queues"
) {}

/** One that tests may use; whatever account a connection names is there. */
export const connection: Connection = {
  account: "memory",
  endpoint: "https://memory.queue.core.windows.net",
  credential: { _tag: "Key", key: Redacted.make("bWVtb3J5") },
  requestMillis: 30_000
}

export const make: Effect.Effect<AzureQueuesMemory> = Effect.sync(() => {
  const store = makeStore()
  const faults = Faults.make(nameOf)
  return {
    client: {
      queue: ({ account }, name) => Effect.sync(() => queueOf(`${account}/${name}`, store, faults.call))
    },
    ...faults.controls,
    createQueue: (queue) => Effect.sync(() => store.create(nameOf(queue))),
    deleteQueue: (queue) =>
      Effect.sync(() => {
        store.queues.delete(nameOf(queue))
      }),
    put: (queue, text, options) =>
      Effect.flatMap(Clock.currentTimeMillis, (now) => {
        store.create(nameOf(queue))
        return Effect.orDie(store.send(nameOf(queue), text, options, now))
      }),
    look: (queue) =>
      Effect.map(Clock.currentTimeMillis, (now) =>
        store.alive(nameOf(queue), now)?.map(({ order: _, ...lying }): Lying => lying)
      )
  }
})

export const layer: Layer.Layer<AzureQueueClient | Queues> = Layer.effectContext(
  Effect.map(make, (queues) => Context.make(Queues, queues).pipe(Context.add(AzureQueueClient, queues.client)))
)

const nameOf = (queue: string): string => (queue.includes("/") ? queue : `${connection.account}/${queue}`)

// ---------------------------------------------------------------------------------------------------- requests

const queueOf = (name: string, store: Store, call: Faults.Faults["call"]): AzureQueue => {
  const asked = <A>(asking: Faults.Call, body: (now: number) => Effect.Effect<A, AzureQueueError>) =>
    call(asking, name, Effect.flatMap(Clock.currentTimeMillis, body))
  return {
    name,
    receive: (count, visibilitySeconds) =>
      asked("receive", (now) => {
        if (!within(count, 1, 32)) return outOfRange("numofmessages", count)
        if (!within(visibilitySeconds, 1, AzureQueueText.visibilitySecondsMax)) {
          return outOfRange("visibilitytimeout", visibilitySeconds)
        }
        return Effect.map(store.messages(name, now), (messages) =>
          messages
            .filter(({ visibleAt }) => visibleAt <= now)
            .sort((a, b) => a.visibleAt - b.visibleAt || a.order - b.order)
            .slice(0, count)
            .map((message) => {
              message.dequeueCount++
              store.lend(message, now, visibilitySeconds)
              const { dequeueCount, id, insertedAt, receipt, text } = message
              return { id, receipt, text, dequeueCount, insertedAt }
            })
        )
      }),
    renew: (loan, visibilitySeconds) =>
      asked("renew", (now) => {
        if (!within(visibilitySeconds, 0, AzureQueueText.visibilitySecondsMax)) {
          return outOfRange("visibilitytimeout", visibilitySeconds)
        }
        return Effect.map(store.lent(name, loan, now), (message) => store.lend(message, now, visibilitySeconds))
      }),
    remove: (loan) =>
      asked("remove", (now) => Effect.map(store.lent(name, loan, now), (message) => store.remove(name, message))),
    send: (text, options) => asked("send", (now) => Effect.asVoid(store.send(name, text, options, now))),
    create: asked("create", () => Effect.sync(() => store.create(name)))
  }
}

const within = (value: number, minimum: number, maximum: number): boolean =>
  Number.isInteger(value) && value >= minimum && value <= maximum

const failed = (
  trouble: AzureQueueError["trouble"],
  reason: string,
  code: string
): Effect.Effect<never, AzureQueueError> => Effect.fail(new AzureQueueError({ trouble, reason: `${reason} (${code})` }))

const outOfRange = (parameter: string, value: number) =>
  failed("refused", `${parameter}=${value} is outside the permissible range`, "OutOfRangeQueryParameterValue")

// ---------------------------------------------------------------------------------------------------- the queues

type Message = { -readonly [Field in keyof Lying]: Lying[Field] } & { readonly order: number }

type Store = ReturnType<typeof makeStore>

const makeStore = () => {
  const queues = new Map<string, Array<Message>>()
  let ids = 0
  let receipts = 0

  const create = (name: string): void => {
    if (!queues.has(name)) queues.set(name, [])
  }

  /** Forgets what has expired. */
  const alive = (name: string, now: number): ReadonlyArray<Message> | undefined => {
    const kept = queues.get(name)?.filter(({ expiresAt }) => expiresAt > now)
    if (kept !== undefined) queues.set(name, kept)
    return kept
  }

  const messages = (name: string, now: number): Effect.Effect<ReadonlyArray<Message>, AzureQueueError> => {
    const found = alive(name, now)
    return found === undefined
      ? failed("missing", "The specified queue does not exist", "QueueNotFound")
      : Effect.succeed(found)
  }

  /** The receipt counts until there is a newer one, also when others can see the message again. */
  const lent = (
    name: string,
    loan: { readonly id: string; readonly receipt: string },
    now: number
  ): Effect.Effect<Message, AzureQueueError> =>
    Effect.flatMap(messages(name, now), (found) => {
      const message = found.find(({ id }) => id === loan.id)
      if (message === undefined) return failed("lost", "The specified message does not exist", "MessageNotFound")
      return message.receipt === loan.receipt
        ? Effect.succeed(message)
        : failed("lost", "The specified pop receipt did not match", "PopReceiptMismatch")
    })

  const lend = (message: Message, now: number, visibilitySeconds: number): string => {
    message.receipt = `receipt-${++receipts}`
    message.visibleAt = now + visibilitySeconds * 1000
    return message.receipt
  }

  const remove = (name: string, message: Message): void => {
    queues.set(
      name,
      queues.get(name)!.filter((one) => one !== message)
    )
  }

  const send = (
    name: string,
    text: string,
    { delaySeconds = 0, ttlSeconds = AzureQueueText.ttlSecondsDefault }: SendOptions = {},
    now: number
  ): Effect.Effect<string, AzureQueueError> => {
    const unfitness = AzureQueueText.unfitness(text)
    if (unfitness !== undefined) return Effect.fail(new AzureQueueError({ trouble: "unfit", reason: unfitness }))
    if (!within(delaySeconds, 0, AzureQueueText.visibilitySecondsMax)) {
      return outOfRange("visibilitytimeout", delaySeconds)
    }
    const seconds = ttlSeconds === "never" ? Number.POSITIVE_INFINITY : ttlSeconds
    if (!(seconds >= 1 && seconds > delaySeconds)) {
      return failed("refused", `messagettl=${seconds} is not after the delay`, "InvalidQueryParameterValue")
    }
    return Effect.map(messages(name, now), (found) => {
      const id = `message-${++ids}`
      const times = { insertedAt: now, visibleAt: now + delaySeconds * 1000, expiresAt: now + seconds * 1000 }
      const message = { id, text, dequeueCount: 0, ...times, receipt: `receipt-${++receipts}`, order: ids }
      queues.set(name, [...found, message])
      return id
    })
  }

  return { queues, create, alive, messages, lent, lend, remove, send }
}
