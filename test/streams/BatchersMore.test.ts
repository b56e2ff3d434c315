/** Batchers with seeds, and what comes before and after a batch: processing, replay, drain, pauses and lost partitions. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Random, Result, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as CodecJson from "../../src/layers/CodecJson.ts"
import * as DeadLettersMemory from "../../src/layers/DeadLettersMemory.ts"
import { DeadLetters } from "../../src/services/DeadLetters.ts"
import type { Delivery } from "../../src/services/Delivery.ts"
import { type BatchInfo, DispatchError } from "../../src/services/Dispatcher.ts"
import type { Detection } from "../../src/services/Event.ts"
import { accepted } from "../../src/services/Reply.ts"
import { Downstream, type Source } from "../../src/services/Source.ts"
import * as Define from "../../src/streams/Define.ts"
import * as Pipeline from "../../src/streams/Pipeline.ts"
import * as SourceMemory from "../../src/streams/SourceMemory.ts"

interface Message {
  readonly n: number
  readonly key?: string
  readonly kind?: string
  readonly group?: string
  readonly bytes?: number
}

const base = { name: "batchers", decode: CodecJson.make(), retry: { attempts: 3, backoffMillis: 100 } }
const messageOf = ({ event }: Detection) => event.payload as Message
const failed = (retryable: boolean) => new DispatchError({ reason: "no luck", presence: "answered", retryable })
const nsOf = (batch: ReadonlyArray<Detection>) => batch.map((_) => messageOf(_).n)

const messages = (count: number, of: (n: number) => Omit<Message, "n"> = () => ({})) =>
  Array.from({ length: count }, (_, n) => {
    const message = { n, ...of(n) }
    return { id: `${n}`, key: message.key, payload: message }
  })

/** Runs to the end of the input, in virtual time. */
const run = Effect.fnUntraced(function* (plan: Parameters<typeof Define.run>[0]) {
  const fiber = yield* Effect.forkChild(Define.run(plan))
  for (let i = 0; i < 20_000 && fiber.pollUnsafe() === undefined; i++) yield* TestClock.adjust("100 millis")
  yield* Fiber.join(fiber)
})

