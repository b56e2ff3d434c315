/** The limit per client: what a bucket gives over time, and that no number of names grows it or takes from others. */
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { assert, describe, it } from "vitest"
import { Buckets } from "../../src/streams/GatewayRate.ts"

describe("Buckets", () => {
  it("gives a burst at once, then as much as comes in, and says how long to wait", () => {
    const buckets = new Buckets({ perSecond: 2, burst: 3 })
    const taken = [0, 0, 0, 0, 499, 500, 500, 1000, 60_000, 60_000, 60_000, 60_000].map((now) => buckets.take("a", now))
    assert.deepStrictEqual(taken, [0, 0, 0, 500, 1, 0, 500, 0, 0, 0, 0, 500])
    assert.strictEqual(buckets.take("b", 60_000), 0)
  })

  it("lets through what the rate says over an hour of greed, and no more", () => {
    for (const perSecond of [0.3, 1, 7, 1000]) {
      const buckets = new Buckets({ perSecond, burst: 5 })
      let let_in = 0
      for (let now = 0; now <= 100_000; now += perSecond > 100 ? 0.25 : 10) if (buckets.take("a", now) === 0) let_in++
      const expected = 5 + 100 * perSecond
      assert.isAtMost(Math.abs(let_in - expected), 1 + expected * 0.001, `${perSecond}/s`)
    }
  })

  it("gives nothing and takes nothing when the clock is set back", () => {
    const buckets = new Buckets({ perSecond: 1, burst: 2 })
    assert.deepStrictEqual(
      [10_000, 5_000, 5_000, 6_000].map((now) => buckets.take("a", now)),
      [0, 0, 1000, 0]
    )
  })

  it("holds no more than its bound for a million random names, and leaves an honest client its own", () => {
    const buckets = new Buckets({ perSecond: 10, burst: 10, clientsMax: 1000 })
    const before = heap()
    let now = 0
    let honest = 0
    for (let i = 0; i < 1_000_000; i++) {
      // A thousand names each millisecond: far more than buckets become free.
      if (i % 1000 === 0) now += 1
      buckets.take(`attacker-${i}-${Math.random()}-${"x".repeat(100)}`, now)
      if (i % 100_000 === 0) {
        assert.strictEqual(buckets.take("honest", now), 0, `after ${i} names`)
        honest++
      }
    }
    assert.strictEqual(honest, 10)
    assert.strictEqual(buckets.size, 1000)
    assert.isBelow(heap() - before, 4 * 1024 * 1024)
  })

  it("does not forget what a client has used up while others name themselves at random", () => {
    const buckets = new Buckets({ perSecond: 1, burst: 2, clientsMax: 100 })
    assert.deepStrictEqual(
      [0, 0, 0].map((now) => buckets.take("greedy", now)),
      [0, 0, 1000]
    )
    for (let i = 0; i < 10_000; i++) buckets.take(`name-${i}`, 0)
    assert.strictEqual(buckets.take("greedy", 0), 1000)
  })

  it("gives a bucket that nobody uses any more to somebody new", () => {
    const buckets = new Buckets({ perSecond: 1, burst: 1, clientsMax: 2 })
    buckets.take("a", 0)
    buckets.take("b", 0)
    // Both are full again after a second.
    assert.deepStrictEqual([buckets.take("c", 1000), buckets.take("c", 1000), buckets.size], [0, 1000, 2])
  })

  it("limits also those who share, and those with endless names", () => {
    const buckets = new Buckets({ perSecond: 1, burst: 1, clientsMax: 1 })
    buckets.take("a", 0)
    assert.deepStrictEqual([buckets.take("b", 0), buckets.take("b", 0), buckets.size], [0, 1000, 1])
    const wide = new Buckets({ perSecond: 1, burst: 1 })
    const long = "y".repeat(100_000)
    assert.deepStrictEqual([wide.take(long, 0), wide.take(long, 0), wide.size], [0, 1000, 0])
  })
})

setFlagsFromString("--expose-gc")
const collect = runInNewContext("gc") as () => void

/** Units: bytes in use, without what is garbage. */
const heap = (): number => {
  collect()
  return process.memoryUsage().heapUsed
}
