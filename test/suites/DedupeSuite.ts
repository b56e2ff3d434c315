/** What every store of dedupe ids keeps to. `make` remembers 3 done ids for a minute. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, type Layer } from "effect"
import { TestClock } from "effect/testing"
import { Dedupe } from "../../src/services/Dedupe.ts"

export const suite = <E>(name: string, layer: Layer.Layer<Dedupe, E>): void => {
  describe(`${name} as dedupe`, () => {
    it.effect("lets one do the work, others wait, and nobody do it again", () =>
      Effect.gen(function* () {
        const dedupe = yield* Dedupe
        const claim = (id: string) => dedupe.claim("s", id, 10_000)
        assert.strictEqual(yield* claim("a"), "claimed")
        assert.strictEqual(yield* claim("a"), "busy")
        assert.strictEqual(yield* dedupe.claim("other", "a", 10_000), "claimed")
        yield* dedupe.confirm("s", "a")
        assert.strictEqual(yield* claim("a"), "done")
        assert.strictEqual(yield* claim("b"), "claimed")
        yield* dedupe.release("s", "b")
        assert.strictEqual(yield* claim("b"), "claimed")
        yield* TestClock.adjust("10 seconds")
        assert.strictEqual(yield* claim("b"), "claimed")
        yield* TestClock.adjust("1 minute")
        assert.strictEqual(yield* claim("a"), "claimed")
      }).pipe(Effect.provide(layer))
    )
  })
}
