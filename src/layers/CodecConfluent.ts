/** Reads records in Confluent's wire format: Avro, JSON Schema and Protobuf, by schemas from a schema registry. */
import { Effect, Result, Schema, type Scope } from "effect"
import { type Codec, DecodeError } from "../services/Codec.ts"
import * as Component from "../services/Component.ts"
import type { Envelope } from "../services/Envelope.ts"
import type { Event } from "../services/Event.ts"
import * as Fields from "../services/Fields.ts"
import { isLater, later } from "../services/Ready.ts"
import { SchemaLanguages, type Validator } from "../services/SchemaLanguage.ts"
import * as ConfluentClient from "./ConfluentClient.ts"
import * as ProtobufMessages from "./ProtobufMessages.ts"
import * as SchemaProtobuf from "./SchemaProtobuf.ts"
import * as Utf8 from "./Utf8.ts"

export type Options = ConfluentClient.Options

/** Source: https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format */
export const make: (options: Options) => Effect.Effect<Codec, Component.OptionsError, SchemaLanguages | Scope.Scope> =
  Effect.fnUntraced(function* (options: Options) {
    const client = yield* ConfluentClient.make(options)
    const languages = yield* SchemaLanguages
    const readers = new WeakMap<ConfluentClient.Registered, Map<string, Validator>>()

    const compiled = Effect.fnUntraced(function* (registered: ConfluentClient.Registered, { id, place }: Framed) {
      const { text, type } = registered
      const chosen =
        place.length === 0 ? Result.succeed(text) : ProtobufMessages.choose(text, place, SchemaProtobuf.defaults)
      if (Result.isFailure(chosen)) return yield* unusable(id, chosen.failure)
      const validator = yield* Effect.catchTag(
        languages.of(type).compile(chosen.success),
        "SchemaInvalid",
        ({ reason }) => unusable(id, reason)
      )
      const known = readers.get(registered) ?? new Map<string, Validator>()
      if (known.size < placesMax) known.set(place.join(), validator)
      readers.set(registered, known)
      return validator
    })
    const decodeLater = Effect.fnUntraced(function* (envelope: Envelope, id: number) {
      const registered = yield* later(client.schema(id))
      const framed = framedOf(envelope.payload, id, registered)
      if (framed instanceof DecodeError) return yield* framed
      const event = read(envelope, framed, yield* compiled(registered, framed))
      return event instanceof DecodeError ? yield* event : event
    })
    return {
      name: "confluent",
      decode: (envelope) => {
        if (envelope.tombstone === true) return { envelope, payload: null, key: envelope.key }
        const id = idOf(envelope.payload)
        if (id instanceof DecodeError) return Effect.fail(id)
        const registered = client.schema(id)
        if (isLater(registered)) return decodeLater(envelope, id)
        const framed = framedOf(envelope.payload, id, registered)
        if (framed instanceof DecodeError) return Effect.fail(framed)
        const validator = readers.get(registered)?.get(framed.place.join())
        if (validator === undefined) return decodeLater(envelope, id)
        const event = read(envelope, framed, validator)
        return event instanceof DecodeError ? Effect.fail(event) : event
      }
    }
  })

export const component = Component.codec({
  type: "confluent",
  summary:
    "Avro, JSON Schema and Protobuf in Confluent's wire format, by the schemas of a Confluent-compatible schema registry.",
  options: Schema.Struct({
    url: Fields.Url,
    username: Schema.optionalKey(Fields.Text),
    password: Schema.optionalKey(Fields.Secret),
    headers: Schema.optionalKey(Fields.Headers),
    /** For one request; while the registry is away it is asked again and again. */
    timeout: Fields.orElse(Fields.Duration, ConfluentClient.timeoutDefault)
  }),
  make: (options, { hide, pipeline }) => make({ ...options, hide, name: `${pipeline}: schema registry` })
})

/** Messages of one .proto file whose validators are kept. */
const placesMax = 64
/** Units: bytes of the magic byte and the id; numbers of a message's place. */
const headBytes = 5
const placeMax = 32

interface Framed {
  readonly id: number
  /** Where the message is declared; only Protobuf has one. */
  readonly place: ReadonlyArray<number>
  readonly body: Uint8Array
}

const unusable = (id: number, reason: string): DecodeError =>
  new DecodeError({ reason: `schema ${id} cannot be used: ${reason}` })

const idOf = (bytes: Uint8Array): number | DecodeError => {
  const wanted = "not in Confluent's wire format"
  if (bytes.length < headBytes) {
    return new DecodeError({
      reason: `${wanted}: ${bytes.length} bytes are too few for the magic byte and a schema id`
    })
  }
  if (bytes[0] !== 0) {
    const found = bytes[0]!.toString(16).padStart(2, "0")
    return new DecodeError({ reason: `${wanted}: it begins with 0x${found} instead of the magic byte 0x00` })
  }
  return ((bytes[1]! << 24) | (bytes[2]! << 16) | (bytes[3]! << 8) | bytes[4]!) >>> 0
}

const framedOf = (bytes: Uint8Array, id: number, { type }: ConfluentClient.Registered): Framed | DecodeError => {
  if (type !== "protobuf") return { id, place: none, body: bytes.subarray(headBytes) }
  const numbers = new Numbers(bytes, headBytes)
  const count = numbers.next()
  // The first message is what nearly all records are: it has a short form.
  if (count === 0) return { id, place: first, body: bytes.subarray(numbers.at) }
  const place: Array<number> = []
  if (count !== undefined && count > 0 && count <= placeMax) {
    for (let index = numbers.next(); index !== undefined && index >= 0; index = numbers.next()) {
      if (place.push(index) === count) return { id, place, body: bytes.subarray(numbers.at) }
    }
  }
  return new DecodeError({ reason: `schema ${id}: behind it there are no message indexes, as Protobuf has them` })
}

const none: ReadonlyArray<number> = []
const first: ReadonlyArray<number> = [0]

/** Zigzag varints of at most 32 bits. Source: https://protobuf.dev/programming-guides/encoding/#signed-ints */
class Numbers {
  at: number
  private readonly bytes: Uint8Array

  constructor(bytes: Uint8Array, at: number) {
    this.bytes = bytes
    this.at = at
  }

  /** Undefined when there is none. */
  next(): number | undefined {
    let bits = 0
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.bytes[this.at++]
      if (byte === undefined) return undefined
      bits |= (byte & 0x7f) << shift
      if (byte < 0x80) return (bits >>> 1) ^ -(bits & 1)
    }
    return undefined
  }
}

const read = (envelope: Envelope, { body, id }: Framed, { check, decode }: Validator): Event | DecodeError => {
  const value = decode === undefined ? json(body) : decode(body)
  if (Result.isFailure(value)) return new DecodeError({ reason: `schema ${id}: ${value.failure}` })
  const violations = check(value.success)
  if (violations.length > 0) {
    const said = violations.map(({ message, path }) => `${path} ${message}`).join("; ")
    return new DecodeError({ reason: `schema ${id}: ${said}` })
  }
  return { envelope, payload: value.success, key: envelope.key }
}

const json = (bytes: Uint8Array): Result.Result<unknown, string> => {
  const text = Utf8.decode(bytes)
  if (text === undefined) return Result.fail("not UTF-8 text")
  return Result.try({ try: () => JSON.parse(text), catch: (error) => `not JSON: ${(error as SyntaxError).message}` })
}
