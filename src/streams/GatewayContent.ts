/** Whether a request of the gateway can be read at all: its compression, its charset, and what its query asks. */
import type { HttpRequest, HttpResponse } from "../services/HttpHost.ts"
import * as FormBody from "./FormBody.ts"

export interface Problem {
  readonly reason: string
  /** For the answer: what would be read. */
  readonly headers: NonNullable<HttpResponse["headers"]>
}

/** What is wrong with its body, whatever that holds; `isText` says whether it is to be read as text. */
export const problem = ({ headers }: HttpRequest, isText: boolean): Problem | undefined => {
  const reason = codingProblem(headers["content-encoding"])
  // Source: RFC 9110, 15.5.16.
  if (reason !== undefined) return { reason, headers: { "accept-encoding": "identity" } }
  const charset = isText ? charsetProblem(headers["content-type"] ?? "") : undefined
  return charset === undefined ? undefined : { reason: charset, headers: {} }
}

/** Text is read as UTF-8, of which ASCII is a part: why this content type says another charset. */
export const charsetProblem = (contentType: string): string | undefined => {
  // Most have no parameters.
  const charset = contentType.includes(";") ? FormBody.parameter(contentType, "charset") : undefined
  return charset === undefined || /^(?:utf-?8|(?:us-)?ascii)$/i.test(charset)
    ? undefined
    : `text is read as utf-8, not as charset ${shown(charset)}`
}

const codingProblem = (codings: string | undefined): string | undefined =>
  codings === undefined || codings.split(",").every((one) => /^(?:identity)?$/i.test(one.trim()))
    ? undefined
    : `a body is read as it is, not with content-encoding ${shown(codings)}`

/** A misspelt parameter would be a wish that nobody heard, and of two values one would be. */
export const queryProblem = (query: URLSearchParams, known: ReadonlyArray<string>): string | undefined => {
  const seen = new Set<string>()
  for (const name of query.keys()) {
    if (!known.includes(name)) {
      const expected = known.length === 0 ? "there are none here" : `there is ${known.join(", ")}`
      return `the query has no parameter ${shown(name)}: ${expected}`
    }
    if (seen.has(name)) return `the query has ${name} more than once`
    seen.add(name)
  }
  return undefined
}

/** Units: characters of what came. */
const shown = (text: string): string => JSON.stringify(text.slice(0, 100))
