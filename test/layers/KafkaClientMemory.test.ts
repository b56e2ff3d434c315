/** The Kafka in memory against what a broker does: groups, commits, logs, transactions, leaders, faults. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Result, Schema, type Scope } from "effect"
import { TestClock } from "effect/testing"
import * as KafkaClientMemory from "../../src/layers/KafkaClientMemory.ts"
import * as Group from "../../src/layers/KafkaClientMemoryGroup.ts"
import { murmur2 } from "../../src/layers/KafkaClientMemoryLog.ts"
import {
  KafkaClient,
  KafkaError,
  type KafkaMessage,
  type KafkaRecord,
  type Member,
  type MemberOptions,
  type Place
} from "../../src/services/Kafka.ts"
import { connection } from "../suites/KafkaKit.ts"

const memberOptions: MemberOptions = {
  connection,
  group: "g",
  topics: ["t"],
  sessionMillis: 10_000,
  rebalanceMillis: 60_000,
  isolation: "read_committed",
  fetch: { waitMillis: 500, bytesMin: 1, bytesMax: 1000, partitionBytesMax: 100 }
}
const producerOptions = { connection, compression: "none", timeoutMillis: 1000 } as const
const transactionsOptions = { ...producerOptions, group: "g", transactionalId: "x" } as const
const utf8 = new TextEncoder()
const place = (partition: number, topic = "t"): Place => ({ topic, partition })
const at = (partition: number, offset: number, topic = "t") => ({ topic, partition, offset })
const commit = (partition: number, offset: number, metadata = "") => ({ ...at(partition, offset), metadata })
const message = (value: string, more: Partial<KafkaMessage> = {}): KafkaMessage => ({
  topic: "t",
  key: null,
  value: utf8.encode(value),
  headers: {},
  ...more
})
const texts = (records: ReadonlyArray<KafkaRecord>) =>
  records.map(({ value }) => value && new TextDecoder().decode(value))
const troubleOf = <A>(effect: Effect.Effect<A, KafkaError>) =>
  Effect.match(effect, { onSuccess: () => undefined, onFailure: ({ trouble }) => trouble })
const kafka = KafkaClientMemory.Cluster

/** A test with a cluster of its own, and a topic "t" with four partitions. */
const test = (
  name: string,
  body: (kafka: KafkaClientMemory.KafkaMemory) => Effect.Effect<void, KafkaError, Scope.Scope>,
  options: KafkaClientMemory.Options = {}
) =>
  it.effect(name, () =>
    Effect.gen(function* () {
      const cluster = yield* kafka
      yield* cluster.createTopic("t", 4)
      yield* body(cluster)
    }).pipe(Effect.provide(KafkaClientMemory.layerWith(options)))
  )

/** What the heartbeats of a real client are for; ends with the test. */
const beating = (member: Member) =>
  Effect.forkScoped(Effect.forever(Effect.andThen(Effect.ignore(member.heartbeat), Effect.sleep(3000))))

/** Two members that share "t", a with 0 and 1, b with 2 and 3. */
const pair = Effect.fnUntraced(function* (kafka: KafkaClientMemory.KafkaMemory, more: Partial<MemberOptions> = {}) {
  const a = yield* kafka.client.member({ ...memberOptions, ...more })
  const b = yield* kafka.client.member({ ...memberOptions, ...more })
  const alone = yield* a.join([])
  const joining = yield* Effect.forkChild(b.join([]))
  yield* TestClock.adjust(0)
  const first = yield* a.join(alone)
  const second = yield* Fiber.join(joining)
  return { a, b, first, second }
})

