/** The answers of /api/v1: what was asked for as JSON, and problems as RFC 9457 has them, each with a stable code. */
import { DateTime } from "effect"
import type { Denial } from "../services/GatewayAccess.ts"
import type { HttpResponse } from "../services/HttpHost.ts"
import type { SchemaVersion } from "../services/SchemaRegistry.ts"
import type { Checked, Found, Registered } from "./Gateway.ts"
import type { Sent } from "./GatewaySend.ts"

/** The codes there are, with their statuses: clients may rely on both. */
export const codes = {
  "name-invalid": 400,
  "request-invalid": 400,
  unauthorized: 401,
  forbidden: 403,
  "not-registered": 404,
  "already-registered": 409,
  "name-taken": 409,
  "schema-conflict": 409,
  "content-unsupported": 415,
  "event-unreadable": 415,
  "schema-invalid": 422,
  "event-invalid": 422,
  "event-refused": 422,
  "too-many-requests": 429,
  "schema-unusable": 500,
  "registry-failed": 500,
  "not-published": 502,
  busy: 503
} as const

export type Code = keyof typeof codes

export interface Problem {
  readonly status: number
  readonly code: Code
  /** One sentence. */
  readonly detail: string
  readonly [more: string]: unknown
}

/** What went well, as the fields of an answer. */
export interface Done {
  readonly status: 200 | 201
  readonly [more: string]: unknown
}

/** Units: violations in the answer to an event that was sent; a dry run gives all. */
const violationsMax = 100

export const problem = (code: Code, detail: string, more: Readonly<Record<string, unknown>> = {}): Problem => ({
  status: codes[code],
  code,
  detail,
  ...more
})

/** What any request may be answered, where access is asked for. */
export const denials = ["unauthorized", "forbidden", "too-many-requests", "busy"] as const

const deniedCodes = { 401: "unauthorized", 403: "forbidden", 429: "too-many-requests", 503: "busy" } as const

export const denied = ({ reason, status }: Denial): HttpResponse => response(problem(deniedCodes[status], reason))

type Failed =
  | Exclude<Sent, { readonly _tag: "Sent" }>
  | Exclude<Checked, { readonly _tag: "Valid" }>
  | Exclude<Registered, { readonly _tag: "Registered" | "Unchanged" }>
  | Exclude<Found<never>, { readonly _tag: "Found" }>

export const problemOf = (failed: Failed): Problem => {
  switch (failed._tag) {
    case "BadName":
      return problem("name-invalid", failed.reason)
    case "Unregistered":
      return problem("not-registered", failed.reason)
    case "Exists":
      return problem("already-registered", failed.reason)
    case "NameTaken":
      return problem("name-taken", failed.reason)
    case "Conflict":
      return problem("schema-conflict", `it cannot follow version ${failed.latest}`, { reasons: failed.reasons })
    case "Invalid":
      return problem("schema-invalid", failed.reason)
    case "Unreadable":
      return problem("event-unreadable", failed.reason, { version: failed.version.version })
    case "Violations": {
      const { length } = failed.violations
      return problem("event-invalid", `${length} ${length === 1 ? "violation" : "violations"} of the schema`, {
        version: failed.version.version,
        violations: failed.violations.slice(0, violationsMax)
      })
    }
    case "Refused":
      return problem("event-refused", failed.reason)
    case "Unsent":
      return problem("not-published", "the stream did not take the event; it is kept for the operator", {
        id: failed.id
      })
    case "Busy":
      return problem("busy", failed.reason)
    case "Away":
      // The reason may name what stands behind the gateway, which is no business of the sender.
      return failed.retryable
        ? problem("busy", failed.told ?? "the registry of schemas cannot be asked just now")
        : problem("registry-failed", "the registry of schemas refused it")
  }
}

/** One that was sent has been published, or why it was not: the same for one alone and one of a batch. */
export const itemOf = (sent: Sent): Done | Problem =>
  sent._tag === "Sent"
    ? {
        status: 200,
        id: sent.id,
        client: sent.version.client,
        event: sent.version.event,
        version: sent.version.version
      }
    : sent._tag === "Invalid"
      ? problem("schema-unusable", sent.reason)
      : problemOf(sent)

export const response = (
  { status, ...fields }: Done | Problem,
  headers: HttpResponse["headers"] = {}
): HttpResponse => {
  if (status < 300) return json(status, JSON.stringify(fields), headers)
  const retry = status === 503 ? { "retry-after": "1" } : {}
  return {
    status,
    headers: { ...retry, ...headers, "content-type": "application/problem+json" },
    body: JSON.stringify({ title: titles[status], status, ...fields })
  }
}

export const json = (status: number, body: string, headers: HttpResponse["headers"] = {}): HttpResponse => ({
  status,
  headers: { ...headers, "content-type": "application/json" },
  body
})

/** Of one event that was sent. */
export const sent = (one: Sent): HttpResponse =>
  one._tag === "Sent" ? response(itemOf(one), warnings([one.version])) : response(itemOf(one))

/** One status for all that ended alike, otherwise 207. */
export const results = (sent: ReadonlyArray<Sent | Problem>, headers: HttpResponse["headers"] = {}): HttpResponse => {
  const results = sent.map((one) => ("_tag" in one ? itemOf(one as Sent) : one))
  const statuses = new Set(results.map(({ status }) => status))
  const status = statuses.size > 1 ? 207 : ([...statuses][0] ?? 200)
  const retry = status === 503 ? { "retry-after": "1" } : {}
  return json(status, JSON.stringify({ results }), { ...retry, ...headers })
}

/** A deprecated schema does its work, and says so. Source: RFC 9111, 5.5. */
export const warnings = (versions: Iterable<SchemaVersion>): Readonly<Record<string, string>> => {
  const old: Array<string> = []
  for (const { client, deprecated, event, version } of versions) {
    if (deprecated) old.push(`299 - "version ${version} of ${client}.${event} is deprecated"`)
  }
  return old.length === 0 ? {} : { warning: [...new Set(old)].slice(0, 10).join(", ") }
}

/** A version as JSON text, with its schema as it was registered where it is wanted. */
export const versionText = (version: SchemaVersion, withSchema: boolean): string => {
  const { registeredAt, schema, ...fields } = version
  const rest = JSON.stringify({ ...fields, registeredAt: DateTime.formatIso(DateTime.makeUnsafe(registeredAt)) })
  if (!withSchema) return rest
  return `${rest.slice(0, -1)},"schema":${version.type === "protobuf" ? JSON.stringify(schema) : schema}}`
}

const titles: Readonly<Record<number, string>> = {
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  409: "Conflict",
  415: "Unsupported Media Type",
  422: "Unprocessable Content",
  429: "Too Many Requests",
  500: "Internal Server Error",
  502: "Bad Gateway",
  503: "Service Unavailable"
}
