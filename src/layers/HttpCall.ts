/** Calls one HTTP endpoint, over and over, and says what each answer and each failure means. */
import { Buffer } from "node:buffer"
import { validateHeaderName, validateHeaderValue } from "node:http"
import { Duration, Effect, Redacted, Result, Schema, type Scope } from "effect"
import { Agent } from "undici"
import { OptionsError, type Problem } from "../services/Component.ts"
import * as Fields from "../services/Fields.ts"
import type { Reply } from "../services/Reply.ts"
import {
  type Conceal,
  type Failure,
  failed,
  failureOf,
  isBusy,
  type Judging,
  judge,
  retriedOf,
  type Statuses,
  shown
} from "./HttpAnswer.ts"
import * as HttpOauth2 from "./HttpOauth2.ts"
import { type Answer, type Limits, send } from "./HttpSend.ts"

export interface Options {
  readonly url: string
  /** POST by default. */
  readonly method?: string | undefined
  readonly headers?: Readonly<Record<string, string>> | undefined
  /** For the whole call; 30 seconds by default. */
  readonly timeout?: Duration.Input | undefined
  /** Besides 408, 425 and 429, which always are; `["5xx"]` by default. */
  readonly retryOn?: ReadonlyArray<Statuses> | undefined
  /** How many are followed; none by default. */
  readonly redirects?: number | undefined
  /** Units: bytes; 1 MiB by default. */
  readonly responseMax?: number | undefined
  /** What becomes of a larger answer; it fails by default. */
  readonly larger?: Limits["larger"] | undefined
  /** Calls that may be under way at the same time. */
  readonly connections: number
  /** Applied to what a reason shows of the target. */
  readonly hide?: ((text: string) => string) | undefined
  /** Whether a redirect that is not followed counts as a good answer; it is a refusal by default. */
  readonly acceptRedirects?: boolean | undefined
  /** Applied to what a reason shows of an answer; `hide` by default. */
  readonly conceal?: Conceal | undefined
  /** Each call carries a token that is got like this. */
  readonly oauth2?: HttpOauth2.Options | undefined
  /** `refuse` keeps the answer of a failure that came with a 5xx, for when its retries are spent; `bury` by default. */
  readonly spent?: "bury" | "refuse" | undefined
}

/** The options every component that calls has. */
export const fields = {
  url: Fields.Url,
  method: Fields.orElse(Schema.Literals(["POST", "PUT", "PATCH", "DELETE", "GET", "HEAD"]), "POST"),
  headers: Schema.optionalKey(Fields.Headers),
  timeout: Fields.orElse(Fields.Duration, Duration.seconds(30)),
  /** Calls carry an access token, got by client credentials. */
  oauth2: Schema.optionalKey(HttpOauth2.Options)
}

export interface HttpCall {
  /** The endpoint's own headers win over those of one call. */
  readonly call: (
    body: Uint8Array | string | undefined,
    headers?: Readonly<Record<string, string>>
  ) => Effect.Effect<Reply, Failure>
  /** A HEAD request: any answer but 429 and 503 shows that the target is there. */
  readonly probe: Effect.Effect<void, Failure>
}

export const responseMaxDefault = 1024 * 1024
/** Units: milliseconds. How long making a connection, and a probe, may take. */
const connectMillis = 10_000
const probeMillis = 5_000
/** Units: milliseconds. A longer timer would fire at once. */
const timerMax = 2 ** 31 - 1
/** Units: milliseconds; bytes. For the request of a token, and its answer. */
const tokenMillis = 30_000
const tokenMax = 256 * 1024