describe("KafkaClientMemory, groups", () => {
  test("shares the partitions between two members, and anew when one comes or goes", (kafka) =>
    Effect.gen(function* () {
      const a = yield* kafka.client.member(memberOptions)
      const b = yield* kafka.client.member(memberOptions)
      assert.deepStrictEqual(
        yield* a.join([]),
        [0, 1, 2, 3].map((_) => place(_))
      )
      yield* a.heartbeat
      const joining = yield* Effect.forkChild(b.join([]))
      yield* TestClock.adjust(0)
      assert.strictEqual(kafka.state("g"), "PreparingRebalance")
      assert.strictEqual(yield* troubleOf(a.heartbeat), "rebalance")
      yield* a.commit([commit(3, 7)])
      assert.deepStrictEqual(yield* a.join([0, 1, 2, 3].map((_) => place(_))), [place(0), place(1)])
      assert.deepStrictEqual(yield* Fiber.join(joining), [place(2), place(3)])
      assert.strictEqual(kafka.generation("g"), 2)
      assert.deepStrictEqual(yield* b.committed([place(2), place(3)]), [commit(3, 7)])
      yield* a.leave
      assert.strictEqual(yield* troubleOf(b.heartbeat), "rebalance")
      assert.strictEqual((yield* b.join([place(2), place(3)])).length, 4)
      yield* b.heartbeat
      assert.strictEqual(yield* troubleOf(a.heartbeat), "evicted")
      assert.strictEqual(kafka.calls("join"), 4)
    }))

  test("goes on without a member whose session ran out, which joins as a new one", (kafka) =>
    Effect.gen(function* () {
      const { a, b, second } = yield* pair(kafka)
      yield* beating(b)
      const old = kafka.members("g").map(({ id }) => id)
      yield* TestClock.adjust(9999)
      assert.strictEqual(kafka.members("g").length, 2)
      yield* TestClock.adjust(1)
      assert.strictEqual(kafka.members("g").length, 1)
      assert.strictEqual(yield* troubleOf(b.heartbeat), "rebalance")
      assert.strictEqual((yield* b.join(second)).length, 4)
      assert.strictEqual(yield* troubleOf(a.heartbeat), "evicted")
      assert.strictEqual(yield* troubleOf(a.commit([commit(0, 1)])), "evicted")
      assert.isUndefined(kafka.committed("g", "t", 0))
      const joining = yield* Effect.forkChild(a.join([]))
      yield* TestClock.adjust(0)
      assert.strictEqual((yield* b.join([0, 1, 2, 3].map((_) => place(_)))).length, 2)
      assert.strictEqual((yield* Fiber.join(joining)).length, 2)
      assert.notInclude(old, kafka.members("g").at(-1)!.id)
      yield* a.commit([commit(0, 1)])
    }))

  test("keeps the sessions of all groups at the same time", (kafka) =>
    Effect.gen(function* () {
      yield* (yield* kafka.client.member({ ...memberOptions, group: "slow", sessionMillis: 45_000 })).join([])
      yield* (yield* kafka.client.member({ ...memberOptions, group: "fast", sessionMillis: 6000 })).join([])
      yield* TestClock.adjust(6000)
      assert.deepStrictEqual([kafka.state("slow"), kafka.state("fast")], ["Stable", "Empty"])
      yield* TestClock.adjust(39_000)
      assert.strictEqual(kafka.state("slow"), "Empty")
    }))

  it("says no to commits of a generation that is not shared out yet", () => {
    const group = Group.make("g")
    const says = { topics: ["t"], owned: [], sessionMillis: 10, rebalanceMillis: 10 }
    Group.join(group, "a", says, 0)
    assert.strictEqual(Group.mayCommit(group, "a", 1, 0), "rebalance")
    assert.strictEqual(Group.mayCommit(group, "a", 0, 0), "evicted")
    assert.isUndefined(Group.heartbeat(group, "a", 1, 9))
    // Who beats, but never asks for his share, is removed all the same.
    assert.strictEqual(Group.dueAt(group), 10)
    Group.expire(group, 10)
    assert.strictEqual(group.state, "Empty")
  })

  test("leaves out who has not joined again when the longest rebalance timeout is over", (kafka) =>
    Effect.gen(function* () {
      const { a, b, first } = yield* pair(kafka, { sessionMillis: 10_000, rebalanceMillis: 20_000 })
      yield* beating(a)
      yield* beating(b)
      const c = yield* kafka.client.member({ ...memberOptions, rebalanceMillis: 30_000 })
      const joining = yield* Effect.forkChild(Effect.all([c.join([]), a.join(first)], { concurrency: 2 }))
      yield* TestClock.adjust(29_999)
      assert.strictEqual(kafka.members("g").length, 3)
      assert.strictEqual(kafka.state("g"), "PreparingRebalance")
      assert.strictEqual(yield* troubleOf(b.heartbeat), "rebalance")
      yield* b.commit([commit(2, 5)])
      yield* TestClock.adjust(1)
      const [third, kept] = yield* Fiber.join(joining)
      assert.deepStrictEqual([third, kept], [[place(2), place(3)], first])
      assert.strictEqual(yield* troubleOf(b.heartbeat), "evicted")
      assert.strictEqual(yield* troubleOf(b.commit([commit(2, 6)])), "evicted")
      assert.deepStrictEqual(kafka.committed("g", "t", 2), commit(2, 5))
    }))

  test("takes no commit of an older generation, nor one between a join and its return", (kafka) =>
    Effect.gen(function* () {
      const { a, b, first, second } = yield* pair(kafka)
      // What a gives up here goes on at the broker: the group counts it as joined.
      const given = yield* Effect.forkChild(a.join(first))
      yield* TestClock.adjust(0)
      yield* Fiber.interrupt(given)
      yield* a.commit([commit(0, 1)])
      const joining = yield* Effect.forkChild(b.join(second))
      yield* TestClock.adjust(0)
      assert.strictEqual(kafka.state("g"), "CompletingRebalance")
      assert.strictEqual(yield* troubleOf(a.commit([commit(0, 2)])), "evicted")
      assert.strictEqual(yield* troubleOf(b.commit([commit(2, 2)])), "rebalance")
      yield* b.heartbeat
      const again = yield* Effect.forkChild(a.join(first))
      assert.strictEqual(yield* troubleOf(Fiber.join(joining)), "rebalance")
      assert.strictEqual(yield* troubleOf(b.commit([commit(2, 2)])), "rebalance")
      assert.deepStrictEqual(yield* b.join(second), second)
      assert.deepStrictEqual(yield* Fiber.join(again), first)
      yield* b.commit([commit(2, 2)])
      assert.deepStrictEqual(kafka.committed("g", "t", 0), commit(0, 1))
    }))

  test("takes no commit from who was evicted and is joining anew, though the generation is still his", (kafka) =>
    Effect.gen(function* () {
      const { a, b, second } = yield* pair(kafka)
      yield* kafka.evict(0)
      const joining = yield* Effect.forkChild(a.join([]))
      yield* TestClock.adjust(0)
      assert.strictEqual(kafka.generation("g"), 2)
      assert.strictEqual(yield* troubleOf(a.commit([commit(0, 1)])), "rebalance")
      yield* b.commit([commit(2, 1)])
      yield* b.join(second)
      assert.deepStrictEqual(yield* Fiber.join(joining), [place(0), place(1)])
      assert.isUndefined(kafka.committed("g", "t", 0))
    }))

  test("refuses a whole commit when one text is too long", (kafka) =>
    Effect.gen(function* () {
      const a = yield* kafka.client.member(memberOptions)
      yield* a.join([])
      yield* a.commit([commit(0, 1, "ü".repeat(2048))])
      const long = [commit(0, 2), commit(1, 2, "x".repeat(4097))]
      assert.strictEqual(yield* troubleOf(a.commit(long)), "refused")
      assert.deepStrictEqual(yield* a.committed([place(0), place(1)]), [commit(0, 1, "ü".repeat(2048))])
    }))

  test("lets a process stand still, and goes on without it", (kafka) =>
    Effect.gen(function* () {
      const { a, b, second } = yield* pair(kafka)
      yield* beating(a)
      yield* beating(b)
      yield* kafka.freeze(0)
      const late = yield* Effect.forkChild(a.commit([commit(0, 9)]))
      yield* TestClock.adjust("15 seconds")
      assert.strictEqual((yield* b.join(second)).length, 4)
      assert.isUndefined(late.pollUnsafe())
      yield* kafka.thaw(0)
      assert.strictEqual(yield* troubleOf(Fiber.join(late)), "evicted")
      yield* kafka.evict(1)
      assert.strictEqual(yield* troubleOf(b.heartbeat), "evicted")
      assert.strictEqual(kafka.state("g"), "Empty")
    }))

  test("shares anew when the leader stands still between the two halves of its join", (kafka) =>
    Effect.gen(function* () {
      const { a, b, first, second } = yield* pair(kafka)
      const leading = yield* Effect.forkChild(a.join(first))
      yield* TestClock.adjust(0)
      yield* kafka.freeze(0)
      const following = yield* Effect.forkChild(b.join(second))
      yield* TestClock.adjust(0)
      assert.strictEqual(kafka.state("g"), "CompletingRebalance")
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(yield* troubleOf(Fiber.join(following)), "rebalance")
      assert.strictEqual((yield* b.join(second)).length, 4)
      yield* kafka.thaw(0)
      assert.strictEqual(yield* troubleOf(Fiber.join(leading)), "evicted")
    }))

  test("is left in a finalizer too, and its timers end with the test", (kafka) =>
    Effect.gen(function* () {
      const b = yield* kafka.client.member(memberOptions)
      yield* b.join([])
      yield* Effect.gen(function* () {
        const a = yield* kafka.client.member(memberOptions)
        const joining = yield* Effect.forkChild(a.join([]))
        yield* TestClock.adjust(0)
        yield* b.join([])
        yield* Fiber.join(joining)
        yield* Effect.addFinalizer(() => Effect.ignore(a.leave))
      }).pipe(Effect.scoped)
      assert.strictEqual(kafka.members("g").length, 1)
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(kafka.state("g"), "Empty")
    }))

  test("sees topics and partitions that appear, and matches whole names", (kafka) =>
    Effect.gen(function* () {
      const a = yield* kafka.client.member({ ...memberOptions, topics: /or(der|bit)s-\d/ })
      assert.deepStrictEqual(yield* a.join([]), [])
      assert.isFalse(yield* a.grown)
      yield* kafka.createTopic("my-orders-1", 1)
      yield* kafka.createTopic("orders-12", 1)
      assert.isFalse(yield* a.grown)
      yield* kafka.createTopic("orders-1", 1)
      assert.isTrue(yield* a.grown)
      assert.deepStrictEqual(yield* a.join([]), [place(0, "orders-1")])
      assert.isFalse(yield* a.grown)
      yield* kafka.createTopic("orders-1", 2)
      assert.isTrue(yield* a.grown)
      assert.strictEqual((yield* a.join([place(0, "orders-1")])).length, 2)
      const b = yield* kafka.client.member({ ...memberOptions, topics: ["t", "nowhere"] })
      assert.strictEqual(yield* troubleOf(b.join([])), "refused")
    }))
})