describe("Batchers", () => {
  for (const seed of ["a", "b", "c", "d", "e", "f"]) {
    it.effect(`keep order per key, their bounds, and lose nothing, whatever comes when (seed ${seed})`, () =>
      Effect.gen(function* () {
        const random = yield* Random.Random
        const dice = (below: number): number => Math.floor(random.nextDoubleUnsafe() * below)
        const count = 3000
        const keys = 1 + dice(60)
        const names = ["a", "b", "c"]
        const batchers = Object.fromEntries(
          names.map((name) => [
            name,
            {
              size: 1 + dice(20),
              age: dice(400),
              bytes: dice(2) === 0 ? undefined : 100 + dice(1000),
              concurrency: 1 + dice(4),
              key: dice(2) === 0 ? undefined : (detection: Detection) => messageOf(detection).group
            }
          ])
        )
        const source = SourceMemory.fromIterable(
          messages(count, () => ({
            key: dice(10) === 0 ? undefined! : `k${dice(keys)}`,
            kind: names[dice(3)]!,
            group: `g${dice(4)}`
          })),
          { arrayMax: 1 + dice(50) }
        )
        const begun = new Map<string, Set<number>>()
        const tried = new Set<number>()
        const ended = new Set<number>()
        const working: Record<string, number> = { a: 0, b: 0, c: 0 }
        const check = (batch: ReadonlyArray<Detection>, { batcher, key }: BatchInfo): void => {
          const { bytes = Number.POSITIVE_INFINITY, concurrency, key: keyOf, size } = batchers[batcher]!
          assert.isAtMost(batch.length, size)
          assert.isAtMost(++working[batcher]!, concurrency)
          const total = batch.reduce((sum, { event }) => sum + event.envelope.payload.length, 0)
          assert.isTrue(batch.length === 1 || total <= bytes)
          const here = new Set(nsOf(batch))
          for (const detection of batch) {
            const { group, key: own, kind, n } = messageOf(detection)
            assert.strictEqual(kind, batcher)
            assert.strictEqual(keyOf === undefined ? undefined : group, key)
            if (own === undefined) continue
            const open = begun.get(own) ?? new Set()
            begun.set(own, open)
            for (const other of open) {
              // What is tried again goes behind none of its key; what is new meets none of its key at work elsewhere.
              if (tried.has(n)) assert.isTrue(other >= n, `${n} overtakes ${other} of ${own}`)
              else assert.isTrue(here.has(other), `${n} begins while ${other} of ${own} is not answered`)
            }
            open.add(n)
          }
          for (const n of here) tried.add(n)
          const firsts = nsOf(batch).filter((n) => !ended.has(n))
          for (const own of begun.keys()) {
            const ofKey = firsts.filter((n) => begun.get(own)!.has(n))
            assert.deepStrictEqual(
              ofKey,
              [...ofKey].sort((a, b) => a - b)
            )
          }
        }
        const end = (detection: Detection): void => {
          const { key, n } = messageOf(detection)
          assert.isFalse(ended.has(n), `${n} ends twice`)
          ended.add(n)
          if (key !== undefined) begun.get(key)!.delete(n)
        }
        const tries = new Map<number, number>()
        const problems: Array<unknown> = []
        yield* run(
          Define.define({
            ...base,
            source,
            batchers,
            dispatch: [
              {
                batcher: { by: (detection) => messageOf(detection).kind },
                process: (detection) => {
                  const luck = dice(20)
                  if (luck === 0) return Effect.fail(failed(true))
                  return luck < 10
                    ? detection.event.payload
                    : Effect.delay(Effect.succeed(detection.event.payload), dice(50))
                },
                runBatch: (batch, info) =>
                  Effect.gen(function* () {
                    try {
                      check(batch, info)
                    } catch (problem) {
                      problems.push(problem)
                    }
                    yield* Effect.sleep(dice(100))
                    working[info.batcher]!--
                    // All of it fails at times; otherwise some of it.
                    if (batch.length > 1 && dice(10) === 0) return yield* failed(true)
                    return batch.map((one) => {
                      const { n } = messageOf(one)
                      const failures = tries.get(n) ?? 0
                      const luck = dice(20)
                      if (luck < 2 && failures === 0) {
                        tries.set(n, 1)
                        return Result.fail(failed(true))
                      }
                      end(one)
                      return luck === 3 ? Result.fail(failed(false)) : accepted(null)
                    })
                  })
              }
            ]
          })
        )
        if (problems.length > 0) throw problems[0]
        const letters = yield* (yield* DeadLetters).list({})
        assert.strictEqual(source.settled.length, count)
        assert.strictEqual(source.settled.filter((_) => _.settlement._tag === "Acked").length, count - letters.length)
        assert.strictEqual(new Set(source.settled.map((_) => _.envelope.id)).size, count)
        assert.isAbove(letters.length, 20)
      }).pipe(Random.withSeed(seed), Effect.provide(DeadLettersMemory.layer))
    )
  }

  it.effect("process each message within the pipeline's concurrency, and hand the batch what that made", () =>
    Effect.gen(function* () {
      let working = 0
      let most = 0
      const batches: Array<ReadonlyArray<unknown>> = []
      const source = SourceMemory.fromIterable(messages(10, (n) => ({ key: `k${n % 5}` })))
      yield* run(
        Define.define({
          ...base,
          source,
          concurrency: 3,
          dispatch: [
            {
              process: (detection) =>
                Effect.acquireUseRelease(
                  Effect.sync(() => {
                    most = Math.max(most, ++working)
                  }),
                  () => Effect.as(Effect.sleep("100 millis"), `made of ${messageOf(detection).n}`),
                  () => Effect.sync(() => working--)
                ),
              runBatch: (batch, { size, trigger }) =>
                Effect.sync(() => {
                  batches.push([trigger, size, ...batch.map(({ event }) => event.payload)])
                  return accepted(null)
                })
            }
          ]
        })
      )
      assert.strictEqual(most, 3)
      const [trigger, size, ...made] = batches[0]!
      assert.deepStrictEqual([batches.length, trigger, size], [1, "age", 10])
      const ofKey = (key: number) => made.filter((one) => Number(String(one).at(-1)) % 5 === key)
      for (let key = 0; key < 5; key++) assert.deepStrictEqual(ofKey(key), [`made of ${key}`, `made of ${key + 5}`])
    }).pipe(Effect.provide(DeadLettersMemory.layer))
  )

  it.effect("treat failures of processing by the same policies, and hold the key until it has ended", () =>
    Effect.gen(function* () {
      class Sad extends Schema.TaggedError<Sad>()("Sad", {}) {}
      const tries = new Map<number, number>()
      const batches: Array<ReadonlyArray<number>> = []
      const source = SourceMemory.fromIterable(messages(5, (n) => ({ key: n === 4 ? "other" : "k" })))
      yield* run(
        Define.define({
          ...base,
          source,
          batchers: { two: { size: 2, age: "1 second" } },
          dispatch: [
            {
              batcher: "two",
              process: (detection) => {
                const { n } = messageOf(detection)
                const t = (tries.get(n) ?? 0) + 1
                tries.set(n, t)
                if (n === 0 && t < 3) return Effect.fail(failed(true))
                if (n === 1) return Effect.fail(new Sad())
                if (n === 2) throw new Error("broken")
                return detection.event.payload
              },
              runBatch: (batch) =>
                Effect.sync(() => {
                  batches.push(nsOf(batch))
                  return accepted(null)
                })
            }
          ],
          failures: { Sad: "bury" }
        })
      )
      assert.deepStrictEqual(batches, [[4, 0], [3]])
      assert.deepStrictEqual([...tries.entries()].sort(), [
        [0, 3],
        [1, 1],
        [2, 1],
        [3, 1],
        [4, 1]
      ])
      const letters = yield* (yield* DeadLetters).list({})
      assert.deepStrictEqual(
        letters.map(({ attempts, envelope, reason, stage }) => [envelope.id, stage, reason, attempts]),
        [
          ["1", "dispatch", "Sad", 1],
          ["2", "dispatch", "defect: broken", 1]
        ]
      )
    }).pipe(Effect.provide(DeadLettersMemory.layer))
  )

  it.effect("process and batch what is replayed once more", () =>
    Effect.gen(function* () {
      let works = false
      let processed = 0
      const batches: Array<ReadonlyArray<number>> = []
      const source = yield* SourceMemory.make()
      const handle = yield* Pipeline.start(
        Define.define({
          ...base,
          source,
          batchers: { five: { size: 5, age: "1 second" } },
          dispatch: [
            {
              batcher: "five",
              process: (detection) => {
                processed++
                return detection.event.payload
              },
              runBatch: (batch) => {
                batches.push(nsOf(batch))
                return works ? Effect.succeed(accepted(null)) : Effect.fail(failed(false))
              }
            }
          ]
        })
      )
      yield* source.offer(...messages(5, (n) => ({ key: `k${n}` })))
      yield* TestClock.adjust("5 seconds")
      const letters = yield* (yield* DeadLetters).list({})
      assert.deepStrictEqual(batches.splice(0), [[0, 1, 2, 3, 4], [0], [1], [2], [3], [4]])
      assert.deepStrictEqual([letters.length, processed], [5, 5])
      works = true
      const replayed = yield* Effect.forkChild(handle.replay(letters))
      yield* TestClock.adjust(0)
      assert.deepStrictEqual(batches, [[0, 1, 2, 3, 4]])
      assert.deepStrictEqual(
        (yield* Fiber.join(replayed)).map(({ outcome }) => outcome),
        Array.from({ length: 5 }, () => "acked")
      )
      assert.strictEqual(processed, 10)
    }).pipe(Effect.scoped, Effect.provide(DeadLettersMemory.layer))
  )

  for (const redelivers of [true, false]) {
    it.effect(
      `go out at a drain, all groups of them, and what is not done by the deadline is ${redelivers ? "given back" : "buried"}`,
      () =>
        Effect.gen(function* () {
          const batches: Array<readonly [string, string | undefined, ReadonlyArray<number>]> = []
          const source = yield* SourceMemory.make({ redelivers })
          const handle = yield* Pipeline.start(
            Define.define({
              ...base,
              source,
              batchers: {
                a: { age: "1 hour", key: (_) => messageOf(_).group, concurrency: 2 },
                slow: { size: 2, age: "1 hour" }
              },
              dispatch: [
                {
                  batcher: { by: (_) => messageOf(_).kind, default: "a" },
                  runBatch: (batch, { batcher, trigger, key }) =>
                    Effect.gen(function* () {
                      batches.push([trigger, key, nsOf(batch)])
                      yield* Effect.sleep(batcher === "slow" ? "40 seconds" : "1 second")
                      return accepted(null)
                    })
                }
              ]
            })
          )
          yield* source.offer(...messages(9, (n) => (n < 6 ? { key: `k${n}`, group: `g${n % 3}` } : { kind: "slow" })))
          yield* TestClock.adjust("10 seconds")
          assert.deepStrictEqual(batches.splice(0), [["size", undefined, [6, 7]]])
          const drained = yield* Effect.forkChild(handle.drain(20_000))
          yield* TestClock.adjust("2 seconds")
          assert.deepStrictEqual(batches, [
            ["flush", "g0", [0, 3]],
            ["flush", "g1", [1, 4]],
            ["flush", "g2", [2, 5]]
          ])
          assert.strictEqual(source.settled.length, 6)
          yield* TestClock.adjust("20 seconds")
          yield* Fiber.join(drained)
          const { buried, held, nacked } = handle.stats
          assert.deepStrictEqual([held, buried, nacked], redelivers ? [0, 0, 3] : [0, 3, 0])
          assert.strictEqual(batches.length, 3)
        }).pipe(Effect.scoped, Effect.provide(DeadLettersMemory.layer))
    )
  }

  it.effect("give back what its source has lost, at once where it waits, and stay quiet when asked", () =>
    Effect.gen(function* () {
      const settled: Array<string> = []
      const gone = new Set<number>()
      const asked = yield* Deferred.make<Downstream["Service"]>()
      const deliveries = messages(6, (n) => ({ key: `k${n}` })).map(
        (message, n): Delivery => ({
          envelope: SourceMemory.envelopeOf(message, "lossy", n, 0),
          get gone() {
            return gone.has(n)
          },
          settle: ({ _tag }) => {
            settled.push(`${n} ${_tag}`)
          }
        })
      )
      const source: Source = {
        name: "lossy",
        redelivers: true,
        answers: false,
        open: Effect.gen(function* () {
          yield* Deferred.succeed(asked, yield* Downstream)
          return Stream.concat(Stream.fromArray(deliveries), Stream.never)
        })
      }
      const batches: Array<ReadonlyArray<number>> = []
      const handle = yield* Pipeline.start(
        Define.define({
          ...base,
          source,
          batchers: { two: { size: 2, age: "1 minute" } },
          dispatch: [
            {
              batcher: "two",
              runBatch: (batch) =>
                Effect.gen(function* () {
                  batches.push(nsOf(batch))
                  yield* Effect.sleep("10 seconds")
                  return accepted(null)
                })
            }
          ]
        })
      )
      yield* TestClock.adjust("1 second")
      const { go, quiet, recall } = yield* Deferred.await(asked)
      assert.deepStrictEqual(batches, [[0, 1]])
      assert.strictEqual((yield* handle.status).working, 1)
      gone.add(2).add(5)
      yield* recall
      assert.deepStrictEqual(settled, ["2 Nacked", "5 Nacked"])
      const quieted = yield* Effect.forkChild(quiet)
      yield* TestClock.adjust("8 seconds")
      assert.isUndefined(quieted.pollUnsafe())
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(quieted)
      assert.strictEqual((yield* handle.status).working, 0)
      yield* TestClock.adjust("20 seconds")
      assert.deepStrictEqual(batches, [[0, 1]])
      yield* go
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(batches, [
        [0, 1],
        [3, 4]
      ])
      assert.deepStrictEqual(settled.slice(2), ["0 Acked", "1 Acked", "3 Acked", "4 Acked"])
      assert.strictEqual(handle.stats.held, 0)
    }).pipe(Effect.scoped, Effect.provide(DeadLettersMemory.layer))
  )
})
