/** Gets access tokens by client credentials, and keeps each until shortly before it runs out. */
import { Buffer } from "node:buffer"
import { Clock, Deferred, Effect, type Exit, Redacted, Result, Schema, type Scope } from "effect"
import * as Fields from "../services/Fields.ts"
import type { Reply } from "../services/Reply.ts"
import type { Failure } from "./HttpAnswer.ts"

/** Source: https://www.rfc-editor.org/rfc/rfc6749#section-4.4 */
export const Options = Schema.Struct({
  tokenUrl: Fields.Url,
  clientId: Fields.Text,
  clientSecret: Fields.Secret,
  scope: Schema.optionalKey(Fields.Text),
  audience: Schema.optionalKey(Fields.Text),
  /** Whether id and secret are sent as Basic authorization or in the body. */
  auth: Fields.orElse(Schema.Literals(["basic", "body"]), "basic")
})

export interface Options extends Pick<typeof Options.Type, "tokenUrl" | "clientId" | "clientSecret"> {
  readonly scope?: string | undefined
  readonly audience?: string | undefined
  /** `basic` by default. */
  readonly auth?: "basic" | "body" | undefined
}

/** The value of an authorization header. */
export type Token = Redacted.Redacted<string>

export interface Tokens {
  /** The token there is, or a new one: one request for all that wait for it. */
  readonly token: Effect.Effect<Token, Failure>
  /** A token other than this one, which was answered 401. */
  readonly instead: (rejected: Token) => Effect.Effect<Token, Failure>
}

/** Units: milliseconds. How long before its end a token is no longer used, and how long one is that does not say. */
const earlyMillis = 60_000
const unsaidMillis = 300_000
/** Units: characters of the endpoint's words in a reason. */
const wordsMax = 200

/** How the endpoint is asked; its failures show what `conceal` leaves of its words. */
export type Post = (body: string, headers: Readonly<Record<string, string>>) => Effect.Effect<Reply, Failure>

/** Hides the secret, also as it is sent. */
export const concealed = ({ clientId, clientSecret }: Options): ((text: string) => string) => {
  const secret = Redacted.value(clientSecret)
  const spellings = [secret, encoded(secret), encodeURIComponent(secret), basic(clientId, secret)]
  return (text) =>
    secret === "" ? text : spellings.reduce((shown, spelling) => shown.replaceAll(spelling, "<secret>"), text)
}

/** Nothing is asked for before the first token is wanted. */
export const make = (options: Options, where: string, post: Post): Effect.Effect<Tokens, never, Scope.Scope> =>
  keep(grant(options, where, post))

/** One request for a token. */
export const grant = (options: Options, where: string, post: Post): Effect.Effect<Granted, Failure> => {
  const { body, headers } = requestOf(options)
  return Effect.mapError(post(body, headers), away).pipe(
    Effect.flatMap((reply) => {
      const answer = answerOf(reply, concealed(options))
      return Result.isFailure(answer) ? refusal(`${where} ${answer.failure}`) : Effect.succeed(answer.success)
    })
  )
}

/** Keeps the token that was granted, for all that want one, until shortly before it runs out. */
export const keep = Effect.fnUntraced(function* (
  granted: Effect.Effect<Granted, Failure>
): Effect.fn.Return<Tokens, never, Scope.Scope> {
  const scope = yield* Effect.scope
  let kept: { readonly token: Token; readonly until: number } | undefined
  let flight: Deferred.Deferred<Token, Failure> | undefined

  const fetched = Effect.gen(function* () {
    const { expiresMillis, token } = yield* granted
    kept = { token, until: (yield* Clock.currentTimeMillis) + Math.max(expiresMillis - earlyMillis, expiresMillis / 2) }
    return token
  })

  /** The request outlives whoever was first to want it, since others may wait for it too. */
  const shared: Effect.Effect<Token, Failure> = Effect.uninterruptibleMask((restore) =>
    Effect.suspend(() => {
      if (flight !== undefined) return restore(Deferred.await(flight))
      const mine = Deferred.makeUnsafe<Token, Failure>()
      flight = mine
      const land = (exit: Exit.Exit<Token, Failure>) => {
        flight = undefined
        return Deferred.done(mine, exit)
      }
      return Effect.andThen(
        Effect.forkIn(Effect.onExit(fetched, land), scope, { startImmediately: true }),
        restore(Deferred.await(mine))
      )
    })
  )
  const token = Effect.flatMap(Clock.currentTimeMillis, (now) =>
    kept !== undefined && now < kept.until ? Effect.succeed(kept.token) : shared
  )
  return {
    token,
    instead: (rejected) =>
      Effect.suspend(() => {
        if (kept?.token === rejected) kept = undefined
        return token
      })
  }
})

