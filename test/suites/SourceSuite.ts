/** What every source keeps to. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, type Scope, Stream } from "effect"
import type { Delivery } from "../../src/services/Delivery.ts"
import { acked } from "../../src/services/Delivery.ts"
import * as Envelope from "../../src/services/Envelope.ts"
import { later } from "../../src/services/Ready.ts"
import { Downstream, type Source } from "../../src/services/Source.ts"

export interface Features {
  /** Opened again, it gives what was not settled. */
  readonly givesAgain: boolean
  /** What it gives again comes in the order it came first; absent means it does. */
  readonly keepsOrder?: boolean
}

/** A source that is read without a road. */
export const alone = Layer.succeed(Downstream, { quiet: Effect.void, go: Effect.void, recall: Effect.void })

/** `make` builds a source that will give these payloads. */
export const suite = <E, R, RL>(
  name: string,
  features: Features,
  make: (payloads: ReadonlyArray<string>) => Effect.Effect<Source, E, R | Scope.Scope>,
  layer: Layer.Layer<R, RL>
): void => {
  const take = (source: Source, count: number) =>
    Effect.flatMap(source.open, (stream) => Stream.runCollect(Stream.take(stream, count)))
  const texts = (deliveries: ReadonlyArray<Delivery>) => deliveries.map(({ envelope }) => Envelope.text(envelope))
  const payloads = Array.from({ length: 300 }, (_, i) => `message ${i}`)

  describe(`${name} as a source`, () => {
    it.live("gives every message once, whole and in order, each with an id of its own", () =>
      Effect.gen(function* () {
        const source = yield* make(payloads)
        const taken = yield* take(source, payloads.length)
        assert.deepStrictEqual(texts(taken), payloads)
        assert.strictEqual(new Set(taken.map(({ envelope }) => envelope.id)).size, payloads.length)
        for (const { envelope } of taken) {
          assert.isAtLeast(envelope.attempt, 1)
          assert.isAbove(envelope.receivedAt, 0)
          assert.isTrue(source.name.startsWith(envelope.source))
        }
      }).pipe(Effect.scoped, Effect.provide(layer), Effect.provide(alone))
    )

    it.live("takes settlements in any order while its scope is open", () =>
      Effect.gen(function* () {
        const source = yield* make(payloads)
        const taken = yield* take(source, payloads.length)
        for (const delivery of [...taken].reverse()) yield* later(delivery.settle(acked))
      }).pipe(Effect.scoped, Effect.provide(layer), Effect.provide(alone))
    )

    if (!features.givesAgain) return
    it.live("opened again, gives what was not settled or was given back, in order, and nothing else", () =>
      Effect.gen(function* () {
        const source = yield* make(payloads)
        yield* Effect.scoped(
          Effect.gen(function* () {
            const taken = yield* take(source, 100)
            for (const [i, delivery] of taken.entries()) {
              if (i % 3 === 0) yield* later(delivery.settle(acked))
              if (i % 3 === 1) yield* later(delivery.settle({ _tag: "Nacked", reason: "not now" }))
            }
          })
        )
        const open = payloads.filter((_, i) => i >= 100 || i % 3 !== 0)
        const again = yield* take(source, open.length)
        if (features.keepsOrder === false) assert.sameMembers([...texts(again)], open)
        else assert.deepStrictEqual(texts(again), open)
      }).pipe(Effect.scoped, Effect.provide(layer), Effect.provide(alone))
    )
  })
}
