/** Orders from one topic to another: the same pipeline on a real cluster and on the one in memory. */
import { Effect } from "effect"
import { accepted, CodecJson, type Connection, Pipeline, PublisherKafka, SourceKafka } from "sluice"

export const connection: Connection = {
  brokers: ["localhost:9092"],
  clientId: "billing",
  tls: undefined,
  sasl: undefined,
  connectMillis: 10_000,
  requestMillis: 30_000,
  metadataMillis: 300_000
}

/** Needs a `KafkaClient`: `KafkaClientKafkaJs.layer` in an app, `KafkaClientMemory.layer` in a test. */
export const pipeline = Effect.fnUntraced(function* (invoice: (order: unknown) => Effect.Effect<unknown>) {
  const source = yield* SourceKafka.make({ pipeline: "orders", connection, topics: ["orders"], group: "billing" })
  const publisher = yield* PublisherKafka.make({
    connection,
    topic: "invoices",
    acks: "all",
    idempotent: true,
    compression: "none",
    timeoutMillis: 30_000,
    carried: ["origin"]
  })
  return Pipeline.define({
    name: "orders",
    source,
    decode: CodecJson.make(),
    dispatch: [{ run: ({ event }) => Effect.map(invoice(event.payload), accepted) }],
    publish: [{ to: publisher }]
  })
})
