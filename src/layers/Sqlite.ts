/** SQLite under Effect's SqlClient, on node:sqlite: shared safely by several processes, never blocking the loop for long. */
import { mkdirSync } from "node:fs"
import { dirname } from "node:path"
import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite"
import { Clock, Context, Duration, Effect, Layer, Schedule, type Scope, Semaphore, Stream } from "effect"
import { Reactivity } from "effect/reactivity"
import { SqlClient, type SqlConnection, SqlError, Statement } from "effect/sql"

export interface Options {
  /** The file; its folder is made. */
  readonly filename: string
}

/**
 * How long a statement may block the event loop waiting for another process; then it is tried again off the loop.
 *
 * Units: milliseconds. As long as a short transaction: SQLite's own waiting holds up every fiber.
 */
const busyMillis = 5
/** How long all tries of a statement may take together. */
const busyTotal = Duration.seconds(30)
/** Units: milliseconds between two tries. */
const busyPauseMax = 25
const statementsMax = 200
/** Units: bytes. What a log may keep on the disk after it has been large. */
const journalMax = 64 * 1024 * 1024

/** Opens the file. Fails: `SqlError` when it cannot be opened, is no database, or another process holds it for 30 s. */
export const make = Effect.fnUntraced(function* (
  options: Options
): Effect.fn.Return<SqlClient.SqlClient, SqlError.SqlError, Scope.Scope | Reactivity.Reactivity> {
  const database = yield* Effect.acquireRelease(open(options), (database) => Effect.sync(() => database.close()))
  const acquirers = SqlClient.makeSqliteAcquirers({
    connection: Effect.succeed(connectionOf(database)),
    semaphore: yield* Semaphore.make(1),
    isTransaction: () => database.isTransaction
  })
  return yield* SqlClient.make({
    ...acquirers,
    driver: "node-sqlite",
    compiler: Statement.makeCompilerSqlite(),
    spanAttributes: [["db.system.name", "sqlite"]],
    // A transaction that will write takes its place at once: one that upgrades later can only fail.
    beginTransaction: "BEGIN IMMEDIATE",
    prepareTransactionControls: true,
    releaseSavepoint: (name) => `RELEASE SAVEPOINT ${name}`
  })
})

export const layer = (options: Options): Layer.Layer<SqlClient.SqlClient, SqlError.SqlError> =>
  Layer.effectContext(Effect.map(make(options), (client) => Context.make(SqlClient.SqlClient, client))).pipe(
    Layer.provide(Reactivity.layer)
  )

/** Tries at once; only when another process holds the file, again with pauses in which the loop is free. */
export const attempt = <A>(what: string, f: () => A): Effect.Effect<A, SqlError.SqlError> => {
  const once = Effect.try({ try: f, catch: (cause) => sqlError(what, cause) })
  return Effect.catchIf(
    once,
    ({ reason }) => isBusy(reason.cause),
    () => again(what, once)
  )
}

/** What waits for other processes, which live in real time, whatever clock a test has put here. */
export const inRealTime = Effect.provideService(Clock.Clock, Clock.Clock.defaultValue())

/** Changes when another connection has written. Source: https://www.sqlite.org/pragma.html#pragma_data_version */
export const dataVersion = (sql: SqlClient.SqlClient): Effect.Effect<number, SqlError.SqlError> =>
  Effect.map(sql<{ data_version: number }>`PRAGMA data_version`, (rows) => rows[0]!.data_version)

/** SQLITE_BUSY and SQLITE_LOCKED. Source: https://www.sqlite.org/rescode.html */
export const isBusy = (cause: unknown): boolean => [5, 6].includes(codeOf(cause))

const again = <A>(what: string, once: Effect.Effect<A, SqlError.SqlError>): Effect.Effect<A, SqlError.SqlError> =>
  once.pipe(
    Effect.retry({ schedule: pauses, while: ({ reason }) => isBusy(reason.cause) }),
    inRealTime,
    Effect.mapError((error) => {
      const { cause } = error.reason
      if (!isBusy(cause)) return error
      const message = `${what}: held by another process for ${Duration.toSeconds(busyTotal)} s`
      return new SqlError.SqlError({ reason: new SqlError.LockTimeoutError({ cause, message, operation: what }) })
    })
  )

