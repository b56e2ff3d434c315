/** Asks an event gateway over HTTP: sends it events, registers schemas with it, and waits while it is busy. */
import { Clock, Effect, Exit, Random, Redacted, Schema, type Scope } from "effect"
import type { OptionsError } from "../services/Component.ts"
import type { Reply } from "../services/Reply.ts"
import type { Compatibility, SchemaType, Subject } from "../services/SchemaRegistry.ts"
import { type Failure, shown } from "./HttpAnswer.ts"
import * as HttpEndpoint from "./HttpEndpoint.ts"

export interface Options {
  /** Where the gateway is, without a path of its own or with one that stands in front of all others. */
  readonly url: string
  readonly key: Redacted.Redacted | undefined
  /** Requests at the same time. */
  readonly connections: number
  /** How long one request may be tried again. Units: milliseconds. */
  readonly patienceMillis: number
}

export type Outcome<A> =
  | { readonly _tag: "Done"; readonly answer: A }
  /** This one is not taken; another may be. */
  | { readonly _tag: "Refused"; readonly code: string | undefined; readonly reason: string }
  /**
   * Nothing more can be had: the gateway is away, or takes nothing of this name or from us, or somebody else answers.
   * `mayBeTaken` when it may have this one all the same.
   */
  | { readonly _tag: "Stopped"; readonly reason: string; readonly mayBeTaken: boolean }

export interface NewSchema {
  readonly type: SchemaType
  /** JSON text for json and avro, a .proto file's text for protobuf. */
  readonly schema: string
  readonly compatibility: Compatibility | undefined
}

export interface GatewayClient {
  /** `event` is JSON text. The gateway publishes two of the same key once, where it looks. */
  readonly send: (subject: Subject, event: string, key: string) => Effect.Effect<Outcome<Sent>>
  readonly register: (subject: Subject, schema: NewSchema) => Effect.Effect<Outcome<Registered>>
}

// ---------------------------------------------------------------------------------------------------- the wire

/** All that is known here of the gateway's routes, headers and answers. */
const pathOf = ({ client, event }: Subject): string =>
  `/api/v1/clients/${encodeURIComponent(client)}/events/${encodeURIComponent(event)}`

const authorization = (key: Redacted.Redacted | undefined): Readonly<Record<string, string>> =>
  key === undefined ? {} : { authorization: `Bearer ${Redacted.value(key)}` }

const idempotency = "idempotency-key"

const schemaBody = ({ compatibility, schema, type }: NewSchema): string => {
  const rest = JSON.stringify({ type, ...(compatibility === undefined ? undefined : { compatibility }) })
  // JSON stays as it was written: its numbers may be larger than ours. A text in its place is read as a schema's text,
  // so a schema that is a text itself, as Avro's "string", goes there as the text it is written in.
  const isText = type === "protobuf" || schema.trimStart().startsWith('"')
  return `${rest.slice(0, -1)},"schema":${isText ? JSON.stringify(schema) : schema}}`
}

const Sent = Schema.Struct({ id: Schema.String, version: Schema.Int })
export type Sent = typeof Sent.Type

const Version = Schema.Struct({ version: Schema.Int })
/** `isNew` is false when it was the latest version already. */
export type Registered = typeof Version.Type & { readonly isNew: boolean }

/** RFC 9457, with what the gateway adds; `error` is its server's. */
const Problem = Schema.Struct({
  code: Schema.optionalKey(Schema.String),
  detail: Schema.optionalKey(Schema.String),
  error: Schema.optionalKey(Schema.String),
  violations: Schema.optionalKey(Schema.Array(Schema.Struct({ path: Schema.String, message: Schema.String }))),
  reasons: Schema.optionalKey(Schema.Array(Schema.String))
})

/** No event of this name is taken, whatever it holds: what to do about it, by the code or the status. */
const advice = ({ client, event }: Subject): Readonly<Record<string, string>> => ({
  "not-registered": `register it first: sluice register ${client}/${event} <schema file>`,
  "name-invalid": "no event can be called that",
  401: "give a key, in SLUICE_KEY or with --key",
  403: "give a key that may do it, in SLUICE_KEY or with --key",
  404: nowhere,
  405: nowhere
})

const nowhere = "there is no event gateway at this URL: --url says where it is, with its prefix if it has one"
const isThere = "is the gateway running there? --url says where it is"

// ---------------------------------------------------------------------------------------------------- asking

/** Units: milliseconds. For one answer; between tries; bytes of an answer; violations in a reason. */
const answerMillis = 30_000
const backoffMillis = 200
const backoffMaxMillis = 10_000
const answerMax = 16 * 1024 * 1024
const violationsMax = 5

