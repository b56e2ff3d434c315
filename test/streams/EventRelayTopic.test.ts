/** A reader of a topic of EventRelay, on the server in memory and in virtual time. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Exit, Layer, Logger, Scope } from "effect"
import * as DeadLettersMemory from "../../src/layers/DeadLettersMemory.ts"
import * as EventRelayMemory from "../../src/layers/EventRelayMemory.ts"
import * as PositionsMemory from "../../src/layers/PositionsMemory.ts"
import type { DeadLetters } from "../../src/services/DeadLetters.ts"
import { Positions } from "../../src/services/Positions.ts"
import { accepted } from "../../src/services/Reply.ts"
import * as Define from "../../src/streams/Define.ts"
import { EventRelayPages } from "../../src/streams/EventRelayPages.ts"
import * as EventRelayTopic from "../../src/streams/EventRelayTopic.ts"
import type { Handle } from "../../src/streams/Pipeline.ts"
import { generator } from "../layers/Random.ts"
import { pass } from "../suites/KafkaKit.ts"
import * as SourceSuite from "../suites/SourceSuite.ts"
import { unwrapped } from "./EventRelayKit.ts"

SourceSuite.suite(
  "EventRelayTopic",
  { givesAgain: true },
  (payloads) =>
    Effect.gen(function* () {
      const relay = yield* EventRelayMemory.EventRelayControls
      yield* relay.put(
        "t",
        payloads.map((value) => ({ data: { value } }))
      )
      const channel = yield* relay.client.channel(relay.connection)
      return unwrapped(yield* EventRelayTopic.make({ pipeline: "p", channel, topic: "t", group: "g" }))
    }),
  Layer.mergeAll(EventRelayMemory.layer, PositionsMemory.layer)
)

interface World {
  readonly relay: EventRelayMemory.EventRelayInMemory
  /** Publishes values; those with a delay can be read only later. Units: seconds. */
  readonly put: (values: ReadonlyArray<number>, delay?: number) => Effect.Effect<void>
  readonly start: (
    run: (value: number) => Effect.Effect<unknown>,
    more?: Partial<EventRelayTopic.Options> & { readonly token?: string }
  ) => Effect.Effect<{ readonly handle: Handle; readonly stop: Effect.Effect<void> }, never, DeadLetters | Scope.Scope>
}

const make: Effect.Effect<World> = Effect.gen(function* () {
  const relay = yield* EventRelayMemory.make()
  yield* relay.createTopic("t")
  const positions = PositionsMemory.make()
  return {
    relay,
    put: (values, delay = 0) =>
      Effect.flatMap(Clock.currentTimeMillis, (now) =>
        Effect.asVoid(
          relay.put(
            "t",
            values.map((value) => ({
              data: { value },
              available_at: delay === 0 ? "" : new Date(now + delay * 1_000).toISOString()
            }))
          )
        )
      ),
    start: Effect.fnUntraced(function* (run, { token, ...more } = {}) {
      const scope = yield* Scope.fork(yield* Scope.Scope)
      const connection = token === undefined ? relay.connection : relay.connectionWith({ token })
      const channel = yield* Scope.provide(relay.client.channel(connection), scope)
      const source = yield* EventRelayTopic.make({
        pipeline: "p",
        channel,
        topic: "t",
        group: "g",
        batch: 10,
        ...more
      }).pipe(Effect.provideService(Positions, positions))
      const plan = Define.define({
        name: "p",
        source,
        decode: source.codec!,
        dispatch: [
          {
            run: ({ event }: { event: { payload: unknown } }) =>
              Effect.as(run((event.payload as { data: { value: number } }).data.value), accepted(null))
          }
        ]
      })
      const handle = yield* Scope.provide(Define.start(plan), scope)
      return { handle, stop: Effect.andThen(handle.drain(1_000), Scope.close(scope, Exit.void)) }
    })
  }
})

const test = (name: string, body: (world: World) => Effect.Effect<void, unknown, DeadLetters | Scope.Scope>) =>
  it.effect(name, () => Effect.scoped(Effect.flatMap(make, body)).pipe(Effect.provide(DeadLettersMemory.layer)))

const numbers = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i)

const noting = () => {
  const seen: Array<number> = []
  return { seen, run: (value: number) => Effect.sync(() => void seen.push(value)) }
}

/** Stops in virtual time. */
const stopping = (stop: Effect.Effect<void>) => Effect.andThen(Effect.forkScoped(stop), pass(5_000))