// ---------------------------------------------------------------------------------------------------- request

const requestOf = ({ audience, auth = "basic", clientId, clientSecret, scope }: Options) => {
  const form = new URLSearchParams({ grant_type: "client_credentials" })
  if (scope !== undefined) form.set("scope", scope)
  if (audience !== undefined) form.set("audience", audience)
  const headers = { accept: "application/json", "content-type": "application/x-www-form-urlencoded" }
  const secret = Redacted.value(clientSecret)
  if (auth === "basic") {
    return { body: form.toString(), headers: { ...headers, authorization: `Basic ${basic(clientId, secret)}` } }
  }
  form.set("client_id", clientId)
  form.set("client_secret", secret)
  return { body: form.toString(), headers }
}

/** Both are encoded as in a form first. Source: https://www.rfc-editor.org/rfc/rfc6749#section-2.3.1 */
const basic = (clientId: string, secret: string): string =>
  Buffer.from(`${encoded(clientId)}:${encoded(secret)}`).toString("base64")

const encoded = (text: string): string => new URLSearchParams([["", text]]).toString().slice(1)

// ---------------------------------------------------------------------------------------------------- answer

/** Without a token the target is out of reach, and no message can be at fault. */
const away = (failure: Failure): Failure => {
  const reason = `no token: ${failure.reason}`
  if (!failure.retryable) return { ...failure, reason }
  const { presence } = failure
  return { ...failure, reason, presence: presence === "unreachable" || presence === "reset" ? "unreachable" : "busy" }
}

const refusal = (reason: string): Effect.Effect<never, Failure> =>
  Effect.fail({ reason: `no token: ${reason}`, presence: "answered", retryable: false })

export interface Granted {
  readonly token: Token
  /** Units: milliseconds. */
  readonly expiresMillis: number
}

const answerOf = (
  { kind, payload, status }: Reply,
  conceal: (text: string) => string
): Result.Result<Granted, string> => {
  const fields = fieldsOf(payload as Uint8Array)
  if (kind === "refused") {
    const said = [fields.error, fields.error_description].filter((one) => typeof one === "string")
    return Result.fail([`answered ${status}`, ...said.map((one) => onOneLine(conceal(one)))].join(": "))
  }
  const { access_token: token, expires_in: expires, token_type: type = "Bearer" } = fields
  if (typeof token !== "string" || !/^[\x21-\x7e]+$/.test(token)) return Result.fail("answered without an access_token")
  if (typeof type !== "string" || type.toLowerCase() !== "bearer")
    return Result.fail("answered with a token that is no bearer token")
  const seconds = typeof expires === "string" ? Number.parseFloat(expires) : expires
  const isSaid = typeof seconds === "number" && Number.isFinite(seconds)
  const expiresMillis = isSaid ? Math.max(0, seconds * 1000) : unsaidMillis
  return Result.succeed({ token: Redacted.make(`Bearer ${token}`), expiresMillis })
}

const fieldsOf = (payload: Uint8Array): Readonly<Record<string, unknown>> => {
  const read = Result.try(() => JSON.parse(new TextDecoder().decode(payload)) as unknown)
  if (Result.isFailure(read) || typeof read.success !== "object" || read.success === null) return {}
  return read.success as Readonly<Record<string, unknown>>
}

const onOneLine = (text: string): string =>
  text
    .replaceAll(/[\s\p{Cc}]+/gu, " ")
    .trim()
    .slice(0, wordsMax)
