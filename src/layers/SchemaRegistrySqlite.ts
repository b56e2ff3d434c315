/** Schemas in the embedded store. */
import { Clock, Effect, Layer, Option } from "effect"
import { SqlClient, SqlError } from "effect/sql"
import {
  NameTaken,
  type NewVersion,
  SchemaConflict,
  SchemaRegistry,
  SchemaRegistryError,
  type SchemaVersion,
  type Subject
} from "../services/SchemaRegistry.ts"
import { limited, topicOf } from "./SchemaRegistryLimits.ts"

type Row = Omit<SchemaVersion, "deprecated"> & { readonly deprecated: number }

/** Each change is one statement, so that nobody can come between what it looks at and what it writes. */
export const make = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  const columns = sql.literal(
    "client, event, version, type, schema, compatibility, deprecated, registered_at AS registeredAt"
  )
  const of = ({ client, event }: Subject) => sql`client = ${client} AND event = ${event}`
  const last = (subject: Subject) =>
    sql<{ version: number }>`SELECT coalesce(max(version), 0) AS version FROM schemas WHERE ${of(subject)}`

  const add = Effect.fnUntraced(function* (
    { client, compatibility, event, schema, type }: NewVersion,
    latest: number
  ): Effect.fn.Return<SchemaVersion, SchemaConflict | NameTaken | SqlError.SqlError> {
    const registeredAt = yield* Clock.currentTimeMillis
    const version = latest + 1
    const added = yield* sql`INSERT INTO schemas
      (client, event, version, type, schema, compatibility, deprecated, registered_at, topic)
      SELECT ${client}, ${event}, ${version}, ${type}, ${schema}, ${compatibility}, 0, ${registeredAt},
        ${latest === 0 ? topicOf({ client, event }) : null}
      WHERE (${last({ client, event })}) = ${latest} ON CONFLICT (topic) DO NOTHING RETURNING 1`
    if (added.length > 0) {
      return { client, event, version, type, schema, compatibility, deprecated: false, registeredAt }
    }
    const [found] = yield* last({ client, event })
    if (found!.version === latest) return yield* new NameTaken()
    return yield* new SchemaConflict({ latest: found!.version })
  })

  const select = Effect.fnUntraced(function* (rest: ReturnType<typeof of>) {
    const rows = yield* sql<Row>`SELECT ${columns} FROM schemas AS one WHERE ${rest}`
    return rows.map((row): SchemaVersion => ({ ...row, deprecated: row.deprecated === 1 }))
  })

  const deprecate = Effect.fnUntraced(function* (subject: Subject, version: number, deprecated: boolean) {
    const changed = yield* sql`UPDATE schemas SET deprecated = ${deprecated ? 1 : 0}
      WHERE ${of(subject)} AND version = ${version} RETURNING 1`
    return changed.length > 0
  })

  return SchemaRegistry.of(
    limited({
      add: (version, latest) => failing("write", add(version, latest)),
      latest: (subject) =>
        failing("read", Effect.map(select(sql`${of(subject)} ORDER BY version DESC LIMIT 1`), first)),
      get: (subject, version) =>
        failing("read", Effect.map(select(sql`${of(subject)} AND version = ${version}`), first)),
      versions: (subject) => failing("read", select(sql`${of(subject)} ORDER BY version`)),
      list: (client) =>
        failing(
          "read",
          select(sql`client = ${client} AND version =
            (SELECT max(version) FROM schemas WHERE client = one.client AND event = one.event) ORDER BY event`)
        ),
      deprecate: (subject, version, deprecated) => failing("write", deprecate(subject, version, deprecated))
    })
  )
})

export const layer: Layer.Layer<SchemaRegistry, never, SqlClient.SqlClient> = Layer.effect(SchemaRegistry, make)

const first = (versions: ReadonlyArray<SchemaVersion>): Option.Option<SchemaVersion> =>
  Option.fromUndefinedOr(versions[0])

const failing = <A, E>(what: string, effect: Effect.Effect<A, E | SqlError.SqlError>) =>
  Effect.catchIf(effect, SqlError.isSqlError, (error) => {
    const reason = `cannot ${what} schemas: ${error.message}`
    return Effect.fail(new SchemaRegistryError({ reason, retryable: error.isRetryable, cause: error }))
  })
