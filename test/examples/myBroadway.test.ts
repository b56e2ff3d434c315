/** The Broadway guide's pipeline prints what the guide says, with the server in memory and over gRPC. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { TestClock } from "effect/testing"
import { EventRelayGrpc, Pipeline } from "sluice"
import { DeadLettersMemory, EventRelayMemory, EventRelayServer, InboxMemory } from "sluice/testing"
import { vi } from "vitest"
import { MyBroadway } from "./myBroadway.ts"

const data = (first_name: string) => ({
  person: { first_name, last_name: "Roberts", uuid: "6131e043-52eb-4112-82f0-2817149b0e22" }
})
const users = ["Bill", "Betty"].map((name) => ({ name: "user.created", source: "MyApp", data: data(name) }))
const line = 'Got batch of finished jobs from processors.: ["BILL", "BETTY"]'

const printed = Effect.acquireRelease(
  Effect.sync(() => vi.spyOn(console, "log").mockImplementation(() => {})),
  (spy) => Effect.sync(() => spy.mockRestore())
)

describe("examples/myBroadway", () => {
  it.effect("in virtual time", () =>
    Effect.gen(function* () {
      const log = yield* printed
      const relay = yield* EventRelayMemory.EventRelayControls
      const destination = yield* relay.createDestination({ topic: "users" })
      yield* Effect.flatMap(MyBroadway(relay.connection, destination), Pipeline.start)
      yield* relay.put("users", users)
      yield* Effect.repeat(TestClock.adjust("100 millis"), { times: 90 })
      assert.deepStrictEqual(log.mock.calls, [[line]])
    }).pipe(
      Effect.scoped,
      Effect.provide(Layer.mergeAll(EventRelayMemory.layer, InboxMemory.layer, DeadLettersMemory.layer))
    )
  )

  it.live("over gRPC", () =>
    Effect.gen(function* () {
      const log = yield* printed
      const relay = yield* EventRelayServer.make()
      const destination = yield* relay.createDestination({ topic: "users" })
      yield* relay.put("users", users)
      yield* Effect.flatMap(MyBroadway(relay.connection, destination), Pipeline.start)
      for (let i = 0; i < 400 && log.mock.calls.length === 0; i++) yield* Effect.sleep("25 millis")
      assert.deepStrictEqual(log.mock.calls, [[line]])
    }).pipe(
      Effect.scoped,
      Effect.provide(Layer.mergeAll(EventRelayGrpc.layer, InboxMemory.layer, DeadLettersMemory.layer))
    )
  )
})
