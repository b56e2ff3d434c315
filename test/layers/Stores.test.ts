/** The contract suites on memory and on SQLite, and what only several processes can show. */
import { spawn } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { SqlClient } from "effect/sql"
import * as DeadLettersMemory from "../../src/layers/DeadLettersMemory.ts"
import * as DeadLettersSqlite from "../../src/layers/DeadLettersSqlite.ts"
import * as DedupeMemory from "../../src/layers/DedupeMemory.ts"
import * as DedupeSqlite from "../../src/layers/DedupeSqlite.ts"
import * as Sqlite from "../../src/layers/Sqlite.ts"
import * as SqliteLocks from "../../src/layers/SqliteLocks.ts"
import * as SqliteMigrations from "../../src/layers/SqliteMigrations.ts"
import * as TopicsMemory from "../../src/layers/TopicsMemory.ts"
import * as TopicsSqlite from "../../src/layers/TopicsSqlite.ts"
import { DeadLetters } from "../../src/services/DeadLetters.ts"
import { Topics } from "../../src/services/Topics.ts"
import * as DeadLettersSuite from "../suites/DeadLettersSuite.ts"
import * as DedupeSuite from "../suites/DedupeSuite.ts"
import * as TopicsSuite from "../suites/TopicsSuite.ts"

const temporary = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "sluice-"))),
  (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
)

const store = (filename: string) =>
  Layer.mergeAll(
    SqliteMigrations.layer.pipe(Layer.provideMerge(Sqlite.layer({ filename }))),
    SqliteLocks.layer({ filename })
  )

/** A store in a fresh file. */
const fresh = Layer.unwrap(Effect.map(temporary, (folder) => store(join(folder, "a/b/store.db"))))

TopicsSuite.suite("TopicsMemory", TopicsMemory.layer, TopicsMemory.layerWith)
const topicsSqlite = (options?: TopicsSqlite.Options) => TopicsSqlite.layer(options).pipe(Layer.provide(fresh))
TopicsSuite.suite("TopicsSqlite", topicsSqlite(), topicsSqlite)
const deadLettersSqlite = (options?: DeadLettersSqlite.Options) =>
  DeadLettersSqlite.layer(options).pipe(Layer.provide(fresh))
DeadLettersSuite.suite("DeadLettersMemory", DeadLettersMemory.layer, DeadLettersMemory.layerWith)
DeadLettersSuite.suite("DeadLettersSqlite", deadLettersSqlite(), deadLettersSqlite)
DedupeSuite.suite("DedupeMemory", DedupeMemory.layer)
DedupeSuite.suite("DedupeSqlite", (options) => DedupeSqlite.layer(options).pipe(Layer.provide(fresh)))

const record = (text: string) => ({ id: "id", key: undefined, headers: {}, value: new TextEncoder().encode(text) })

describe("TopicsSqlite", () => {
  it.effect("drops what is too much, but nothing a group has still to read: then it is full", () =>
    Effect.gen(function* () {
      const topics = yield* Topics
      const big = Array.from({ length: 10 }, () => record("x".repeat(1000)))
      for (let i = 0; i < 5; i++) yield* topics.append("free", big)
      assert.isAbove((yield* topics.range("free")).first, 20)
      const reader = yield* topics.open("held", "slow", "earliest")
      yield* topics.append("held", big)
      yield* topics.append("held", big)
      const full = yield* Effect.flip(topics.append("held", big))
      assert.isTrue(full.retryable)
      assert.match(full.message, /group slow has not read/)
      yield* reader.commit({ watermark: 15, settled: "" })
      yield* topics.append("held", big)
      assert.deepStrictEqual((yield* topics.range("held")).next, 30)
      assert.isAtMost((yield* topics.range("held")).first, 15)
    }).pipe(Effect.scoped, Effect.provide(TopicsSqlite.layer({ retentionBytes: 25_000 }).pipe(Layer.provide(fresh))))
  )
})

