/** Batchers on the road, in virtual time: who goes with whom, when, how many at once, in which order, and how each ends. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Result, Schema } from "effect"
import { TestClock } from "effect/testing"
import * as CodecJson from "../../src/layers/CodecJson.ts"
import * as DeadLettersMemory from "../../src/layers/DeadLettersMemory.ts"
import { DeadLetters } from "../../src/services/DeadLetters.ts"
import { type BatchInfo, DispatchError } from "../../src/services/Dispatcher.ts"
import type { Detection } from "../../src/services/Event.ts"
import { accepted, refused } from "../../src/services/Reply.ts"
import * as Define from "../../src/streams/Define.ts"
import * as Path from "../../src/streams/Path.ts"
import * as Pipeline from "../../src/streams/Pipeline.ts"
import * as SourceMemory from "../../src/streams/SourceMemory.ts"

interface Message {
  readonly n: number
  readonly kind?: string
  readonly group?: string
  readonly pad?: string
}

const base = { name: "batchers", decode: CodecJson.make(), retry: { attempts: 3, backoffMillis: 100 } }
const messageOf = ({ event }: Detection) => event.payload as Message
const failed = (retryable: boolean, presence: DispatchError["presence"] = "answered") =>
  new DispatchError({ reason: "no luck", presence, retryable })
const kindOf = (detection: Detection) => messageOf(detection).kind
const groupOf = (detection: Detection) => Path.asKey(messageOf(detection).group)

const fed = Effect.fnUntraced(function* (options: Omit<SourceMemory.Options, "name"> = {}) {
  const source = yield* SourceMemory.make(options)
  let n = 0
  const feed = (...messages: ReadonlyArray<Omit<Message, "n"> & { readonly key?: string }>) =>
    Effect.forEach(
      messages,
      ({ key, ...message }) => source.offer({ id: `${n}`, key, payload: { n: n++, ...message } }),
      { discard: true }
    )
  return { source, feed }
})

/** What each batch was: its messages' numbers, and why it went. */
const noting = () => {
  const batches: Array<{ readonly ns: ReadonlyArray<number>; readonly info: BatchInfo }> = []
  const note = (batch: ReadonlyArray<Detection>, info: BatchInfo) => {
    batches.push({ ns: batch.map((_) => messageOf(_).n), info })
  }
  return {
    batches,
    note,
    runBatch: (batch: ReadonlyArray<Detection>, info: BatchInfo) =>
      Effect.sync(() => {
        note(batch, info)
        return accepted(null)
      }),
    ns: () => batches.map(({ ns }) => ns)
  }
}

const settledOf = (source: SourceMemory.MemorySource) => source.settled.map((_) => _.settlement._tag)

