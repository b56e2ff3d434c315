/** The life of pipelines: restarted, reopened, given up, halted, drained. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as CodecJson from "../../src/layers/CodecJson.ts"
import * as DeadLettersMemory from "../../src/layers/DeadLettersMemory.ts"
import * as Supervisor from "../../src/layers/Supervisor.ts"
import { type Source, SourceError } from "../../src/services/Source.ts"
import * as Define from "../../src/streams/Define.ts"
import * as SourceMemory from "../../src/streams/SourceMemory.ts"

const options = { drainMillis: 1000, restartsMax: 3, windowMillis: 60_000 }
const plan = (name: string, source: Source, onDecodeError: "bury" | "halt" = "bury") =>
  Define.define({ name, source, decode: CodecJson.make(), onDecodeError })

/** Fails each time it is opened, `times` times. */
const failing = (away: boolean, times = Number.POSITIVE_INFINITY) => {
  let opened = 0
  const source: Source & { readonly opened: () => number } = {
    name: "failing",
    redelivers: true,
    answers: false,
    opened: () => opened,
    open: Effect.suspend(() =>
      opened++ < times
        ? Effect.fail(new SourceError({ source: "failing", reason: "gone", away }))
        : Effect.succeed(Stream.empty)
    )
  }
  return source
}

describe("Supervisor", () => {
  it.effect("ends when all finite pipelines have ended", () =>
    Effect.gen(function* () {
      const sources = [1, 2].map((n) => SourceMemory.fromIterable([{ payload: n }]))
      const supervisor = yield* Supervisor.start(
        sources.map((source, i) => plan(`p${i}`, source)),
        options
      )
      assert.deepStrictEqual(yield* supervisor.await, { failed: [] })
      assert.isTrue(supervisor.ready())
      assert.deepStrictEqual(
        supervisor.pipelines.map(({ stats }) => stats.acked),
        [1, 1]
      )
    }).pipe(Effect.scoped, Effect.provide(DeadLettersMemory.layer))
  )

  it.effect("reopens a source that is away for as long as it takes", () =>
    Effect.gen(function* () {
      const source = failing(true, 40)
      const supervisor = yield* Supervisor.start([plan("away", source)], options)
      const ended = yield* Effect.forkChild(supervisor.await)
      yield* TestClock.adjust("1 second")
      assert.isFalse(supervisor.ready())
      yield* TestClock.adjust("5 minutes")
      assert.deepStrictEqual(yield* Fiber.join(ended), { failed: [] })
      assert.strictEqual(source.opened(), 41)
    }).pipe(Effect.scoped, Effect.provide(DeadLettersMemory.layer))
  )

  it.effect("gives up on what keeps failing, drains the others, and names it", () =>
    Effect.gen(function* () {
      const source = failing(false)
      const other = yield* SourceMemory.make()
      const supervisor = yield* Supervisor.start([plan("bad", source), plan("good", other)], options)
      const ended = yield* Effect.forkChild(supervisor.await)
      yield* other.offer({ payload: 1 })
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(yield* Fiber.join(ended), { failed: ["bad"] })
      assert.strictEqual(source.opened(), options.restartsMax + 1)
      assert.strictEqual(other.settled.length, 1)
    }).pipe(Effect.scoped, Effect.provide(DeadLettersMemory.layer))
  )

  it.effect("leaves a halted pipeline halted, and the others running", () =>
    Effect.gen(function* () {
      const bad = SourceMemory.fromIterable([{ payload: "not json" }])
      const good = yield* SourceMemory.make()
      const supervisor = yield* Supervisor.start([plan("halts", bad, "halt"), plan("good", good)], options)
      const ended = yield* Effect.forkChild(supervisor.await)
      yield* TestClock.adjust("5 minutes")
      assert.isFalse(supervisor.ready())
      assert.strictEqual(bad.settled.length, 1)
      yield* good.offer({ payload: 1 })
      yield* good.end
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* Fiber.join(ended), { failed: ["halts"] })
      assert.strictEqual(good.settled.length, 1)
    }).pipe(Effect.scoped, Effect.provide(DeadLettersMemory.layer))
  )

  it.effect("drains also between two starts", () =>
    Effect.gen(function* () {
      const supervisor = yield* Supervisor.start([plan("away", failing(true))], options)
      yield* TestClock.adjust("10 seconds")
      yield* supervisor.drain
    }).pipe(Effect.scoped, Effect.provide(DeadLettersMemory.layer))
  )
})
