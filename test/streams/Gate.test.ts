/** How many calls a target is given at once, as its answers say. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber } from "effect"
import * as Gate from "../../src/streams/Gate.ts"

const ok = Effect.void
const busy = Effect.fail("busy")
const wrong = Effect.fail("wrong")
const run = <A>(gate: Gate.Gate, call: Effect.Effect<A, string>) =>
  Effect.exit(gate.run(call, (error) => error === "busy"))
const times = (n: number, gate: Gate.Gate, call: Effect.Effect<void, string>) =>
  Effect.forEach(Array.from({ length: n }), () => run(gate, call))

describe("Gate", () => {
  it.effect("lets no more in at once than it has places, and more as it grows", () =>
    Effect.gen(function* () {
      const gate = Gate.make({ first: 2, max: 3 })
      for (const [places, after] of [
        [2, 3],
        [3, 3]
      ]) {
        let working = 0
        const go = yield* Deferred.make<void>()
        const call = Effect.suspend(() => {
          working++
          return Deferred.await(go)
        })
        const fibers = yield* Effect.forEach(Array.from({ length: 6 }), () => Effect.forkChild(run(gate, call)))
        yield* Effect.yieldNow
        assert.strictEqual(working, places)
        yield* Deferred.succeed(go, undefined)
        yield* Effect.forEach(fibers, Fiber.join)
        assert.deepStrictEqual([working, gate.size], [6, after])
      }
    })
  )

  it.effect("halves once for all that were under way when the target was busy, and never below one", () =>
    Effect.gen(function* () {
      const gate = Gate.make({ first: 8, max: 8 })
      const go = yield* Deferred.make<void>()
      const call = Effect.andThen(Deferred.await(go), busy)
      const fibers = yield* Effect.forEach(Array.from({ length: 8 }), () => Effect.forkChild(run(gate, call)))
      yield* Effect.yieldNow
      yield* Deferred.succeed(go, undefined)
      yield* Effect.forEach(fibers, Fiber.join)
      assert.strictEqual(gate.size, 4)
      yield* times(5, gate, busy)
      assert.strictEqual(gate.size, 1)
    })
  )

  it.effect("asks a target that never bears two ever more seldom with two", () =>
    Effect.gen(function* () {
      const gate = Gate.make({ first: 1, max: 8 })
      const goodsBetween: Array<number> = []
      for (let i = 0; i < 9; i++) {
        let goods = 0
        while (gate.size === 1) {
          yield* run(gate, ok)
          goods++
        }
        goodsBetween.push(goods)
        yield* run(gate, busy)
      }
      assert.deepStrictEqual(goodsBetween, [1, 2, 4, 8, 16, 32, 64, 64, 64])
    })
  )

  it.effect("grows again, faster and faster, once the target bears more", () =>
    Effect.gen(function* () {
      const gate = Gate.make({ first: 4, max: 5 })
      yield* times(10, gate, busy)
      yield* times(64 + 2 * 64 + 3 * 32 + 4 * 16, gate, ok)
      assert.strictEqual(gate.size, 5)
      yield* times(1000, gate, ok)
      assert.strictEqual(gate.size, 5)
    })
  )

  it.effect("minds neither other failures nor interruption, which give their places back", () =>
    Effect.gen(function* () {
      const gate = Gate.make({ first: 1, max: 1 })
      yield* times(3, gate, wrong)
      const stuck = yield* Effect.forkChild(run(gate, Effect.never))
      yield* Effect.yieldNow
      yield* Fiber.interrupt(stuck)
      yield* run(gate, ok)
      assert.strictEqual(gate.size, 1)
    })
  )
})
