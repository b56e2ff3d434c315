/** The routes of /api/v1: one table, from which they are answered and described. */
import { Effect, Result } from "effect"
import type { HttpRequest, HttpResponse } from "../services/HttpHost.ts"
import { andThen, type Ready } from "../services/Ready.ts"
import type { SchemaVersion } from "../services/SchemaRegistry.ts"
import type { Checked, Found, Gateway } from "./Gateway.ts"
import * as Answers from "./GatewayAnswers.ts"
import * as Bodies from "./GatewayBodies.ts"
import * as CloudEvents from "./GatewayCloudEvents.ts"
import * as GatewayContent from "./GatewayContent.ts"
import type { Guarded } from "./GatewayGuard.ts"
import { type GatewaySend, type Incoming, isJson, type Sent } from "./GatewaySend.ts"

export interface Operation extends Guarded {
  readonly method: "GET" | "POST"
  /** From the prefix on, with its parameters in braces. */
  readonly path: string
  readonly id: string
  readonly summary: string
  /** Whether `?version=` may name another version than the latest. */
  readonly versioned?: boolean
  /** Whether `Idempotency-Key` counts. */
  readonly keyed?: boolean
  /** What else its headers may say. */
  readonly headers?: Readonly<Record<string, string>>
  /** What it takes, as a JSON Schema by content type. */
  readonly takes?: Readonly<Record<string, unknown>>
  /** What it gives when it went well, by the name of its schema. */
  readonly gives: { readonly status: 200 | 201; readonly schema: string }
  /** Whether it may give one result for each of several events; 207 when they differ. */
  readonly many?: boolean
  readonly problems: ReadonlyArray<Answers.Code>
}

export interface Options {
  /** Units: events in one batch. */
  readonly batchMax: number
}

const event = "/clients/{client}/events/{event}"
const anyJson = { "application/json": {} }
const anyBytes = { "application/octet-stream": { type: "string", format: "binary" } }
const reading = ["name-invalid", "not-registered", "busy"] as const
const sending = [
  "name-invalid",
  "request-invalid",
  "not-registered",
  "event-unreadable",
  "event-invalid",
  "event-refused",
  "schema-unusable",
  "not-published",
  "busy"
] as const

export const operations = (gateway: Gateway, send: GatewaySend, options: Options): ReadonlyArray<Operation> =>
  table(gateway, send, options).map(readable)

