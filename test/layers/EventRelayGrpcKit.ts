/** Certificates by openssl and a small gRPC server on them, for the driver's own tests. */
import { execFileSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
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

export interface Pair {
  readonly cert: string
  readonly key: string
}

/** An authority, what it has signed, and another authority, whom nobody knows. */
export const certificates = Effect.acquireRelease(
  Effect.promise(async () => {
    const folder = await mkdtemp(join(tmpdir(), "sluice-eventrelay-"))
    const openssl = (...args: ReadonlyArray<string>) => {
      execFileSync("openssl", args, { cwd: folder, stdio: "pipe" })
    }
    const read = (name: string): string => readFileSync(join(folder, name), "utf8")
    const pair = (name: string): Pair => ({ cert: read(`${name}.crt`), key: read(`${name}.key`) })
    const fresh = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    const authority = (name: string) => {
      const subject = ["-subj", `/CN=${name}`, "-keyout", `${name}.key`, "-out", `${name}.crt`]
      openssl("req", "-x509", ...fresh, ...subject, "-days", "2", "-addext", "basicConstraints=critical,CA:TRUE")
      return pair(name)
    }
    const signed = (name: string, by: string, names: string, days: string) => {
      openssl(
        "req",
        ...fresh,
        "-subj",
        `/CN=${name}`,
        "-keyout",
        `${name}.key`,
        "-out",
        `${name}.csr`,
        "-addext",
        `subjectAltName=${names}`
      )
      const ca = ["-CA", `${by}.crt`, "-CAkey", `${by}.key`, "-CAcreateserial", "-copy_extensions", "copy"]
      openssl("x509", "-req", "-in", `${name}.csr`, "-out", `${name}.crt`, ...ca, "-days", days)
      return pair(name)
    }
    return {
      folder,
      ca: authority("ca"),
      otherCa: authority("other-ca"),
      server: signed("server", "ca", "DNS:localhost,IP:127.0.0.1", "1"),
      elsewhere: signed("elsewhere", "ca", "DNS:relay.example.com", "1"),
      expiredServer: signed("expired-server", "ca", "DNS:localhost,IP:127.0.0.1", "-1"),
      client: signed("client", "ca", "DNS:client", "1"),
      expired: signed("expired", "ca", "DNS:client", "-1"),
      stranger: signed("stranger", "other-ca", "DNS:client", "1")
    }
  }),
  ({ folder }) => Effect.promise(() => rm(folder, { recursive: true, force: true }))
)

/** As the server asks for them: whoever has no certificate of its authority is not let in. */
export const serverTls = (ca: Pair, { cert, key }: Pair): ServerCredentials =>
  Credentials.createSsl(Buffer.from(ca.cert), [{ private_key: Buffer.from(key), cert_chain: Buffer.from(cert) }], true)

export const clientTls = (ca: Pair, { cert, key }: Pair, serverName?: string): Tls => ({
  ca: Redacted.make(ca.cert),
  cert: Redacted.make(cert),
  key: Redacted.make(key),
  serverName
})
