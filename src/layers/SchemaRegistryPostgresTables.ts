/** The tables of the schema registry in Postgres, brought up to date by whichever process comes first. */
import { Clock, Effect } from "effect"
import type { SqlClient, SqlError } from "effect/sql"
import { type Postgres, PostgresError } from "./Postgres.ts"
import { nameBytesMax, schemaBytesMax } from "./SchemaRegistryLimits.ts"

/** Fails: `PostgresError`, also when a newer version has made the tables. */
export const migrate = Effect.fnUntraced(function* ({ sql, transact, use }: Postgres) {
  // Looked at first: almost always there is nothing to do, and no right to make tables is wanted then.
  const found = yield* use(version(sql))
  if (found > versions.length) {
    const reason = `the tables of the schema registry are of version ${found}, and this one knows ${versions.length}: they were made by a newer version of sluice`
    return yield* new PostgresError({ reason, retryable: false })
  }
  if (found === versions.length) return
  const done = yield* transact(missing(sql), migrateMillisMax)
  yield* Effect.forEach(done, (line) => Effect.logInfo(line), { discard: true })
})

/** Units: milliseconds. With the wait for another process that is at it. */
const migrateMillisMax = 30_000
const table = "sluice_schema_migrations"
/** Names this work among the locks of a database; any number would do that nobody else has. */
const lock = 1_936_487_785

/** Runs what is missing, one process at a time. Returns what there is to say. */
const missing = Effect.fnUntraced(function* (sql: SqlClient.SqlClient) {
  yield* sql`SELECT pg_advisory_xact_lock(${lock}::int4, 1)`
  yield* sql`CREATE TABLE IF NOT EXISTS ${sql(table)} (id integer PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())`
  const from = yield* version(sql)
  const said: Array<string> = []
  for (const [i, one] of versions.entries()) {
    if (i < from) continue
    said.push(...(yield* one(sql)))
    yield* sql`INSERT INTO ${sql(table)} (id) VALUES (${i + 1}::int4)`
  }
  return said
})

/** The last one that was run; 0 where there is none. */
const version = Effect.fnUntraced(function* (sql: SqlClient.SqlClient) {
  const [known] = yield* sql<{ there: boolean }>`SELECT to_regclass(${table}::text) IS NOT NULL AS there`
  if (!known!.there) return 0
  const [last] = yield* sql<{ id: number }>`SELECT coalesce(max(id), 0) AS id FROM ${sql(table)}`
  return last!.id
})

// Names compare by their UTF-8 bytes, whatever the database's own order.
const schemas = Effect.fnUntraced(function* (sql: SqlClient.SqlClient) {
  yield* sql`CREATE TABLE sluice_schemas (
    client text COLLATE "C" NOT NULL, event text COLLATE "C" NOT NULL, version integer NOT NULL,
    type text NOT NULL, schema text NOT NULL, compatibility text NOT NULL, deprecated boolean NOT NULL,
    registered_at bigint NOT NULL, PRIMARY KEY (client, event, version))`
  return yield* imported(sql)
})

/**
 * Takes over, once, what glazari/event-processor has registered in the same database; its table stays as it is.
 *
 * Source: https://github.com/glazari/event-processor, `postgres_init.sql`
 */
const imported = Effect.fnUntraced(function* (sql: SqlClient.SqlClient) {
  const [columns] = yield* sql<{ found: number }>`SELECT count(*)::int4 AS found FROM pg_attribute
    WHERE attrelid = to_regclass('event_schemas') AND NOT attisdropped
      AND attname IN ('client_id', 'event_name', 'event_schema')`
  if (columns!.found < 3) return []
  const now = yield* Clock.currentTimeMillis
  const [all] = yield* sql<{ count: number }>`SELECT count(*)::int4 AS count FROM event_schemas`
  const taken = yield* sql`INSERT INTO sluice_schemas
      (client, event, version, type, schema, compatibility, deprecated, registered_at)
    SELECT client_id, event_name, 1, 'json', event_schema::text, 'none', false, ${now}::float8::bigint
    FROM event_schemas
    WHERE octet_length(client_id) <= ${nameBytesMax}::int4 AND octet_length(event_name) <= ${nameBytesMax}::int4
      AND octet_length(event_schema::text) <= ${schemaBytesMax}::int4
    ON CONFLICT DO NOTHING RETURNING 1`
  const left = all!.count - taken.length
  const rest = left === 0 ? "" : `; ${left} were left out, since their names or schemas are empty or too long`
  return [`took over ${taken.length} schemas from the table event_schemas${rest}`]
})

// `topic` is that of the first version of an event, with . and _ as one. Of events that shared theirs before it was asked
// for, the oldest has it and the others have none: all of them go on.
const topics = Effect.fnUntraced(function* (sql: SqlClient.SqlClient) {
  yield* sql`ALTER TABLE sluice_schemas ADD COLUMN topic text COLLATE "C"`
  yield* sql`UPDATE sluice_schemas AS one SET topic = oldest.topic
    FROM (SELECT DISTINCT ON (topic) client, event, named.topic
      FROM (SELECT client, event, registered_at, replace(client || '.' || event, '.', '_') AS topic
        FROM sluice_schemas WHERE version = 1) AS named
      ORDER BY topic, registered_at, client, event) AS oldest
    WHERE one.client = oldest.client AND one.event = oldest.event AND one.version = 1`
  yield* sql`CREATE UNIQUE INDEX sluice_schemas_topic ON sluice_schemas (topic)`
  return []
})

/** Entries are only ever added. Each returns what there is to say. */
const versions: ReadonlyArray<(sql: SqlClient.SqlClient) => Effect.Effect<ReadonlyArray<string>, SqlError.SqlError>> = [
  schemas,
  topics
]