const table = (gateway: Gateway, send: GatewaySend, options: Options): ReadonlyArray<Operation> => [
  {
    method: "POST",
    path: `${event}/versions`,
    id: "registerVersion",
    right: "register",
    registers: true,
    summary: "Registers a version of an event's schema; the latest version again, word for word, changes nothing.",
    takes: { "application/json": { $ref: "#/components/schemas/NewVersion" } },
    gives: { status: 201, schema: "Version" },
    problems: ["name-invalid", "request-invalid", "schema-invalid", "schema-conflict", "name-taken", "busy"],
    handle: (request) => register(gateway, request)
  },
  {
    method: "GET",
    path: `${event}/versions`,
    id: "listVersions",
    right: "read",
    summary: "All versions of an event's schema, oldest first.",
    gives: { status: 200, schema: "Versions" },
    problems: reading,
    handle: (request) => Effect.map(gateway.versions(Bodies.subjectOf(request)), (found) => listed("versions", found))
  },
  {
    method: "GET",
    path: `${event}/versions/{version}`,
    id: "getVersion",
    right: "read",
    summary: "One version with its schema; `latest` is the latest.",
    gives: { status: 200, schema: "Version" },
    problems: ["request-invalid", ...reading],
    handle: (request) => withVersion(request.params.version, (version) => get(gateway, request, version))
  },
  {
    method: "POST",
    path: `${event}/versions/{version}/deprecate`,
    id: "deprecateVersion",
    right: "register",
    summary:
      'Marks a version as deprecated, or with {"deprecated": false} as good again; it goes on working, with a warning.',
    takes: { "application/json": { $ref: "#/components/schemas/Deprecate" } },
    gives: { status: 200, schema: "Version" },
    problems: ["request-invalid", ...reading],
    handle: (request) => withVersion(request.params.version, (version) => deprecate(gateway, request, version))
  },
  {
    method: "GET",
    path: "/clients/{client}/events",
    id: "listEvents",
    right: "read",
    summary: "The latest version of each event of a client.",
    gives: { status: 200, schema: "Events" },
    problems: ["name-invalid", "busy"],
    handle: ({ params }) => Effect.map(gateway.list(params.client!), (found) => listed("events", found))
  },
  {
    method: "POST",
    path: event,
    id: "sendEvent",
    right: "send",
    summary: "Sends one event: JSON, or the bytes of its schema's own form. Answered once the stream has confirmed it.",
    versioned: true,
    keyed: true,
    takes: { ...anyJson, ...anyBytes },
    gives: { status: 200, schema: "Sent" },
    problems: sending,
    handle: (request) =>
      withVersion(request.query.get("version"), (version) =>
        orRefused(Bodies.eventOf(request, version), (event) => sendOne(send, event))
      )
  },
  {
    method: "POST",
    path: `${event}/batch`,
    id: "sendBatch",
    right: "send",
    summary: "Sends a JSON array of events; each has its own result, and the answer 207 when they differ.",
    versioned: true,
    keyed: true,
    takes: { "application/json": { type: "array", maxItems: options.batchMax, items: {} } },
    gives: { status: 200, schema: "Results" },
    many: true,
    problems: sending,
    handle: (request) =>
      withVersion(request.query.get("version"), (version) =>
        orRefused(Bodies.eventsOf(request, version, options.batchMax), (events) => sendAll(send, events))
      )
  },
  {
    method: "POST",
    path: `${event}/validate`,
    id: "validateEvent",
    right: "send",
    summary: "Says everything that is wrong with an event, and sends it nowhere.",
    versioned: true,
    takes: { ...anyJson, ...anyBytes },
    gives: { status: 200, schema: "Validation" },
    problems: [...reading, "request-invalid", "schema-unusable"],
    handle: (request) =>
      withVersion(request.query.get("version"), (version) =>
        orRefused(Bodies.eventOf(request, version), (event) =>
          andThen(gateway.check(event, version, event.body), validated)
        )
      )
  },
  {
    method: "POST",
    path: "/cloudevents",
    id: "sendCloudEvents",
    right: "send",
    clients: (request) => clientsOf(CloudEvents.read(request)),
    summary: "Sends CloudEvents 1.0 of the type <client>.<event>: structured, binary, or a batch.",
    takes: {
      "application/cloudevents+json": { $ref: "#/components/schemas/CloudEvent" },
      "application/cloudevents-batch+json": {
        type: "array",
        maxItems: options.batchMax,
        items: { $ref: "#/components/schemas/CloudEvent" }
      },
      ...anyJson,
      ...anyBytes
    },
    headers: CloudEvents.headers,
    gives: { status: 200, schema: "Sent" },
    many: true,
    problems: sending,
    handle: (request) => cloudEvents(send, request, options.batchMax)
  }
]

// ---------------------------------------------------------------------------------------------------- schemas

const register = Effect.fnUntraced(function* (gateway: Gateway, request: HttpRequest) {
  const asked = Bodies.newSchemaOf(request)
  if (Result.isFailure(asked)) return refused(asked.failure)
  const registered = yield* gateway.register(asked.success)
  switch (registered._tag) {
    case "Registered":
      return Answers.json(201, Answers.versionText(registered.version, true))
    case "Unchanged":
      return Answers.json(200, Answers.versionText(registered.version, true))
    default:
      return Answers.response(Answers.problemOf(registered))
  }
})

const get = (gateway: Gateway, request: HttpRequest, version: number | undefined) =>
  Effect.map(gateway.get(Bodies.subjectOf(request), version), versionAnswer)

const deprecate = (gateway: Gateway, request: HttpRequest, version: number | undefined) =>
  orRefused(Bodies.deprecatedOf(request), (deprecated) =>
    Effect.map(gateway.deprecate(Bodies.subjectOf(request), version, deprecated), versionAnswer)
  )

const versionAnswer = (found: Found<SchemaVersion>): HttpResponse =>
  found._tag === "Found"
    ? Answers.json(200, Answers.versionText(found.value, true), Answers.warnings([found.value]))
    : Answers.response(Answers.problemOf(found))

