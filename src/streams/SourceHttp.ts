/** Takes HTTP requests as messages and answers each when its delivery has ended. */
import { Clock, Duration, Effect, Schema, type Scope } from "effect"
import * as Component from "../services/Component.ts"
import type { Envelope } from "../services/Envelope.ts"
import * as Fields from "../services/Fields.ts"
import { HttpHost, type HttpHostError, type HttpRequest, type HttpResponse } from "../services/HttpHost.ts"
import type { Source } from "../services/Source.ts"
import * as HttpIntake from "./HttpIntake.ts"

export interface Options {
  /** Such as `/hooks/orders`. */
  readonly path: string
  /** POST by default. */
  readonly method?: string | undefined
  /** How long a request waits for its delivery to end; 30 seconds by default. */
  readonly answerWithin?: Duration.Input | undefined
  /** Units: bytes. Absent takes the host's. */
  readonly bodyMax?: number | undefined
}

/** Credentials of the sender: they must not land in dead letters. */
const secretHeaders: ReadonlySet<string> = new Set(["authorization", "cookie", "proxy-authorization"])

/** The path is taken for as long as the scope is open; between two openings of the source it answers 503. */
export const make: (options: Options) => Effect.Effect<Source, HttpHostError, HttpHost | Scope.Scope> =
  Effect.fnUntraced(function* ({ answerWithin = "30 seconds", bodyMax, method = "POST", path }: Options) {
    const host = yield* HttpHost
    const clock = yield* Clock.Clock
    const name = `http:${path}`
    const intake = yield* HttpIntake.make({ name, answerWithin: Duration.fromInputUnsafe(answerWithin) })
    yield* host.route({
      method,
      path,
      bodyMax,
      handle: (request) => {
        const envelope = envelopeOf(request, name, clock.currentTimeMillisUnsafe())
        return intake.one(envelope, (ended) => answerOf(ended, envelope.id))
      }
    })
    return intake.source
  })

export const component = Component.source({
  type: "http",
  summary:
    "Requests on a path of the HTTP server; each is answered 202 once its message is done, 400 when it cannot be read, 503 when it is to be sent again.",
  options: Schema.Struct({
    path: Fields.Text,
    method: Fields.orElse(Schema.Literals(["POST", "PUT", "PATCH", "DELETE", "GET"]), "POST"),
    /** How long a request waits for its message to be done; the work goes on after that. */
    answerWithin: Fields.orElse(Fields.Wait, Duration.seconds(30)),
    bodyMax: Schema.optionalKey(Fields.Bytes)
  }),
  make: (options) =>
    Effect.mapError(make(options), ({ reason }) => {
      const expected = `a path that can be taken (${reason})`
      return new Component.OptionsError({ problems: [{ path: ["path"], expected, found: options.path }] })
    })
})

const json = { "content-type": "application/json" }

const unavailable = (error: string): HttpResponse => ({
  status: 503,
  headers: { ...json, "retry-after": "1" },
  body: JSON.stringify({ error })
})

const answerOf = (ended: HttpIntake.Ended, id: string): HttpResponse => {
  switch (ended._tag) {
    case "Acked":
    case "Buried":
      return { status: 202, headers: json, body: JSON.stringify({ id }) }
    case "Refused":
      return { status: 400, headers: json, body: JSON.stringify({ error: ended.reason }) }
    case "Nacked":
      // The reason may name what stands behind this pipeline, which is no business of the sender.
      return unavailable("the message could not be done just now")
    case "Away":
      return unavailable(ended.reason)
  }
}

const envelopeOf = ({ body, headers }: HttpRequest, source: string, receivedAt: number): Envelope => ({
  id: idOf(headers),
  source,
  key: undefined,
  headers: withoutSecrets(headers),
  payload: body,
  receivedAt,
  attempt: 1
})

const withoutSecrets = (headers: Readonly<Record<string, string>>): Readonly<Record<string, string>> => {
  const kept: Record<string, string> = {}
  for (const name of Object.keys(headers)) if (!secretHeaders.has(name)) kept[name] = headers[name]!
  return kept
}

/** The sender's own id, which stays the same when it sends again. */
const idOf = (headers: Readonly<Record<string, string>>): string => {
  const id = headers["ce-id"]
  const source = headers["ce-source"]
  if (id !== undefined && id !== "") return source === undefined || source === "" ? id : `${source}/${id}`
  return headers["idempotency-key"] || crypto.randomUUID()
}
