/** Writes replies to a Kafka topic, each confirmed by the cluster before its delivery is settled. */
import { Clock, Duration, Effect, Result, Schema, type Scope } from "effect"
import * as Chain from "../services/Chain.ts"
import * as Component from "../services/Component.ts"
import { type Envelope, noHeaders } from "../services/Envelope.ts"
import * as Fields from "../services/Fields.ts"
import {
  Compression,
  KafkaClient,
  type KafkaError,
  type KafkaMessage,
  type ProducerOptions
} from "../services/Kafka.ts"
import * as KafkaConnection from "../services/KafkaConnection.ts"
import { type Outgoing, PublishError, type Publisher } from "../services/Publisher.ts"
import type { Transact } from "../services/Source.ts"
import * as KafkaOptions from "../streams/KafkaOptions.ts"
import * as TopicName from "../streams/TopicName.ts"
import * as KafkaTopics from "./KafkaTopics.ts"

export interface Options extends ProducerOptions {
  /** One topic for all, or a name for each message. */
  readonly topic: string | TopicName.TopicName
  readonly carried: ReadonlyArray<Carried>
}

/** Units: records in one call. */
const batchMax = 1000
/** Units: calls under way; while one is confirmed the next is filled. */
const inFlightMax = 2

export const make: (options: Options) => Effect.Effect<Publisher, never, KafkaClient | Scope.Scope> = Effect.fnUntraced(
  function* ({ carried, topic, ...options }: Options) {
    const client = yield* KafkaClient
    const producer = yield* client.producer(options)
    const name = nameOf(topic)
    const failure = (error: KafkaError): PublishError => publishError(name.text, error)
    const carries = new Set(carried)
    const clock = yield* Clock.Clock
    const byTopics = name.fixed ? undefined : KafkaTopics.make({ producer, clock, failure })
    return {
      name: `kafka:${name.text}`,
      batchMax,
      inFlightMax,
      publish: (batch) => {
        const named = TopicName.all(name, batch)
        if (Result.isFailure(named)) return Effect.fail(named.failure)
        if (byTopics !== undefined) {
          return byTopics(named.success.map(({ one, topic }) => ({ one, record: messageOf(topic, one, carries) })))
        }
        const messages = named.success.map(({ one, topic }) => messageOf(topic, one, carries))
        return Effect.mapError(producer.send(messages), failure)
      }
    }
  }
)

/** Publishes as part of the source's own transactions. */
export const makeTransactional = (
  topic: Options["topic"],
  carried: ReadonlyArray<Carried>,
  transact: Transact
): Publisher => {
  const carries = new Set(carried)
  const topicName = nameOf(topic)
  // A batch spans several transactions; what is done of it must not be done again when the rest is.
  const done = new WeakSet<Outgoing>()
  return {
    name: `kafka:${topicName.text}`,
    batchMax,
    inFlightMax,
    publish: (batch) => {
      const named = TopicName.all(topicName, batch)
      if (Result.isFailure(named)) return Effect.fail(named.failure)
      const open = new Map<string, Array<(typeof named.success)[number]>>()
      for (const each of named.success) {
        if (done.has(each.one)) continue
        const name = each.one.envelope.partition ?? ""
        const known = open.get(name)
        if (known === undefined) open.set(name, [each])
        else known.push(each)
      }
      const transactions = [...open.values()].map((group) => {
        const answers = group.map(({ one, topic }) => ({
          envelope: one.envelope,
          message: messageOf(topic, one, carries)
        }))
        const noted = Effect.sync(() => {
          for (const { one } of group) done.add(one)
        })
        return Effect.result(Effect.andThen(transact(answers), noted))
      })
      // One that fails interrupts no other: nobody would know how that ended.
      return Effect.flatMap(Effect.all(transactions, { concurrency: transactions.length }), (results) => {
        const failed = results.find(Result.isFailure)
        return failed === undefined ? Effect.void : Effect.fail(publishError(topicName.text, failed.failure))
      })
    }
  }
}

/** What a record carries besides key and value. */
const Carried = Schema.Literals(["origin", "trace", "chain", "record"])

