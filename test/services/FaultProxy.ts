/** Stands before an HTTP server and spoils the requests a test wants spoiled, before or after the server has seen them. */
import { createServer, type IncomingMessage, type OutgoingHttpHeaders, request, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { onTestFinished } from "vitest"

export interface Fault {
  /** Any when left out. */
  readonly method?: string
  /** Matches path and query; any when left out. */
  readonly path?: RegExp
  /** How many of the next such requests; one when left out. */
  readonly times?: number
  /** Whether the server gets the request, and does what it asks for; not when left out. */
  readonly forward?: boolean
  /** What the client sees: an answer, a connection that is reset, or nothing until the proxy stops. */
  readonly answer: Answer | "reset" | "hang"
}

export interface Answer {
  readonly status: number
  readonly headers?: OutgoingHttpHeaders
  readonly body?: string
}

export interface Seen {
  readonly method: string
  /** With its query. */
  readonly path: string
  /** Undefined where a fault came instead of the server's own answer. */
  readonly status: number | undefined
}

export interface Proxy {
  /** `http://127.0.0.1:port`. */
  readonly url: string
  /** Faults strike in the order in which they were planned. */
  readonly fail: (fault: Fault) => void
  /** Resolves when such a fault has struck. */
  readonly struck: (fault: Fault) => Promise<void>
  /** What came through, in the order it was answered. */
  readonly seen: ReadonlyArray<Seen>
  readonly stop: () => Promise<void>
}

/** `target` is the server's origin, `http://host:port`. */
export const start = async (target: string): Promise<Proxy> => {
  const faults: Array<{ readonly fault: Fault; left: number }> = []
  const seen: Array<Seen> = []
  const waiting: Array<{ readonly fault: Fault; readonly done: () => void }> = []
  const hit = new Set<Fault>()

  const take = (incoming: IncomingMessage): Fault | undefined => {
    const found = faults.find(
      ({ fault: { method = incoming.method, path }, left }) =>
        left > 0 && method === incoming.method && (path?.test(incoming.url!) ?? true)
    )
    if (found !== undefined) found.left--
    return found?.fault
  }
  const spoil = ({ answer }: Fault, incoming: IncomingMessage, outgoing: ServerResponse): void => {
    if (answer === "reset") incoming.socket.resetAndDestroy()
    else if (answer !== "hang") outgoing.writeHead(answer.status, answer.headers).end(answer.body ?? "")
  }
  const server = createServer(async (incoming, outgoing) => {
    const fault = take(incoming)
    const { method = "", url: path = "" } = incoming
    const body = await bodyOf(incoming).catch(() => undefined)
    // The client is gone already.
    if (body === undefined) return
    const answer = fault === undefined || fault.forward === true ? await forward(target, incoming, body) : undefined
    seen.push({ method, path, status: fault === undefined ? answer?.status : undefined })
    if (fault !== undefined) {
      spoil(fault, incoming, outgoing)
      hit.add(fault)
      for (const one of waiting) if (one.fault === fault) one.done()
    } else if (answer === undefined) incoming.socket.resetAndDestroy()
    else outgoing.writeHead(answer.status, answer.headers).end(answer.body)
  })
  await new Promise<void>((listens) => server.listen(0, "127.0.0.1", listens))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    fail: (fault) => void faults.push({ fault, left: fault.times ?? 1 }),
    struck: (fault) =>
      hit.has(fault) ? Promise.resolve() : new Promise((done) => void waiting.push({ fault, done: () => done() })),
    seen,
    stop: () =>
      new Promise((stopped) => {
        server.close(() => stopped())
        server.closeAllConnections()
      })
  }
}

/** One that ends with the test. */
export const forTest = async (target: string): Promise<Proxy> => {
  const proxy = await start(target)
  onTestFinished(proxy.stop)
  return proxy
}

interface Answered {
  readonly status: number
  readonly headers: OutgoingHttpHeaders
  readonly body: Buffer
}

/** Undefined where the server cannot be reached or breaks off. */
const forward = (
  target: string,
  { headers, method, url }: IncomingMessage,
  body: Buffer
): Promise<Answered | undefined> =>
  new Promise((answered) => {
    const failed = () => answered(undefined)
    const asking = request(new URL(url!, target), { method: method!, headers, agent: false }, (incoming) => {
      const { headers, statusCode } = incoming
      const { connection: _, "keep-alive": __, "transfer-encoding": ___, ...kept } = headers
      bodyOf(incoming).then((body) => {
        const length = method === "HEAD" || statusCode === 204 ? {} : { "content-length": body.length }
        answered({ status: statusCode!, headers: { ...kept, ...length }, body })
      }, failed)
    })
    asking.on("error", failed)
    asking.end(body)
  })

const bodyOf = async (incoming: IncomingMessage): Promise<Buffer> => {
  const chunks: Array<Buffer> = []
  for await (const chunk of incoming) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}
