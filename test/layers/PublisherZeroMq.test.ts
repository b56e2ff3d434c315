/** The ZeroMQ publisher on a network in memory: framing, nobody there, and what is not sent twice. */
import { assert, layer } from "@effect/vitest"
import { Effect, Fiber, Layer, References } from "effect"
import { TestClock } from "effect/testing"
import * as PublisherZeroMq from "../../src/layers/PublisherZeroMq.ts"
import * as ZeroMqMemory from "../../src/layers/ZeroMqMemory.ts"
import { type SocketOptions, ZeroMq } from "../../src/services/ZeroMq.ts"
import * as PublisherSuite from "../suites/PublisherSuite.ts"

const address = "ipc:///run/sluice.sock"
const reconnect = { minMillis: 100, maxMillis: 1000 }
const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)

const peer = (kind: "pull" | "sub", attach: SocketOptions["attach"], highWaterMark = 8) =>
  Effect.flatMap(ZeroMq, ({ open }) =>
    open({
      kind,
      attach,
      addresses: [address],
      topics: [""],
      highWaterMark,
      messageMax: 1024,
      reconnect,
      sendMillis: 0,
      lingerMillis: 0
    })
  )
const options = (more: Partial<PublisherZeroMq.Options> = {}): PublisherZeroMq.Options => ({
  socket: "push",
  attach: "bind",
  addresses: [address],
  reconnect,
  sendMillis: 5000,
  lingerMillis: 0,
  ...more
})

const network = Layer.merge(ZeroMqMemory.layer, Layer.succeed(References.MinimumLogLevel, "Error"))

for (const more of [{}, { topic: "out" }, { topic: "out", frames: "single" }] as const) {
  PublisherSuite.suite(
    `PublisherZeroMq in memory, ${JSON.stringify(more)}`,
    Effect.gen(function* () {
      const pull = yield* peer("pull", "connect")
      const all: Array<string> = []
      const read = Effect.gen(function* () {
        while (yield* pull.waiting) {
          for (const frames of yield* pull.receive(100)) {
            const texts = frames.map(text)
            if ("frames" in more) assert.isTrue(texts[0]!.startsWith("out "))
            else if ("topic" in more) assert.strictEqual(texts[0], "out")
            assert.strictEqual(texts.length, "topic" in more && !("frames" in more) ? 2 : 1)
            all.push("frames" in more ? texts[0]!.slice(4) : texts.at(-1)!)
          }
        }
        return [...all]
      }).pipe(Effect.orDie)
      return { publisher: yield* PublisherZeroMq.make(options(more)), read }
    }),
    network
  )
}

layer(network)("PublisherZeroMq", (it) => {
  it.effect("counts nothing as published while nobody is there, and sends no message twice afterwards", () =>
    Effect.gen(function* () {
      const publisher = yield* PublisherZeroMq.make(options({ sendHighWaterMark: 2 }))
      const batch = Array.from({ length: 10 }, (_, i) => PublisherSuite.outgoing(`${i}`))
      const first = yield* Effect.forkChild(Effect.flip(publisher.publish(batch)))
      yield* TestClock.adjust("4999 millis")
      assert.isUndefined(first.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      const error = yield* Fiber.join(first)
      assert.deepInclude(error, { presence: "unreachable", retryable: true })
      assert.strictEqual(error.reason, `zeromq:${address}: no peer is there, or none takes more (EAGAIN)`)

      const pull = yield* peer("pull", "connect", 3)
      const second = yield* Effect.forkChild(Effect.flip(publisher.publish(batch)))
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual((yield* Fiber.join(second)).presence, "unreachable")
      const third = yield* Effect.forkChild(publisher.publish(batch))
      const got: Array<string> = []
      while (got.length < 10) got.push(...(yield* pull.receive(2)).map(([body]) => text(body!)))
      yield* Fiber.join(third)
      assert.deepStrictEqual(
        got,
        batch.map(({ value }) => text(value))
      )
      assert.isFalse(yield* pull.waiting)
    }).pipe(Effect.scoped)
  )

  it.effect("as PUB gives subscribers time to come, then waits for none and drops what they cannot hold", () =>
    Effect.gen(function* () {
      const publisher = yield* PublisherZeroMq.make(
        options({ socket: "pub", joinMillis: 500, sendHighWaterMark: 2, topic: "t" })
      )
      const batch = Array.from({ length: 10 }, (_, i) => PublisherSuite.outgoing(`${i}`))
      const publishing = yield* Effect.forkChild(publisher.publish(batch))
      yield* TestClock.adjust("400 millis")
      const sub = yield* peer("sub", "connect", 3)
      yield* TestClock.adjust("100 millis")
      yield* Fiber.join(publishing)
      const got = (yield* sub.receive(100)).map((frames) => frames.map(text))
      assert.deepStrictEqual(
        got,
        ["0", "1", "2", "3", "4"].map((n) => ["t", n])
      )
      assert.isFalse(yield* sub.waiting)
      yield* publisher.publish([PublisherSuite.outgoing("after")])
      assert.strictEqual((yield* sub.receive(100)).length, 1)
    }).pipe(Effect.scoped)
  )
})
