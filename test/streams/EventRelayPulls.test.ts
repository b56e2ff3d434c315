/** How a destination is asked by servers that are not as they should be: large events, the same again, replies that are gone. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Logger } from "effect"
import { TestClock } from "effect/testing"
import * as DeadLettersMemory from "../../src/layers/DeadLettersMemory.ts"
import * as InboxMemory from "../../src/layers/InboxMemory.ts"
import { type Channel, EventRelayError, type RelayEvent } from "../../src/services/EventRelay.ts"
import { accepted } from "../../src/services/Reply.ts"
import * as Define from "../../src/streams/Define.ts"
import * as EventRelayDestination from "../../src/streams/EventRelayDestination.ts"
import { relayEvent } from "../layers/EventRelayGrpcKit.ts"

type Reply = Effect.Effect<ReadonlyArray<RelayEvent>, EventRelayError>

/** A pipeline for a minute, over a server that answers so; what was asked for, in its order, and what was warned of. */
const asked = Effect.fnUntraced(function* (demand: number, reply: (call: number) => Reply, works = true) {
  const counts: Array<number> = []
  const warned: Array<string> = []
  const channel = {
    name: "eventrelay:test",
    pullQueued: (_, count) => reply(counts.push(count)),
    unlock: () => Effect.void
  } as Pick<Channel, "name" | "pullQueued" | "unlock"> as Channel
  const told = Logger.make(({ logLevel, message }) => {
    if (logLevel === "Warn") warned.push([message].flat().join(" "))
  })
  yield* Effect.gen(function* () {
    const source = yield* EventRelayDestination.make({
      pipeline: "orders",
      channels: [channel],
      destination: "d",
      demand
    })
    const run = () => (works ? accepted(null) : Effect.never)
    yield* Define.start(Define.define({ name: "orders", source, decode: source.codec!, dispatch: [{ run }] }))
    yield* Effect.repeat(TestClock.adjust("100 millis"), { times: 600 })
  }).pipe(Effect.scoped, Effect.provide([InboxMemory.layer, DeadLettersMemory.layer, Logger.layer([told])]))
  return { counts, warned }
})

const none: Reply = Effect.succeed([])

describe("pulls of a destination", () => {
  it.effect("ask for fewer events when they are large, and for more again when they are not", () =>
    Effect.gen(function* () {
      const large = JSON.stringify("x".repeat(1024 * 1024))
      const { counts } = yield* asked(5_000, (call) =>
        call === 1
          ? Effect.succeed(Array.from({ length: 10 }, (_, i) => relayEvent(`large-${i}`, { data: large })))
          : call < 40
            ? Effect.succeed([relayEvent(`small-${call}`, { data: "{}" })])
            : none
      )
      // As long as nobody knows.
      assert.strictEqual(counts[0], 1_000)
      assert.isAtMost(counts[1]!, 32)
      assert.isAbove(counts[39]!, 1_000)
    })
  )

  it.effect("wait as after an empty reply when one brings nothing new", () =>
    Effect.gen(function* () {
      const { counts } = yield* asked(10, () => Effect.succeed([relayEvent("same", { data: "{}" })]), false)
      assert.isAtMost(counts.length, 14)
    })
  )

  it.effect("tell that a reply is lost, for how many was asked, and ask for less when it was too large", () =>
    Effect.gen(function* () {
      const fail = (status: string, lost: boolean) =>
        Effect.fail(new EventRelayError({ trouble: "away", status, reason: `${status} as planned`, lost }))
      const { counts, warned } = yield* asked(100, (call) =>
        call === 1
          ? fail("UNAVAILABLE", false)
          : call === 2
            ? fail("UNAVAILABLE", true)
            : call === 3
              ? fail("RESOURCE_EXHAUSTED", true)
              : none
      )
      assert.deepStrictEqual(counts.slice(0, 4), [100, 100, 100, 10])
      assert.deepStrictEqual(
        warned.filter((line) => line.includes("is lost")).map((line) => line.slice(0, line.indexOf(")") + 1)),
        [
          "eventrelay:d: the reply to a pull of 100 is lost (UNAVAILABLE as planned)",
          "eventrelay:d: the reply to a pull of 100 is lost (RESOURCE_EXHAUSTED as planned)"
        ]
      )
    })
  )
})
