/** The member's life in its group, on the Kafka in memory and in virtual time. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Logger, Random, Scope } from "effect"
import * as CodecText from "../../src/layers/CodecText.ts"
import * as DeadLettersMemory from "../../src/layers/DeadLettersMemory.ts"
import * as KafkaClientMemory from "../../src/layers/KafkaClientMemory.ts"
import { KafkaClient, KafkaError } from "../../src/services/Kafka.ts"
import { accepted } from "../../src/services/Reply.ts"
import * as Define from "../../src/streams/Define.ts"
import * as Offsets from "../../src/streams/Offsets.ts"
import type { Handle } from "../../src/streams/Pipeline.ts"
import * as SourceKafka from "../../src/streams/SourceKafka.ts"
import { connection, pass } from "../suites/KafkaKit.ts"
import * as SourceSuite from "../suites/SourceSuite.ts"

const sourceOf = (more: Partial<SourceKafka.Options> = {}) =>
  SourceKafka.make({ pipeline: "orders", connection, topics: ["orders"], group: "billing", ...more })

const utf8 = new TextEncoder()
const words = (payload: unknown) => String(payload)

SourceSuite.suite(
  "SourceKafka",
  { givesAgain: true },
  (payloads) =>
    Effect.gen(function* () {
      const kafka = yield* KafkaClientMemory.Cluster
      yield* kafka.createTopic("orders", 1)
      for (const payload of payloads) yield* kafka.produce("orders", 0, { value: utf8.encode(payload) })
      return yield* sourceOf()
    }).pipe(Effect.orDie),
  KafkaClientMemory.layer
)

/** A process with one pipeline; `run` is its job. */
const member = Effect.fnUntraced(function* (
  run: (word: string) => Effect.Effect<void>,
  more: Partial<SourceKafka.Options> = {},
  options: { readonly concurrency?: number } = {}
) {
  const scope = yield* Scope.make()
  const source = yield* sourceOf(more)
  const plan = Define.define({
    name: "orders",
    source,
    decode: CodecText.make,
    concurrency: options.concurrency ?? 64,
    dispatch: [
      { run: ({ event }: { event: { payload: unknown } }) => Effect.as(run(words(event.payload)), accepted(null)) }
    ]
  })
  const handle = yield* Scope.provide(Define.start(plan), scope)
  const stop = Effect.suspend(() => Effect.andThen(handle.drain(60_000), Scope.close(scope, Exit.void)))
  return { handle: handle as Handle, source, stop: Effect.forkChild(stop) }
})

const test = (
  name: string,
  body: (kafka: KafkaClientMemory.KafkaMemory) => Effect.Effect<void, KafkaError, KafkaClient | Scope.Scope | any>,
  partitions = 1
) =>
  it.effect(name, () =>
    Effect.gen(function* () {
      const kafka = yield* KafkaClientMemory.make()
      yield* kafka.createTopic("orders", partitions)
      yield* Effect.provideService(body(kafka), KafkaClient, kafka.client)
    }).pipe(Effect.scoped, Effect.provide(DeadLettersMemory.layer))
  )

const produce = (kafka: KafkaClientMemory.KafkaMemory, partition: number, ...values: ReadonlyArray<string>) =>
  Effect.forEach(
    values,
    (value) =>
      kafka.produce("orders", partition, { key: utf8.encode(value.split("-")[0]!), value: utf8.encode(value) }),
    { discard: true }
  )

const settledOf = (kafka: KafkaClientMemory.KafkaMemory, partition = 0) => {
  const { metadata, offset } = kafka.committed("billing", "orders", partition) ?? { metadata: "", offset: -1 }
  return Offsets.decode(metadata, offset)
}

