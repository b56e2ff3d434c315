/** What every publisher keeps to. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, type Layer, type Scope } from "effect"
import type { Outgoing, Publisher } from "../../src/services/Publisher.ts"

const utf8 = new TextEncoder()

export const outgoing = (text: string, key?: string): Outgoing => ({
  envelope: {
    id: text,
    source: "test",
    key,
    headers: {},
    payload: utf8.encode(text),
    receivedAt: 0,
    attempt: 1
  },
  event: "message",
  key,
  value: utf8.encode(text)
})

/** `read` gives what the other side has, in its order. */
export const suite = <E, R, RL>(
  name: string,
  make: Effect.Effect<
    { readonly publisher: Publisher; readonly read: Effect.Effect<ReadonlyArray<string>> },
    E,
    R | Scope.Scope
  >,
  layer: Layer.Layer<R, RL>
): void => {
  describe(`${name} as a publisher`, () => {
    it.live("has confirmed what it took, in order", () =>
      Effect.gen(function* () {
        const { publisher, read } = yield* make
        const sent = Array.from({ length: 20 }, (_, i) => `{"n":${i}}`)
        for (let i = 0; i < sent.length; i += publisher.batchMax) {
          yield* publisher.publish(sent.slice(i, i + publisher.batchMax).map((text) => outgoing(text, "k")))
          assert.deepStrictEqual(yield* read, sent.slice(0, i + publisher.batchMax))
        }
        assert.deepStrictEqual(yield* read, sent)
      }).pipe(Effect.scoped, Effect.provide(layer))
    )

    it.live("keeps bytes and letters of all kinds", () =>
      Effect.gen(function* () {
        const { publisher, read } = yield* make
        const sent = ['{"text":"ünïcödé 🙂"}', '""', '{"quote":"\\""}']
        for (const text of sent) yield* publisher.publish([outgoing(text)])
        assert.deepStrictEqual(yield* read, sent)
      }).pipe(Effect.scoped, Effect.provide(layer))
    )

    it("has its bounds", () =>
      Effect.runPromise(
        Effect.gen(function* () {
          const { publisher } = yield* make
          assert.isAtLeast(publisher.batchMax, 1)
          assert.isAtLeast(publisher.inFlightMax, 1)
        }).pipe(Effect.scoped, Effect.provide(layer))
      ))
  })
}
