/** Topics in the embedded store: appended in transactions, read by groups, kept as long as retention and slow groups say. */
import { Clock, Effect, Latch, Layer } from "effect"
import { SqlClient, type SqlError, type Statement } from "effect/sql"
import {
  type NewRecord,
  type Onlooker,
  type Position,
  type Reader,
  TopicError,
  type TopicRecord,
  Topics
} from "../services/Topics.ts"
import { dataVersion, inRealTime } from "./Sqlite.ts"
import { SqliteLocks } from "./SqliteLocks.ts"
import * as Retention from "./TopicsSqliteRetention.ts"

export type { Options } from "./TopicsSqliteRetention.ts"

/** Units: milliseconds between two looks for appends of other processes: soon after one, later when they are quiet. */
const pollMillisMin = 10
const pollMillisMax = 100
/** Records in one statement. Measured: more are not faster, and each count is a statement of its own to keep. */
const insertMax = 64
/** Units: bytes. After a statement that wrote more than this, others have their turn. */
const writeMax = 1024 * 1024

export const make = Effect.fnUntraced(function* (options: Retention.Options = {}) {
  const sql = yield* SqlClient.SqlClient
  const locks = yield* SqliteLocks
  const signals = makeSignals(sql)
  yield* Effect.forkScoped(signals.watch)
  const retention = Retention.make(sql, options)
  const append = makeAppend(sql, retention)

  const open = Effect.fnUntraced(function* (name: string, group: string, from: "earliest" | "latest") {
    if (!(yield* locks.tryAcquire(JSON.stringify(["topic", name, group])))) return yield* held(name, group)
    const at = yield* Clock.currentTimeMillis
    const opened = Effect.gen(function* () {
      const topic = yield* retention.look(name, yield* topicOf(sql, name), at)
      yield* save(sql, topic)
      yield* sql`INSERT INTO topic_groups VALUES (${topic.id}, ${group}, ${from === "latest" ? topic.next : topic.first}, '')
        ON CONFLICT DO NOTHING`
      return topic.id
    })
    return makeReader(sql, name, yield* sql.withTransaction(opened), group, signals.next)
  })

  const range = Effect.fnUntraced(function* (name: string) {
    const rows = yield* sql<{ first: number; next: number }>`SELECT first, next FROM topics WHERE name = ${name}`
    return { first: rows[0]?.first ?? 0, next: rows[0]?.next ?? 0 }
  })

  return Topics.of({
    append: (topic, records) =>
      records.length === 0
        ? Effect.void
        : Effect.andThen(
            inTopic(topic, append(topic, records)),
            Effect.sync(() => signals.fire(topic))
          ),
    open: (topic, group, from) => inTopic(topic, open(topic, group, from)),
    look: (topic) => makeOnlooker(sql, topic, sql`(SELECT id FROM topics WHERE name = ${topic})`, signals.next),
    range: (topic) => inTopic(topic, range(topic))
  })
})

export const layer = (options?: Retention.Options): Layer.Layer<Topics, never, SqlClient.SqlClient | SqliteLocks> =>
  Layer.effect(Topics, make(options))

// ---------------------------------------------------------------------------------------------------- append

const makeAppend = (sql: SqlClient.SqlClient, retention: Retention.Retention) => {
  const write = Effect.fnUntraced(function* (name: string, records: ReadonlyArray<Encoded>, size: number) {
    const at = yield* Clock.currentTimeMillis
    const topic = yield* retention.forAppend(name, yield* topicOf(sql, name), records.length, size, at)
    let { appended, next } = topic
    for (let from = 0; from < records.length; ) {
      const count = chunk(records.length - from)
      const params: Array<unknown> = []
      const before = appended
      for (const { headers, id, key, size, value } of records.slice(from, from + count)) {
        params.push(topic.id, next++, appended, at, id, key, headers, value)
        appended += size
      }
      yield* sql.unsafe(inserts(count), params)
      if (appended - before > writeMax) yield* Effect.yieldNow
      from += count
    }
    yield* save(sql, { ...topic, next, appended })
  })
  return (name: string, records: ReadonlyArray<NewRecord>) =>
    Effect.suspend(() => {
      const encoded = records.map(encode)
      const size = encoded.reduce((sum, { size }) => sum + size, 0)
      return sql.withTransaction(write(name, encoded, size))
    })
}

interface Encoded {
  readonly id: string
  readonly key: string | null
  readonly headers: string
  readonly value: Uint8Array
  readonly size: number
}

const encode = ({ headers, id, key, value }: NewRecord): Encoded => {
  const text = JSON.stringify(headers)
  const size = id.length + (key?.length ?? 0) + text.length + value.length
  return { id, key: key ?? null, headers: text, value, size }
}

/** Powers of two, so that a few statements do for all counts. */
const chunk = (count: number): number => (count >= insertMax ? insertMax : 2 ** Math.floor(Math.log2(count)))

const inserts = (count: number): string =>
  `INSERT INTO topic_records VALUES ${Array.from({ length: count }, () => "(?,?,?,?,?,?,?,?)").join(",")}`

const topicOf = Effect.fnUntraced(function* (sql: SqlClient.SqlClient, name: string) {
  const select = sql<Retention.TopicRow>`SELECT id, first, next, dropped, appended FROM topics WHERE name = ${name}`
  const known = (yield* select)[0]
  if (known !== undefined) return known
  yield* sql`INSERT INTO topics (name) VALUES (${name})`
  return (yield* select)[0]!
})

