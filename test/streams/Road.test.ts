/** Order, loss and settlement on the road, in virtual time. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Random, Result, Schema } from "effect"
import { TestClock } from "effect/testing"
import * as CodecJson from "../../src/layers/CodecJson.ts"
import * as DeadLettersMemory from "../../src/layers/DeadLettersMemory.ts"
import * as PublisherMemory from "../../src/layers/PublisherMemory.ts"
import { DeadLetters } from "../../src/services/DeadLetters.ts"
import { DispatchError } from "../../src/services/Dispatcher.ts"
import { type Outgoing, PublishError } from "../../src/services/Publisher.ts"
import { accepted, refused } from "../../src/services/Reply.ts"
import * as Define from "../../src/streams/Define.ts"
import * as Pipeline from "../../src/streams/Pipeline.ts"
import * as SourceMemory from "../../src/streams/SourceMemory.ts"

interface Message {
  readonly key: string
  readonly n: number
}

const decode = CodecJson.make()
const messageOf = (payload: unknown) => payload as Message

const failed = (presence: DispatchError["presence"], retryable = true) =>
  new DispatchError({ reason: presence, presence, retryable })

/** Messages of `keys` keys, each numbered from 0. */
const numbered = (count: number, keys: number): Array<SourceMemory.Message> =>
  Array.from({ length: count }, (_, i) => ({
    id: `${i}`,
    key: `k${i % keys}`,
    payload: { key: `k${i % keys}`, n: Math.floor(i / keys) }
  }))

const assertOrdered = (seen: ReadonlyArray<Message>): void => {
  const last = new Map<string, number>()
  for (const { key, n } of seen) {
    assert.isAbove(n, last.get(key) ?? -1, `order of ${key}`)
    last.set(key, n)
  }
}

const run = Effect.fnUntraced(function* (plan: Parameters<typeof Define.run>[0]) {
  const fiber = yield* Effect.forkChild(Define.run(plan))
  for (let i = 0; i < 10_000 && fiber.pollUnsafe() === undefined; i++) yield* TestClock.adjust("100 millis")
  yield* Fiber.join(fiber)
})

