/** Real HTTP servers, requests and raw connections on loopback, for tests. */
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from "node:http"
import { type AddressInfo, connect, type Socket } from "node:net"
import { Effect, type Scope } from "effect"

export interface Running {
  readonly url: string
  readonly port: number
  /** Connections made so far. */
  readonly connections: () => number
}

/** Serves until the scope closes, on a free port where none is given. */
export const serve = (listener: RequestListener, port = 0): Effect.Effect<Running, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<{ readonly running: Running; readonly close: () => Promise<void> }>((resume) => {
      let connections = 0
      const server = createServer(listener)
      server.on("connection", () => {
        connections++
      })
      server.listen({ port, host: "127.0.0.1" }, () => {
        const { port } = server.address() as AddressInfo
        const close = () =>
          new Promise<void>((resolve) => {
            server.close(() => resolve())
            server.closeAllConnections()
          })
        const running = { url: `http://127.0.0.1:${port}`, port, connections: () => connections }
        resume(Effect.succeed({ running, close }))
      })
    }),
    ({ close }) => Effect.promise(close)
  ).pipe(Effect.map(({ running }) => running))

export const bodyOf = (incoming: IncomingMessage): Promise<string> =>
  new Promise((resolve, reject) => {
    const chunks: Array<Buffer> = []
    incoming.on("data", (chunk: Buffer) => chunks.push(chunk))
    incoming.on("end", () => resolve(Buffer.concat(chunks).toString()))
    incoming.on("error", reject)
  })

/** Answers everything alike. */
export const answering =
  (status: number, body = "", headers: Readonly<Record<string, string>> = {}): RequestListener =>
  (_incoming: IncomingMessage, outgoing: ServerResponse) => {
    outgoing.writeHead(status, headers).end(body)
  }

export interface Asked {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  readonly json: () => unknown
}

/** Fails where there is no answer. */
export const ask = (url: string, init: RequestInit = {}): Effect.Effect<Asked, Error> =>
  Effect.tryPromise({
    try: async (signal) => {
      const response = await fetch(url, { method: "POST", redirect: "manual", ...init, signal })
      const text = await response.text()
      return { status: response.status, headers: response.headers, text, json: () => JSON.parse(text) as unknown }
    },
    catch: (error) => error as Error
  })

export interface Raw {
  readonly send: (text: string) => Effect.Effect<void>
  /** Returns what has come, once `text` is in it. */
  readonly until: (text: string) => Effect.Effect<string>
  /** Returns all that came, once the other side has closed. */
  readonly closed: Effect.Effect<string>
  readonly destroy: Effect.Effect<void>
}

/** A connection that says what it is told to, HTTP or not. */
export const raw = (port: number): Effect.Effect<Raw, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<Socket>((resume) => {
      const socket = connect(port, "127.0.0.1", () => resume(Effect.succeed(socket)))
      // A reset is an end like any other here.
      socket.on("error", () => {})
    }),
    (socket) => Effect.sync(() => socket.destroy())
  ).pipe(
    Effect.map((socket) => {
      let received = ""
      let over = false
      let waiting: Array<() => boolean> = []
      const look = () => {
        const asking = waiting
        waiting = []
        for (const done of asking) if (!done()) waiting.push(done)
      }
      socket.on("data", (chunk) => {
        received += chunk.toString()
        look()
      })
      socket.on("close", () => {
        over = true
        look()
      })
      const when = (holds: () => boolean): Effect.Effect<string> =>
        Effect.callback<string>((resume) => {
          const done = () => {
            if (holds()) resume(Effect.succeed(received))
            return holds()
          }
          if (!done()) waiting.push(done)
        })
      return {
        send: (text) => Effect.sync(() => void socket.write(text)),
        until: (text) => when(() => received.includes(text)),
        closed: when(() => over),
        destroy: Effect.sync(() => void socket.destroy())
      }
    })
  )