/** A client as simple as can be: joins when told to, and beats. */
const living = Effect.fnUntraced(function* (member: Member, reading: (places: ReadonlyArray<Place>) => void) {
  let owned: ReadonlyArray<Place> = []
  let isIn = false
  while (true) {
    const trouble = yield* troubleOf(isIn ? member.heartbeat : Effect.void)
    if (trouble === "evicted") owned = []
    if (trouble !== undefined) isIn = false
    if (!isIn) {
      const joined = yield* Effect.result(member.join(owned))
      isIn = Result.isSuccess(joined)
      if (isIn) owned = Result.getOrElse(joined, () => [])
      reading(owned)
    }
    yield* Effect.sleep(1000)
  }
})

describe("KafkaClientMemory, whatever happens", () => {
  it.effect.prop(
    "every partition has one reader once the group is left alone",
    [Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 99 }))).check(Schema.isMaxLength(20))],
    ([steps]) =>
      Effect.gen(function* () {
        const kafka = yield* KafkaClientMemory.make()
        yield* kafka.createTopic("t", 7)
        const reading = new Map<number, ReadonlyArray<Place>>()
        for (const i of [0, 1, 2]) {
          const member = yield* kafka.client.member({ ...memberOptions, rebalanceMillis: 20_000 })
          yield* Effect.forkScoped(living(member, (places) => reading.set(i, places)))
        }
        for (const step of steps) {
          const who = step % 3
          const does = [kafka.freeze(who), kafka.thaw(who), kafka.evict(who), kafka.away(true), kafka.away(false)]
          yield* does[Math.floor(step / 3) % 5]!
          yield* TestClock.adjust(step * 150)
        }
        yield* kafka.away(false)
        for (const who of [0, 1, 2]) yield* kafka.thaw(who)
        yield* TestClock.adjust("2 minutes")
        assert.strictEqual(kafka.state("g"), "Stable")
        assert.strictEqual(kafka.members("g").length, 3)
        const keys = [...reading.values()].flat().map(({ partition }) => partition)
        assert.deepStrictEqual(keys.sort(), [0, 1, 2, 3, 4, 5, 6])
      }).pipe(Effect.scoped)
  )
})

