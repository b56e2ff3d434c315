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

export const suite = <E>(name: string, layer: Layer.Layer<DeadLetters, E>): void => {
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
        assert.strictEqual(yield* letters.remove(["a", "nobody", "d"]), 2)
        assert.deepStrictEqual(yield* ids({}), ["b", "c"])
      }).pipe(Effect.provide(layer))
    )
  })
}
