/** Reads CloudEvents 1.0, structured and binary: the payload is the event with its attributes and `data`. */
import { Buffer } from "node:buffer"
import { Effect, Result, Schema } from "effect"
import { type Codec, DecodeError } from "../services/Codec.ts"
import * as Component from "../services/Component.ts"
import * as Envelope from "../services/Envelope.ts"
import * as Utf8 from "./Utf8.ts"

type Read = Result.Result<Readonly<Record<string, unknown>>, string>

/** Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md */
export const make: Codec = {
  name: "cloudevents",
  decode: (envelope) => {
    const read = Envelope.header(envelope, "ce-specversion") === undefined ? structured(envelope) : binary(envelope)
    const event = Result.flatMap(read, checked)
    if (Result.isFailure(event)) return Effect.fail(new DecodeError({ reason: `not a CloudEvent: ${event.failure}` }))
    const { id, source } = event.success
    return {
      envelope: { ...envelope, id: `${source}/${id}` },
      payload: event.success,
      key: keyOf(event.success, envelope)
    }
  }
}

export const component = Component.codec({
  type: "cloudevents",
  summary: "CloudEvents 1.0, structured (JSON) and binary (headers ce-*); payload.type, payload.data and so on.",
  options: Schema.Struct({}),
  make: () => Effect.succeed(make)
})

const structured = ({ payload }: Envelope.Envelope): Read => Result.flatMap(json(payload), objectOf)

const binary = (envelope: Envelope.Envelope): Read => {
  const event: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(envelope.headers)) {
    const lower = name.toLowerCase()
    if (lower.startsWith("ce-")) event[lower.slice(3)] = percentDecoded(value)
  }
  const type = Envelope.header(envelope, "content-type")
  if (type !== undefined) event.datacontenttype = type
  if (envelope.payload.length === 0) return Result.succeed(event)
  if (type === undefined || isJson(type)) {
    return Result.map(json(envelope.payload), (data) => ({ ...event, data }))
  }
  const text = Utf8.decode(envelope.payload)
  return Result.succeed(
    text === undefined
      ? { ...event, data_base64: Buffer.from(envelope.payload).toString("base64") }
      : { ...event, data: text }
  )
}

/** The attributes every event must have, as the specification names them. */
const checked = (event: Readonly<Record<string, unknown>>): Read => {
  if (event.specversion !== "1.0") return Result.fail(`specversion is ${JSON.stringify(event.specversion)}, not "1.0"`)
  for (const name of ["id", "source", "type"]) {
    if (typeof event[name] !== "string" || event[name] === "") return Result.fail(`${name} is not a non-empty text`)
  }
  if (event.data_base64 === undefined) return Result.succeed(event)
  if (typeof event.data_base64 !== "string") return Result.fail("data_base64 is not text")
  return Result.succeed(event)
}

/** The partitioning extension, otherwise the record's own key. */
const keyOf = (event: Readonly<Record<string, unknown>>, { key }: Envelope.Envelope): string | undefined =>
  typeof event.partitionkey === "string" ? event.partitionkey : key

const json = (bytes: Uint8Array): Result.Result<unknown, string> => {
  const text = Utf8.decode(bytes)
  if (text === undefined) return Result.fail("not UTF-8 text")
  return Result.try({ try: () => JSON.parse(text), catch: (error) => `not JSON: ${(error as SyntaxError).message}` })
}

const objectOf = (value: unknown): Read =>
  typeof value === "object" && value !== null && !Array.isArray(value)
    ? Result.succeed(value as Readonly<Record<string, unknown>>)
    : Result.fail("not a JSON object")

const isJson = (type: string): boolean => /^[^;]*[/+]json\s*(;|$)/i.test(type)

const percentDecoded = (value: string): string =>
  Result.getOrElse(
    Result.try(() => decodeURIComponent(value)),
    () => value
  )
