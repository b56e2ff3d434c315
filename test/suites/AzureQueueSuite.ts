/** What every client of Azure Storage queues keeps to. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, type Layer } from "effect"
import { TestClock } from "effect/testing"
import { type AzureQueue, AzureQueueClient, type AzureQueueError } from "../../src/services/AzureQueue.ts"
import type { Connection } from "../../src/services/AzureQueueConnection.ts"

export interface Features {
  /** Whether time passes by the test clock, or has to be waited for. */
  readonly time: "virtual" | "real"
}

let queues = 0
/** A name no other test uses, also against a service that keeps its queues. */
export const fresh = (name = "queue"): string => `${name}-${process.pid}-${Date.now().toString(36)}-${++queues}`

export const troubleOf = <A>(effect: Effect.Effect<A, AzureQueueError>) =>
  Effect.match(effect, { onSuccess: () => undefined, onFailure: ({ trouble }) => trouble })

const day = 24 * 3600

/** `connection` is asked for when the tests run. */
export const suite = <E>(
  name: string,
  layer: Layer.Layer<AzureQueueClient, E>,
  connection: () => Connection,
  { time }: Features
): void => {
  const passes = (seconds: number) =>
    time === "virtual" ? TestClock.adjust(seconds * 1000) : Effect.sleep(seconds * 1000)
  const run = time === "virtual" ? it.effect : it.live
  const opened = (queue: string) => Effect.flatMap(AzureQueueClient, (client) => client.queue(connection(), queue))
  const test = (name: string, body: (queue: AzureQueue) => Effect.Effect<void, unknown, AzureQueueClient>) =>
    run(name, () =>
      Effect.gen(function* () {
        const queue = yield* opened(fresh())
        yield* queue.create
        yield* body(queue)
      }).pipe(Effect.provide(layer))
    )
  const texts = (queue: AzureQueue, count = 32, visibilitySeconds = 60) =>
    Effect.map(queue.receive(count, visibilitySeconds), (received) => received.map(({ text }) => text))

  describe(`${name} as a client of queues`, () => {
    test("lends out what came first first, hides it for a while, and counts how often it was received", (queue) =>
      Effect.gen(function* () {
        const now = yield* Clock.currentTimeMillis
        assert.deepStrictEqual(yield* queue.receive(1, 1), [])
        yield* queue.send("a")
        yield* queue.send("b")
        const [a] = yield* queue.receive(1, 1)
        const [b, ...none] = yield* queue.receive(32, 1)
        assert.deepStrictEqual([a!.text, a!.dequeueCount, b!.text, b!.dequeueCount], ["a", 1, "b", 1])
        assert.deepStrictEqual(none, [])
        assert.isAtMost(Math.abs(a!.insertedAt - now), 5000)
        assert.notStrictEqual(a!.id, b!.id)
        assert.deepStrictEqual(yield* queue.receive(32, 1), [])
        yield* passes(1.2)
        const again = yield* queue.receive(32, 60)
        assert.deepStrictEqual(again.map(({ text }) => text).sort(), ["a", "b"])
        assert.deepStrictEqual(
          again.map(({ dequeueCount }) => dequeueCount),
          [2, 2]
        )
        const other = again.find(({ id }) => id === a!.id)!
        assert.deepStrictEqual([other.text, other.insertedAt], ["a", a!.insertedAt])
        assert.notStrictEqual(other.receipt, a!.receipt)
      }))

    test("receives no more than was asked for", (queue) =>
      Effect.gen(function* () {
        yield* Effect.forEach(Array.from({ length: 33 }), (_, i) => queue.send(`${i}`), { concurrency: 4 })
        assert.strictEqual((yield* queue.receive(3, 60)).length, 3)
        assert.strictEqual((yield* queue.receive(32, 60)).length, 30)
      }))

    test("lends on to whoever has the newest receipt, and keeps the text", (queue) =>
      Effect.gen(function* () {
        yield* queue.send("kept")
        const [first] = yield* queue.receive(1, 1)
        yield* passes(0.1)
        const receipt = yield* queue.renew(first!, 60)
        assert.notStrictEqual(receipt, first!.receipt)
        yield* passes(1.2)
        assert.deepStrictEqual(yield* queue.receive(1, 60), [])
        assert.strictEqual(yield* troubleOf(queue.renew(first!, 60)), "lost")
        assert.strictEqual(yield* troubleOf(queue.remove(first!)), "lost")
        yield* passes(0.1)
        const back = yield* queue.renew({ id: first!.id, receipt }, 0)
        const [second] = yield* queue.receive(1, 60)
        assert.deepStrictEqual([second!.id, second!.text, second!.dequeueCount], [first!.id, "kept", 2])
        assert.strictEqual(yield* troubleOf(queue.remove({ id: first!.id, receipt: back })), "lost")
        yield* queue.remove(second!)
        assert.strictEqual(yield* troubleOf(queue.renew(second!, 60)), "lost")
      }))

    test("removes a message once", (queue) =>
      Effect.gen(function* () {
        yield* queue.send("a")
        const [a] = yield* queue.receive(1, 1)
        yield* queue.remove(a!)
        assert.strictEqual(yield* troubleOf(queue.remove(a!)), "lost")
        yield* passes(1.2)
        assert.deepStrictEqual(yield* queue.receive(1, 1), [])
      }))

    test("removes what others can see again, unless one of them has taken it", (queue) =>
      Effect.gen(function* () {
        yield* queue.send("a")
        yield* queue.send("b")
        const [a, b] = yield* queue.receive(2, 1)
        yield* passes(1.2)
        yield* queue.remove(a!)
        const [taken] = yield* queue.receive(2, 60)
        assert.strictEqual(taken!.id, b!.id)
        assert.strictEqual(yield* troubleOf(queue.remove(b!)), "lost")
        yield* queue.remove(taken!)
      }))

    test("delays what is sent, and forgets it in time", (queue) =>
      Effect.gen(function* () {
        yield* queue.send("late", { delaySeconds: 1, ttlSeconds: "never" })
        yield* queue.send("short", { ttlSeconds: 1 })
        yield* queue.send("long", { ttlSeconds: 8 * day })
        const [short, long, ...none] = yield* queue.receive(32, 5)
        assert.deepStrictEqual([short!.text, long!.text, none], ["short", "long", []])
        yield* passes(1.2)
        assert.strictEqual(yield* troubleOf(queue.remove(short!)), "lost")
        assert.deepStrictEqual(yield* texts(queue), ["late"])
      }))

    test("makes a queue that is there already without a word", (queue) =>
      Effect.gen(function* () {
        yield* queue.send("a")
        yield* queue.create
        assert.deepStrictEqual(yield* texts(queue), ["a"])
      }))

    test("says that a queue is missing, and finds it once it is made", () =>
      Effect.gen(function* () {
        const name = fresh("missing")
        const queue = yield* opened(name)
        assert.match(queue.name, new RegExp(`^[a-z0-9]+/${name}$`))
        const loan = { id: "6ba7b810-9dad-11d1-80b4-00c04fd430c8", receipt: "AgAAAAMAAAAAAAAA" }
        const requests = [queue.receive(1, 1), queue.send("a"), queue.renew(loan, 1), queue.remove(loan)]
        for (const request of requests) assert.strictEqual(yield* troubleOf<unknown>(request), "missing")
        const error = yield* Effect.flip(queue.send("a"))
        assert.match(error.reason, /^The specified queue does not exist \(QueueNotFound\)$/)
        yield* queue.create
        yield* queue.send("a")
      }))

    test("takes 64 KiB, and nothing that is larger or no XML", (queue) =>
      Effect.gen(function* () {
        // Azurite breaks letters of more than one byte where a chunk of a large request ends: they stand in a small one.
        const most = ["x".repeat(65_536), "ü".repeat(8_000), "<".repeat(65_536)]
        for (const text of most) yield* queue.send(text)
        assert.deepStrictEqual(yield* texts(queue), most)
        const unfit = ["x".repeat(65_537), "ü".repeat(32_769), "a\u0000", "\u001b[0m", "\ud83d", "\ufffe"]
        for (const text of unfit) {
          const { reason, trouble } = yield* Effect.flip(queue.send(text))
          assert.strictEqual(trouble, "unfit")
          assert.match(reason, /has 65(537|538) bytes.*65536|U\+(0000|001B|D83D|FFFE)/)
        }
        assert.deepStrictEqual(yield* queue.receive(1, 1), [])
      }))

    test("keeps every letter, space and line end, and what looks like XML or base64", (queue) =>
      Effect.gen(function* () {
        const sent = [
          "",
          " ",
          " a \n",
          "\n",
          "a\r\nb\rc",
          "\t",
          "ünïcödé 🙂 \ufeff",
          '{"quote":"\\"","n":[1,2],"html":"<b>&amp;</b>"}',
          "<QueueMessage><MessageText>&lt;</MessageText></QueueMessage>",
          "&#xD;&#13;&amp;#x41;&quot;",
          "<![CDATA[x]]>",
          "]]>",
          "'\"<>&",
          "007",
          "true",
          "eyJuIjoxfQ==",
          "<&>".repeat(3000)
        ]
        for (const text of sent) yield* queue.send(text)
        assert.deepStrictEqual(yield* texts(queue), sent)
      }))

    test("refuses what is no count and no time", (queue) =>
      Effect.gen(function* () {
        yield* queue.send("a")
        const wrong = [queue.receive(0, 1), queue.receive(33, 1), queue.receive(1, 0), queue.receive(1, 7 * day + 1)]
        for (const request of wrong) assert.strictEqual(yield* troubleOf(request), "refused")
        const [a] = yield* queue.receive(1, 7 * day)
        assert.strictEqual(yield* troubleOf(queue.renew(a!, 7 * day + 1)), "refused")
        assert.strictEqual(yield* troubleOf(queue.send("b", { ttlSeconds: 0 })), "refused")
        assert.strictEqual(yield* troubleOf(queue.send("b", { delaySeconds: 2, ttlSeconds: 2 })), "refused")
        assert.strictEqual(
          yield* troubleOf(queue.send("b", { delaySeconds: 7 * day + 1, ttlSeconds: "never" })),
          "refused"
        )
      }))
  })
}
