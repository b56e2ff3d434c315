/** The ZeroMQ source on a network in memory: what it takes and when, what a stop saves, and what options it refuses. */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it, layer } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Layer, Redacted, References, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as CodecText from "../../src/layers/CodecText.ts"
import * as DeadLettersMemory from "../../src/layers/DeadLettersMemory.ts"
import * as ZeroMqMemory from "../../src/layers/ZeroMqMemory.ts"
import type { OptionsError } from "../../src/services/Component.ts"
import { DeadLetters } from "../../src/services/DeadLetters.ts"
import * as Envelope from "../../src/services/Envelope.ts"
import { accepted } from "../../src/services/Reply.ts"
import { type SocketOptions, ZeroMq } from "../../src/services/ZeroMq.ts"
import * as Define from "../../src/streams/Define.ts"
import * as SourceZeroMq from "../../src/streams/SourceZeroMq.ts"
import * as ZeroMqOptions from "../../src/streams/ZeroMqOptions.ts"
import * as SourceSuite from "../suites/SourceSuite.ts"

const utf8 = new TextEncoder()
const address = "tcp://127.0.0.1:5555"
const reconnect = { minMillis: 100, maxMillis: 1000 }

const peer = (kind: "push" | "pub", attach: SocketOptions["attach"], highWaterMark = 8) =>
  Effect.flatMap(ZeroMq, ({ open }) =>
    open({
      kind,
      attach,
      addresses: [address],
      topics: [],
      highWaterMark,
      messageMax: 1024,
      reconnect,
      sendMillis: 1000,
      lingerMillis: 0
    })
  )
const options = (attach: SocketOptions["attach"], more: Partial<SourceZeroMq.Options> = {}): SourceZeroMq.Options => ({
  socket: "pull",
  attach,
  addresses: [address],
  reconnect,
  ...more
})
const texts = (seen: ReadonlyArray<Envelope.Envelope>) => seen.map((envelope) => Envelope.text(envelope))
const numbers = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => `${from + i}`)

/** A pipeline that holds two messages, each of which takes a second, or however long it is. */
const slow = Effect.fnUntraced(function* (
  source: SourceZeroMq.Options,
  work: Effect.Effect<void> = Effect.sleep("1 second")
) {
  const seen: Array<Envelope.Envelope> = []
  const handle = yield* Define.start(
    Define.define({
      name: "slow",
      source: yield* SourceZeroMq.make(source),
      decode: CodecText.make,
      concurrency: 1,
      buffer: { messages: 1 },
      dispatch: [
        {
          run: ({ event }) => {
            seen.push(event.envelope)
            return Effect.as(work, accepted(null))
          }
        }
      ]
    })
  )
  return { handle, seen }
})
const settle = Effect.fnUntraced(function* <A, E>(fiber: Fiber.Fiber<A, E>) {
  for (let i = 0; i < 5000 && fiber.pollUnsafe() === undefined; i++) yield* TestClock.adjust("10 millis")
  return yield* Fiber.join(fiber)
})

const network = Layer.merge(ZeroMqMemory.layer, Layer.succeed(References.MinimumLogLevel, "Error"))

SourceSuite.suite(
  "SourceZeroMq in memory",
  { givesAgain: false },
  (payloads) =>
    Effect.gen(function* () {
      const push = yield* peer("push", "bind")
      yield* Effect.forkScoped(Effect.forEach(payloads, (text) => push.send([utf8.encode(text)])))
      return yield* SourceZeroMq.make(options("connect"))
    }),
  network
)

const memory = Layer.mergeAll(network, DeadLettersMemory.layer)

