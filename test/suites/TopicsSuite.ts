/** What every store of topics keeps to. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, type Layer } from "effect"
import { Topics } from "../../src/services/Topics.ts"

const utf8 = new TextEncoder()
const records = (from: number, count: number) =>
  Array.from({ length: count }, (_, i) => ({
    id: `id-${from + i}`,
    key: (from + i) % 2 === 0 ? `k${from + i}` : undefined,
    headers: { n: `${from + i}` },
    value: utf8.encode(`value ${from + i}`)
  }))

export const suite = <E>(name: string, layer: Layer.Layer<Topics, E>): void => {
  describe(`${name} as topics`, () => {
    it.live("appends in order from offset 0 without gaps, and gives back what it was given", () =>
      Effect.gen(function* () {
        const topics = yield* Topics
        yield* topics.append("t", records(0, 3))
        yield* topics.append("t", [])
        yield* topics.append("t", records(3, 500))
        const reader = yield* topics.open("t", "g", "earliest")
        const read = yield* reader.read(0, 1000, 1_000_000)
        assert.deepStrictEqual(
          read.map(({ offset }) => offset),
          Array.from({ length: 503 }, (_, i) => i)
        )
        assert.deepStrictEqual(
          read.map(({ headers, id, key, value }) => ({
            headers,
            id,
            key,
            value: utf8.encode(new TextDecoder().decode(value))
          })),
          records(0, 503)
        )
        assert.deepStrictEqual(
          (yield* reader.read(501, 10, 1_000_000)).map(({ id }) => id),
          ["id-501", "id-502"]
        )
        assert.strictEqual((yield* reader.read(0, 1000, 20)).length, 3)
        assert.strictEqual((yield* reader.read(0, 1000, 1)).length, 1)
        assert.deepStrictEqual(yield* topics.range("t"), { first: 0, next: 503 })
      }).pipe(Effect.scoped, Effect.provide(layer))
    )

    it.live("keeps a position per group, and asks `from` only the first time", () =>
      Effect.gen(function* () {
        const topics = yield* Topics
        yield* topics.append("t", records(0, 10))
        yield* Effect.scoped(
          Effect.gen(function* () {
            const early = yield* topics.open("t", "early", "earliest")
            const late = yield* topics.open("t", "late", "latest")
            assert.deepStrictEqual(yield* early.position, { watermark: 0, settled: "" })
            assert.deepStrictEqual(yield* late.position, { watermark: 10, settled: "" })
            yield* early.commit({ watermark: 4, settled: "s1:BB" })
          })
        )
        const again = yield* topics.open("t", "early", "latest")
        assert.deepStrictEqual(yield* again.position, { watermark: 4, settled: "s1:BB" })
      }).pipe(Effect.scoped, Effect.provide(layer))
    )

    it.live("refuses a position that is held, by name, and frees it with its scope", () =>
      Effect.gen(function* () {
        const topics = yield* Topics
        yield* Effect.scoped(
          Effect.gen(function* () {
            yield* topics.open("t", "g", "earliest")
            const refused = yield* Effect.flip(Effect.scoped(topics.open("t", "g", "earliest")))
            assert.isFalse(refused.retryable)
            assert.match(refused.message, /topic t: the position of group g is held/)
            yield* topics.open("t", "other", "earliest")
          })
        )
        yield* topics.open("t", "g", "earliest")
      }).pipe(Effect.scoped, Effect.provide(layer))
    )

    it.live("wakes who waits for a record", () =>
      Effect.gen(function* () {
        const topics = yield* Topics
        const reader = yield* topics.open("t", "g", "earliest")
        const waiting = yield* Effect.forkChild(reader.wait(1))
        yield* topics.append("t", records(0, 1))
        yield* reader.wait(0)
        assert.isUndefined(waiting.pollUnsafe())
        yield* topics.append("t", records(1, 1))
        yield* Fiber.join(waiting)
      }).pipe(Effect.scoped, Effect.provide(layer))
    )
  })
}
