/** The EventRelay server for tests over real gRPC, with and without mTLS, and what goes wrong on the way to it. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Schedule } from "effect"
import { afterAll, beforeAll } from "vitest"
import * as EventRelayServer from "../../src/layers/EventRelayServer.ts"
import { EventRelayClient, type EventRelayError } from "../../src/services/EventRelay.ts"
import type { Connection } from "../../src/services/EventRelayConnection.ts"
import * as EventRelay from "../services/EventRelay.ts"
import * as EventRelayBare from "../services/EventRelayBare.ts"
import * as EventRelayCertificates from "../services/EventRelayCertificates.ts"
import * as EventRelayKits from "../suites/EventRelayKits.ts"
import * as EventRelaySuite from "../suites/EventRelaySuite.ts"

const untold = await EventRelayCertificates.available()
let certificates: EventRelayCertificates.Certificates
let plain: EventRelay.EventRelay
let secured: EventRelay.EventRelay

beforeAll(async () => {
  plain = await EventRelay.start()
  if (untold !== undefined) return
  certificates = await EventRelayCertificates.make()
  const { ca, server } = certificates
  secured = await EventRelay.start({ tls: { ca, cert: server.cert, key: server.key } })
})
afterAll(async () => {
  await plain?.close()
  await secured?.close()
  await certificates?.remove()
})

const features = { keys: EventRelaySuite.keyTypes, limits: true, unlocks: true }
EventRelaySuite.suite("a server", EventRelayBare.layer, () => EventRelayKits.kitOf(plain), features)
if (untold === undefined) {
  const kit = () => EventRelayKits.kitOf(secured, EventRelay.tlsOf(certificates, certificates.client))
  EventRelaySuite.suite("a server with mTLS", EventRelayBare.layer, kit, features)
} else it.skip(`a server with mTLS (${untold})`)

const overGrpc = { keys: ["producer", "consumer"], limits: false, unlocks: true } as const
let told: EventRelayKits.Kit | undefined
EventRelaySuite.suite(
  "a server that is told by gRPC what to make",
  EventRelayBare.layer,
  () => {
    told ??= EventRelayKits.kitOverGrpc(plain.connection())
    return told
  },
  overGrpc
)

const named = EventRelay.fromEnvironment()
// Nothing is skipped where no other server is to be tried: there is none.
if (named === undefined) console.info("no other EventRelay server is tried: EVENTRELAY_HOST names none")
else {
  const kit = EventRelayKits.kitOverGrpc(named)
  // Servers up to EventRelay 0.2 cannot take back what they gave.
  const unlocks = await EventRelayKits.unlocks(kit)
  EventRelaySuite.suite("the server that EVENTRELAY_HOST names", EventRelayBare.layer, () => kit, {
    ...overGrpc,
    unlocks
  })
}

const open = (connection: Connection) => Effect.flatMap(EventRelayClient, (client) => client.channel(connection))
const run = (name: string, body: () => Effect.Effect<void, unknown, any>, reason?: string) => {
  const test = () => body().pipe(Effect.scoped, Effect.provide(EventRelayBare.layer)) as Effect.Effect<void, unknown>
  if (reason === undefined) it.live(name, test)
  else it.live.skip(`${name} (${reason})`, test)
}

/** A client waits a while before it connects again. */
const untilBack = <A>(call: Effect.Effect<A, EventRelayError>) =>
  Effect.retry(call, {
    while: ({ trouble }) => trouble === "away",
    times: 50,
    schedule: Schedule.spaced("100 millis")
  })

