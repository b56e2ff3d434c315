/** What every store of dedupe ids keeps to. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, type Layer } from "effect"
import { TestClock } from "effect/testing"
import { Dedupe } from "../../src/services/Dedupe.ts"

interface Options {
  readonly keepMillis?: number
  readonly keepMax?: number
}

const lease = 10_000

export const suite = <E>(name: string, layerWith: (options?: Options) => Layer.Layer<Dedupe, E>): void => {
  describe(`${name} as dedupe`, () => {
    it.effect("lets one do the work, others wait, and nobody do it again", () =>
      Effect.gen(function* () {
        const dedupe = yield* Dedupe
        const claim = (id: string) => dedupe.claim("s", id, lease)
        assert.strictEqual(yield* claim("a"), "claimed")
        assert.strictEqual(yield* claim("a"), "busy")
        assert.strictEqual(yield* dedupe.claim("other", "a", lease), "claimed")
        yield* dedupe.confirm("s", "a")
        assert.strictEqual(yield* claim("a"), "done")
        assert.strictEqual(yield* claim("b"), "claimed")
        yield* dedupe.release("s", "b")
        assert.strictEqual(yield* claim("b"), "claimed")
        yield* TestClock.adjust(lease)
        assert.strictEqual(yield* claim("b"), "claimed")
        yield* TestClock.adjust("1 minute")
        assert.strictEqual(yield* claim("a"), "claimed")
      }).pipe(Effect.provide(layerWith({ keepMillis: 60_000 })))
    )

    it.effect("gives an id to one of many that ask at once", () =>
      Effect.gen(function* () {
        const dedupe = yield* Dedupe
        const claims = yield* Effect.forEach(Array.from({ length: 50 }), () => dedupe.claim("s", "a", lease), {
          concurrency: "unbounded"
        })
        assert.deepStrictEqual(claims.toSorted(), [...Array.from({ length: 49 }, () => "busy"), "claimed"])
      }).pipe(Effect.provide(layerWith()))
    )

    it.effect(
      "keeps what is done: a late release does not undo it, and work that outlived its lease still counts",
      () =>
        Effect.gen(function* () {
          const dedupe = yield* Dedupe
          yield* dedupe.claim("s", "a", lease)
          yield* TestClock.adjust(lease * 2)
          yield* dedupe.confirm("s", "a")
          yield* dedupe.release("s", "a")
          assert.strictEqual(yield* dedupe.claim("s", "a", lease), "done")
          yield* dedupe.confirm("s", "a")
          yield* TestClock.adjust("6 days")
          assert.strictEqual(yield* dedupe.claim("s", "a", lease), "done")
          yield* TestClock.adjust("1 day")
          assert.strictEqual(yield* dedupe.claim("s", "a", lease), "claimed")
        }).pipe(Effect.provide(layerWith()))
    )

    it.effect("forgets the oldest of too many", () =>
      Effect.gen(function* () {
        const dedupe = yield* Dedupe
        const claim = (i: number) => dedupe.claim("s", `${i}`, lease)
        yield* dedupe.claim("s", "at work", 60_000)
        for (let i = 0; i < 500; i++) {
          yield* claim(i)
          yield* dedupe.confirm("s", `${i}`)
          yield* TestClock.adjust(1)
        }
        assert.strictEqual(yield* claim(0), "claimed")
        assert.strictEqual(yield* claim(399), "claimed")
        assert.strictEqual(yield* claim(410), "done")
        assert.strictEqual(yield* claim(499), "done")
        assert.strictEqual(yield* dedupe.claim("s", "at work", lease), "busy")
      }).pipe(Effect.provide(layerWith({ keepMax: 100 })))
    )
  })
}