describe("Road", () => {
  for (const seed of ["a", "b", "c"]) {
    it.effect(
      `keeps order per key and loses nothing: 1,000 keys, 100,000 messages, random times and failures (seed ${seed})`,
      () =>
        Effect.gen(function* () {
          const source = SourceMemory.fromIterable(numbered(100_000, 1000))
          const seen: Array<Message> = []
          const publisher = PublisherMemory.make()
          const random = yield* Random.Random
          const plan = Define.define({
            name: "orders",
            source,
            decode,
            concurrency: 256,
            retry: { attempts: 3, backoffMillis: 10 },
            dispatch: [
              {
                run: ({ event }) => {
                  const dice = random.nextDoubleUnsafe()
                  const message = messageOf(event.payload)
                  const done = () => {
                    seen.push(message)
                    return accepted(message)
                  }
                  if (dice < 0.5) return done()
                  if (dice < 0.6) return Effect.fail(failed("answered"))
                  if (dice < 0.61) return Effect.fail(failed("answered", false))
                  return Effect.andThen(Effect.sleep(Math.floor(dice * 20)), Effect.sync(done))
                }
              }
            ],
            publish: [{ to: publisher }]
          })
          yield* run(plan)
          const letters = yield* (yield* DeadLetters).list({})
          assert.strictEqual(source.settled.length, 100_000)
          assert.strictEqual(new Set(source.settled.map((_) => _.envelope.id)).size, 100_000)
          assert.strictEqual(seen.length + letters.length, 100_000)
          assert.isAbove(letters.length, 100)
          assertOrdered(seen)
          assertOrdered(publisher.published.map((_) => messageOf(JSON.parse(new TextDecoder().decode(_.value)))))
          assert.strictEqual(publisher.published.length, seen.length)
          assert.strictEqual(source.settled.filter((_) => _.settlement._tag === "Buried").length, letters.length)
        }).pipe(Random.withSeed(seed), Effect.provide(DeadLettersMemory.layer))
    )
  }

  it.effect("does not hold other keys back while one key is slow", () =>
    Effect.gen(function* () {
      const source = SourceMemory.fromIterable(numbered(2000, 1000))
      const done: Array<string> = []
      const fiber = yield* Define.run(
        Define.define({
          name: "slow",
          source,
          decode,
          dispatch: [
            {
              run: ({ event }) =>
                Effect.sleep(event.key === "k0" ? "2 seconds" : "1 millis").pipe(
                  Effect.andThen(Effect.sync(() => done.push(event.key!))),
                  Effect.as(accepted(null))
                )
            }
          ]
        })
      ).pipe(Effect.forkChild)
      yield* TestClock.adjust("100 millis")
      assert.strictEqual(done.length, 1998)
      yield* TestClock.adjust("4 seconds")
      yield* Fiber.join(fiber)
      assert.strictEqual(done.length, 2000)
    }).pipe(Effect.provide(DeadLettersMemory.layer))
  )

  it.effect("waits out an outage without counting it, and tells it from a poison message", () =>
    Effect.gen(function* () {
      let away = true
      let calls = 0
      const source = SourceMemory.fromIterable(numbered(50, 50))
      const fiber = yield* Define.run(
        Define.define({
          name: "outage",
          source,
          decode,
          concurrency: 8,
          dispatch: [
            {
              run: ({ event }) => {
                calls++
                if (away) return Effect.fail(failed("unreachable"))
                return event.key === "k7" ? Effect.fail(failed("reset")) : accepted(null)
              }
            }
          ],
          retry: { attempts: 4, backoffMillis: 200 }
        })
      ).pipe(Effect.forkChild)
      yield* TestClock.adjust("2 minutes")
      assert.strictEqual(source.settled.length, 0)
      assert.isBelow(calls, 60)
      away = false
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(source.settled.length, 49)
      // The others are done, so only its own history tells that the target answered them since this one failed first.
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(fiber.pollUnsafe(), undefined)
      yield* Fiber.interrupt(fiber)
    }).pipe(Effect.provide(DeadLettersMemory.layer))
  )

  it.effect("buries a message that resets its target while a probe is answered", () =>
    Effect.gen(function* () {
      const source = SourceMemory.fromIterable(numbered(10, 10))
      yield* run(
        Define.define({
          name: "poison",
          source,
          decode,
          dispatch: [
            {
              run: {
                name: "poisonable",
                dispatch: ({ event }) => (event.key === "k9" ? Effect.fail(failed("reset")) : accepted(null)),
                probe: Effect.void
              }
            }
          ],
          retry: { attempts: 3, backoffMillis: 10 }
        })
      )
      const letters = yield* (yield* DeadLetters).list({})
      assert.deepStrictEqual(
        letters.map(({ attempts, envelope, reason }) => ({ attempts, id: envelope.id, reason })),
        [{ attempts: 3, id: "9", reason: "reset" }]
      )
    }).pipe(Effect.provide(DeadLettersMemory.layer))
  )

  it.effect(
    "gives each leg its own end: one buried leg holds back no other, and each publisher takes what it asked for",
    () =>
      Effect.gen(function* () {
        const source = SourceMemory.fromIterable([{ id: "m", key: "k", payload: { n: 1 } }], { answers: true })
        const good = PublisherMemory.make()
        const bad = PublisherMemory.make()
        yield* run(
          Define.define({
            name: "legs",
            source,
            decode,
            dispatch: [
              { run: () => Effect.fail(failed("answered", false)) },
              { run: () => accepted("yes") },
              { run: () => refused("no") }
            ],
            publish: [{ to: good }, { to: bad, when: ["refused"] }]
          })
        )
        const text = (_: { readonly value: Uint8Array }) => new TextDecoder().decode(_.value)
        assert.deepStrictEqual(good.published.map(text), ["yes"])
        assert.deepStrictEqual(bad.published.map(text), ["no"])
        const letters = yield* (yield* DeadLetters).list({})
        assert.deepStrictEqual(
          letters.map(({ leg, stage }) => [leg, stage]),
          [["dispatch.0:run", "dispatch"]]
        )
        assert.strictEqual(source.settled[0]?.settlement._tag, "Buried")
      }).pipe(Effect.provide(DeadLettersMemory.layer))
  )

  it.effect("retries a failed publish alone, ahead of the later ones of its key, and does not dispatch again", () =>
    Effect.gen(function* () {
      const source = SourceMemory.fromIterable(numbered(100, 10))
      let dispatched = 0
      let failures = 0
      const publisher = PublisherMemory.make({
        before: (batch) =>
          batch.some((_) => _.envelope.id === "3") && failures++ < 3
            ? Effect.fail(new PublishError({ reason: "later", presence: "answered", retryable: true }))
            : Effect.void
      })
      yield* run(
        Define.define({
          name: "publish",
          source,
          decode,
          dispatch: [
            {
              run: ({ event }) => {
                dispatched++
                return accepted(event.payload)
              }
            }
          ],
          publish: [{ to: publisher }],
          retry: { backoffMillis: 10 }
        })
      )
      assert.strictEqual(dispatched, 100)
      assert.strictEqual(publisher.published.length, 100)
      assertOrdered(publisher.published.map((_) => messageOf(JSON.parse(new TextDecoder().decode(_.value)))))
    }).pipe(Effect.provide(DeadLettersMemory.layer))
  )

  it.effect("publishes the rest of a batch that failed in part, in order per key, and each once", () =>
    Effect.gen(function* () {
      const source = SourceMemory.fromIterable(numbered(2_000, 30))
      const published: Array<Message> = []
      const of = ({ value }: Outgoing) => messageOf(JSON.parse(new TextDecoder().decode(value)))
      /** All of a key are of one kind, as they are for one topic. */
      const kindOf = (one: Outgoing) => Number(of(one).key.slice(1)) % 3
      const random = yield* Random.Random
      let parts = 0
      const publish = (batch: ReadonlyArray<Outgoing>) =>
        Effect.suspend(() => {
          const [bad, good] = [random.nextIntUnsafe() % 3, random.nextIntUnsafe() % 3].map(Math.abs)
          const failed = batch.filter((one) => kindOf(one) === bad)
          const confirmed = failed.length === 0 ? batch : batch.filter((one) => kindOf(one) === good && good !== bad)
          published.push(...confirmed.map(of))
          if (failed.length === 0) return Effect.void
          parts++
          const reason = "in part"
          return Effect.fail(
            new PublishError({ reason, presence: "answered", retryable: true, part: { failed, confirmed } })
          )
        })
      yield* run(
        Define.define({
          name: "parts",
          source,
          decode,
          publish: [{ to: { name: "parts", batchMax: 50, inFlightMax: 2, publish } }],
          retry: { attempts: 1000, backoffMillis: 10, maxMillis: 20 }
        })
      )
      assert.strictEqual(published.length, 2_000)
      assert.isAbove(parts, 10)
      assertOrdered(published)
    }).pipe(Random.withSeed("parts"), Effect.provide(DeadLettersMemory.layer))
  )

  it.effect("dispatches in batches by size and age, in order per key, and answers per message", () =>
    Effect.gen(function* () {
      const source = SourceMemory.fromIterable(numbered(25, 5))
      const batches: Array<ReadonlyArray<Message>> = []
      let first = true
      const fiber = yield* Define.run(
        Define.define({
          name: "batch",
          source,
          decode,
          batch: { size: 10, age: "2 seconds" },
          dispatch: [
            {
              run: {
                name: "batches",
                dispatch: () => Effect.die("only batches"),
                dispatchBatch: (detections) =>
                  Effect.sync(() => {
                    batches.push(detections.map((_) => messageOf(_.event.payload)))
                    const retry = first
                    first = false
                    return detections.map((_, i) =>
                      retry && i === 0 ? Result.fail(failed("answered")) : Result.succeed(accepted(null))
                    )
                  })
              }
            }
          ]
        })
      ).pipe(Effect.forkChild)
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(
        batches.map((_) => _.length),
        [10, 10, 1]
      )
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(
        batches.map((_) => _.length),
        [10, 10, 1, 5]
      )
      assertOrdered([...batches[0]!.slice(1), ...batches[1]!, ...batches[3]!])
    }).pipe(Effect.provide(DeadLettersMemory.layer))
  )

  it.effect("gives back what waits at a drain, finishes what works, and a second run completes the rest in order", () =>
    Effect.gen(function* () {
      const messages = numbered(1000, 50)
      const seen: Array<Message> = []
      const slow = (source: SourceMemory.MemorySource) =>
        Define.define({
          name: "drain",
          source,
          decode,
          concurrency: 16,
          dispatch: [
            {
              run: ({ event }) =>
                Effect.sleep("50 millis").pipe(
                  Effect.andThen(Effect.sync(() => seen.push(messageOf(event.payload)))),
                  Effect.as(accepted(null))
                )
            }
          ]
        })
      const first = SourceMemory.fromIterable(messages)
      yield* Effect.gen(function* () {
        const handle = yield* Pipeline.start(slow(first))
        yield* TestClock.adjust("220 millis")
        const drained = yield* Effect.forkChild(handle.drain(1000))
        yield* TestClock.adjust("50 millis")
        yield* Fiber.join(drained)
        assert.strictEqual((yield* handle.status).state, "ended")
      }).pipe(Effect.scoped)
      const acked = first.settled.filter((_) => _.settlement._tag === "Acked")
      assert.strictEqual(acked.length, seen.length)
      assert.strictEqual(first.settled.length, 1000)
      const done = new Set(acked.map((_) => _.envelope.id))
      yield* run(slow(SourceMemory.fromIterable(messages.filter((_) => !done.has(_.id!)))))
      assert.strictEqual(seen.length, 1000)
      assertOrdered(seen)
    }).pipe(Effect.provide(DeadLettersMemory.layer))
  )

  it.effect("buries with reason shutdown what the source cannot give again", () =>
    Effect.gen(function* () {
      const source = SourceMemory.fromIterable(numbered(5, 1), { redelivers: false })
      yield* Effect.gen(function* () {
        const handle = yield* Pipeline.start(
          Define.define({ name: "once", source, decode, dispatch: [{ run: () => Effect.never }] })
        )
        yield* Effect.yieldNow
        const drained = yield* Effect.forkChild(handle.drain(1000))
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(drained)
      }).pipe(Effect.scoped)
      const letters = yield* (yield* DeadLetters).list({})
      assert.deepStrictEqual(
        letters.map((_) => _.reason),
        Array.from({ length: 5 }, () => "shutdown")
      )
      assert.deepStrictEqual(
        letters.map((_) => _.envelope.id),
        ["0", "1", "2", "3", "4"]
      )
    }).pipe(Effect.provide(DeadLettersMemory.layer))
  )

  it.effect("maps typed errors to their policies", () =>
    Effect.gen(function* () {
      class Flaky extends Schema.TaggedError<Flaky>()("Flaky", {}) {}
      class Useless extends Schema.TaggedError<Useless>()("Useless", {}) {}
      let tries = 0
      const source = SourceMemory.fromIterable([
        { id: "a", payload: "flaky" },
        { id: "b", payload: "useless" }
      ])
      yield* run(
        Define.define({
          name: "typed",
          source,
          decode: {
            name: "text",
            decode: (envelope) => ({ envelope, payload: new TextDecoder().decode(envelope.payload), key: undefined })
          },
          dispatch: [
            {
              run: ({ event }) =>
                event.payload === "useless"
                  ? Effect.fail(new Useless())
                  : tries++ < 2
                    ? Effect.fail(new Flaky())
                    : Effect.succeed(accepted(null))
            }
          ],
          failures: { Flaky: "retry", Useless: "drop" }
        })
      )
      assert.deepStrictEqual(
        source.settled.map((_) => [_.envelope.id, _.settlement._tag]),
        [
          ["b", "Acked"],
          ["a", "Acked"]
        ]
      )
    }).pipe(Effect.provide(DeadLettersMemory.layer))
  )

  it.effect("leaves a letter as it is whose leg is no longer there", () =>
    Effect.gen(function* () {
      const deadLetters = yield* DeadLetters
      const plan = (leg: string) =>
        Define.define({
          name: "renamed",
          source: SourceMemory.fromIterable([{ id: "1", payload: 1 }]),
          decode,
          dispatch: [{ name: leg, run: () => Effect.fail(failed("answered", false)) }]
        })
      yield* Define.run(plan("before"))
      const letters = yield* deadLetters.list({})
      yield* Effect.gen(function* () {
        const handle = yield* Pipeline.start({ ...plan("after"), source: yield* SourceMemory.make() })
        const [replayed] = yield* handle.replay(letters)
        assert.deepStrictEqual([replayed?.outcome, replayed?.reason], ["nacked", "the pipeline has no before any more"])
      }).pipe(Effect.scoped)
      assert.deepStrictEqual(yield* deadLetters.list({}), letters)
    }).pipe(Effect.provide(DeadLettersMemory.layer))
  )

  it.effect("replays only the buried leg, under the letter's id", () =>
    Effect.gen(function* () {
      const deadLetters = yield* DeadLetters
      let broken = true
      const runs: Array<string> = []
      const publisher = PublisherMemory.make()
      const queue = yield* SourceMemory.make()
      yield* Effect.gen(function* () {
        const handle = yield* Pipeline.start(
          Define.define({
            name: "replay",
            source: queue,
            decode,
            dispatch: [
              {
                name: "a",
                run: () => {
                  runs.push("a")
                  return accepted("a")
                }
              },
              {
                name: "b",
                run: () => {
                  runs.push("b")
                  return broken ? Effect.fail(failed("answered", false)) : accepted("b")
                }
              }
            ],
            publish: [{ to: publisher }]
          })
        )
        yield* queue.offer({ id: "1", key: "k", payload: 1 }, { id: "2", key: "k", payload: 2 })
        yield* TestClock.adjust(0)
        const before = yield* deadLetters.list({})
        assert.strictEqual(before.length, 2)
        const again = yield* handle.replay(before)
        assert.deepStrictEqual(
          again.map((_) => _.outcome),
          ["buried", "buried"]
        )
        assert.deepStrictEqual(
          (yield* deadLetters.list({})).map(({ attempts, id }) => [id, attempts]),
          before.map(({ id }) => [id, 2])
        )
        broken = false
        const after = yield* handle.replay(yield* deadLetters.list({}))
        assert.deepStrictEqual(
          after.map((_) => _.outcome),
          ["acked", "acked"]
        )
        assert.deepStrictEqual(yield* deadLetters.list({}), [])
        assert.deepStrictEqual(runs, ["a", "b", "a", "b", "b", "b", "b", "b"])
        assert.deepStrictEqual(
          publisher.published.map((_) => new TextDecoder().decode(_.value)),
          ["a", "a", "b", "b"]
        )
      }).pipe(Effect.scoped)
    }).pipe(Effect.provide(DeadLettersMemory.layer))
  )

  it.effect("pauses its source when the buffer is full, by count and by bytes", () =>
    Effect.gen(function* () {
      for (const buffer of [{ messages: 100 }, { bytes: 5000 }]) {
        let taken = 0
        const source = SourceMemory.fromIterable(
          (function* () {
            for (;;) {
              taken++
              yield { key: `${taken}`, payload: "x".repeat(100) }
            }
          })(),
          { arrayMax: 10 }
        )
        yield* Effect.gen(function* () {
          const handle = yield* Pipeline.start(
            Define.define({
              name: "full",
              source,
              decode: { name: "bytes", decode: (envelope) => ({ envelope, payload: null, key: envelope.key }) },
              concurrency: 5,
              buffer,
              dispatch: [{ run: () => Effect.never }]
            })
          )
          yield* TestClock.adjust("1 second")
          const status = yield* handle.status
          assert.isTrue(status.waiting)
          assert.isAtMost(taken, 130)
          yield* handle.drain(0)
        }).pipe(Effect.scoped)
      }
    }).pipe(Effect.provide(DeadLettersMemory.layer))
  )
})