export const component = Component.publisher({
  type: "kafka",
  summary: "A Kafka topic; a reply counts as published once the cluster has confirmed it.",
  options: Schema.Struct({
    /** May hold placeholders such as {{event}}; behind a gateway it is `<client>.<event>` where it is left out. */
    topic: Schema.optionalKey(Fields.Text),
    /** Absent: those of the pipeline's own Kafka source. */
    brokers: Schema.optionalKey(KafkaConnection.Brokers),
    acks: Fields.orElse(
      Schema.Union([Schema.Literal("all"), Fields.int(0, 1)]).annotate({ expected: "all, 1 or 0" }),
      "all"
    ),
    /** Whether the cluster drops what a second try within one call would write twice; needs acks all. */
    idempotent: Schema.optionalKey(Fields.Boolean),
    compression: Fields.orElse(Compression, "none"),
    /** origin: the record's topic, partition and offset; trace: its trace context; chain: correlation id and depth; record: all its own headers. */
    headers: Fields.orElse(Schema.Array(Carried), ["origin", "trace", "chain"]),
    /** How long the cluster may take to confirm. */
    timeout: Fields.orElse(Fields.Duration, Duration.seconds(30)),
    ...KafkaConnection.fields
  }),
  make: (options, site) =>
    Effect.gen(function* () {
      const named = TopicName.make(options.topic, site)
      if (Result.isFailure(named)) return yield* new Component.OptionsError({ problems: [named.failure] })
      const topic = named.success
      if (!topic.text.includes("{{") && !KafkaOptions.isTopic(topic.text)) {
        const problem = { path: ["topic"], expected: KafkaOptions.topicExpected, found: options.topic }
        return yield* new Component.OptionsError({ problems: [problem] })
      }
      if (site.transact !== undefined) return makeTransactional(topic, options.headers, site.transact)
      const { brokers, connection } = yield* KafkaOptions.shared(options, site)
      const acks = options.acks === "all" ? "all" : options.acks === 1 ? 1 : 0
      if (options.idempotent === true && acks !== "all") {
        const problem = { path: ["idempotent"], expected: "acks: all besides it", found: `acks: ${acks}` }
        return yield* new Component.OptionsError({ problems: [problem] })
      }
      return yield* make({
        topic,
        connection: yield* KafkaOptions.connectionOf(connection, brokers, site.folder),
        acks,
        idempotent: options.idempotent ?? acks === "all",
        compression: options.compression,
        carried: options.headers,
        timeoutMillis: Duration.toMillis(options.timeout)
      })
    })
})

type Carried = typeof Carried.Type

const headersOf = (envelope: Envelope, carried: ReadonlySet<Carried>): KafkaMessage["headers"] => {
  if (carried.size === 0) return noHeaders
  const { headers, partition, position } = envelope
  const found: Record<string, string> = carried.has("record") ? { ...headers } : {}
  if (carried.has("trace")) {
    for (const name of ["traceparent", "tracestate"]) if (headers[name] !== undefined) found[name] = headers[name]
  }
  if (carried.has("origin") && partition !== undefined) found["sluice-origin"] = `${partition}/${position}`
  if (carried.has("chain")) Object.assign(found, Chain.headersOf(envelope))
  return found
}

/** A key that is the record's own goes out as it came in, also when it is no text; so does a record without a value. */
const messageOf = (topic: string, { envelope, key, value }: Outgoing, carried: ReadonlySet<Carried>): KafkaMessage => ({
  topic,
  key: key === undefined ? null : key === envelope.key ? (envelope.keyBytes ?? key) : key,
  value: envelope.tombstone === true && value === envelope.payload ? null : value,
  headers: headersOf(envelope, carried)
})

const nameOf = (topic: Options["topic"]): TopicName.TopicName =>
  typeof topic === "string" ? TopicName.fixed(topic) : topic

/** Whatever is not the record's fault is an outage: also a password that is wrong today. */
const publishError = (topic: string, { cause, reason, trouble }: KafkaError): PublishError =>
  new PublishError({
    reason: `Kafka topic ${topic}: ${reason}`,
    presence: trouble === "unfit" || trouble === "fenced" ? "answered" : "unreachable",
    retryable: trouble !== "unfit",
    ...(cause === undefined ? undefined : { cause })
  })
