/** Postgres under Effect's SqlClient: connected to when it is first used, with a limit on every wait. */
import { Effect, Redacted, Schema, type Scope } from "effect"
import { Reactivity } from "effect/reactivity"
import { type SqlClient, SqlError } from "effect/sql"
import * as PostgresUrl from "./PostgresUrl.ts"
import { inRealTime } from "./Sqlite.ts"

/** It cannot be used just now (`retryable`), or not so. The reason names host and database, and never the password. */
export class PostgresError extends Schema.TaggedError<PostgresError>()("PostgresError", {
  reason: Schema.String,
  retryable: Schema.Boolean,
  /** The server's own code. Source: https://www.postgresql.org/docs/current/errcodes-appendix.html */
  code: Schema.optionalKey(Schema.String),
  cause: Schema.optionalKey(Schema.Defect())
}) {
  override get message(): string {
    return this.reason
  }
}

export interface Options {
  readonly url: Redacted.Redacted<string>
  readonly connectionsMax?: number | undefined
  /** Units: milliseconds. How long a new connection may take. */
  readonly connectMillis?: number | undefined
  /** Units: milliseconds. How long to wait until a connection is free, a new one included. */
  readonly acquireMillis?: number | undefined
  /** Units: milliseconds. How long the statements of one use may take; then they are cancelled, which a dead server draws out by 5 s. */
  readonly queryMillis?: number | undefined
}

/** What the driver says, in our words. */
export type Failure<E> = Exclude<E, SqlError.SqlError> | PostgresError

export interface Postgres {
  readonly sql: SqlClient.SqlClient
  /** Runs statements on one connection, each committed by itself. */
  readonly use: <A, E>(statements: Effect.Effect<A, E>) => Effect.Effect<A, Failure<E>>
  /** Runs statements that are committed together. */
  readonly transact: <A, E>(statements: Effect.Effect<A, E>, millisMax: number) => Effect.Effect<A, Failure<E>>
}

/** Connects to nothing yet. Fails: `PostgresError` when the URL is none. */
export const make = Effect.fnUntraced(function* (
  options: Options
): Effect.fn.Return<Postgres, PostgresError, Scope.Scope> {
  const { acquireMillis = 5_000, connectMillis = 3_000, connectionsMax = 10, queryMillis = 5_000, url } = options
  const place = PostgresUrl.placeOf(Redacted.value(url))
  if (place === undefined) {
    return yield* new PostgresError({ reason: `Postgres: expected ${PostgresUrl.expected}`, retryable: false })
  }
  const name = `Postgres at ${place.host}:${place.port}, database ${place.database ?? "of the user"}`
  const failing = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, Failure<E>, R> =>
    inRealTime(
      Effect.mapError(effect, (error) =>
        SqlError.isSqlError(error) ? describe(name, error) : (error as Exclude<E, SqlError.SqlError>)
      )
    )
  const within = (millis: number, what: string) =>
    Effect.timeoutOrElse({
      duration: millis,
      orElse: () => Effect.fail(new PostgresError({ reason: `${name}: ${what} ${millis / 1000} s`, retryable: true }))
    })

  // Loaded only where it is asked for.
  const PgClient = yield* Effect.promise(() => import("@effect/sql-pg/PgClient"))
  const sql = yield* failing(
    PgClient.make({
      url,
      // As in the URL: traces name them.
      ...place,
      connectTimeout: connectMillis,
      keepAlive: keepAliveMillis,
      maxConnections: connectionsMax,
      minConnections: 0,
      applicationName: "sluice"
    })
  ).pipe(Effect.provide(Reactivity.layer))

  return {
    sql,
    use: (statements) =>
      Effect.gen(function* () {
        const connection = yield* within(acquireMillis, "no connection was free within")(sql.reserve)
        const onIt = Effect.provideService(statements, sql.transactionService, [connection, 0])
        return yield* within(queryMillis, "no answer within")(onIt)
      }).pipe(Effect.scoped, failing),
    transact: (statements, millisMax) =>
      sql.withTransaction(statements).pipe(within(millisMax, "not done within"), failing)
  }
})

/** Units: milliseconds. So that a connection whose server has vanished is not kept for the next use. */
const keepAliveMillis = 30_000

/**
 * Besides those Effect knows: out of resources, shutting down, starting up, only to be read while it changes over.
 * Source: https://www.postgresql.org/docs/current/errcodes-appendix.html
 */
const passing = /^(?:53...|57P0[1-5]|25006|58...)$/

const describe = (name: string, error: SqlError.SqlError): PostgresError => {
  const { cause } = error.reason
  const { code = "", message = "" } = (typeof cause === "object" ? cause : null) as { code?: string; message?: string }
  const isAway = error.reason._tag === "ConnectionError"
  // Node's error for several addresses has no message.
  const why = message === "" ? (code === "" ? error.message : code) : message
  return new PostgresError({
    reason: `${name}${isAway ? " cannot be reached" : ""}: ${why}`,
    retryable: error.isRetryable || passing.test(code),
    ...(code === "" ? {} : { code }),
    cause
  })
}
