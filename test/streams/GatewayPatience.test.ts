/** What a client pays for checks that take long, and what others do not. */
import { assert, describe, it } from "@effect/vitest"
import { GatewayPatience } from "../../src/streams/GatewayPatience.ts"

describe("GatewayPatience", () => {
  it("lets a client wait for ten times what its slow checks took, and nobody else", () => {
    const patience = new GatewayPatience()
    patience.spent("quick", 99, 0)
    patience.spent("quick", 99, 1000)
    assert.strictEqual(patience.wait("quick", 1000), 0)
    patience.spent("slow", 250, 0)
    assert.strictEqual(patience.wait("slow", 0), 0)
    patience.spent("slow", 250, 1000)
    assert.strictEqual(patience.wait("slow", 1000), 2500)
    assert.strictEqual(patience.wait("other", 1000), 0)
    assert.strictEqual(patience.wait("slow", 3499), 1)
    assert.strictEqual(patience.wait("slow", 3500), 0)
  })

  it("lets off what is slow once in ten seconds, as on a machine that stalls", () => {
    const patience = new GatewayPatience()
    for (const now of [0, 10_001, 20_002]) patience.spent("c", 250, now)
    assert.strictEqual(patience.wait("c", 20_002), 0)
    patience.spent("c", 250, 30_002)
    assert.strictEqual(patience.wait("c", 30_002), 2500)
    // It counts from when it has waited.
    patience.spent("c", 250, 42_000)
    assert.strictEqual(patience.wait("c", 42_000), 2500)
    patience.spent("c", 250, 54_501)
    assert.strictEqual(patience.wait("c", 54_501), 0)
  })

  it("adds up to half a minute, and remembers a bounded number of clients", () => {
    const patience = new GatewayPatience()
    for (let i = 0; i < 100; i++) patience.spent("slow", 250, 0)
    assert.strictEqual(patience.wait("slow", 0), 30_000)
    for (let i = 0; i < 20_000; i++) for (const now of [0, 0]) patience.spent(`c${i}`, 250, now)
    assert.strictEqual(patience.wait("c0", 0), 0)
    assert.strictEqual(patience.wait("c19999", 0), 2500)
  })
})