export const make = Effect.fnUntraced(function* ({
  connections,
  key,
  patienceMillis,
  url
}: Options): Effect.fn.Return<GatewayClient, OptionsError, Scope.Scope> {
  const secret = key === undefined ? "" : Redacted.value(key)
  const conceal = (text: string): string => (secret === "" ? text : text.replaceAll(secret, "<key>"))
  const endpoint = yield* HttpEndpoint.make({
    url,
    headers: { ...authorization(key), "content-type": "application/json" },
    timeout: answerMillis,
    retryOn: [503],
    responseMax: answerMax,
    connections,
    conceal,
    words: wordsOf
  })
  const base = endpoint.url.pathname.replace(/\/+$/, "")
  /** A gateway that has never answered is not there; one that has will come back. */
  let isKnown = false

  const ask = Effect.fnUntraced(function* (path: string, body: string, headers: Readonly<Record<string, string>> = {}) {
    const target = new URL(endpoint.url)
    target.pathname = `${base}${path}`
    const until = (yield* Clock.currentTimeMillis) + patienceMillis
    for (let tries = 0; ; tries++) {
      const result = yield* Effect.result(endpoint.ask({ method: "POST", url: target, headers, body }))
      if (result._tag === "Success") {
        isKnown = true
        return result.success
      }
      const { failure } = result
      if (isNobody(failure) && !isKnown) return failure
      if (!isNobody(failure)) isKnown = true
      const wait = failure.retryAfterMillis ?? (yield* backoff(tries))
      if (!failure.retryable || (yield* Clock.currentTimeMillis) + wait > until) return failure
      yield* Effect.sleep(wait)
    }
  })

  const outcome = <A>(subject: Subject, answer: Reply | Failure, read: (reply: Reply) => A | undefined): Outcome<A> => {
    if (!("kind" in answer)) return failed(answer, isKnown)
    const text = conceal(textOf(answer))
    if (answer.kind === "accepted") {
      const done = read(answer)
      if (done !== undefined) return { _tag: "Done", answer: done }
      const reason = `POST ${shown(endpoint.url)} answered ${answer.status}, but not as a gateway does: ${nowhere}`
      return { _tag: "Stopped", reason, mayBeTaken: false }
    }
    const code = problemOf(text)?.code
    const words = wordsOf(text)
    const reason = words ?? answer.reason ?? `answered ${answer.status}`
    // A large event is refused by what stands in between, too; another may be small enough.
    const todo = advice(subject)[code ?? `${answer.status}`] ?? advice(subject)[`${answer.status}`]
    if (todo !== undefined) return { _tag: "Stopped", reason: `${reason}: ${todo}`, mayBeTaken: false }
    return code === undefined && answer.status !== 413
      ? { _tag: "Stopped", reason: `${reason}: ${nowhere}`, mayBeTaken: false }
      : { _tag: "Refused", code, reason }
  }

  return {
    send: (subject, event, key) =>
      Effect.map(ask(pathOf(subject), event, { [idempotency]: key }), (answer) =>
        outcome(subject, answer, (reply) => decoded(Sent, textOf(reply)))
      ),
    register: (subject, schema) =>
      Effect.map(ask(`${pathOf(subject)}/versions`, schemaBody(schema)), (answer) =>
        outcome(subject, answer, (reply) => {
          const version = decoded(Version, textOf(reply))
          return version && { ...version, isNew: reply.status === 201 }
        })
      )
  }
})

/** What is there, if anything, is no HTTP server. */
const isNobody = ({ cause, presence }: Failure): boolean =>
  presence === "unreachable" || (presence === "answered" && cause !== undefined)

const failed = (failure: Failure, isKnown: boolean): Outcome<never> => {
  const { hasWords, presence, reason, retryable } = failure
  if (isNobody(failure)) {
    // One that was there has gone away: what it had begun it may have finished.
    return { _tag: "Stopped", reason: `${reason}: ${isThere}`, mayBeTaken: isKnown && presence !== "unreachable" }
  }
  if (retryable) return { _tag: "Stopped", reason, mayBeTaken: true }
  if (hasWords === true) return { _tag: "Refused", code: undefined, reason }
  // Such as a proxy whose gateway is away.
  return { _tag: "Stopped", reason: `${reason}: that is no answer of a gateway`, mayBeTaken: true }
}

const backoff = (tries: number): Effect.Effect<number> =>
  Effect.map(
    Random.next,
    (share) => Math.min(backoffMillis * 2 ** Math.min(tries, 10), backoffMaxMillis) * (0.5 + share / 2)
  )

const textOf = ({ payload }: Reply): string => new TextDecoder().decode(payload as Uint8Array)

const decoded = <A>(schema: Schema.Codec<A, any>, text: string): A | undefined => {
  const exit = Schema.decodeUnknownExit(Schema.fromJsonString(schema))(text)
  return Exit.isSuccess(exit) ? exit.value : undefined
}

const problemOf = (text: string): typeof Problem.Type | undefined => decoded(Problem, text)

/** The gateway's own sentence, with the first of what is wrong; undefined when somebody else has answered. */
const wordsOf = (text: string): string | undefined => {
  const problem = problemOf(text)
  const said = problem?.detail ?? problem?.error
  if (problem === undefined || said === undefined) return undefined
  const more = [
    ...(problem.violations ?? []).map(({ message, path }) => `${path}: ${message}`),
    ...(problem.reasons ?? [])
  ]
  const shown = more.slice(0, violationsMax)
  if (more.length > shown.length) shown.push(`and ${more.length - shown.length} more`)
  return shown.length === 0 ? said : `${said}: ${shown.join("; ")}`
}
