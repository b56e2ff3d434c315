/** The journal in memory and in the store, alone, idle, in trouble, and with other processes on the file. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Exit, Fiber, Layer, Logger, Scope } from "effect"
import { SqlClient } from "effect/sql"
import { TestClock } from "effect/testing"
import * as JournalMemory from "../../src/layers/JournalMemory.ts"
import * as JournalSqlite from "../../src/layers/JournalSqlite.ts"
import * as Sqlite from "../../src/layers/Sqlite.ts"
import { Journal } from "../../src/services/Journal.ts"
import { entry, step, suite } from "../suites/JournalSuite.ts"
import * as Processes from "./Processes.ts"
import * as TemporaryStore from "./TemporaryStore.ts"

suite("JournalMemory", JournalMemory.layer)
suite("JournalSqlite", (options) => JournalSqlite.layer(options).pipe(Layer.provide(TemporaryStore.layer)))

const rows = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  const [row] = yield* sql<{ count: number }>`SELECT count(*) AS count FROM journal`
  return row!.count
})

const withStore = (options?: JournalSqlite.Options) =>
  JournalSqlite.layer(options).pipe(Layer.provideMerge(TemporaryStore.layer))

const collecting = () => {
  const lines: Array<string> = []
  return { lines, layer: Logger.layer([Logger.make(({ message }) => void lines.push(String(message)))]) }
}

describe("The journal in the store", () => {
  it.effect("writes a quarter of a second after the first note, many in one go", () =>
    Effect.gen(function* () {
      const journal = yield* Journal
      for (let i = 0; i < 1234; i++) journal.note(entry(`${i}`, i))
      assert.strictEqual(yield* rows, 0)
      yield* TestClock.adjust(249)
      assert.strictEqual(yield* rows, 0)
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* rows, 1234)
      journal.note(entry("late", 2000))
      yield* TestClock.adjust(250)
      assert.strictEqual(yield* rows, 1235)
    }).pipe(Effect.provide(withStore()))
  )

  it.effect("keeps no more than so many bytes, the newest, also after a restart", () =>
    Effect.gen(function* () {
      const detected = Array.from({ length: 100 }, (_, i) => ({
        event: `event.${i}`,
        verdict: "no" as const,
        why: "payload.amount is 3, not gt 500"
      }))
      const written = Effect.fnUntraced(function* (from: number) {
        const journal = yield* JournalSqlite.make({ keepBytes: 200_000 })
        for (let i = from; i < from + 60; i++) journal.note(entry(`${i}`, i, { detected }))
        return (yield* journal.find({ limit: 1000 })).map(({ id }) => Number(id))
      }, Effect.scoped)
      for (const from of [0, 60]) {
        const kept = yield* written(from)
        const newest = from + 59
        assert.strictEqual(kept.at(-1), newest)
        // Each has some 7,500 bytes.
        assert.isAtLeast(kept.length, 20)
        assert.isAtMost(kept.length, 27)
        assert.strictEqual(kept[0], newest - kept.length + 1)
      }
    }).pipe(Effect.provide(TemporaryStore.layer))
  )

  it.effect("sets no timer and writes nothing while nothing is noted", () => {
    const sleeps: Array<unknown> = []
    const counting = Layer.effect(
      Clock.Clock,
      Effect.map(Clock.Clock, (clock) =>
        Clock.Clock.of({
          currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe(),
          currentTimeMillis: clock.currentTimeMillis,
          currentTimeNanosUnsafe: () => clock.currentTimeNanosUnsafe(),
          currentTimeNanos: clock.currentTimeNanos,
          monotonicTimeNanosUnsafe: () => clock.monotonicTimeNanosUnsafe(),
          monotonicTimeNanos: clock.monotonicTimeNanos,
          sleep: (duration) => {
            sleeps.push(duration)
            return clock.sleep(duration)
          }
        })
      )
    )
    return Effect.gen(function* () {
      const filename = yield* TemporaryStore.filename
      yield* Effect.gen(function* () {
        const journal = yield* Journal
        // This connection is another than the journal's, so it sees when that has written.
        const version = Sqlite.dataVersion(yield* SqlClient.SqlClient)
        const before = yield* version
        yield* TestClock.adjust("1 hour")
        assert.strictEqual(sleeps.length, 0)
        assert.strictEqual(yield* version, before)
        journal.note(entry("a", 1))
        journal.note(entry("b", 2))
        assert.strictEqual(sleeps.length, 1)
        yield* TestClock.adjust("1 second")
        const after = yield* version
        assert.notStrictEqual(after, before)
        yield* TestClock.adjust("1 hour")
        assert.strictEqual(sleeps.length, 1)
        assert.strictEqual(yield* version, after)
      }).pipe(
        Effect.provide(
          Layer.merge(
            JournalSqlite.layer().pipe(Layer.provide(TemporaryStore.layerIn(filename)), Layer.provide(counting)),
            TemporaryStore.layerIn(filename)
          )
        )
      )
    }).pipe(Effect.scoped)
  })

  it.effect("writes the rest when it is closed", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const journal = yield* Scope.provide(JournalSqlite.make(), scope)
      for (let i = 0; i < 700; i++) journal.note(entry(`${i}`, i))
      assert.strictEqual(yield* rows, 0)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(yield* rows, 700)
    }).pipe(Effect.provide(TemporaryStore.layer))
  )

  it.effect("keeps the newest while the store fails, says so once a minute, and writes them when it can again", () => {
    const { layer, lines } = collecting()
    return Effect.gen(function* () {
      const journal = yield* Journal
      const sql = yield* SqlClient.SqlClient
      yield* sql`ALTER TABLE journal RENAME TO gone`
      for (let i = 0; i < 30; i++) journal.note(entry(`${i}`, i))
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(lines, [
        "journal: cannot write: the store: no such table: journal, 20 entries were left out"
      ])
      const error = yield* Effect.flip(journal.find({ limit: 1 }))
      assert.strictEqual(error.message, "journal: the store: no such table: journal")
      for (let i = 30; i < 35; i++) journal.note(entry(`${i}`, i))
      yield* TestClock.adjust("45 seconds")
      assert.strictEqual(lines.length, 1)
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(lines.length, 2)
      assert.match(lines[1]!, /, 5 entries were left out$/)
      yield* sql`ALTER TABLE gone RENAME TO journal`
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(yield* rows, 10)
      assert.deepStrictEqual(
        (yield* journal.find({ limit: 100 })).map(({ id }) => id),
        Array.from({ length: 10 }, (_, i) => `${25 + i}`)
      )
      assert.strictEqual(lines.length, 2)
    }).pipe(Effect.provide(Layer.provideMerge(withStore({ bufferMax: 10 }), layer)))
  })

  it.effect("says what it could not write when it is closed", () => {
    const { layer, lines } = collecting()
    return Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const scope = yield* Scope.make()
      const journal = yield* Scope.provide(JournalSqlite.make(), scope)
      yield* sql`DROP TABLE journal`
      for (let i = 0; i < 3; i++) journal.note(entry(`${i}`, i))
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(lines, [
        "journal: cannot write: the store: no such table: journal, 3 entries were left out"
      ])
    }).pipe(Effect.provide(Layer.merge(TemporaryStore.layer, layer)))
  })

  it.effect("reads no more than it needs: by pipeline, id and time through an index", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const plan = Effect.fnUntraced(function* (where: string) {
        const rows = yield* sql.unsafe<{ detail: string }>(
          `EXPLAIN QUERY PLAN SELECT * FROM journal WHERE 1 = 1 AND ${where} ORDER BY at DESC, place DESC LIMIT 100`
        )
        return rows.map(({ detail }) => detail)
      })
      assert.deepStrictEqual(yield* plan("pipeline = 'p'"), [
        "SEARCH journal USING INDEX journal_pipeline (pipeline=?)"
      ])
      assert.deepStrictEqual(yield* plan("pipeline = 'p' AND at >= 1"), [
        "SEARCH journal USING INDEX journal_pipeline (pipeline=? AND at>?)"
      ])
      assert.deepStrictEqual(yield* plan("id = 'i'"), ["SEARCH journal USING INDEX journal_id (id=?)"])
      assert.deepStrictEqual(yield* plan("at >= 1"), ["SEARCH journal USING INDEX journal_at (at>?)"])
      assert.deepStrictEqual(yield* plan("outcome = 'buried'"), ["SCAN journal USING INDEX journal_at"])
    }).pipe(Effect.provide(TemporaryStore.layer))
  )

  it.live("waits while another process holds the store, and then writes everything", () =>
    Effect.gen(function* () {
      const filename = yield* TemporaryStore.filename
      const other = yield* Processes.store("write", filename)
      yield* other.says("writing")
      yield* Effect.gen(function* () {
        const journal = yield* Journal
        journal.note(entry("a", 1))
        yield* Effect.sleep(400)
        // By now the first write is at it.
        journal.note(entry("b", 2))
        const found = yield* Effect.forkChild(journal.find({ limit: 10 }), { startImmediately: true })
        yield* Effect.sleep(200)
        assert.isUndefined(found.pollUnsafe())
        yield* other.tell("go on")
        assert.deepStrictEqual(
          (yield* Fiber.join(found)).map(({ id }) => id),
          ["a", "b"]
        )
      }).pipe(Effect.provide(JournalSqlite.layer().pipe(Layer.provide(TemporaryStore.layerIn(filename)))))
    }).pipe(Effect.scoped)
  )

  it.live("is kept by several processes on one file", () =>
    Effect.gen(function* () {
      const filename = yield* TemporaryStore.filename
      yield* Effect.gen(function* () {
        const journal = yield* Journal
        const others = yield* Effect.forEach(["p", "q"], (name) => Processes.store("note", filename, name, "2000"))
        for (let i = 0; i < 2000; i++) journal.note(entry(`${i}`, i, { pipeline: "own", steps: [step("x")] }))
        for (const { ended } of others) yield* ended
        for (const pipeline of ["own", "p", "q"]) {
          const found = yield* journal.find({ pipeline, limit: 10_000 })
          assert.deepStrictEqual(
            found.map(({ id }) => id),
            Array.from({ length: 2000 }, (_, i) => `${i}`),
            pipeline
          )
        }
        assert.strictEqual((yield* journal.find({ event: "x", limit: 10_000 })).length, 6000)
      }).pipe(Effect.provide(JournalSqlite.layer().pipe(Layer.provide(TemporaryStore.layerIn(filename)))))
    }).pipe(Effect.scoped)
  )
})
