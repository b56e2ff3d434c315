/** Sends each message to an HTTP endpoint; a 2xx confirms it. */
import { Effect, Schema, type Scope } from "effect"
import * as Chain from "../services/Chain.ts"
import * as Component from "../services/Component.ts"
import { PublishError, type Publisher } from "../services/Publisher.ts"
import * as HttpCall from "./HttpCall.ts"
import * as Utf8 from "./Utf8.ts"

export interface Options extends Pick<HttpCall.Options, "url" | "method" | "headers" | "timeout" | "hide" | "oauth2"> {
  /** Messages that may be under way at the same time; 64 by default. */
  readonly connections?: number | undefined
}

/** Units: bytes of an answer that are read: all that is wanted of it is a sentence. */
const responseMax = 16 * 1024

export const make: (options: Options) => Effect.Effect<Publisher, Component.OptionsError, Scope.Scope> =
  Effect.fnUntraced(function* ({ connections = 64, ...options }: Options) {
    const http = yield* HttpCall.make({ ...options, connections, responseMax, larger: "cut" })
    const publisher: Publisher = {
      name: "http",
      batchMax: 1,
      inFlightMax: connections,
      probe: Effect.mapError(http.probe, (failure) => new PublishError(failure)),
      publish: (batch) =>
        Effect.forEach(
          batch,
          ({ envelope, value }) =>
            http.call(value, { "content-type": typeOf(value), ...Chain.headersOf(envelope) }).pipe(
              Effect.mapError((failure) => new PublishError(failure)),
              Effect.flatMap(({ kind, reason = "refused" }) =>
                kind === "accepted"
                  ? Effect.void
                  : Effect.fail(new PublishError({ reason, presence: "answered", retryable: false }))
              )
            ),
          { discard: true }
        )
    }
    return publisher
  })

export const component = Component.publisher({
  type: "http",
  summary: "A request to an HTTP endpoint for each message; a 2xx confirms it.",
  options: Schema.Struct(HttpCall.fields),
  make: (options, { concurrency, hide }) => make({ ...options, connections: concurrency, hide })
})

const typeOf = (value: Uint8Array): string => (isJson(value) ? "application/json" : "application/octet-stream")

const isJson = (value: Uint8Array): boolean => {
  const text = Utf8.decode(value)
  if (text === undefined) return false
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}
