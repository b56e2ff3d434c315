/** The life of an event of a destination, on the server in memory and in virtual time. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Layer, Logger, type Scope } from "effect"
import * as DeadLettersMemory from "../../src/layers/DeadLettersMemory.ts"
import * as EventRelayMemory from "../../src/layers/EventRelayMemory.ts"
import * as InboxMemory from "../../src/layers/InboxMemory.ts"
import { DeadLetters } from "../../src/services/DeadLetters.ts"
import * as Envelope from "../../src/services/Envelope.ts"
import * as EventRelayDestination from "../../src/streams/EventRelayDestination.ts"
import { generator, pick } from "../layers/Random.ts"
import { pass } from "../suites/KafkaKit.ts"
import * as SourceSuite from "../suites/SourceSuite.ts"
import { make, noting, type Run, topic, unwrapped, valueOf, type World } from "./EventRelayKit.ts"

SourceSuite.suite(
  "EventRelayDestination",
  { givesAgain: true },
  (payloads) =>
    Effect.gen(function* () {
      const relay = yield* EventRelayMemory.EventRelayControls
      const destination = yield* relay.createDestination({ topic: "t" })
      yield* relay.put(
        "t",
        payloads.map((value) => ({ data: { value } }))
      )
      const channel = yield* relay.client.channel(relay.connection)
      const source = yield* EventRelayDestination.make({
        pipeline: "p",
        channels: [channel],
        destination,
        demand: 1_000
      })
      return unwrapped(source)
    }),
  Layer.mergeAll(EventRelayMemory.layer, InboxMemory.layer)
)

const test = (name: string, body: (world: World) => Effect.Effect<void, unknown, DeadLetters | Scope.Scope>) =>
  it.effect(name, () => Effect.scoped(Effect.flatMap(make, body)).pipe(Effect.provide(DeadLettersMemory.layer)))

const seeds = (name: string, body: (seed: number) => (world: World) => Effect.Effect<void, unknown, any>) => {
  for (let seed = 1; seed <= 12; seed++) test(`${name}, seed ${seed}`, body(seed))
}

const letters = Effect.flatMap(DeadLetters, (letters) => letters.list({}))
const numbers = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i)

/** What is logged meanwhile. */
const logging = () => {
  const lines: Array<string> = []
  return { lines, layer: Logger.layer([Logger.make(({ message }) => void lines.push(String(message)))]) }
}

