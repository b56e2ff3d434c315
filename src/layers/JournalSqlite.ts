/** The journal in the embedded store: what is noted waits in memory and is written a few times a second. */
import { Clock, Effect, Exit, Latch, Layer, MutableList, type Scope, Semaphore } from "effect"
import { SqlClient, type SqlError } from "effect/sql"
import { type Entry, Journal, JournalError, type Query } from "../services/Journal.ts"
import { sentence } from "../streams/Runner.ts"
import { inRealTime } from "./Sqlite.ts"

export interface Options {
  /** How long entries are kept, counted back from the newest. Units: milliseconds. */
  readonly keepMillis?: number | undefined
  /** How many entries are kept, the oldest forgotten first. */
  readonly keepMax?: number | undefined
  /** Units: bytes of all that is kept; 256 MiB by default. */
  readonly keepBytes?: number | undefined
  /** How many entries may wait for the store; then the oldest of them are left out. */
  readonly bufferMax?: number | undefined
}

/** Units: milliseconds between the first note and the write. A process that is killed loses as much. */
const writeMillis = 250
/** Units: milliseconds until a write that failed is tried again. */
const againMillis = 5_000
/** Units: milliseconds between two lines about the same trouble. */
const warnMillis = 60_000
/** Units: milliseconds. How long a stop waits for the store. */
const closeMillis = 5_000
/** Written in one transaction: a few milliseconds in which nobody else can write. */
const writeMax = 500
/** Forgotten in one transaction. More than comes in with it. */
const forgetMax = 2_000

export const make = Effect.fnUntraced(function* (
  options: Options = {}
): Effect.fn.Return<Journal["Service"], never, SqlClient.SqlClient | Scope.Scope> {
  const { bufferMax = 10_000 } = options
  const sql = yield* SqlClient.SqlClient
  const write = writer(sql, options)
  const noted = Latch.makeUnsafe(false)
  const oneAtATime = Semaphore.makeUnsafe(1)
  const waiting = MutableList.make<Entry>()
  let leftOut = 0
  let warnedAt = -warnMillis

  /** Leaves out the oldest of what is too much. */
  const trim = (): void => {
    for (; waiting.length > bufferMax; leftOut++) MutableList.take(waiting)
  }

  /** Writes all that waits; what cannot be written waits on. */
  const flush = oneAtATime.withPermit(
    Effect.gen(function* () {
      while (waiting.length > 0) {
        yield* Effect.acquireUseRelease(
          Effect.sync(() => MutableList.takeN(waiting, writeMax)),
          write,
          (entries, exit) =>
            Effect.sync(() => {
              if (Exit.isSuccess(exit)) return
              MutableList.prependAll(waiting, entries)
              trim()
            })
        )
      }
    })
  )

  const warn = Effect.fnUntraced(function* (trouble: string | undefined) {
    const now = yield* Clock.currentTimeMillis
    if ((trouble === undefined && leftOut === 0) || now - warnedAt < warnMillis) return
    warnedAt = now
    const left = leftOut === 0 ? "" : `, ${leftOut} entries were left out`
    leftOut = 0
    yield* Effect.logWarning(`journal: ${trouble ?? "more is noted than can be written"}${left}`)
  })

  const writeLater = Effect.gen(function* () {
    // Nothing wakes a process in which nothing is noted.
    yield* noted.await
    yield* Effect.sleep(writeMillis)
    noted.closeUnsafe()
    const exit = yield* Effect.exit(flush)
    yield* warn(Exit.isSuccess(exit) ? undefined : troubleOf(exit))
    if (Exit.isSuccess(exit)) return
    noted.openUnsafe()
    yield* Effect.sleep(againMillis)
  })

  // Runs after the fiber has ended, since it stands before it.
  yield* Effect.addFinalizer(() =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(Effect.timeout(Effect.interruptible(flush), closeMillis))
      leftOut += MutableList.takeAll(waiting).length
      if (leftOut === 0) return
      warnedAt = -warnMillis
      yield* warn(Exit.isSuccess(exit) ? undefined : troubleOf(exit))
    }).pipe(inRealTime)
  )
  yield* writeLater.pipe(Effect.forever, Effect.forkScoped)

  return Journal.of({
    note: (entry) => {
      MutableList.append(waiting, entry)
      if (waiting.length > bufferMax) trim()
      noted.openUnsafe()
    },
    find: (query) =>
      Effect.andThen(flush, find(sql, query)).pipe(
        Effect.mapError((cause) => new JournalError({ reason: `journal: ${cause.message}`, cause }))
      )
  })
})

export const layer = (options?: Options): Layer.Layer<Journal, never, SqlClient.SqlClient> =>
  Layer.effect(Journal, make(options))

