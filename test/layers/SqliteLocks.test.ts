/** Locks: one holder at a time, in one process and in several, and none that is dead. */
import { readdirSync } from "node:fs"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { layer, SqliteLocks } from "../../src/layers/SqliteLocks.ts"
import * as Processes from "./Processes.ts"
import * as TemporaryStore from "./TemporaryStore.ts"

const locksIn = (filename: string) => layer({ filename })

describe("SqliteLocks", () => {
  it.effect("let one have a name at a time, in one process too, until its scope closes", () =>
    Effect.gen(function* () {
      const filename = yield* TemporaryStore.filename
      const use = (held: Effect.Effect<void, unknown, SqliteLocks>) =>
        Effect.provide(held, Layer.fresh(locksIn(filename)))
      const isFree = Effect.flatMap(SqliteLocks, (locks) => Effect.scoped(locks.tryAcquire("a")))
      yield* use(
        Effect.gen(function* () {
          const locks = yield* SqliteLocks
          assert.isTrue(yield* locks.tryAcquire("a"))
          assert.isFalse(yield* locks.tryAcquire("a"))
          assert.isTrue(yield* locks.tryAcquire("b"))
          assert.isTrue(yield* locks.isHeld("a"))
          assert.isFalse(yield* locks.isHeld("c"))
          yield* use(Effect.map(isFree, assert.isFalse))
        }).pipe(Effect.scoped)
      )
      yield* use(Effect.map(isFree, assert.isTrue))
    }).pipe(Effect.scoped)
  )

  it.live("are free the moment their holder is killed, and held until then", () =>
    Effect.gen(function* () {
      const filename = yield* TemporaryStore.filename
      const holder = yield* Processes.store("lock", filename, "a")
      yield* holder.says("got it")
      const second = yield* Processes.store("lock", filename, "a")
      yield* second.says("refused")
      yield* Effect.gen(function* () {
        const locks = yield* SqliteLocks
        const tryIt = Effect.scoped(locks.tryAcquire("a"))
        // Neither those who look nor those who try and go away take it from its holder.
        for (let i = 0; i < 20; i++) {
          assert.isTrue(yield* locks.isHeld("a"))
          assert.isFalse(yield* tryIt)
        }
        yield* holder.kill
        assert.isFalse(yield* locks.isHeld("a"))
        assert.isTrue(yield* tryIt)
      }).pipe(Effect.provide(locksIn(filename)))
    }).pipe(Effect.scoped)
  )

  it.live("are held as long as their process lives, also when only the garbage collector could find the holder", () =>
    Effect.gen(function* () {
      const filename = yield* TemporaryStore.filename
      const holder = yield* Processes.store("forget", filename, "a")
      yield* holder.says("collected")
      const second = yield* Processes.store("lock", filename, "a")
      yield* second.says("refused")
    }).pipe(Effect.scoped)
  )

  it.live("have one winner when several come at the same moment", () =>
    Effect.gen(function* () {
      const filename = yield* TemporaryStore.filename
      for (let round = 0; round < 3; round++) {
        const all = yield* Effect.forEach(Array.from({ length: 6 }), () =>
          Processes.store("lock", filename, `name ${round}`)
        )
        const said = yield* Effect.forEach(all, ({ says }) => Effect.raceFirst(says("got it"), says("refused")))
        assert.strictEqual(said.filter((one) => one === "got it").length, 1)
        for (const { kill } of all) yield* kill
      }
    }).pipe(Effect.scoped)
  )

  it.live("know which processes live, and leave no files of those that do not", () =>
    Effect.gen(function* () {
      const filename = yield* TemporaryStore.filename
      const files = () => readdirSync(`${filename}.locks`).filter((file) => file.endsWith(".process"))
      const other = yield* Processes.store("lock", filename, "a")
      yield* other.says("got it")
      const name = files()[0]!.replace(".process", "")
      yield* Effect.gen(function* () {
        const { lives, self } = yield* SqliteLocks
        assert.isTrue(yield* lives(self))
        assert.isTrue(yield* lives(name))
        assert.isFalse(yield* lives("nobody"))
        yield* other.kill
        assert.isFalse(yield* lives(name))
        assert.strictEqual(files().length, 2)
        yield* Effect.provide(
          Effect.sync(() => assert.notInclude(files(), `${name}.process`)),
          Layer.fresh(locksIn(filename))
        )
        assert.isTrue(yield* lives(self))
      }).pipe(Effect.provide(locksIn(filename)))
      assert.deepStrictEqual(files(), [])
    }).pipe(Effect.scoped)
  )
})
