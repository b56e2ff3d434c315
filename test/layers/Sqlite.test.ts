/** The SQLite driver: what it says when it cannot, transactions, and a file that other processes use too. */
import { mkdirSync, writeFileSync } from "node:fs"
import { dirname } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Fiber, Layer, Stream } from "effect"
import { SqlClient } from "effect/sql"
import * as Sqlite from "../../src/layers/Sqlite.ts"
import * as SqliteMigrations from "../../src/layers/SqliteMigrations.ts"
import * as TopicsSqlite from "../../src/layers/TopicsSqlite.ts"
import { Topics } from "../../src/services/Topics.ts"
import * as Processes from "./Processes.ts"
import * as TemporaryStore from "./TemporaryStore.ts"

const opened = (filename: string) => Effect.scoped(Layer.build(Sqlite.layer({ filename })))

describe("Sqlite", () => {
  it.effect("makes the folder, and says which file cannot be opened and why", () =>
    Effect.gen(function* () {
      const filename = yield* TemporaryStore.filename
      yield* opened(filename)
      writeFileSync(`${filename}.txt`, "this is no database, but some text that is long enough to be read as one")
      const noDatabase = yield* Effect.flip(opened(`${filename}.txt`))
      assert.strictEqual(noDatabase.message, `cannot open the store ${filename}.txt: file is not a database`)
      assert.strictEqual(noDatabase._tag, "SqlError")
      assert.isFalse(noDatabase.isRetryable)
      const folder = yield* Effect.flip(opened(dirname(filename)))
      assert.strictEqual(folder.message, `cannot open the store ${dirname(filename)}: unable to open database file`)
      const below = yield* Effect.flip(opened(`${filename}/under/a/file.db`))
      assert.match(below.message, /^cannot open the store .*file\.db: ENOTDIR/)
    }).pipe(Effect.scoped)
  )

  it.effect("rolls back, also inside a transaction, and keeps the connection usable", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* sql`CREATE TABLE t (n INTEGER PRIMARY KEY)`
      yield* Effect.ignore(sql.withTransaction(Effect.andThen(sql`INSERT INTO t VALUES (1)`, Effect.fail("no"))))
      yield* sql.withTransaction(
        Effect.gen(function* () {
          yield* sql`INSERT INTO t VALUES (2)`
          yield* Effect.ignore(sql.withTransaction(sql`INSERT INTO t VALUES (3), (2)`))
          yield* sql.withTransaction(sql`INSERT INTO t VALUES (4)`)
        })
      )
      const error = yield* Effect.flip(sql`INSERT INTO t VALUES (2)`)
      assert.strictEqual(error.reason._tag, "ConstraintError")
      assert.deepStrictEqual(yield* sql`SELECT n FROM t`.values, [[2], [4]])
      assert.deepStrictEqual(yield* Stream.runCollect(sql`SELECT n FROM t`.stream), [{ n: 2 }, { n: 4 }] as never)
    }).pipe(Effect.provide(TemporaryStore.layer))
  )

  it.live("waits for another process without holding up this one", () =>
    Effect.gen(function* () {
      const filename = yield* TemporaryStore.filename
      const other = yield* Processes.store("write", filename)
      yield* other.says("writing")
      yield* Effect.gen(function* () {
        const topics = yield* Topics
        const value = new Uint8Array(1)
        const append = yield* Effect.forkChild(topics.append("t", [{ id: "a", key: undefined, headers: {}, value }]), {
          startImmediately: true
        })
        // Late timers show how long nobody else had a turn; half of them, as the machine may be busy.
        const late: Array<number> = []
        for (let i = 0; i < 100; i++) {
          const before = yield* Clock.currentTimeMillis
          yield* Effect.sleep(5)
          late.push((yield* Clock.currentTimeMillis) - before - 5)
        }
        assert.isAtMost(late.toSorted((a, b) => a - b)[50]!, 50)
        assert.isUndefined(append.pollUnsafe())
        yield* other.tell("go on")
        yield* other.says("written")
        yield* Fiber.join(append)
        assert.deepStrictEqual(yield* topics.range("t"), { first: 0, next: 1 })
      }).pipe(Effect.provide(TopicsSqlite.layer().pipe(Layer.provide(TemporaryStore.layerIn(filename)))))
    }).pipe(Effect.scoped)
  )

  it.effect("calls a full disk worth another try", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const topics = yield* Topics
      yield* sql.unsafe("PRAGMA max_page_count = 60")
      const value = new Uint8Array(100_000)
      const full = yield* topics
        .append("t", [{ id: "a", key: undefined, headers: {}, value }])
        .pipe(Effect.repeat({ times: 10 }), Effect.flip)
      assert.isTrue(full.retryable)
      assert.strictEqual(full.message, "topic t: the store: database or disk is full")
      yield* sql.unsafe("PRAGMA max_page_count = 6000")
      yield* topics.append("t", [{ id: "a", key: undefined, headers: {}, value }])
    }).pipe(Effect.provide(TopicsSqlite.layer().pipe(Layer.provideMerge(TemporaryStore.layer))))
  )
})

describe("SqliteMigrations", () => {
  it.live("are run once by eight processes that start at the same moment", () =>
    Effect.gen(function* () {
      const filename = yield* TemporaryStore.filename
      mkdirSync(dirname(filename))
      const all = yield* Effect.forEach(Array.from({ length: 8 }), () => Processes.store("migrate", filename))
      for (const { says } of all) yield* says("ready")
      for (const { tell } of all) yield* tell("go")
      for (const { says } of all) yield* says("done")
      for (const { ended } of all) yield* ended
      yield* Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const versions = yield* sql<{ id: number }>`SELECT migration_id AS id FROM sluice_migrations ORDER BY 1`
        assert.deepStrictEqual(
          versions.map(({ id }) => id),
          [1, 2, 3, 4, 5, 6, 7, 8]
        )
        assert.deepStrictEqual(yield* sql`PRAGMA integrity_check`.values, [["ok"]])
      }).pipe(Effect.provide(TemporaryStore.layerIn(filename)))
    }).pipe(Effect.scoped)
  )

  it.effect("refuse a store that a newer version has written, and leave it alone", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* SqliteMigrations.migrate
      yield* sql`INSERT INTO sluice_migrations (migration_id, name) VALUES (9, 'later')`
      const error = yield* Effect.flip(SqliteMigrations.migrate)
      assert.strictEqual(
        error.message,
        "the store was written by a newer version of sluice (its tables are of version 9, this one knows 8): use that version, or another storage"
      )
      assert.deepStrictEqual(yield* sql`SELECT count(*) FROM sluice_migrations`.values, [[9]])
    }).pipe(Effect.provide(TemporaryStore.layer))
  )

  it.effect("say what is in their way", () =>
    Effect.gen(function* () {
      const filename = yield* TemporaryStore.filename
      const error = yield* Effect.flip(
        Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          yield* sql`CREATE TABLE topics (somebody TEXT)`
          yield* SqliteMigrations.migrate
        }).pipe(Effect.provide(Sqlite.layer({ filename })))
      )
      assert.strictEqual(
        error.message,
        'cannot bring the store up to date: Migration "1_topics" failed: the store: table topics already exists'
      )
      // Nothing is left half done.
      const tables = yield* Effect.provide(
        Effect.flatMap(SqlClient.SqlClient, (sql) => sql`SELECT count(*) FROM sluice_migrations`.values),
        Sqlite.layer({ filename })
      )
      assert.deepStrictEqual(tables, [[0]])
    }).pipe(Effect.scoped)
  )
})