const save = (sql: SqlClient.SqlClient, { appended, dropped, first, id, next }: Retention.TopicRow) =>
  sql`UPDATE topics SET first = ${first}, next = ${next}, dropped = ${dropped}, appended = ${appended} WHERE id = ${id}`

// ---------------------------------------------------------------------------------------------------- read

interface RecordRow {
  readonly record: number
  readonly at: number
  readonly id: string
  readonly key: string | null
  readonly headers: string
  readonly value: Uint8Array
}

/** `topic` is its number, or what finds it: the topic of an onlooker may have none yet. */
const makeOnlooker = (
  sql: SqlClient.SqlClient,
  name: string,
  topic: number | Statement.Fragment,
  signal: (topic: string) => Latch.Latch
): Onlooker => {
  // Records have no gaps between them, so the count bounds what is looked at.
  const read = (offset: number, count: number, bytes: number) => sql<RecordRow>`
    WITH start AS (SELECT record, place FROM topic_records WHERE topic = ${topic} AND record >= ${offset}
      ORDER BY record LIMIT 1)
    SELECT record, at, id, key, headers, value FROM topic_records
    WHERE topic = ${topic} AND record >= (SELECT record FROM start) AND record < (SELECT record FROM start) + ${count}
      AND place < (SELECT place FROM start) + ${bytes} ORDER BY record`
  const isThere = (offset: number) =>
    sql`SELECT 1 FROM topics WHERE id = ${topic} AND next > ${offset}`.pipe(
      Effect.map((rows) => rows.length > 0),
      // The read that follows will say what is wrong.
      Effect.orElseSucceed(() => true)
    )
  const wait = Effect.fnUntraced(function* (offset: number) {
    for (;;) {
      // Taken before the look, so that an append after it is not missed.
      const latch = signal(name)
      if (yield* isThere(offset)) return
      yield* latch.await
    }
  })
  return {
    wait,
    read: (offset, count, bytes) =>
      inTopic(
        name,
        Effect.map(read(offset, count, bytes), (rows) => rows.map(recordOf))
      )
  }
}

const makeReader = (
  sql: SqlClient.SqlClient,
  name: string,
  topic: number,
  group: string,
  signal: (topic: string) => Latch.Latch
): Reader => {
  return {
    ...makeOnlooker(sql, name, topic, signal),
    position: inTopic(
      name,
      Effect.map(
        sql<Position>`SELECT watermark, settled FROM topic_groups WHERE topic = ${topic} AND name = ${group}`,
        ([position]) => ({ watermark: position!.watermark, settled: position!.settled })
      )
    ),
    commit: ({ settled, watermark }) =>
      inTopic(
        name,
        Effect.asVoid(sql`UPDATE topic_groups SET watermark = ${watermark}, settled = ${settled}
          WHERE topic = ${topic} AND name = ${group}`)
      )
  }
}

const recordOf = ({ at, headers, id, key, record, value }: RecordRow): TopicRecord => ({
  offset: record,
  id,
  key: key ?? undefined,
  headers: JSON.parse(headers),
  value,
  at
})

// ---------------------------------------------------------------------------------------------------- signals

/** Tells the readers of this process that something was appended, by it or by another. */
const makeSignals = (sql: SqlClient.SqlClient) => {
  const latches = new Map<string, Latch.Latch>()
  /** Whether somebody reads: nothing wakes a process without topics. */
  const some = Latch.makeUnsafe(false)
  const seen = new Map<string, number>()
  let version = -1
  let pause = pollMillisMin

  const fire = (topic: string): void => {
    const latch = latches.get(topic)
    latches.delete(topic)
    latch?.openUnsafe()
  }

  /** One look for all readers: SQLite says whether another process has written, the offsets say to which topics. */
  const look = Effect.gen(function* () {
    const now = yield* dataVersion(sql)
    pause = now === version ? Math.min(pause * 2, pollMillisMax) : pollMillisMin
    if (now === version) return
    const rows = yield* sql<{ name: string; next: number }>`SELECT name, next FROM topics`
    for (const { name, next } of rows) {
      if (seen.get(name) === next) continue
      seen.set(name, next)
      fire(name)
    }
    version = now
  })

  return {
    fire,
    /** Opens with the next append. */
    next: (topic: string): Latch.Latch => {
      const latch = latches.get(topic) ?? Latch.makeUnsafe(false)
      latches.set(topic, latch)
      some.openUnsafe()
      return latch
    },
    watch: some.await.pipe(
      Effect.andThen(Effect.suspend(() => inRealTime(Effect.sleep(pause)))),
      Effect.andThen(look),
      // The readers look for themselves then, and their reads say what is wrong.
      Effect.catch(() => Effect.sync(() => [...latches.keys()].forEach(fire))),
      Effect.forever
    )
  }
}

// ---------------------------------------------------------------------------------------------------- errors

const held = (topic: string, group: string): TopicError =>
  new TopicError({
    topic,
    reason: `the position of group ${group} is held by another pipeline or process; give this one a group of its own`,
    retryable: false
  })

const inTopic = <A, R>(topic: string, effect: Effect.Effect<A, SqlError.SqlError | TopicError, R>) =>
  Effect.mapError(effect, (error) =>
    error instanceof TopicError
      ? error
      : new TopicError({ topic, reason: error.message, retryable: error.isRetryable, cause: error })
  )
