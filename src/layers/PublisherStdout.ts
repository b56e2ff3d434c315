/** Writes to standard output, one message per line. */
import { Effect, Schema, Stdio, Stream } from "effect"
import * as Component from "../services/Component.ts"
import { PublishError, type Publisher } from "../services/Publisher.ts"
import * as Lines from "./OutgoingLines.ts"

export const make: Effect.Effect<Publisher, never, Stdio.Stdio> = Effect.map(Stdio.Stdio, (stdio) => {
  const sink = stdio.stdout({ endOnDone: false })
  return {
    name: "stdout",
    batchMax: 500,
    inFlightMax: 1,
    publish: (batch) =>
      Stream.make(Lines.join(batch)).pipe(
        Stream.run(sink),
        Effect.mapError(
          (cause) =>
            new PublishError({ reason: `stdout: ${cause.message}`, presence: "answered", retryable: false, cause })
        )
      )
  }
})

export const component = Component.publisher({
  type: "stdout",
  summary: "Standard output, one message per line.",
  options: Schema.Struct({}),
  make: () => make
})
