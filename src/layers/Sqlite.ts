/** SQLite under Effect's SqlClient, on node:sqlite: shared safely by several processes, never blocking the loop for long. */
import { mkdirSync } from "node:fs"
import { dirname } from "node:path"
import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite"
import { Context, Duration, Effect, Layer, Schedule, type Scope, Semaphore, Stream } from "effect"
import { Reactivity } from "effect/reactivity"
import { SqlClient, type SqlConnection, SqlError, Statement } from "effect/sql"

export interface Options {
  /** The file; its folder is made. `:memory:` keeps nothing. */
  readonly filename: string
}

/** How long a statement may block the event loop waiting for another process; then it is tried again off the loop. */
const busyMillis = 50
/** How long all those tries may take together. */
const busyTotal = Duration.seconds(30)
const statementsMax = 200

/** Opens the file. Fails: `SqlError` when it cannot be opened or is no database. */
export const make = Effect.fnUntraced(function* (
  options: Options
): Effect.fn.Return<SqlClient.SqlClient, SqlError.SqlError, Scope.Scope | Reactivity.Reactivity> {
  const database = yield* Effect.acquireRelease(open(options), (database) => Effect.sync(() => database.close()))
  const connection = connectionOf(database)
  const semaphore = yield* Semaphore.make(1)
  const acquirers = SqlClient.makeSqliteAcquirers({
    connection: Effect.succeed(connection),
    semaphore,
    isTransaction: () => database.isTransaction
  })
  return yield* SqlClient.make({
    ...acquirers,
    driver: "node-sqlite",
    compiler: Statement.makeCompilerSqlite(),
    spanAttributes: [["db.system.name", "sqlite"]],
    // A transaction that will write takes its place at once: one that upgrades later can only fail.
    beginTransaction: "BEGIN IMMEDIATE",
    releaseSavepoint: (name) => `RELEASE SAVEPOINT ${name}`
  })
})

export const layer = (options: Options): Layer.Layer<SqlClient.SqlClient, SqlError.SqlError> =>
  Layer.effectContext(Effect.map(make(options), (client) => Context.make(SqlClient.SqlClient, client))).pipe(
    Layer.provide(Reactivity.layer)
  )

const open = ({ filename }: Options): Effect.Effect<DatabaseSync, SqlError.SqlError> =>
  attempt(`open ${filename}`, () => {
    if (filename !== ":memory:") mkdirSync(dirname(filename), { recursive: true })
    const database = new DatabaseSync(filename, { timeout: busyMillis })
    try {
      database.exec("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON")
      return database
    } catch (error) {
      database.close()
      throw error
    }
  })

const connectionOf = (database: DatabaseSync): SqlConnection.Connection => {
  const prepare = preparer(database)
  const rows = (sql: string, params: ReadonlyArray<unknown>): Array<any> => all(prepare(sql), params)
  const fresh = (sql: string, params: ReadonlyArray<unknown>): Array<any> => all(database.prepare(sql), params)
  const arrays = (statement: StatementSync, params: ReadonlyArray<unknown>): Array<any> => {
    statement.setReturnArrays(true)
    try {
      return all(statement, params)
    } finally {
      statement.setReturnArrays(false)
    }
  }
  return {
    execute: (sql, params, transform) => attempt("execute", () => transformed(rows(sql, params), transform)),
    executeRaw: (sql, params) => attempt("execute", () => rows(sql, params)),
    executeValues: (sql, params) => attempt("execute", () => arrays(prepare(sql), params)),
    executeValuesUnprepared: (sql, params) => attempt("execute", () => arrays(database.prepare(sql), params)),
    executeUnprepared: (sql, params, transform) => attempt("execute", () => transformed(fresh(sql, params), transform)),
    executeStream: (sql, params, transform) =>
      Stream.unwrap(
        Effect.map(
          attempt("stream", () => transformed(fresh(sql, params), transform)),
          (found) => Stream.fromIterable(found)
        )
      )
  }
}

/** Statements by their text, the least recently used forgotten first. */
const preparer = (database: DatabaseSync) => {
  const cache = new Map<string, StatementSync>()
  return (sql: string): StatementSync => {
    const known = cache.get(sql)
    if (known !== undefined) {
      cache.delete(sql)
      cache.set(sql, known)
      return known
    }
    const statement = database.prepare(sql)
    if (cache.size >= statementsMax) cache.delete(cache.keys().next().value!)
    cache.set(sql, statement)
    return statement
  }
}

const all = (statement: StatementSync, params: ReadonlyArray<unknown>): Array<any> => {
  const bound = params.map(bindable)
  if (statement.columns().length > 0) return statement.all(...bound)
  statement.run(...bound)
  return []
}

const bindable = (value: unknown): SQLInputValue =>
  value === undefined ? null : typeof value === "boolean" ? (value ? 1 : 0) : (value as SQLInputValue)

const transformed = (
  rows: Array<any>,
  transform: ((rows: ReadonlyArray<any>) => ReadonlyArray<any>) | undefined
): ReadonlyArray<any> => (transform === undefined ? rows : transform(rows))

const retryBusy = Schedule.min([Schedule.exponential("2 millis"), Schedule.spaced("100 millis")]).pipe(
  Schedule.jittered,
  Schedule.upTo({ duration: busyTotal })
)

/** Tries once; only when another process holds the file, again with pauses in which the loop is free. */
const attempt = <A>(operation: string, f: () => A): Effect.Effect<A, SqlError.SqlError> => {
  const once = Effect.try({ try: f, catch: (cause) => sqlError(cause, operation) })
  return Effect.catch(once, (error) =>
    isBusy(error) ? Effect.retry(once, { schedule: retryBusy, while: isBusy }) : Effect.fail(error)
  )
}

const codeOf = (cause: unknown): number =>
  typeof cause === "object" && cause !== null && "errcode" in cause && typeof cause.errcode === "number"
    ? cause.errcode & 0xff
    : 0

/** SQLITE_BUSY and SQLITE_LOCKED. Source: https://www.sqlite.org/rescode.html */
const isBusy = (error: SqlError.SqlError): boolean => [5, 6].includes(codeOf(error.reason.cause))

const sqlError = (cause: unknown, operation: string): SqlError.SqlError => {
  const message = `${operation}: ${cause instanceof Error ? cause.message : String(cause)}`
  return new SqlError.SqlError({ reason: SqlError.classifySqliteError(cause, { message, operation }) })
}