const pauses = Schedule.min([Schedule.exponential("1 millis"), Schedule.spaced(busyPauseMax)]).pipe(
  Schedule.jittered,
  Schedule.upTo({ duration: busyTotal })
)

const open = ({ filename }: Options): Effect.Effect<DatabaseSync, SqlError.SqlError> =>
  attempt(`cannot open the store ${filename}`, () => {
    mkdirSync(dirname(filename), { recursive: true })
    const database = new DatabaseSync(filename)
    try {
      database.exec(`PRAGMA busy_timeout=${busyMillis}`)
      const mode = database.prepare("PRAGMA journal_mode=WAL").get()?.journal_mode
      if (mode !== "wal") throw new Error(`its file system cannot be shared (journal mode ${mode} instead of wal)`)
      database.exec(`PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON; PRAGMA journal_size_limit=${journalMax}`)
      return database
    } catch (thrown) {
      database.close()
      throw thrown
    }
  })

const connectionOf = (database: DatabaseSync): SqlConnection.Connection => {
  const prepare = preparer(database)
  const run = (statement: StatementSync, params: ReadonlyArray<unknown>, transform?: Transform) => {
    const rows = statement.all(...params.map(bindable))
    return transform === undefined ? rows : transform(rows)
  }
  const arrays = (statement: StatementSync, params: ReadonlyArray<unknown>) => {
    statement.setReturnArrays(true)
    try {
      return run(statement, params) as ReadonlyArray<unknown> as ReadonlyArray<ReadonlyArray<unknown>>
    } finally {
      statement.setReturnArrays(false)
    }
  }
  return {
    execute: (sql, params, transform) => attempt("the store", () => run(prepare(sql), params, transform)),
    executeRaw: (sql, params) => attempt("the store", () => run(prepare(sql), params)),
    executeValues: (sql, params) => attempt("the store", () => arrays(prepare(sql), params)),
    executeValuesUnprepared: (sql, params) => attempt("the store", () => arrays(database.prepare(sql), params)),
    executeUnprepared: (sql, params, transform) =>
      attempt("the store", () => run(database.prepare(sql), params, transform)),
    // All rows at once: a cursor left open by an interrupted stream would keep the connection in the past.
    executeStream: (sql, params, transform) =>
      Stream.fromIterableEffect(attempt("the store", () => run(prepare(sql), params, transform)))
  }
}

type Transform = Parameters<SqlConnection.Connection["execute"]>[2]

/** Statements by their text, the least recently used forgotten first. */
const preparer = (database: DatabaseSync) => {
  const cache = new Map<string, StatementSync>()
  return (sql: string): StatementSync => {
    const statement = cache.get(sql) ?? database.prepare(sql)
    // Inserted anew, it is the last to be forgotten.
    if (!cache.delete(sql) && cache.size >= statementsMax) cache.delete(cache.keys().next().value!)
    cache.set(sql, statement)
    return statement
  }
}

const bindable = (value: unknown): SQLInputValue =>
  value === undefined ? null : typeof value === "boolean" ? (value ? 1 : 0) : (value as SQLInputValue)

/** NOMEM, IOERR, FULL: the store, not the statement; later it may work. Source: https://www.sqlite.org/rescode.html */
const passing: ReadonlyArray<number> = [7, 10, 13]

const sqlError = (what: string, cause: unknown): SqlError.SqlError => {
  // Effect reads the code where other drivers have it.
  if (cause instanceof Error && "errcode" in cause) Object.assign(cause, { errno: cause.errcode })
  const message = `${what}: ${cause instanceof Error ? cause.message : String(cause)}`
  const props = { cause, message, operation: what }
  return new SqlError.SqlError({
    reason: passing.includes(codeOf(cause))
      ? new SqlError.ConnectionError(props)
      : SqlError.classifySqliteError(cause, props)
  })
}

/** SQLite's primary result code; 0 when it is none of SQLite's. */
export const codeOf = (cause: unknown): number =>
  typeof cause === "object" && cause !== null && "errcode" in cause && typeof cause.errcode === "number"
    ? cause.errcode & 0xff
    : 0
