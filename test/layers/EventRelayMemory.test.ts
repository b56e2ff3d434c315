/** The EventRelay server in memory, and the faults it has for tests. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer } from "effect"
import { TestClock } from "effect/testing"
import * as EventRelayMemory from "../../src/layers/EventRelayMemory.ts"
import { type Channel, EventRelayClient, EventRelayError } from "../../src/services/EventRelay.ts"
import * as EventRelaySuite from "../suites/EventRelaySuite.ts"

const relay = Effect.runSync(EventRelayMemory.make())
EventRelaySuite.suite("EventRelayMemory", Layer.succeed(EventRelayClient, relay.client), () => relay, {
  keys: true,
  limits: true,
  unlocks: true
})

describe("EventRelayMemory", () => {
  const test = (
    name: string,
    body: (given: {
      readonly relay: EventRelayMemory.EventRelayInMemory
      readonly channel: Channel
      readonly destination: string
    }) => Effect.Effect<void, unknown>
  ) =>
    it.effect(name, () =>
      Effect.gen(function* () {
        const relay = yield* EventRelayMemory.make()
        const destination = yield* relay.createDestination({ topic: "orders" })
        const channel = yield* relay.client.channel(relay.connection)
        yield* body({ relay, channel, destination })
      }).pipe(Effect.scoped)
    )

  test("tells what is out and what was asked", ({ channel, destination, relay }) =>
    Effect.gen(function* () {
      const ids = yield* relay.put("orders", [{ data: { n: 1 } }, { data: { n: 2 } }, { data: { n: 3 } }])
      const pulled = yield* channel.pullQueued(destination, 2)
      assert.deepStrictEqual(
        pulled.map(({ id }) => id),
        ids.slice(0, 2)
      )
      assert.deepStrictEqual(relay.out(destination), ids.slice(0, 2))
      yield* channel.unlock(destination, [ids[0]!, "unknown"])
      assert.deepStrictEqual(relay.out(destination), [ids[1]!])
      yield* TestClock.adjust(1000)
      yield* channel.pullQueued(destination, 10)
      assert.deepStrictEqual(relay.pulled(), [
        { destinationId: destination, at: 0, asked: 2, given: 2 },
        { destinationId: destination, at: 1000, asked: 10, given: 2 }
      ])
      assert.deepStrictEqual([relay.calls("pullQueued"), relay.calls("unlock"), relay.calls("pull")], [2, 1, 0])
    }))

  test("lets calls fail before they do anything, as often as planned", ({ channel, destination, relay }) =>
    Effect.gen(function* () {
      yield* relay.put("orders", [{}])
      yield* relay.failNext("pullQueued", "away", { times: 2 })
      for (let i = 0; i < 2; i++) {
        const { status, trouble } = yield* Effect.flip(channel.pullQueued(destination, 1))
        assert.deepStrictEqual([trouble, status], ["away", "UNAVAILABLE"])
      }
      assert.strictEqual((yield* channel.pullQueued(destination, 1)).length, 1)
      const error = new EventRelayError({ trouble: "failed", status: "INTERNAL", reason: "broken (INTERNAL)" })
      yield* relay.failNext("unlock", error)
      assert.strictEqual(yield* Effect.flip(channel.unlock(destination, [])), error)
      yield* relay.failNext("pull", "away", { times: Number.POSITIVE_INFINITY })
      yield* relay.heal
      yield* channel.pull({ topic: "orders", batchSize: 1, offset: 0, query: "" })
      assert.strictEqual(relay.calls("pullQueued"), 3)
    }))

  test("loses the reply to a pull that was done: nobody knows what is locked", ({ channel, destination, relay }) =>
    Effect.gen(function* () {
      const ids = yield* relay.put("orders", [{}, {}])
      yield* relay.failNext("pullQueued", "away", { when: "after" })
      assert.strictEqual((yield* Effect.flip(channel.pullQueued(destination, 10))).trouble, "away")
      assert.deepStrictEqual(relay.out(destination), ids)
      assert.deepStrictEqual(yield* channel.pullQueued(destination, 10), [])
    }))

  test("is away until it is back", ({ channel, destination, relay }) =>
    Effect.gen(function* () {
      yield* relay.away(true)
      assert.strictEqual((yield* Effect.flip(channel.pullQueued(destination, 1))).trouble, "away")
      yield* relay.away(false)
      assert.deepStrictEqual(yield* channel.pullQueued(destination, 1), [])
    }))

  test("comes late, or hangs until it is released or the call's time is over", ({ channel, destination, relay }) =>
    Effect.gen(function* () {
      yield* relay.put("orders", [{}])
      yield* relay.delayNext("pullQueued", "5 seconds")
      const late = yield* Effect.forkChild(channel.pullQueued(destination, 1))
      yield* TestClock.adjust("4 seconds")
      assert.strictEqual(late.pollUnsafe(), undefined)
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(late)).length, 1)
      const hang = yield* relay.hangNext("pullQueued")
      const released = yield* Effect.forkChild(channel.pullQueued(destination, 1))
      yield* hang.reached
      yield* hang.release
      assert.deepStrictEqual(yield* Fiber.join(released), [])
      yield* relay.hangNext("pullQueued")
      const over = yield* Effect.forkChild(Effect.flip(channel.pullQueued(destination, 1)))
      yield* TestClock.adjust("30 seconds")
      const { reason, status, trouble } = yield* Fiber.join(over)
      assert.deepStrictEqual(
        [trouble, status, reason],
        ["away", "DEADLINE_EXCEEDED", "no answer within 30 s (DEADLINE_EXCEEDED)"]
      )
    }))

  test("cannot give events back where a server cannot", ({ channel, destination, relay }) =>
    Effect.gen(function* () {
      yield* relay.setUnlock("UNIMPLEMENTED")
      assert.strictEqual((yield* Effect.flip(channel.unlock(destination, []))).trouble, "unsupported")
      yield* relay.setUnlock("PERMISSION_DENIED")
      const { reason, trouble } = yield* Effect.flip(channel.unlock(destination, []))
      assert.deepStrictEqual([trouble, reason], ["denied", "Not permitted (PERMISSION_DENIED)"])
      yield* relay.setUnlock("works")
      yield* channel.unlock(destination, [])
    }))

  test("gives an event from the second on in which it is available, before those behind it", (given) =>
    Effect.gen(function* () {
      const { channel, destination, relay } = given
      yield* relay.put("orders", [{ name: "late", available_at: "1970-01-01T00:00:05Z" }, { name: "now" }])
      const names = Effect.map(channel.pullQueued(destination, 10), (events) => events.map(({ name }) => name))
      assert.deepStrictEqual(yield* names, ["now"])
      yield* relay.put("orders", [{ name: "behind" }])
      yield* TestClock.adjust(4999)
      assert.deepStrictEqual(
        (yield* channel.pull({ topic: "orders", batchSize: 9, offset: 0, query: "" })).totalCount,
        2
      )
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(yield* names, ["late", "behind"])
    }))
})
