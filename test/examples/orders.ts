/** An app with a pipeline in it: orders from memory, a typed failure, and the answers published. */
import { Effect, Schema } from "effect"
import { accepted, CodecJson, Pipeline, type Publisher, type Source } from "sluice"

const Order = Schema.Struct({ id: Schema.String, customerId: Schema.String, status: Schema.String })
const isOrder = Schema.is(Order)

/** The ledger is closed for the night; it opens again. */
export class LedgerClosed extends Schema.TaggedError<LedgerClosed>()("LedgerClosed", { until: Schema.String }) {}

/** Books a paid order. */
export const pipeline = (source: Source, to: Publisher, book: (id: string) => Effect.Effect<string, LedgerClosed>) =>
  Pipeline.define({
    name: "orders",
    source,
    decode: CodecJson.make(CodecJson.schema(Order)),
    key: ({ payload }) => (isOrder(payload) ? payload.customerId : ""),
    detect: ({ payload }) => (isOrder(payload) ? [`order.${payload.status}`] : []),
    dispatch: [
      {
        on: "order.paid",
        run: ({ event }) => Effect.map(book((event.payload as typeof Order.Type).id), (entry) => accepted({ entry }))
      }
    ],
    failures: { LedgerClosed: "retry" },
    publish: [{ to }]
  })
