/** The publisher of Azure queues on the queues in memory: what it sends, what it refuses, and what is an outage. */
import { Buffer } from "node:buffer"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Result, Schema, type Scope } from "effect"
import * as AzureQueueClientMemory from "../../src/layers/AzureQueueClientMemory.ts"
import * as PublisherAzureQueue from "../../src/layers/PublisherAzureQueue.ts"
import { type AzureQueueClient, AzureQueueError, type Trouble } from "../../src/services/AzureQueue.ts"
import type { OptionsError, Problem } from "../../src/services/Component.ts"
import type { Publisher } from "../../src/services/Publisher.ts"
import * as PublisherSuite from "../suites/PublisherSuite.ts"

const { connection, Queues } = AzureQueueClientMemory
const options = { connection, queue: "orders" }

const lying = Effect.flatMap(Queues, (queues) =>
  Effect.map(queues.look("orders"), (all = []) => all.map(({ text }) => text))
)

for (const encoding of ["none", "base64"] as const) {
  PublisherSuite.suite(
    `PublisherAzureQueue with encoding ${encoding}`,
    Effect.gen(function* () {
      const publisher = yield* PublisherAzureQueue.make({ ...options, encoding })
      const queues = yield* Queues
      const read = Effect.provideService(lying, Queues, queues)
      const plain = (text: string) => (encoding === "none" ? text : Buffer.from(text, "base64").toString())
      return { publisher, read: Effect.map(read, (texts) => texts.map(plain)) }
    }),
    AzureQueueClientMemory.layer
  )
}

const bytes = (value: Uint8Array) => ({ ...PublisherSuite.outgoing("x"), value })
const failing = (publisher: Publisher, value: Uint8Array | string = "a") =>
  Effect.flip(publisher.publish([typeof value === "string" ? PublisherSuite.outgoing(value) : bytes(value)]))

describe("PublisherAzureQueue", () => {
  const test = (
    name: string,
    body: (
      queues: AzureQueueClientMemory.AzureQueuesMemory
    ) => Effect.Effect<void, unknown, AzureQueueClient | Scope.Scope>
  ) => it.effect(name, () => Effect.flatMap(Queues, body).pipe(Effect.provide(AzureQueueClientMemory.layer)))

  test("makes a queue that is missing, and only then", (queues) =>
    Effect.gen(function* () {
      const publisher = yield* PublisherAzureQueue.make(options)
      assert.deepStrictEqual([publisher.name, publisher.inFlightMax], ["azure-queue:memory/orders", 64])
      assert.strictEqual(queues.calls("create"), 0)
      yield* publisher.publish([PublisherSuite.outgoing("a")])
      yield* publisher.publish([PublisherSuite.outgoing("b")])
      assert.deepStrictEqual([queues.calls("create"), queues.calls("send")], [1, 3])
      yield* queues.deleteQueue("orders")
      yield* publisher.publish([PublisherSuite.outgoing("c")])
      assert.deepStrictEqual(
        (yield* queues.look("orders"))!.map(({ text }) => text),
        ["c"]
      )
    }))

  test("waits for the queue where it is not to make it, and where it cannot", (queues) =>
    Effect.gen(function* () {
      const waiting = yield* PublisherAzureQueue.make({ ...options, create: false })
      const error = yield* failing(waiting)
      assert.deepStrictEqual([error.presence, error.retryable], ["unreachable", true])
      assert.match(error.reason, /^Azure queue memory\/orders: The specified queue does not exist \(QueueNotFound\)$/)
      assert.strictEqual(queues.calls("create"), 0)
      const making = yield* PublisherAzureQueue.make(options)
      yield* queues.failNext("create", "refused")
      const refused = yield* failing(making)
      assert.deepStrictEqual([refused.presence, refused.retryable], ["unreachable", true])
      assert.strictEqual(yield* queues.look("orders"), undefined)
    }))

  test("keeps a message as long as it is told, and holds it back as long", (queues) =>
    Effect.gen(function* () {
      const publisher = yield* PublisherAzureQueue.make({ ...options, ttlSeconds: "never", delaySeconds: 5 })
      yield* publisher.publish([PublisherSuite.outgoing("a")])
      const [a] = (yield* queues.look("orders"))!
      assert.deepStrictEqual([a!.visibleAt, a!.expiresAt], [5000, Number.POSITIVE_INFINITY])
    }))

  test("refuses what no queue takes, before it asks one", (queues) =>
    Effect.gen(function* () {
      const plain = yield* PublisherAzureQueue.make(options)
      const encoded = yield* PublisherAzureQueue.make({ ...options, encoding: "base64" })
      const most = 64 * 1024
      const cases: ReadonlyArray<readonly [Publisher, Uint8Array, RegExp]> = [
        [plain, new Uint8Array(most + 1).fill(97), /has 65537 bytes, and a message takes at most 65536$/],
        [encoded, new Uint8Array(48 * 1024 + 1), /has 49153 bytes, and as base64 a message takes at most 49152$/],
        [plain, new Uint8Array([0xff, 0xfe]), /is not UTF-8 text; it can be sent with encoding: base64$/],
        [plain, new Uint8Array([97, 0]), /has U\+0000, which .* it can with encoding: base64$/],
        [plain, new Uint8Array([0xed, 0xa0, 0x80]), /is not UTF-8/]
      ]
      for (const [publisher, value, reason] of cases) {
        const error = yield* failing(publisher, value)
        assert.match(error.reason, reason)
        assert.deepStrictEqual([error.presence, error.retryable], ["answered", false])
      }
      assert.strictEqual(queues.calls("send"), 0)
      yield* plain.publish([bytes(new Uint8Array(most).fill(97))])
      yield* encoded.publish([bytes(new Uint8Array(48 * 1024))])
      yield* encoded.publish([bytes(new Uint8Array([0, 0xff]))])
      const texts = (yield* queues.look("orders"))!.map(({ text }) => text)
      assert.deepStrictEqual(
        texts.slice(1).map((text) => Buffer.from(text, "base64").length),
        [48 * 1024, 2]
      )
    }))

  test("keeps a byte order mark", (queues) =>
    Effect.gen(function* () {
      const publisher = yield* PublisherAzureQueue.make(options)
      yield* publisher.publish([PublisherSuite.outgoing("\ufeff1")])
      assert.deepStrictEqual(
        (yield* queues.look("orders"))!.map(({ text }) => text),
        ["\ufeff1"]
      )
    }))

  test("takes for an outage whatever is not the message's fault", (queues) =>
    Effect.gen(function* () {
      const publisher = yield* PublisherAzureQueue.make(options)
      yield* queues.createQueue("orders")
      const seen = (failure: Trouble | AzureQueueError) =>
        Effect.gen(function* () {
          yield* queues.failNext("send", failure)
          const { presence, retryable, retryAfterMillis } = yield* failing(publisher)
          return [presence, retryable, retryAfterMillis]
        })
      assert.deepStrictEqual(yield* seen("away"), ["unreachable", true, undefined])
      assert.deepStrictEqual(yield* seen("refused"), ["unreachable", true, undefined])
      assert.deepStrictEqual(yield* seen("unfit"), ["answered", false, undefined])
      const busy = new AzureQueueError({ trouble: "away", reason: "busy (ServerBusy)", retryAfterMillis: 2000 })
      assert.deepStrictEqual(yield* seen(busy), ["busy", true, 2000])
    }))
})

