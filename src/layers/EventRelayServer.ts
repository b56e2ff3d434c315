/** An EventRelay server on a port, by real gRPC and, where certificates are given, real mTLS; all it keeps is in memory. */
import { Buffer } from "node:buffer"
import { type AddressInfo, createServer, type Server as Listener, type Socket } from "node:net"
import type * as Grpc from "@grpc/grpc-js"
import { Data, Effect, Exit, Fiber, Result, type Scope } from "effect"
import type { EventRelayError } from "../services/EventRelay.ts"
import type { Connection, Tls } from "../services/EventRelayConnection.ts"
import * as Backend from "./EventRelayBackend.ts"
import type { Call } from "./EventRelayMemoryFaults.ts"
import * as Rules from "./EventRelayRules.ts"
import { codes, type Status } from "./EventRelayStatus.ts"

export interface Options extends Rules.Options {
  /** 127.0.0.1 by default. */
  readonly host?: string
  /** A free one when left out. */
  readonly port?: number
  /** Clients must then show a certificate of this authority. PEM texts; without them nothing is encrypted. */
  readonly tls?: { readonly ca: string; readonly cert: string; readonly key: string }
  /** Units: bytes of one request or reply; 64 MiB by default. */
  readonly messageBytesMax?: number
}

/** It does not listen. */
export class EventRelayServerError extends Data.TaggedError("EventRelayServerError")<{
  readonly reason: string
  readonly cause: unknown
}> {
  override get message(): string {
    return this.reason
  }
}

export interface EventRelayServer extends Backend.Controls {
  readonly host: string
  readonly port: number
  /** With the key of an admin and, where the server wants one, a client's certificate. */
  readonly connectionOver: (tls: Tls | undefined) => Connection
  /** Breaks all connections off; new ones are taken. */
  readonly dropConnections: Effect.Effect<void>
  /** Breaks all connections off and takes no new ones; what is stored, and what is locked, stays. */
  readonly stop: Effect.Effect<void>
  /** Listens again on its port. */
  readonly start: Effect.Effect<void, EventRelayServerError>
  /** How many connections there are. */
  readonly connections: () => number
}

/** Listens until its scope closes. */
export const make: (options?: Options) => Effect.Effect<EventRelayServer, EventRelayServerError, Scope.Scope> =
  Effect.fnUntraced(function* (options: Options = {}) {
    const { host = "127.0.0.1", messageBytesMax = 64 * 1024 * 1024, tls } = options
    // Whoever takes the test kit for other things does not pay for gRPC.
    const [grpc, { events }] = yield* Effect.promise(() =>
      Promise.all([import("@grpc/grpc-js"), import("./EventRelayProto.ts")])
    )
    let port = options.port ?? 0
    const backend = Backend.make({ newId: () => crypto.randomUUID(), ...options }, () => ({ host, port }))
    const fork = Effect.runForkWith(yield* Effect.context<never>())
    const server = new grpc.Server({
      "grpc.max_receive_message_length": messageBytesMax,
      "grpc.max_send_message_length": messageBytesMax
    })
    server.addService(events, implementation(backend, fork))
    const injector = server.createConnectionInjector(
      tls === undefined
        ? grpc.ServerCredentials.createInsecure()
        : grpc.ServerCredentials.createSsl(
            Buffer.from(tls.ca),
            [{ cert_chain: Buffer.from(tls.cert), private_key: Buffer.from(tls.key) }],
            true
          )
    )

    // The sockets are our own, so that a test can break them off as a network does.
    const sockets = new Set<Socket>()
    let listener: Listener | undefined
    const dropConnections = Effect.sync(() => {
      for (const socket of sockets) socket.destroy()
    })
    const start = Effect.suspend(() => {
      if (listener !== undefined) return Effect.void
      const made = createServer({ noDelay: true }, (socket) => {
        sockets.add(socket)
        socket.on("error", () => {})
        socket.once("close", () => sockets.delete(socket))
        injector.injectConnection(socket)
      })
      return Effect.map(listening(made, host, port), (bound) => {
        port = bound
        listener = made
      })
    })
    const stop = Effect.suspend(() => {
      const closing = listener
      listener = undefined
      return closing === undefined
        ? Effect.void
        : Effect.callback<void>((resume) => {
            closing.close(() => resume(Effect.void))
            for (const socket of sockets) socket.destroy()
          })
    })
    yield* Effect.addFinalizer(() =>
      Effect.andThen(
        stop,
        Effect.sync(() => {
          injector.destroy()
          server.forceShutdown()
        })
      )
    )
    yield* start
    const { controls } = backend
    return {
      ...controls,
      host,
      port,
      connectionOver: (tls) => ({ ...controls.connection, tls }),
      dropConnections,
      stop,
      start,
      connections: () => sockets.size
    } satisfies EventRelayServer
  })