export const make: (options: Options) => Effect.Effect<HttpCall, OptionsError, Scope.Scope> = Effect.fnUntraced(
  function* (options: Options) {
    const { connections, larger = "fail", method = "POST", redirects = 0, responseMax = responseMaxDefault } = options
    const url = URL.parse(options.url)
    const problems = [...urlProblems(url, options.url), ...headerProblems(options.headers ?? {})]
    if (url === null || problems.length > 0) return yield* new OptionsError({ problems })
    const headers = { ...takeCredentials(url), ...lowerCase(options.headers ?? {}) }
    const timeout = Duration.toMillis(Duration.fromInputUnsafe(options.timeout ?? "30 seconds"))
    const timeoutMillis = Math.min(timeout, timerMax)
    const agent = yield* Effect.acquireRelease(
      Effect.sync(
        () =>
          new Agent({
            // One more for the probe.
            connections: connections + 1,
            maxOrigins: originsMax,
            pipelining: 1,
            // A connection per call: what breaks one call then says nothing about another.
            allowH2: false,
            connect: { timeout: Math.min(timeoutMillis, connectMillis) }
          })
      ),
      (agent) => Effect.promise(() => agent.destroy())
    )
    const limits: Limits = { timeoutMillis, redirects, responseMax, larger }
    const retried = retriedOf(options.retryOn ?? ["5xx"])
    const hide = options.hide ?? ((text: string) => text)
    const target = hide(shown(url))
    const where = `${method} ${target}`
    const probed = { ...limits, timeoutMillis: Math.min(timeoutMillis, probeMillis), redirects: 0 }
    const judging: Judging = {
      where,
      redirects,
      retried,
      acceptsRedirects: options.acceptRedirects ?? false,
      isKept: options.spent === "refuse",
      conceal: options.conceal ?? options.hide
    }
    const answerTo = (body: Body, headers: Readonly<Record<string, string>>): Effect.Effect<Answer, Failure> =>
      Effect.mapError(send(agent, { method, url, headers, body }, limits), (broken) =>
        failureOf(where, limits, retried, broken, hide)
      )
    const probe = (headers: Readonly<Record<string, string>>): Effect.Effect<void, Failure> =>
      send(agent, { method: "HEAD", url, headers, body: undefined }, probed).pipe(
        Effect.mapError((broken) => failureOf(`HEAD ${target}`, probed, retried, broken, hide)),
        Effect.flatMap((answer) =>
          isBusy(answer.status) ? failed({ ...judging, where: `HEAD ${target}` }, answer) : Effect.void
        )
      )
    if (options.oauth2 === undefined) {
      return {
        call: (body, extra) =>
          Effect.flatMap(answerTo(body, { ...extra, ...headers }), (answer) => judge(judging, answer)),
        probe: probe(headers)
      }
    }
    if ("authorization" in headers) {
      const expected = "either oauth2 or an authorization of its own, in the headers or in the URL"
      return yield* new OptionsError({ problems: [{ path: ["oauth2"], expected, found: "both" }] })
    }
    const tokens = yield* tokensOf(options.oauth2, timeoutMillis, hide)
    const withToken = (token: HttpOauth2.Token) => ({ ...headers, authorization: Redacted.value(token) })
    return {
      call: (body, extra) => {
        const carrying = (token: HttpOauth2.Token) =>
          Effect.map(answerTo(body, { ...extra, ...withToken(token) }), (answer) => ({ answer, token }))
        return tokens.token.pipe(
          Effect.flatMap(carrying),
          Effect.flatMap((one) =>
            // The token may have been revoked; a second 401 is the endpoint's own answer.
            one.answer.status === 401 ? Effect.flatMap(tokens.instead(one.token), carrying) : Effect.succeed(one)
          ),
          Effect.flatMap(({ answer, token }) => judge({ ...judging, conceal: hiding(token) }, answer))
        )
      },
      // A target without tokens to be had for it is as good as away.
      probe: Effect.flatMap(tokens.token, (token) => probe(withToken(token)))
    }
  }
)

type Body = Uint8Array | string | undefined

const tokensOf = Effect.fnUntraced(function* (oauth2: HttpOauth2.Options, timeoutMillis: number, hide: Conceal) {
  const http = yield* make({
    url: oauth2.tokenUrl,
    timeout: Math.min(timeoutMillis, tokenMillis),
    connections: 1,
    responseMax: tokenMax,
    hide,
    conceal: HttpOauth2.concealed(oauth2)
  }).pipe(
    Effect.mapError(
      ({ problems }) =>
        new OptionsError({ problems: problems.map((one) => ({ ...one, path: ["oauth2", "tokenUrl"] })) })
    )
  )
  const where = `POST ${hide(shown(new URL(oauth2.tokenUrl)))}`
  return yield* HttpOauth2.make(oauth2, where, http.call)
})

/** An endpoint may show in its answer what it was sent. */
const hiding = (token: HttpOauth2.Token): Conceal => {
  const value = Redacted.value(token).replace(/^Bearer /, "")
  return (text) => text.replaceAll(value, "<token>")
}

/** Units: hosts that redirects may lead to. */
const originsMax = 64

// ---------------------------------------------------------------------------------------------------- options

/** Credentials in a URL become a header, as browsers do it, and are never shown. */
const takeCredentials = (url: URL): Readonly<Record<string, string>> => {
  const { password, username } = url
  if (username === "" && password === "") return {}
  url.username = ""
  url.password = ""
  const pair = `${decoded(username)}:${decoded(password)}`
  return { authorization: `Basic ${Buffer.from(pair).toString("base64")}` }
}

const decoded = (text: string): string =>
  Result.getOrElse(
    Result.try(() => decodeURIComponent(text)),
    () => text
  )

const lowerCase = (headers: Readonly<Record<string, string>>): Readonly<Record<string, string>> =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]))

const ofTheConnection = [
  "connection",
  "content-length",
  "expect",
  "keep-alive",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade"
]

const urlProblems = (url: URL | null, found: string): ReadonlyArray<Problem> =>
  url?.protocol === "http:" || url?.protocol === "https:"
    ? []
    : [{ path: ["url"], expected: "a URL such as http://localhost:9000/path", found }]

const headerProblems = (headers: Readonly<Record<string, string>>): ReadonlyArray<Problem> =>
  Object.entries(headers).flatMap(([name, value]): ReadonlyArray<Problem> => {
    const path = ["headers", name]
    if (ofTheConnection.includes(name.toLowerCase())) {
      return [{ path, expected: `a header other than ${ofTheConnection.join(", ")}`, found: name }]
    }
    if (Result.isFailure(Result.try(() => validateHeaderName(name)))) {
      return [{ path, expected: "a header name", found: name }]
    }
    // The value may be a secret: it is not shown.
    return Result.isFailure(Result.try(() => validateHeaderValue(name, value)))
      ? [{ path, expected: "a header value without line breaks and control characters", found: "another value" }]
      : []
  })
