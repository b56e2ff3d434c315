/** Appends to an embedded durable topic. */
import { Effect, Schema } from "effect"
import * as Component from "../services/Component.ts"
import * as Fields from "../services/Fields.ts"
import { PublishError, type Publisher } from "../services/Publisher.ts"
import { Topics } from "../services/Topics.ts"

export const make = Effect.fnUntraced(function* (topic: string) {
  const topics = yield* Topics
  const publisher: Publisher = {
    name: "topic",
    batchMax: 500,
    // One write at a time: a topic has one end to append to.
    inFlightMax: 1,
    publish: (batch) =>
      Effect.mapError(
        topics.append(
          topic,
          batch.map(({ envelope, event, key, value }) => ({
            id: envelope.id,
            key,
            headers: { "sluice-event": event },
            value
          }))
        ),
        (cause) =>
          new PublishError({
            reason: cause.message,
            presence: cause.retryable ? "busy" : "answered",
            retryable: cause.retryable,
            cause
          })
      )
  }
  return publisher
})

export const component = Component.publisher({
  type: "topic",
  summary: "An embedded durable topic.",
  options: Schema.Struct({ topic: Fields.Text }),
  make: ({ topic }) => make(topic)
})
