/** The ledger against a plain model, and its text against every cut. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Random, Schema } from "effect"
import * as Offsets from "../../src/streams/Offsets.ts"

const Steps = Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 40 })))

describe("Offsets", () => {
  it("keeps the watermark below the oldest open offset", () => {
    const ledger = new Offsets.Offsets({ watermark: 10, settled: [] })
    for (const offset of [10, 11, 13, 14]) assert.isTrue(ledger.see(offset))
    ledger.settle(11)
    // 12 does not exist.
    assert.deepStrictEqual(ledger.snapshot(), { watermark: 10, settled: [[11, 13]] })
    ledger.settle(10)
    assert.deepStrictEqual(ledger.snapshot(), { watermark: 13, settled: [] })
    ledger.settle(14)
    ledger.settle(13)
    assert.deepStrictEqual(ledger.snapshot(), { watermark: 15, settled: [] })
    assert.isFalse(ledger.see(12))
  })

  it.effect.prop("never passes an unsettled offset and forgets no settled one", [Steps], ([steps]) =>
    Effect.gen(function* () {
      const ledger = new Offsets.Offsets({ watermark: 0, settled: [] })
      const settled = new Set<number>()
      let next = 0
      for (const step of steps) {
        for (let i = 0; i < step % 5; i++) ledger.see(next++)
        const open = Array.from({ length: next }, (_, i) => i).filter((i) => !settled.has(i))
        const pick = open[yield* Random.nextIntBetween(0, Math.max(1, open.length))]
        if (pick === undefined) continue
        settled.add(pick)
        ledger.settle(pick)
        const snapshot = ledger.snapshot()
        const lowest = Array.from({ length: next }, (_, i) => i).find((i) => !settled.has(i)) ?? next
        assert.strictEqual(snapshot.watermark, lowest)
        assert.deepStrictEqual(
          snapshot.settled.flatMap(([from, to]) => Array.from({ length: to - from }, (_, i) => from + i)),
          [...settled].filter((_) => _ >= lowest).sort((a, b) => a - b)
        )
        const text = Offsets.encode(snapshot)
        assert.deepStrictEqual(Offsets.decode(text.text, snapshot.watermark), snapshot)
        const again = new Offsets.Offsets(snapshot)
        for (let i = snapshot.watermark; i < next; i++) assert.strictEqual(again.see(i), !settled.has(i))
      }
    }).pipe(Random.withSeed(steps.join()))
  )

  it("keeps what was settled beyond until it comes by, also in part", () => {
    const ledger = new Offsets.Offsets({
      watermark: 10,
      settled: [
        [12, 14],
        [20, 30]
      ]
    })
    assert.isTrue(ledger.see(10))
    ledger.settle(10)
    assert.deepStrictEqual(ledger.snapshot(), {
      watermark: 11,
      settled: [
        [12, 14],
        [20, 30]
      ]
    })
    assert.isTrue(ledger.see(11))
    assert.isFalse(ledger.see(12))
    assert.isFalse(ledger.see(13))
    assert.isTrue(ledger.see(14))
    ledger.settle(11)
    ledger.settle(14)
    assert.deepStrictEqual(ledger.snapshot(), { watermark: 15, settled: [[20, 30]] })
    // 15 to 22 do not exist any more.
    assert.isFalse(ledger.see(23))
    assert.deepStrictEqual(ledger.snapshot(), { watermark: 30, settled: [] })
  })

  it("remembers only what is open, however far the others go", () => {
    const ledger = new Offsets.Offsets({ watermark: 0, settled: [] })
    for (let offset = 0; offset < 1_000_000; offset++) {
      ledger.see(offset)
      if (offset > 0) ledger.settle(offset)
    }
    assert.strictEqual(ledger.unsettled, 1)
    assert.deepStrictEqual(ledger.snapshot(), { watermark: 0, settled: [[1, 1_000_000]] })
    assert.isAtMost(Offsets.encode(ledger.snapshot()).text.length, 10)
  })

  it("cuts at the far end and says so", () => {
    const snapshot = {
      watermark: 1_000_000,
      settled: Array.from({ length: 5000 }, (_, i): Offsets.Run => [1_000_001 + 10 * i, 1_000_002 + 10 * i])
    }
    const whole = Offsets.encode(snapshot)
    assert.isTrue(whole.complete)
    const cut = Offsets.encode(snapshot, { charactersMax: 4096 })
    assert.isFalse(cut.complete)
    assert.isAtMost(cut.text.length, 4096)
    const read = Offsets.decode(cut.text, snapshot.watermark)!
    assert.deepStrictEqual(read.settled, snapshot.settled.slice(0, read.settled.length))
    assert.isAbove(read.settled.length, 2000)
  })

  it("tells near offsets whatever their pattern", () => {
    const settled: Array<Offsets.Run> = []
    for (let at = 7; at < 24_000; at += 2 + (at % 3)) settled.push([at, at + 1])
    const snapshot = { watermark: 5, settled }
    const encoded = Offsets.encode(snapshot, { charactersMax: 4096 })
    assert.isTrue(encoded.complete)
    assert.isAtMost(encoded.text.length, 4096)
    assert.deepStrictEqual(Offsets.decode(encoded.text, 5), snapshot)
    assert.isUndefined(Offsets.decode("b1:A*", 5))
  })

  it("ignores text that is not its own", () => {
    for (const text of ["x", "s2:AA", "s1:A", "s1:*", "s1:B__________", '{"a":1}', "s1:A_________A"]) {
      assert.isUndefined(Offsets.decode(text, 0), text)
    }
  })
})
