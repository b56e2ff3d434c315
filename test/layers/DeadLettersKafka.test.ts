/** Dead letters in a Kafka topic: the contract, the records as others see them, and what is remembered and read. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Option } from "effect"
import { TestClock } from "effect/testing"
import * as DeadLettersKafka from "../../src/layers/DeadLettersKafka.ts"
import * as KafkaClientMemory from "../../src/layers/KafkaClientMemory.ts"
import { DeadLetters, type Letter } from "../../src/services/DeadLetters.ts"
import { type HeaderValue, KafkaError, type KafkaRecord } from "../../src/services/Kafka.ts"
import type { Connection } from "../../src/services/KafkaConnection.ts"
import * as DeadLettersSuite from "../suites/DeadLettersSuite.ts"

const connection: Connection = {
  brokers: ["memory:9092"],
  clientId: "test",
  tls: undefined,
  sasl: undefined,
  connectMillis: 1_000,
  requestMillis: 1_000,
  metadataMillis: 60_000
}
const topic = "orders.dlq"
const { letter } = DeadLettersSuite

DeadLettersSuite.suite(
  "DeadLettersKafka",
  Layer.effect(
    DeadLetters,
    Effect.flatMap(KafkaClientMemory.make({ partitionsDefault: 4 }), ({ client }) =>
      DeadLettersKafka.make({ client, connection, topic })
    )
  )
)

const text = (value: HeaderValue | ReadonlyArray<HeaderValue> | null | undefined): string | null | undefined =>
  value instanceof Uint8Array ? new TextDecoder().decode(value) : (value as string | null | undefined)

/** The records of the topic, as any other reader sees them. */
const recordsOf = (cluster: KafkaClientMemory.KafkaMemory) =>
  [0, 1, 2, 3].flatMap((partition) => cluster.records(topic, partition).map((record) => ({ ...record, partition })))

const headersOf = ({ headers }: KafkaRecord) =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, text(value)]))

const from = (id: string, over: Partial<Letter["envelope"]>, more: Partial<Letter> = {}): Letter =>
  letter(id, { ...more, envelope: { ...letter(id).envelope, ...over } })

const sized = (id: string, bytes: number, receivedAt: number): Letter =>
  from(id, { key: id, receivedAt, payload: new Uint8Array(bytes).fill(7) })

const idsOf = (letters: ReadonlyArray<Letter>): ReadonlyArray<string> => letters.map(({ id }) => id)

