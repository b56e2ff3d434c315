/** A source that can stop is asked to, and what it still hands out is taken, before the pipeline drains. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Deferred, Effect, Fiber, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as CodecText from "../../src/layers/CodecText.ts"
import * as DeadLettersMemory from "../../src/layers/DeadLettersMemory.ts"
import * as PublisherMemory from "../../src/layers/PublisherMemory.ts"
import { DeadLetters } from "../../src/services/DeadLetters.ts"
import type { Delivery } from "../../src/services/Delivery.ts"
import * as Envelope from "../../src/services/Envelope.ts"
import type { Source } from "../../src/services/Source.ts"
import * as Define from "../../src/streams/Define.ts"
import * as SourceMemory from "../../src/streams/SourceMemory.ts"

const deliveryOf = (n: number): Delivery => ({
  envelope: SourceMemory.envelopeOf({ payload: `${n}` }, "stoppable", n, 0),
  settle: () => {}
})

/** Gives one message a second; once stopped, `rest` more, and then ends if it `ends`. */
const stoppable = (rest: number, ends: boolean): Source => {
  const stopped = Deferred.makeUnsafe<void>()
  let given = 0
  return {
    name: "stoppable",
    redelivers: false,
    answers: false,
    stop: Effect.asVoid(Deferred.succeed(stopped, undefined)),
    open: Effect.succeed(
      Stream.fromIterableEffectRepeat(
        Effect.delay(
          Effect.sync(() => [deliveryOf(given++)]),
          "1 second"
        )
      ).pipe(
        Stream.interruptWhen(Deferred.await(stopped)),
        Stream.concat(Stream.fromIterable(Array.from({ length: rest }, (_, i) => deliveryOf(1000 + i)))),
        Stream.concat(ends ? Stream.empty : Stream.never)
      )
    )
  }
}

const drained = Effect.fnUntraced(function* (source: Source, more: Partial<Parameters<typeof Define.define>[0]> = {}) {
  const publisher = PublisherMemory.make()
  const plan = Define.define({ name: "p", source, decode: CodecText.make, publish: [{ to: publisher }], ...more })
  const handle = yield* Define.start(plan)
  yield* TestClock.adjust("2500 millis")
  const before = yield* Clock.currentTimeMillis
  const drain = yield* Effect.forkChild(handle.drain())
  for (let i = 0; i < 500 && drain.pollUnsafe() === undefined; i++) yield* TestClock.adjust("100 millis")
  yield* Fiber.join(drain)
  const texts = publisher.published.map(({ value }) => new TextDecoder().decode(value))
  return { texts, took: (yield* Clock.currentTimeMillis) - before, status: yield* handle.status }
})

describe("A source that can stop", () => {
  it.effect("hands out the rest before the pipeline drains, and all of it is done", () =>
    Effect.gen(function* () {
      const { status, texts, took } = yield* drained(stoppable(3, true))
      assert.deepStrictEqual(texts, ["0", "1", "1000", "1001", "1002"])
      assert.strictEqual(status.acked, 5)
      assert.isBelow(took, 1000)
    }).pipe(Effect.scoped, Effect.provide(DeadLettersMemory.layer))
  )

  it.effect("hands out the rest also to a pipeline that is full, where it is buried rather than lost", () =>
    Effect.gen(function* () {
      const stuck = { concurrency: 1, buffer: { messages: 1 }, dispatch: [{ run: () => Effect.never }] }
      const { status, took } = yield* drained(stoppable(3, true), stuck)
      assert.deepInclude(status, { received: 5, acked: 0, buried: 5 })
      assert.isAtLeast(took, 4000)
      const letters = yield* Effect.flatMap(DeadLetters, ({ list }) => list({}))
      assert.deepStrictEqual(letters.map(({ envelope }) => Envelope.text(envelope)).sort(), [
        "0",
        "1",
        "1000",
        "1001",
        "1002"
      ])
    }).pipe(Effect.scoped, Effect.provide(DeadLettersMemory.layer))
  )

  it.effect("is interrupted after five seconds when it does not end", () =>
    Effect.gen(function* () {
      const { texts, took } = yield* drained(stoppable(3, false))
      assert.deepStrictEqual(texts, ["0", "1", "1000", "1001", "1002"])
      assert.isAtLeast(took, 5000)
      assert.isBelow(took, 6000)
    }).pipe(Effect.scoped, Effect.provide(DeadLettersMemory.layer))
  )
})
