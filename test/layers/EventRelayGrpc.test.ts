/** The driver of EventRelay on real gRPC: what it sends, what its errors mean, TLS, deadlines, cuts and interruptions. */
import { spawn } from "node:child_process"
import { connect, createServer, type Socket } from "node:net"
import { assert, describe, it } from "@effect/vitest"
import { type ServiceError, status } from "@grpc/grpc-js"
import { Deferred, Effect, Fiber, Redacted, type Scope } from "effect"
import * as EventRelayGrpc from "../../src/layers/EventRelayGrpc.ts"
import { type Channel, EventRelayClient, type EventRelayError } from "../../src/services/EventRelay.ts"
import type { Connection } from "../../src/services/EventRelayConnection.ts"
import * as Kit from "./EventRelayGrpcKit.ts"

const { connection, relayEvent, serve } = Kit
const secret = "a-secret-that-nobody-may-see"
const token = Buffer.from(`key-of-the-api:${secret}`).toString("base64")

const open = (to: Connection) => Effect.flatMap(EventRelayClient, (client) => client.channel(to))
const failure = (to: Connection): Effect.Effect<EventRelayError, unknown, EventRelayClient | Scope.Scope> =>
  Effect.flatMap(open(to), (channel) => Effect.flip(channel.pullQueued("d", 1)))

/** Until it is answered: two waits of at most 5 seconds between tries to connect, and room for a slow machine. */
const again = (channel: Channel) =>
  channel.pullQueued("d", 1).pipe(
    Effect.tapError(() => Effect.sleep("50 millis")),
    Effect.retry({ times: 1000 }),
    Effect.timeout("15 seconds")
  )

/** Stands between, and can cut, or let nothing pass. */
const proxy = (port: number) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const sockets: Array<Socket> = []
      const seen = { connections: 0 }
      const server = createServer((socket) => {
        seen.connections++
        const other = connect(port, "127.0.0.1")
        sockets.push(socket, other)
        for (const [from, to] of [
          [socket, other],
          [other, socket]
        ] as const) {
          from.on("error", () => to.destroy()).on("close", () => to.destroy())
          from.pipe(to)
        }
      })
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
      const { port: bound } = server.address() as { port: number }
      const cut = (how: "resetAndDestroy" | "destroy") => {
        for (const socket of sockets.splice(0)) socket[how]()
      }
      const hold = () => {
        for (const socket of sockets) socket.unpipe().pause()
      }
      return { port: bound, seen, cut, hold, server, open: () => sockets.filter(({ destroyed }) => !destroyed).length }
    }),
    ({ cut, server }) =>
      Effect.sync(() => {
        cut("destroy")
        server.close()
      })
  )

const grpcError = (code: number, details: string): Partial<ServiceError> => ({ code, details })

