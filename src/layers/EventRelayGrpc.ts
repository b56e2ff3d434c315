/** EventRelay servers by gRPC's own client, which is loaded, and connects, when the first call is made. */
import { Buffer } from "node:buffer"
import { isIP, isIPv6 } from "node:net"
import { checkServerIdentity } from "node:tls"
import type {
  ChannelCredentials,
  ChannelOptions,
  Client,
  ClientUnaryCall,
  credentials,
  Metadata,
  MethodDefinition
} from "@grpc/grpc-js"
import { Effect, Layer, Redacted } from "effect"
import { type Channel, EventRelayClient, type EventRelayError } from "../services/EventRelay.ts"
import type { Connection, Tls } from "../services/EventRelayConnection.ts"
import * as EventRelayErrors from "./EventRelayErrors.ts"
import type * as Proto from "./EventRelayProto.ts"

/** Units: bytes of one request. */
export const messageBytesMax = 64 * 1024 * 1024
/** Units: bytes of one reply. What is larger is thrown away, though the server has locked what is in it. */
const replyBytesMax = 1024 * 1024 * 1024
/** Units: milliseconds between two tries to connect. */
const reconnectMillisMin = 100
const reconnectMillisMax = 5_000
/** Units: milliseconds within which a connection says that it is still one. */
const pingMillisMax = 10_000

export const layer: Layer.Layer<EventRelayClient> = Layer.succeed(EventRelayClient, {
  channel: (connection) =>
    Effect.map(
      Effect.acquireRelease(
        Effect.sync(() => lineOf(connection)),
        (line) => Effect.sync(line.close)
      ),
      (line) => channelOf(connection, line)
    )
})

type Events = typeof Proto.events

const channelOf = (connection: Connection, line: Line): Channel => {
  const { callMillis, host, port } = connection
  const conceal = EventRelayErrors.concealed(connection)
  const call = <Request, Response>(
    method: (events: Events) => MethodDefinition<Request, Response>,
    request: Request,
    asking: EventRelayErrors.Asking
  ): Effect.Effect<Response, EventRelayError> =>
    Effect.flatMap(
      Effect.tryPromise({
        try: line.open,
        catch: (thrown) => EventRelayErrors.unopened(thrown, conceal)
      }),
      ({ client, events, metadata }) =>
        Effect.callback<Response, EventRelayError>((resume) => {
          const { path, requestSerialize, responseDeserialize } = method(events)
          const deadline = Date.now() + callMillis
          let under: ClientUnaryCall | undefined
          try {
            under = client.makeUnaryRequest(
              path,
              requestSerialize,
              responseDeserialize,
              request,
              metadata,
              { deadline },
              (error, reply) =>
                resume(
                  error === null
                    ? Effect.succeed(reply!)
                    : Effect.fail(
                        EventRelayErrors.eventRelayError(error, { connection, asking, conceal, now: Date.now() })
                      )
                )
            )
          } catch (thrown) {
            // It cannot be written, or the channel is closed.
            resume(Effect.fail(EventRelayErrors.unsent(thrown, conceal)))
          }
          return Effect.sync(() => under?.cancel())
        })
    )
  return {
    name: `eventrelay:${isIPv6(host) ? `[${host}]` : host}:${port}`,
    pullQueued: (destinationId, batchSize) =>
      Effect.map(
        call(
          (events) => events.PullQueuedEvents,
          { destination_id: destinationId, batch_size: batchSize },
          "pullQueued"
        ),
        ({ events }) => events
      ),
    unlock: (destinationId, ids) =>
      Effect.asVoid(
        call((events) => events.UnLockQueuedEvents, { destination_id: destinationId, event_ids: ids }, "unlock")
      ),
    pull: ({ batchSize, offset, query, topic }) =>
      Effect.map(
        call((events) => events.PullEvents, { topic, batch_size: batchSize, offset, query }, "pull"),
        ({ events, next_offset, total_count }) => ({ events, totalCount: total_count, nextOffset: next_offset })
      ),
    publish: ({ durable, events, topic }) =>
      Effect.map(
        call(({ PublishEvents }) => PublishEvents, { topic, events, durable }, "publish"),
        (reply) => reply.events
      )
  }
}

