/** What is held of a destination: copies are told apart by their ids, and what has none is never a copy. */
import { assert, describe, it } from "@effect/vitest"
import { acked } from "../../src/services/Delivery.ts"
import * as EventRelayEvent from "../../src/streams/EventRelayEvent.ts"
import { EventRelayHeld } from "../../src/streams/EventRelayHeld.ts"
import { relayEvent } from "../layers/EventRelayGrpcKit.ts"

describe("EventRelayHeld", () => {
  it("hands out every event of a reply, but the copies of one that has an id", () => {
    const settled: Array<number> = []
    const held = new EventRelayHeld({
      source: "eventrelay:orders",
      box: { settle: (_, item) => settled.push(item) },
      demand: 10,
      onNacked: () => {}
    })
    const taken = ["a", "", "", "a", "b"].map((id, item) => {
      const event = relayEvent(id)
      return { event, payload: EventRelayEvent.bytesOf(event), kept: { batch: 1, item }, attempt: 1 }
    })
    const given = held.take(taken, 0)
    assert.deepStrictEqual(
      given.map(({ kept }) => kept?.item),
      [0, 1, 2, 4]
    )
    assert.strictEqual(new Set(given.map(({ envelope }) => envelope.id)).size, 4)
    assert.deepStrictEqual(settled, [3])
    assert.strictEqual(held.room, 6)
    for (const one of given) one.settle(acked)
    assert.deepStrictEqual(settled, [3, 0, 1, 2, 4])
    assert.strictEqual(held.room, 10)
  })

  it("gives back only what the server knows by its id; the rest stays in the inbox", () => {
    const [settled, nacked]: [Array<number>, Array<string>] = [[], []]
    const held = new EventRelayHeld({
      source: "eventrelay:orders",
      box: { settle: (_, item) => settled.push(item) },
      demand: 10,
      onNacked: ({ envelope }) => nacked.push(envelope.id)
    })
    const taken = ["a", ""].map((id, item) => {
      const event = relayEvent(id)
      return { event, payload: EventRelayEvent.bytesOf(event), kept: { batch: 1, item }, attempt: 1 }
    })
    held.take(taken, 0)
    held.giveBack()
    assert.deepStrictEqual(nacked, ["a"])
    assert.deepStrictEqual(settled, [])
  })
})