describe("KafkaClientMemory, logs", () => {
  test("waits for something to read, and is woken by it at once", (kafka) =>
    Effect.gen(function* () {
      const a = yield* kafka.client.member(memberOptions)
      const nothing = yield* Effect.forkChild(a.fetch("broker-0", [at(0, 0)]))
      yield* TestClock.adjust(499)
      assert.isUndefined(nothing.pollUnsafe())
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(yield* Fiber.join(nothing), [])
      const waiting = yield* Effect.forkChild(a.fetch("broker-0", [at(0, 0), at(1, 0)]))
      yield* TestClock.adjust(100)
      yield* kafka.produce("t", 2, { value: "elsewhere" })
      yield* TestClock.adjust(0)
      assert.isUndefined(waiting.pollUnsafe())
      yield* kafka.produce("t", 1, { key: "k", value: "v", headers: { h: ["1", "2"] } })
      const [found, ...others] = yield* Fiber.join(waiting)
      assert.deepStrictEqual(others, [])
      assert.deepStrictEqual(found, {
        ...place(1),
        records: [
          {
            offset: 0,
            timestamp: 600,
            key: utf8.encode("k"),
            value: utf8.encode("v"),
            headers: { h: [utf8.encode("1"), utf8.encode("2")] }
          }
        ],
        next: 1,
        end: 1,
        problem: undefined
      })
    }))

  test("brings no more bytes than asked for, but one record at least", (kafka) =>
    Effect.gen(function* () {
      const fetch = { ...memberOptions.fetch, bytesMax: 150, partitionBytesMax: 100 }
      const a = yield* kafka.client.member({ ...memberOptions, fetch })
      for (const partition of [0, 1, 2]) {
        for (let i = 0; i < 3; i++) yield* kafka.produce("t", partition, { value: "x".repeat(50) })
      }
      yield* kafka.produce("t", 3, { value: "x".repeat(1000) })
      const fetched = yield* a.fetch("broker-0", [at(0, 1), at(1, 0), at(2, 0)])
      assert.deepStrictEqual(
        fetched.map(({ end, next, partition }) => [partition, next, end]),
        [
          [0, 3, 3],
          [1, 1, 3]
        ]
      )
      const [large] = yield* a.fetch("broker-0", [at(3, 0), at(0, 0)])
      assert.strictEqual(large!.records.length, 1)
    }))

  test(
    "chooses partitions by the key as Kafka does, and in turn without one",
    (kafka) =>
      Effect.gen(function* () {
        // From UtilsTest of kafka-clients.
        const known = { "21": -973932308, foobar: -790332482, "a-little-bit-long-string": -985981536, abc: 479470107 }
        for (const [key, hash] of Object.entries(known)) assert.strictEqual(murmur2(utf8.encode(key)), hash)
        const producer = yield* kafka.client.producer({ ...producerOptions, acks: "all", idempotent: true })
        const sent = yield* producer.send([
          ...[0, 1, 2].map((n) => message(`${n}`)),
          message("3", { key: "abc" }),
          message("4", { key: utf8.encode("abc"), partition: 0, timestamp: 5 })
        ])
        assert.deepStrictEqual(sent, [at(0, 0), at(1, 0), at(2, 0), at(3, 0), at(0, 1)])
        assert.deepStrictEqual(texts(kafka.records("t", 0)), ["0", "4"])
        const read: Array<readonly [string, number, number]> = []
        yield* kafka.client.readAll(connection, "t", (place, records) =>
          read.push([place.topic, place.partition, records.length])
        )
        assert.deepStrictEqual(read, [
          ["t", 0, 2],
          ["t", 1, 1],
          ["t", 2, 1],
          ["t", 3, 1]
        ])
        yield* kafka.client.readAll(connection, "nowhere", () => assert.fail("a topic that does not exist has none"))
        const careless = yield* kafka.client.producer({ ...producerOptions, acks: 0, idempotent: false })
        assert.deepStrictEqual(yield* careless.send([message("5", { topic: "new" })]), [at(0, -1, "new")])
        const large = careless.send([message("6"), message("x".repeat(101))])
        assert.strictEqual(yield* troubleOf(large), "unfit")
        assert.strictEqual(yield* troubleOf(careless.send([message("7", { partition: 4 })])), "refused")
      }),
    { recordBytesMax: 100 }
  )

  test("says where partitions begin and end, and what is out of range", (kafka) =>
    Effect.gen(function* () {
      const a = yield* kafka.client.member(memberOptions)
      for (let i = 0; i < 5; i++) yield* kafka.produce("t", 0, { value: `${i}`, timestamp: 10 * i })
      yield* kafka.trim("t", 0, 2)
      const offset = (at: "earliest" | "latest" | number) =>
        Effect.map(a.offsets([place(0)], at), ([one]) => one?.offset)
      assert.deepStrictEqual(
        yield* Effect.forEach(["earliest", "latest", 0, 25, 30, 41] as const, offset),
        [2, 5, 2, 3, 3, 5]
      )
      for (const wrong of [1, 6]) {
        const fetched = yield* a.fetch("broker-0", [at(0, wrong)])
        assert.deepStrictEqual(fetched, [{ ...place(0), records: [], next: wrong, end: 5, problem: "outOfRange" }])
      }
      const [found] = yield* a.fetch("broker-0", [at(0, 2)])
      assert.deepStrictEqual(texts(found!.records), ["2", "3", "4"])
    }))

  test(
    "names the old leader until asked anew, and the old leader sends on",
    (kafka) =>
      Effect.gen(function* () {
        const a = yield* kafka.client.member(memberOptions)
        const places = [0, 1, 2, 3].map((_) => place(_))
        assert.deepStrictEqual(yield* a.leaders(places, false), [
          { broker: "broker-0", places: [place(0), place(2)] },
          { broker: "broker-1", places: [place(1), place(3)] }
        ])
        const waiting = yield* Effect.forkChild(a.fetch("broker-0", [at(0, 0), at(2, 0)]))
        yield* TestClock.adjust(0)
        yield* kafka.moveLeader("t", 0)
        const moved = [{ ...place(0), records: [], next: 0, end: 0, problem: "moved" as const }]
        assert.deepStrictEqual(yield* Fiber.join(waiting), moved)
        assert.deepStrictEqual((yield* a.leaders(places, false))[0]!.places, [place(0), place(2)])
        const fresh = yield* a.leaders(places, true)
        assert.deepStrictEqual(fresh[1]!.places, [place(0), place(1), place(3)])
        yield* kafka.produce("t", 0, { value: "v" })
        assert.strictEqual((yield* a.fetch("broker-1", [at(0, 0)]))[0]!.records.length, 1)
      }),
    { brokers: 2 }
  )
})

