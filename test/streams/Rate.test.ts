/** How many are let in per interval, in virtual time: exact, changed while running, and no bar to an end. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Deferred, Effect, Exit, Random, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as CodecJson from "../../src/layers/CodecJson.ts"
import * as DeadLettersMemory from "../../src/layers/DeadLettersMemory.ts"
import type { Codec } from "../../src/services/Codec.ts"
import { DeadLetters } from "../../src/services/DeadLetters.ts"
import { later } from "../../src/services/Ready.ts"
import { accepted, refused } from "../../src/services/Reply.ts"
import type { Source } from "../../src/services/Source.ts"
import * as Define from "../../src/streams/Define.ts"
import { type Limit, limitOf, Rate, RateError } from "../../src/streams/Rate.ts"
import * as SourceMemory from "../../src/streams/SourceMemory.ts"

interface Seen {
  readonly n: number
  /** Units: milliseconds. */
  readonly at: number
}

const numbers = (count: number): ReadonlyArray<SourceMemory.Message> =>
  Array.from({ length: count }, (_, n) => ({ id: `${n}`, key: "k", payload: { n } }))

/** Notes when each message is let in: nothing else makes it wait. */
const noting = (seen: Array<Seen>) => ({
  decode: CodecJson.make(),
  dispatch: [
    {
      run: ({ event }: { readonly event: { readonly payload: unknown } }) =>
        Effect.map(Clock.currentTimeMillis, (at) => {
          seen.push({ n: (event.payload as { readonly n: number }).n, at })
          return accepted(null)
        })
    }
  ]
})

/** The most that came within a stretch of time as long as the interval. */
const mostWithin = (times: ReadonlyArray<number>, perMillis: number): number => {
  let most = 0
  let from = 0
  for (let i = 0; i < times.length; i++) {
    while (times[from]! <= times[i]! - perMillis) from++
    most = Math.max(most, i - from + 1)
  }
  return most
}

const step = (millis: number) => TestClock.adjust(`${millis} millis`)