describe("EventRelayDestination", () => {
  test("works what it pulls, in order, and leaves nothing in the inbox", ({ put, relay, start }) =>
    Effect.gen(function* () {
      yield* put(...numbers(0, 500))
      const { run, seen } = noting()
      const first = yield* start(run, { concurrency: 1, demand: 20 })
      yield* pass(3_000)
      assert.deepStrictEqual(seen, numbers(0, 500))
      yield* first.kill
      const second = noting()
      yield* start(second.run)
      yield* pass(1_000)
      assert.deepStrictEqual(second.seen, [])
      assert.isTrue(relay.pulled().every(({ asked }) => asked <= 128))
    }))

  test("gives the event as the server has it, and what of it is an envelope's", ({ relay, start }) =>
    Effect.gen(function* () {
      yield* relay.put(topic, [
        {
          name: "person.created",
          data: { person: { first_name: "Bill" } },
          group_key: "g",
          context: { ip: "127.0.0.1" },
          occurred_at: "2024-02-03T04:05:06Z"
        }
      ])
      const payloads: Array<any> = []
      yield* start((_, payload) =>
        Effect.andThen(
          Effect.sync(() => void payloads.push(payload)),
          Effect.succeed(false)
        )
      )
      yield* pass(1_000)
      const [{ envelope }] = (yield* letters) as unknown as [{ envelope: Envelope.Envelope }]
      const [stored] = relay.stored(topic)
      assert.deepStrictEqual(JSON.parse(Envelope.text(envelope)), stored as never)
      assert.deepStrictEqual(payloads, [{ ...stored!, data: { person: { first_name: "Bill" } } }])
      assert.strictEqual(envelope.id, stored!.id)
      assert.strictEqual(envelope.key, "g")
      assert.deepStrictEqual(envelope.headers, { ip: "127.0.0.1" })
      assert.deepStrictEqual([envelope.attempt, envelope.position], [1, stored!.offset])
      assert.strictEqual(envelope.producedAt, Date.UTC(2024, 1, 3, 4, 5, 6))
    }))

  test("asks an empty destination once per interval, and at once while events come", ({ put, relay, start }) =>
    Effect.gen(function* () {
      const { run, seen } = noting()
      yield* start(run, { demand: 10, connections: 3 })
      yield* pass(60_000)
      // At 0 and after each 5 seconds.
      assert.deepStrictEqual(
        relay.pulled().map(({ at, asked }) => [at, asked]),
        numbers(0, 13).map((i) => [i * 5_000, 4])
      )
      yield* put(...numbers(0, 300))
      yield* pass(6_000)
      assert.strictEqual(seen.length, 300)
      const pulled = relay.pulled().slice(13)
      assert.isBelow(pulled.at(-1)!.at - pulled[0]!.at, 2_000)
    }))

  test("asks for exactly the room there is, and for nothing while the pipeline takes nothing", (world) =>
    Effect.gen(function* () {
      const { out, put, relay, start } = world
      yield* put(...numbers(0, 100))
      const gates = numbers(0, 100).map(() => Deferred.makeUnsafe<void>())
      const { handle } = yield* start((n) => Deferred.await(gates[n]!), {
        demand: 20,
        concurrency: 10
      })
      yield* pass(30_000)
      assert.deepStrictEqual(
        relay.pulled().map(({ asked }) => asked),
        [20]
      )
      for (const gate of gates.slice(0, 3)) yield* Deferred.succeed(gate, undefined)
      yield* pass(1_000)
      for (const gate of gates.slice(3, 15)) yield* Deferred.succeed(gate, undefined)
      yield* pass(1_000)
      assert.deepStrictEqual(
        relay.pulled().map(({ asked }) => asked),
        // Half of it is worth a call, less is left to grow for a moment.
        [20, 3, 10, 2]
      )
      yield* handle.pause
      for (const gate of gates) yield* Deferred.succeed(gate, undefined)
      yield* pass(60_000)
      assert.isAtMost(out(), 55)
      yield* handle.resume
      yield* pass(1_000)
      assert.strictEqual(handle.stats.acked, 100)
    }))

  seeds(
    "never has more out than its demand",
    (seed) =>
      ({ out, put, relay, start }) =>
        Effect.gen(function* () {
          const random = generator(seed)
          const demand = 1 + random(40)
          const { handle } = yield* start(
            () => Effect.andThen(Effect.sleep(random(300)), Effect.succeed(random(10) > 0)),
            { demand, concurrency: 10, connections: 1 + random(3) }
          )
          let sent = 0
          for (let i = 0; i < 60; i++) {
            const some = random(3) === 0 ? random(100) : 0
            yield* put(...numbers(sent, sent + some))
            sent += some
            if (random(10) === 0) yield* relay.failNext("pullQueued", pick(random, ["away", "failed"]))
            for (let step = 0; step < 5; step++) {
              yield* pass(1 + random(60))
              assert.isAtMost(out() - handle.stats.acked - handle.stats.buried, demand)
            }
          }
          yield* pass(300_000)
          assert.strictEqual(handle.stats.acked + handle.stats.buried, sent)
        })
  )

  test("works what came beyond what it asked for, and asks for nothing until there is room", (world) =>
    Effect.gen(function* () {
      yield* world.put(...numbers(0, 30))
      const killed = yield* world.start(() => Effect.never, { demand: 30 })
      yield* pass(1_000)
      yield* killed.kill
      yield* world.put(...numbers(30, 40))
      const before = world.relay.calls("pullQueued")
      const { handle } = yield* world.start(() => Effect.sleep(1_000), { demand: 5, concurrency: 5 })
      yield* pass(4_900)
      assert.strictEqual(world.relay.calls("pullQueued"), before)
      yield* pass(10_000)
      assert.strictEqual(handle.stats.acked, 40)
    }))

  test("waits out a server that is away: says so once, asks ever more seldom, and never fails", (world) =>
    Effect.gen(function* () {
      const { layer, lines } = logging()
      yield* Effect.gen(function* () {
        const { put, relay, start } = world
        yield* put(1)
        yield* relay.away(true)
        const { run, seen } = noting()
        const { handle } = yield* start(run)
        yield* pass(60_000)
        assert.isAtMost(relay.calls("pullQueued"), 20)
        assert.isAtLeast(relay.calls("pullQueued"), 10)
        yield* relay.away(false)
        yield* pass(5_000)
        assert.deepStrictEqual(seen, [1])
        assert.strictEqual((yield* handle.status).state, "running")
      }).pipe(Effect.provide(layer))
      assert.strictEqual(lines.filter((line) => line.includes("outage:")).length, 1)
      assert.strictEqual(lines.filter((line) => line.includes("outage over")).length, 1)
    }))

  test("fails with the server's words when it is refused from the beginning", ({ relay, start }) =>
    Effect.gen(function* () {
      const key = yield* relay.createKey({ type: "producer" })
      const { handle } = yield* start(() => Effect.void, { token: key.token })
      const failure = yield* Effect.flip(handle.await)
      assert.strictEqual(failure.kind, "failed")
      assert.match(failure.message, /eventrelay:.*\(PERMISSION_DENIED\)/)
      const unknown = yield* start(() => Effect.void, { token: btoa("nobody:secret") })
      const error = yield* Effect.flip(unknown.handle.await)
      assert.match(error.message, /Invalid credentials.*\(UNAUTHENTICATED\)/)
      assert.notInclude(error.message, "secret")
    }))

  test("goes on with what it has when its key is revoked, and with the rest when it is known again", (world) =>
    Effect.gen(function* () {
      const { put, relay, start } = world
      yield* put(...numbers(0, 4))
      const { run, seen } = noting()
      const key = yield* relay.createKey({ type: "admin" })
      const { handle, stop } = yield* start((n, payload) => Effect.andThen(Effect.sleep(10_000), run(n, payload)), {
        token: key.token,
        concurrency: 1,
        demand: 3
      })
      yield* pass(1_000)
      yield* relay.revokeKey(key.id)
      yield* pass(60_000)
      assert.deepStrictEqual(seen, [0, 1, 2])
      assert.strictEqual((yield* handle.status).state, "running")
      yield* Effect.forkScoped(stop)
      yield* pass(20_000)
      const second = noting()
      yield* start(second.run)
      yield* pass(1_000)
      assert.deepStrictEqual(second.seen, [3])
    }))

  test("gives back at a stop what is not done, for whoever pulls next", ({ out, put, start }) =>
    Effect.gen(function* () {
      yield* put(...numbers(0, 50))
      const first = noting()
      const { stop } = yield* start((n, payload) => (n < 5 ? first.run(n, payload) : Effect.never), {
        concurrency: 10,
        demand: 30
      })
      yield* pass(1_000)
      assert.strictEqual(out(), 35)
      yield* Effect.forkScoped(stop)
      yield* pass(20_000)
      // Settled ones stay with their destination.
      assert.strictEqual(out(), 5)
      const second = noting()
      yield* start(second.run, { concurrency: 1 })
      yield* pass(1_000)
      assert.deepStrictEqual([first.seen, second.seen], [numbers(0, 5), numbers(5, 50)])
    }))

  test("keeps in the inbox what cannot be given back while the server is away", ({ out, put, relay, start }) =>
    Effect.gen(function* () {
      yield* put(...numbers(0, 10))
      const { stop } = yield* start(() => Effect.never, { concurrency: 2 })
      yield* pass(1_000)
      yield* relay.away(true)
      yield* Effect.forkScoped(stop)
      yield* pass(20_000)
      assert.strictEqual(out(), 10)
      const { run, seen } = noting()
      const { handle } = yield* start(run, { concurrency: 1 })
      yield* pass(1_000)
      assert.deepStrictEqual(seen, numbers(0, 10))
      yield* relay.away(false)
      yield* pass(10_000)
      assert.deepStrictEqual([seen.length, handle.stats.acked], [10, 10])
    }))

  test("tries to give back again what was not answered, and runs nothing twice that it gets again", (world) =>
    Effect.gen(function* () {
      const { put, relay, start } = world
      yield* put(1, 2)
      // Not the first, which only asks whether it can.
      const { stop } = yield* start(() => Effect.never)
      yield* pass(1_000)
      yield* relay.failNext("unlock", "away", { when: "after", times: 2 })
      yield* Effect.forkScoped(stop)
      yield* pass(20_000)
      assert.strictEqual(relay.calls("unlock"), 4)
      const { run, seen } = noting()
      yield* start(run, { concurrency: 1 })
      yield* pass(1_000)
      assert.deepStrictEqual(seen, [1, 2])
    }))

  for (const how of ["UNIMPLEMENTED", "PERMISSION_DENIED"] as const) {
    test(`works what it has until the deadline and then buries it, where unlock is ${how}`, (world) =>
      Effect.gen(function* () {
        const { out, put, relay, start } = world
        yield* relay.setUnlock(how)
        // Whoever may do everything may unlock, too.
        const key = yield* relay.createKey({ type: "consumer", destinations: [world.destination] })
        yield* put(...numbers(0, 30))
        const first = noting()
        const slow: Run = (n, payload) => Effect.andThen(Effect.sleep(n < 20 ? 2_000 : 60_000), first.run(n, payload))
        const { source, stop } = yield* start(slow, { concurrency: 10, demand: 25, token: key.token })
        yield* pass(1_000)
        assert.isFalse(source.redelivers)
        assert.strictEqual(out(), 25)
        yield* Effect.forkScoped(stop)
        yield* pass(20_000)
        assert.deepStrictEqual(first.seen, numbers(0, 20))
        const buried = yield* letters
        assert.deepStrictEqual(
          buried.map(({ envelope, reason, stage }) => [valueOf(envelope), reason, stage]),
          numbers(20, 25).map((n) => [n, "shutdown", "dispatch"])
        )
        const second = noting()
        yield* start(second.run, { concurrency: 1, token: key.token })
        yield* pass(1_000)
        assert.deepStrictEqual(second.seen, numbers(25, 30))
      }))
  }

  test("hands out again, as another attempt, what was nacked where unlock is not there", ({ put, relay, start }) =>
    Effect.gen(function* () {
      yield* relay.setUnlock("UNIMPLEMENTED")
      yield* put(1)
      const failing = yield* start(() => Effect.die(new Error("no")))
      yield* pass(1_000)
      // A defect is buried; what a killed process had is not.
      assert.strictEqual(failing.handle.stats.buried, 1)
      yield* put(2)
      yield* pass(10_000)
      const killed = yield* start(() => Effect.never)
      yield* put(3)
      yield* pass(5_000)
      yield* killed.kill
      yield* failing.kill
      const attempts: Array<unknown> = []
      const { handle } = yield* start((n) =>
        Effect.andThen(
          Effect.sync(() => attempts.push(n)),
          Effect.succeed(false)
        )
      )
      yield* pass(1_000)
      assert.deepStrictEqual(attempts, [3])
      assert.strictEqual(handle.stats.buried, 1)
      const last = (yield* letters).at(-1)!
      assert.strictEqual(last.envelope.attempt, 2)
    }))

  seeds(
    "loses nothing to kills, and runs nothing again that was settled",
    (seed) =>
      ({ put, relay, start }) =>
        Effect.gen(function* () {
          const random = generator(seed)
          if (random(2) === 0) yield* relay.setUnlock("UNIMPLEMENTED")
          const ran = new Map<number, number>()
          const run: Run = (n) =>
            Effect.andThen(
              Effect.sleep(random(500)),
              Effect.sync(() => void ran.set(n, (ran.get(n) ?? 0) + 1))
            )
          let sent = 0
          for (let round = 0; round < 6; round++) {
            const some = random(60)
            yield* put(...numbers(sent, sent + some))
            sent += some
            const process = yield* start(run, { demand: 1 + random(30), concurrency: 1 + random(10), pullMillis: 200 })
            yield* pass(random(1_500))
            if (random(3) > 0) yield* process.kill
            else {
              yield* Effect.forkScoped(process.stop)
              yield* pass(20_000)
            }
          }
          yield* start(run, { pullMillis: 200 })
          yield* pass(60_000)
          const buried = (yield* letters).map(({ envelope }) => valueOf(envelope))
          assert.deepStrictEqual(
            [...ran.keys(), ...buried].sort((a, b) => a - b),
            numbers(0, sent)
          )
          assert.deepStrictEqual(
            [...ran.values()].filter((times) => times !== 1),
            []
          )
        })
  )

  test("goes on after a reply that was lost; what was in it stays locked, as nobody knows its ids", (world) =>
    Effect.gen(function* () {
      const { out, put, relay, start } = world
      yield* put(1, 2)
      yield* relay.failNext("pullQueued", "away", { when: "after" })
      const { run, seen } = noting()
      yield* start(run)
      yield* pass(1_000)
      yield* put(3)
      yield* pass(10_000)
      assert.deepStrictEqual(seen, [3])
      assert.strictEqual(out(), 3)
    }))

  test("takes what a call under way brings when it stops, and gives it back", ({ out, put, relay, start }) =>
    Effect.gen(function* () {
      yield* put(...numbers(0, 3))
      yield* relay.delayNext("pullQueued", "1500 millis", { when: "after" })
      const { run, seen } = noting()
      const { stop } = yield* start(run)
      yield* pass(500)
      assert.strictEqual(out(), 3)
      yield* Effect.forkScoped(stop)
      yield* pass(10_000)
      assert.deepStrictEqual([seen, out()], [[], 0])
    }))

  test("works nothing that the inbox has not, and pulls nothing meanwhile", ({ put, relay, start, store }) =>
    Effect.gen(function* () {
      yield* put(...numbers(0, 30))
      store.broken = true
      const { run, seen } = noting()
      const { handle } = yield* start(run, { demand: 10 })
      yield* pass(30_000)
      assert.deepStrictEqual([seen, relay.calls("pullQueued")], [[], 1])
      assert.strictEqual((yield* handle.status).state, "running")
      store.broken = false
      yield* pass(6_000)
      assert.strictEqual(seen.length, 30)
    }))
})
