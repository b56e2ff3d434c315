/** Inboxes and positions, in memory and in the embedded store, also when a process is killed. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Layer, Scope } from "effect"
import { SqlClient } from "effect/sql"
import { TestClock } from "effect/testing"
import * as InboxMemory from "../../src/layers/InboxMemory.ts"
import * as InboxSqlite from "../../src/layers/InboxSqlite.ts"
import * as PositionsMemory from "../../src/layers/PositionsMemory.ts"
import * as PositionsSqlite from "../../src/layers/PositionsSqlite.ts"
import { Inbox, type InboxError } from "../../src/services/Inbox.ts"
import { Positions } from "../../src/services/Positions.ts"
import * as InboxSuite from "../suites/InboxSuite.ts"
import * as PositionsSuite from "../suites/PositionsSuite.ts"
import * as Processes from "./Processes.ts"
import * as TemporaryStore from "./TemporaryStore.ts"

InboxSuite.suite(
  "InboxMemory",
  Effect.sync(() => Effect.sync(InboxMemory.makeStore().process))
)

InboxSuite.suite(
  "InboxSqlite",
  Effect.map(TemporaryStore.filename, (filename) =>
    Effect.gen(function* () {
      const scope = yield* Scope.fork(yield* Scope.Scope)
      const built = yield* Layer.buildWithScope(
        Layer.provide(InboxSqlite.layer, TemporaryStore.layerIn(filename)),
        scope
      )
      // Without the end of its boxes' scopes: the store and the locks are gone, as after a kill.
      return { inbox: Context.get(built, Inbox), kill: Scope.close(scope, Exit.void) }
    })
  )
)

PositionsSuite.suite("PositionsMemory", PositionsMemory.layer)
PositionsSuite.suite("PositionsSqlite", PositionsSqlite.layer.pipe(Layer.provide(TemporaryStore.layer)))

const stores = Layer.mergeAll(InboxSqlite.layer, PositionsSqlite.layer)

describe("InboxSqlite", () => {
  it.live("finds what a process held that was killed, but nothing of one that lives", () =>
    Effect.gen(function* () {
      const filename = yield* TemporaryStore.filename
      const [killed, living] = [
        yield* Processes.store("inbox", filename, "killed"),
        yield* Processes.store("inbox", filename, "living")
      ]
      yield* killed.says("put")
      yield* living.says("put")
      yield* Effect.gen(function* () {
        const inbox = yield* Inbox
        const before = yield* inbox.open("a", () => Effect.void)
        assert.deepStrictEqual(before.left, [])
        yield* killed.kill
        const { left } = yield* inbox.open("a", () => Effect.void)
        assert.deepStrictEqual(
          left.map(({ bytes, settled }) => [new TextDecoder().decode(bytes), [...settled]]),
          [["killed", [1]]]
        )
      }).pipe(Effect.provide(Layer.provide(stores, TemporaryStore.layerIn(filename))))
    }).pipe(Effect.scoped)
  )

  it.effect("says that it cannot write, keeps what is settled, and writes it when it can", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const inbox = yield* Inbox
      const errors: Array<InboxError> = []
      const scope = yield* Scope.make()
      const box = yield* Scope.provide(
        inbox.open("a", (error) => Effect.sync(() => void errors.push(error))),
        scope
      )
      const batch = yield* box.put(new Uint8Array(3), 2)
      yield* sql`ALTER TABLE inbox_settled RENAME TO elsewhere`
      box.settle(batch, 1)
      yield* TestClock.adjust(49)
      assert.deepStrictEqual(errors, [])
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(
        errors.map(({ message }) => message),
        ["inbox: the store: no such table: inbox_settled"]
      )
      yield* sql`ALTER TABLE elsewhere RENAME TO inbox_settled`
      yield* TestClock.adjust(1_100)
      assert.strictEqual(errors.length, 1)
      assert.deepStrictEqual(yield* sql`SELECT batch, item FROM inbox_settled`.values, [[batch, 1]])
      box.settle(batch, 0)
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(yield* sql`SELECT * FROM inbox_settled`.values, [])
      assert.deepStrictEqual(yield* sql`SELECT * FROM inbox`.values, [])
    }).pipe(Effect.provide(Layer.provideMerge(stores, TemporaryStore.layer)))
  )

  it.effect("fails a put that is not kept", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const inbox = yield* Inbox
      const box = yield* inbox.open("a", () => Effect.void)
      yield* sql.unsafe("PRAGMA max_page_count = 60")
      const error = yield* box.put(new Uint8Array(1_000_000), 1).pipe(Effect.flip)
      assert.strictEqual(error.message, "inbox: the store: database or disk is full")
      assert.isTrue(error.retryable)
      yield* sql.unsafe("PRAGMA max_page_count = 6000")
      yield* box.put(new Uint8Array(1_000_000), 1)
    }).pipe(Effect.scoped, Effect.provide(Layer.provideMerge(stores, TemporaryStore.layer)))
  )
})

describe("PositionsSqlite", () => {
  it.live("holds a place for a process as long as it lives, and keeps what it noted", () =>
    Effect.gen(function* () {
      const filename = yield* TemporaryStore.filename
      const other = yield* Processes.store("position", filename, "a")
      yield* other.says("noted")
      yield* Effect.gen(function* () {
        const positions = yield* Positions
        assert.match((yield* Effect.flip(Effect.scoped(positions.open("a")))).message, /held by another/)
        yield* other.kill
        const place = yield* positions.open("a")
        assert.strictEqual(yield* place.read, "42")
      }).pipe(Effect.provide(Layer.provide(stores, TemporaryStore.layerIn(filename))))
    }).pipe(Effect.scoped)
  )
})
