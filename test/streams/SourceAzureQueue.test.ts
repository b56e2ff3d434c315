/** The life of a message from an Azure queue, on the queues in memory and in virtual time. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Scope } from "effect"
import { Base64 } from "effect/encoding"
import * as AzureQueueClientMemory from "../../src/layers/AzureQueueClientMemory.ts"
import * as CodecJson from "../../src/layers/CodecJson.ts"
import * as DeadLettersMemory from "../../src/layers/DeadLettersMemory.ts"
import * as DedupeMemory from "../../src/layers/DedupeMemory.ts"
import { AzureQueueClient, AzureQueueError } from "../../src/services/AzureQueue.ts"
import { DeadLetters } from "../../src/services/DeadLetters.ts"
import { accepted, refused } from "../../src/services/Reply.ts"
import * as AzureQueueEncoding from "../../src/streams/AzureQueueEncoding.ts"
import * as Define from "../../src/streams/Define.ts"
import * as SourceAzureQueue from "../../src/streams/SourceAzureQueue.ts"
import { pass } from "../suites/KafkaKit.ts"
import * as SourceSuite from "../suites/SourceSuite.ts"

type Queues = AzureQueueClientMemory.AzureQueuesMemory

const sourceOf = Effect.fnUntraced(function* (more: Partial<SourceAzureQueue.Options> = {}) {
  const client = yield* AzureQueueClient
  const queue = yield* client.queue(AzureQueueClientMemory.connection, "orders")
  const poison = yield* client.queue(AzureQueueClientMemory.connection, "orders-poison")
  return SourceAzureQueue.make({ pipeline: "orders", queue, poison, ...more })
})

SourceSuite.suite(
  "SourceAzureQueue",
  { givesAgain: true, keepsOrder: false },
  (payloads) =>
    Effect.gen(function* () {
      const queues = yield* AzureQueueClientMemory.Queues
      for (const payload of payloads) yield* queues.put("orders", payload)
      return yield* sourceOf({ prefetch: 1000, receivers: 1 })
    }),
  AzureQueueClientMemory.layer
)

type Run = (payload: any) => Effect.Effect<unknown>

/** A process with one pipeline; what its job returns `false` for is refused. */
const start = Effect.fnUntraced(function* (
  run: Run,
  more: Partial<SourceAzureQueue.Options> = {},
  options: { readonly concurrency?: number } = {}
) {
  const scope = yield* Scope.fork(yield* Scope.Scope)
  const plan = Define.define({
    name: "orders",
    source: yield* sourceOf(more),
    decode: CodecJson.make(),
    concurrency: options.concurrency ?? 64,
    dispatch: [
      {
        run: ({ event }: { event: { payload: unknown } }) =>
          Effect.map(run(event.payload), (answer) => (answer === false ? refused("no such order") : accepted(null)))
      }
    ]
  })
  const handle = yield* Scope.provide(Define.start(plan), scope)
  return { handle, stop: Effect.andThen(handle.drain(60_000), Scope.close(scope, Exit.void)) }
})

const test = (
  name: string,
  body: (queues: Queues) => Effect.Effect<void, unknown, AzureQueueClient | DeadLetters | Scope.Scope | any>
) =>
  it.effect(name, () =>
    Effect.gen(function* () {
      const queues = yield* AzureQueueClientMemory.make
      yield* queues.createQueue("orders")
      yield* Effect.provideService(body(queues), AzureQueueClient, queues.client)
    }).pipe(Effect.scoped, Effect.provide(DeadLettersMemory.layer), Effect.provide(DedupeMemory.layer()))
  )

const put = (queues: Queues, ...payloads: ReadonlyArray<unknown>) =>
  Effect.forEach(payloads, (payload) => queues.put("orders", JSON.stringify(payload)), { discard: true })

const lying = (queues: Queues, queue = "orders") => Effect.map(queues.look(queue), (found) => found ?? [])

const letters = Effect.flatMap(DeadLetters, (letters) => letters.list({}))

/** Notes what ran. */
const noting = () => {
  const seen: Array<unknown> = []
  return { seen, run: (payload: unknown) => Effect.sync(() => void seen.push(payload)) }
}

