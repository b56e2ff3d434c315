/** What an answer over HTTP means, and what it means that there is none. */
import { Buffer } from "node:buffer"
import { STATUS_CODES } from "node:http"
import { Clock, DateTime, Duration, Effect, Option } from "effect"
import type { Presence } from "../services/Failure.ts"
import type { Reply } from "../services/Reply.ts"
import { words } from "../streams/Runner.ts"
import type { Answer, Broken, Limits } from "./HttpSend.ts"

/** A status, or a class of them. */
export type Statuses = number | "4xx" | "5xx"

/** There is no reply: the fields of a `DispatchError` or a `PublishError`. */
export interface Failure {
  readonly reason: string
  readonly presence: Presence
  readonly retryable: boolean
  readonly retryAfterMillis?: number
  readonly cause?: unknown
  /** What was answered, for a reply when the retries are spent. */
  readonly reply?: Reply
  /** Of an answer whose words were looked for: whether it has any. */
  readonly hasWords?: boolean
}

/** Takes out of a text what nobody should read. */
export type Conceal = (text: string) => string

/** Finds the words in an answer's body; undefined where it has none of its own. */
export type Words = (body: string) => string | undefined

/** Units: characters of an answer in a reason: of a body, and of words that were looked for. */
const excerptMax = 200
const wordsMax = 600

export const isBusy = (status: number): boolean => status === 429 || status === 503

type Retried = (status: number) => boolean

export const retriedOf = (retryOn: ReadonlyArray<Statuses>): Retried => {
  const retried = new Set<Statuses>([408, 425, 429, ...retryOn])
  return (status) => retried.has(status) || retried.has(status < 400 ? status : status < 500 ? "4xx" : "5xx")
}

/** What every answer of an endpoint is judged by. */
export interface Judging {
  readonly where: string
  readonly redirects: number
  readonly retried: Retried
  /** Whether a redirect that is not followed counts as a good answer. */
  readonly acceptsRedirects: boolean
  /** Whether the answer of a spent failure is wanted. */
  readonly isKept: boolean
  readonly conceal: Conceal | undefined
  readonly words?: Words | undefined
}

export const judge = (judging: Judging, answer: Answer): Effect.Effect<Reply, Failure> => {
  const { body, headers, status } = answer
  if (status < 300 || (status < 400 && judging.acceptsRedirects))
    return Effect.succeed({ kind: "accepted", payload: body, status, headers })
  if (judging.retried(status)) return failed(judging, answer)
  const reason = status < 400 ? redirectSentence(judging, answer) : sentence(judging, answer)
  if (status >= 500) {
    const { words } = judging
    const hasWords = words === undefined ? undefined : { hasWords: words(Buffer.from(body).toString()) !== undefined }
    return Effect.fail({ reason, presence: "answered", retryable: false, ...hasWords })
  }
  return Effect.succeed({ kind: "refused", payload: body, status, headers, reason })
}

/** An answer that asks to come again. */
export const failed = (judging: Judging, answer: Answer): Effect.Effect<never, Failure> =>
  Effect.flatMap(Clock.currentTimeMillis, (now) => {
    const { body: payload, headers, status } = answer
    const retryAfterMillis = retryAfter(headers["retry-after"], now)
    const reason = sentence(judging, answer)
    return Effect.fail({
      reason,
      presence: isBusy(status) ? "busy" : "answered",
      retryable: true,
      ...(retryAfterMillis === undefined ? undefined : { retryAfterMillis }),
      ...(judging.isKept && status >= 500
        ? { reply: { kind: "refused", payload, status, headers, reason } }
        : undefined)
    })
  })

/** The config is wrong, or credentials are refused: waited out like an outage, so that it does not bury a whole queue. */
export const blameless = (reason: string): Effect.Effect<never, Failure> =>
  Effect.fail({ reason, presence: "busy", retryable: true })

/** Units: milliseconds. Source: seconds or a date, https://www.rfc-editor.org/rfc/rfc9110#field.retry-after */
export const retryAfter = (value: string | undefined, now: number): number | undefined => {
  if (value === undefined) return undefined
  if (/^\s*\d+\s*$/.test(value)) return Number(value) * 1000
  const date = Option.getOrUndefined(DateTime.make(value))
  return date === undefined ? undefined : Math.max(0, DateTime.toEpochMillis(date) - now)
}

/** Such as `POST http://host/path answered 422 Unprocessable Entity: no such customer`. */
const sentence = ({ conceal, where, words }: Judging, { body, status, statusText }: Answer): string => {
  const text = excerpt(body, conceal, words)
  return `${where} answered ${named(status, statusText)}${text === "" ? "" : `: ${text}`}`
}

const redirectSentence = ({ redirects, where }: Judging, { headers, status, statusText }: Answer): string => {
  const to = URL.parse(headers.location ?? "")
  const answered = `${where} answered ${named(status, statusText)}${to === null ? "" : ` to ${shown(to)}`}`
  return redirects === 0 ? `${answered}: redirects are off` : `${answered}: not followed (at most ${redirects} are)`
}

const named = (status: number, statusText: string): string => {
  const text = statusText === "" ? STATUS_CODES[status] : statusText
  return text === undefined ? `${status}` : `${status} ${text}`
}

/** The words in a body, or its start, on one line. */
const excerpt = (body: Uint8Array, conceal: Conceal | undefined, words: Words | undefined): string => {
  // A character is at most four bytes; but what is to be concealed, or to be understood, must be seen whole.
  const isPart = conceal === undefined && words === undefined
  const length = isPart ? Math.min(body.byteLength, excerptMax * 8) : body.byteLength
  const text = Buffer.from(body.buffer, body.byteOffset, length).toString()
  const said = words?.(text)
  const shown = said ?? text
  return line(conceal === undefined ? shown : conceal(shown), said === undefined ? excerptMax : wordsMax)
}

const line = (text: string, max: number): string => {
  const one = text.replaceAll(/[\s\p{Cc}]+/gu, " ").trim()
  return one.length > max ? `${one.slice(0, max)}...` : one
}

// ---------------------------------------------------------------------------------------------------- failures

export const failureOf = (
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

/** Without what may be secret: credentials and the query. */
export const shown = ({ origin, pathname }: URL): string => `${origin}${pathname}`
