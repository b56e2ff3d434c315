/** What every store of dead letters keeps to. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, type Layer, Option } from "effect"
import { DeadLetters, type Letter } from "../../src/services/DeadLetters.ts"

export const letter = (id: string, over: Partial<Letter> = {}): Letter => ({
  id,
  pipeline: "orders",
  event: "order.paid",
  leg: "dispatch.0:http",
  stage: "dispatch",
  reason: "it said no",
  attempts: 8,
  at: 1_700_000_000_000,
  sequence: 1,
  envelope: {
    id: `message-${id}`,
    source: "topic:orders",
    key: "k",
    headers: { a: "1", ü: "\u0000" },
    payload: new Uint8Array([0, 255, 10, 13, 128]),
    receivedAt: 1_700_000_000_000,
    attempt: 2,
    partition: "3",
    position: 42
  },
  reply: undefined,
  ...over
})

const plain = (value: unknown): unknown =>
  JSON.parse(JSON.stringify(value, (_, one) => (one instanceof Uint8Array ? [...one] : one)))

/** `layerWith` makes one with its own limit; absent for those whose limit is not ours. */
export const suite = <E>(
  name: string,
  layer: Layer.Layer<DeadLetters, E>,
  layerWith?: (options: { readonly bytesMax: number }) => Layer.Layer<DeadLetters, E>
): void => {
  describe(`${name} as dead letters`, () => {
    it.effect("keeps a letter whole", () =>
      Effect.gen(function* () {
        const letters = yield* DeadLetters
        const replies = [
          undefined,
          { kind: "accepted", payload: new Uint8Array([1, 2, 255]), status: 200 },
          { kind: "accepted", payload: { nested: [1, null] } },
          { kind: "refused", payload: "text", reason: "no" }
        ] as const
        for (const [i, reply] of replies.entries()) {
          const whole = letter(`whole-${i}`, { reply, event: i === 0 ? undefined : "e" })
          yield* letters.bury(whole)
          const read = Option.getOrThrow(yield* letters.get(`whole-${i}`))
          assert.deepStrictEqual(plain(read), plain(whole))
          assert.instanceOf(read.envelope.payload, Uint8Array)
          if (reply?.payload instanceof Uint8Array) assert.instanceOf(read.reply?.payload, Uint8Array)
        }
        assert.isTrue(Option.isNone(yield* letters.get("nobody")))
      }).pipe(Effect.provide(layer))
    )

    it.effect("keeps a key that is no text, a message without a value, and the time of its producer", () =>
      Effect.gen(function* () {
        const letters = yield* DeadLetters
        const { envelope } = letter("odd")
        const keyBytes = new Uint8Array([255, 0, 254])
        const binary = letter("binary", { envelope: { ...envelope, key: "/wD+", keyBytes, producedAt: 1.7e18 } })
        const empty = letter("empty", {
          envelope: { ...envelope, key: undefined, payload: new Uint8Array(), tombstone: true, broken: "cut off" }
        })
        for (const whole of [binary, empty]) {
          yield* letters.bury(whole)
          const read = Option.getOrThrow(yield* letters.get(whole.id))
          assert.deepStrictEqual(plain(read), plain(whole))
        }
        assert.instanceOf(Option.getOrThrow(yield* letters.get("binary")).envelope.keyBytes, Uint8Array)
      }).pipe(Effect.provide(layer))
    )

    it.effect("lists in the order of origin, by pipeline and by id, replaces a known id, and removes", () =>
      Effect.gen(function* () {
        const letters = yield* DeadLetters
        const at = (id: string, receivedAt: number, sequence: number, pipeline = "orders") =>
          letter(id, { sequence, pipeline, envelope: { ...letter(id).envelope, receivedAt } })
        for (const one of [at("c", 2, 1), at("b", 1, 2), at("a", 1, 1), at("d", 0, 9, "other")])
          yield* letters.bury(one)
        const ids = (filter: Parameters<typeof letters.list>[0]) =>
          Effect.map(letters.list(filter), (found) => found.map(({ id }) => id))
        assert.deepStrictEqual(yield* ids({}), ["d", "a", "b", "c"])
        assert.deepStrictEqual(yield* ids({ pipeline: "orders" }), ["a", "b", "c"])
        assert.deepStrictEqual(yield* ids({ ids: ["c", "a", "nobody"] }), ["a", "c"])
        yield* letters.bury({ ...at("b", 1, 2), attempts: 99 })
        assert.strictEqual(Option.getOrThrow(yield* letters.get("b")).attempts, 99)
        assert.deepStrictEqual(yield* ids({ pipeline: "other", ids: ["a", "d"] }), ["d"])
        assert.deepStrictEqual(yield* ids({ ids: [] }), [])
        assert.strictEqual(yield* letters.remove(["a", "nobody", "d", "a"]), 2)
        assert.deepStrictEqual(yield* ids({}), ["b", "c"])
      }).pipe(Effect.provide(layer))
    )

    it.effect("lists letters of one origin in the order of their burial, also after one was buried again", () =>
      Effect.gen(function* () {
        const letters = yield* DeadLetters
        for (const id of ["z", "m", "a"]) yield* letters.bury(letter(id))
        yield* letters.bury(letter("m", { attempts: 9 }))
        assert.deepStrictEqual(
          (yield* letters.list({})).map(({ attempts, id }) => [id, attempts]),
          [
            ["z", 8],
            ["m", 9],
            ["a", 8]
          ]
        )
      }).pipe(Effect.provide(layer))
    )

    it.effect("lists any number of letters", () =>
      Effect.gen(function* () {
        const letters = yield* DeadLetters
        const ids = Array.from({ length: 1_200 }, (_, i) => `id-${i}`)
        for (const [i, id] of ids.entries()) yield* letters.bury(letter(id, { sequence: i }))
        assert.deepStrictEqual(
          (yield* letters.list({})).map(({ id }) => id),
          ids
        )
        assert.deepStrictEqual(
          (yield* letters.list({ ids: ids.slice(100).reverse() })).map(({ id }) => id),
          ids.slice(100)
        )
        assert.strictEqual(yield* letters.remove(ids), 1_200)
      }).pipe(Effect.provide(layer))
    )

    it.effect("takes a letter whose reply no JSON can hold", () =>
      Effect.gen(function* () {
        const letters = yield* DeadLetters
        const cycle: Record<string, unknown> = { n: 1n }
        cycle.self = cycle
        yield* letters.bury(letter("odd", { reply: { kind: "accepted", payload: cycle, status: 201 } }))
        const read = Option.getOrThrow(yield* letters.get("odd"))
        assert.strictEqual(read.reply?.status, 201)
        assert.deepStrictEqual([...read.envelope.payload], [0, 255, 10, 13, 128])
      }).pipe(Effect.provide(layer))
    )

    if (layerWith === undefined) return
    it.effect("refuses a burial over its size and drops nothing; what makes room is taken", () =>
      Effect.gen(function* () {
        const letters = yield* DeadLetters
        const sized = (id: string, bytes: number) =>
          letter(id, { envelope: { ...letter(id).envelope, payload: new Uint8Array(bytes) } })
        yield* letters.bury(sized("a", 40_000))
        yield* letters.bury(sized("b", 40_000))
        const error = yield* Effect.flip(letters.bury(sized("c", 40_000)))
        assert.strictEqual(error.message, "the dead letters are full (100000 bytes): replay or purge some")
        assert.strictEqual((yield* letters.list({})).length, 2)
        // Buried again it counts once.
        yield* letters.bury(sized("a", 40_000))
        yield* letters.bury(sized("b", 50_000))
        assert.isTrue(Option.isNone(yield* letters.get("c")))
        yield* letters.remove(["a"])
        yield* letters.bury(sized("c", 40_000))
      }).pipe(Effect.provide(layerWith({ bytesMax: 100_000 })))
    )
  })
}
