/** Members of a Kafka group come and go: nothing lost, order per key, and nothing runs again that was committed. */
import { assert, describe, it } from "vitest"
import * as KafkaLedger from "../../bench/kafkaLedger.ts"
import * as KafkaBroker from "../services/KafkaBroker.ts"

const reason = KafkaBroker.brokersFromEnvironment() === undefined ? await KafkaBroker.available() : undefined
if (reason !== undefined) console.warn(`the ledger of a Kafka group is skipped: ${reason}`)

const seed = Number(process.env.SEED ?? 1)

describe.skipIf(reason !== undefined)("the ledger of a Kafka group", () => {
  it("is even after kills, stops and new members", { timeout: 240_000 }, async () => {
    const numbers = await KafkaLedger.run({ seconds: 20, seed, rate: 500, members: 2 })
    const words = KafkaLedger.words(numbers)
    console.log(words)
    assert.deepStrictEqual(numbers.failed, [])
    assert.isDefined(numbers.drainSeconds, words)
    assert.isAbove(numbers.records, 2000)
    assert.include(
      numbers.ends.map(({ how }) => how),
      "killed"
    )
    assert.strictEqual(numbers.lost, 0, words)
    assert.strictEqual(numbers.violations, 0, words)
    assert.strictEqual(numbers.runAgain, 0, words)
    assert.strictEqual(numbers.unreadable, 0, words)
    assert.deepStrictEqual(KafkaLedger.overBound(numbers), [])
  })
})