describe("EventRelayTopic", () => {
  test("reads all pages in order, then looks once per interval, and takes nothing from destinations", (world) =>
    Effect.gen(function* () {
      const { put, relay, start } = world
      const destination = yield* relay.createDestination({ topic: "t" })
      yield* put(numbers(0, 105))
      const { run, seen } = noting()
      yield* start(run)
      yield* pass(1_000)
      assert.deepStrictEqual(seen, numbers(0, 105))
      const before = relay.calls("pull")
      yield* pass(60_000)
      assert.strictEqual(relay.calls("pull") - before, 12)
      yield* put(numbers(105, 140))
      yield* pass(5_000)
      assert.deepStrictEqual(seen, numbers(0, 140))
      assert.deepStrictEqual(relay.out(destination), [])
    }))

  test("goes on where it was, without what was settled behind a gap", ({ put, start }) =>
    Effect.gen(function* () {
      yield* put(numbers(0, 40))
      const first = noting()
      const one = yield* start((n) => (n === 3 || n === 17 ? Effect.never : first.run(n)))
      yield* pass(1_000)
      assert.strictEqual(first.seen.length, 38)
      yield* stopping(one.stop)
      yield* put(numbers(40, 45))
      const second = noting()
      yield* start(second.run)
      yield* pass(1_000)
      assert.deepStrictEqual(second.seen, [3, 17, ...numbers(40, 45)])
    }))

  test("begins behind what is there where it is told so, once", ({ put, start }) =>
    Effect.gen(function* () {
      yield* put(numbers(0, 20))
      const { run, seen } = noting()
      const one = yield* start(run, { from: "latest" })
      yield* pass(1_000)
      yield* stopping(one.stop)
      yield* put(numbers(20, 30))
      yield* start(run, { from: "latest" })
      yield* pass(1_000)
      assert.deepStrictEqual(seen, numbers(20, 30))
    }))

  test("reads what a query finds", ({ put, start }) =>
    Effect.gen(function* () {
      yield* put(numbers(0, 30))
      const { run, seen } = noting()
      yield* start(run, { query: "data.value >= 5 AND data.value < 25" })
      yield* pass(1_000)
      assert.deepStrictEqual(seen, numbers(5, 25))
    }))

  test("reads what becomes available between others, also while it is stopped", ({ put, start }) =>
    Effect.gen(function* () {
      yield* put(numbers(0, 30))
      yield* put([100], 20)
      yield* put(numbers(30, 60))
      yield* put([101, 102], 100)
      yield* put(numbers(60, 90))
      const { run, seen } = noting()
      const one = yield* start(run)
      yield* pass(10_000)
      assert.deepStrictEqual(seen, numbers(0, 90))
      yield* pass(20_000)
      assert.deepStrictEqual(seen.slice(90), [100])
      yield* stopping(one.stop)
      yield* pass(100_000)
      const second = noting()
      yield* start(second.run)
      yield* pass(10_000)
      assert.deepStrictEqual(second.seen, [101, 102])
    }))

  for (let seed = 1; seed <= 12; seed++) {
    test(`reads each once, whatever becomes available when, over stops, seed ${seed}`, ({ put, start }) =>
      Effect.gen(function* () {
        const random = generator(seed)
        const ran: Array<number> = []
        let sent = 0
        for (let round = 0; round < 5; round++) {
          const one = yield* start(
            (n) =>
              Effect.andThen(
                Effect.sleep(random(400)),
                Effect.sync(() => void ran.push(n))
              ),
            { batch: 1 + random(20), pullMillis: 500 }
          )
          for (let i = 0; i < 6; i++) {
            const count = random(25)
            yield* put(numbers(sent, sent + count), random(2) === 0 ? 0 : random(12))
            sent += count
            yield* pass(random(2_000))
          }
          yield* stopping(one.stop)
        }
        yield* start((n) => Effect.sync(() => void ran.push(n)), { pullMillis: 500 })
        yield* pass(60_000)
        assert.deepStrictEqual(
          ran.toSorted((a, b) => a - b),
          numbers(0, sent)
        )
      }))
  }

  test("waits out a server that is away, and fails when it is refused from the beginning", (world) =>
    Effect.gen(function* () {
      const lines: Array<string> = []
      const { put, relay, start } = world
      yield* put(numbers(0, 3))
      yield* relay.away(true)
      const { run, seen } = noting()
      const { handle } = yield* start(run).pipe(
        Effect.provide(Logger.layer([Logger.make(({ message }) => void lines.push(String(message)))]))
      )
      yield* pass(30_000)
      assert.isBelow(relay.calls("pull"), 15)
      yield* relay.away(false)
      yield* pass(6_000)
      assert.deepStrictEqual([seen, (yield* handle.status).state], [[0, 1, 2], "running"])
      assert.strictEqual(lines.filter((line) => line.includes("outage:")).length, 1)
      const bad = yield* start(run, { group: "other", query: "data.value ~ 3" })
      assert.match((yield* Effect.flip(bad.handle.await)).message, /^p: eventrelay:t: .*INVALID_ARGUMENT/)
    }))

  test("has a position that nobody else may use meanwhile", ({ start }) =>
    Effect.gen(function* () {
      yield* start(() => Effect.void)
      yield* pass(100)
      const second = yield* start(() => Effect.void)
      const error = yield* Effect.flip(second.handle.await)
      assert.strictEqual(error.kind, "failed")
      assert.match(error.message, /the position of .* is held by another pipeline or process/)
    }))
})

describe("EventRelayPages", () => {
  it("knows after any number of openings what was settled, and where the first is that was not", () => {
    for (let seed = 1; seed <= 50; seed++) {
      const random = generator(seed)
      // Offsets of the events that are there, with gaps as a query leaves them.
      const there: Array<number> = []
      for (let offset = 1; there.length < 200; offset += 1 + random(4)) there.push(offset)
      const done = new Set<number>()
      let pages = new EventRelayPages(undefined)
      for (let round = 0; round < 20; round++) {
        const open: Array<number> = []
        assert.strictEqual(pages.last, pages.index === 0 ? undefined : there[pages.index - 1])
        for (const offset of there.slice(pages.index, pages.index + random(60))) {
          const isNew = pages.see(offset)
          assert.strictEqual(isNew, !done.has(offset), `seed ${seed}`)
          assert.isFalse(pages.see(offset))
          if (isNew) open.push(offset)
          pages.index++
          pages.last = offset
        }
        for (const offset of open) {
          if (random(3) === 0) continue
          pages.settle(offset)
          done.add(offset)
        }
        const read = pages.index
        pages = new EventRelayPages(pages.encode())
        const first = there.findIndex((offset) => !done.has(offset))
        assert.strictEqual(pages.index, first === -1 ? read : Math.min(first, read), `seed ${seed}`)
      }
    }
  })
})
