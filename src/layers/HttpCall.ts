/** Calls one HTTP endpoint, over and over, and says what each answer and each failure means. */
import { Buffer } from "node:buffer"
import { STATUS_CODES, validateHeaderName, validateHeaderValue } from "node:http"
import { Clock, DateTime, Duration, Effect, Option, Result, Schema, type Scope } from "effect"
import { Agent } from "undici"
import { OptionsError, type Problem } from "../services/Component.ts"
import type { Presence } from "../services/Failure.ts"
import * as Fields from "../services/Fields.ts"
import type { Reply } from "../services/Reply.ts"
import { words } from "../streams/Runner.ts"
import { type Answer, type Broken, type Limits, send } from "./HttpSend.ts"

/** A status, or a class of them. */
export type Statuses = number | "4xx" | "5xx"

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
}

/** The options every component that calls has. */
export const fields = {
  url: Fields.Url,
  method: Fields.orElse(Schema.Literals(["POST", "PUT", "PATCH", "DELETE", "GET", "HEAD"]), "POST"),
  headers: Schema.optionalKey(Fields.Headers),
  timeout: Fields.orElse(Fields.Duration, Duration.seconds(30))
}

/** There is no reply: the fields of a `DispatchError` or a `PublishError`. */
export interface Failure {
  readonly reason: string
  readonly presence: Presence
  readonly retryable: boolean
  readonly retryAfterMillis?: number
  readonly cause?: unknown
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
/** Units: characters of an answer in a reason. */
const excerptMax = 200

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
    return {
      call: (body, extra) =>
        send(agent, { method, url, headers: { ...extra, ...headers }, body }, limits).pipe(
          Effect.mapError((broken) => failureOf(where, limits, retried, broken, hide)),
          Effect.flatMap((answer) => judge(where, redirects, retried, answer))
        ),
      probe: send(agent, { method: "HEAD", url, headers, body: undefined }, probed).pipe(
        Effect.mapError((broken) => failureOf(`HEAD ${target}`, probed, retried, broken, hide)),
        Effect.flatMap((answer) => (isBusy(answer.status) ? failed(`HEAD ${target}`, answer) : Effect.void))
      )
    }
  }
)

/** Units: hosts that redirects may lead to. */
const originsMax = 64

// ---------------------------------------------------------------------------------------------------- answers

const isBusy = (status: number): boolean => status === 429 || status === 503

type Retried = (status: number) => boolean

const retriedOf = (retryOn: ReadonlyArray<Statuses>): Retried => {
  const retried = new Set<Statuses>([408, 425, 429, ...retryOn])
  return (status) => retried.has(status) || retried.has(status < 400 ? status : status < 500 ? "4xx" : "5xx")
}

const judge = (where: string, redirects: number, retried: Retried, answer: Answer): Effect.Effect<Reply, Failure> => {
  const { body, headers, status } = answer
  if (status < 300) return Effect.succeed({ kind: "accepted", payload: body, status, headers })
  if (retried(status)) return failed(where, answer)
  const reason = status < 400 ? redirectSentence(where, answer, redirects) : sentence(where, answer)
  if (status >= 500) return Effect.fail({ reason, presence: "answered", retryable: false })
  return Effect.succeed({ kind: "refused", payload: body, status, headers, reason })
}

/** An answer that asks to come again. */
const failed = (where: string, answer: Answer): Effect.Effect<never, Failure> =>
  Effect.flatMap(Clock.currentTimeMillis, (now) => {
    const retryAfterMillis = retryAfter(answer.headers["retry-after"], now)
    return Effect.fail({
      reason: sentence(where, answer),
      presence: isBusy(answer.status) ? "busy" : "answered",
      retryable: true,
      ...(retryAfterMillis === undefined ? undefined : { retryAfterMillis })
    })
  })

/** Units: milliseconds. Source: seconds or a date, https://www.rfc-editor.org/rfc/rfc9110#field.retry-after */
const retryAfter = (value: string | undefined, now: number): number | undefined => {
  if (value === undefined) return undefined
  if (/^\s*\d+\s*$/.test(value)) return Number(value) * 1000
  const date = Option.getOrUndefined(DateTime.make(value))
  return date === undefined ? undefined : Math.max(0, DateTime.toEpochMillis(date) - now)
}

/** Such as `POST http://host/path answered 422 Unprocessable Entity: no such customer`. */
const sentence = (where: string, { body, status, statusText }: Answer): string => {
  const text = excerpt(body)
  return `${where} answered ${named(status, statusText)}${text === "" ? "" : `: ${text}`}`
}

const redirectSentence = (where: string, { headers, status, statusText }: Answer, redirects: number): string => {
  const to = URL.parse(headers.location ?? "")
  const answered = `${where} answered ${named(status, statusText)}${to === null ? "" : ` to ${shown(to)}`}`
  return redirects === 0 ? `${answered}: redirects are off` : `${answered}: not followed (at most ${redirects} are)`
}

const named = (status: number, statusText: string): string => {
  const text = statusText === "" ? STATUS_CODES[status] : statusText
  return text === undefined ? `${status}` : `${status} ${text}`
}

/** The start of a body on one line. */
const excerpt = (body: Uint8Array): string => {
  // A character is at most four bytes.
  const text = Buffer.from(body.buffer, body.byteOffset, Math.min(body.byteLength, excerptMax * 8)).toString()
  const line = text.replaceAll(/[\s\p{Cc}]+/gu, " ").trim()
  return line.length > excerptMax ? `${line.slice(0, excerptMax)}...` : line
}

// ---------------------------------------------------------------------------------------------------- failures

const failureOf = (
  where: string,
  { responseMax, timeoutMillis }: Limits,
  retried: Retried,
  broken: Broken,
  hide: (text: string) => string
): Failure => {
  switch (broken._tag) {
    case "Timeout": {
      const within = `within ${Duration.format(Duration.millis(timeoutMillis))}`
      return broken.sent
        ? { reason: `${where} gave no answer ${within}`, presence: "answered", retryable: true }
        : { reason: `${where} could not be reached ${within}`, presence: "unreachable", retryable: true }
    }
    case "TooLarge": {
      const { status, statusText } = broken
      const reason = `${where} answered ${named(status, statusText)} with more than ${responseMax} bytes`
      return { reason, presence: isBusy(status) ? "busy" : "answered", retryable: retried(status) }
    }
    case "Failed": {
      const { error: cause, sent } = broken
      const said = hide(cause.message === "" ? (cause.code ?? cause.name) : words(cause))
      // Undici did not even try: the request itself is wrong, by its headers most likely.
      if (cause.code === "UND_ERR_INVALID_ARG" || cause.code === "UND_ERR_NOT_SUPPORTED") {
        return { reason: `${where} cannot be sent: ${said}`, presence: "answered", retryable: false, cause }
      }
      if (!sent) {
        return { reason: `${where} cannot be reached: ${said}`, presence: "unreachable", retryable: true, cause }
      }
      if (!isProtocol(cause)) {
        return { reason: `${where} lost its connection: ${said}`, presence: "reset", retryable: true, cause }
      }
      return { reason: `${where} answered no HTTP: ${said}`, presence: "answered", retryable: true, cause }
    }
  }
}

/** The target sent something, but not an answer; one that just ends too early is a lost connection. */
const isProtocol = ({ code, message, name }: Error & { readonly code?: string }): boolean =>
  code === "UND_ERR_HEADERS_OVERFLOW" || (name === "HTTPParserError" && !message.includes("EOF"))

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

/** Without what may be secret: credentials and the query. */
const shown = ({ origin, pathname }: URL): string => `${origin}${pathname}`

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
