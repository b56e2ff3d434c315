/** Sends one HTTP request with undici, follows its redirects, and brings the whole answer. */
import { Buffer } from "node:buffer"
import { Effect, Exit } from "effect"
import type { Agent, Dispatcher } from "undici"

export interface Request {
  readonly method: string
  readonly url: URL
  /** By their lower-case names. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array | string | undefined
}

export interface Limits {
  /** Units: milliseconds, for the whole call with its redirects. */
  readonly timeoutMillis: number
  /** Units: redirects that are followed. */
  readonly redirects: number
  /** Units: bytes of the answer's body. */
  readonly responseMax: number
  /** What becomes of a larger one. */
  readonly larger: "fail" | "cut"
}

export interface Answer {
  readonly status: number
  readonly statusText: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array
}

/** There is no answer that could be used. `sent` says whether the target may have seen the request. */
export type Broken =
  | { readonly _tag: "Timeout"; readonly sent: boolean }
  | { readonly _tag: "TooLarge"; readonly status: number; readonly statusText: string }
  | { readonly _tag: "Failed"; readonly sent: boolean; readonly error: Error & { readonly code?: string } }

/** Interrupted, it closes the connection. */
export const send = (agent: Agent, request: Request, limits: Limits): Effect.Effect<Answer, Broken> =>
  Effect.callback<Answer, Broken>((resume) => {
    const sending = new Sending(agent, request, limits, resume)
    sending.start()
    return Effect.sync(() => sending.abort())
  })

/** What another origin may be told; anything else could be a credential. */
const harmless: ReadonlySet<string> = new Set(["accept", "content-type", "user-agent"])
const redirecting: ReadonlySet<number> = new Set([301, 302, 303, 307, 308])

class Sending implements Dispatcher.DispatchHandler {
  private request: Request
  private redirects: number
  private controller: Dispatcher.DispatchController | undefined
  private timer: NodeJS.Timeout | undefined
  private ended = false
  private status = 0
  private statusText = ""
  private headers: Record<string, string> = {}
  private chunks: Array<Buffer> = []
  private bytes = 0
  private readonly agent: Agent
  private readonly limits: Limits
  private readonly resume: (exit: Exit.Exit<Answer, Broken>) => void

  constructor(agent: Agent, request: Request, limits: Limits, resume: (exit: Exit.Exit<Answer, Broken>) => void) {
    this.agent = agent
    this.request = request
    this.limits = limits
    this.redirects = limits.redirects
    this.resume = resume
  }

  start(): void {
    this.timer = setTimeout(
      () => this.fail({ _tag: "Timeout", sent: this.controller !== undefined }),
      this.limits.timeoutMillis
    )
    this.dispatch()
  }

  abort(): void {
    if (this.ended) return
    this.ended = true
    clearTimeout(this.timer)
    this.controller?.abort(new Error("aborted"))
  }

  /** Called when there is a connection. */
  onRequestStart(controller: Dispatcher.DispatchController): void {
    if (this.ended) controller.abort(new Error("aborted"))
    else this.controller = controller
  }

  onResponseStart(
    _: Dispatcher.DispatchController,
    status: number,
    headers: Readonly<Record<string, string | ReadonlyArray<string> | undefined>>,
    statusText = ""
  ): void {
    if (status < 200) return
    this.status = status
    this.statusText = statusText
    this.headers = flat(headers)
    if (this.request.method !== "HEAD" && Number(this.headers["content-length"]) > this.limits.responseMax) {
      this.tooLarge()
    }
  }

  onResponseData(_: Dispatcher.DispatchController, chunk: Buffer): void {
    const room = this.limits.responseMax - this.bytes
    this.bytes += chunk.length
    if (room > 0) this.chunks.push(chunk.subarray(0, room))
    if (chunk.length > room) this.tooLarge()
  }

  onResponseEnd(): void {
    const next = this.redirects > 0 ? this.redirected() : undefined
    if (next !== undefined) {
      this.follow(next)
      return
    }
    const body = this.chunks.length === 1 ? this.chunks[0]! : Buffer.concat(this.chunks)
    this.end(Exit.succeed({ status: this.status, statusText: this.statusText, headers: this.headers, body }))
  }

  onResponseError(_: unknown, error: Error): void {
    this.fail({ _tag: "Failed", sent: this.controller !== undefined, error })
  }

  private follow(next: Request): void {
    this.redirects--
    this.request = next
    this.controller = undefined
    this.chunks = []
    this.bytes = 0
    this.dispatch()
  }

  private dispatch(): void {
    const { body, headers, method, url } = this.request
    const { origin, pathname, search } = url
    // The time of the whole call is kept here: undici's own limits are for its parts.
    const times = { headersTimeout: 0, bodyTimeout: 0 }
    this.agent.dispatch({ origin, path: pathname + search, method, headers, body: body ?? null, ...times }, this)
  }

  private tooLarge(): void {
    if (this.limits.larger === "fail") {
      this.fail({ _tag: "TooLarge", status: this.status, statusText: this.statusText })
    }
  }

  private fail(broken: Broken): void {
    if (this.ended) return
    this.abort()
    this.resume(Exit.fail(broken))
  }

  private end(exit: Exit.Exit<Answer, Broken>): void {
    if (this.ended) return
    this.ended = true
    clearTimeout(this.timer)
    this.resume(exit)
  }

  /** The request an answer points to, as browsers read it: 303 and a POST's 301 and 302 become a GET. */
  private redirected(): Request | undefined {
    const { body, headers, method, url: from } = this.request
    const { location } = this.headers
    if (location === undefined || !redirecting.has(this.status)) return undefined
    const url = URL.parse(location, from.href)
    if (url === null || (url.protocol !== "http:" && url.protocol !== "https:")) return undefined
    const get = this.status === 303 ? method !== "HEAD" : this.status < 303 && method === "POST"
    const kept = Object.entries(headers).filter(
      ([name]) =>
        name !== "host" && (!get || !name.startsWith("content-")) && (url.origin === from.origin || harmless.has(name))
    )
    return { method: get ? "GET" : method, url, headers: Object.fromEntries(kept), body: get ? undefined : body }
  }
}

/** One text per name, and no cookie, which would be a credential in a dead letter. */
const flat = (
  headers: Readonly<Record<string, string | ReadonlyArray<string> | undefined>>
): Record<string, string> => {
  const found: Record<string, string> = {}
  for (const name of Object.keys(headers)) {
    const value = headers[name]
    if (value === undefined || name === "set-cookie" || name === "__proto__") continue
    found[name] = typeof value === "string" ? value : value.join(", ")
  }
  return found
}
