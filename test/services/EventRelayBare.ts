/** EventRelay by gRPC's own client with nothing around it: what servers are tested with, and what others are measured against. */
import { Buffer } from "node:buffer"
import * as grpc from "@grpc/grpc-js"
import { Effect, Layer, Redacted } from "effect"
import { events } from "../../src/layers/EventRelayProto.ts"
import { codes, type Status, troubleOf } from "../../src/layers/EventRelayStatus.ts"
import { type Channel, EventRelayClient, EventRelayError } from "../../src/services/EventRelay.ts"
import type { Connection, Tls } from "../../src/services/EventRelayConnection.ts"

const Client = grpc.makeGenericClientConstructor(events, "eventrelay.Events")
const messageBytesMax = 64 * 1024 * 1024

/** The promises of one connection. */
export const connect = ({ callMillis, host, port, tls, token }: Connection) => {
  const credentials = tls === undefined ? grpc.credentials.createInsecure() : secured(tls)
  const client = new Client(`${host}:${port}`, credentials, {
    "grpc.max_receive_message_length": messageBytesMax,
    "grpc.max_send_message_length": messageBytesMax,
    "grpc.max_reconnect_backoff_ms": 500,
    "grpc.initial_reconnect_backoff_ms": 100,
    ...(tls?.serverName === undefined ? {} : { "grpc.ssl_target_name_override": tls.serverName })
  })
  const metadata = new grpc.Metadata()
  if (token !== undefined) metadata.set("authorization", `Bearer ${Redacted.value(token)}`)
  const call = <Request, Response>(
    method: grpc.MethodDefinition<Request, Response>,
    request: Request
  ): Promise<Response> =>
    new Promise((done, failed) => {
      const { path, requestSerialize, responseDeserialize } = method
      const deadline = { deadline: Date.now() + callMillis }
      client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        metadata,
        deadline,
        (error, reply) => (error === null ? done(reply!) : failed(error))
      )
    })
  return { call, close: () => client.close() }
}

export const layer: Layer.Layer<EventRelayClient> = Layer.succeed(EventRelayClient, {
  channel: (connection) =>
    Effect.map(
      Effect.acquireRelease(
        Effect.sync(() => connect(connection)),
        ({ close }) => Effect.sync(close)
      ),
      ({ call }): Channel => {
        const asked = <Request, Response>(method: grpc.MethodDefinition<Request, Response>, request: Request) =>
          Effect.tryPromise({
            try: () => call(method, request),
            catch: (thrown) => errorOf(thrown as grpc.ServiceError)
          })
        return {
          name: `eventrelay:${connection.host}:${connection.port}`,
          pullQueued: (destination_id, batch_size) =>
            Effect.map(asked(events.PullQueuedEvents, { destination_id, batch_size }), ({ events }) => events),
          unlock: (destination_id, event_ids) =>
            Effect.asVoid(asked(events.UnLockQueuedEvents, { destination_id, event_ids })),
          pull: ({ batchSize, offset, query, topic }) =>
            Effect.map(
              asked(events.PullEvents, { topic, batch_size: batchSize, offset, query }),
              ({ events, next_offset, total_count }) => ({ events, totalCount: total_count, nextOffset: next_offset })
            ),
          publish: (request) => Effect.map(asked(events.PublishEvents, request), ({ events }) => events)
        }
      }
    )
})

const secured = ({ ca, cert, key }: Tls) => {
  const [authority, certificate, secret] = [ca, cert, key].map((pem) => Buffer.from(Redacted.value(pem)))
  return grpc.credentials.createSsl(authority, secret, certificate)
}

const errorOf = ({ code, details }: grpc.ServiceError): EventRelayError => {
  const status = (Object.keys(codes) as Array<Status>).find((name) => codes[name] === code) ?? "UNKNOWN"
  return new EventRelayError({ trouble: troubleOf(status), status, reason: `${details} (${status})` })
}
