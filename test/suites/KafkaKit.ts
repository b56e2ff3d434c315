/** What tests on the Kafka in memory share: a connection to it, and time that passes in small steps. */
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import type { Connection } from "../../src/services/KafkaConnection.ts"

export const connection: Connection = {
  brokers: ["memory:9092"],
  clientId: "test",
  tls: undefined,
  sasl: undefined,
  connectMillis: 1000,
  requestMillis: 1000,
  metadataMillis: 1000
}

/** So that what happens in one step can set its timers for the next. Units: milliseconds. */
export const pass = Effect.fnUntraced(function* (millis: number) {
  for (let left = millis; left > 0; left -= 20) yield* TestClock.adjust(Math.min(left, 20))
})