describe("PublisherAzureQueue's options", () => {
  const made = (written: object, source: { readonly type: string } = { type: "stdin" }, concurrency = 3) =>
    Effect.gen(function* () {
      const { component } = PublisherAzureQueue
      const decoded = yield* Effect.orDie(
        Schema.decodeEffect(component.options as unknown as Schema.Codec<object>)(written)
      )
      const site = {
        pipeline: "p",
        source,
        folder: "/",
        concurrency,
        keyed: false,
        bufferMessages: 1,
        hide: (text: string) => text
      }
      return yield* component.make(decoded, site) as Effect.Effect<Publisher, OptionsError, AzureQueueClient>
    })
  const problemsOf = (...[written, source]: Parameters<typeof made>) =>
    Effect.map(Effect.result(made(written, source)), (result) => {
      const problems: ReadonlyArray<Problem> = Result.isFailure(result) ? result.failure.problems : []
      return problems.map(({ expected, found, path }) => [path.join("."), expected, found])
    })
  const test = (name: string, body: Effect.Effect<void, unknown, AzureQueueClient | AzureQueueClientMemory.Queues>) =>
    it.effect(name, () => Effect.provide(body, AzureQueueClientMemory.layer))
  const account = { account: "memory", queue: "orders" }

  test(
    "are read as a config writes them",
    Effect.gen(function* () {
      const queues = yield* Queues
      const publisher = yield* made({ ...account, encoding: "base64", ttl: "90 seconds", delay: "1500 millis" })
      assert.strictEqual(publisher.inFlightMax, 3)
      yield* publisher.publish([PublisherSuite.outgoing("a")])
      const [a] = (yield* queues.look("orders"))!
      assert.deepStrictEqual([a!.text, a!.visibleAt, a!.expiresAt], ["YQ==", 2000, 90_000])
      const forever = yield* made({ ...account, ttl: "never" }, { type: "stdin" }, 500)
      yield* forever.publish([PublisherSuite.outgoing("b")])
      assert.deepStrictEqual(
        [(yield* queues.look("orders"))![1]!.expiresAt, forever.inFlightMax],
        [Number.POSITIVE_INFINITY, 64]
      )
    })
  )

  test(
    "are told what is wrong with them",
    Effect.gen(function* () {
      const queueExpected =
        "the name of a queue: 3 to 63 lower-case letters, digits and single dashes, a letter or digit at both ends"
      assert.deepStrictEqual(yield* problemsOf({ account: "memory", queue: "Orders", ttl: "0 s", delay: "8 days" }), [
        ["queue", queueExpected, "Orders"],
        ["ttl", "at least a second", "0 s"],
        ["delay", "at most 7 days", "691200 s"]
      ])
      assert.deepStrictEqual(yield* problemsOf({ ...account, ttl: "5 s", delay: "5 s" }), [
        ["delay", "less than the 5 s for which a message is kept", "5 s"]
      ])
      assert.deepStrictEqual(yield* problemsOf({ ...account, delay: "7 days" }), [
        ["delay", "less than the 604800 s for which a message is kept", "604800 s"]
      ])
      assert.deepStrictEqual(yield* problemsOf({ queue: "orders" }), [
        [
          "account",
          "an account, a connectionString or an endpoint, since the pipeline's source is not azure-queue",
          undefined
        ]
      ])
      assert.deepStrictEqual(yield* problemsOf({ account: "memory", sas: "x", queue: "orders" }), [
        ["sas", "a shared access signature such as sv=...&sig=...", "other text"]
      ])
    })
  )

  test(
    "take the account of the pipeline's own source",
    Effect.gen(function* () {
      const source = { type: "azure-queue", account: "memory", queue: "in" }
      const exit = yield* Effect.exit(made({ queue: "orders" }, source))
      assert.isTrue(Exit.isSuccess(exit))
    })
  )
})