describe("DeadLettersSqlite", () => {
  it.effect("refuses a burial over its size, and takes it again after a purge", () =>
    Effect.gen(function* () {
      const letters = yield* DeadLetters
      const big = (id: string) =>
        DeadLettersSuite.letter(id, {
          envelope: { ...DeadLettersSuite.letter(id).envelope, payload: new Uint8Array(4000) }
        })
      yield* letters.bury(big("a"))
      const error = yield* Effect.flip(letters.bury(big("b")))
      assert.match(error.message, /full/)
      yield* letters.remove(["a"])
      yield* letters.bury(big("b"))
    }).pipe(Effect.provide(DeadLettersSqlite.layer({ bytesMax: 6000 }).pipe(Layer.provide(fresh))))
  )
})

describe("SqliteMigrations", () => {
  it.effect("refuse a store of a newer version", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      const filename = join(folder, "store.db")
      yield* Effect.provide(
        Effect.flatMap(SqlClient.SqlClient, (sql) => sql`INSERT INTO sluice_migrations VALUES (99, 'now', 'later')`),
        store(filename)
      )
      const error = yield* Effect.flip(Effect.provide(Effect.void, store(filename)))
      assert.match(error.message, /newer version of sluice/)
    }).pipe(Effect.scoped)
  )
})

/** Runs the child program of this test; resolves with its exit and what it printed. */
const child = (args: ReadonlyArray<string>) => {
  const process_ = spawn(process.execPath, [resolve(import.meta.dirname, "StoresChild.ts"), ...args])
  let output = ""
  const line = new Promise<void>((said) =>
    process_.stdout.setEncoding("utf8").on("data", (text) => {
      output += text
      if (output.includes("\n")) said()
    })
  )
  let errors = ""
  process_.stderr.setEncoding("utf8").on("data", (text) => {
    errors += text
  })
  const ended = new Promise<string>((done) =>
    process_.on("close", (code) => done(code === 0 ? "" : `${code}: ${errors}`))
  )
  return { process: process_, line, ended }
}

describe("several processes", () => {
  it.live(
    "make and append to one fresh store at the same time: no gap, no loss, no corruption",
    () =>
      Effect.gen(function* () {
        const filename = join(yield* temporary, "store.db")
        const writers = Array.from({ length: 6 }, (_, i) => child(["append", filename, `w${i}`, "40"]))
        for (const { ended } of writers) assert.strictEqual(yield* Effect.promise(() => ended), "")
        yield* Effect.gen(function* () {
          const topics = yield* Topics
          const reader = yield* topics.open("t", "g", "earliest")
          const all = yield* reader.read(0, 10_000, 100_000_000)
          assert.deepStrictEqual(
            all.map(({ offset }) => offset),
            Array.from({ length: 6 * 40 * 10 }, (_, i) => i)
          )
          for (let i = 0; i < 6; i++) {
            const own = all.filter(({ id }) => id.startsWith(`w${i}-`)).map(({ id }) => Number(id.split("-")[1]))
            assert.deepStrictEqual(
              own,
              Array.from({ length: 400 }, (_, n) => n)
            )
          }
          const sql = yield* SqlClient.SqlClient
          assert.deepStrictEqual(yield* sql`PRAGMA integrity_check`, [{ integrity_check: "ok" }])
        }).pipe(Effect.scoped, Effect.provide(TopicsSqlite.layer().pipe(Layer.provideMerge(store(filename)))))
      }).pipe(Effect.scoped),
    60_000
  )

  it.live("free a lock the moment its holder is killed", () =>
    Effect.gen(function* () {
      const filename = join(yield* temporary, "store.db")
      const holder = child(["hold", filename])
      yield* Effect.promise(() => holder.line)
      yield* Effect.gen(function* () {
        const locks = yield* SqliteLocks.SqliteLocks
        assert.isTrue(yield* locks.isHeld("position"))
        assert.isFalse(yield* locks.tryAcquire("position"))
        holder.process.kill("SIGKILL")
        yield* Effect.promise(() => holder.ended)
        assert.isFalse(yield* locks.isHeld("position"))
        assert.isTrue(yield* locks.tryAcquire("position"))
      }).pipe(Effect.scoped, Effect.provide(SqliteLocks.layer({ filename })))
    }).pipe(Effect.scoped)
  )
})
