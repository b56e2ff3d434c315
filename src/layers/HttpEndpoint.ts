/** One HTTP endpoint, asked over and over: its connections, credentials and tokens, and what each answer and failure means. */
import { Buffer } from "node:buffer"
import { validateHeaderName, validateHeaderValue } from "node:http"
import { Duration, Effect, Redacted, Result, type Scope } from "effect"
import { Agent } from "undici"
import { OptionsError, type Problem } from "../services/Component.ts"
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
  shown,
  type Words
} from "./HttpAnswer.ts"
import * as HttpOauth2 from "./HttpOauth2.ts"
import { concealing, secretsOf } from "./HttpSecrets.ts"
import { type Answer, type Limits, send } from "./HttpSend.ts"

export interface Options {
  readonly url: string
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
  /** Finds the endpoint's own words in an answer's body; all of it by default. */
  readonly words?: Words | undefined
  /** Each call carries a token that is got like this. */
  readonly oauth2?: HttpOauth2.Options | undefined
  /** Each call carries one of these, in place of `oauth2`. */
  readonly tokens?: HttpOauth2.Tokens | undefined
  /** `refuse` keeps the answer of a failure that came with a 5xx, for when its retries are spent; `bury` by default. */
  readonly spent?: "bury" | "refuse" | undefined
}

export interface Request {
  readonly method: string
  /** The endpoint's own by default; otherwise one of the same host. */
  readonly url?: URL | undefined
  /** The endpoint's own win over these. */
  readonly headers?: Readonly<Record<string, string>> | undefined
  readonly body?: Uint8Array | string | undefined
  /** Stands in front of a reason: what the request is about. */
  readonly about?: string | undefined
  /** Goes out on a connection that nothing else has used. */
  readonly isFresh?: boolean | undefined
}

