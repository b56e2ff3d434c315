/** Reads Kafka topics as a member of a group; what is settled is committed, also beyond what is not. */
import { DateTime, Deferred, Duration, Effect, Option, Schema, Stream } from "effect"
import * as Component from "../services/Component.ts"
import * as Fields from "../services/Fields.ts"
import { KafkaClient, type KafkaError, type MemberOptions, type TransactionsOptions } from "../services/Kafka.ts"
import * as KafkaConnection from "../services/KafkaConnection.ts"
import { Downstream, type Source, type Transact } from "../services/Source.ts"
import { bufferMessages } from "./Define.ts"
import * as KafkaOptions from "./KafkaOptions.ts"
import { KafkaSession, type Options as SessionOptions } from "./KafkaSession.ts"
import { elsewhere } from "./KafkaTransactions.ts"

interface All extends MemberOptions, Omit<SessionOptions, "member" | "downstream" | "name" | "source" | "exactlyOnce"> {
  readonly pipeline: string
  /** Positions are committed together with what is published: how the transactions are made. */
  readonly exactlyOnce?: Pick<TransactionsOptions, "compression" | "timeoutMillis"> | undefined
}

const mebibyte = 1024 * 1024

/** Units: milliseconds; bytes; settlements. */
const defaults = {
  from: "earliest",
  isolation: "read_committed",
  sessionMillis: 30_000,
  heartbeatMillis: 300,
  rebalanceMillis: 60_000,
  revokeMillis: 3_000,
  metadataMillis: 300_000,
  commit: { millis: 100, count: 200 },
  fetch: { waitMillis: 300, bytesMin: 1, bytesMax: 8 * mebibyte, partitionBytesMax: mebibyte },
  readyMax: 4 * mebibyte,
  unsettledMax: bufferMessages + 64
} as const

/** Units: milliseconds until the broker gives up a transaction that nobody ends. */
const transactionMillis = 30_000

/** What has no default; the rest may be left out. */
export type Options = Pick<All, "pipeline" | "connection" | "topics" | "group"> & Partial<All>

export const make = Effect.fnUntraced(function* (given: Options) {
  const options: All = { ...defaults, ...given }
  const client = yield* KafkaClient
  const { topics } = options
  const name = `kafka:${topics instanceof RegExp ? topics.source : topics.join(",")}`
  let session: KafkaSession | undefined
  const source: Source = {
    name,
    redelivers: true,
    answers: false,
    partitions: () =>
      (session?.assigned.all ?? []).map((one) => ({
        name: one.name,
        watermark: one.watermark,
        lag: Math.max(0, one.end - one.watermark),
        unsettled: one.unsettled,
        beyond: one.beyond,
        paused: one.full || session?.fetcher.waiting === true
      })),
    transact: options.exactlyOnce && ((answers) => Effect.suspend(() => transact(session, answers))),
    open: Effect.gen(function* () {
      const member = yield* client.member(options)
      const downstream = yield* Downstream
      const { exactlyOnce, pipeline, ...rest } = options
      const opened = new KafkaSession({
        ...rest,
        member,
        downstream,
        name: pipeline,
        source: name,
        exactlyOnce: exactlyOnce && { ...rest, ...exactlyOnce, client }
      })
      session = opened
      const failed = yield* opened.start
      return Stream.fromIterableEffectRepeat(opened.fetcher.take).pipe(Stream.interruptWhen(Deferred.await(failed)))
    })
  }
  return source
})

/** One transaction for each partition that is answered. */
const transact = (
  session: KafkaSession | undefined,
  answers: Parameters<Transact>[0]
): Effect.Effect<void, KafkaError> => {
  const groups = new Map<string, Array<(typeof answers)[number]>>()
  for (const answer of answers) {
    const name = answer.envelope.partition ?? ""
    const group = groups.get(name)
    if (group === undefined) groups.set(name, [answer])
    else group.push(answer)
  }
  return Effect.forEach(
    groups,
    ([name, group]) => {
      const partition = session?.assigned.get(name)
      if (partition === undefined || partition.lost || session?.transactions === undefined) {
        return Effect.fail(elsewhere({ name }))
      }
      return session.transactions.commit(
        partition,
        group.map(({ envelope, message }) => ({ offset: envelope.position!, message }))
      )
    },
    { concurrency: groups.size, discard: true }
  )
}

const fromExpected = "earliest, latest, none or a time such as 2026-01-31T12:00:00Z"
const From = Schema.Union([Schema.Literals(["earliest", "latest", "none"]), Fields.Text]).annotate({
  expected: fromExpected
})