const listed = (name: string, found: Found<ReadonlyArray<SchemaVersion>>): HttpResponse =>
  found._tag === "Found"
    ? Answers.json(200, `{"${name}":[${found.value.map((one) => Answers.versionText(one, false)).join(",")}]}`)
    : Answers.response(Answers.problemOf(found))

// ---------------------------------------------------------------------------------------------------- events

const sendOne = (send: GatewaySend, event: Incoming): Ready<HttpResponse> => andThen(send.one(event), Answers.sent)

const sendAll = (send: GatewaySend, events: ReadonlyArray<Incoming>): Effect.Effect<HttpResponse> =>
  Effect.map(send.all(events), (sent) => Answers.results(sent, warningsOf(sent)))

const warningsOf = (sent: ReadonlyArray<Sent>) =>
  Answers.warnings(sent.flatMap((one) => (one._tag === "Sent" ? [one.version] : [])))

const validated = (checked: Checked): HttpResponse => {
  switch (checked._tag) {
    case "Valid":
      return validation(checked.version, [])
    case "Violations":
      return validation(checked.version, checked.violations)
    case "Unreadable":
      return validation(checked.version, [{ path: "payload", message: checked.reason }])
    default:
      return Answers.response(Answers.itemOf(checked))
  }
}

const validation = (version: SchemaVersion, violations: ReadonlyArray<unknown>): HttpResponse =>
  Answers.response(
    { status: 200, valid: violations.length === 0, version: version.version, violations },
    Answers.warnings([version])
  )

/** Whose events they are, as far as they can be read. */
const clientsOf = (read: ReturnType<typeof CloudEvents.read>): ReadonlyArray<string> => {
  if (Result.isFailure(read)) return []
  if (read.success._tag === "One") return [read.success.event.client]
  return read.success.events.flatMap((one) => (Result.isSuccess(one) ? [one.success.client] : []))
}

const cloudEvents = (send: GatewaySend, request: HttpRequest, batchMax: number): Ready<HttpResponse> => {
  const read = CloudEvents.read(request)
  if (Result.isFailure(read)) return refused(`not a CloudEvent: ${read.failure}`)
  if (read.success._tag === "One") return sendOne(send, read.success.event)
  const { events } = read.success
  if (events.length > batchMax) return refused(`a batch may hold ${batchMax} events`)
  const good = events.filter(Result.isSuccess).map(({ success }) => success)
  return Effect.map(send.all(good), (sent) => {
    let next = 0
    const results = events.map((one) =>
      Result.isSuccess(one) ? sent[next++]! : Answers.problem("request-invalid", `not a CloudEvent: ${one.failure}`)
    )
    return Answers.results(results, warningsOf(sent))
  })
}

// ---------------------------------------------------------------------------------------------------- requests

const refused = (reason: string): HttpResponse => Answers.response(Answers.problem("request-invalid", reason))

const orRefused = <A>(read: Result.Result<A, string>, then: (value: A) => Ready<HttpResponse>): Ready<HttpResponse> =>
  Result.isSuccess(read) ? then(read.success) : refused(read.failure)

/** Looks at what every request must be, before its own route does. */
const readable = (one: Operation): Operation => {
  const { handle, problems, takes, versioned = false } = one
  const known = versioned ? ["version"] : []
  const takesBytes = takes !== undefined && "application/octet-stream" in takes
  const more =
    takes === undefined ? (["request-invalid"] as const) : (["request-invalid", "content-unsupported"] as const)
  return {
    ...one,
    problems: [...new Set([...problems, ...more])],
    handle: (request) => {
      const wrong = GatewayContent.queryProblem(request.query, known)
      if (wrong !== undefined) return refused(wrong)
      if (takes === undefined) return handle(request)
      const contentType = request.headers["content-type"] ?? ""
      const isText = !takesBytes || isJson(contentType) || /^application\/cloudevents/i.test(contentType)
      const unread = GatewayContent.problem(request, isText)
      if (unread === undefined) return handle(request)
      return Answers.response(Answers.problem("content-unsupported", unread.reason), unread.headers)
    }
  }
}

const withVersion = (
  text: string | null | undefined,
  then: (version: number | undefined) => Ready<HttpResponse>
): Ready<HttpResponse> => orRefused(Bodies.versionOf(text ?? "latest"), then)