describe("A rate", () => {
  it.effect("lets in so many per interval, of arrays of any size, and asks for no more meanwhile", () =>
    Effect.gen(function* () {
      for (const arrayMax of [1, 7, 10, 1000]) {
        const seen: Array<Seen> = []
        let pulled = 0
        const memory = SourceMemory.fromIterable(numbers(100), { arrayMax })
        const source: Source = {
          ...memory,
          open: Effect.map(memory.open, (stream) =>
            Stream.tap(Stream.rechunk(stream, arrayMax), () => Effect.sync(() => pulled++))
          )
        }
        const handle = yield* Define.start(
          Define.define({ name: "p", source, rate: { messages: 10, per: "1 second" }, ...noting(seen) })
        )
        yield* step(0)
        assert.strictEqual(seen.length, 10)
        assert.isTrue((yield* handle.status).waiting)
        if (arrayMax === 10) assert.strictEqual(pulled, 10)
        yield* step(999)
        assert.strictEqual(seen.length, 10)
        yield* step(1)
        assert.strictEqual(seen.length, 20)
        yield* step(9_000)
        yield* handle.await
        assert.strictEqual(memory.settled.length, 100)
        assert.strictEqual(
          mostWithin(
            seen.map((one) => one.at),
            1000
          ),
          10
        )
        assert.deepStrictEqual(
          seen.map(({ n }) => n),
          [...Array(100).keys()]
        )
      }
    }).pipe(Effect.scoped, Effect.provide(DeadLettersMemory.layer))
  )

  it.effect("makes no burst of two intervals that meet", () =>
    Effect.gen(function* () {
      const seen: Array<Seen> = []
      const source = yield* SourceMemory.make()
      yield* Define.start(Define.define({ name: "p", source, rate: { messages: 10 }, ...noting(seen) }))
      yield* step(900)
      yield* source.offer(...numbers(100))
      yield* step(100)
      assert.strictEqual(seen.length, 10)
      yield* step(899)
      assert.strictEqual(seen.length, 10)
      yield* step(1)
      assert.strictEqual(seen.length, 20)
    }).pipe(Effect.scoped, Effect.provide(DeadLettersMemory.layer))
  )

  for (const seed of ["a", "b", "c", "d", "e", "f", "g", "h"]) {
    it.effect(`changed at random while it runs, is kept at every moment and loses nothing (seed ${seed})`, () =>
      Effect.gen(function* () {
        const seen: Array<Seen> = []
        const source = yield* SourceMemory.make({ arrayMax: 64, capacity: 4096 })
        const messages = numbers(3000)
        const handle = yield* Define.start(
          Define.define({ name: "p", source, rate: { messages: 50, per: "100 millis" }, ...noting(seen) })
        )
        let limit: Limit | undefined = { messages: 50, perMillis: 100 }
        let paused = false
        /** When each limit, or none, began to hold. */
        const held: Array<{ readonly from: number; readonly limit: Limit | undefined }> = [{ from: 0, limit }]
        let offered = 0
        const between = (least: number, most: number) => Random.nextIntBetween(least, most)
        for (let i = 0; i < 400; i++) {
          const dice = yield* Random.next
          if (dice < 0.3 && offered < messages.length) {
            const next = messages.slice(offered, offered + (yield* between(1, 200)))
            offered += next.length
            yield* source.offer(...next)
          } else if (dice < 0.4) {
            paused = !paused
            yield* paused ? handle.pause : handle.resume
          } else if (dice < 0.45) {
            limit = dice < 0.41 ? undefined : { messages: yield* between(1, 80), perMillis: yield* between(1, 400) }
            held.push({ from: seen.length, limit })
            yield* handle.rate(limit && { messages: limit.messages, per: limit.perMillis })
          }
          const before = seen.length
          yield* step(yield* between(1, 50))
          if (paused) assert.strictEqual(seen.length, before)
        }
        const lifted = seen.length
        assert.isAbove(lifted, 100)
        yield* handle.rate(undefined)
        yield* handle.resume
        yield* source.offer(...messages.slice(offered))
        yield* source.end
        yield* step(1000)
        yield* handle.await
        held.forEach(({ from, limit }, i) => {
          if (limit === undefined) return
          const times = seen.slice(from, held[i + 1]?.from ?? lifted).map(({ at }) => at)
          assert.isAtMost(mostWithin(times, limit.perMillis), limit.messages)
        })
        assert.deepStrictEqual(
          seen.map(({ n }) => n),
          [...Array(3000).keys()]
        )
        assert.strictEqual(source.settled.length, 3000)
        assert.isTrue(source.settled.every(({ settlement }) => settlement._tag === "Acked"))
      }).pipe(Effect.scoped, Random.withSeed(seed), Effect.provide(DeadLettersMemory.layer))
    )
  }

  it.effect("takes effect at once when it is raised, lowered and lifted", () =>
    Effect.gen(function* () {
      const seen: Array<Seen> = []
      const source = SourceMemory.fromIterable(numbers(200), { arrayMax: 200 })
      const handle = yield* Define.start(
        Define.define({ name: "p", source, rate: { messages: 10, per: "1 minute" }, ...noting(seen) })
      )
      yield* step(100)
      assert.strictEqual(seen.length, 10)
      assert.deepStrictEqual((yield* handle.status).rate, { messages: 10, perMillis: 60_000 })
      yield* handle.rate({ messages: 25, per: "1 minute" })
      yield* step(0)
      assert.strictEqual(seen.length, 25)
      yield* handle.rate({ messages: 5, per: "1 minute" })
      yield* step(60_000)
      assert.strictEqual(seen.length, 30)
      yield* handle.rate(undefined)
      yield* step(0)
      assert.strictEqual(seen.length, 200)
      assert.isUndefined((yield* handle.status).rate)
    }).pipe(Effect.scoped, Effect.provide(DeadLettersMemory.layer))
  )

  it.effect("does not hold up a drain: what is not let in yet is given back at once, in order", () =>
    Effect.gen(function* () {
      const seen: Array<Seen> = []
      const source = SourceMemory.fromIterable(numbers(100), { arrayMax: 100 })
      const handle = yield* Define.start(Define.define({ name: "p", source, rate: { messages: 10 }, ...noting(seen) }))
      yield* step(1500)
      const drain = yield* Effect.forkChild(handle.drain())
      yield* step(0)
      assert.isDefined(drain.pollUnsafe())
      assert.strictEqual(seen.length, 20)
      const given = source.settled.filter(({ settlement }) => settlement._tag === "Nacked")
      assert.deepStrictEqual(
        given.map(({ envelope }) => envelope.id),
        numbers(100)
          .slice(20)
          .map(({ id }) => id!)
      )
      assert.deepInclude(yield* handle.status, { received: 100, acked: 20, nacked: 80, held: 0, state: "ended" })
    }).pipe(Effect.scoped, Effect.provide(DeadLettersMemory.layer))
  )

  for (const seed of ["a", "b", "c", "d", "e", "f"]) {
    it.effect(
      `drained at a random moment, has let in no more than it may, and gives back the rest (seed ${seed})`,
      () =>
        Effect.gen(function* () {
          const seen: Array<Seen> = []
          const between = (least: number, most: number) => Random.nextIntBetween(least, most)
          const random = yield* Random.Random
          const json = CodecJson.make()
          const messages = yield* between(1, 40)
          const perMillis = yield* between(1, 200)
          const arrayMax = yield* between(1, 120)
          const source = SourceMemory.fromIterable(numbers(2000), { arrayMax })
          const decode: Codec = {
            ...json,
            decode: (envelope) =>
              random.nextDoubleUnsafe() < 0.9
                ? json.decode(envelope)
                : Effect.delay(later(json.decode(envelope)), random.nextIntUnsafe() % 2 === 0 ? "1 millis" : "7 millis")
          }
          const handle = yield* Define.start(
            Define.define({ name: "p", source, rate: { messages, per: perMillis }, ...noting(seen), decode })
          )
          const paused = (yield* Random.next) < 0.3
          yield* step(yield* between(0, 400))
          if (paused) yield* handle.pause
          yield* step(yield* between(0, 400))
          const drain = yield* Effect.forkChild(handle.drain())
          yield* step(0)
          assert.isDefined(drain.pollUnsafe())
          const count = seen.length
          yield* step(10_000)
          assert.strictEqual(seen.length, count)
          assert.isAtMost(
            mostWithin(
              seen.map(({ at }) => at),
              perMillis
            ),
            // One that its codec waits for is seen later than it was let in.
            messages + 1
          )
          assert.deepStrictEqual(
            seen.map(({ n }) => n),
            [...Array(count).keys()]
          )
          const { acked, held, nacked, received } = yield* handle.status
          assert.deepStrictEqual({ acked, nacked, held }, { acked: count, nacked: received - count, held: 0 })
          assert.strictEqual(new Set(source.settled.map(({ envelope }) => envelope.id)).size, received)
        }).pipe(Effect.scoped, Random.withSeed(seed), Effect.provide(DeadLettersMemory.layer))
    )
  }

  it.effect("holds in a drain, too, where the source cannot give again: what it leaves at the deadline is buried", () =>
    Effect.gen(function* () {
      for (const paused of [false, true]) {
        const seen: Array<Seen> = []
        const source = SourceMemory.fromIterable(numbers(100), { arrayMax: 100, redelivers: false })
        const handle = yield* Define.start(
          Define.define({ name: `p${paused}`, source, rate: { messages: 10 }, ...noting(seen) })
        )
        yield* step(500)
        if (paused) yield* handle.pause
        const drain = yield* Effect.forkChild(handle.drain(3_000))
        yield* step(2_999)
        assert.isUndefined(drain.pollUnsafe())
        yield* step(1)
        assert.isDefined(drain.pollUnsafe())
        assert.strictEqual(seen.length, 40)
        assert.strictEqual(
          mostWithin(
            seen.map(({ at }) => at),
            1000
          ),
          10
        )
        const letters = yield* (yield* DeadLetters).list({ pipeline: `p${paused}` })
        assert.strictEqual(letters.length, 60)
        assert.isTrue(letters.every(({ stage }) => stage === "shutdown"))
      }
    }).pipe(Effect.scoped, Effect.provide(DeadLettersMemory.layer))
  )

  it.effect("refuses what a source that stops still hands out, rather than lose it or let it in too fast", () =>
    Effect.gen(function* () {
      const seen: Array<Seen> = []
      const stopped = yield* Deferred.make<void>()
      const memory = SourceMemory.fromIterable(numbers(100), { arrayMax: 10, redelivers: false })
      const source: Source = { ...memory, stop: Effect.asVoid(Deferred.succeed(stopped, undefined)) }
      const handle = yield* Define.start(Define.define({ name: "p", source, rate: { messages: 10 }, ...noting(seen) }))
      yield* step(500)
      const drain = yield* Effect.forkChild(handle.drain(30_000))
      yield* step(5_000)
      assert.isDefined(drain.pollUnsafe())
      assert.strictEqual(seen.length, 50)
      assert.isTrue(yield* Deferred.isDone(stopped))
      assert.deepInclude(yield* handle.status, { received: 100, acked: 50, buried: 50 })
    }).pipe(Effect.scoped, Effect.provide(DeadLettersMemory.layer))
  )

  it.effect("does not hold up the end of a scope", () =>
    Effect.gen(function* () {
      const seen: Array<Seen> = []
      const source = SourceMemory.fromIterable(numbers(100), { arrayMax: 100 })
      const scope = yield* Scope.make()
      yield* Scope.provide(
        Define.start(Define.define({ name: "p", source, rate: { messages: 1, per: "1 hour" }, ...noting(seen) })),
        scope
      )
      yield* step(500)
      const closed = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* step(0)
      assert.isDefined(closed.pollUnsafe())
      assert.strictEqual(seen.length, 1)
    }).pipe(Effect.provide(DeadLettersMemory.layer))
  )

  it.effect("is none of a replay's business", () =>
    Effect.gen(function* () {
      let isGood = false
      const source = SourceMemory.fromIterable(numbers(10), { arrayMax: 3 })
      const waiting = yield* SourceMemory.make()
      const run = () => (isGood ? accepted(null) : refused("not yet"))
      const plan = { name: "p", decode: CodecJson.make(), dispatch: [{ run }] }
      yield* Define.run(Define.define({ ...plan, source }))
      const letters = yield* (yield* DeadLetters).list({})
      assert.strictEqual(letters.length, 10)
      isGood = true
      const handle = yield* Define.start(
        Define.define({ ...plan, source: waiting, rate: { messages: 2, per: "1 hour" } })
      )
      const replayed = yield* handle.replay(letters)
      assert.isTrue(replayed.every(({ outcome }) => outcome === "acked"))
      yield* waiting.offer(...numbers(5))
      yield* step(0)
      assert.strictEqual(waiting.settled.length, 2)
    }).pipe(Effect.scoped, Effect.provide(DeadLettersMemory.layer))
  )

  it.effect("that cannot be one is refused with a reason", () =>
    Effect.gen(function* () {
      const source = yield* SourceMemory.make()
      const handle = yield* Define.start(Define.define({ name: "p", source, ...noting([]) }))
      const error = yield* Effect.flip(handle.rate({ messages: 0 }))
      assert.strictEqual(error.message, "rate.messages: expected a whole number from 1 to 1000000000, found 0")
      const per = yield* Effect.flip(handle.rate({ messages: 1, per: "25 days" }))
      assert.strictEqual(per.message, "rate.per: expected a duration from 1 millis to 24 days, found 25 days")
      for (const wrong of ["0 millis", "-1 second", "Infinity", "soon" as never] as const) {
        assert.instanceOf(limitOf({ messages: 1, per: wrong }), RateError, wrong)
      }
      assert.throws(() => Define.define({ name: "p", source, rate: { messages: 1.5 }, ...noting([]) }), "found 1.5")
    }).pipe(Effect.scoped, Effect.provide(DeadLettersMemory.layer))
  )

  it("lets in what it may when the clock is set back, and remembers a bounded number of moments", () => {
    const rate = new Rate({ messages: 100_000, perMillis: 1000 })
    for (let i = 0; i < 50_000; i++) rate.spend(2, 1_000_000 + i / 100)
    assert.strictEqual(rate.allowed(1_000_500), 0)
    assert.isAtMost(rate.waitMillis(1_000_500), 501)
    assert.isAtMost((rate as unknown as { readonly groups: ReadonlyArray<unknown> }).groups.length, 1001)
    assert.strictEqual(rate.allowed(5_000), 0)
    assert.strictEqual(rate.waitMillis(5_000), 1000)
    assert.strictEqual(rate.allowed(6_000), 100_000)
  })
})

describe("A pause", () => {
  it.effect("lets nothing in, neither what comes after it nor what the source had in its hand", () =>
    Effect.gen(function* () {
      const seen: Array<Seen> = []
      const source = yield* SourceMemory.make()
      const handle = yield* Define.start(Define.define({ name: "p", source, ...noting(seen) }), { paused: true })
      assert.strictEqual((yield* handle.status).state, "paused")
      yield* source.offer(...numbers(10))
      yield* step(1000)
      assert.strictEqual(seen.length, 0)
      yield* handle.resume
      yield* step(0)
      assert.strictEqual(seen.length, 10)
      yield* handle.pause
      yield* source.offer(...numbers(10))
      yield* step(1000)
      assert.strictEqual(seen.length, 10)
      const drain = yield* Effect.forkChild(handle.drain())
      yield* step(0)
      assert.isDefined(drain.pollUnsafe())
      assert.deepInclude(yield* handle.status, { received: 20, acked: 10, nacked: 10 })
    }).pipe(Effect.scoped, Effect.provide(DeadLettersMemory.layer))
  )
})