const listening = (server: Listener, host: string, port: number): Effect.Effect<number, EventRelayServerError> =>
  Effect.callback((resume) => {
    server.once("error", (cause) => {
      const reason = `no EventRelay server on ${host}:${port}: ${cause.message}`
      resume(Effect.fail(new EventRelayServerError({ reason, cause })))
    })
    server.listen(port, host, () => resume(Effect.succeed((server.address() as AddressInfo).port)))
  })

type Fork = <A, E>(effect: Effect.Effect<A, E>) => Fiber.Fiber<A, E>
type Events = typeof import("./EventRelayProto.ts").events
/** What a method takes and gives, by the way it is written down. */
type RequestOf<Name extends keyof Events> = ReturnType<Events[Name]["requestDeserialize"]>
type ResponseOf<Name extends keyof Events> = Parameters<Events[Name]["responseSerialize"]>[0]

const implementation = ({ answer, pullQueued, rules }: Backend.Backend, fork: Fork) => {
  const unary =
    <Name extends keyof Events>(
      _: Name,
      call: Call,
      body: (request: RequestOf<Name>, caller: Rules.Caller) => Rules.Answer<ResponseOf<Name>>
    ): Grpc.handleUnaryCall<RequestOf<Name>, ResponseOf<Name>> =>
    (incoming, reply) => {
      const authorization = incoming.metadata.get("authorization")[0]?.toString()
      const working = fork(answer(call, authorization, (caller) => body(incoming.request, caller)))
      // The client has given it up, or is gone.
      incoming.once("cancelled", () => fork(Fiber.interrupt(working)))
      working.addObserver((exit) => {
        if (Exit.isSuccess(exit)) reply(null, exit.value)
        else reply(refusalOf(exit))
      })
    }
  return {
    PublishEvents: unary("PublishEvents", "publish", ({ durable, events, topic }, caller) =>
      Result.map(rules.publish({ topic, durable, events: events.map(Rules.toldOf) }, caller), eventsOf)
    ),
    PullEvents: unary("PullEvents", "pull", ({ batch_size, offset, query, topic }, caller) =>
      Result.map(rules.pull({ topic, batchSize: batch_size, offset, query }, caller), (page) => {
        const size = Rules.pageSize(batch_size)
        return {
          events: page.events,
          total_count: page.totalCount,
          next_offset: page.nextOffset,
          previous_offset: Math.max(0, offset - size),
          total_batches: Math.ceil(page.totalCount / size)
        }
      })
    ),
    PullQueuedEvents: unary("PullQueuedEvents", "pullQueued", ({ batch_size, destination_id }, caller) =>
      Result.map(pullQueued(destination_id, batch_size, caller), eventsOf)
    ),
    UnLockQueuedEvents: unary("UnLockQueuedEvents", "unlock", ({ destination_id, event_ids }, caller) =>
      Result.map(rules.unlock(destination_id, event_ids, caller), eventsOf)
    )
  }
}

const eventsOf = <A>(events: A): { readonly events: A } => ({ events })

/** As gRPC has it; what is no refusal is the server's own trouble. */
const refusalOf = (
  exit: Exit.Failure<unknown, EventRelayError>
): { readonly code: number; readonly details: string } => {
  const error = Exit.findErrorOption(exit)
  if (error._tag === "None") return { code: codes.UNKNOWN, details: "Internal Server Error" }
  const { reason, status } = error.value
  const suffix = ` (${status})`
  const details = reason.endsWith(suffix) ? reason.slice(0, -suffix.length) : reason
  return { code: codes[status as Status] ?? codes.UNKNOWN, details }
}
