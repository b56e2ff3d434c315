/** The contract suite of EventRelay's clients on the driver, over real gRPC with mutual TLS, and how it lives through faults. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Redacted, Scope } from "effect"
import { afterAll, beforeAll } from "vitest"
import * as EventRelayGrpc from "../../src/layers/EventRelayGrpc.ts"
import * as EventRelayServer from "../../src/layers/EventRelayServer.ts"
import { EventRelayClient } from "../../src/services/EventRelay.ts"
import type { Connection } from "../../src/services/EventRelayConnection.ts"
import * as EventRelayCertificates from "../services/EventRelayCertificates.ts"
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

const kit = (): EventRelaySuite.Kit => ({
  ...server,
  connection: server.connectionOver(tls),
  connectionWith: (key) => ({ ...server.connectionWith(key), tls })
})

EventRelaySuite.suite("EventRelayGrpc", EventRelayGrpc.layer, kit, { keys: true, limits: true, unlocks: true })

describe("EventRelayGrpc with a server that has troubles", () => {
  it.live("finds it again after a cut in the middle of a reply; what was locked for it is out", () =>
    Effect.gen(function* () {
      const client = yield* EventRelayClient
      const topic = EventRelaySuite.fresh()
      const destination = yield* server.createDestination({ topic })
      const channel = yield* client.channel(kit().connection)
      yield* server.put(topic, [{}, {}])
      const hang = yield* server.hangNext("pullQueued", { when: "after" })
      const pulling = yield* Effect.forkChild(Effect.flip(channel.pullQueued(destination, 1)))
      yield* hang.reached
      yield* server.dropConnections
      assert.strictEqual((yield* Fiber.join(pulling)).trouble, "away")
      yield* hang.release
      assert.strictEqual(server.out(destination).length, 1)
      const again = channel.pullQueued(destination, 10).pipe(
        Effect.tapError(() => Effect.sleep("20 millis")),
        Effect.retry({ times: 500 })
      )
      assert.strictEqual((yield* again).length, 1)
      yield* server.stop
      assert.strictEqual((yield* Effect.flip(channel.pullQueued(destination, 10))).trouble, "away")
      yield* server.start
      assert.deepStrictEqual(yield* again, [])
    }).pipe(Effect.scoped, Effect.provide(EventRelayGrpc.layer))
  )
})