describe("EventRelayServer", () => {
  run(
    "takes no client without a certificate of its authority, or with one whose time is over",
    () =>
      Effect.gen(function* () {
        const { ca, clientExpired, stranger } = certificates
        const strange = EventRelay.tlsOf(certificates, stranger)
        for (const tls of [undefined, strange, EventRelay.tlsOf({ ca }, clientExpired)]) {
          const channel = yield* open({ ...secured.connection(tls), callMillis: 5000 })
          const { status } = yield* Effect.flip(channel.pullQueued("any", 1))
          assert.strictEqual(status, "UNAVAILABLE")
        }
      }),
    untold
  )

  run(
    "shows a certificate that a client refuses where its time is over, or its authority is another",
    () =>
      Effect.gen(function* () {
        const { ca, client, serverExpired, stranger } = certificates
        const server = yield* EventRelayServer.make({ tls: { ca, cert: serverExpired.cert, key: serverExpired.key } })
        const over = yield* open({ ...server.connectionOver(EventRelay.tlsOf({ ca }, client)), callMillis: 5000 })
        const { reason } = yield* Effect.flip(over.pullQueued("any", 1))
        assert.match(reason, /expired/)
        const other = yield* open({ ...secured.connection(EventRelay.tlsOf(stranger, client)), callMillis: 5000 })
        assert.strictEqual((yield* Effect.flip(other.pullQueued("any", 1))).status, "UNAVAILABLE")
      }),
    untold
  )

  run("loses a connection in the middle of a reply: what it brought stays locked", () =>
    Effect.gen(function* () {
      const server = yield* EventRelayServer.make()
      const cutter = yield* Effect.acquireRelease(
        Effect.promise(() => EventRelay.cutter(server)),
        ({ close }) => Effect.promise(close)
      )
      const destination = yield* server.createDestination({ topic: "orders" })
      const channel = yield* open({ ...server.connection, port: cutter.port })
      assert.deepStrictEqual(yield* channel.pullQueued(destination, 1), [])
      const ids = yield* server.put(
        "orders",
        Array.from({ length: 100 }, (_, n) => ({ data: { n, text: "x".repeat(1000) } }))
      )
      const struck = cutter.cutReplyAfter(20_000)
      const { status } = yield* Effect.flip(channel.pullQueued(destination, 100))
      yield* Effect.promise(() => struck)
      assert.include(["UNAVAILABLE", "CANCELLED", "INTERNAL"], status)
      assert.deepStrictEqual(server.out(destination), ids)
      yield* channel.unlock(destination, ids)
      assert.strictEqual((yield* channel.pullQueued(destination, 100)).length, 100)
      cutter.cut()
      const away = yield* Effect.flip(channel.pullQueued(destination, 1))
      assert.strictEqual(away.trouble, "away")
    })
  )

  run("comes back on its port with all it kept, where it was stopped or broken off", () =>
    Effect.gen(function* () {
      const server = yield* EventRelayServer.make()
      const destination = yield* server.createDestination({ topic: "orders" })
      yield* server.put("orders", [{}, {}, {}])
      const channel = yield* open(server.connection)
      const again = (most: number) => untilBack(channel.pullQueued(destination, most))
      assert.strictEqual((yield* channel.pullQueued(destination, 1)).length, 1)
      yield* server.stop
      assert.strictEqual((yield* Effect.flip(channel.pullQueued(destination, 1))).status, "UNAVAILABLE")
      assert.strictEqual(server.connections(), 0)
      yield* server.start
      assert.strictEqual((yield* again(1)).length, 1)
      yield* server.dropConnections
      assert.strictEqual((yield* again(5)).length, 1)
      assert.strictEqual(server.out(destination).length, 3)
    })
  )

  run("says so where its port is taken", () =>
    Effect.gen(function* () {
      const server = yield* EventRelayServer.make()
      const { message } = yield* Effect.flip(EventRelayServer.make({ port: server.port }))
      assert.match(message, new RegExp(`^no EventRelay server on 127\\.0\\.0\\.1:${server.port}: .*EADDRINUSE`))
    })
  )

  run("fails, delays and counts calls as planned, and forgets what its client gave up", () =>
    Effect.gen(function* () {
      const server = yield* EventRelayServer.make()
      const destination = yield* server.createDestination({ topic: "orders" })
      yield* server.put("orders", [{}])
      const channel = yield* open({ ...server.connection, callMillis: 1000 })
      yield* server.failNext("pullQueued", "failed")
      const { reason, status } = yield* Effect.flip(channel.pullQueued(destination, 1))
      assert.deepStrictEqual([status, reason], ["UNKNOWN", "pullQueued fails as planned: failed (UNKNOWN)"])
      const hang = yield* server.hangNext("pullQueued")
      const hanging = yield* Effect.forkChild(Effect.flip(channel.pullQueued(destination, 1)))
      yield* hang.reached
      assert.strictEqual((yield* Fiber.join(hanging)).status, "DEADLINE_EXCEEDED")
      // The server hears of it a moment later.
      yield* Effect.sleep(300)
      yield* hang.release
      assert.deepStrictEqual(server.out(destination), [])
      yield* server.delayNext("pullQueued", 200)
      assert.strictEqual((yield* channel.pullQueued(destination, 1)).length, 1)
      assert.strictEqual(server.calls("pullQueued"), 3)
      assert.deepStrictEqual(
        server.pulled().map(({ asked, given }) => [asked, given]),
        [[1, 1]]
      )
    })
  )

  run("forgets all when its process is killed, and listens on its port again", () =>
    Effect.gen(function* () {
      const relay = yield* Effect.acquireRelease(
        Effect.promise(() => EventRelay.start()),
        ({ close }) => Effect.promise(close)
      )
      const destination = yield* Effect.promise(() => relay.do<string>("createDestination", { topic: "orders" }))
      const channel = yield* open(relay.connection())
      assert.deepStrictEqual(yield* channel.pullQueued(destination, 1), [])
      yield* Effect.promise(relay.kill)
      assert.strictEqual((yield* Effect.flip(channel.pullQueued(destination, 1))).trouble, "away")
      yield* Effect.promise(relay.restart)
      const again = yield* open(relay.connection())
      const { status } = yield* Effect.flip(untilBack(again.pullQueued(destination, 1)))
      assert.strictEqual(status, "UNKNOWN")
    })
  )
})
