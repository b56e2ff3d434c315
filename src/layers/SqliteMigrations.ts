/** The tables of the embedded store, brought up to date by whichever process comes first. */
import { Effect, Layer, Schema } from "effect"
import { Migrator, SqlClient, type SqlError } from "effect/sql"

/** The store cannot be used by this version. */
export class StoreError extends Schema.TaggedError<StoreError>()("StoreError", {
  reason: Schema.String,
  cause: Schema.optionalKey(Schema.Defect())
}) {
  override get message(): string {
    return this.reason
  }
}

/** Runs several statements of a version. */
const statements = (...texts: ReadonlyArray<string>) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) => Effect.forEach(texts, (text) => sql.unsafe(text), { discard: true }))

const topics = statements(
  // `dropped` and `appended` are bytes over all time; their difference is the size.
  `CREATE TABLE topics (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,
    first INTEGER NOT NULL DEFAULT 0, next INTEGER NOT NULL DEFAULT 0,
    dropped INTEGER NOT NULL DEFAULT 0, appended INTEGER NOT NULL DEFAULT 0)`,
  // `place` is what `appended` was before the record. The columns that are searched stand before the large ones.
  `CREATE TABLE topic_records (topic INTEGER NOT NULL, record INTEGER NOT NULL, place INTEGER NOT NULL,
    at INTEGER NOT NULL, id TEXT NOT NULL, key TEXT, headers TEXT NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY (topic, record))`,
  `CREATE TABLE topic_groups (topic INTEGER NOT NULL, name TEXT NOT NULL, watermark INTEGER NOT NULL,
    settled TEXT NOT NULL, PRIMARY KEY (topic, name)) WITHOUT ROWID`
)

const deadLetters = statements(
  `CREATE TABLE dead_letters (place INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, pipeline TEXT NOT NULL,
    received_at INTEGER NOT NULL, sequence INTEGER NOT NULL, bytes INTEGER NOT NULL,
    letter TEXT NOT NULL, payload BLOB NOT NULL, reply BLOB)`,
  "CREATE INDEX dead_letters_order ON dead_letters (received_at, sequence)",
  "CREATE TABLE dead_letters_total (bytes INTEGER NOT NULL)",
  "INSERT INTO dead_letters_total VALUES (0)",
  `CREATE TRIGGER dead_letters_in AFTER INSERT ON dead_letters
    BEGIN UPDATE dead_letters_total SET bytes = bytes + new.bytes; END`,
  `CREATE TRIGGER dead_letters_again AFTER UPDATE OF bytes ON dead_letters
    BEGIN UPDATE dead_letters_total SET bytes = bytes - old.bytes + new.bytes; END`,
  `CREATE TRIGGER dead_letters_out AFTER DELETE ON dead_letters
    BEGIN UPDATE dead_letters_total SET bytes = bytes - old.bytes; END`
)

const processes = statements(
  // Done when it has no owner. `place` is the order of age.
  `CREATE TABLE dedupe (place INTEGER PRIMARY KEY, scope TEXT NOT NULL, id TEXT NOT NULL, owner TEXT,
    until INTEGER NOT NULL, UNIQUE (scope, id))`,
  `CREATE TABLE runners (process TEXT NOT NULL, pipeline TEXT NOT NULL,
    PRIMARY KEY (process, pipeline)) WITHOUT ROWID`,
  `CREATE TABLE replays (request TEXT NOT NULL, letter TEXT NOT NULL, place INTEGER NOT NULL, requester TEXT NOT NULL,
    pipeline TEXT NOT NULL, runner TEXT, outcome TEXT, reason TEXT, PRIMARY KEY (request, letter)) WITHOUT ROWID`
)

/** `upto` counts the bytes of all entries so far, so that what is kept can be bounded by its size. */
const explain = statements(
  "ALTER TABLE journal ADD COLUMN detected TEXT NOT NULL DEFAULT '[]'",
  "ALTER TABLE journal ADD COLUMN published TEXT NOT NULL DEFAULT '[]'",
  "ALTER TABLE journal ADD COLUMN upto INTEGER NOT NULL DEFAULT 0"
)

