/** What is read of a webhook's body before it is taken, by who sent it: whether it can be read, and its id. */
import { Effect, Result } from "effect"
import { type Codec, DecodeError } from "../services/Codec.ts"
import type { Envelope } from "../services/Envelope.ts"
import type { HttpRequest } from "../services/HttpHost.ts"
import type { Way } from "../services/WebhookAuth.ts"
import * as Hasura from "./Hasura.ts"
import type { Unreadable } from "./WebhookAnswers.ts"
import * as WebhookJson from "./WebhookJson.ts"

export const names = ["plain", "hasura", "github", "stripe", "standard-webhooks"] as const
export type Name = (typeof names)[number]

export interface Read {
  /** The sender's own, the same when it sends again; undefined where it gave none. */
  readonly id: string | undefined
  /** What the body says, where it was read. */
  readonly value?: { readonly json: unknown } | undefined
}

export interface Format {
  readonly read: (request: HttpRequest) => Result.Result<Read, Unreadable>
  /** Gives what was read; absent where the body was not. */
  readonly codec?: Codec | undefined
  /** What of a request that was read is kept, where that is not the request as it came. */
  readonly kept?: ((request: HttpRequest) => Kept) | undefined
}

type Kept = Pick<HttpRequest, "body" | "headers">

/** The one that the way in says, where it says one. */
export const nameOf = (ways: ReadonlyArray<Way>): Name => {
  const [first] = ways.flatMap(({ type }) => names.filter((name) => name === type))
  return first ?? "plain"
}

/** `loose` takes of Hasura what the older detectors take. */
export const format = (name: Name, loose?: "v0" | "v2"): Format => {
  switch (name) {
    case "hasura":
      return parsing(name, json, loose === undefined ? hasura : loose === "v0" ? anyObject : anyEvent)
    case "stripe":
      return parsing(name, json, stripe)
    case "github":
      return {
        ...parsing(name, jsonOrForm, ({ value }, headers) =>
          Result.succeed({ id: headers["x-github-delivery"], value: { json: value } })
        ),
        kept: formAsJson
      }
    case "standard-webhooks":
      return { read: ({ headers }) => limited(headers["webhook-id"]) }
    case "plain":
      return { read: ({ headers }) => limited(ownId(headers)) }
  }
}

/** A message that was taken, with what was read of it; a copy has the fields of an envelope only. */
export class Received implements Envelope {
  readonly id: string
  readonly source: string
  readonly key = undefined
  readonly headers: Readonly<Record<string, string>>
  readonly payload: Uint8Array
  readonly receivedAt: number
  readonly attempt = 1
  /** Whether the sender gave the id. */
  readonly #given: boolean
  readonly #value: Read["value"]

  constructor(source: string, { id, value }: Read, kept: Pick<Envelope, "headers" | "payload" | "receivedAt">) {
    this.id = id ?? crypto.randomUUID()
    this.source = source
    this.headers = kept.headers
    this.payload = kept.payload
    this.receivedAt = kept.receivedAt
    this.#given = id !== undefined
    this.#value = value
  }

  get value(): Read["value"] {
    return this.#value
  }

  /** Whether a second copy of it can come. What has another shape by now has an id that was read from it. */
  static repeats(envelope: Envelope): boolean {
    return !(envelope instanceof Received) || envelope.#given
  }
}

// ---------------------------------------------------------------------------------------------------- reading

type Headers = HttpRequest["headers"]
type Parse = (body: Uint8Array, headers: Headers) => Result.Result<unknown, string>
type Accept = (found: { readonly value: unknown }, headers: Headers) => Result.Result<Read, string>

const parsing = (name: Name, parse: Parse, accept: Accept): Format => ({
  read: ({ body, headers }) => {
    const value = parse(body, headers)
    if (Result.isFailure(value)) return unreadable("text", value.failure)
    const read = accept({ value: value.success }, headers)
    return Result.isFailure(read) ? unreadable("value", read.failure) : limited(read.success.id, read.success.value)
  },
  codec: {
    name,
    decode: (envelope) => {
      const { key } = envelope
      const value = envelope instanceof Received ? envelope.value : undefined
      if (value !== undefined) return { envelope, payload: value.json, key }
      // A replayed dead letter has been checked when it came.
      const again = parse(envelope.payload, envelope.headers)
      if (Result.isFailure(again)) return Effect.fail(new DecodeError({ reason: again.failure }))
      return { envelope, payload: again.success, key }
    }
  }
})

/** Units: characters of an id; it is kept for as long as copies are told apart. */
const idMax = 1024

const limited = (id: string | undefined, value?: Read["value"]): Result.Result<Read, Unreadable> =>
  (id?.length ?? 0) > idMax
    ? unreadable("value", `its id has more than ${idMax} characters`)
    : Result.succeed({ id: id === "" ? undefined : id, value })

const unreadable = (kind: Unreadable["kind"], reason: string) => Result.fail({ kind, reason })

const json: Parse = (body) => WebhookJson.parse(body)

/** A webhook of GitHub sends a form where it was set up so: the JSON is in its field `payload`. */
const jsonOrForm: Parse = (body, headers) => {
  if (!isForm(headers)) return json(body, headers)
  const payload = payloadOf(body)
  return payload === null ? Result.fail("a form without a field payload") : WebhookJson.parseText(payload)
}

const isForm = (headers: Headers): boolean =>
  /^application\/x-www-form-urlencoded\s*(;|$)/i.test(headers["content-type"] ?? "")

const payloadOf = (body: Uint8Array): string | null =>
  new URLSearchParams(new TextDecoder().decode(body)).get("payload")

/** Whatever codec reads it finds the JSON. */
const formAsJson = ({ body, headers }: HttpRequest): Kept =>
  isForm(headers)
    ? {
        body: new TextEncoder().encode(payloadOf(body) ?? ""),
        headers: { ...headers, "content-type": "application/json" }
      }
    : { body, headers }

const hasura: Accept = ({ value }) =>
  Result.mapBoth(Hasura.decode(value), {
    onSuccess: ({ id }) => ({ id, value: { json: value } }),
    onFailure: ({ reason }) => reason
  })

/** Version 0 hands its modules whatever object came. */
const anyObject: Accept = ({ value }) =>
  typeof value === "object" && value !== null ? Result.succeed(loosely(value)) : Result.fail("not an object")

const anyEvent: Accept = ({ value }) =>
  Hasura.isLoosely(value) ? Result.succeed(loosely(value)) : Result.fail("not an event of Hasura")

const loosely = (value: unknown): Read => ({ id: Hasura.idOf(value), value: { json: value } })

const stripe: Accept = ({ value }) => {
  const id = Hasura.idOf(value)
  return id === undefined
    ? Result.fail("payload.id: expected the id of an event")
    : Result.succeed({ id, value: { json: value } })
}

/** As CloudEvents or the idempotency key say it. */
const ownId = (headers: Headers): string | undefined => {
  const id = headers["ce-id"]
  const source = headers["ce-source"]
  if (id !== undefined && id !== "") return source === undefined || source === "" ? id : `${source}/${id}`
  return headers["idempotency-key"]
}