describe("DeadLettersKafka", () => {
  it.effect("writes the message's own key and value, and all else in headers", () =>
    Effect.gen(function* () {
      const cluster = yield* KafkaClientMemory.make()
      const { client } = cluster
      const letters = yield* DeadLettersKafka.make({ client, connection, topic })
      const own = { a: "1", "sluice-letter": "not ours", "sluice-header-x": "nor this", ["__proto__"]: "p", ü: "ö" }
      const whole = from(
        "l1",
        {
          headers: Object.fromEntries(Object.entries(own)),
          partition: "shop/orders/3",
          position: 42,
          producedAt: 1_699_999_999_999
        },
        { reply: { kind: "accepted", payload: new Uint8Array([0, 255]), status: 201 } }
      )
      yield* letters.bury(whole)
      const [record] = recordsOf(cluster)
      assert.strictEqual(text(record!.key), "k")
      assert.deepStrictEqual([...record!.value!], [0, 255, 10, 13, 128])
      const { "sluice-reply": reply, ...headers } = headersOf(record!)
      assert.deepStrictEqual(JSON.parse(reply!), { kind: "accepted", status: 201, payloadBase64: "AP8=" })
      assert.deepStrictEqual(headers, {
        a: "1",
        ü: "ö",
        "sluice-header-sluice-letter": "not ours",
        "sluice-header-sluice-header-x": "nor this",
        ...Object.fromEntries([["__proto__", "p"]]),
        "sluice-letter": "l1",
        "sluice-pipeline": "orders",
        "sluice-event": "order.paid",
        "sluice-leg": "dispatch.0:http",
        "sluice-stage": "dispatch",
        "sluice-reason": "it said no",
        "sluice-attempts": "8",
        "sluice-at": "2023-11-14T22:13:20.000Z",
        "sluice-sequence": "1",
        "sluice-source": "topic:orders",
        "sluice-envelope-id": "message-l1",
        "sluice-envelope-attempt": "2",
        "sluice-received-at": "2023-11-14T22:13:20.000Z",
        "sluice-origin-topic": "shop/orders",
        "sluice-origin-partition": "3",
        "sluice-origin-offset": "42",
        "sluice-origin-timestamp": "1699999999999"
      })
      const read = Option.getOrThrow(yield* letters.get("l1"))
      assert.deepStrictEqual(
        Object.entries(read.envelope.headers).sort(),
        Object.entries(whole.envelope.headers).sort()
      )
      assert.deepStrictEqual({ ...read.envelope, headers: {} }, { ...whole.envelope, headers: {} })
      assert.deepStrictEqual(read.reply, whole.reply)
    }).pipe(Effect.scoped)
  )

  it.effect("keeps keys that are no text, empty or absent, and messages without a value, as they were", () =>
    Effect.gen(function* () {
      const cluster = yield* KafkaClientMemory.make()
      const { client } = cluster
      const letters = yield* DeadLettersKafka.make({ client, connection, topic })
      const keyBytes = new Uint8Array([255, 0])
      const bom = "\ufeffk"
      const all = [
        from("binary", { key: "ff00", keyBytes }),
        from("empty", { key: "" }),
        from("absent", { key: undefined }),
        from("mark", { key: bom }),
        from("tombstone", { payload: new Uint8Array(), tombstone: true }),
        from("nothing", { payload: new Uint8Array() })
      ]
      for (const one of all) yield* letters.bury(one)
      const records = new Map(recordsOf(cluster).map((one) => [headersOf(one)["sluice-letter"], one]))
      assert.deepStrictEqual([...records.get("binary")!.key!], [255, 0])
      assert.strictEqual(records.get("empty")!.key!.length, 0)
      assert.isNull(records.get("absent")!.key)
      assert.strictEqual(records.get("mark")!.key!.length, 4)
      assert.isNull(records.get("tombstone")!.value)
      assert.strictEqual(records.get("nothing")!.value!.length, 0)
      for (const one of all) {
        const { envelope } = Option.getOrThrow(yield* letters.get(one.id))
        assert.deepStrictEqual(envelope, { ...one.envelope, headers: envelope.headers })
      }
    }).pipe(Effect.scoped)
  )

  it.effect("ends a letter with a record of the same key without a value, next to it", () =>
    Effect.gen(function* () {
      const cluster = yield* KafkaClientMemory.make({ partitionsDefault: 4 })
      const { client } = cluster
      const letters = yield* DeadLettersKafka.make({ client, connection, topic })
      const keys = ["a", "b", undefined, undefined, undefined]
      for (const [i, key] of keys.entries()) yield* letters.bury(from(`${i}`, { key, receivedAt: i }))
      const other = yield* DeadLettersKafka.make({ client, connection, topic })
      assert.strictEqual(yield* other.remove(["0", "1", "2", "3", "nobody"]), 4)
      const records = recordsOf(cluster)
      const ends = records.filter(({ headers }) => headers["sluice-letter-done"] !== undefined)
      assert.strictEqual(ends.length, 4)
      for (const end of ends) {
        const id = text(end.headers["sluice-letter-done"])
        const begin = records.find(({ headers }) => text(headers["sluice-letter"]) === id)!
        assert.isNull(end.value)
        assert.strictEqual(text(end.key), text(begin.key))
        assert.strictEqual(end.partition, begin.partition)
        assert.deepStrictEqual(headersOf(end), { "sluice-letter-done": id, "sluice-pipeline": "orders" })
      }
      assert.deepStrictEqual(idsOf(yield* letters.list({})), ["4"])
      assert.strictEqual(yield* other.remove(["0", "1"]), 0)
      assert.strictEqual(recordsOf(cluster).length, records.length)
    }).pipe(Effect.scoped)
  )

  it.effect("finds everything after a restart; the newest record of an id counts, wherever it lies", () =>
    Effect.gen(function* () {
      const cluster = yield* KafkaClientMemory.make({ partitionsDefault: 3 })
      const { client } = cluster
      const opened = DeadLettersKafka.make({ client, connection, topic })
      const bury = (one: Letter) =>
        Effect.scoped(Effect.flatMap(opened, (letters) => letters.bury(one))).pipe(
          Effect.andThen(TestClock.adjust("1 second"))
        )
      // Without a key each lands elsewhere, since nothing is known after a restart.
      for (let attempts = 1; attempts <= 5; attempts++) yield* bury(from("x", { key: undefined }, { attempts }))
      yield* bury(from("y", { key: undefined }))
      assert.isAbove(new Set(recordsOf(cluster).map(({ partition }) => partition)).size, 1)
      const letters = yield* opened
      assert.deepStrictEqual(
        (yield* letters.list({})).map(({ attempts, id }) => [id, attempts]),
        [
          ["x", 5],
          ["y", 8]
        ]
      )
      yield* letters.remove(["x"])
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(idsOf(yield* (yield* opened).list({})), ["y"])
      // Buried again by somebody who was still at it.
      yield* bury(from("x", { key: undefined }, { attempts: 6 }))
      assert.strictEqual(Option.getOrThrow(yield* letters.get("x")).attempts, 6)
    }).pipe(Effect.scoped)
  )

  it.effect("passes over records that are none of ours", () =>
    Effect.gen(function* () {
      const cluster = yield* KafkaClientMemory.make()
      const { client } = cluster
      const letters = yield* DeadLettersKafka.make({ client, connection, topic })
      yield* cluster.produce(topic, 0, { key: "k", value: "v" })
      yield* cluster.produce(topic, 0, { headers: { "sluice-else": "1" } })
      const headers = { "sluice-letter": ["no", "bare"], "sluice-reply": "{", "sluice-at": "never" }
      yield* cluster.produce(topic, 0, { value: "v", headers })
      const [bare, ...more] = yield* letters.list({})
      assert.strictEqual(bare?.id, "bare")
      assert.deepStrictEqual([bare?.at, bare?.sequence, bare?.reply], [0, 0, undefined])
      assert.deepStrictEqual(more, [])
    }).pipe(Effect.scoped)
  )

  it.effect("removes what it has listed without reading again", () =>
    Effect.gen(function* () {
      const { calls, client } = yield* KafkaClientMemory.make()
      const letters = yield* DeadLettersKafka.make({ client, connection, topic })
      for (let i = 0; i < 600; i++) yield* letters.bury(from(`${i}`, { key: `${i}` }))
      const listed = idsOf(yield* letters.list({ pipeline: "orders" }))
      assert.strictEqual(listed.length, 600)
      assert.deepStrictEqual([calls("readAll"), calls("send")], [1, 600])
      assert.strictEqual(yield* letters.remove(listed.slice(0, 1)), 1)
      assert.strictEqual(yield* letters.remove(listed.slice(1)), 599)
      assert.deepStrictEqual([calls("readAll"), calls("send")], [1, 604])
      assert.strictEqual(yield* letters.remove(["0"]), 0)
      // What somebody else has removed is forgotten with the next listing.
      yield* letters.bury(letter("again"))
      yield* letters.list({})
      yield* (yield* DeadLettersKafka.make({ client, connection, topic })).remove(["again"])
      yield* letters.list({})
      assert.strictEqual(yield* letters.remove(["again"]), 0)
    }).pipe(Effect.scoped)
  )

  it.effect("holds only what it is asked for, and reads a second time for what there was no room for", () =>
    Effect.gen(function* () {
      const { calls, client } = yield* KafkaClientMemory.make({ partitionsDefault: 2 })
      const letters = yield* DeadLettersKafka.make({ client, connection, topic, heldBytesMax: 25_000 })
      for (let i = 0; i < 20; i++) yield* letters.bury(sized(`${i}`, 10_000, i))
      yield* letters.remove(Array.from({ length: 18 }, (_, i) => `${i}`))
      const before = calls("readAll")
      const rest = yield* letters.list({})
      assert.deepStrictEqual(idsOf(rest), ["18", "19"])
      for (const { envelope } of rest) {
        assert.isTrue(envelope.payload.every((byte) => byte === 7) && envelope.payload.length === 10_000)
        assert.strictEqual(envelope.payload.buffer.byteLength, 10_000)
      }
      assert.strictEqual(calls("readAll") - before, 2)
      assert.strictEqual(Option.getOrThrow(yield* letters.get("19")).id, "19")
      assert.deepStrictEqual(yield* letters.list({ ids: [] }), [])
      assert.strictEqual(calls("readAll") - before, 3)
    }).pipe(Effect.scoped)
  )

  it.effect("waits a little for a broker that is away, and says which topic and why", () =>
    Effect.gen(function* () {
      const { away, calls, client, failNext } = yield* KafkaClientMemory.make({ recordBytesMax: 1_000 })
      const letters = yield* DeadLettersKafka.make({ client, connection, topic })
      yield* away(true)
      const waiting = yield* Effect.forkChild(letters.bury(letter("a")), { startImmediately: true })
      yield* TestClock.adjust("5 seconds")
      yield* away(false)
      yield* TestClock.adjust("5 seconds")
      yield* Fiber.join(waiting)
      assert.isAbove(calls("send"), 2)
      yield* away(true)
      const lost = yield* Effect.forkChild(Effect.flip(letters.bury(letter("b"))), { startImmediately: true })
      yield* TestClock.adjust("1 minute")
      const why = "no broker of the cluster can be reached"
      assert.strictEqual((yield* Fiber.join(lost)).message, `cannot bury dead letters in topic orders.dlq: ${why}`)
      const unread = yield* Effect.flip(letters.list({}))
      assert.strictEqual(unread.message, `cannot list dead letters in topic orders.dlq: ${why}`)
      yield* away(false)
      const sent = calls("send")
      assert.strictEqual(
        (yield* Effect.flip(letters.bury(sized("c", 2_000, 0)))).message,
        "cannot bury dead letters in topic orders.dlq: a record for orders.dlq is larger than 1000 bytes (MESSAGE_TOO_LARGE): a letter is a little larger than its message, raise the topic's max.message.bytes"
      )
      assert.strictEqual(calls("send") - sent, 1)
      // Written, though the answer was lost: the second copy is the same letter.
      yield* failNext("send", new KafkaError({ trouble: "away", reason: "reset" }), "after")
      const twice = yield* Effect.forkChild(letters.bury(letter("d")), { startImmediately: true })
      yield* TestClock.adjust("5 seconds")
      yield* Fiber.join(twice)
      assert.deepStrictEqual(idsOf(yield* letters.list({})), ["a", "d"])
      assert.strictEqual(yield* letters.remove(["d"]), 1)
      assert.deepStrictEqual(idsOf(yield* letters.list({})), ["a"])
    }).pipe(Effect.scoped)
  )
})
