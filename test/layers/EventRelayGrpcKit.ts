/** A gRPC server that answers as a test says, and connections to it, for the driver's own tests. */
import {
  ServerCredentials as Credentials,
  Server,
  type ServerCredentials,
  type ServerUnaryCall,
  type sendUnaryData
} from "@grpc/grpc-js"
import { Effect, Redacted } from "effect"
import * as Proto from "../../src/layers/EventRelayProto.ts"
import type { RelayEvent } from "../../src/services/EventRelay.ts"
import type { Connection, Tls } from "../../src/services/EventRelayConnection.ts"
import * as EventRelayCertificates from "../services/EventRelayCertificates.ts"

export const relayEvent = (id: string, more: Partial<RelayEvent> = {}): RelayEvent => ({
  id,
  name: "user.updated",
  topic: "users",
  data: "{}",
  source: "test",
  group_key: "",
  reference_key: "",
  trace_key: "",
  user_key: "",
  anonymous_key: "",
  occurred_at: "",
  context: {},
  offset: 0,
  errors: [],
  data_schema: "",
  prev_id: "",
  available_at: "",
  ...more
})

type Call = ServerUnaryCall<any, any>
type Name = keyof typeof Proto.events
/** What each call is answered with. */
export type Answers = Partial<Record<Name, (call: Call, reply: sendUnaryData<any>) => void>>

/** Gives the port; the server and its connections end with the scope. */
export const serve = (answers: Answers, credentials: ServerCredentials = Credentials.createInsecure(), port = 0) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const server = new Server({ "grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1 })
      server.addService(Proto.events as never, answers as never)
      const bound = await new Promise<number>((resolve, reject) => {
        server.bindAsync(`127.0.0.1:${port}`, credentials, (error, bound) => (error ? reject(error) : resolve(bound)))
      })
      return { server, port: bound }
    }),
    ({ server }) => Effect.sync(() => server.forceShutdown())
  )

export const connection = (port: number, more: Partial<Connection> = {}): Connection => ({
  host: "127.0.0.1",
  port,
  token: undefined,
  tls: undefined,
  callMillis: 5_000,
  keepaliveMillis: 30_000,
  ...more
})

/** With openssl; they are gone with the scope. */
export const certificates = Effect.acquireRelease(
  Effect.promise(() => EventRelayCertificates.make()),
  (made) => Effect.promise(() => made.remove())
)

type Pair = Pick<EventRelayCertificates.Pair, "cert" | "key">

/** As the server asks for them: whoever has no certificate of its authority is not let in. */
export const serverTls = (ca: string, { cert, key }: Pair): ServerCredentials =>
  Credentials.createSsl(Buffer.from(ca), [{ private_key: Buffer.from(key), cert_chain: Buffer.from(cert) }], true)

export const clientTls = (ca: string, { cert, key }: Pair, serverName?: string): Tls => ({
  ca: Redacted.make(ca),
  cert: Redacted.make(cert),
  key: Redacted.make(key),
  serverName
})
