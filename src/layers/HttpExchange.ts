/** One request of the HTTP server, from its head to its answer. */
import { Buffer } from "node:buffer"
import type { IncomingMessage, ServerResponse } from "node:http"
import type { Duplex } from "node:stream"
import { Cause, Effect, Exit, Fiber } from "effect"
import type { HttpResponse } from "../services/HttpHost.ts"
import { isLater, type Ready } from "../services/Ready.ts"
import { type Link, Linked } from "../streams/Linked.ts"
import { alone, Request } from "./HttpRequestRead.ts"
import type { Found, HttpRoutes } from "./HttpRoutes.ts"

export interface Options {
  readonly routes: HttpRoutes
  readonly fork: <A>(effect: Effect.Effect<A>) => Fiber.Fiber<A>
  /** Units: bytes. */
  readonly bodyMax: number
  /** Units: milliseconds. How long a client may leave an answer unread. */
  readonly slowMillis: number
}

/** Units: requests that are read or answered at the same time. */
export const exchangesMax = 10_000
/** Units: bytes of all bodies that are being read. */
const readingMax = 64 * 1024 * 1024
/** Units: milliseconds for which the rest of a refused body is let in. */
const lingerMillis = 1_000

/** The requests at work on one server. */
export class HttpExchanges {
  readonly options: Options
  /** Set when the server stops: each connection closes behind its answer. */
  stopping = false
  /** Units: bytes of the bodies that are being read. */
  reading = 0
  private readonly open = new Linked<Exchange>()
  private idlers: Array<() => void> = []

  constructor(options: Options) {
    this.options = options
  }

  serve(incoming: IncomingMessage, outgoing: ServerResponse, continues: boolean): void {
    const exchange = this.begin(incoming, outgoing)
    if (this.open.size > exchangesMax) exchange.refuse(unavailable("too many requests at the same time"))
    // Source: RFC 9112, 3.2.
    else if (incoming.headers.host === undefined && incoming.httpVersion === "1.1") exchange.refuse(noHost)
    else exchange.start(continues)
  }

  refuseExpectation(incoming: IncomingMessage, outgoing: ServerResponse): void {
    this.begin(incoming, outgoing).refuse(reasoned(417, "the only expectation met here is 100-continue"))
  }

  private begin(incoming: IncomingMessage, outgoing: ServerResponse): Exchange {
    const exchange = new Exchange(this, incoming, outgoing)
    this.open.add(exchange)
    outgoing.once("close", () => {
      this.open.remove(exchange)
      exchange.closed()
      if (this.open.size === 0) for (const idle of this.idlers.splice(0)) idle()
    })
    return exchange
  }

  /** Answers what node could not read as a request. */
  answerMalformed(error: NodeJS.ErrnoException, socket: Duplex): void {
    const onSocket = [...this.open].filter((exchange) => exchange.isOn(socket))
    // An answer written now would be taken for that of a request still at work on this connection.
    if (socket.writable && error.code !== "ECONNRESET" && onSocket.every((exchange) => exchange.isReading)) {
      const [status, reason] = malformed[error.code ?? ""] ?? ["400 Bad Request", "the request is malformed"]
      this.answerUnread(status, reason, socket)
    } else socket.destroy(error)
  }

  /** Answers without a request, and closes the connection. */
  answerUnread(status: string, error: string, socket: Duplex): void {
    const body = JSON.stringify({ error })
    socket.end(
      `HTTP/1.1 ${status}\r\nconnection: close\r\ncontent-type: application/json\r\n` +
        `content-length: ${body.length}\r\n\r\n${body}`
    )
    socket.destroy()
  }

  /** Returns when every request is answered. */
  readonly idle: Effect.Effect<void> = Effect.callback<void>((resume) => {
    if (this.open.size === 0) resume(Effect.void)
    else this.idlers.push(() => resume(Effect.void))
  })

  /** Ends what is still at work, once its connections are closed. */
  readonly interruptAll: Effect.Effect<void> = Effect.suspend(() =>
    Fiber.interruptAll([...this.open].flatMap(({ fiber }) => fiber ?? []))
  )
}

/** Codes of node's parser, and what they are called in HTTP. */
const malformed: Readonly<Record<string, readonly [status: string, reason: string]>> = {
  ERR_HTTP_REQUEST_TIMEOUT: ["408 Request Timeout", "the request took too long to arrive"],
  HPE_HEADER_OVERFLOW: ["431 Request Header Fields Too Large", "the headers are too large"],
  HPE_CHUNK_EXTENSIONS_OVERFLOW: ["413 Payload Too Large", "the chunk extensions are too large"]
}

class Exchange implements Link<Exchange> {
  before: Exchange | undefined
  after: Exchange | undefined
  fiber: Fiber.Fiber<unknown> | undefined
  isReading = false
  private readBytes = 0
  private readonly all: HttpExchanges
  private readonly incoming: IncomingMessage
  private readonly outgoing: ServerResponse

  constructor(all: HttpExchanges, incoming: IncomingMessage, outgoing: ServerResponse) {
    this.all = all
    this.incoming = incoming
    this.outgoing = outgoing
  }

  isOn(socket: Duplex): boolean {
    return this.incoming.socket === socket
  }