describe("SourceAzureQueue", () => {
  test("deletes what is done", (queues) =>
    Effect.gen(function* () {
      const { run, seen } = noting()
      const { handle } = yield* start(run)
      yield* put(queues, 1, 2, 3)
      yield* pass(1000)
      assert.deepStrictEqual(seen, [1, 2, 3])
      assert.deepStrictEqual(yield* lying(queues), [])
      assert.strictEqual(handle.stats.acked, 3)
    }))

  test("finds the first message after an idle night within a second, and asks seldom meanwhile", (queues) =>
    Effect.gen(function* () {
      const { run, seen } = noting()
      yield* start(run)
      yield* pass(3_600_000)
      const asked = queues.calls("receive")
      assert.isBelow(asked, 6_000)
      assert.isAbove(asked, 3_600)
      yield* put(queues, 1)
      yield* pass(999)
      assert.deepStrictEqual(seen, [1])
    }))

  test("asks with one receiver while there is little, and with all while there is much", (queues) =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      yield* put(queues, ...Array.from({ length: 200 }, (_, i) => i))
      const { handle } = yield* start(() => Deferred.await(gate), { prefetch: 128, receivers: 4 })
      yield* pass(100)
      // As much as may be held, and no more.
      assert.strictEqual(handle.stats.held, 128)
      assert.strictEqual(queues.calls("receive"), 4)
      yield* Deferred.succeed(gate, undefined)
      yield* pass(2_000)
      assert.strictEqual(handle.stats.acked, 200)
    }))

  test("lends on what takes long, always with the newest receipt", (queues) =>
    Effect.gen(function* () {
      yield* put(queues, "slow", "waiting")
      const { seen, run } = noting()
      yield* start((payload) => Effect.andThen(Effect.sleep(600_000), run(payload)), {}, { concurrency: 1 })
      yield* pass(1_201_000)
      assert.deepStrictEqual(seen, ["slow", "waiting"])
      assert.deepStrictEqual(yield* lying(queues), [])
      // 10 and 20 minutes, each 15 seconds.
      assert.isAtMost(queues.calls("renew"), 125)
      assert.isAtLeast(queues.calls("renew"), 110)
    }))

  test("waits out a renewal whose answer is lost, and does not run the message twice", (queues) =>
    Effect.gen(function* () {
      yield* put(queues, "slow")
      const { run, seen } = noting()
      const { handle } = yield* start((payload) => Effect.andThen(Effect.sleep(100_000), run(payload)))
      yield* pass(10_000)
      yield* queues.failNext("renew", "away", { when: "after" })
      yield* pass(200_000)
      assert.deepStrictEqual(seen, ["slow"])
      assert.strictEqual(handle.stats.received, 1)
      assert.deepStrictEqual(yield* lying(queues), [])
    }))

  test("lets go of what another receiver has got: it is interrupted, and not deleted", (queues) =>
    Effect.gen(function* () {
      yield* put(queues, "slow")
      const { run, seen } = noting()
      const { handle } = yield* start((payload) => Effect.andThen(Effect.sleep(60_000), run(payload)))
      yield* pass(1_000)
      // Somebody takes it away, as an operator with the receipt could.
      const [message] = yield* lying(queues)
      const other = yield* queues.client.queue(AzureQueueClientMemory.connection, "orders")
      yield* other.renew(message!, 3600)
      yield* pass(100_000)
      assert.deepStrictEqual(seen, [])
      assert.strictEqual(handle.stats.nacked, 1)
      assert.strictEqual((yield* lying(queues)).length, 1)
    }))

  test("deletes later what could not be deleted, and does not run it again", (queues) =>
    Effect.gen(function* () {
      yield* put(queues, "once")
      yield* queues.failNext("remove", "away", { times: 12 })
      const { run, seen } = noting()
      const { handle } = yield* start(run)
      yield* pass(30_000)
      assert.strictEqual((yield* lying(queues)).length, 1)
      yield* pass(90_000)
      assert.deepStrictEqual(seen, ["once"])
      assert.deepStrictEqual(yield* lying(queues), [])
      assert.strictEqual(handle.stats.acked, 1)
    }))

  test("knows by its id what an earlier process has done and could not delete", (queues) =>
    Effect.gen(function* () {
      yield* put(queues, "once")
      yield* queues.failNext("remove", "refused", { times: 1000 })
      const first = noting()
      const { stop } = yield* start(first.run)
      yield* pass(5_000)
      yield* Effect.forkScoped(stop)
      yield* pass(60_000)
      const second = noting()
      yield* start(second.run)
      yield* pass(1_000)
      assert.deepStrictEqual([first.seen, second.seen], [["once"], []])
    }))

  test("does not delete twice when the answer to a delete is lost", (queues) =>
    Effect.gen(function* () {
      yield* put(queues, "once")
      yield* queues.failNext("remove", "away", { when: "after" })
      const { run, seen } = noting()
      const { handle } = yield* start(run)
      yield* pass(60_000)
      assert.deepStrictEqual(seen, ["once"])
      assert.deepStrictEqual([handle.stats.held, handle.stats.acked], [0, 1])
    }))

  test("puts what is buried into the poison queue too, as it came, and makes that queue", (queues) =>
    Effect.gen(function* () {
      const text = Base64.encode('{"bad":true}')
      yield* queues.put("orders", text)
      yield* queues.put("orders", "this is no JSON ünïcödé")
      yield* start(() => Effect.succeed(false))
      yield* pass(1_000)
      const poison = yield* lying(queues, "orders-poison")
      assert.deepStrictEqual(poison.map(({ text }) => text).sort(), [text, "this is no JSON ünïcödé"].sort())
      assert.isTrue(poison.every(({ expiresAt }) => expiresAt === Number.POSITIVE_INFINITY))
      assert.deepStrictEqual(yield* lying(queues), [])
      const reasons = (yield* letters).map(({ reason }) => reason)
      assert.include(reasons, "no such order")
      assert.isTrue(reasons.some((reason) => reason.startsWith("not JSON")))
    }))

  test("buries all the same where the poison queue is not ours to write to", (queues) =>
    Effect.gen(function* () {
      yield* put(queues, "bad")
      yield* queues.failNext("create", "refused", { times: 10 })
      const { handle } = yield* start(() => Effect.succeed(false))
      yield* pass(1_000)
      assert.strictEqual((yield* letters).length, 1)
      assert.deepStrictEqual([handle.stats.buried, handle.stats.held], [1, 0])
    }))

  test("waits with a burial for a poison queue that is away", (queues) =>
    Effect.gen(function* () {
      yield* put(queues, "bad")
      yield* queues.createQueue("orders-poison")
      yield* queues.failNext("send", "away", { times: 8 })
      yield* start(() => Effect.succeed(false))
      yield* pass(10_000)
      // Its letter is written; the message stays until the copy is there too.
      assert.deepStrictEqual([(yield* letters).length, (yield* lying(queues)).length], [1, 1])
      yield* pass(60_000)
      assert.deepStrictEqual(yield* lying(queues), [])
      assert.strictEqual((yield* lying(queues, "orders-poison")).length, 1)
      assert.strictEqual((yield* letters).length, 1)
    }))

  test("buries unrun what was received too often", (queues) =>
    Effect.gen(function* () {
      yield* put(queues, "killer")
      const other = yield* queues.client.queue(AzureQueueClientMemory.connection, "orders")
      for (let i = 0; i < 3; i++) {
        const [message] = yield* other.receive(1, 30)
        yield* other.renew(message!, 0)
      }
      const { run, seen } = noting()
      yield* start(run, { maxDequeueCount: 3 })
      yield* pass(1_000)
      assert.deepStrictEqual(seen, [])
      assert.deepStrictEqual(
        (yield* letters).map(({ reason }) => reason),
        ["received 4 times, more than maxDequeueCount (3): it may be what ended the process each time"]
      )
      assert.strictEqual((yield* lying(queues, "orders-poison")).length, 1)
    }))

  test("gives back at a stop what has not begun, and what is at work at the deadline with a delay by its count", (queues) =>
    Effect.gen(function* () {
      yield* put(queues, ...Array.from({ length: 10 }, (_, i) => i))
      const { handle } = yield* start(() => Effect.never, {}, { concurrency: 4 })
      yield* pass(1_000)
      assert.strictEqual(handle.stats.held, 10)
      yield* Effect.forkScoped(handle.drain(5_000))
      yield* pass(900)
      // A second of delay, since this was their first time.
      assert.strictEqual((yield* lying(queues)).filter(({ visibleAt }) => visibleAt <= 3_000).length, 6)
      yield* pass(10_000)
      assert.isTrue((yield* lying(queues)).every(({ visibleAt }) => visibleAt <= 8_000))
    }))

  test("says once that the queue is missing or away, and goes on when it is there", (queues) =>
    Effect.gen(function* () {
      yield* queues.deleteQueue("orders")
      const { run, seen } = noting()
      const { handle } = yield* start(run)
      yield* pass(60_000)
      assert.isBelow(queues.calls("receive"), 20)
      yield* put(queues, 1)
      yield* pass(5_000)
      assert.deepStrictEqual(seen, [1])
      yield* queues.failNext(
        "receive",
        new AzureQueueError({ trouble: "away", reason: "busy", retryAfterMillis: 3_000 })
      )
      yield* put(queues, 2)
      yield* pass(2_900)
      assert.deepStrictEqual(seen, [1])
      yield* pass(2_000)
      assert.deepStrictEqual(seen, [1, 2])
      assert.strictEqual(handle.stats.acked, 2)
    }))

  test("fails when it may not read from the beginning, and waits it out when it once could", (queues) =>
    Effect.gen(function* () {
      yield* queues.failNext("receive", "refused")
      const { handle } = yield* start(() => Effect.void)
      const failure = yield* Effect.flip(handle.await)
      assert.strictEqual(failure.kind, "failed")
      assert.include(failure.message, "receive fails as planned: refused")
      const { run, seen } = noting()
      yield* start(run)
      yield* put(queues, 1)
      yield* pass(1_000)
      yield* queues.failNext("receive", "refused", { times: 3 })
      yield* pass(10_000)
      yield* put(queues, 2)
      yield* pass(10_000)
      assert.deepStrictEqual(seen, [1, 2])
    }))
})