const journal = statements(
  // `place` is the order of writing. Each index ends with it, so that what is found is in order.
  `CREATE TABLE journal (place INTEGER PRIMARY KEY, at INTEGER NOT NULL, pipeline TEXT NOT NULL, source TEXT NOT NULL,
    id TEXT NOT NULL, attempt INTEGER NOT NULL, outcome TEXT NOT NULL, reason TEXT, millis INTEGER NOT NULL,
    steps TEXT NOT NULL)`,
  "CREATE INDEX journal_at ON journal (at)",
  "CREATE INDEX journal_pipeline ON journal (pipeline, at)",
  "CREATE INDEX journal_id ON journal (id, at)"
)

// With a row id, so that large schemas lie outside of what is searched.
const schemas = statements(
  `CREATE TABLE schemas (client TEXT NOT NULL, event TEXT NOT NULL, version INTEGER NOT NULL, type TEXT NOT NULL,
    compatibility TEXT NOT NULL, deprecated INTEGER NOT NULL, registered_at INTEGER NOT NULL, schema TEXT NOT NULL,
    PRIMARY KEY (client, event, version))`
)

// `topic` is that of the first version of an event, with . and _ as one. Of events that shared theirs before it was asked
// for, the oldest has it and the others have none: all of them go on.
const schemaTopics = statements(
  "ALTER TABLE schemas ADD COLUMN topic TEXT",
  `UPDATE schemas SET topic = replace(client || '.' || event, '.', '_') WHERE rowid IN
    (SELECT first_value(rowid) OVER (PARTITION BY replace(client || '.' || event, '.', '_')
      ORDER BY registered_at, client, event) FROM schemas WHERE version = 1)`,
  "CREATE UNIQUE INDEX schemas_topic ON schemas (topic)"
)

const inbox = statements(
  // No number comes twice: a late settlement would find another batch. The large column stands last.
  `CREATE TABLE inbox (batch INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, owner TEXT NOT NULL,
    holder INTEGER NOT NULL, items INTEGER NOT NULL, bytes BLOB NOT NULL)`,
  "CREATE INDEX inbox_name ON inbox (name)",
  "CREATE TABLE inbox_settled (batch INTEGER NOT NULL, item INTEGER NOT NULL, PRIMARY KEY (batch, item)) WITHOUT ROWID",
  "CREATE TABLE positions (name TEXT PRIMARY KEY, position TEXT NOT NULL) WITHOUT ROWID"
)

/** Entries are only ever added. */
const versions = {
  "1_topics": topics,
  "2_dead_letters": deadLetters,
  "3_processes": processes,
  "4_journal": journal,
  "5_schemas": schemas,
  "6_schema_topics": schemaTopics,
  "7_explain": explain,
  "8_inbox": inbox
}

const known = Object.keys(versions).length
const table = "sluice_migrations"

/** Fails: `StoreError` when a newer version has written the file, or a statement of a migration fails. */
export const migrate = Effect.gen(function* () {
  // Looked at before the write lock is asked for: almost always there is nothing to do.
  if ((yield* version) === known) return
  yield* Migrator.make({})({ loader: Migrator.fromRecord(versions), table }).pipe(
    Effect.catchTag("MigrationError", (error) => {
      const why = error.cause instanceof Error ? `: ${error.cause.message}` : ""
      const reason = `cannot bring the store up to date: ${error.message}${why}`
      return Effect.fail(new StoreError({ reason, cause: error }))
    })
  )
  const found = yield* version
  if (found > known) return yield* newer(found)
})

export const layer: Layer.Layer<never, SqlError.SqlError | StoreError, SqlClient.SqlClient> =
  Layer.effectDiscard(migrate)

/** The last migration that was run; 0 in a fresh file. */
const version = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  if ((yield* sql`SELECT 1 FROM sqlite_schema WHERE name = ${table}`).length === 0) return 0
  const rows = yield* sql<{ id: number | null }>`SELECT max(migration_id) AS id FROM ${sql(table)}`
  return rows[0]?.id ?? 0
})

const newer = (found: number): StoreError =>
  new StoreError({
    reason: `the store was written by a newer version of sluice (its tables are of version ${found}, this one knows ${known}): use that version, or another storage`
  })