  start(continues: boolean): void {
    const { headers, method = "GET", url = "/" } = this.incoming
    const query = url.indexOf("?")
    const path = query < 0 ? url : url.slice(0, query)
    const found = this.all.options.routes.find(method, path)
    if (found._tag !== "Route") {
      if (continues) this.refuse(missing(found, method, path))
      else this.respond(missing(found, method, path))
      return
    }
    const { params, route } = found
    const bodyMax = route.bodyMax ?? this.all.options.bodyMax
    const length = headers["content-length"]
    if (length !== undefined && Number(length) > bodyMax) {
      this.refuse(tooLarge(bodyMax))
      return
    }
    const request = new Request(this.incoming, path, query, params)
    const answer = (): void => this.when(() => route.handle(request), this.answered)
    const take = (): void => {
      if (continues) this.outgoing.writeContinue()
      if (length === "0" || (length === undefined && headers["transfer-encoding"] === undefined)) answer()
      else this.read(request, bodyMax, answer)
    }
    const { admit } = route
    if (admit === undefined) take()
    else {
      this.when(
        () => admit(request),
        (refusal) => {
          if (refusal === undefined) take()
          else if (continues) this.refuse(refusal)
          // Node lets the body by, and keeps the connection.
          else this.respond(refusal)
        }
      )
    }
  }

  /** Answers before the body is in, and closes the connection. */
  refuse(response: HttpResponse): void {
    this.stopReading()
    const { incoming, outgoing } = this
    if (incoming.complete) {
      this.respond(response)
      return
    }
    outgoing.writeHead(response.status, { ...headOf(response), connection: "close" })
    outgoing.write(response.body)
    // Closing while the client still sends would reset the connection before it has read the answer.
    const end = (): void => {
      clearTimeout(timer)
      outgoing.end()
    }
    const timer = setTimeout(end, lingerMillis)
    incoming.once("end", end).once("close", end).resume()
  }

  /** The connection is done with this request, answered or not. */
  closed(): void {
    this.stopReading()
    // Nobody waits for the answer any more.
    this.fiber?.interruptUnsafe()
  }

  private read(request: Request, bodyMax: number, then: () => void): void {
    const chunks: Array<Buffer> = []
    this.isReading = true
    this.incoming.on("data", (chunk: Buffer) => {
      this.readBytes += chunk.length
      this.all.reading += chunk.length
      if (this.readBytes > bodyMax) this.refuse(tooLarge(bodyMax))
      else if (this.all.reading > readingMax) this.refuse(unavailable("too many large requests at the same time"))
      else chunks.push(chunk)
    })
    this.incoming.once("end", () => {
      if (!this.isReading) return
      request.body = chunks.length === 1 ? alone(chunks[0]!) : Buffer.concat(chunks, this.readBytes)
      this.stopReading()
      then()
    })
  }

  private stopReading(): void {
    if (!this.isReading) return
    this.isReading = false
    this.all.reading -= this.readBytes
    this.incoming.removeAllListeners("data")
  }

  private when<A>(make: () => Ready<A>, then: (value: A) => void): void {
    let ready: Ready<A>
    try {
      ready = make()
    } catch (thrown) {
      this.broke(Cause.die(thrown))
      return
    }
    if (!isLater(ready)) {
      then(ready)
      return
    }
    const fiber = this.all.options.fork(ready)
    this.fiber = fiber
    fiber.addObserver((exit) => {
      this.fiber = undefined
      if (Exit.isSuccess(exit)) then(exit.value)
      else if (!Cause.hasInterruptsOnly(exit.cause)) this.broke(exit.cause)
      else if (!this.outgoing.destroyed) this.respond(unavailable("the server is stopping"))
    })
  }

  private readonly answered = (response: HttpResponse): void => this.respond(response)

  private respond(response: HttpResponse): void {
    const { outgoing } = this
    if (outgoing.destroyed) return
    if (this.all.stopping) outgoing.shouldKeepAlive = false
    try {
      outgoing.writeHead(response.status, headOf(response))
      outgoing.end(response.body)
      // A client that does not read must not hold the answer for ever.
      if (outgoing.writableLength > 0) outgoing.setTimeout(this.all.options.slowMillis)
    } catch (thrown) {
      this.broke(Cause.die(thrown))
    }
  }

  private broke(cause: Cause.Cause<never>): void {
    const { method, url = "/" } = this.incoming
    this.all.options.fork(Effect.logError(`${method} ${url.split("?")[0]}: answered 500`, cause))
    if (this.outgoing.headersSent) this.outgoing.destroy()
    else this.respond({ status: 500, headers: json, body: '{"error":"internal error"}' })
  }
}

const headOf = ({ body, headers, status }: HttpResponse): Record<string, string | number> => {
  const head: Record<string, string | number> = { ...headers }
  if (status === 204 || status === 304) return head
  head["content-length"] = body === undefined ? 0 : Buffer.byteLength(body)
  if (typeof body === "string" && head["content-type"] === undefined) head["content-type"] = "text/plain; charset=utf-8"
  return head
}

const json = { "content-type": "application/json" }

const reasoned = (status: number, error: string, headers: Readonly<Record<string, string>> = {}): HttpResponse => ({
  status,
  headers: { ...json, ...headers },
  body: JSON.stringify({ error })
})

const unavailable = (error: string): HttpResponse => reasoned(503, error, { "retry-after": "1" })

const noHost: HttpResponse = reasoned(400, "the request has no header host")

const tooLarge = (bodyMax: number): HttpResponse => reasoned(413, `the body is larger than ${bodyMax} bytes`)

const missing = (found: Exclude<Found, { readonly _tag: "Route" }>, method: string, path: string): HttpResponse => {
  switch (found._tag) {
    case "Closed":
      return unavailable(`${path} is not taken just now`)
    case "Unknown":
      return reasoned(404, `there is no ${path}`)
    case "OtherMethod":
      return reasoned(405, `${path} takes ${found.allow}, not ${method}`, { allow: found.allow })
  }
}
