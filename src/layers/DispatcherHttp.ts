/** Sends each detection to an HTTP endpoint; the answer is the reply. */
import { Effect, Result, Schema, type Scope } from "effect"
import * as Component from "../services/Component.ts"
import { DispatchError, type Dispatcher } from "../services/Dispatcher.ts"
import type { Detection } from "../services/Event.ts"
import * as Fields from "../services/Fields.ts"
import { accepted, type Reply } from "../services/Reply.ts"
import * as Path from "../streams/Path.ts"
import { words } from "../streams/Runner.ts"
import * as HttpCall from "./HttpCall.ts"

export interface Options extends Omit<HttpCall.Options, "larger" | "connections" | "conceal"> {
  /**
   * A path such as `payload.order`: what is there is sent; absent means the payload as it came, and nothing with GET,
   * HEAD and DELETE, for which `envelope.payload` names it.
   */
  readonly body?: string | undefined
  /** Calls that may be under way at the same time; 64 by default. */
  readonly connections?: number | undefined
}

export const make: (options: Options) => Effect.Effect<Dispatcher, Component.OptionsError, Scope.Scope> =
  Effect.fnUntraced(function* (options: Options) {
    const path = pathOf(options.body)
    const called = yield* Effect.result(HttpCall.make({ ...options, connections: options.connections ?? 64 }))
    if (Result.isFailure(path) || Result.isFailure(called)) {
      const both: ReadonlyArray<Result.Result<unknown, Component.OptionsError>> = [path, called]
      const problems = both.flatMap((result) => (Result.isFailure(result) ? result.failure.problems : []))
      return yield* new Component.OptionsError({ problems })
    }
    const body = path.success
    const http = called.success
    const bodiless = body === undefined && ["GET", "HEAD", "DELETE"].includes(options.method ?? "POST")
    const call = (content: Content | undefined) =>
      Effect.mapError(http.call(content?.body, content?.headers), (failure) => new DispatchError(failure))
    const dispatcher: Dispatcher = {
      name: "http",
      probe: Effect.mapError(http.probe, (failure) => new DispatchError(failure)),
      dispatch: (detection) => {
        if (bodiless) return call(undefined)
        if (body === undefined) return call({ body: detection.event.envelope.payload, headers: json })
        const content = Result.try({ try: () => contentOf(valueAt(body, detection)), catch: unsendable })
        return Result.isSuccess(content) ? call(content.success) : Effect.fail(content.failure)
      }
    }
    if (bodiless) return dispatcher
    return {
      ...dispatcher,
      dispatchBatch: (batch) => {
        const items = batch.map((detection) =>
          Result.try({ try: () => itemOf(valueAt(body ?? payload, detection)), catch: unsendable })
        )
        const sendable = items.filter(Result.isSuccess).map(({ success }) => success)
        // One that cannot be sent does not keep the others back.
        const answer = (reply: Reply) => items.map((item) => Result.map(item, () => reply))
        if (sendable.length === 0) return Effect.succeed(answer(nothing))
        return Effect.map(call({ body: `[${sendable.join(",")}]`, headers: json }), answer)
      }
    }
  })

const Statuses = Schema.Union([Schema.Literals(["4xx", "5xx"]), Fields.int(400, 599)]).annotate({
  expected: "a status from 400 to 599, 4xx or 5xx"
})

export const component = Component.dispatcher({
  type: "http",
  summary: "A request to an HTTP endpoint for each event; the answer is the reply, and a final 4xx is a refusal.",
  options: Schema.Struct({
    ...HttpCall.fields,
    /** A path such as payload.order; absent sends the payload as it came. */
    body: Schema.optionalKey(Fields.Text),
    /** Statuses that are tried again, besides 408, 425 and 429. */
    retryOn: Fields.orElse(Schema.Array(Statuses), ["5xx"]),
    /** How many redirects are followed. */
    redirects: Fields.orElse(Fields.int(0, 20), 0),
    /** What becomes of a message whose retries are spent on a 5xx: buried, or answered with it as a refusal. */
    spent: Fields.orElse(Schema.Literals(["bury", "refuse"]), "bury"),
    /** Whether a redirect that is not followed counts as a good answer. */
    acceptRedirects: Fields.orElse(Fields.Boolean, false),
    /** A larger answer is a failure. */
    responseMax: Fields.orElse(Fields.Bytes, HttpCall.responseMaxDefault)
  }),
  make: (options, { concurrency, hide }) => make({ ...options, connections: concurrency, hide })
})

interface Content {
  readonly body: Uint8Array | string
  readonly headers: Readonly<Record<string, string>>
}

/** Of a batch in which there is nothing to send. */
const nothing = accepted(null)

const json = { "content-type": "application/json" }

type Read = Pick<Path.Path, "read" | "text">

const payload: Read = { text: "payload", read: ({ event }) => event.payload }

/** The bytes as they came, whatever the codec made of them. */
const raw: Read = { text: "envelope.payload", read: ({ event }) => event.envelope.payload }

const pathOf = (text: string | undefined): Result.Result<Read | undefined, Component.OptionsError> => {
  if (text === undefined) return Result.succeed(undefined)
  if (text === raw.text) return Result.succeed(raw)
  return Result.mapError(
    Path.compile(text, ["payload", "envelope", "event"]),
    (expected) => new Component.OptionsError({ problems: [{ path: ["body"], expected, found: text }] })
  )
}

const valueAt = (path: Read, detection: Detection): unknown => {
  const value = path.read({ event: detection.event, detection })
  if (value === undefined) throw new Error(`there is no ${path.text}`)
  return value
}

/** Text and bytes as they are, anything else as JSON. */
const contentOf = (value: unknown): Content => {
  if (typeof value === "string") return { body: value, headers: { "content-type": "text/plain; charset=utf-8" } }
  if (value instanceof Uint8Array) return { body: value, headers: { "content-type": "application/octet-stream" } }
  return { body: JSON.stringify(value), headers: json }
}

/** One item of a batch, as JSON text. */
const itemOf = (value: unknown): string => JSON.stringify(value instanceof Uint8Array ? Path.parsed(value) : value)

const unsendable = (error: unknown): DispatchError =>
  new DispatchError({ reason: `the request has no body: ${words(error)}`, presence: "answered", retryable: false })