describe("KafkaClientMemory, transactions", () => {
  test("commits records and offsets together, and fences who had the id before", (kafka) =>
    Effect.gen(function* () {
      const older = yield* kafka.client.transactions(transactionsOptions)
      yield* older.fence
      yield* older.commit([message("a", { partition: 0 }), message("b", { partition: 1 })], [commit(2, 5, "m")])
      assert.deepStrictEqual(kafka.committed("g", "t", 2), commit(2, 5, "m"))
      const newer = yield* kafka.client.transactions(transactionsOptions)
      yield* older.commit([message("c", { partition: 0 })], [])
      yield* newer.fence
      const late = older.commit([message("d", { partition: 0 })], [commit(2, 6)])
      assert.strictEqual(yield* troubleOf(late), "fenced")
      const long = newer.commit([message("e", { partition: 0 })], [commit(2, 6, "x".repeat(4097))])
      assert.strictEqual(yield* troubleOf(long), "refused")
      assert.deepStrictEqual(texts(kafka.records("t", 0)), ["a", "c"])
      assert.strictEqual(kafka.committed("g", "t", 2)!.offset, 5)
      // After a failure it is to be taken again.
      assert.strictEqual(yield* troubleOf(newer.commit([], [commit(2, 7)])), "fenced")
      yield* newer.fence
      yield* newer.commit([], [commit(2, 7)])
      assert.strictEqual(kafka.committed("g", "t", 2)!.offset, 7)
    }))

  test("shows readers of committed records nothing from the first open transaction on", (kafka) =>
    Effect.gen(function* () {
      const strict = yield* kafka.client.member(memberOptions)
      const loose = yield* kafka.client.member({ ...memberOptions, isolation: "read_uncommitted" })
      yield* kafka.produce("t", 0, { value: "before" })
      yield* kafka.begin("x", [message("open", { partition: 0 })])
      yield* kafka.produce("t", 0, { value: "after" })
      const look = (member: Member, offset: number) =>
        Effect.map(member.fetch("broker-0", [at(0, offset)]), ([found]) => [
          texts(found!.records),
          found!.next,
          found!.end
        ])
      assert.deepStrictEqual(yield* look(strict, 0), [["before"], 1, 1])
      assert.deepStrictEqual(yield* look(loose, 0), [["before", "open", "after"], 3, 3])
      assert.strictEqual((yield* strict.offsets([place(0)], "latest"))[0]!.offset, 1)
      const waiting = yield* Effect.forkChild(look(strict, 1))
      yield* TestClock.adjust(0)
      yield* (yield* kafka.client.transactions(transactionsOptions)).fence
      assert.deepStrictEqual(yield* Fiber.join(waiting), [["after"], 4, 4])
      const committing = yield* kafka.begin("y", [message("done", { partition: 0 })])
      yield* committing.commit
      assert.deepStrictEqual(yield* look(strict, 4), [["done"], 6, 6])
      // Only what is hidden lies there: the reader is told where to go on.
      const aborting = yield* kafka.begin("y", [message("undone", { partition: 0 })])
      yield* aborting.abort
      assert.deepStrictEqual(yield* look(strict, 6), [[], 8, 8])
    }))
})

