/** The queues in memory against the contract, and the faults they have for tests. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber } from "effect"
import { TestClock } from "effect/testing"
import * as AzureQueueClientMemory from "../../src/layers/AzureQueueClientMemory.ts"
import { type AzureQueue, AzureQueueError } from "../../src/services/AzureQueue.ts"
import * as AzureQueueSuite from "../suites/AzureQueueSuite.ts"

const { connection } = AzureQueueClientMemory
AzureQueueSuite.suite("AzureQueueClientMemory", AzureQueueClientMemory.layer, () => connection, { time: "virtual" })

const { troubleOf } = AzureQueueSuite

describe("AzureQueueClientMemory", () => {
  const test = (
    name: string,
    body: (queues: AzureQueueClientMemory.AzureQueuesMemory, queue: AzureQueue) => Effect.Effect<void, unknown>
  ) =>
    it.effect(name, () =>
      Effect.gen(function* () {
        const queues = yield* AzureQueueClientMemory.make
        yield* queues.createQueue("orders")
        yield* body(queues, yield* queues.client.queue(connection, "orders"))
      })
    )

  test("lets requests fail before they do anything, as often as planned", (queues, queue) =>
    Effect.gen(function* () {
      yield* queues.put("orders", "a")
      yield* queues.failNext("receive", "away", { times: 2 })
      assert.strictEqual(yield* troubleOf(queue.receive(1, 1)), "away")
      assert.strictEqual(yield* troubleOf(queue.receive(1, 1)), "away")
      assert.strictEqual((yield* queue.receive(1, 1))[0]!.dequeueCount, 1)
      assert.deepStrictEqual(
        [queues.calls("receive"), queues.calls("receive", "orders"), queues.calls("send")],
        [3, 3, 0]
      )
      yield* queues.failNext("receive", "away", { times: Number.POSITIVE_INFINITY })
      for (let i = 0; i < 3; i++) assert.strictEqual(yield* troubleOf(queue.receive(1, 1)), "away")
      yield* queues.heal
      assert.deepStrictEqual(yield* queue.receive(1, 1), [])
      const error = new AzureQueueError({ trouble: "away", reason: "busy (ServerBusy)", retryAfterMillis: 7 })
      yield* queues.failNext("create", error, { queue: "orders" })
      assert.strictEqual(yield* Effect.flip(queue.create), error)
    }))

  test("loses the answer to a request that was done", (queues, queue) =>
    Effect.gen(function* () {
      yield* queues.failNext("send", "away", { when: "after" })
      assert.strictEqual(yield* troubleOf(queue.send("a")), "away")
      assert.deepStrictEqual(
        (yield* queues.look("orders"))!.map(({ text }) => text),
        ["a"]
      )
      const [a] = yield* queue.receive(1, 60)
      yield* queues.failNext("renew", "away", { when: "after" })
      assert.strictEqual(yield* troubleOf(queue.renew(a!, 60)), "away")
      assert.strictEqual(yield* troubleOf(queue.remove(a!)), "lost")
      const [lying] = (yield* queues.look("memory/orders"))!
      yield* queues.failNext("remove", "away", { when: "after" })
      assert.strictEqual(yield* troubleOf(queue.remove(lying!)), "away")
      assert.deepStrictEqual(yield* queues.look("orders"), [])
      assert.strictEqual(yield* troubleOf(queue.remove(lying!)), "lost")
    }))

  test("strikes only the queue that was named", (queues, queue) =>
    Effect.gen(function* () {
      yield* queues.createQueue("others")
      const others = yield* queues.client.queue(connection, "others")
      yield* queues.failNext("send", "refused", { queue: "others" })
      yield* queue.send("a")
      assert.strictEqual(yield* troubleOf(others.send("a")), "refused")
    }))

  test("lets a request hang until it is released, before or after it is done", (queues, queue) =>
    Effect.gen(function* () {
      for (const when of ["before", "after"] as const) {
        const hang = yield* queues.hangNext("send", { when })
        const sending = yield* Effect.forkChild(queue.send(when))
        yield* hang.reached
        yield* TestClock.adjust("1 hour")
        const there = (yield* queues.look("orders"))!.some(({ text }) => text === when)
        assert.deepStrictEqual([there, sending.pollUnsafe()], [when === "after", undefined])
        yield* hang.release
        yield* Fiber.join(sending)
        assert.isTrue((yield* queues.look("orders"))!.some(({ text }) => text === when))
      }
      yield* queues.hangNext("create")
      const creating = yield* Effect.forkChild(queue.create)
      yield* TestClock.adjust(0)
      yield* Fiber.interrupt(creating)
      assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(creating)))
    }))

  test("shows all that lies in a queue, seen or not", (queues, queue) =>
    Effect.gen(function* () {
      assert.strictEqual(yield* queues.look("nowhere"), undefined)
      yield* queues.put("orders", "a")
      yield* queues.put("orders", "b", { delaySeconds: 5, ttlSeconds: 10 })
      const [a] = yield* queue.receive(1, 60)
      const lying = (yield* queues.look("orders"))!
      assert.deepStrictEqual(
        lying.map(({ dequeueCount, expiresAt, insertedAt, text, visibleAt }) => [
          text,
          dequeueCount,
          insertedAt,
          visibleAt,
          expiresAt
        ]),
        [
          ["a", 1, 0, 60_000, 604_800_000],
          ["b", 0, 0, 5000, 10_000]
        ]
      )
      assert.strictEqual(lying[0]!.receipt, a!.receipt)
      yield* queues.deleteQueue("orders")
      assert.strictEqual(yield* troubleOf(queue.receive(1, 1)), "missing")
    }))
})
