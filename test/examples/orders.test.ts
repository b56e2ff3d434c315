/** The library example, run with the test kit in virtual time. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { Pipeline } from "sluice"
import { DeadLettersMemory, PublisherMemory, SourceMemory } from "sluice/testing"
import { LedgerClosed, pipeline } from "./orders.ts"

describe("examples/orders", () => {
  it.effect("books paid orders, waits while the ledger is closed, and copies the others", () =>
    Effect.gen(function* () {
      const source = SourceMemory.fromIterable([
        { payload: { id: "1", customerId: "ann", status: "paid" } },
        { payload: { id: "2", customerId: "bob", status: "created" } },
        { payload: { id: "3", customerId: "ann", status: "paid" } },
        { payload: { nonsense: true } }
      ])
      const publisher = PublisherMemory.make()
      let closed = 3
      const book = (id: string) =>
        Effect.suspend(() =>
          closed-- > 0 ? Effect.fail(new LedgerClosed({ until: "morning" })) : Effect.succeed(`entry-${id}`)
        )
      const fiber = yield* Effect.forkChild(Pipeline.run(pipeline(source, publisher, book)))
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(
        publisher.published.map(({ key, value }) => [key, new TextDecoder().decode(value)]),
        [
          ["bob", '{"id":"2","customerId":"bob","status":"created"}'],
          ["ann", '{"entry":"entry-1"}'],
          ["ann", '{"entry":"entry-3"}']
        ]
      )
      assert.deepStrictEqual(source.settled.map(({ settlement }) => settlement._tag).sort(), [
        "Acked",
        "Acked",
        "Acked",
        "Buried"
      ])
    }).pipe(Effect.provide(DeadLettersMemory.layer))
  )
})
