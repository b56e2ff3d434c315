/** The four routes of the predecessor, with its answers to the byte: Flask 1.1.2's own JSON. */
import { Effect, Result } from "effect"
import type { Denial } from "../services/GatewayAccess.ts"
import type { HttpRequest, HttpResponse } from "../services/HttpHost.ts"
import { andThen, type Ready } from "../services/Ready.ts"
import * as FlaskJson from "./FlaskJson.ts"
import * as FormBody from "./FormBody.ts"
import type { Gateway } from "./Gateway.ts"
import { keyOf } from "./GatewayBodies.ts"
import * as GatewayContent from "./GatewayContent.ts"
import type { Guarded } from "./GatewayGuard.ts"
import { eventIn, type GatewaySend, isJson, parse, parseText, traceOf } from "./GatewaySend.ts"
import * as JsonText from "./JsonText.ts"

export interface Operation extends Guarded {
  readonly method: "GET" | "POST"
  readonly path: string
  /** Its answer while the gateway takes no more. */
  readonly full: HttpResponse
}

const unregistered = "failed to register event"
const unsent = "failed to send event"

export const operations = (gateway: Gateway, send: GatewaySend): ReadonlyArray<Operation> => [
  {
    method: "POST",
    path: "/:client/:event/register_event",
    right: "register",
    registers: true,
    handle: (request) =>
      withField(request, "event_schema", unregistered, (schema) => register(gateway, request, schema)),
    full: failed(unregistered, true)
  },
  {
    method: "POST",
    path: "/:client/:event/send_event",
    right: "send",
    handle: (request) => withField(request, "event", unsent, (text, value) => sendEvent(send, request, text, value)),
    full: failed(unsent, true)
  },
  {
    method: "GET",
    path: "/:client/:event/schema",
    right: "read",
    handle: (request) => schemaOf(gateway, request),
    full: failed("event not registered", true)
  },
  {
    method: "GET",
    path: "/:client/list_events",
    right: "read",
    handle: (request) => list(gateway, request),
    full: failed("failed to list events", true)
  }
]

// ---------------------------------------------------------------------------------------------------- routes

const register = Effect.fnUntraced(function* (gateway: Gateway, request: HttpRequest, schema: string) {
  const registered = yield* gateway.register({ ...subjectOf(request), type: "json", schema, once: true })
  if (registered._tag === "Registered") return done("event registered")
  return failed(unregistered, registered._tag === "Away" && registered.retryable)
})

const sendEvent = (send: GatewaySend, request: HttpRequest, text: string, value: unknown): Ready<HttpResponse> => {
  const event = {
    ...subjectOf(request),
    body: eventIn(text, value),
    contentType: "application/json",
    id: keyOf(request),
    headers: traceOf(request)
  }
  return andThen(send.one(event), (sent) =>
    sent._tag === "Sent"
      ? done("event sent")
      : failed(unsent, sent._tag === "Busy" || (sent._tag === "Away" && sent.retryable))
  )
}

const schemaOf = Effect.fnUntraced(function* (gateway: Gateway, request: HttpRequest) {
  const found = yield* gateway.get(subjectOf(request), undefined)
  if (found._tag !== "Found") return failed("event not registered", found._tag === "Away" && found.retryable)
  const { schema, type } = found.value
  if (type === "protobuf") return done("schema recovered", { schema: FlaskJson.text(schema) })
  // One that is too deep to be written anew is given as it was registered.
  const rewritten = Result.try(() => FlaskJson.rewrite(schema))
  return done("schema recovered", { schema: Result.isSuccess(rewritten) ? rewritten.success : schema })
})

const list = Effect.fnUntraced(function* (gateway: Gateway, { params }: HttpRequest) {
  const found = yield* gateway.list(params.client!)
  if (found._tag !== "Found") return failed("failed to list events", found._tag === "Away" && found.retryable)
  const events = found.value.map(({ client, event }) => `[${FlaskJson.text(client)},${FlaskJson.text(event)}]`)
  return done("schema recovered", { events: `[${events.join(",")}]` })
})

// ---------------------------------------------------------------------------------------------------- bodies

/** Reads the one field a body has: of a form, or of a JSON object, whose value it then is. A body that is none fails as `unread`. */
const withField = (
  request: HttpRequest,
  name: string,
  unread: string,
  then: (text: string, value: unknown) => Ready<HttpResponse>
): Ready<HttpResponse> => {
  const contentType = request.headers["content-type"] ?? ""
  if (GatewayContent.problem(request, isJson(contentType)) !== undefined) return failed(unread)
  const found = fieldOf(request, name)
  if (found === undefined) return failed(`'${name}' key not in data`)
  const read = Result.flatMap(found, parseText)
  // What is false in Python was no JSON to it.
  if (Result.isFailure(read) || isFalsy(read.success.value)) {
    return failed(`'${name}' is not a valid json`)
  }
  // Forms have always been read as UTF-8, whatever they say: which is right while there is only ASCII in them.
  if (!isAscii(read.success.text) && GatewayContent.charsetProblem(contentType) !== undefined) {
    return failed(unread)
  }
  return then(read.success.text, read.success.value)
}

/** Its text as it was written; undefined when there is none. Fails: with a sentence when the body cannot be read. */
const fieldOf = ({ body, headers }: HttpRequest, name: string): Result.Result<string, string> | undefined => {
  const contentType = headers["content-type"] ?? ""
  if (!isJson(contentType)) {
    const field = FormBody.field(contentType, body, name)
    return field === undefined || field === "" ? undefined : Result.succeed(field)
  }
  if (body.length === 0) return undefined
  const read = parse(body)
  if (Result.isFailure(read)) return Result.fail(read.failure)
  const text = JsonText.members(read.success.text)?.get(name)
  return text === undefined ? undefined : Result.succeed(text)
}

const isAscii = (text: string): boolean => !/[\u0080-\uffff]/.test(text)

const isFalsy = (value: unknown): boolean =>
  typeof value === "object" && value !== null ? Object.keys(value).length === 0 : !value

const subjectOf = ({ params }: HttpRequest) => ({ client: params.client!, event: params.event! })

// ---------------------------------------------------------------------------------------------------- answers

const json = { "content-type": "application/json" }

const done = (message: string, parts: Readonly<Record<string, string>> = {}): HttpResponse => ({
  status: 200,
  headers: json,
  body: FlaskJson.answer({ ...parts, code: '"SUCCEEDED"', msg: FlaskJson.text(message) })
})

/** The predecessor let everybody in: only the form of its answers is kept. */
export const denied = ({ reason, status }: Denial): HttpResponse => ({ ...failed(reason), status })

/** What can be done later has another status than before, and the same words: it never came to that. */
const failed = (message: string, later = false): HttpResponse => ({
  status: later ? 503 : 400,
  headers: later ? { ...json, "retry-after": "1" } : json,
  body: FlaskJson.answer({ code: '"FAILED"', msg: FlaskJson.text(message) })
})
