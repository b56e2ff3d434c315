/** What a codec waits for: held back while it waits, never buried for it, and no obstacle to a stop. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Scope } from "effect"
import { TestClock } from "effect/testing"
import * as DeadLettersMemory from "../../src/layers/DeadLettersMemory.ts"
import type { Codec } from "../../src/services/Codec.ts"
import { DeadLetters } from "../../src/services/DeadLetters.ts"
import { accepted } from "../../src/services/Reply.ts"
import * as Define from "../../src/streams/Define.ts"
import * as Pipeline from "../../src/streams/Pipeline.ts"
import * as SourceMemory from "../../src/streams/SourceMemory.ts"

/** Three messages of one key, of which the second waits. */
const waiting = (options: SourceMemory.Options = {}) => {
  const ready = Deferred.makeUnsafe<void>()
  const seen: Array<string> = []
  const source = SourceMemory.fromIterable(
    ["first", "second", "third"].map((id) => ({ id, key: "k", payload: id })),
    options
  )
  const codec: Codec = {
    name: "waiting",
    decode: (envelope) => {
      const event = { envelope, payload: envelope.id, key: envelope.key }
      return envelope.id === "second" ? Effect.as(Deferred.await(ready), event) : event
    }
  }
  const plan = Define.define({
    name: "waits",
    source,
    decode: codec,
    dispatch: [
      {
        run: ({ event }) => {
          seen.push(event.payload as string)
          return accepted(null)
        }
      }
    ]
  })
  const ends = () => source.settled.map(({ envelope, settlement }) => [envelope.id, settlement._tag])
  return { ends, plan, ready, seen }
}

const letters = Effect.flatMap(DeadLetters, (all) => all.list({}))

describe("Decoding", () => {
  it.effect("goes on where it was when what it waited for has come", () =>
    Effect.gen(function* () {
      const { ends, plan, ready, seen } = waiting()
      const fiber = yield* Effect.forkChild(Define.run(plan))
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual(ends(), [["first", "Acked"]])
      yield* Deferred.succeed(ready, undefined)
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(seen, ["first", "second", "third"])
      assert.deepStrictEqual(yield* letters, [])
    }).pipe(Effect.provide(DeadLettersMemory.layer))
  )

  it.effect("gives back what waits when the pipeline is drained, and what stands behind it", () =>
    Effect.gen(function* () {
      const { ends, plan, seen } = waiting()
      const handle = yield* Pipeline.start(plan)
      yield* TestClock.adjust("1 minute")
      const drained = yield* Effect.forkChild(handle.drain(20_000))
      yield* TestClock.adjust("1 second")
      assert.isDefined(drained.pollUnsafe())
      assert.deepStrictEqual(ends(), [
        ["first", "Acked"],
        ["second", "Nacked"],
        ["third", "Nacked"]
      ])
      assert.deepStrictEqual(seen, ["first"])
      assert.deepStrictEqual(yield* letters, [])
    }).pipe(Effect.scoped, Effect.provide(DeadLettersMemory.layer))
  )

  it.effect("keeps on waiting until the deadline where a source cannot give it again, and buries it then", () =>
    Effect.gen(function* () {
      const { ends, plan } = waiting({ redelivers: false })
      const handle = yield* Pipeline.start(plan)
      yield* TestClock.adjust("1 minute")
      const drained = yield* Effect.forkChild(handle.drain(20_000))
      yield* TestClock.adjust("19 seconds")
      assert.isUndefined(drained.pollUnsafe())
      assert.deepStrictEqual(ends(), [["first", "Acked"]])
      yield* TestClock.adjust("2 seconds")
      assert.isDefined(drained.pollUnsafe())
      assert.deepStrictEqual(ends().toSorted(), [
        ["first", "Acked"],
        ["second", "Buried"],
        ["third", "Acked"]
      ])
      assert.deepStrictEqual(
        (yield* letters).map(({ envelope, reason, stage }) => [envelope.id, stage, reason]),
        [["second", "shutdown", "shutdown"]]
      )
    }).pipe(Effect.scoped, Effect.provide(DeadLettersMemory.layer))
  )

  it.effect("holds up no end of the scope", () =>
    Effect.gen(function* () {
      const { plan } = waiting()
      const scope = yield* Scope.make()
      yield* Scope.provide(Pipeline.start(plan), scope)
      yield* TestClock.adjust("1 minute")
      const closed = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* TestClock.adjust("10 seconds")
      assert.isDefined(closed.pollUnsafe())
      assert.deepStrictEqual(yield* letters, [])
    }).pipe(Effect.provide(DeadLettersMemory.layer))
  )

  it.effect("takes a codec that interrupts itself for broken: the message is buried, and the others go on", () =>
    Effect.gen(function* () {
      const { ends, plan, seen } = waiting()
      const codec: Codec = {
        ...plan.codec,
        decode: (envelope) => (envelope.id === "second" ? Effect.interrupt : plan.codec.decode(envelope))
      }
      yield* Define.run({ ...plan, codec })
      assert.deepStrictEqual(seen, ["first", "third"])
      assert.deepStrictEqual(
        ends()
          .map(([, tag]) => tag)
          .sort(),
        ["Acked", "Acked", "Buried"]
      )
      assert.strictEqual((yield* letters).length, 1)
    }).pipe(Effect.provide(DeadLettersMemory.layer))
  )

  it.effect("has the letter of a message that cannot come again, also when its other place never answers", () =>
    Effect.gen(function* () {
      const { plan } = waiting({ redelivers: false })
      const refusing = Define.define({
        name: "aside",
        source: plan.source,
        decode: { name: "plain", decode: (envelope) => ({ envelope, payload: null, key: envelope.key }) },
        dispatch: [{ run: () => Effect.succeed({ kind: "refused", payload: null, reason: "no" } as const) }],
        setAside: () => Effect.never
      })
      const scope = yield* Scope.make()
      const handle = yield* Scope.provide(Pipeline.start(refusing), scope)
      yield* TestClock.adjust("1 second")
      const drained = yield* Effect.forkChild(handle.drain(1_000))
      yield* TestClock.adjust("1 minute")
      yield* Fiber.join(drained)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* letters).length, 3)
      assert.isTrue((yield* letters).every(({ reason }) => reason === "no" || reason === "shutdown"))
    }).pipe(Effect.provide(DeadLettersMemory.layer))
  )
})
