/** Kafka to Kafka in transactions: every record answered once, whoever dies, sleeps or is not answered. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Random, Scope } from "effect"
import * as CodecBytes from "../../src/layers/CodecBytes.ts"
import * as DeadLettersMemory from "../../src/layers/DeadLettersMemory.ts"
import * as KafkaClientMemory from "../../src/layers/KafkaClientMemory.ts"
import * as PublisherKafka from "../../src/layers/PublisherKafka.ts"
import { KafkaClient, KafkaError } from "../../src/services/Kafka.ts"
import { accepted } from "../../src/services/Reply.ts"
import * as Define from "../../src/streams/Define.ts"
import * as SourceKafka from "../../src/streams/SourceKafka.ts"
import { connection, pass } from "../suites/KafkaKit.ts"

const utf8 = new TextEncoder()
const text = new TextDecoder()

/** A process that answers each record of `in` with itself in `out`, after `millis`. */
const process = Effect.fnUntraced(function* (millis: () => number = () => 0, sessionMillis = 6_000) {
  const scope = yield* Scope.make()
  const source = yield* SourceKafka.make({
    pipeline: "copy",
    connection,
    topics: ["in"],
    group: "copy",
    sessionMillis,
    rebalanceMillis: 20_000,
    exactlyOnce: { compression: "none", timeoutMillis: 30_000 }
  })
  const plan = Define.define({
    name: "copy",
    source,
    decode: CodecBytes.make,
    concurrency: 16,
    dispatch: [
      {
        run: ({ event }: { event: { payload: unknown } }) => Effect.as(Effect.sleep(millis()), accepted(event.payload))
      }
    ],
    publish: [{ to: PublisherKafka.makeTransactional("out", [], source.transact!) }]
  })
  const handle = yield* Scope.provide(Define.start(plan), scope)
  return { handle, stop: Effect.forkChild(Effect.andThen(handle.drain(10_000), Scope.close(scope, Exit.void))) }
})

const test = (
  name: string,
  partitions: number,
  body: (kafka: KafkaClientMemory.KafkaMemory) => Effect.Effect<void, KafkaError, any>
) =>
  it.effect(name, () =>
    Effect.gen(function* () {
      const kafka = yield* KafkaClientMemory.make()
      yield* kafka.createTopic("in", partitions)
      yield* kafka.createTopic("out", partitions)
      yield* Effect.provideService(body(kafka), KafkaClient, kafka.client)
    }).pipe(Effect.scoped, Effect.provide(DeadLettersMemory.layer))
  )

const produce = (kafka: KafkaClientMemory.KafkaMemory, ...values: ReadonlyArray<string>) =>
  Effect.forEach(
    values,
    (value) => kafka.produce("in", undefined, { key: utf8.encode(value.split("-")[0]!), value: utf8.encode(value) }),
    { discard: true }
  )

/** What a reader of committed records sees. */
const answers = (kafka: KafkaClientMemory.KafkaMemory, partitions: number): ReadonlyArray<string> =>
  Array.from({ length: partitions }, (_, partition) =>
    kafka.records("out", partition).map(({ value }) => text.decode(value!))
  ).flat()