describe("SourceKafka", () => {
  test("commits the watermark, and what is settled beyond it, which a new process does not run again", (kafka) =>
    Effect.gen(function* () {
      yield* produce(kafka, 0, "a-0", "b-0", "a-1", "c-0", "d-0")
      const gate = yield* Deferred.make<void>()
      const seen: Array<string> = []
      const first = yield* member((word) =>
        word.startsWith("a") ? Deferred.await(gate) : Effect.sync(() => void seen.push(word))
      )
      yield* pass(1000)
      assert.deepStrictEqual(seen, ["b-0", "c-0", "d-0"])
      assert.deepStrictEqual(settledOf(kafka), {
        watermark: 0,
        settled: [
          [1, 2],
          [3, 5]
        ]
      })
      assert.deepStrictEqual(first.source.partitions?.(), [
        { name: "orders/0", watermark: 0, lag: 5, unsettled: 2, beyond: 3, paused: false }
      ])
      // Killed: its calls hang, and the group finds out when its session runs out.
      yield* kafka.freeze(0)
      const again: Array<string> = []
      yield* member((word) => Effect.sync(() => void again.push(word)))
      yield* pass(40000)
      assert.deepStrictEqual(again, ["a-0", "a-1"])
      assert.deepStrictEqual(settledOf(kafka), { watermark: 5, settled: [] })
    }))

  test("commits after 100 ms or 200 settlements, whichever comes first", (kafka) =>
    Effect.gen(function* () {
      const { handle } = yield* member(() => Effect.void)
      yield* pass(1000)
      const before = kafka.calls("commit")
      yield* produce(kafka, 0, "a-0")
      yield* pass(99)
      assert.strictEqual(handle.stats.acked, 1)
      assert.strictEqual(kafka.calls("commit"), before)
      yield* pass(1)
      assert.strictEqual(kafka.calls("commit"), before + 1)
      yield* produce(kafka, 0, ...Array.from({ length: 200 }, (_, i) => `k${i}-0`))
      yield* pass(1)
      assert.strictEqual(kafka.committed("billing", "orders", 0)?.offset, 201)
      assert.strictEqual(kafka.calls("commit"), before + 2)
    }))

  test("notes where it begins before anything comes, so that nothing is lost of what comes while it is down", (kafka) =>
    Effect.gen(function* () {
      yield* produce(kafka, 0, "old-0")
      const seen: Array<string> = []
      const note = (word: string) => Effect.sync(() => void seen.push(word))
      const first = yield* member(note, { from: "latest" })
      yield* pass(1000)
      yield* first.stop
      yield* pass(1000)
      yield* produce(kafka, 0, "new-0")
      yield* member(note, { from: "latest" })
      yield* pass(1000)
      assert.deepStrictEqual(seen, ["new-0"])
    }))

  test(
    "finishes what is at work before another member gets its partitions, and begins nothing meanwhile",
    (kafka) =>
      Effect.gen(function* () {
        for (const partition of [0, 1]) {
          yield* produce(kafka, partition, ...[0, 1, 2].map((n) => `p${partition}-${n}`))
        }
        const seen: Array<string> = []
        const slow = (who: string) => (word: string) =>
          Effect.gen(function* () {
            seen.push(`${who} begins ${word}`)
            yield* Effect.sleep(1000)
            seen.push(`${who} ends ${word}`)
          })
        yield* member(slow("one"))
        yield* pass(1500)
        yield* member(slow("two"))
        yield* pass(10000)
        const begun = seen.filter((line) => line.includes("begins"))
        assert.strictEqual(begun.length, 6, seen.join("\n"))
        assert.strictEqual(new Set(begun.map((line) => line.split(" ").at(-1))).size, 6)
        assert.deepStrictEqual(new Set(begun.map((line) => line.split(" ")[0])), new Set(["one", "two"]))
        for (const partition of [0, 1]) assert.deepStrictEqual(settledOf(kafka, partition)?.watermark, 3)
      }),
    2
  )

  test(
    "goes on with what it keeps, and interrupts at once what it loses when that takes too long",
    (kafka) =>
      Effect.gen(function* () {
        for (const partition of [0, 1]) yield* produce(kafka, partition, `p${partition}-0`, `p${partition}-1`)
        const begun: Array<string> = []
        const interrupted: Array<string> = []
        const job = (who: string) => (word: string) =>
          Effect.sync(() => void begun.push(`${who} ${word}`)).pipe(
            Effect.andThen(Effect.sleep("60 seconds")),
            Effect.onInterrupt(() => Effect.sync(() => void interrupted.push(`${who} ${word}`)))
          )
        const one = yield* member(job("one"))
        yield* pass(5000)
        assert.deepStrictEqual(begun, ["one p0-0", "one p1-0"])
        yield* member(job("two"))
        yield* pass(5000)
        assert.strictEqual(interrupted.length, 1)
        const lost = interrupted[0]!.at(-3)
        const kept = lost === "0" ? "1" : "0"
        assert.deepStrictEqual(begun.slice(2), [`two p${lost}-0`])
        yield* pass(55000)
        assert.strictEqual(settledOf(kafka, Number(kept))?.watermark, 1)
        assert.deepStrictEqual(begun.slice(3), [`one p${kept}-1`, `two p${lost}-1`].slice(0, begun.length - 3))
        assert.strictEqual(one.handle.stats.buried, 0)
      }),
    2
  )

  test("keeps its place while its work takes longer than the session", (kafka) =>
    Effect.gen(function* () {
      yield* produce(kafka, 0, "a-0", "b-0")
      let runs = 0
      yield* member(
        () =>
          Effect.andThen(
            Effect.sync(() => runs++),
            Effect.sleep("60 seconds")
          ),
        {
          sessionMillis: 10_000
        }
      )
      yield* pass(90000)
      assert.strictEqual(runs, 2)
      assert.strictEqual(kafka.generation("billing"), 1)
      assert.strictEqual(settledOf(kafka)?.watermark, 2)
    }))

  test("goes on after an eviction in which nobody else has read", (kafka) =>
    Effect.gen(function* () {
      yield* produce(kafka, 0, "a-0", "b-0")
      const begun: Array<string> = []
      yield* member((word) =>
        Effect.andThen(
          Effect.sync(() => void begun.push(word)),
          Effect.sleep("5 seconds")
        )
      )
      yield* pass(1000)
      yield* kafka.evict(0)
      yield* pass(20000)
      assert.deepStrictEqual(begun, ["a-0", "b-0"])
      assert.strictEqual(settledOf(kafka)?.watermark, 2)
    }))

  test("a paused process that wakes up has nothing to say any more", (kafka) =>
    Effect.gen(function* () {
      yield* produce(kafka, 0, "a-0", "a-1")
      const begun: Array<string> = []
      const ended: Array<string> = []
      const job = (who: string, millis: number) => (word: string) =>
        Effect.sync(() => void begun.push(`${who} ${word}`)).pipe(
          Effect.andThen(Effect.sleep(millis)),
          Effect.andThen(Effect.sync(() => void ended.push(`${who} ${word}`)))
        )
      yield* member(job("old", 35_000), { sessionMillis: 10_000 })
      yield* pass(1000)
      yield* kafka.freeze(0)
      yield* member(job("new", 1000), { sessionMillis: 10_000 })
      yield* pass(20000)
      assert.deepStrictEqual(ended, ["new a-0", "new a-1"])
      assert.strictEqual(settledOf(kafka)?.watermark, 2)
      yield* kafka.thaw(0)
      yield* pass(60000)
      assert.notInclude(begun, "old a-1")
      assert.strictEqual(settledOf(kafka)?.watermark, 2)
    }))

  test("commits again what it could not, and what the answer to was lost", (kafka) =>
    Effect.gen(function* () {
      const away = new KafkaError({ trouble: "away", reason: "no broker" })
      yield* produce(kafka, 0, "a-0")
      yield* kafka.failNext("commit", away)
      yield* kafka.failNext("commit", away, "after")
      const begun: Array<string> = []
      yield* member((word) => Effect.sync(() => void begun.push(word)))
      yield* pass(5000)
      yield* kafka.evict(0)
      yield* pass(5000)
      assert.deepStrictEqual(begun, ["a-0"])
      assert.strictEqual(settledOf(kafka)?.watermark, 1)
    }))

  test("tells an outage once and its end once, and goes on", (kafka) =>
    Effect.gen(function* () {
      const lines: Array<string> = []
      const logger = Logger.make(({ message }) => void lines.push(String(message)))
      const seen: Array<string> = []
      yield* Effect.gen(function* () {
        yield* member((word) => Effect.sync(() => void seen.push(word)))
        yield* produce(kafka, 0, "a-0")
        yield* pass(5000)
        lines.length = 0
        yield* kafka.away(true)
        yield* pass(120000)
        yield* kafka.away(false)
        yield* produce(kafka, 0, "a-1")
        yield* pass(10000)
      }).pipe(Effect.provide(Logger.layer([logger])))
      assert.deepStrictEqual(seen, ["a-0", "a-1"])
      assert.strictEqual(lines.length, 2, lines.join("\n"))
      assert.match(lines[0]!, /^orders: outage: /)
      assert.match(lines[1]!, /^orders: outage over after 12\d(?:\.\d)? s$/)
    }))

  test("pauses a partition whose map would not fit, and says which key it waits for", (kafka) =>
    Effect.gen(function* () {
      const lines: Array<string> = []
      const logger = Logger.make(({ message }) => void lines.push(String(message)))
      const count = 40_000
      const gate = yield* Deferred.make<void>()
      // Every other key is stuck: nothing beyond can be told in few words.
      yield* produce(kafka, 0, ...Array.from({ length: count }, (_, i) => `k${i}-0`))
      let done = 0
      const { source } = yield* member(
        (word) => (Number(word.slice(1, -2)) % 2 === 0 ? Deferred.await(gate) : Effect.sync(() => void done++)),
        {},
        { concurrency: 100_000 }
      ).pipe(Effect.provide(Logger.layer([logger])))
      yield* pass(15_000)
      const [status] = source.partitions!()
      assert.isTrue(status!.paused)
      assert.isBelow(done, count / 2)
      assert.isAtMost(kafka.committed("billing", "orders", 0)!.metadata.length, 4096)
      assert.isTrue(
        lines.some((line) => line.includes("orders/0 is paused: 0, of key k0,")),
        lines.join("\n")
      )
      yield* Deferred.succeed(gate, undefined)
      yield* pass(10000)
      assert.strictEqual(settledOf(kafka)?.watermark, count)
    }))

  test(
    "a partition that is paused holds up no other",
    (kafka) =>
      Effect.gen(function* () {
        const gate = yield* Deferred.make<void>()
        const seen: Array<string> = []
        yield* produce(
          kafka,
          0,
          ...Array.from({ length: 30_000 }, (_, i) => (i % 2 === 0 ? `stuck-${i}` : `o${i % 50}-${i}`))
        )
        const { source } = yield* member(
          (word) =>
            word.startsWith("stuck")
              ? Deferred.await(gate)
              : Effect.sync(() => void (word.startsWith("p1") && seen.push(word))),
          { readyMax: 64 * 1024 },
          { concurrency: 64 }
        )
        yield* pass(5000)
        for (let n = 0; n < 10; n++) {
          yield* produce(kafka, 1, `p1-${n}`)
          yield* pass(1000)
        }
        assert.strictEqual(seen.length, 10)
        assert.isTrue(source.partitions!().find(({ name }) => name === "orders/0")!.unsettled > 0)
        yield* Deferred.succeed(gate, undefined)
        yield* pass(60_000)
        assert.strictEqual(settledOf(kafka, 0)?.watermark, 30_000)
      }),
    2
  )

  test("ignores a map that is not its own", (kafka) =>
    Effect.gen(function* () {
      yield* produce(kafka, 0, "a-0", "a-1", "a-2")
      const other = yield* kafka.client.member({
        connection,
        group: "billing",
        topics: ["orders"],
        sessionMillis: 10_000,
        rebalanceMillis: 10_000,
        isolation: "read_committed",
        fetch: { waitMillis: 1, bytesMin: 1, bytesMax: 1, partitionBytesMax: 1 }
      })
      yield* other.join([])
      yield* other.commit([{ topic: "orders", partition: 0, offset: 1, metadata: "written by somebody else" }])
      yield* other.leave
      const seen: Array<string> = []
      yield* member((word) => Effect.sync(() => void seen.push(word)))
      yield* pass(1000)
      assert.deepStrictEqual(seen, ["a-1", "a-2"])
    }))

  test("begins at the offsets that are left when the log has forgotten its own", (kafka) =>
    Effect.gen(function* () {
      yield* produce(kafka, 0, "a-0", "a-1", "a-2")
      const first = yield* member(() => Effect.void)
      yield* pass(1000)
      yield* first.stop
      yield* pass(1000)
      yield* produce(kafka, 0, "a-3", "a-4", "a-5")
      yield* kafka.trim("orders", 0, 5)
      const seen: Array<string> = []
      yield* member((word) => Effect.sync(() => void seen.push(word)))
      yield* pass(5000)
      assert.deepStrictEqual(seen, ["a-5"])
    }))

  test("connects anew when a partition has something and gives nothing for 30 s", (kafka) =>
    Effect.gen(function* () {
      const lines: Array<string> = []
      const logger = Logger.make(({ message }) => void lines.push(String(message)))
      const client = kafka.client
      let hung = false
      const hanging: KafkaClient["Service"] = {
        ...client,
        member: (options) =>
          Effect.map(client.member(options), (one) => ({
            ...one,
            fetch: (broker, from) => (hung ? Effect.never : one.fetch(broker, from)),
            reconnect: Effect.andThen(
              Effect.sync(() => {
                hung = false
              }),
              one.reconnect
            )
          }))
      }
      const seen: Array<string> = []
      yield* Effect.gen(function* () {
        yield* member((word) => Effect.sync(() => void seen.push(word)))
        yield* produce(kafka, 0, "a-0")
        yield* pass(2000)
        hung = true
        yield* produce(kafka, 0, "a-1", "a-2")
        yield* pass(29000)
        yield* produce(kafka, 0, "a-3")
        yield* pass(30000)
      }).pipe(Effect.provideService(KafkaClient, hanging), Effect.provide(Logger.layer([logger])))
      assert.deepStrictEqual(seen, ["a-0", "a-1", "a-2", "a-3"])
      assert.isTrue(
        lines.some((line) => /orders\/0 has records from \d on and gave none for 30 s/.test(line)),
        lines.join("\n")
      )
    }))

  test("reads partitions and topics that appear later, also by an expression", (kafka) =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      yield* member((word) => Effect.sync(() => void seen.push(word)), { topics: /orders.*/, metadataMillis: 1000 })
      yield* pass(1000)
      yield* kafka.createTopic("orders", 2)
      yield* kafka.createTopic("orders-eu", 1)
      yield* produce(kafka, 1, "a-0")
      yield* kafka.produce("orders-eu", 0, { key: null, value: utf8.encode("b-0") })
      yield* pass(5000)
      assert.deepStrictEqual(seen.sort(), ["a-0", "b-0"])
    }))

  for (const seed of Array.from({ length: 10 }, (_, i) => i)) {
    test(
      `loses nothing, keeps order and runs nothing again that was committed, while members come, go and die (seed ${seed})`,
      (kafka) => ledger(kafka).pipe(Random.withSeed(`${seed}`)),
      6
    )
  }
})