describe("EventRelayGrpc", () => {
  const test = (name: string, body: () => Effect.Effect<void, unknown, EventRelayClient | Scope.Scope>) =>
    it.live(name, () => Effect.suspend(body).pipe(Effect.scoped, Effect.provide(EventRelayGrpc.layer)))

  test("asks as the protocol has it, with the token on every call", () =>
    Effect.gen(function* () {
      const asked: Array<readonly [string, unknown, unknown]> = []
      const note =
        (name: string, answer: object): NonNullable<Kit.Answers["PullEvents"]> =>
        (call, reply) => {
          asked.push([name, call.request, call.metadata.get("authorization")])
          reply(null, answer)
        }
      const events = [relayEvent("a", { context: { ip: "::1" }, offset: 7 }), relayEvent("b", { errors: ["bad"] })]
      const { port } = yield* serve({
        PullQueuedEvents: note("queued", { events }),
        UnLockQueuedEvents: note("unlock", { events: [] }),
        PullEvents: note("pull", { events, total_count: 9, next_offset: 4, previous_offset: 0, total_batches: 3 }),
        PublishEvents: note("publish", { events })
      })
      const channel = yield* open(connection(port, { token: Redacted.make(token) }))
      assert.strictEqual(channel.name, `eventrelay:127.0.0.1:${port}`)
      assert.deepStrictEqual(yield* channel.pullQueued("d", 100_000), events)
      yield* channel.unlock("d", ["a", "b"])
      yield* channel.unlock("d", [])
      const page = yield* channel.pull({ topic: "users:1", batchSize: 2, offset: 2, query: "data.a == 1" })
      assert.deepStrictEqual(page, { events, totalCount: 9, nextOffset: 4 })
      const { id, topic, offset, errors, ...fresh } = events[0]!
      assert.deepStrictEqual(yield* channel.publish({ topic: "users", durable: true, events: [fresh] }), events)
      const bearer = [`Bearer ${token}`]
      assert.deepStrictEqual(asked, [
        ["queued", { destination_id: "d", batch_size: 100_000 }, bearer],
        ["unlock", { destination_id: "d", event_ids: ["a", "b"] }, bearer],
        ["unlock", { destination_id: "d", event_ids: [] }, bearer],
        ["pull", { topic: "users:1", batch_size: 2, offset: 2, query: "data.a == 1" }, bearer],
        ["publish", { topic: "users", durable: true, events: [fresh] }, bearer]
      ])
      assert.notInclude(JSON.stringify(channel), token)
      const bare = yield* open(connection(port))
      yield* bare.pullQueued("d", 1)
      assert.deepStrictEqual(asked.at(-1)![2], [])
    }))

  test("tells what a status means, with the server's words and without the token", () =>
    Effect.gen(function* () {
      const said = `about ${token} and ${secret}`
      const { port } = yield* serve({
        PullQueuedEvents: ({ request }, reply) => reply(grpcError(request.batch_size, said))
      })
      const channel = yield* open(connection(port, { token: Redacted.make(token) }))
      const troubles: Record<string, string> = {
        CANCELLED: "away",
        UNKNOWN: "failed",
        INVALID_ARGUMENT: "unfit",
        DEADLINE_EXCEEDED: "away",
        NOT_FOUND: "unfit",
        ALREADY_EXISTS: "unfit",
        PERMISSION_DENIED: "denied",
        RESOURCE_EXHAUSTED: "away",
        FAILED_PRECONDITION: "unfit",
        ABORTED: "away",
        OUT_OF_RANGE: "unfit",
        UNIMPLEMENTED: "unsupported",
        INTERNAL: "failed",
        UNAVAILABLE: "away",
        DATA_LOSS: "failed",
        UNAUTHENTICATED: "denied"
      }
      for (const [name, trouble] of Object.entries(troubles)) {
        const error = yield* Effect.flip(channel.pullQueued("d", status[name as keyof typeof status]))
        assert.deepStrictEqual([error.status, error.trouble], [name, trouble])
        assert.notInclude(`${error.reason} ${JSON.stringify(error)}`, token)
        assert.notInclude(`${error.reason} ${JSON.stringify(error)}`, secret)
        if (name !== "DEADLINE_EXCEEDED") assert.include(error.reason, "about <secret> and <secret>")
      }
      const unlocking = yield* Effect.flip(channel.unlock("d", []))
      assert.deepStrictEqual([unlocking.status, unlocking.trouble], ["UNIMPLEMENTED", "unsupported"])
    }))

  test("gives up after its time, and an interruption ends the call at the server", () =>
    Effect.gen(function* () {
      const begun = yield* Deferred.make<void>()
      const over = yield* Deferred.make<void>()
      const { port } = yield* serve({
        PullQueuedEvents: () => {},
        PullEvents: (call) => {
          Deferred.doneUnsafe(begun, Effect.void)
          call.on("cancelled", () => Deferred.doneUnsafe(over, Effect.void))
        }
      })
      const error = yield* failure(connection(port, { callMillis: 100 }))
      assert.deepStrictEqual([error.trouble, error.reason], ["away", "no answer within 0.1 s"])
      const channel = yield* open(connection(port))
      const fiber = yield* Effect.forkChild(channel.pull({ topic: "t", batchSize: 1, offset: 0, query: "" }))
      yield* Deferred.await(begun)
      yield* Fiber.interrupt(fiber)
      yield* Effect.timeout(Deferred.await(over), "2 seconds")
    }))

  test("takes large replies, and says which request was too large", () =>
    Effect.gen(function* () {
      const large = "x".repeat(EventRelayGrpc.messageBytesMax + 1)
      const { port } = yield* serve({
        PullQueuedEvents: ({ request }, reply) =>
          reply(null, { events: [relayEvent("a", { data: large.slice(0, request.batch_size) })] })
      })
      const channel = yield* open(connection(port, { callMillis: 20_000 }))
      // What was locked for a reply is lost with it: so replies may be larger.
      const [event] = yield* channel.pullQueued("d", large.length)
      assert.strictEqual(event!.data.length, large.length)
      const { id, topic, offset, errors, ...fresh } = relayEvent("a", { data: large })
      const sent = yield* Effect.flip(channel.publish({ topic: "t", durable: true, events: [fresh] }))
      assert.strictEqual(sent.trouble, "unfit")
      assert.match(sent.reason, /larger than/)
    }))

  for (const how of ["resetAndDestroy", "destroy"] as const) {
    test(`calls a connection that is cut in the middle of a reply away, and makes a new one (${how})`, () =>
      Effect.gen(function* () {
        const asked = yield* Deferred.make<void>()
        let answers = false
        const { port } = yield* serve({
          PullQueuedEvents: (_, reply) => {
            if (answers) reply(null, { events: [relayEvent("a")] })
            else Deferred.doneUnsafe(asked, Effect.void)
          }
        })
        const between = yield* proxy(port)
        const channel = yield* open(connection(between.port))
        const fiber = yield* Effect.forkChild(Effect.flip(channel.pullQueued("d", 1)))
        yield* Deferred.await(asked)
        between.cut(how)
        assert.strictEqual((yield* Fiber.join(fiber)).trouble, "away")
        answers = true
        const events = yield* again(channel)
        assert.strictEqual(events[0]!.id, "a")
      }))
  }

  test("finds a server again that was gone, within seconds", () =>
    Effect.gen(function* () {
      const answers: Kit.Answers = { PullQueuedEvents: (_, reply) => reply(null, { events: [] }) }
      const { port, server } = yield* serve(answers)
      const channel = yield* open(connection(port))
      yield* channel.pullQueued("d", 1)
      server.forceShutdown()
      const gone = yield* Effect.flip(channel.pullQueued("d", 1))
      assert.strictEqual(gone.trouble, "away")
      const later = yield* Effect.flip(channel.pullQueued("d", 1))
      assert.strictEqual(later.reason, `connect ECONNREFUSED 127.0.0.1:${port}`)
      yield* Effect.sleep("2 seconds")
      yield* serve(answers, undefined, port)
      yield* again(channel)
    }))

  test("has one connection for each channel, from its first call to the end of the scope", () =>
    Effect.gen(function* () {
      const { port } = yield* serve({ PullQueuedEvents: (_, reply) => reply(null, { events: [] }) })
      const between = yield* proxy(port)
      yield* Effect.scoped(
        Effect.gen(function* () {
          const channels: ReadonlyArray<Channel> = [
            yield* open(connection(between.port)),
            yield* open(connection(between.port))
          ]
          assert.strictEqual(between.seen.connections, 0)
          for (let i = 0; i < 3; i++) yield* Effect.forEach(channels, (one) => one.pullQueued("d", 1))
          assert.strictEqual(between.seen.connections, 2)
        })
      )
      while (between.open() > 0) yield* Effect.sleep("10 millis")
    }))

  test("pings an idle connection, and finds that it is none any more", () =>
    Effect.gen(function* () {
      const { port } = yield* serve({ PullQueuedEvents: (_, reply) => reply(null, { events: [] }) })
      const between = yield* proxy(port)
      const channel = yield* open(connection(between.port, { keepaliveMillis: 200, callMillis: 20_000 }))
      yield* channel.pullQueued("d", 1)
      between.hold()
      const error = yield* Effect.timeout(Effect.flip(channel.pullQueued("d", 1)), "5 seconds")
      assert.strictEqual(error.trouble, "away")
      between.cut("destroy")
    }))

  test("says of certificates whose they are and what is wrong", () =>
    Effect.gen(function* () {
      const all = yield* Kit.certificates
      const { ca, client, clientExpired, server, serverExpired, stranger } = all
      const answers: Kit.Answers = { PullQueuedEvents: (_, reply) => reply(null, { events: [] }) }
      const good = yield* serve(answers, Kit.serverTls(ca, server))
      const old = yield* serve(answers, Kit.serverTls(ca, serverExpired))
      const plain = yield* serve(answers)
      const tls = Kit.clientTls(ca, client)
      for (const to of [
        connection(good.port, { tls }),
        connection(good.port, { tls, host: "localhost" }),
        connection(good.port, { tls: Kit.clientTls(ca, client, "localhost") })
      ]) {
        assert.deepStrictEqual(yield* Effect.flatMap(open(to), (channel) => channel.pullQueued("d", 1)), [])
      }
      const key = { cert: client.cert, key: stranger.key }
      const cases: ReadonlyArray<readonly [Connection, EventRelayError["trouble"], RegExp]> = [
        [
          connection(good.port, { tls: Kit.clientTls(ca, clientExpired) }),
          "denied",
          /^our certificate has expired: it was valid until /
        ],
        [
          connection(good.port, { tls: Kit.clientTls(ca, stranger) }),
          "away",
          /^the server ended the connection once it had our certificate/
        ],
        [
          connection(good.port, { tls: Kit.clientTls(stranger.ca, client) }),
          "denied",
          /^the server's certificate is not signed by tls.ca: /
        ],
        [connection(old.port, { tls }), "denied", /^the server's certificate has expired$/],
        [
          connection(good.port, { tls: Kit.clientTls(ca, client, "relay.example.com") }),
          "denied",
          /^the server's certificate is for another name, which tls.serverName can say: /
        ],
        [connection(good.port), "away", /^the server ended the connection at once: it may want TLS$/],
        [connection(plain.port, { tls }), "denied", /^the server does not speak TLS there: wrong version number$/],
        [
          connection(good.port, { tls: Kit.clientTls(ca, key) }),
          "denied",
          /^ca, cert and key make no connection: key values mismatch$/
        ]
      ]
      for (const [to, trouble, reason] of cases) {
        const error = yield* failure(to)
        assert.match(error.reason, reason)
        assert.deepStrictEqual([error.status, error.trouble], ["UNAVAILABLE", trouble])
        assert.notInclude(JSON.stringify(error), "-----BEGIN")
      }
    }))

  for (const version of ["-tls1_2", "-tls1_3"]) {
    test(`passes on what a server says of our certificate (${version})`, () =>
      Effect.gen(function* () {
        const { ca, caFile, clientExpired, server, stranger } = yield* Kit.certificates
        const files = ["-CAfile", caFile, "-cert", server.certFile, "-key", server.keyFile]
        const port = yield* openssl([version, "-alpn", "h2", "-Verify", "1", "-verify_return_error", ...files])
        for (const [pair, words] of [
          [stranger, "unknown ca"],
          [clientExpired, "certificate expired"]
        ] as const) {
          const error = yield* failure(connection(port, { tls: Kit.clientTls(ca, pair) }))
          assert.deepStrictEqual(
            [error.trouble, error.reason],
            ["denied", `the server does not accept our certificate: ${words}`]
          )
        }
      }))
  }
})

/** A server that says why it lets nobody in, as Node's own does not; gives its port. */
const openssl = (args: ReadonlyArray<string>) =>
  Effect.flatMap(
    Effect.acquireRelease(
      Effect.sync(() => spawn("openssl", ["s_server", "-accept", "127.0.0.1:0", ...args])),
      (process) => Effect.sync(() => process.kill())
    ),
    ({ stdout }) =>
      Effect.timeout(
        Effect.callback<number>((resume) => {
          let said = ""
          stdout.on("data", (part) => {
            said += `${part}`
            const port = /ACCEPT .*:(\d+)\s/.exec(said)?.[1]
            if (port !== undefined) resume(Effect.succeed(Number(port)))
          })
        }),
        "5 seconds"
      )
  )