describe("Exactly once", () => {
  test("answers every record once, and notes it in the same transaction", 2, (kafka) =>
    Effect.gen(function* () {
      const words = Array.from({ length: 300 }, (_, i) => `k${i % 7}-${Math.floor(i / 7)}`)
      yield* produce(kafka, ...words)
      yield* process()
      yield* pass(3000)
      assert.deepStrictEqual([...answers(kafka, 2)].sort(), [...words].sort())
      const read = [0, 1].map((partition) => kafka.committed("copy", "in", partition)?.offset ?? 0)
      assert.strictEqual(read[0]! + read[1]!, 300)
      assert.strictEqual(kafka.calls("commit"), 0)
    })
  )

  test("a paused member that wakes up can commit nothing any more", 1, (kafka) =>
    Effect.gen(function* () {
      yield* produce(kafka, "a-0", "b-0", "c-0")
      yield* process(() => 3000)
      yield* pass(1000)
      yield* kafka.freeze(0)
      yield* process(() => 10)
      yield* pass(12_000)
      assert.deepStrictEqual([...answers(kafka, 1)].sort(), ["a-0", "b-0", "c-0"])
      yield* kafka.thaw(0)
      yield* pass(30_000)
      assert.deepStrictEqual([...answers(kafka, 1)].sort(), ["a-0", "b-0", "c-0"])
    })
  )

  test("what the old member commits between the join and the fence of the new one is not answered again", 1, (kafka) =>
    Effect.gen(function* () {
      yield* produce(kafka, "a-0", "b-0", "c-0")
      const { client } = kafka
      let fences = 0
      // The second fence, that of the new member, comes after the old one has committed all it had in hand.
      const late: KafkaClient["Service"] = {
        ...client,
        transactions: (options) =>
          Effect.map(client.transactions(options), (one) => ({
            ...one,
            fence: Effect.suspend(() => (++fences === 2 ? Effect.andThen(Effect.sleep(4000), one.fence) : one.fence))
          }))
      }
      yield* Effect.gen(function* () {
        yield* process(() => 2500)
        yield* pass(1000)
        // Evicted without knowing, it goes on until its next heartbeat would tell: that one hangs.
        yield* kafka.failNext("heartbeat", new KafkaError({ trouble: "away", reason: "lost" }))
        yield* kafka.evict(0)
        yield* process(() => 10)
        yield* pass(30_000)
      }).pipe(Effect.provideService(KafkaClient, late))
      assert.deepStrictEqual([...answers(kafka, 1)].sort(), ["a-0", "b-0", "c-0"])
    })
  )

  for (const when of ["before", "after"] as const) {
    test(`finds out how a transaction ended whose answer was lost (${when} it was committed)`, 1, (kafka) =>
      Effect.gen(function* () {
        const away = new KafkaError({ trouble: "away", reason: "no answer" })
        yield* process()
        yield* pass(1000)
        yield* kafka.failNext("transact", away, when)
        yield* produce(kafka, "a-0", "a-1", "b-0")
        yield* pass(20_000)
        assert.deepStrictEqual([...answers(kafka, 1)].sort(), ["a-0", "a-1", "b-0"])
        assert.strictEqual(kafka.committed("copy", "in", 0)?.offset, 3)
      })
    )
  }

  for (const seed of Array.from({ length: 15 }, (_, i) => i)) {
    test(`nothing twice, nothing lost, in order, while members come, go, sleep and die (seed ${seed})`, 4, (kafka) =>
      schedule(kafka).pipe(Random.withSeed(`eos ${seed}`))
    )
  }
})

const schedule = Effect.fnUntraced(function* (kafka: KafkaClientMemory.KafkaMemory) {
  const random = yield* Random.Random
  const int = (max: number) => Math.floor(random.nextDoubleUnsafe() * max)
  const away = new KafkaError({ trouble: "away", reason: "no answer" })
  const alive: Array<Effect.Success<ReturnType<typeof process>> & { readonly index: number }> = []
  const asleep: Array<number> = []
  let started = 0
  const start = Effect.gen(function* () {
    const one = yield* process(() => 5 + int(60))
    alive.push({ ...one, index: started++ })
  })
  yield* start
  yield* start
  const counts = new Map<string, number>()
  const words: Array<string> = []
  for (let step = 0; step < 80; step++) {
    for (let i = 0; i < 10; i++) {
      const key = `k${int(30)}`
      const n = counts.get(key) ?? 0
      counts.set(key, n + 1)
      words.push(`${key}-${n}`)
      yield* produce(kafka, `${key}-${n}`)
    }
    if (step % 4 === 3) {
      const what = int(6)
      if (what === 0 && alive.length < 4) yield* start
      else if (what === 1 && alive.length > 1) yield* alive.splice(int(alive.length), 1)[0]!.stop
      else if (what === 2 && alive.length > 1) {
        const { index } = alive.splice(int(alive.length), 1)[0]!
        yield* kafka.freeze(index)
        asleep.push(index)
        yield* start
      } else if (what === 3) yield* kafka.failNext("transact", away, int(2) === 0 ? "before" : "after")
      else if (what === 4 && asleep.length > 0) yield* kafka.thaw(asleep.shift()!)
      else yield* kafka.evict(alive[int(alive.length)]!.index)
    }
    yield* pass(100 + int(300))
  }
  for (const index of asleep) yield* kafka.thaw(index)
  yield* pass(120_000)
  const seen = answers(kafka, 4)
  assert.strictEqual(seen.length - new Set(seen).size, 0, "twice")
  assert.deepStrictEqual([...seen].sort(), [...words].sort())
  const last = new Map<string, number>()
  for (const word of seen) {
    const [key, n] = word.split("-") as [string, string]
    assert.strictEqual(Number(n), (last.get(key) ?? -1) + 1, `order of ${key}`)
    last.set(key, Number(n))
  }
})
