/** Schemas in Postgres, for gateways on several machines: it is asked when it is needed, and may be away in between. */
import { Clock, Deferred, Effect, Layer, Option, Scope } from "effect"
import type { SqlError } from "effect/sql"
import {
  NameTaken,
  type NewVersion,
  SchemaConflict,
  SchemaRegistry,
  SchemaRegistryError,
  type SchemaVersion,
  type Subject
} from "../services/SchemaRegistry.ts"
import * as Postgres from "./Postgres.ts"
import { limited, topicOf } from "./SchemaRegistryLimits.ts"
import * as Tables from "./SchemaRegistryPostgresTables.ts"
import { inRealTime } from "./Sqlite.ts"

export type Options = Postgres.Options

/**
 * Connects at the first use and makes its tables then, or at a later use when it could not.
 *
 * Fails: `SchemaRegistryError` when the URL is none. An `add` that fails as retryable may have been stored.
 */
export const make = Effect.fnUntraced(function* (options: Options) {
  const postgres = yield* Effect.mapError(Postgres.make(options), (error) => failed(error))
  const { sql, use } = postgres
  const tables = yield* prepared(Tables.migrate(postgres))

  const asking = <A, E>(statements: Effect.Effect<A, E>) =>
    tables.ready.pipe(
      Effect.timeoutOrElse({ duration: tablesMillis, orElse: () => Effect.fail(beingMade) }),
      inRealTime,
      Effect.andThen(use(statements)),
      Effect.mapError((error): Exclude<E, SqlError.SqlError> | SchemaRegistryError => {
        if (!(error instanceof Postgres.PostgresError)) return error as Exclude<E, SqlError.SqlError>
        if (error.code !== undefinedTable) return failed(error)
        // Another database came up in its place: the next use makes the tables there.
        tables.forget()
        return failed(error, true)
      })
    )

  const columns = sql.literal(
    'client, event, version, type, schema, compatibility, deprecated, registered_at::float8 AS "registeredAt"'
  )
  const of = ({ client, event }: Subject) => sql`client = ${client}::text AND event = ${event}::text`
  const last = (subject: Subject) =>
    sql<{ version: number }>`SELECT coalesce(max(version), 0) AS version FROM sluice_schemas WHERE ${of(subject)}`

  const add = Effect.fnUntraced(function* (
    { client, compatibility, event, schema, type }: NewVersion,
    latest: number,
    registeredAt: number
  ): Effect.fn.Return<SchemaVersion, SchemaConflict | NameTaken | SqlError.SqlError> {
    const version = latest + 1
    // Of several that see the same last version, or begin with the same topic, an index lets one in; the others wait for
    // it and do nothing.
    const added = yield* sql`INSERT INTO sluice_schemas
      (client, event, version, type, schema, compatibility, deprecated, registered_at, topic)
      SELECT ${client}::text, ${event}::text, ${version}::int4, ${type}::text, ${schema}::text, ${compatibility}::text,
        false, ${registeredAt}::float8::bigint, ${latest === 0 ? topicOf({ client, event }) : null}::text
      WHERE (${last({ client, event })}) = ${latest}::int4 ON CONFLICT DO NOTHING RETURNING 1`
    if (added.length > 0) {
      return { client, event, version, type, schema, compatibility, deprecated: false, registeredAt }
    }
    const [found] = yield* last({ client, event })
    if (found!.version === latest) return yield* new NameTaken()
    return yield* new SchemaConflict({ latest: found!.version })
  })

  return SchemaRegistry.of(
    limited({
      // The clock is the caller's; the waits in `asking` are in real time.
      add: (version, latest) => Effect.flatMap(Clock.currentTimeMillis, (now) => asking(add(version, latest, now))),
      latest: (subject) =>
        Effect.map(
          asking(
            sql<SchemaVersion>`SELECT ${columns} FROM sluice_schemas WHERE ${of(subject)} ORDER BY version DESC LIMIT 1`
          ),
          first
        ),
      get: (subject, version) =>
        Effect.map(
          asking(
            sql<SchemaVersion>`SELECT ${columns} FROM sluice_schemas WHERE ${of(subject)} AND version = ${version}::int4`
          ),
          first
        ),
      versions: (subject) =>
        asking(sql<SchemaVersion>`SELECT ${columns} FROM sluice_schemas WHERE ${of(subject)} ORDER BY version`),
      list: (client) =>
        asking(sql<SchemaVersion>`SELECT DISTINCT ON (event) ${columns} FROM sluice_schemas
          WHERE client = ${client}::text ORDER BY event, version DESC`),
      deprecate: (subject, version, deprecated) =>
        Effect.map(
          asking(sql`UPDATE sluice_schemas SET deprecated = ${deprecated}::boolean
            WHERE ${of(subject)} AND version = ${version}::int4 RETURNING 1`),
          (changed) => changed.length > 0
        )
    })
  )
})

export const layer = (options: Options): Layer.Layer<SchemaRegistry, SchemaRegistryError> =>
  Layer.effect(SchemaRegistry, make(options))

/** Units: milliseconds. How long one that asks waits for the tables to be made. */
const tablesMillis = 10_000
const beingMade = new Postgres.PostgresError({ reason: "its tables are still being made in Postgres", retryable: true })

/** Source: https://www.postgresql.org/docs/current/errcodes-appendix.html */
const undefinedTable = "42P01"

const first = (versions: ReadonlyArray<SchemaVersion>): Option.Option<SchemaVersion> =>
  Option.fromUndefinedOr(versions[0])

const failed = ({ cause, reason, ...error }: Postgres.PostgresError, retryable = error.retryable) =>
  new SchemaRegistryError({
    reason: `schema registry: ${reason}`,
    retryable,
    ...(cause === undefined ? {} : { cause })
  })

/** Runs an effect once for all that wait for it, and again for those that come after it has failed. */
const prepared = Effect.fnUntraced(function* <E>(prepare: Effect.Effect<void, E>) {
  const scope = yield* Scope.Scope
  let attempt: Deferred.Deferred<void, E> | undefined
  const begin = (): Deferred.Deferred<void, E> => {
    const made = Deferred.makeUnsafe<void, E>()
    attempt = made
    return made
  }
  const forget = (): void => {
    attempt = undefined
  }
  const ready = Effect.suspend(() => {
    if (attempt !== undefined) return Deferred.await(attempt)
    const made = begin()
    // In the layer's scope: whoever came first may go before it is done.
    return prepare.pipe(
      Effect.onExit((exit) =>
        Effect.sync(() => {
          if (exit._tag === "Failure" && attempt === made) forget()
          Deferred.doneUnsafe(made, exit)
        })
      ),
      Effect.ignoreCause,
      Effect.forkIn(scope),
      Effect.andThen(Deferred.await(made))
    )
  })
  return { ready, forget }
})
