/** An event of EventRelay as an envelope's bytes, and those, or a webhook's body, as the event with `data` as a value. */
import { Effect, Result } from "effect"
import { type Codec, DecodeError } from "../services/Codec.ts"
import type { RelayEvent } from "../services/EventRelay.ts"
import * as Utf8Text from "./Utf8Text.ts"

/** What a pipeline sees: the fields of event_relay.proto, and `data` as what its JSON says. */
export interface Payload extends Omit<RelayEvent, "data"> {
  readonly data: unknown
}

/** An event whose bytes were written here, beside them: reading them again costs 7 times as much. */
const written = Symbol("written")

interface Written {
  readonly [written]?: { readonly event: RelayEvent; readonly bytes: Uint8Array }
}

/** For the envelope of an event's bytes: whoever decodes it finds the event itself. */
export const knownAs = (event: RelayEvent, bytes: Uint8Array): Written => ({ [written]: { event, bytes } })

/** JSON with the fields of event_relay.proto by their names there; `data` stays the text it is. */
export const bytesOf = (event: RelayEvent): Uint8Array => utf8.encode(JSON.stringify(event))

/** The record's own key: the group, where there is one. */
export const keyOf = ({ group_key }: Pick<RelayEvent, "group_key">): string | undefined =>
  group_key === "" ? undefined : group_key

/** Fails: with a sentence that says what its `data` is instead of JSON. */
export const payloadOf = (event: RelayEvent): Result.Result<Payload, string> =>
  Result.map(dataOf(event.data), (data) => ({ ...event, context: { ...event.context }, data }))

/**
 * Reads what `bytesOf` wrote, or the body of a webhook of EventRelay, in which the event's `data` stands as a value.
 *
 * Fails: with a sentence that says what it is not.
 */
export const read = (bytes: Uint8Array): Result.Result<Payload, string> => {
  const text = Utf8Text.read(bytes)
  if (text === undefined) return Result.fail("not UTF-8 text")
  const body = json(Utf8Text.withoutMark(text))
  if (Result.isFailure(body)) return Result.fail(`not JSON: ${body.failure}`)
  if (!isObject(body.success)) return Result.fail("not an event of EventRelay: expected an object")
  return isWebhook(body.success) ? ofWebhook(body.success.data) : ofEvent(body.success)
}

export const codec: Codec = {
  name: "eventrelay",
  decode: (envelope) => {
    const known = (envelope as Written)[written]
    const payload = known?.bytes === envelope.payload ? payloadOf(known.event) : read(envelope.payload)
    return Result.isFailure(payload)
      ? Effect.fail(new DecodeError({ reason: payload.failure }))
      : { envelope, payload: payload.success, key: envelope.key ?? keyOf(payload.success) }
  }
}

interface Read {
  readonly [name: string]: unknown
}

const utf8 = new TextEncoder()

const isObject = (value: unknown): value is Read => typeof value === "object" && value !== null && !Array.isArray(value)

/** `{ timestamp, type, data }`, where `data` is the event; an event itself has a name. */
const isWebhook = (body: Read): body is { readonly data: Read } =>
  Object.hasOwn(body, "timestamp") && isObject(body.data) && !Object.hasOwn(body, "name")

const ofEvent = (event: Read): Result.Result<Payload, string> => {
  if (typeof event.name !== "string") return expected("name", "text", event.name)
  if (typeof event.data !== "string") return expected("data", "JSON as text", event.data)
  const data = dataOf(event.data)
  if (Result.isFailure(data)) return Result.fail(data.failure)
  // What the source wrote has them all; whoever else writes such an event may leave some out.
  return Result.succeed(
    [event.id, event.topic, event.group_key].every((text) => typeof text === "string") && isObject(event.context)
      ? ({ ...event, data: data.success } as unknown as Payload)
      : whole(event, data.success)
  )
}

/**
 * An event as it lies in the server's tables: what is not there is null, the topic is in two parts, and `data` and its
 * schema are values. Fields of its own, and what a transformer has put there, stay.
 */
const ofWebhook = (event: Read): Result.Result<Payload, string> => {
  if (typeof event.name !== "string") return expected("data.name", "text", event.name)
  return Result.succeed(whole(event, event.data ?? null))
}

const texts = [
  "id",
  "source",
  "group_key",
  "reference_key",
  "trace_key",
  "user_key",
  "anonymous_key",
  "occurred_at",
  "prev_id",
  "available_at"
] as const

const whole = (event: Read, data: unknown): Payload => ({
  ...event,
  ...(Object.fromEntries(texts.map((name) => [name, textOf(event[name])])) as Record<(typeof texts)[number], string>),
  name: textOf(event.name),
  topic: topicOf(event),
  data,
  context: isObject(event.context)
    ? Object.fromEntries(Object.entries(event.context).map(([name, value]) => [name, textOf(value)]))
    : {},
  offset: typeof event.offset === "number" ? event.offset : 0,
  errors: Array.isArray(event.errors) ? event.errors.map(textOf) : [],
  data_schema: textOf(event.data_schema)
})

/** Such as `users` or `users:123`. */
const topicOf = ({ topic, topic_identifier, topic_name }: Read): string => {
  if (typeof topic === "string") return topic
  return typeof topic_identifier === "string" && topic_identifier !== ""
    ? `${textOf(topic_name)}:${topic_identifier}`
    : textOf(topic_name)
}

const textOf = (value: unknown): string =>
  typeof value === "string" ? value : value === undefined || value === null ? "" : JSON.stringify(value)

const dataOf = (text: string): Result.Result<unknown, string> =>
  Result.mapError(json(text), (reason) => `data is not JSON: ${reason}`)

const json = (text: string): Result.Result<unknown, string> =>
  Result.try({ try: () => JSON.parse(text) as unknown, catch: (error) => (error as SyntaxError).message })

const expected = (path: string, what: string, found: unknown): Result.Result<never, string> =>
  Result.fail(`not an event of EventRelay: ${path} is ${found === undefined ? "missing" : `not ${what}`}`)