describe("AzureQueueEncoding", () => {
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes)
  const json = Base64.encode('{"a":1}')

  it("takes base64 for what it stands for where that is meant", () => {
    for (const [written, encoding, payload, isBase64] of [
      ['{"a":1}', "auto", '{"a":1}', false],
      [json, "auto", '{"a":1}', true],
      [json, "base64", '{"a":1}', true],
      [json, "none", json, false],
      // JSON by itself, although it is base64 too.
      ["1234", "auto", "1234", false],
      // Base64 of something that is no JSON may be a word.
      ["abcd", "auto", "abcd", false],
      ["abcd", "base64", text(new Uint8Array([0x69, 0xb7, 0x1d])), true],
      ["", "auto", "", false]
    ] as const) {
      const decoded = AzureQueueEncoding.decode(written, encoding)
      assert.deepStrictEqual([text(decoded.payload), decoded.isBase64, decoded.broken], [payload, isBase64, undefined])
    }
    assert.strictEqual(AzureQueueEncoding.decode("no base64!", "base64").broken, "the text is not base64")
  })

  it("gives the text back as it came", () => {
    for (const [written, encoding] of [
      [json, "auto"],
      [json, "none"],
      [json, "base64"],
      ["ünïcödé", "auto"],
      ["no base64!", "base64"],
      ["\ufeff{}", "none"]
    ] as const) {
      const { isBase64, payload } = AzureQueueEncoding.decode(written, encoding)
      const headers = isBase64 ? { [AzureQueueEncoding.encodingHeader]: "base64" } : {}
      const envelope = { id: "1", source: "q", key: undefined, headers, payload, receivedAt: 0, attempt: 1 }
      assert.strictEqual(AzureQueueEncoding.textOf(envelope), written)
    }
  })
})
