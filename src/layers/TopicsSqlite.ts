/** Topics in the embedded store: appended in transactions, read by groups, kept as long as retention and slow groups say. */
import { Array, Clock, Effect, Latch, Layer } from "effect"
import { SqlClient, type SqlError } from "effect/sql"
import { type NewRecord, type Position, TopicError, type TopicRecord, Topics } from "../services/Topics.ts"
import { SqliteLocks } from "./SqliteLocks.ts"

export interface Options {
  /** Records older than this go. Units: milliseconds. */
  readonly retentionMillis?: number | undefined
  /** The oldest records of a topic beyond this size go. Units: bytes. */
  readonly retentionBytes?: number | undefined
}

/** Units: milliseconds. How soon an append of another process is seen. */
const pollMillis = 100
/** Records between two looks at a topic's age and size. */
const tidyEvery = 1_000
/** Records dropped at a time, so that no transaction is long. */
const dropMax = 1_000

interface TopicRow {
  readonly id: number
  readonly first: number
  readonly next: number
  readonly bytes: number
}

interface RecordRow {
  readonly record: number
  readonly id: string
  readonly key: string | null
  readonly headers: string
  readonly value: Uint8Array
  readonly at: number
}

export const make = Effect.fnUntraced(function* (options: Options = {}) {
  const { retentionBytes = 1024 * 1024 * 1024, retentionMillis = 7 * 86_400_000 } = options
  const sql = yield* SqlClient.SqlClient
  const locks = yield* SqliteLocks
  const signals = new Map<string, Latch.Latch>()
  const appended = new Map<string, number>()

  const topicOf = Effect.fnUntraced(function* (name: string) {
    const rows = yield* sql<TopicRow>`SELECT id, first, next, bytes FROM topics WHERE name = ${name}`
    if (rows[0] !== undefined) return rows[0]
    const made = yield* sql<TopicRow>`INSERT INTO topics (name) VALUES (${name})
      ON CONFLICT (name) DO UPDATE SET name = name RETURNING id, first, next, bytes`
    return made[0]!
  })

  const signal = (topic: string): void => {
    const latch = signals.get(topic)
    signals.delete(topic)
    latch?.openUnsafe()
  }

  // One look for all readers: SQLite says whether another connection has written since.
  let version = 0
  const look = Effect.gen(function* () {
    yield* Effect.sleep(pollMillis)
    if (signals.size === 0) return
    const rows = yield* sql<{ data_version: number }>`PRAGMA data_version`
    if (rows[0]!.data_version === version) return
    version = rows[0]!.data_version
    for (const topic of [...signals.keys()]) signal(topic)
  })
  yield* Effect.forkScoped(Effect.forever(Effect.ignore(look)))

  /** The oldest records beyond age and size go, but none that a group has still to read. */
  const tidy = Effect.fnUntraced(function* (name: string, topic: TopicRow, now: number, size: number) {
    const slowest = yield* sql<{ name: string; watermark: number }>`
      SELECT name, watermark FROM topic_groups WHERE topic = ${topic.id} ORDER BY watermark LIMIT 1`
    const to = Math.min(slowest[0]?.watermark ?? topic.next, topic.first + dropMax)
    const old = yield* sql<{ record: number; bytes: number; at: number }>`
      SELECT record, length(value) + length(headers) AS bytes, at FROM topic_records
      WHERE topic = ${topic.id} AND record >= ${topic.first} AND record < ${to} ORDER BY record`
    let { bytes, first } = topic
    for (const record of old) {
      if (record.at > now - retentionMillis && bytes + size <= retentionBytes) break
      bytes -= record.bytes
      first = record.record + 1
    }
    if (first > topic.first) {
      yield* sql`DELETE FROM topic_records WHERE topic = ${topic.id} AND record < ${first}`
      yield* sql`UPDATE topics SET first = ${first}, bytes = ${bytes} WHERE id = ${topic.id}`
      // More may be due; a full round means there is.
      if (first - topic.first === dropMax) appended.set(name, tidyEvery)
    }
    const behind = slowest[0] !== undefined && slowest[0].watermark < topic.next ? slowest[0].name : undefined
    return { bytes, slowest: behind }
  })

  const append = Effect.fnUntraced(function* (name: string, records: Array.NonEmptyReadonlyArray<NewRecord>) {
    const now = yield* Clock.currentTimeMillis
    const topic = yield* topicOf(name)
    const size = records.reduce((sum, { headers, value }) => sum + value.length + JSON.stringify(headers).length, 0)
    const since = (appended.get(name) ?? tidyEvery) + records.length
    let { bytes } = topic
    if (since >= tidyEvery || bytes + size > retentionBytes) {
      appended.set(name, 0)
      const tidied = yield* tidy(name, topic, now, size)
      bytes = tidied.bytes
      if (bytes + size > retentionBytes && tidied.slowest !== undefined) {
        return yield* full(name, tidied.slowest, retentionBytes)
      }
    } else appended.set(name, since)
    yield* sql`INSERT INTO topic_records ${sql.insert(
      Array.map(records, ({ headers, id, key = null, value }, i) => ({
        topic: topic.id,
        record: topic.next + i,
        id,
        key,
        headers: JSON.stringify(headers),
        value,
        at: now
      }))
    )}`
    yield* sql`UPDATE topics SET next = ${topic.next + records.length}, bytes = ${bytes + size} WHERE id = ${topic.id}`
  })

  const open = Effect.fnUntraced(function* (name: string, group: string, from: "earliest" | "latest") {
    if (!(yield* locks.tryAcquire(`topic ${name} group ${group}`))) return yield* held(name, group)
    const topic = yield* sql.withTransaction(
      Effect.tap(
        topicOf(name),
        ({
          first,
          id,
          next
        }) => sql`INSERT INTO topic_groups VALUES (${id}, ${group}, ${from === "latest" ? next : first}, '')
          ON CONFLICT DO NOTHING`
      )
    )
    const nextOf = Effect.map(
      sql<{ next: number }>`SELECT next FROM topics WHERE id = ${topic.id}`,
      (rows) => rows[0]!.next
    )
    const wait = (offset: number): Effect.Effect<void> =>
      Effect.suspend(() => {
        const latch = signals.get(name) ?? Latch.makeUnsafe(false)
        signals.set(name, latch)
        const next = Effect.orElseSucceed(nextOf, () => offset)
        return Effect.flatMap(next, (next) => (next > offset ? Effect.void : Effect.andThen(latch.await, wait(offset))))
      })
    return {
      wait,
      position: inTopic(
        name,
        Effect.map(
          sql<Position>`SELECT watermark, settled FROM topic_groups WHERE topic = ${topic.id} AND name = ${group}`,
          (rows) => rows[0]!
        )
      ),
      commit: ({ settled, watermark }: Position) =>
        inTopic(
          name,
          Effect.asVoid(sql`UPDATE topic_groups SET watermark = ${watermark}, settled = ${settled}
            WHERE topic = ${topic.id} AND name = ${group}`)
        ),
      read: (offset: number, count: number, bytes: number) =>
        inTopic(
          name,
          Effect.map(
            sql<RecordRow & { before: number }>`SELECT * FROM (
              SELECT record, id, key, headers, value, at,
                SUM(length(value)) OVER (ORDER BY record) - length(value) AS before
              FROM topic_records WHERE topic = ${topic.id} AND record >= ${offset} ORDER BY record LIMIT ${count}
            ) WHERE before < ${bytes}`,
            (rows) => rows.map(recordOf)
          )
        )
    }
  })

  return Topics.of({
    append: (topic, records) =>
      Array.isReadonlyArrayNonEmpty(records)
        ? Effect.andThen(
            inTopic(topic, sql.withTransaction(append(topic, records))),
            Effect.sync(() => signal(topic))
          )
        : Effect.void,
    open: (topic, group, from) => inTopic(topic, open(topic, group, from)),
    range: (topic) =>
      inTopic(
        topic,
        Effect.map(topicOf(topic), ({ first, next }) => ({ first, next }))
      )
  })
})

export const layer = (options?: Options): Layer.Layer<Topics, never, SqlClient.SqlClient | SqliteLocks> =>
  Layer.effect(Topics, make(options))

const recordOf = ({ at, headers, id, key, record, value }: RecordRow): TopicRecord => ({
  offset: record,
  id,
  key: key ?? undefined,
  headers: JSON.parse(headers),
  value,
  at
})

const held = (topic: string, group: string): TopicError =>
  new TopicError({
    topic,
    reason: `the position of group ${group} is held by another pipeline or process; give this one a group of its own`,
    retryable: false
  })

const full = (topic: string, group: string, bytes: number): TopicError =>
  new TopicError({
    topic,
    reason: `is full (${bytes} bytes) and group ${group} has not read its oldest records yet`,
    retryable: true
  })

const inTopic = <A, R>(topic: string, effect: Effect.Effect<A, SqlError.SqlError | TopicError, R>) =>
  Effect.mapError(effect, (error) =>
    error instanceof TopicError
      ? error
      : new TopicError({ topic, reason: error.reason.message, retryable: error.reason.isRetryable, cause: error })
  )
