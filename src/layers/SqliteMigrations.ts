/** The tables of the embedded store, brought up to date by whichever process comes first. */
import { Effect, Layer, Schema } from "effect"
import { SqlClient, type SqlError } from "effect/sql"

/** The store cannot be used by this version. */
export class StoreError extends Schema.TaggedError<StoreError>()("StoreError", { reason: Schema.String }) {
  override get message(): string {
    return this.reason
  }
}

/** Each entry is one version; entries are only ever added. */
const migrations: ReadonlyArray<ReadonlyArray<string>> = [
  [
    `CREATE TABLE topics (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, first INTEGER NOT NULL DEFAULT 0,
      next INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0)`,
    `CREATE TABLE topic_records (topic INTEGER NOT NULL, record INTEGER NOT NULL, id TEXT NOT NULL, key TEXT,
      headers TEXT NOT NULL, value BLOB NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (topic, record)) WITHOUT ROWID`,
    `CREATE TABLE topic_groups (topic INTEGER NOT NULL, name TEXT NOT NULL, watermark INTEGER NOT NULL,
      settled TEXT NOT NULL, PRIMARY KEY (topic, name)) WITHOUT ROWID`,
    `CREATE TABLE dead_letters (id TEXT PRIMARY KEY, pipeline TEXT NOT NULL, received_at INTEGER NOT NULL,
      sequence INTEGER NOT NULL, letter TEXT NOT NULL, payload BLOB NOT NULL, reply BLOB, bytes INTEGER NOT NULL)`,
    "CREATE INDEX dead_letters_order ON dead_letters (received_at, sequence)",
    "CREATE TABLE dead_letters_total (bytes INTEGER NOT NULL)",
    "INSERT INTO dead_letters_total VALUES (0)",
    `CREATE TRIGGER dead_letters_in AFTER INSERT ON dead_letters
      BEGIN UPDATE dead_letters_total SET bytes = bytes + new.bytes; END`,
    `CREATE TRIGGER dead_letters_out AFTER DELETE ON dead_letters
      BEGIN UPDATE dead_letters_total SET bytes = bytes - old.bytes; END`,
    `CREATE TABLE dedupe (scope TEXT NOT NULL, id TEXT NOT NULL, owner TEXT, until INTEGER NOT NULL,
      PRIMARY KEY (scope, id)) WITHOUT ROWID`,
    "CREATE INDEX dedupe_until ON dedupe (until)",
    "CREATE TABLE runners (runner TEXT NOT NULL, pipeline TEXT NOT NULL, PRIMARY KEY (runner, pipeline)) WITHOUT ROWID",
    `CREATE TABLE replays (id INTEGER PRIMARY KEY, request TEXT NOT NULL, pipeline TEXT NOT NULL, letter TEXT NOT NULL,
      runner TEXT, outcome TEXT, reason TEXT)`
  ]
]

/** Fails: `StoreError` when a newer version has written the file. */
export const migrate = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  const versionOf = Effect.map(sql<{ user_version: number }>`PRAGMA user_version`, (rows) => rows[0]?.user_version ?? 0)
  const up = Effect.gen(function* () {
    const version = yield* versionOf
    if (version > migrations.length) {
      const reason = `the store was written by a newer version of sluice (${version}, this one knows ${migrations.length})`
      return yield* new StoreError({ reason })
    }
    for (const statements of migrations.slice(version)) {
      for (const statement of statements) yield* sql.unsafe(statement)
    }
    yield* sql.unsafe(`PRAGMA user_version = ${migrations.length}`)
  })
  // Looked at before the write lock is asked for: almost always there is nothing to do.
  if ((yield* versionOf) !== migrations.length) yield* sql.withTransaction(up)
})

export const layer: Layer.Layer<never, SqlError.SqlError | StoreError, SqlClient.SqlClient> =
  Layer.effectDiscard(migrate)
