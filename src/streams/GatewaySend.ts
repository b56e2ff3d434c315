/** Sends events through the gateway: checks each, gives the valid ones to the pipeline, and tells how each ended. */
import { Clock, Effect, Result } from "effect"
import type { Codec } from "../services/Codec.ts"
import type { Envelope } from "../services/Envelope.ts"
import type { HttpRequest } from "../services/HttpHost.ts"
import { andThen, later, type Ready } from "../services/Ready.ts"
import type { SchemaVersion, Subject } from "../services/SchemaRegistry.ts"
import type { Checked, Gateway } from "./Gateway.ts"
import type * as HttpIntake from "./HttpIntake.ts"
import * as Utf8Text from "./Utf8Text.ts"

/** An event as the bytes of its JSON text with what they say, or in a language's own bytes. */
export type Body =
  | { readonly _tag: "Value"; readonly bytes: Uint8Array; readonly value: unknown }
  | { readonly _tag: "Bytes"; readonly bytes: Uint8Array }

export interface Incoming extends Subject {
  /** Absent takes the latest. */
  readonly version?: number | undefined
  readonly body: Body
  readonly contentType: string
  /** The sender's own id, the same when it sends again; unique within its events of this name. */
  readonly id?: string | undefined
  readonly key?: string | undefined
  /** What goes with it: its trace, and the attributes of a CloudEvent. */
  readonly headers: Readonly<Record<string, string>>
}

export type Sent =
  | { readonly _tag: "Sent"; readonly id: string; readonly version: SchemaVersion }
  /** It will not go into the stream; it may lie in the dead letters. */
  | { readonly _tag: "Unsent"; readonly id: string }
  | { readonly _tag: "Refused"; readonly reason: string }
  /** To be sent again. */
  | { readonly _tag: "Busy"; readonly reason: string }
  | Exclude<Checked, { readonly _tag: "Valid" }>

export interface GatewaySend {
  readonly one: (event: Incoming) => Ready<Sent>
  /** In the order of the events. Units: 1 to 1,000 events. */
  readonly all: (events: ReadonlyArray<Incoming>) => Effect.Effect<ReadonlyArray<Sent>>
  /** Gives what was checked, without reading it a second time. */
  readonly codec: Codec
}

export const make = Effect.fnUntraced(function* (gateway: Gateway, intake: HttpIntake.HttpIntake) {
  const clock = yield* Clock.Clock
  const source = intake.source.name

  const envelopeOf = (event: Incoming, version: SchemaVersion, value: unknown): Envelope =>
    new Valid(source, event, version, value, clock.currentTimeMillisUnsafe())

  const check = (event: Incoming): Ready<Checked | typeof longId> =>
    (event.id?.length ?? 0) > idMax ? longId : gateway.check(event, event.version, event.body)

  const one = (event: Incoming): Ready<Sent> =>
    andThen(check(event), (checked): Ready<Sent> => {
      if (checked._tag !== "Valid") return checked
      const { value, version } = checked
      const envelope = envelopeOf(event, version, value)
      return intake.one<Sent>(envelope, (ended) => sentOf(ended, envelope.id, version))
    })

  const all = Effect.fnUntraced(function* (events: ReadonlyArray<Incoming>) {
    const results: Array<Sent> = []
    const open: Array<{ readonly i: number; readonly envelope: Envelope; readonly version: SchemaVersion }> = []
    for (const [i, event] of events.entries()) {
      const checked = yield* later(check(event))
      if (checked._tag !== "Valid") results[i] = checked
      else open.push({ i, envelope: envelopeOf(event, checked.version, checked.value), version: checked.version })
      // Checks are work of the one thread there is: others have their turn in between.
      if (i % 32 === 31) yield* Effect.yieldNow
    }
    if (open.length === 0) return results
    const envelopes = open.map(({ envelope }) => envelope)
    return yield* later(
      intake.all(envelopes, (ended) => {
        for (const [k, { envelope, i, version }] of open.entries()) results[i] = sentOf(ended[k]!, envelope.id, version)
        return results as ReadonlyArray<Sent>
      })
    )
  })

  const codec: Codec = {
    name: "gateway",
    decode: (envelope) => ({
      envelope,
      // A replayed dead letter has been checked when it came.
      payload: envelope instanceof Valid ? envelope.value : parsed(envelope),
      key: envelope.key
    })
  }
  return { all, codec, one } satisfies GatewaySend as GatewaySend
})