layer(memory)("SourceZeroMq", (it) => {
  it.effect("takes no more than its bound while the pipeline is paused, and the sender waits", () =>
    Effect.gen(function* () {
      const push = yield* peer("push", "bind", 8)
      const { handle, seen } = yield* slow(options("connect", { receiveHighWaterMark: 16 }))
      yield* handle.pause
      let sent = 0
      const sending = yield* Effect.forEach(numbers(0, 1000), (n) =>
        Effect.tap(push.send([utf8.encode(n)]), () => Effect.sync(() => sent++))
      ).pipe(Effect.exit, Effect.forkChild)
      yield* TestClock.adjust("900 millis")
      // One array before the pause is felt, and both high-water marks.
      assert.isAtMost((yield* handle.status).received, 64)
      assert.isAtMost(sent, 64 + 8 + 16)
      assert.isAtLeast(sent, 8 + 16)
      assert.isUndefined(sending.pollUnsafe())
      yield* TestClock.adjust("1 second")
      const exit = yield* Fiber.join(sending)
      assert.strictEqual(exit._tag, "Failure")
      const failure = Exit.isFailure(exit) ? exit.cause.reasons.find(Cause.isFailReason)?.error : undefined
      assert.strictEqual(failure?.trouble, "away")
      yield* handle.resume
      yield* TestClock.adjust(`${sent + 1} seconds`)
      assert.deepStrictEqual(texts(seen), numbers(0, sent))
    }).pipe(Effect.scoped)
  )

  for (const attach of ["bind", "connect"] as const) {
    it.effect(`stopped, hands out all that had been sent (${attach}), and leaves its peers`, () =>
      Effect.gen(function* () {
        const push = yield* peer("push", attach === "bind" ? "connect" : "bind", 100)
        const source = yield* SourceZeroMq.make(options(attach, { receiveHighWaterMark: 200 }))
        const got: Array<string> = []
        const stream = yield* source.open
        for (const n of numbers(0, 10)) yield* push.send([utf8.encode(n)])
        const reading = yield* Stream.runForEach(stream, ({ envelope }) => {
          got.push(Envelope.text(envelope))
          // A road that has room only every now and then.
          return Effect.sleep("5 millis")
        }).pipe(Effect.forkChild)
        yield* TestClock.adjust("20 millis")
        for (const n of numbers(10, 250)) yield* push.send([utf8.encode(n)])
        yield* source.stop!
        yield* settle(reading)
        assert.deepStrictEqual(got, numbers(0, 250))
        const late = yield* Effect.exit(push.send([utf8.encode("late")])).pipe(Effect.forkChild)
        yield* TestClock.adjust("1 second")
        assert.strictEqual((yield* Fiber.join(late))._tag, "Failure")
      }).pipe(Effect.scoped, Effect.provide(SourceSuite.alone))
    )

    it.effect(
      `stopped while the pipeline is stuck (${attach}), hands over what is in the socket: buried, not lost`,
      () =>
        Effect.gen(function* () {
          const push = yield* peer("push", attach === "bind" ? "connect" : "bind", 8)
          const { handle } = yield* slow(options(attach, { receiveHighWaterMark: 16 }), Effect.never)
          let sent = 0
          yield* Effect.suspend(() => push.send([utf8.encode(`${sent}`)])).pipe(
            Effect.andThen(Effect.sync(() => sent++)),
            Effect.forever,
            Effect.ignore,
            Effect.forkScoped
          )
          for (let i = 0; i < 90; i++) yield* TestClock.adjust("10 millis")
          const before = (yield* handle.status).received
          assert.strictEqual(sent, before + 8 + 16)
          const drain = yield* Effect.forkChild(handle.drain(1000))
          yield* settle(drain)
          assert.deepInclude(yield* handle.status, { received: sent, buried: sent, acked: 0 })
          const letters = yield* Effect.flatMap(DeadLetters, ({ list }) => list({}))
          assert.deepStrictEqual(
            new Set(letters.map(({ envelope }) => Envelope.text(envelope))),
            new Set(numbers(0, sent))
          )
        }).pipe(Effect.scoped, Effect.provide(DeadLettersMemory.layer))
    )

    it.effect(`stopped under a flow without end (${attach}), ends within two seconds, without a gap`, () =>
      Effect.gen(function* () {
        const push = yield* peer("push", attach === "bind" ? "connect" : "bind", 8)
        const source = yield* SourceZeroMq.make(options(attach))
        const got: Array<string> = []
        let sent = 0
        yield* Effect.suspend(() => push.send([utf8.encode(`${sent++}`)])).pipe(
          Effect.andThen(Effect.sleep("1 millis")),
          Effect.forever,
          Effect.forkScoped
        )
        const stream = yield* source.open
        const reading = yield* Stream.runForEach(stream, ({ envelope }) =>
          Effect.sync(() => got.push(Envelope.text(envelope)))
        ).pipe(Effect.forkChild)
        yield* TestClock.adjust("100 millis")
        yield* source.stop!
        const before = got.length
        for (let i = 0; i < 250 && reading.pollUnsafe() === undefined; i++) yield* TestClock.adjust("10 millis")
        yield* Fiber.join(reading)
        assert.isAbove(got.length, before)
        assert.deepStrictEqual(got, numbers(0, got.length))
        // What had been sent when it left is there: at most the one that found nobody is missing.
        assert.isAtLeast(got.length, sent - 1)
      }).pipe(Effect.scoped, Effect.provide(SourceSuite.alone))
    )
  }

  it.effect("keeps its socket and what is in it over a restart of the pipeline, and has a new one after a stop", () =>
    Effect.gen(function* () {
      const push = yield* peer("push", "connect", 100)
      const source = yield* SourceZeroMq.make(options("bind"))
      const take = (count: number) =>
        Effect.flatMap(source.open, (stream) => Stream.runCollect(Stream.take(stream, count))).pipe(
          Effect.scoped,
          Effect.map((taken) => texts(taken.map(({ envelope }) => envelope)))
        )
      const first = yield* Effect.forkChild(take(1))
      yield* TestClock.adjust(1)
      yield* push.send([utf8.encode("0")])
      assert.deepStrictEqual(yield* Fiber.join(first), ["0"])
      // Nobody reads just now.
      yield* push.send([utf8.encode("1")])
      assert.deepStrictEqual(yield* take(1), ["1"])
      yield* source.stop!
      const again = yield* Effect.forkChild(take(1))
      yield* TestClock.adjust(1)
      yield* push.send([utf8.encode("2")])
      assert.deepStrictEqual(yield* Fiber.join(again), ["2"])
    }).pipe(Effect.scoped, Effect.provide(SourceSuite.alone))
  )

  it.effect("subscribes to topics by their beginnings, and loses what it cannot hold", () =>
    Effect.gen(function* () {
      const pub = yield* peer("pub", "bind", 2)
      const source = yield* SourceZeroMq.make(
        options("connect", { socket: "sub", topics: ["orders.", "bills"], receiveHighWaterMark: 3 })
      )
      const stream = yield* source.open
      for (const topic of ["orders.new", "orders", "bills", "billing", "none", "orders.a", "orders.b", "orders.c"]) {
        yield* pub.send([utf8.encode(topic), utf8.encode("body")])
      }
      yield* pub.send([utf8.encode("orders.lost"), utf8.encode("body")])
      const taken = yield* Stream.runCollect(Stream.take(stream, 5))
      assert.deepStrictEqual(
        taken.map(({ envelope }) => envelope.headers),
        ["orders.new", "bills", "orders.a", "orders.b", "orders.c"].map((topic) => ({ topic }))
      )
      yield* pub.send([utf8.encode('orders.x {"n":1}')])
      const [single] = yield* Stream.runCollect(Stream.take(stream, 1))
      assert.deepStrictEqual(single!.envelope.headers, { topic: "orders.x" })
      assert.strictEqual(Envelope.text(single!.envelope), '{"n":1}')
    }).pipe(Effect.scoped, Effect.provide(SourceSuite.alone))
  )

  it.effect("says that its address is taken, as something that may pass", () =>
    Effect.gen(function* () {
      yield* peer("push", "bind")
      const source = yield* SourceZeroMq.make(options("bind"))
      const error = yield* Effect.flip(source.open)
      assert.strictEqual(
        error.message,
        `zeromq:${address}: cannot bind ${address}: Address already in use (EADDRINUSE)`
      )
      assert.isTrue(error.away)
    }).pipe(Effect.scoped, Effect.provide(SourceSuite.alone))
  )
})

