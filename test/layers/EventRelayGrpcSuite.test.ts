/** The contract suite of EventRelay's clients on the driver, over real gRPC with mutual TLS, and how it lives through faults. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Redacted, Scope } from "effect"
import { afterAll, beforeAll } from "vitest"
import * as EventRelayGrpc from "../../src/layers/EventRelayGrpc.ts"
import * as EventRelayServer from "../../src/layers/EventRelayServer.ts"
import { EventRelayClient } from "../../src/services/EventRelay.ts"
import type { Connection } from "../../src/services/EventRelayConnection.ts"
import * as EventRelayCertificates from "../services/EventRelayCertificates.ts"
import * as EventRelayKits from "../suites/EventRelayKits.ts"
import * as EventRelaySuite from "../suites/EventRelaySuite.ts"

const scope = Scope.makeUnsafe()
let server: EventRelayServer.EventRelayServer
let tls: Connection["tls"]

beforeAll(async () => {
  const made = await EventRelayCertificates.make()
  const { ca, client, remove, server: own } = made
  tls = {
    ca: Redacted.make(ca),
    cert: Redacted.make(client.cert),
    key: Redacted.make(client.key),
    serverName: undefined
  }
  const listening = EventRelayServer.make({ tls: { ca, cert: own.cert, key: own.key } })
  server = await Effect.runPromise(
    Effect.andThen(Scope.addFinalizer(scope, Effect.promise(remove)), Scope.provide(listening, scope))
  )
})
afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))

const kit = (): EventRelayKits.Kit => ({
  ...server,
  connection: server.connectionOver(tls),
  connectionWith: (key) => ({ ...server.connectionWith(key), tls })
})

EventRelaySuite.suite("EventRelayGrpc", EventRelayGrpc.layer, kit, {
  keys: EventRelaySuite.keyTypes,
  limits: true,
  unlocks: true
})

describe("EventRelayGrpc with a server that has troubles", () => {
  it.live("finds it again after a cut in the middle of a reply; what was locked for it is out", () =>
    Effect.gen(function* () {
      const client = yield* EventRelayClient
      const topic = EventRelayKits.fresh()
      const destination = yield* server.createDestination({ topic })
      const channel = yield* client.channel(kit().connection)
      yield* server.put(topic, [{}, {}])
      const hang = yield* server.hangNext("pullQueued", { when: "after" })
      const pulling = yield* Effect.forkChild(Effect.flip(channel.pullQueued(destination, 1)))
      yield* hang.reached
      yield* server.dropConnections
      const cut = yield* Fiber.join(pulling)
      assert.deepStrictEqual([cut.trouble, cut.lost], ["away", true])
      yield* hang.release
      assert.strictEqual(server.out(destination).length, 1)
      const again = channel.pullQueued(destination, 10).pipe(
        Effect.tapError(() => Effect.sleep("20 millis")),
        Effect.retry({ times: 500 })
      )
      assert.strictEqual((yield* again).length, 1)
      yield* server.stop
      yield* Effect.flip(channel.pullQueued(destination, 10))
      // From here on nobody is reached.
      const refused = yield* Effect.flip(channel.pullQueued(destination, 10))
      assert.deepStrictEqual([refused.trouble, refused.lost], ["away", false])
      yield* server.start
      assert.deepStrictEqual(yield* again, [])
    }).pipe(Effect.scoped, Effect.provide(EventRelayGrpc.layer))
  )

  it.live("takes a reply of 80 MB", () =>
    Effect.gen(function* () {
      const large = yield* EventRelayServer.make({ messageBytesMax: 256 * 1024 * 1024 })
      const topic = EventRelayKits.fresh()
      const destination = yield* large.createDestination({ topic })
      const text = "x".repeat(80_000)
      yield* large.put(
        topic,
        Array.from({ length: 1_000 }, () => ({ data: { text } }))
      )
      const channel = yield* Effect.flatMap(EventRelayClient, (client) => client.channel(large.connection))
      assert.lengthOf(yield* channel.pullQueued(destination, 1_000), 1_000)
    }).pipe(Effect.scoped, Effect.provide(EventRelayGrpc.layer))
  )
})
