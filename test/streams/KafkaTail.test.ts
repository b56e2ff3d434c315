/** Following a Kafka topic without a group: where it begins, what comes later, and what may go wrong meanwhile. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, type Scope, Stream } from "effect"
import * as KafkaClientMemory from "../../src/layers/KafkaClientMemory.ts"
import { type KafkaClient, KafkaError } from "../../src/services/Kafka.ts"
import * as KafkaTail from "../../src/streams/KafkaTail.ts"
import { connection, pass } from "../suites/KafkaKit.ts"

const utf8 = new TextEncoder()
const text = (value: Uint8Array | null) => (value === null ? "null" : new TextDecoder().decode(value))

/** What a follower has seen so far, and what it was told of outages. */
const follow = Effect.fnUntraced(function* (from: "earliest" | "latest") {
  const seen: Array<string> = []
  const outages: Array<string> = []
  const onAway = (reason: string) => Effect.sync(() => void outages.push(reason))
  const fiber = yield* KafkaTail.tail({ connection, topic: "t", from, onAway }).pipe(
    Stream.runForEach((records) => Effect.sync(() => void seen.push(...records.map(({ value }) => text(value))))),
    Effect.forkScoped
  )
  yield* pass(200)
  return { seen, outages, fiber }
})

const test = (
  name: string,
  body: Effect.Effect<void, KafkaError, KafkaClient | KafkaClientMemory.Cluster | Scope.Scope>
) =>
  it.effect(name, () => Effect.provide(Effect.scoped(body), Layer.fresh(KafkaClientMemory.layerWith({ brokers: 2 }))))

const write = (partition: number, value: string) =>
  Effect.flatMap(KafkaClientMemory.Cluster, ({ produce }) => produce("t", partition, { value: utf8.encode(value) }))

describe("KafkaTail", () => {
  test(
    "begins with the first record or with the next one, in all partitions, and joins no group",
    Effect.gen(function* () {
      const cluster = yield* KafkaClientMemory.Cluster
      yield* cluster.createTopic("t", 3)
      for (const n of [0, 1, 2, 0]) yield* write(n, `old ${n}`)
      const early = yield* follow("earliest")
      const late = yield* follow("latest")
      assert.deepStrictEqual([...early.seen].sort(), ["old 0", "old 0", "old 1", "old 2"])
      assert.deepStrictEqual(late.seen, [])
      for (const n of [0, 1, 2]) yield* write(n, `new ${n}`)
      yield* pass(500)
      assert.deepStrictEqual([...late.seen].sort(), ["new 0", "new 1", "new 2"])
      assert.strictEqual(early.seen.length, 7)
      assert.deepStrictEqual([cluster.calls("join"), cluster.calls("commit"), cluster.calls("heartbeat")], [0, 0, 0])
    })
  )

  test(
    "waits for a topic that is not there, and finds partitions that appear later, each from its first record",
    Effect.gen(function* () {
      const cluster = yield* KafkaClientMemory.Cluster
      const { outages, seen } = yield* follow("latest")
      yield* cluster.createTopic("t", 1)
      yield* write(0, "a")
      yield* pass(1_000)
      assert.deepStrictEqual(seen, ["a"])
      yield* cluster.createTopic("t", 2)
      yield* write(1, "b")
      yield* pass(11_000)
      assert.deepStrictEqual(seen, ["a", "b"])
      assert.deepStrictEqual(outages, [])
    })
  )

  test(
    "goes on after an outage, a new leader and records that retention took, without a gap or a copy",
    Effect.gen(function* () {
      const cluster = yield* KafkaClientMemory.Cluster
      yield* cluster.createTopic("t", 2)
      const { outages, seen } = yield* follow("latest")
      yield* write(0, "0")
      yield* pass(500)
      yield* cluster.away(true)
      yield* pass(5_000)
      yield* cluster.away(false)
      yield* write(0, "1")
      yield* write(1, "2")
      yield* pass(3_000)
      yield* cluster.moveLeader("t", 0)
      yield* write(0, "3")
      yield* pass(1_000)
      assert.deepStrictEqual([...seen].sort(), ["0", "1", "2", "3"])
      assert.strictEqual(outages.length, 1)
      yield* cluster.away(true)
      yield* pass(100)
      yield* cluster.away(false)
      for (const value of ["4", "5", "6"]) yield* write(0, value)
      yield* cluster.trim("t", 0, 5)
      // The call that says where it begins anew fails too.
      const away = new KafkaError({ trouble: "away", reason: "gone" })
      yield* cluster.failNext("offsets", away)
      yield* pass(5_000)
      assert.deepStrictEqual(seen.slice(4), ["6"])
    })
  )

  test(
    "fails when trying again cannot help",
    Effect.gen(function* () {
      const cluster = yield* KafkaClientMemory.Cluster
      yield* cluster.createTopic("t", 1)
      const { fiber } = yield* follow("latest")
      yield* cluster.failNext("fetch", new KafkaError({ trouble: "refused", reason: "not for you" }))
      yield* pass(500)
      const said = yield* Effect.match(Fiber.join(fiber), {
        onSuccess: () => undefined,
        onFailure: ({ message }) => message
      })
      assert.strictEqual(said, "not for you")
    })
  )
})