/** Members come, go, are paused and die; every record must end once, in the order of its key, but for what was in flight. */
const ledger = Effect.fnUntraced(function* (kafka: KafkaClientMemory.KafkaMemory) {
  const keys = 40
  const partitions = 6
  const random = yield* Random.Random
  const int = (max: number) => Math.floor(random.nextDoubleUnsafe() * max)
  const first = new Map<string, number>()
  const answered = new Set<string>()
  const violations: Array<string> = []
  const again: Array<string> = []
  const places = new Map<string, { partition: number; offset: number }>()
  const isCommitted = (word: string): boolean => {
    const place = places.get(word)
    if (place === undefined) return false
    const known = settledOf(kafka, place.partition)
    if (known === undefined || known.watermark < 0) return false
    return (
      place.offset < known.watermark || known.settled.some(([from, to]) => from <= place.offset && place.offset < to)
    )
  }
  const dead = new Set<number>()
  const job = (index: number) => (word: string) =>
    Effect.gen(function* () {
      if (dead.has(index)) return yield* Effect.never
      if (isCommitted(word)) again.push(word)
      const [key, n] = word.split("-") as [string, string]
      if (!first.has(word)) {
        first.set(word, 0)
        if (n !== "0" && !answered.has(`${key}-${Number(n) - 1}`)) violations.push(word)
      }
      yield* Effect.sleep(random.nextDoubleUnsafe() < 0.02 ? 4_000 : 5 + int(40))
      if (dead.has(index)) return yield* Effect.never
      answered.add(word)
    })
  const alive: Array<Effect.Success<ReturnType<typeof member>> & { readonly index: number }> = []
  let members = 0
  const start = Effect.gen(function* () {
    const one = yield* member(job(members), { sessionMillis: 6_000, rebalanceMillis: 20_000 }, { concurrency: 16 })
    alive.push({ ...one, index: members++ })
  })
  yield* start
  yield* start
  yield* start
  const counts = new Map<string, number>()
  for (let step = 0; step < 120; step++) {
    for (let i = 0; i < 20; i++) {
      const key = `k${int(keys)}`
      const n = counts.get(key) ?? 0
      counts.set(key, n + 1)
      const partition = Number(key.slice(1)) % partitions
      const { offset } = yield* kafka.produce("orders", partition, {
        key: utf8.encode(key),
        value: utf8.encode(`${key}-${n}`)
      })
      places.set(`${key}-${n}`, { partition, offset })
    }
    if (step % 6 === 5) {
      const what = int(4)
      if (what === 0 && alive.length < 5) yield* start
      else if (what === 1 && alive.length > 1) yield* alive.splice(int(alive.length), 1)[0]!.stop
      else if (what === 2 && alive.length > 1) {
        // Killed: nothing of it is heard again.
        const { index } = alive.splice(int(alive.length), 1)[0]!
        dead.add(index)
        yield* kafka.freeze(index)
        yield* start
      } else if (alive.length > 0) yield* kafka.evict(alive[int(alive.length)]!.index)
    }
    yield* pass(100 + int(400))
  }
  yield* pass(120000)
  assert.deepStrictEqual(violations, [])
  assert.deepStrictEqual(again, [])
  const lost = [...places.keys()].filter((word) => !answered.has(word))
  assert.deepStrictEqual(lost, [])
  const total = Array.from({ length: partitions }, (_, p) => settledOf(kafka, p)!.watermark).reduce((a, b) => a + b, 0)
  assert.strictEqual(total, places.size)
})
