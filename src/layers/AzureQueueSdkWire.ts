/** What is between Microsoft's queue client and the wire: our connections, and texts and errors as they really are. */
import type { Agent as HttpAgent } from "node:http"
import type { Agent as HttpsAgent } from "node:https"
import type { RequestPolicyFactory } from "@azure/storage-queue"
import { retryAfter } from "./HttpAnswer.ts"

export interface Agents {
  readonly "http:": HttpAgent
  readonly "https:": HttpsAgent
}

/** The service answered, and not with what was wanted. */
export class Answered extends Error {
  override readonly name = "Answered"
  readonly status: number
  /** Its name for the error; undefined where what answers is no queue service. */
  readonly code: string | undefined
  /** Units: milliseconds. */
  readonly retryAfterMillis: number | undefined

  constructor(status: number, code: string | undefined, words: string, retryAfterMillis: number | undefined) {
    super(words)
    this.status = status
    this.code = code
    this.retryAfterMillis = retryAfterMillis
  }
}

/**
 * Stands before the vendor's own policies.
 *
 * The vendor's XML loses carriage returns: it sends them bare, where XML makes them line feeds, and does not read the
 * references in which they come back. And what answers an error that is no XML it cannot read at all.
 */
export const policy = (agents: Agents): RequestPolicyFactory => ({
  create: (next) => ({
    sendRequest: async (request) => {
      // A proxy of the environment has brought its own.
      request.agent ??= agents[new URL(request.url).protocol as keyof Agents]
      if (typeof request.body === "string") request.body = request.body.replaceAll("\r", "&#xD;")
      const response = await next.sendRequest(request)
      if (response.status < 400) {
        if (request.method !== "GET" || /<QueueMessagesList\b/.test(response.bodyAsText ?? "")) return response
        throw new Answered(response.status, undefined, "what answers is not a queue service", undefined)
      }
      const { code, words } = errorIn(response.bodyAsText ?? "")
      throw new Answered(
        response.status,
        response.headers.get("x-ms-error-code") ?? code,
        words ?? `HTTP status ${response.status}`,
        retryAfter(response.headers.get("retry-after"), Date.now())
      )
    }
  })
})

/** The texts of the messages in an answer, in its order. */
export const textsOf = (xml: string): ReadonlyArray<string> =>
  [...xml.matchAll(/<MessageText(?:\s*\/>|>([^<]*)<\/MessageText>)/g)].map(([, text]) => unescaped(text ?? ""))

const names: Readonly<Record<string, string>> = { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'" }

/** Line ends as an XML reader has them, before what is written as a reference. */
const unescaped = (text: string): string =>
  text
    .replaceAll(/\r\n?/g, "\n")
    .replaceAll(/&(?:#x([0-9a-f]+)|#(\d+)|(lt|gt|amp|quot|apos));/gi, (_, hex, decimal, name) =>
      name === undefined
        ? String.fromCodePoint(hex === undefined ? Number(decimal) : Number.parseInt(hex, 16))
        : names[name.toLowerCase()]!
    )

/** The first line of its message: request id and time come after it. */
const errorIn = (xml: string): { readonly code: string | undefined; readonly words: string | undefined } => {
  const code = /<Code>([^<]+)<\/Code>/.exec(xml)?.[1]
  const words = /<Message>\s*([^<\r\n]+)/.exec(xml)?.[1]
  return { code, words: words === undefined ? undefined : unescaped(words).trim() }
}