describe("KafkaClientMemory, faults", () => {
  test("is away for every call, also those that wait", (kafka) =>
    Effect.gen(function* () {
      const { a, b, second } = yield* pair(kafka)
      const producer = yield* kafka.client.producer({ ...producerOptions, acks: "all", idempotent: true })
      const fetching = yield* Effect.forkChild(a.fetch("broker-0", [at(0, 0)]))
      const joining = yield* Effect.forkChild(b.join(second))
      yield* TestClock.adjust(0)
      yield* kafka.away(true)
      const calls: ReadonlyArray<Effect.Effect<unknown, KafkaError>> = [
        Fiber.join(fetching),
        Effect.asVoid(Fiber.join(joining)),
        a.heartbeat,
        a.commit([]),
        a.leave,
        producer.send([message("lost")]),
        kafka.client.readAll(connection, "t", () => {})
      ]
      for (const call of calls) assert.strictEqual(yield* troubleOf(call), "away")
      yield* kafka.away(false)
      assert.strictEqual(yield* troubleOf(a.heartbeat), "rebalance")
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* b.join([])).length, 4)
      assert.deepStrictEqual(kafka.records("t", 0), [])
    }))

  test("lets one call fail, with or without having done it", (kafka) =>
    Effect.gen(function* () {
      const a = yield* kafka.client.member(memberOptions)
      yield* a.join([])
      const away = new KafkaError({ trouble: "away", reason: "gone" })
      yield* kafka.failNext("commit", away)
      assert.strictEqual(yield* troubleOf(a.commit([commit(0, 1)])), "away")
      assert.isUndefined(kafka.committed("g", "t", 0))
      yield* kafka.failNext("commit", away, "after")
      assert.strictEqual(yield* troubleOf(a.commit([commit(0, 2)])), "away")
      assert.strictEqual(kafka.committed("g", "t", 0)!.offset, 2)
      yield* a.commit([commit(0, 3)])
      assert.strictEqual(kafka.calls("commit"), 3)
    }))

  test("gives up what waits when it is to connect anew", (kafka) =>
    Effect.gen(function* () {
      const a = yield* kafka.client.member(memberOptions)
      const waiting = yield* Effect.forkChild(a.fetch("broker-0", [at(0, 0)]))
      yield* TestClock.adjust(0)
      yield* a.reconnect
      assert.strictEqual(yield* troubleOf(Fiber.join(waiting)), "away")
      assert.strictEqual(yield* a.cluster, "memory")
    }))

  it.effect("is a client like any other", () =>
    Effect.gen(function* () {
      const client = yield* KafkaClient
      const producer = yield* client.producer({ ...producerOptions, acks: 1, idempotent: false })
      assert.deepStrictEqual(yield* producer.send([message("v")]), [at(0, 0)])
    }).pipe(Effect.scoped, Effect.provide(KafkaClientMemory.layer))
  )
})