describe("Batchers", () => {
  it.effect("lets each message name its batcher, and takes another where it names none there is", () =>
    Effect.gen(function* () {
      const { feed, source } = yield* fed()
      const { batches, runBatch } = noting()
      yield* Pipeline.start(
        Define.define({
          ...base,
          source,
          batchers: { small: { size: 1 }, pairs: { size: 2 }, rest: { size: 2 } },
          dispatch: [{ batcher: { by: kindOf, default: "rest" }, runBatch }]
        })
      )
      yield* feed({ kind: "pairs" }, { kind: "small" }, { kind: "no such" }, { kind: "pairs" }, {})
      yield* TestClock.adjust(0)
      assert.deepStrictEqual(
        batches.map(({ info: { batcher, size, trigger }, ns }) => [batcher, trigger, size, ns]),
        [
          ["small", "size", 1, [1]],
          ["pairs", "size", 2, [0, 3]],
          ["rest", "size", 2, [2, 4]]
        ]
      )
    }).pipe(Effect.scoped, Effect.provide(DeadLettersMemory.layer))
  )

  it.effect("buries what names no batcher, with the reason, and holds no other leg back", () =>
    Effect.gen(function* () {
      const { feed, source } = yield* fed()
      const { ns, runBatch } = noting()
      yield* Pipeline.start(
        Define.define({
          ...base,
          source,
          batchers: { a: { size: 1 }, b: { size: 1, key: () => assert.fail("it breaks") } },
          dispatch: [
            { name: "one", batcher: { by: kindOf }, runBatch },
            { name: "two", run: () => accepted(null) }
          ]
        })
      )
      yield* feed({ kind: "a" }, { kind: "c" }, {}, { kind: "b" })
      yield* TestClock.adjust(0)
      assert.deepStrictEqual(ns(), [[0]])
      const letters = yield* (yield* DeadLetters).list({})
      assert.deepStrictEqual(
        letters.map(({ envelope, leg, reason }) => [envelope.id, leg, reason]),
        [
          ["1", "one", 'there is no batcher for it: "c" is none of a, b'],
          ["2", "one", "there is no batcher for it: it names none of a, b"],
          ["3", "one", "defect: it breaks"]
        ]
      )
      assert.deepStrictEqual(settledOf(source), ["Buried", "Buried", "Buried", "Acked"].sort().reverse())
    }).pipe(Effect.scoped, Effect.provide(DeadLettersMemory.layer))
  )

  it.effect("goes by size, by bytes and by the age of the oldest, each group of a key by itself", () =>
    Effect.gen(function* () {
      const { feed, source } = yield* fed()
      const { batches, runBatch } = noting()
      const pad = "x".repeat(300)
      const handle = yield* Pipeline.start(
        Define.define({
          ...base,
          source,
          batchers: { all: { size: 3, bytes: 1000, age: "2 seconds", key: groupOf, concurrency: 9 } },
          dispatch: [{ batcher: "all", runBatch }]
        })
      )
      const seen = () => batches.splice(0).map(({ info, ns }) => [info.key, info.trigger, ...ns])
      yield* feed({ group: "a" }, { group: "b" }, { group: "a" }, {})
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(seen(), [])
      yield* feed({ group: "a" }, { group: "c" })
      yield* TestClock.adjust("999 millis")
      assert.deepStrictEqual(seen(), [["a", "size", 0, 2, 4]])
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(seen(), [
        ["b", "age", 1],
        [undefined, "age", 3]
      ])
      yield* TestClock.adjust("999 millis")
      assert.deepStrictEqual(seen(), [])
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(seen(), [["c", "age", 5]])
      // Four of them do not fit, so three go; one that is too large goes by itself.
      const sized = { group: "d", pad: "x".repeat(460) }
      yield* feed(sized, sized, { group: "e", pad: pad.repeat(4) }, sized)
      yield* TestClock.adjust(0)
      assert.deepStrictEqual(
        seen(),
        [
          ["e", "bytes", 8],
          ["d", "size", 6, 7]
        ].map(([key, , ...ns]) => [key, "bytes", ...ns])
      )
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(seen(), [["d", "age", 9]])
      const { age, bytes, flush, size, sizes } = handle.stats.batcher("all")
      assert.deepStrictEqual([size, bytes, age, flush], [1, 2, 4, 0])
      assert.deepStrictEqual([sizes.count, sizes.sum, sizes.max], [7, 10, 3])
    }).pipe(Effect.scoped, Effect.provide(DeadLettersMemory.layer))
  )

  it.effect("works as many batches at once as its batcher says, apart from the pipeline's concurrency", () =>
    Effect.gen(function* () {
      const { feed, source } = yield* fed()
      const working = { own: 0, shared: 0, named: 0, message: 0 }
      const most = { ...working }
      const busy = (what: keyof typeof working) =>
        Effect.acquireUseRelease(
          Effect.sync(() => {
            most[what] = Math.max(most[what], ++working[what])
          }),
          () => Effect.as(Effect.sleep("1 second"), accepted(null)),
          () => Effect.sync(() => working[what]--)
        )
      yield* Pipeline.start(
        Define.define({
          ...base,
          source,
          concurrency: 2,
          batch: { size: 1 },
          batchers: { own: { size: 1, concurrency: 3 }, named: { size: 1 } },
          dispatch: [
            { batcher: "own", runBatch: () => busy("own") },
            { batcher: "named", runBatch: () => busy("named") },
            { runBatch: () => busy("shared") }
          ]
        })
      )
      yield* feed(...Array.from({ length: 12 }, () => ({})))
      yield* TestClock.adjust("3500 millis")
      assert.deepStrictEqual(most, { own: 3, shared: 2, named: 1, message: 0 })
      yield* TestClock.adjust("9 seconds")
      assert.strictEqual(source.settled.length, 12)
    }).pipe(Effect.scoped, Effect.provide(DeadLettersMemory.layer))
  )

  it.effect("goes message by message where a leg has no batcher", () =>
    Effect.gen(function* () {
      const source = SourceMemory.fromIterable([{ payload: { n: 0 } }, { payload: { n: 1 } }])
      const { ns, runBatch } = noting()
      let single = 0
      const plan = Define.define({
        ...base,
        source,
        batchers: { two: { size: 2 } },
        dispatch: [{ batcher: "two", runBatch }, { run: () => accepted(++single) }]
      })
      yield* Define.run(plan)
      assert.deepStrictEqual([ns(), single], [[[0, 1]], 2])
      // Broadway's own defaults, where a function of batches says nothing else.
      const { all } = { all: Define.define({ ...base, source, dispatch: [{ runBatch }] }).batchers }
      assert.deepStrictEqual(
        all.map(({ ageMillis, concurrency, name, size }) => [name, size, ageMillis, concurrency]),
        [["default", 100, 1000, 1]]
      )
    }).pipe(Effect.provide(DeadLettersMemory.layer))
  )

  it.effect("keeps the order of a key that goes from batcher to batcher, and lets it wait only once for company", () =>
    Effect.gen(function* () {
      const { feed, source } = yield* fed()
      const { batches, note } = noting()
      yield* Pipeline.start(
        Define.define({
          ...base,
          source,
          batchers: { a: { age: "2 seconds" }, b: { age: "2 seconds" } },
          dispatch: [
            {
              batcher: { by: kindOf },
              runBatch: (batch, info) =>
                Effect.sync(() => note(batch, info)).pipe(
                  Effect.andThen(Effect.sleep("100 millis")),
                  Effect.as(accepted(null))
                )
            }
          ]
        })
      )
      yield* feed({ key: "k", kind: "a" }, { key: "k", kind: "b" }, { key: "other", kind: "b" })
      yield* feed({ key: "k", kind: "b" }, { key: "k", kind: "a" })
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(
        batches.map(({ ns }) => ns),
        [[0], [2]]
      )
      yield* TestClock.adjust("100 millis")
      assert.deepStrictEqual(
        batches.map(({ ns }) => ns),
        [[0], [2], [1, 3]]
      )
      yield* TestClock.adjust("100 millis")
      assert.deepStrictEqual(batches.at(-1)!.ns, [4])
    }).pipe(Effect.scoped, Effect.provide(DeadLettersMemory.layer))
  )

  it.effect("answers each message: keys of what went well go on while the rest is tried again, alone", () =>
    Effect.gen(function* () {
      class Rude extends Schema.TaggedError<Rude>()("Rude", {}) {}
      const { feed, source } = yield* fed()
      const { ns, note } = noting()
      let tries = 0
      yield* Pipeline.start(
        Define.define({
          ...base,
          source,
          batchers: { four: { size: 4, age: "10 seconds", concurrency: 4 } },
          dispatch: [
            {
              batcher: "four",
              runBatch: (batch, info) =>
                Effect.sync(() => {
                  note(batch, info)
                  return batch.map((one) => {
                    const { n } = messageOf(one)
                    if (n === 1) return Result.fail(new Rude())
                    if (n === 2 && tries++ < 2) return Result.fail(failed(true))
                    return n === 3 ? refused("never") : accepted(n)
                  })
                })
            }
          ],
          failures: { Rude: "bury" }
        })
      )
      yield* feed({ key: "a" }, { key: "b" }, { key: "c" }, { key: "d" })
      yield* feed({ key: "a" }, { key: "b" }, { key: "c" }, { key: "d" }, { key: "e" })
      yield* TestClock.adjust(0)
      assert.deepStrictEqual(ns(), [
        [0, 1, 2, 3],
        [4, 5, 7, 8]
      ])
      const letters = yield* (yield* DeadLetters).list({})
      assert.deepStrictEqual(
        letters.map(({ envelope, reason }) => [envelope.id, reason]),
        [
          ["1", "Rude"],
          ["3", "never"]
        ]
      )
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(ns().slice(2), [[2], [2]])
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(ns().slice(4), [[6]])
      assert.strictEqual(source.settled.length, 9)
    }).pipe(Effect.scoped, Effect.provide(DeadLettersMemory.layer))
  )
})
