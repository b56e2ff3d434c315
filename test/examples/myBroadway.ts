/** The pipeline of the Broadway guide for EventRelay: first names in capitals, printed in batches of ten or every two seconds. */
import { Effect } from "effect"
import { accepted, CodecEventRelay, type EventRelayConnection, Pipeline, SourceEventRelay } from "sluice"

interface UserCreated {
  readonly data: { readonly person?: { readonly first_name?: string } }
}

/** Needs `EventRelayClient`, `Inbox` and `Positions`: of a server and of SQLite in an app, in memory in a test. */
export const MyBroadway = Effect.fnUntraced(function* (connection: EventRelayConnection, destination: string) {
  return Pipeline.define({
    name: "MyBroadway",
    source: yield* SourceEventRelay.make({ pipeline: "MyBroadway", connection, destination }),
    decode: CodecEventRelay.make(),
    batchers: { default: { size: 10, age: "2 seconds" } },
    dispatch: [
      {
        batcher: "default",
        process: ({ event }) => `${(event.payload as UserCreated).data.person?.first_name ?? ""}`.toUpperCase(),
        runBatch: (batch) =>
          Effect.sync(() => {
            const list = batch.map(({ event }) => JSON.stringify(event.payload)).join(", ")
            console.log(`Got batch of finished jobs from processors.: [${list}]`)
            return accepted(null)
          })
      }
    ]
  })
})