export interface HttpEndpoint {
  /** Without credentials. */
  readonly url: URL
  readonly ask: (request: Request) => Effect.Effect<Reply, Failure>
  /** A request without a body: any answer but 429 and 503 shows that the target is there. */
  readonly probe: (request: Request) => Effect.Effect<void, Failure>
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

export const make: (options: Options) => Effect.Effect<HttpEndpoint, OptionsError, Scope.Scope> = Effect.fnUntraced(
  function* (options: Options) {
    const { larger = "fail", redirects = 0, responseMax = responseMaxDefault } = options
    const own = URL.parse(options.url)
    const problems = [...urlProblems(own, options.url), ...headerProblems(options.headers ?? {})]
    if (own === null || problems.length > 0) return yield* new OptionsError({ problems })
    const headers = { ...takeCredentials(own), ...lowerCase(options.headers ?? {}) }
    const timeoutMillis = millisOf(options.timeout)
    const limits: Limits = { timeoutMillis, redirects, responseMax, larger }
    const probed: Limits = { ...limits, timeoutMillis: Math.min(timeoutMillis, probeMillis), redirects: 0 }
    const agents = yield* agentsOf(options.connections, timeoutMillis)
    const hide = options.hide ?? ((text: string) => text)
    const target = hide(shown(own))
    const secrets = secretsOf(headers)
    const given = options.conceal ?? options.hide
    const conceal = secrets.length === 0 ? given : concealingBoth(given, concealing(secrets))
    const judging: Omit<Judging, "where"> = {
      redirects,
      retried: retriedOf(options.retryOn ?? ["5xx"]),
      acceptsRedirects: options.acceptRedirects ?? false,
      isKept: options.spent === "refuse",
      conceal,
      words: options.words
    }
    const whereOf = ({ about, method, url }: Request): string =>
      `${about === undefined ? "" : `${about}: `}${method} ${url === undefined ? target : hide(shown(url))}`

    const sent = (request: Request, headers: Headers, where: string, limits: Limits): Effect.Effect<Answer, Failure> =>
      Effect.mapError(
        send(
          request.isFresh === true ? agents.fresh : agents.kept,
          { method: request.method, url: request.url ?? own, headers, body: request.body },
          limits
        ),
        (broken) => failureOf(where, limits, judging.retried, broken, hide)
      )
    const probe = (request: Request, headers: Headers): Effect.Effect<void, Failure> => {
      const where = whereOf(request)
      return Effect.flatMap(sent(request, headers, where, probed), (answer) =>
        isBusy(answer.status) ? failed({ ...judging, where }, answer) : Effect.void
      )
    }
    if (options.oauth2 === undefined && options.tokens === undefined) {
      return {
        url: own,
        ask: (request) => {
          const where = whereOf(request)
          return Effect.flatMap(sent(request, { ...request.headers, ...headers }, where, limits), (answer) =>
            judge({ ...judging, where }, answer)
          )
        },
        probe: (request) => probe(request, headers)
      }
    }
    if ("authorization" in headers) {
      const expected = "either oauth2 or an authorization of its own, in the headers or in the URL"
      return yield* new OptionsError({ problems: [{ path: ["oauth2"], expected, found: "both" }] })
    }
    const tokens = options.tokens ?? (yield* tokensOf(options.oauth2!, options.timeout, hide))
    const withToken = (token: HttpOauth2.Token) => ({ ...headers, authorization: Redacted.value(token) })
    return {
      url: own,
      ask: (request) => {
        const where = whereOf(request)
        const carrying = (token: HttpOauth2.Token) =>
          Effect.map(sent(request, { ...request.headers, ...withToken(token) }, where, limits), (answer) => ({
            answer,
            token
          }))
        return tokens.token.pipe(
          Effect.flatMap(carrying),
          Effect.flatMap((one) =>
            // The token may have been revoked; a second 401 is the endpoint's own answer.
            one.answer.status === 401 ? Effect.flatMap(tokens.instead(one.token), carrying) : Effect.succeed(one)
          ),
          Effect.flatMap(({ answer, token }) => judge({ ...judging, where, conceal: hiding(token, conceal) }, answer))
        )
      },
      // A target without tokens to be had for it is as good as away.
      probe: (request) => Effect.flatMap(tokens.token, (token) => probe(request, withToken(token)))
    }
  }
)

type Headers = Readonly<Record<string, string>>

const tokensOf = Effect.fnUntraced(function* (
  oauth2: HttpOauth2.Options,
  timeout: Duration.Input | undefined,
  hide: Conceal
) {
  const endpoint = yield* make({
    url: oauth2.tokenUrl,
    timeout: Math.min(millisOf(timeout), tokenMillis),
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
  return yield* HttpOauth2.make(oauth2, where, (body, headers) => endpoint.ask({ method: "POST", body, headers }))
})

const millisOf = (timeout: Duration.Input = "30 seconds"): number =>
  Math.min(Duration.toMillis(Duration.fromInputUnsafe(timeout)), timerMax)

const concealingBoth =
  (first: Conceal = (text) => text, second: Conceal): Conceal =>
  (text) =>
    second(first(text))

/** An endpoint may show in its answer what it was sent. */
const hiding = (token: HttpOauth2.Token, conceal: Conceal = (text) => text): Conceal => {
  const value = Redacted.value(token).replace(/^Bearer /, "")
  return (text) => conceal(text).replaceAll(value, "<token>")
}

// ---------------------------------------------------------------------------------------------------- connections

/** Units: hosts that redirects may lead to. */
const originsMax = 64

const agentsOf = (connections: number, timeoutMillis: number) => {
  const common = {
    // One more for the probe.
    connections: connections + 1,
    maxOrigins: originsMax,
    // A connection per call: what breaks one call then says nothing about another.
    allowH2: false,
    connect: { timeout: Math.min(timeoutMillis, connectMillis) }
  }
  return Effect.acquireRelease(
    Effect.sync(() => ({
      kept: new Agent({ ...common, pipelining: 1 }),
      // Zero closes each connection behind its answer.
      fresh: new Agent({ ...common, pipelining: 0 })
    })),
    ({ fresh, kept }) => Effect.promise(() => Promise.all([kept.destroy(), fresh.destroy()]))
  )
}

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
