/** Topics that several processes use, and processes that die while they do. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Fiber, Layer } from "effect"
import { SqlClient } from "effect/sql"
import * as TopicsSqlite from "../../src/layers/TopicsSqlite.ts"
import { Topics } from "../../src/services/Topics.ts"
import * as Processes from "./Processes.ts"
import * as TemporaryStore from "./TemporaryStore.ts"

const topicsIn = (filename: string) => TopicsSqlite.layer().pipe(Layer.provideMerge(TemporaryStore.layerIn(filename)))

/** The ids of a topic, once its offsets have no gap and the file is whole. */
const checked = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  const topics = yield* Topics
  const { first, next } = yield* topics.range("t")
  const reader = yield* topics.open("t", "check", "earliest")
  const read = yield* reader.read(0, 1_000_000, 2 ** 30)
  assert.deepStrictEqual(
    read.map(({ offset }) => offset),
    Array.from({ length: next - first }, (_, i) => first + i)
  )
  assert.deepStrictEqual(yield* sql`PRAGMA integrity_check`.values, [["ok"]])
  // What the topic counts is what is there.
  assert.deepStrictEqual(
    yield* sql`SELECT count(*) FROM topics WHERE appended - dropped <>
      (SELECT sum(length(id) + length(headers) + length(value)) FROM topic_records)`.values,
    [[0]]
  )
  return read.map(({ id }) => id)
}).pipe(Effect.scoped)

const written = (ids: ReadonlyArray<string>, writer: string): ReadonlyArray<number> =>
  ids.filter((id) => id.startsWith(`${writer}-`)).map((id) => Number(id.slice(writer.length + 1)))

const upTo = (count: number) => Array.from({ length: count }, (_, i) => i)

describe("TopicsSqlite, shared by processes", () => {
  it.live("loses nothing of four that append at the same time, and keeps the order of each", () =>
    Effect.gen(function* () {
      const filename = yield* TemporaryStore.filename
      const writers = ["a", "b", "c", "d"]
      const all = yield* Effect.forEach(writers, (name) => Processes.store("append", filename, name, "100"))
      for (const { ended } of all) yield* ended
      const ids = yield* Effect.provide(checked, topicsIn(filename))
      assert.strictEqual(ids.length, 4_000)
      for (const writer of writers) assert.deepStrictEqual(written(ids, writer), upTo(1_000))
    }).pipe(Effect.scoped)
  )

  it.live("keeps whole batches, and all that were confirmed, when writers are killed", () =>
    Effect.gen(function* () {
      const filename = yield* TemporaryStore.filename
      for (const [round, batch] of [3, 20, 50].entries()) {
        const writers = [`${round}a`, `${round}b`]
        const all = yield* Effect.forEach(writers, (name) => Processes.store("append", filename, name))
        for (const { says } of all) yield* says(`appended ${batch}`)
        for (const { kill } of all) yield* kill
        const ids = yield* Effect.provide(checked, topicsIn(filename))
        for (const writer of writers) {
          const numbers = written(ids, writer)
          assert.deepStrictEqual(numbers, upTo(numbers.length))
          assert.strictEqual(numbers.length % 10, 0)
          assert.isAtLeast(numbers.length, (batch + 1) * 10)
        }
      }
    }).pipe(Effect.scoped)
  )

  it.live("frees a position the moment its process is killed", () =>
    Effect.gen(function* () {
      const filename = yield* TemporaryStore.filename
      const other = yield* Processes.store("open", filename, "g")
      yield* other.says("open")
      yield* Effect.gen(function* () {
        const topics = yield* Topics
        const error = yield* Effect.flip(Effect.scoped(topics.open("t", "g", "earliest")))
        assert.isFalse(error.retryable)
        yield* other.kill
        yield* topics.open("t", "g", "earliest")
      }).pipe(Effect.provide(topicsIn(filename)))
    }).pipe(Effect.scoped)
  )

  it.live("sees within a moment what another process has appended", () =>
    Effect.gen(function* () {
      const filename = yield* TemporaryStore.filename
      yield* Effect.gen(function* () {
        const topics = yield* Topics
        const reader = yield* topics.open("t", "g", "earliest")
        // Quiet for so long that it looks as seldom as it ever does.
        const waiting = yield* Effect.forkChild(Effect.andThen(reader.wait(9), Clock.currentTimeMillis))
        yield* Effect.sleep(300)
        assert.isUndefined(waiting.pollUnsafe())
        const other = yield* Processes.store("append", filename, "a", "1")
        yield* Effect.raceFirst(other.says("appended 0"), Fiber.await(waiting))
        const { at } = (yield* reader.read(9, 1, 1))[0]!
        assert.isAtMost((yield* Fiber.join(waiting)) - at, 500)
      }).pipe(Effect.provide(topicsIn(filename)))
    }).pipe(Effect.scoped)
  )

  it.live("goes on with the read when it cannot look, so that the reader hears of it", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const topics = yield* Topics
      const reader = yield* topics.open("t", "g", "earliest")
      const waiting = yield* Effect.forkChild(reader.wait(0))
      yield* sql`ALTER TABLE topics RENAME TO gone`
      yield* sql`ALTER TABLE topic_records RENAME TO gone_too`
      yield* Fiber.join(waiting)
      const error = yield* Effect.flip(reader.read(0, 1, 1))
      assert.strictEqual(error.message, "topic t: the store: no such table: topic_records")
    }).pipe(Effect.scoped, Effect.provide(TopicsSqlite.layer().pipe(Layer.provideMerge(TemporaryStore.layer))))
  )

  it.live("takes 500 records in one call, 50,000 and more a second", () =>
    Effect.gen(function* () {
      const topics = yield* Topics
      const value = new Uint8Array(145)
      const batch = upTo(500).map((i) => ({ id: `id-${i}`, key: `k${i}`, headers: { "sluice-event": "e" }, value }))
      let best = Number.POSITIVE_INFINITY
      for (let i = 0; i < 40; i++) {
        const before = yield* Clock.currentTimeNanos
        yield* topics.append("t", batch)
        best = Math.min(best, Number((yield* Clock.currentTimeNanos) - before) / 1e6)
      }
      assert.isAtMost(best, 10)
    }).pipe(Effect.provide(TopicsSqlite.layer().pipe(Layer.provide(TemporaryStore.layer))))
  )
})
