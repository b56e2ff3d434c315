/** Reads what requests of /api/v1 bring: new schemas, events, batches, versions. */
import { Result, Schema } from "effect"
import type { HttpRequest } from "../services/HttpHost.ts"
import { Compatibility, SchemaType, type Subject } from "../services/SchemaRegistry.ts"
import type { NewSchema } from "./Gateway.ts"
import { type Body, type Incoming, isJson, parse, traceOf } from "./GatewaySend.ts"
import * as JsonText from "./JsonText.ts"

export const subjectOf = ({ params }: HttpRequest): Subject => ({ client: params.client!, event: params.event! })

/** Undefined stands for the latest. */
export const versionOf = (text: string): Result.Result<number | undefined, string> => {
  if (text === "latest") return Result.succeed(undefined)
  // Units: what a registry can count to.
  return /^[1-9]\d{0,8}$/.test(text)
    ? Result.succeed(Number(text))
    : Result.fail("a version is a whole number from 1, or latest")
}

export const newSchemaOf = (request: HttpRequest): Result.Result<NewSchema, string> =>
  Result.flatMap(objectOf(request, ["type", "schema", "compatibility"]), ({ texts, value }) => {
    const { compatibility, schema, type = "json" } = value
    if (!Schema.is(SchemaType)(type)) return Result.fail("type is not json, avro or protobuf")
    if (compatibility !== undefined && !Schema.is(Compatibility)(compatibility)) {
      return Result.fail("compatibility is not none, backward, forward or full")
    }
    if (schema === undefined) return Result.fail("there is no schema")
    if (type === "protobuf" && typeof schema !== "string") return Result.fail("schema is not the text of a .proto file")
    const text = typeof schema === "string" ? schema : texts.get("schema")!
    return Result.succeed({ ...subjectOf(request), type, schema: text, compatibility })
  })

export const deprecatedOf = (request: HttpRequest): Result.Result<boolean, string> => {
  if (request.body.length === 0) return Result.succeed(true)
  return Result.flatMap(objectOf(request, ["deprecated"]), ({ value: { deprecated = true } }) =>
    typeof deprecated === "boolean" ? Result.succeed(deprecated) : Result.fail("deprecated is not true or false")
  )
}

/** One event: JSON where it says so or says nothing, otherwise bytes for the schema's language to read. */
export const eventOf = (request: HttpRequest, version: number | undefined): Result.Result<Incoming, string> => {
  const contentType = request.headers["content-type"] ?? "application/json"
  const body: Result.Result<Body, string> = isJson(contentType)
    ? Result.map(parse(request.body), (read) => ({ _tag: "Value", ...read }))
    : Result.succeed({ _tag: "Bytes", bytes: request.body })
  return Result.map(body, (body) => ({
    ...subjectOf(request),
    version,
    body,
    contentType,
    id: keyOf(request),
    headers: traceOf(request)
  }))
}

/** A JSON array of events; the request's key and an event's place make the event's own key. */
export const eventsOf = (
  request: HttpRequest,
  version: number | undefined,
  batchMax: number
): Result.Result<ReadonlyArray<Incoming>, string> =>
  Result.flatMap(parse(request.body), ({ text, value }) => {
    const texts = JsonText.items(text)
    if (texts === undefined || !Array.isArray(value)) return Result.fail("a batch is a JSON array of events")
    if (texts.length > batchMax) return Result.fail(`a batch may hold ${batchMax} events`)
    const key = keyOf(request)
    const headers = traceOf(request)
    return Result.succeed(
      texts.map((text, i) => ({
        ...subjectOf(request),
        version,
        body: { _tag: "Value", text, value: value[i] as unknown },
        contentType: "application/json",
        id: key === undefined ? undefined : `${key}#${i}`,
        headers
      }))
    )
  })

/** A JSON object of these fields and no others, since a misspelt one would be a wish that nobody heard. */
const objectOf = (request: HttpRequest, fields: ReadonlyArray<string>) =>
  Result.flatMap(parse(request.body), ({ text, value }) => {
    const texts = JsonText.members(text)
    if (texts === undefined) return Result.fail("the body is no JSON object")
    const unknown = [...texts.keys()].find((name) => !fields.includes(name))
    if (unknown !== undefined) {
      return Result.fail(`${JSON.stringify(unknown.slice(0, 100))} is not one of ${fields.join(", ")}`)
    }
    return Result.succeed({ texts, value: value as Readonly<Record<string, unknown>> })
  })

/** Escaped, so that the key of one event is never that of a batch and one of its events. */
export const keyOf = ({ headers }: HttpRequest): string | undefined => {
  const key = headers["idempotency-key"]
  return key === undefined || key === "" ? undefined : encodeURIComponent(key)
}
