/** What every store of positions keeps to. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, type Layer } from "effect"
import { Positions } from "../../src/services/Positions.ts"

export const suite = <E>(name: string, layer: Layer.Layer<Positions, E>): void => {
  describe(`${name} as positions`, () => {
    it.live("remembers what was noted last for each reader", () =>
      Effect.gen(function* () {
        const positions = yield* Positions
        const noted = ["12", "", '{"é":"\u0000"}']
        for (const text of noted) {
          yield* Effect.scoped(Effect.flatMap(positions.open("a"), ({ note }) => note(text)))
          const place = yield* Effect.scoped(Effect.flatMap(positions.open("a"), ({ read }) => read))
          assert.strictEqual(place, text)
        }
        const other = yield* positions.open("b")
        assert.isUndefined(yield* other.read)
        yield* other.note("1")
        yield* other.note("2")
        assert.strictEqual(yield* other.read, "2")
      }).pipe(Effect.scoped, Effect.provide(layer))
    )

    it.live("refuses a place that is held, by its name, and frees it with its scope", () =>
      Effect.gen(function* () {
        const positions = yield* Positions
        yield* Effect.scoped(
          Effect.gen(function* () {
            yield* positions.open("a")
            yield* positions.open("b")
            const error = yield* Effect.flip(Effect.scoped(positions.open("a")))
            assert.isFalse(error.retryable)
            assert.match(error.message, /^the position of a is held by another pipeline or process/)
          })
        )
        yield* positions.open("a")
      }).pipe(Effect.scoped, Effect.provide(layer))
    )
  })
}
