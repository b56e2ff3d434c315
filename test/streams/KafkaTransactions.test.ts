/** What goes into one transaction. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as KafkaClientMemory from "../../src/layers/KafkaClientMemory.ts"
import type { KafkaRecord } from "../../src/services/Kafka.ts"
import { Partition } from "../../src/streams/KafkaPartition.ts"
import { KafkaTransactions } from "../../src/streams/KafkaTransactions.ts"
import { connection } from "../suites/KafkaKit.ts"

const place = { topic: "in", partition: 0 }
const record = (offset: number): KafkaRecord => ({ offset, timestamp: 0, key: null, value: null, headers: {} })
const answer = (offset: number) => ({
  offset,
  message: { topic: "out", partition: 0, key: null, value: new TextEncoder().encode(`${offset}`), headers: {} }
})

const opened = Effect.gen(function* () {
  const kafka = yield* KafkaClientMemory.make()
  yield* kafka.createTopic("in", 1)
  yield* kafka.createTopic("out", 1)
  const member = yield* kafka.client.member({
    connection,
    group: "g",
    topics: ["in"],
    sessionMillis: 1000,
    rebalanceMillis: 1000,
    isolation: "read_committed",
    fetch: { waitMillis: 1, bytesMin: 1, bytesMax: 1, partitionBytesMax: 1 }
  })
  const fenced: Array<string> = []
  const transactions = new KafkaTransactions({
    client: kafka.client,
    member,
    connection,
    group: "g",
    compression: "none",
    timeoutMillis: 1000,
    onFenced: (partition) => {
      partition.lost = true
      fenced.push(partition.name)
    }
  })
  const partition = new Partition({
    place,
    source: "kafka:in",
    cluster: "memory",
    from: { watermark: 0, settled: [] },
    committed: undefined,
    onSettled: () => {}
  })
  partition.deliveries([0, 1, 2].map(record), 0, 3, 0)
  yield* transactions.take([place])
  const written = () => kafka.records("out", 0).map(({ value }) => Number(new TextDecoder().decode(value!)))
  return { kafka, partition, transactions, fenced, written }
})

describe("KafkaTransactions", () => {
  it.effect("writes the answer to an offset once, whoever else has it in hand", () =>
    Effect.gen(function* () {
      const { kafka, partition, transactions, written } = yield* opened
      yield* transactions.commit(partition, [answer(0), answer(2), answer(0)])
      yield* transactions.commit(partition, [answer(2), answer(1)])
      assert.deepStrictEqual(written(), [0, 2, 1])
      assert.strictEqual(kafka.committed("g", "in", 0)?.offset, 3)
    }).pipe(Effect.scoped)
  )

  it.effect("what waited while the one before it was fenced, takes nothing back", () =>
    Effect.gen(function* () {
      const { fenced, kafka, partition, transactions, written } = yield* opened
      const other = yield* kafka.client.transactions({
        connection,
        group: "g",
        compression: "none",
        timeoutMillis: 1000,
        transactionalId: "sluice/g/in/0"
      })
      yield* other.fence
      const results = yield* Effect.all(
        [transactions.commit(partition, [answer(0)]), transactions.commit(partition, [answer(1)])].map(Effect.result),
        { concurrency: 2 }
      )
      assert.deepStrictEqual(
        results.map((result) => result._tag === "Failure" && result.failure.trouble),
        ["fenced", "fenced"]
      )
      assert.deepStrictEqual(fenced, ["in/0"])
      yield* other.commit([], [{ ...place, offset: 3, metadata: "" }])
      assert.deepStrictEqual(written(), [])
    }).pipe(Effect.scoped)
  )
})
