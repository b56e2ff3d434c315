/** The Kafka example on the cluster in memory: a member is killed, another goes on, and no time passes. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Scope } from "effect"
import { TestClock } from "effect/testing"
import { Pipeline } from "sluice"
import { DeadLettersMemory, KafkaClientMemory } from "sluice/testing"
import { pipeline } from "./kafka.ts"

const utf8 = new TextEncoder()
const text = new TextDecoder()

/** In small steps, so that what happens in one can set its timers for the next. */
const pass = (seconds: number) => Effect.repeat(TestClock.adjust("20 millis"), { times: seconds * 50 })

describe("examples/kafka", () => {
  it.effect("goes on with the orders of a member that is killed, and not with those it had settled", () =>
    Effect.gen(function* () {
      const kafka = yield* KafkaClientMemory.Cluster
      yield* kafka.createTopic("orders", 1)
      for (const id of ["1", "2", "3"]) {
        yield* kafka.produce("orders", 0, { key: utf8.encode(`customer-${id}`), value: utf8.encode(`{"id":"${id}"}`) })
      }
      const calls: Array<string> = []
      const stuck = (order: unknown) => {
        const { id } = order as { readonly id: string }
        calls.push(`one ${id}`)
        return id === "1" ? Effect.never : Effect.succeed({ invoice: id })
      }
      // A scope that nobody closes: a killed process takes no leave.
      const killed = yield* Scope.make()
      yield* Scope.provide(Effect.flatMap(pipeline(stuck), Pipeline.start), killed)
      yield* pass(1)
      // Settled beyond order 1, and noted so in the commit.
      assert.strictEqual(kafka.committed("billing", "orders", 0)?.offset, 0)

      yield* kafka.freeze(0)
      const quick = (order: unknown) => {
        const { id } = order as { readonly id: string }
        calls.push(`two ${id}`)
        return Effect.succeed({ invoice: id })
      }
      yield* Effect.flatMap(pipeline(quick), Pipeline.start)
      yield* pass(40)
      assert.deepStrictEqual(calls, ["one 1", "one 2", "one 3", "two 1"])
      assert.strictEqual(kafka.committed("billing", "orders", 0)?.offset, 3)
      const invoices = kafka.records("invoices", 0).map(({ value }) => text.decode(value!))
      assert.deepStrictEqual(invoices, ['{"invoice":"2"}', '{"invoice":"3"}', '{"invoice":"1"}'])
    }).pipe(Effect.scoped, Effect.provide([KafkaClientMemory.layer, DeadLettersMemory.layer]))
  )
})