describe("ZeroMqOptions", () => {
  const key = "0123456789012345678901234567890123456789"
  const problems = (
    written: Partial<Parameters<typeof ZeroMqOptions.meetingOf>[0]>
  ): Effect.Effect<ReadonlyArray<string>> =>
    ZeroMqOptions.meetingOf(
      { reconnect: { min: "100 millis", max: "5 seconds" } as never, ...written } as never,
      "/folder"
    ).pipe(
      Effect.match({
        onSuccess: () => [],
        onFailure: ({ problems }: OptionsError) =>
          problems.map(({ expected, found, path }) => `${path.join(".")}: ${expected}; ${found}`)
      }),
      Effect.provide(NodeServices.layer)
    )

  it.effect("takes addresses that can be meant, and no others", () =>
    Effect.gen(function* () {
      for (const good of [
        "tcp://localhost:1",
        "tcp://[::1]:65535",
        "ipc:///run/x.sock",
        "ipc://x.sock",
        "ipc://@name"
      ]) {
        assert.deepStrictEqual(yield* problems({ connect: good }), [], good)
      }
      for (const good of ["tcp://*:5555", "tcp://127.0.0.1:*", "tcp://eth0:0", "ipc://x.sock"]) {
        assert.deepStrictEqual(yield* problems({ bind: good }), [], good)
      }
      const wrong = ["localhost:5555", "http://a:1", "tcp://a", "tcp://a:65536", "tcp://a:*", "tcp://*:1", "inproc://a"]
      for (const one of wrong) {
        assert.match((yield* problems({ connect: one })).join(), /^connect: an address such as tcp:/, one)
      }
      assert.match((yield* problems({ bind: ["tcp://*:1", "tcp://a:99999"] })).join(), /^bind\.1: an address of this/)
      assert.deepStrictEqual(yield* problems({}), ["connect: connect or bind; undefined"])
      assert.deepStrictEqual(yield* problems({ connect: "tcp://a:1", bind: "tcp://*:1" }), [
        "bind: either connect or bind; both"
      ])
    })
  )

  it.effect("resolves paths from the folder of the config", () =>
    Effect.gen(function* () {
      const { addresses } = yield* ZeroMqOptions.meetingOf(
        { connect: ["ipc://run/x.sock"], reconnect: { min: "1 millis", max: "1 millis" } as never } as never,
        "/folder"
      )
      assert.deepStrictEqual(addresses, ["ipc:///folder/run/x.sock"])
    }).pipe(Effect.provide(NodeServices.layer))
  )

  it.effect("wants keys that are whole, and shows none that are secret", () =>
    Effect.gen(function* () {
      const curve = (given: object) => problems({ connect: "tcp://a:1", curve: { server: false, ...given } })
      const secretKey = Redacted.make(key)
      for (const good of [{ serverKey: key }, { serverKey: key, secretKey }, { server: true, secretKey }]) {
        assert.deepStrictEqual(yield* curve(good), [])
      }
      assert.deepStrictEqual(yield* curve({}), ["curve.serverKey: the server's public key, or server: true; undefined"])
      assert.deepStrictEqual(yield* curve({ server: true }), ["curve.secretKey: the server's secret key; undefined"])
      assert.deepStrictEqual(yield* curve({ serverKey: key, publicKey: key }), [
        "curve.secretKey: the secret key of the public one; undefined"
      ])
      assert.deepStrictEqual(yield* curve({ serverKey: "short" }), [
        "curve.serverKey: a CURVE key of 40 characters (Z85); short"
      ])
      assert.deepStrictEqual(yield* curve({ server: true, secretKey: Redacted.make("hush") }), [
        "curve.secretKey: a CURVE key of 40 characters (Z85); what came is not shown; other text"
      ])
    })
  )
})
