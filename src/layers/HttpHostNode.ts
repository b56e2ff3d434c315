/** The HTTP server of a process, on node:http. */
import { createServer, type Server } from "node:http"
import type { AddressInfo } from "node:net"
import { Effect, Layer, type Scope } from "effect"
import { HttpHost, HttpHostError } from "../services/HttpHost.ts"
import { exchangesMax, HttpExchanges } from "./HttpExchange.ts"
import { HttpRoutes } from "./HttpRoutes.ts"

export interface Options {
  readonly host: string
  /** 0 takes a free one. */
  readonly port: number
  /** Units: bytes of a request's body, where its route says nothing else; 1 MiB by default. */
  readonly bodyMax?: number | undefined
  /** Units: milliseconds. How long a request may take to arrive; 30 seconds by default. */
  readonly slowMillis?: number | undefined
  /** Units: milliseconds. How long a stop waits for open requests; 5 seconds by default. */
  readonly stopMillis?: number | undefined
}

/** Units: milliseconds. Longer than the 60 s of common load balancers, which else send into a closing connection. */
const keepAliveMillis = 65_000
/** Units: milliseconds between two looks for slow clients. */
const checkMillis = 2_000

export const make: (options: Options) => Effect.Effect<HttpHost["Service"], HttpHostError, Scope.Scope> =
  Effect.fnUntraced(function* (options: Options) {
    const { bodyMax = 1024 * 1024, host, slowMillis = 30_000, stopMillis = 5_000 } = options
    const routes = new HttpRoutes()
    const fork = Effect.runForkWith(yield* Effect.context<never>())
    const exchanges = new HttpExchanges({ routes, fork, bodyMax, slowMillis })
    // node:http itself: Effect's router was measured at half its throughput, and webhooks are to reach 85 % of Fastify's.
    const server = createServer({
      headersTimeout: slowMillis,
      requestTimeout: slowMillis,
      connectionsCheckingInterval: Math.min(checkMillis, Math.ceil(slowMillis / 4)),
      keepAliveTimeout: keepAliveMillis,
      // It would answer without a reason: ours has one.
      requireHostHeader: false
    })
    server.maxConnections = exchangesMax
    server.on("request", (incoming, outgoing) => exchanges.serve(incoming, outgoing, false))
    server.on("checkContinue", (incoming, outgoing) => exchanges.serve(incoming, outgoing, true))
    server.on("checkExpectation", (incoming, outgoing) => exchanges.refuseExpectation(incoming, outgoing))
    server.on("connect", (_, socket) =>
      exchanges.answerUnread("405 Method Not Allowed", "there are no tunnels here", socket)
    )
    server.on("clientError", (error, socket) => exchanges.answerMalformed(error, socket))
    yield* Effect.acquireRelease(listen(server, options), () => stop(server, exchanges, stopMillis))
    server.on("error", (error) => fork(Effect.logError(`http: ${error.message}`)))
    const { port } = server.address() as AddressInfo
    return HttpHost.of({ route: (route) => routes.take(route), address: { host, port } })
  })

export const layer = (options: Options): Layer.Layer<HttpHost, HttpHostError> => Layer.effect(HttpHost, make(options))

/** Where the config has no `http`: nothing is bound, and no path can be had. */
export const layerNone: Layer.Layer<HttpHost> = Layer.succeed(HttpHost, {
  address: undefined,
  route: () => Effect.fail(new HttpHostError({ reason: "the config has no http: section, which this path needs" }))
})

/** Takes paths and says which are taken twice, but binds nothing. */
export const layerCheckAt = (host: string): Layer.Layer<HttpHost> =>
  Layer.sync(HttpHost, () => {
    const routes = new HttpRoutes()
    return { address: { host, port: 0 }, route: (route) => routes.take(route) }
  })

export const layerCheck: Layer.Layer<HttpHost> = layerCheckAt("127.0.0.1")

const listen = (server: Server, { host, port }: Options): Effect.Effect<void, HttpHostError> =>
  Effect.callback<void, HttpHostError>((resume) => {
    const failed = (error: NodeJS.ErrnoException): void => {
      const why = reasons[error.code ?? ""] ?? error.message
      resume(Effect.fail(new HttpHostError({ reason: `cannot listen on ${host}:${port}: ${why}` })))
    }
    server.once("error", failed)
    server.listen({ host, port }, () => {
      server.off("error", failed)
      resume(Effect.void)
    })
  })

const reasons: Readonly<Record<string, string>> = {
  EADDRINUSE: "the port is in use (EADDRINUSE)",
  EACCES: "the port needs rights this process has not (EACCES)",
  EADDRNOTAVAIL: "this machine has no such address (EADDRNOTAVAIL)",
  ENOTFOUND: "there is no such host (ENOTFOUND)"
}

/** Takes no new connection, closes the idle ones, lets open requests be answered for a while, then closes the rest. */
const stop = (server: Server, exchanges: HttpExchanges, stopMillis: number): Effect.Effect<void> =>
  Effect.gen(function* () {
    exchanges.stopping = true
    const closed = new Promise<void>((resolve) => server.close(() => resolve()))
    yield* Effect.timeoutOption(exchanges.idle, stopMillis)
    server.closeAllConnections()
    yield* Effect.timeoutOption(exchanges.interruptAll, stopMillis)
    yield* Effect.promise(() => closed)
  })