const troubleOf = (exit: Exit.Exit<unknown, unknown>): string | undefined =>
  Exit.isFailure(exit) ? `cannot write: ${sentence(exit.cause)}` : undefined

/** Writes entries and forgets, from the old end, what is out of date and what is too much. */
const writer = (
  sql: SqlClient.SqlClient,
  { keepBytes = 256 * 1024 * 1024, keepMax = 100_000, keepMillis = 7 * 86_400_000 }: Options
) =>
  Effect.fnUntraced(function* (entries: ReadonlyArray<Entry>) {
    const last = yield* sql<{ readonly upto: number }>`SELECT upto FROM journal ORDER BY place DESC LIMIT 1`
    let upto = last[0]?.upto ?? 0
    const rows = entries.map(
      ({ at, attempt, detected, id, millis, outcome, pipeline, published, reason, source, steps }) => {
        const parts = [detected, steps, published].map((part) => JSON.stringify(part))
        // Some for the columns and the indexes.
        upto += parts.reduce((bytes, part) => bytes + part.length, 2 * id.length + (reason?.length ?? 0) + 200)
        return [at, pipeline, source, id, attempt, outcome, reason, millis, ...parts, upto]
      }
    )
    const newest = entries.reduce((newest, { at }) => Math.max(newest, at), 0)
    // One statement for all of them, so that nobody waits long for the store.
    yield* sql`INSERT INTO journal (at, pipeline, source, id, attempt, outcome, reason, millis, detected, steps, published, upto)
      SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7,
        value ->> 8, value ->> 9, value ->> 10, value ->> 11 FROM json_each(${JSON.stringify(rows)})`
    yield* sql`DELETE FROM journal WHERE place IN (
      SELECT place FROM journal WHERE at <= ${newest - keepMillis} ORDER BY at LIMIT ${forgetMax})`
    // Places follow each other, so their range tells the count.
    yield* sql`DELETE FROM journal WHERE place <= (SELECT max(place) FROM journal) - ${keepMax}
      AND place < (SELECT min(place) FROM journal) + ${forgetMax}`
    // Sizes only grow, so those that are too much stand at the old end.
    yield* sql`DELETE FROM journal WHERE place IN (
      SELECT place FROM journal ORDER BY place LIMIT ${forgetMax}) AND upto <= ${upto - keepBytes}`
  }, sql.withTransaction)

interface Row extends Omit<Entry, "detected" | "published" | "reason" | "steps"> {
  readonly reason: string | null
  readonly detected: string
  readonly steps: string
  readonly published: string
}

const find = (
  sql: SqlClient.SqlClient,
  { event, id, limit, outcome, pipeline, since }: Query
): Effect.Effect<ReadonlyArray<Entry>, SqlError.SqlError> =>
  sql<Row>`SELECT at, pipeline, source, id, attempt, outcome, reason, millis, detected, steps, published
    FROM journal WHERE ${sql.and([
      sql`1 = 1`,
      ...(pipeline === undefined ? [] : [sql`pipeline = ${pipeline}`]),
      ...(id === undefined ? [] : [sql`id = ${id}`]),
      ...(outcome === undefined ? [] : [sql`outcome = ${outcome}`]),
      ...(since === undefined ? [] : [sql`at >= ${since}`]),
      // Looks into the steps of what the rest leaves over: a tenth of a second for all that is kept, so it has no table.
      ...(event === undefined ? [] : [sql`(${within(sql, "steps", event)} OR ${within(sql, "detected", event)})`])
    ])} ORDER BY at DESC, place DESC LIMIT ${limit}`.pipe(Effect.map((rows) => rows.map(decode).reverse()))

/** Whether the event was found: a step is only there for one that was. */
const within = (sql: SqlClient.SqlClient, column: "steps" | "detected", event: string) =>
  sql`EXISTS (SELECT 1 FROM json_each(${sql(`journal.${column}`)})
    WHERE value ->> 'event' = ${event} AND coalesce(value ->> 'verdict', 'yes') = 'yes')`

/** JSON leaves out what is undefined. */
const decode = ({ detected, published, reason, steps, ...rest }: Row): Entry => ({
  ...rest,
  reason: reason ?? undefined,
  detected: (JSON.parse(detected) as Entry["detected"]).map((one) => ({ ...one, why: one.why })),
  steps: (JSON.parse(steps) as Entry["steps"]).map((step) => ({
    ...step,
    note: step.note,
    millis: step.millis,
    // Entries of before have none.
    jobs: (step.jobs ?? []).map((job) => ({ ...job, note: job.note }))
  })),
  published: (JSON.parse(published) as Entry["published"]).map((one) => ({ ...one, note: one.note }))
})
