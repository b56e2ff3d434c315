/** Reads CloudEvents 1.0 as events of the gateway: the type is `<client>.<event>`. */
import { Result } from "effect"
import * as Base64 from "effect/encoding/Base64"
import type { HttpRequest } from "../services/HttpHost.ts"
import * as CloudEventAttributes from "./CloudEventAttributes.ts"
import * as GatewayContent from "./GatewayContent.ts"
import { type Body, eventIn, type Incoming, isJson, parse, readEvent, traceOf } from "./GatewaySend.ts"
import * as JsonText from "./JsonText.ts"

/** One event, several, or what is no CloudEvent: why not. */
export type Read =
  | { readonly _tag: "One"; readonly event: Incoming }
  | { readonly _tag: "Many"; readonly events: ReadonlyArray<Result.Result<Incoming, string>> }

/** What a binary one says in headers, for whoever reads the description. */
export const headers: Readonly<Record<string, string>> = {
  "ce-specversion": "1.0",
  "ce-id": "names the event, together with ce-source",
  "ce-source": "a URI reference",
  "ce-type": "<client>.<event>",
  "ce-time": "a time as RFC 3339 has it",
  "ce-subject": "text",
  "ce-dataschema": "a URI",
  "ce-partitionkey": "the key of the event"
}

/** Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md */
export const read = (request: HttpRequest): Result.Result<Read, string> => {
  const contentType = (request.headers["content-type"] ?? "").toLowerCase()
  if (!contentType.startsWith("application/cloudevents")) return Result.map(binary(request), one)
  const [, isBatch, format = "json"] = /^application\/cloudevents(-batch)?(?:\+([^\s;]*))?/.exec(contentType) ?? []
  if (format !== "json") return Result.fail(`its format is ${format.slice(0, 100)}, and only json is read`)
  return isBatch === undefined ? Result.map(structured(request), one) : batch(request)
}

const one = (event: Incoming): Read => ({ _tag: "One", event })

type Attributes = Readonly<Record<string, unknown>>

const batch = (request: HttpRequest): Result.Result<Read, string> =>
  Result.flatMap(parse(request.body), ({ text, value }): Result.Result<Read, string> => {
    const texts = JsonText.items(text)
    if (texts === undefined || !Array.isArray(value)) return Result.fail("a batch of CloudEvents is a JSON array")
    return Result.succeed({ _tag: "Many", events: texts.map((one, i) => fromJson(one, value[i], request)) })
  })

const structured = (request: HttpRequest): Result.Result<Incoming, string> =>
  Result.flatMap(parse(request.body), ({ text, value }) => fromJson(text, value, request))

const fromJson = (text: string, value: unknown, request: HttpRequest): Result.Result<Incoming, string> => {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return Result.fail("it is no JSON object")
  const { data, data_base64, ...attributes } = value as Attributes
  return incoming(attributes, (type) => bodyOf(text, data, data_base64, type), request)
}

/** Null stands for none, as in attributes. */
const bodyOf = (text: string, data: unknown, base64: unknown, type: string): Result.Result<Body, string> => {
  if (base64 !== undefined && base64 !== null) {
    if (data !== undefined && data !== null) return Result.fail("data and data_base64 are both there")
    if (typeof base64 !== "string") return Result.fail("data_base64 is no text")
    const bytes = Base64.decode(base64)
    if (Result.isFailure(bytes)) return Result.fail("data_base64 is no base64")
    return ofType(bytes.success, type)
  }
  // What is text here goes on as UTF-8.
  const charset = isJson(type) || typeof data === "string" ? GatewayContent.charsetProblem(type) : undefined
  if (charset !== undefined) return Result.fail(`datacontenttype: ${charset}`)
  if (typeof data === "string" && !isJson(type)) {
    return Result.succeed({ _tag: "Bytes", bytes: new TextEncoder().encode(data) })
  }
  return Result.succeed(eventIn(JsonText.members(text)?.get("data") ?? "null", data ?? null))
}

const binary = (request: HttpRequest): Result.Result<Incoming, string> => {
  const attributes: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(request.headers)) {
    if (name.startsWith("ce-")) attributes[name.slice(3)] = percentDecoded(value)
  }
  if (attributes.specversion === undefined) {
    return Result.fail("it has neither a content-type application/cloudevents+json nor a header ce-specversion")
  }
  const type = request.headers["content-type"]
  const all = type === undefined ? attributes : { ...attributes, datacontenttype: type }
  return incoming(all, (type) => ofType(request.body, type), request)
}

const ofType = (bytes: Uint8Array, type: string): Result.Result<Body, string> => {
  if (!isJson(type)) return Result.succeed({ _tag: "Bytes", bytes })
  const charset = GatewayContent.charsetProblem(type)
  if (charset !== undefined) return Result.fail(`datacontenttype: ${charset}`)
  return bytes.length === 0 ? Result.succeed(eventIn("null", null)) : readEvent(bytes)
}

/** `bodyOf` reads its data by their content type. */
const incoming = (
  attributes: Attributes,
  bodyOf: (contentType: string) => Result.Result<Body, string>,
  request: HttpRequest
): Result.Result<Incoming, string> => {
  const wrong = CloudEventAttributes.problem(attributes)
  if (wrong !== undefined) return Result.fail(wrong)
  const { datacontenttype, id, partitionkey, source } = attributes
  const type = attributes.type as string
  const dot = type.indexOf(".")
  if (dot < 0) return Result.fail("type is not <client>.<event>")
  const contentType = (datacontenttype as string | null | undefined) ?? "application/json"
  const headers: Record<string, string> = { ...traceOf(request) }
  for (const [name, value] of Object.entries(attributes)) {
    if (name !== "datacontenttype" && value !== null) headers[`ce-${name}`] = `${value}`
  }
  return Result.map(bodyOf(contentType), (body) => ({
    client: type.slice(0, dot),
    event: type.slice(dot + 1),
    body,
    contentType,
    // Two of them are one only when both parts are the same: a source is a URI, and may end where an id begins.
    id: `ce:${escaped(source)}#${escaped(id)}`,
    key: (partitionkey as string | null | undefined) ?? undefined,
    headers
  }))
}

const percentDecoded = (value: string): string =>
  Result.getOrElse(
    Result.try(() => decodeURIComponent(value)),
    () => value
  )

const escaped = (text: unknown): string => encodeURIComponent(String(text).toWellFormed())
