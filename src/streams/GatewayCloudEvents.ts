/** Reads CloudEvents 1.0 as events of the gateway: the type is `<client>.<event>`. */
import { Result } from "effect"
import * as Base64 from "effect/encoding/Base64"
import type { HttpRequest } from "../services/HttpHost.ts"
import { type Body, eventIn, type Incoming, isJson, parse, readEvent, traceOf } from "./GatewaySend.ts"
import * as JsonText from "./JsonText.ts"

/** One event, several, or what is no CloudEvent: why not. */
export type Read =
  | { readonly _tag: "One"; readonly event: Incoming }
  | { readonly _tag: "Many"; readonly events: ReadonlyArray<Result.Result<Incoming, string>> }

/** Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md */
export const read = (request: HttpRequest): Result.Result<Read, string> => {
  const contentType = (request.headers["content-type"] ?? "").toLowerCase()
  if (contentType.startsWith("application/cloudevents-batch")) return batch(request)
  const one = contentType.startsWith("application/cloudevents") ? structured(request) : binary(request)
  return Result.map(one, (event) => ({ _tag: "One", event }))
}

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
  return Result.flatMap(bodyOf(text, data, data_base64, attributes.datacontenttype), (body) =>
    incoming(attributes, body, request)
  )
}

const bodyOf = (text: string, data: unknown, base64: unknown, type: unknown): Result.Result<Body, string> => {
  if (base64 !== undefined) {
    if (typeof base64 !== "string") return Result.fail("data_base64 is no text")
    const bytes = Base64.decode(base64)
    if (Result.isFailure(bytes)) return Result.fail("data_base64 is no base64")
    return ofType(bytes.success, type)
  }
  if (typeof data === "string" && typeof type === "string" && !isJson(type)) {
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
  return Result.flatMap(ofType(request.body, type), (body) =>
    incoming(type === undefined ? attributes : { ...attributes, datacontenttype: type }, body, request)
  )
}

const ofType = (bytes: Uint8Array, type: unknown): Result.Result<Body, string> => {
  if (type !== undefined && (typeof type !== "string" || !isJson(type))) return Result.succeed({ _tag: "Bytes", bytes })
  if (bytes.length === 0) return Result.succeed(eventIn("null", null))
  return readEvent(bytes)
}

/** The attributes every event must have, as the specification names them. */
const incoming = (attributes: Attributes, body: Body, request: HttpRequest): Result.Result<Incoming, string> => {
  const { datacontenttype = "application/json", id, partitionkey, source, specversion, type } = attributes
  if (specversion !== "1.0") return Result.fail(`specversion is ${JSON.stringify(specversion)}, not "1.0"`)
  for (const [name, value] of Object.entries({ id, source, type, datacontenttype })) {
    if (typeof value !== "string" || value === "") return Result.fail(`${name} is no text, or empty`)
  }
  const dot = (type as string).indexOf(".")
  if (dot < 0) return Result.fail("type is not <client>.<event>")
  const headers: Record<string, string> = { ...traceOf(request) }
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "datacontenttype" || value === null) continue
    // Source: the specification's naming of attributes; it is also what makes them headers.
    if (!/^[a-z0-9]{1,64}$/.test(name)) return Result.fail(`${JSON.stringify(name)} is no name of an attribute`)
    if (typeof value === "object") return Result.fail(`${name} is no text, number or boolean`)
    headers[`ce-${name}`] = `${value}`
  }
  return Result.succeed({
    client: (type as string).slice(0, dot),
    event: (type as string).slice(dot + 1),
    body,
    contentType: datacontenttype as string,
    // Two of them are one only when both parts are the same: a source is a URI, and may end where an id begins.
    id: `ce:${escaped(source)}#${escaped(id)}`,
    key: typeof partitionkey === "string" ? partitionkey : undefined,
    headers
  })
}

const percentDecoded = (value: string): string =>
  Result.getOrElse(
    Result.try(() => decodeURIComponent(value)),
    () => value
  )

const escaped = (text: unknown): string => encodeURIComponent(String(text).toWellFormed())