const Session = Fields.group({
  /** Without a heartbeat for so long a member is taken for dead. */
  timeout: Fields.orElse(Fields.Duration, Duration.millis(defaults.sessionMillis)),
  heartbeat: Fields.orElse(Fields.Duration, Duration.millis(defaults.heartbeatMillis)),
  /** How long the group waits for a member to join again. */
  rebalance: Fields.orElse(Fields.Duration, Duration.millis(defaults.rebalanceMillis)),
  /** How long what is at work may take to finish before others get its partitions. */
  revoke: Fields.orElse(Fields.Duration, Duration.millis(defaults.revokeMillis))
})

const Fetch = Fields.group({
  /** How long the broker waits for something to give. */
  wait: Fields.orElse(Fields.Duration, Duration.millis(defaults.fetch.waitMillis)),
  bytesMin: Fields.orElse(Fields.int(1), defaults.fetch.bytesMin),
  bytesMax: Fields.orElse(Fields.Bytes, defaults.fetch.bytesMax),
  partitionBytesMax: Fields.orElse(Fields.Bytes, defaults.fetch.partitionBytesMax)
})

const Commit = Fields.group({
  after: Fields.orElse(Fields.Duration, Duration.millis(defaults.commit.millis)),
  count: Fields.orElse(Fields.int(1), defaults.commit.count)
})

export const component = Component.source({
  type: "kafka",
  summary: "Kafka topics, read as a member of a group: ordered by key or partition, committed as it is settled.",
  options: Schema.Struct({
    brokers: KafkaConnection.Brokers,
    /** A name, a list of names, or an expression that begins with ^. */
    topic: Schema.Union([Fields.Text, Schema.NonEmptyArray(Fields.Text)]),
    group: Schema.optionalKey(Fields.Text),
    from: Fields.orElse(From, defaults.from),
    isolation: Fields.orElse(Schema.Literals(["read_committed", "read_uncommitted"]), defaults.isolation),
    session: Session,
    fetch: Fetch,
    commit: Commit,
    ...KafkaConnection.fields
  }),
  make: (options, { bufferMessages, concurrency, exactlyOnce, folder, pipeline }) =>
    Effect.gen(function* () {
      const { commit, fetch, group = pipeline, isolation, session } = options
      const from = fromOf(options.from)
      const topics = topicsOf(options.topic)
      const problems: Array<Component.Problem> = []
      if (from === undefined) problems.push({ path: ["from"], expected: fromExpected, found: options.from })
      if (topics === undefined)
        problems.push({ path: ["topic"], expected: "a regular expression", found: options.topic })
      const wrong = Array.isArray(topics) ? topics.find((topic) => !KafkaOptions.isTopic(topic)) : undefined
      if (wrong !== undefined) problems.push({ path: ["topic"], expected: KafkaOptions.topicExpected, found: wrong })
      if (Duration.toMillis(session.heartbeat) * 2 > Duration.toMillis(session.timeout)) {
        const expected = `at most half of the session's timeout of ${Duration.format(session.timeout)}`
        problems.push({ path: ["session", "heartbeat"], expected, found: Duration.format(session.heartbeat) })
      }
      const connection = yield* KafkaOptions.connectionOf(options, options.brokers, folder).pipe(
        Effect.mapError((error) => new Component.OptionsError({ problems: [...problems, ...error.problems] }))
      )
      if (from === undefined || topics === undefined || problems.length > 0) {
        return yield* new Component.OptionsError({ problems })
      }
      return yield* make({
        pipeline,
        connection,
        topics,
        group,
        from,
        isolation,
        sessionMillis: Duration.toMillis(session.timeout),
        heartbeatMillis: Duration.toMillis(session.heartbeat),
        rebalanceMillis: Duration.toMillis(session.rebalance),
        revokeMillis: Duration.toMillis(session.revoke),
        metadataMillis: connection.metadataMillis,
        commit: { millis: Duration.toMillis(commit.after), count: commit.count },
        fetch: { ...fetch, waitMillis: Duration.toMillis(fetch.wait) },
        readyMax: fetch.bytesMax / 2,
        // Less than the road holds, so that it never has to stop all partitions for one.
        unsettledMax: concurrency + bufferMessages,
        exactlyOnce: exactlyOnce && { ...exactlyOnce, timeoutMillis: transactionMillis }
      })
    })
})

const fromOf = (from: string): SessionOptions["from"] | undefined =>
  from === "earliest" || from === "latest" || from === "none"
    ? from
    : Option.getOrUndefined(Option.map(DateTime.make(from), DateTime.toEpochMillis))

const topicsOf = (topic: string | ReadonlyArray<string>): MemberOptions["topics"] | undefined => {
  if (typeof topic !== "string") return [...new Set(topic)]
  if (!topic.startsWith("^")) return [topic]
  try {
    return new RegExp(topic)
  } catch {
    return undefined
  }
}
