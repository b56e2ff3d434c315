/** The first of many that are due, whatever was moved or removed in between. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Random } from "effect"
import { Deadlines, type Due } from "../../src/streams/Deadlines.ts"

describe("Deadlines", () => {
  for (const seed of ["a", "b", "c"]) {
    it.effect(`knows the first among those that are in (seed ${seed})`, () =>
      Effect.gen(function* () {
        const random = yield* Random.Random
        const dice = (below: number): number => Math.floor(random.nextDoubleUnsafe() * below)
        const deadlines = new Deadlines<Due>()
        const all = Array.from({ length: 50 }, (): Due => ({ dueAt: 0, place: -1 }))
        const known = new Map<Due, number>()
        for (let i = 0; i < 10_000; i++) {
          const one = all[dice(50)]!
          if (dice(3) === 0) {
            deadlines.remove(one)
            known.delete(one)
          } else {
            const at = dice(1000)
            deadlines.set(one, at)
            known.set(one, at)
          }
          assert.strictEqual(deadlines.first?.dueAt, known.size === 0 ? undefined : Math.min(...known.values()))
        }
      }).pipe(Random.withSeed(seed))
    )
  }
})