/** What the vendor needs for a call. */
interface Opened {
  readonly client: Client
  readonly events: Events
  readonly metadata: Metadata
}

interface Line {
  readonly open: () => Promise<Opened>
  readonly close: () => void
}

/** Opened once; what made no connection is tried anew. */
const lineOf = (connection: Connection): Line => {
  let opened: Promise<Opened> | undefined
  let client: Client | undefined
  let closed = false
  const opening = async (): Promise<Opened> => {
    const [{ Client, Metadata, credentials }, { events }] = await Promise.all([
      import("@grpc/grpc-js"),
      import("./EventRelayProto.ts")
    ])
    if (closed) throw new Error("the channel is closed")
    const { host, port, tls, token } = connection
    const secure = tls === undefined ? credentials.createInsecure() : secured(credentials.createSsl, tls, host)
    const metadata = new Metadata()
    if (token !== undefined) metadata.set("authorization", `Bearer ${Redacted.value(token)}`)
    // Names of schemes, such as `unix`, may be names of hosts.
    const target = isIPv6(host) ? `ipv6:[${host}]:${port}` : `dns:${host}:${port}`
    client = new Client(target, secure, optionsOf(connection))
    return { client, events, metadata }
  }
  return {
    open: () => {
      opened ??= opening().catch((thrown) => {
        opened = undefined
        throw thrown
      })
      return opened
    },
    close: () => {
      closed = true
      client?.close()
    }
  }
}

/** Throws: `Unusable`, when its texts are no certificates, or not each other's. */
const secured = (createSsl: typeof credentials.createSsl, tls: Tls, host: string): ChannelCredentials => {
  const pem = (secret: Tls["ca"]): Buffer => Buffer.from(Redacted.value(secret))
  const named = tls.serverName ?? host
  try {
    return createSsl(pem(tls.ca), pem(tls.key), pem(tls.cert), {
      checkServerIdentity: (_, certificate) => checkServerIdentity(named, certificate)
    })
  } catch (thrown) {
    throw new EventRelayErrors.Unusable(thrown)
  }
}

/** Source: https://github.com/grpc/grpc-node/tree/master/packages/grpc-js#supported-channel-options */
const optionsOf = ({ host, keepaliveMillis, tls }: Connection): ChannelOptions => ({
  "grpc.max_receive_message_length": replyBytesMax,
  "grpc.max_send_message_length": messageBytesMax,
  "grpc.keepalive_time_ms": keepaliveMillis,
  "grpc.keepalive_timeout_ms": Math.min(keepaliveMillis, pingMillisMax),
  "grpc.keepalive_permit_without_calls": 1,
  "grpc.initial_reconnect_backoff_ms": reconnectMillisMin,
  "grpc.max_reconnect_backoff_ms": reconnectMillisMax,
  // Who calls knows what a second try means.
  "grpc.enable_retries": 0,
  // Each channel has a connection of its own, also to the same server.
  "grpc.use_local_subchannel_pool": 1,
  // Neither records of the name nor variables say how the server is reached.
  "grpc.service_config_disable_resolution": 1,
  "grpc.enable_http_proxy": 0,
  // TLS takes no address for a name; `checkServerIdentity` knows what the server must be.
  ...(tls?.serverName === undefined && isIP(host) === 0
    ? undefined
    : { "grpc.ssl_target_name_override": tls?.serverName ?? unnamed }),
  ...(tls?.serverName === undefined ? undefined : { "grpc.default_authority": tls.serverName })
})

/** What a server that has an address only is called while TLS is set up. */
const unnamed = "eventrelay"