/** An event that was checked, with what was read for that; a copy has its fields only. */
class Valid implements Envelope {
  readonly id: string
  readonly source: string
  readonly key: string | undefined
  readonly headers: Readonly<Record<string, string>>
  readonly payload: Uint8Array
  readonly receivedAt: number
  readonly attempt = 1
  readonly #value: unknown

  constructor(source: string, incoming: Incoming, { version }: SchemaVersion, value: unknown, receivedAt: number) {
    const { body, client, contentType, event, headers, key } = incoming
    this.id = idOf(incoming)
    this.source = source
    this.key = key
    this.headers = { ...headers, client, event, version: `${version}`, "content-type": contentType }
    this.payload = body.bytes
    this.receivedAt = receivedAt
    this.#value = value
  }

  get value(): unknown {
    return this.#value
  }
}

/** Units: characters of an id; it is kept for as long as copies are told apart. */
const idMax = 1024
const longId = { _tag: "Refused", reason: `its id has more than ${idMax} characters` } as const

/** Whether the sender gave this id: only then can a second copy of it come. */
export const hasOwnId = ({ id }: Envelope): boolean => id.includes("/")

/** An id of one client must not be taken for that of another. */
const idOf = ({ client, event, id }: Incoming): string =>
  id === undefined || id === "" ? crypto.randomUUID() : `${client}.${event}/${id}`

const sentOf = (ended: HttpIntake.Ended, id: string, version: SchemaVersion): Sent => {
  switch (ended._tag) {
    case "Acked":
      return { _tag: "Sent", id, version }
    case "Buried":
      return { _tag: "Unsent", id }
    case "Refused":
      return { _tag: "Refused", reason: ended.reason }
    case "Nacked":
      // Its reason may name what stands behind the pipeline, which is no business of the sender.
      return { _tag: "Busy", reason: "the event could not be published just now" }
    case "Away":
      return { _tag: "Busy", reason: ended.reason }
  }
}

const utf8 = new TextEncoder()

const parsed = ({ headers, payload }: Envelope): unknown => {
  if (!isJson(headers["content-type"] ?? "")) return payload
  const value = parse(payload)
  return Result.isSuccess(value) ? value.success.value : payload
}

export const isJson = (contentType: string): boolean => /^[^;]*[/+]json\s*(;|$)/i.test(contentType)

/** Reads bytes as JSON, and keeps their text. Fails: with a sentence. */
export const parse = (bytes: Uint8Array): Result.Result<{ readonly text: string; readonly value: unknown }, string> => {
  const text = Utf8Text.read(bytes)
  return text === undefined ? Result.fail("not UTF-8 text") : parseText(Utf8Text.withoutMark(text))
}

export const parseText = (text: string): Result.Result<{ readonly text: string; readonly value: unknown }, string> => {
  try {
    return Result.succeed({ text, value: JSON.parse(text) as unknown })
  } catch (error) {
    return Result.fail(`not JSON: ${(error as Error).message}`)
  }
}

/** An event that is all of a body. Fails: with a sentence. */
export const readEvent = (bytes: Uint8Array): Result.Result<Body, string> =>
  Result.map(parse(bytes), ({ value }) => ({ _tag: "Value", bytes: Utf8Text.withoutMarkBytes(bytes), value }))

/** An event that stands in a larger text. */
export const eventIn = (text: string, value: unknown): Body => ({ _tag: "Value", bytes: utf8.encode(text), value })

/** The trace a request belongs to. */
export const traceOf = ({ headers }: HttpRequest): Readonly<Record<string, string>> => {
  const { traceparent, tracestate } = headers
  if (traceparent === undefined) return {}
  return tracestate === undefined ? { traceparent } : { traceparent, tracestate }
}
