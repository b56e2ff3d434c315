/** What every store of topics keeps to. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, type Layer } from "effect"
import { TestClock } from "effect/testing"
import { type NewRecord, type Reader, Topics } from "../../src/services/Topics.ts"

interface Retention {
  readonly retentionMillis?: number
  readonly retentionBytes?: number
}

const utf8 = new TextEncoder()
const records = (from: number, count: number) =>
  Array.from({ length: count }, (_, i) => ({
    id: `id-${from + i}`,
    key: (from + i) % 2 === 0 ? `k${from + i}` : undefined,
    headers: { n: `${from + i}` },
    value: utf8.encode(`value ${from + i}`)
  }))
/** Records of about 1,000 bytes. */
const large = (count: number) => records(0, count).map((record) => ({ ...record, value: new Uint8Array(980) }))
const all = 2 ** 30
const offsets = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i)
const offsetsOf = (read: ReturnType<Reader["read"]>) => Effect.map(read, (found) => found.map(({ offset }) => offset))

/** `layerWith` makes one with its own retention. */
export const suite = <E>(
  name: string,
  layer: Layer.Layer<Topics, E>,
  layerWith: (retention: Retention) => Layer.Layer<Topics, E>
): void => {
  describe(`${name} as topics`, () => {
    logs(layer)
    groups(layer)
    onlookers(layer)
    retention(layerWith)
  })
}

const logs = <E>(layer: Layer.Layer<Topics, E>): void => {
  it.live("appends in order from offset 0 without gaps, and gives back what it was given", () =>
    Effect.gen(function* () {
      const topics = yield* Topics
      yield* topics.append("t", records(0, 3))
      yield* topics.append("t", [])
      yield* topics.append("t", records(3, 500))
      const reader = yield* topics.open("t", "g", "earliest")
      const read = yield* reader.read(0, 1000, all)
      assert.deepStrictEqual(
        read.map(({ offset }) => offset),
        offsets(0, 503)
      )
      assert.deepStrictEqual(
        read.map(({ headers, id, key, value }) => ({ headers, id, key, value })),
        records(0, 503).map((record) => ({ ...record, value: new Uint8Array(record.value) }))
      )
      assert.deepStrictEqual(
        (yield* reader.read(501, 10, all)).map(({ id }) => id),
        ["id-501", "id-502"]
      )
      assert.deepStrictEqual(yield* reader.read(503, 10, all), [])
      assert.deepStrictEqual(yield* topics.range("t"), { first: 0, next: 503 })
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.live("reads as many as asked for, about as many bytes, and at least one", () =>
    Effect.gen(function* () {
      const topics = yield* Topics
      yield* topics.append("t", large(10))
      const reader = yield* topics.open("t", "g", "earliest")
      assert.strictEqual((yield* reader.read(0, 4, all)).length, 4)
      assert.strictEqual((yield* reader.read(0, 1000, 2500)).length, 3)
      assert.strictEqual((yield* reader.read(8, 1000, 1)).length, 1)
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.live("keeps bytes and text of all kinds", () =>
    Effect.gen(function* () {
      const topics = yield* Topics
      const odd: ReadonlyArray<NewRecord> = [
        { id: "", key: "", headers: {}, value: new Uint8Array(0) },
        {
          id: "🙂",
          key: "a\u0000b",
          headers: JSON.parse('{"__proto__":"x","":"y"}'),
          value: new Uint8Array([0, 255, 13])
        },
        { id: "part", key: "'; --", headers: { ü: "\u2028" }, value: new Uint8Array([1, 2, 3, 4]).subarray(1, 3) }
      ]
      yield* topics.append('it\'s "odd"', odd)
      const reader = yield* topics.open('it\'s "odd"', "a group", "earliest")
      const read = yield* reader.read(0, 10, all)
      assert.deepStrictEqual(
        read.map(({ headers, id, key, value }) => [id, key, Object.entries(headers), [...value]]),
        odd.map(({ headers, id, key, value }) => [id, key, Object.entries(headers), [...value]])
      )
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.live("keeps topics apart, takes large batches, and has nothing in a topic nobody wrote to", () =>
    Effect.gen(function* () {
      const topics = yield* Topics
      yield* topics.append("a", records(0, 10_001))
      yield* topics.append("b", records(0, 1))
      assert.deepStrictEqual(yield* topics.range("a"), { first: 0, next: 10_001 })
      assert.deepStrictEqual(yield* topics.range("b"), { first: 0, next: 1 })
      assert.deepStrictEqual(yield* topics.range("c"), { first: 0, next: 0 })
    }).pipe(Effect.provide(layer))
  )

  it.live("writes the batches of many fibers one after the other", () =>
    Effect.gen(function* () {
      const topics = yield* Topics
      yield* Effect.forEach(offsets(0, 40), (i) => topics.append("t", records(i * 10, 10)), {
        concurrency: "unbounded",
        discard: true
      })
      const reader = yield* topics.open("t", "g", "earliest")
      const read = yield* reader.read(0, 1000, all)
      assert.deepStrictEqual(
        read.map(({ offset }) => offset),
        offsets(0, 400)
      )
      for (let i = 0; i < 400; i += 10) {
        const first = Number(read[i]!.headers.n)
        assert.deepStrictEqual(
          read.slice(i, i + 10).map(({ headers }) => Number(headers.n)),
          offsets(first, first + 10)
        )
      }
    }).pipe(Effect.scoped, Effect.provide(layer))
  )
}

const groups = <E>(layer: Layer.Layer<Topics, E>): void => {
  it.live("keeps a position per group, and asks `from` only the first time", () =>
    Effect.gen(function* () {
      const topics = yield* Topics
      yield* topics.append("t", records(0, 10))
      yield* Effect.scoped(
        Effect.gen(function* () {
          const early = yield* topics.open("t", "early", "earliest")
          const late = yield* topics.open("t", "late", "latest")
          assert.deepStrictEqual(yield* early.position, { watermark: 0, settled: "" })
          assert.deepStrictEqual(yield* late.position, { watermark: 10, settled: "" })
          yield* early.commit({ watermark: 4, settled: "s1:BB" })
        })
      )
      const again = yield* topics.open("t", "early", "latest")
      assert.deepStrictEqual(yield* again.position, { watermark: 4, settled: "s1:BB" })
      const elsewhere = yield* topics.open("other", "early", "earliest")
      assert.deepStrictEqual(yield* elsewhere.position, { watermark: 0, settled: "" })
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.live("refuses a position that is held, by name, and frees it with its scope", () =>
    Effect.gen(function* () {
      const topics = yield* Topics
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* topics.open("t", "g", "earliest")
          const refused = yield* Effect.flip(Effect.scoped(topics.open("t", "g", "earliest")))
          assert.isFalse(refused.retryable)
          assert.match(refused.message, /topic t: the position of group g is held by another pipeline or process/)
          yield* topics.open("t", "other", "earliest")
          yield* topics.open("other", "g", "earliest")
        })
      )
      yield* topics.open("t", "g", "earliest")
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  // Under the test clock, which stands still: nothing but the append wakes it.
  it.effect("wakes who waits for a record", () =>
    Effect.gen(function* () {
      const topics = yield* Topics
      const reader = yield* topics.open("t", "g", "earliest")
      const other = yield* topics.open("t", "h", "earliest")
      const waiting = yield* Effect.forkChild(reader.wait(1))
      const both = yield* Effect.forkChild(other.wait(1))
      yield* topics.append("t", records(0, 1))
      yield* reader.wait(0)
      assert.isUndefined(waiting.pollUnsafe())
      yield* topics.append("elsewhere", records(0, 9))
      assert.isUndefined(waiting.pollUnsafe())
      yield* topics.append("t", records(1, 1))
      yield* Fiber.join(waiting)
      yield* Fiber.join(both)
    }).pipe(Effect.scoped, Effect.provide(layer))
  )
}

const onlookers = <E>(layer: Layer.Layer<Topics, E>): void => {
  it.live("lets anybody look beside the groups, from any offset, also before there is a topic", () =>
    Effect.gen(function* () {
      const topics = yield* Topics
      const early = topics.look("t")
      assert.deepStrictEqual(yield* early.read(0, 10, all), [])
      assert.deepStrictEqual(yield* topics.range("t"), { first: 0, next: 0 })
      yield* topics.append("t", records(0, 10))
      const group = yield* topics.open("t", "g", "earliest")
      assert.deepStrictEqual(yield* offsetsOf(early.read(0, 1000, all)), offsets(0, 10))
      assert.deepStrictEqual(yield* offsetsOf(topics.look("t").read(7, 2, all)), [7, 8])
      assert.deepStrictEqual(yield* topics.look("other").read(0, 10, all), [])
      const [{ headers, id, key, value }] = (yield* early.read(4, 1, all)) as unknown as [NewRecord]
      assert.deepStrictEqual([{ headers, id, key, value: new Uint8Array(value) }], records(4, 1))
      // Nothing was taken, and the position is as free as before.
      assert.deepStrictEqual(yield* group.position, { watermark: 0, settled: "" })
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.effect("wakes onlookers, also those of a topic that was not there", () =>
    Effect.gen(function* () {
      const topics = yield* Topics
      const waiting = yield* Effect.forkChild(topics.look("t").wait(0))
      const later = yield* Effect.forkChild(topics.look("t").wait(1))
      yield* topics.append("elsewhere", records(0, 1))
      yield* topics.append("t", records(0, 1))
      yield* Fiber.join(waiting)
      assert.isUndefined(later.pollUnsafe())
      yield* topics.append("t", records(1, 1))
      yield* Fiber.join(later)
    }).pipe(Effect.scoped, Effect.provide(layer))
  )
}

const retention = <E>(layerWith: (retention: Retention) => Layer.Layer<Topics, E>): void => {
  const hour = 3_600_000

  it.effect("drops what is too old, but nothing a group has still to read", () =>
    Effect.gen(function* () {
      const topics = yield* Topics
      yield* topics.append("t", records(0, 10))
      const slow = yield* topics.open("t", "slow", "earliest")
      yield* slow.commit({ watermark: 4, settled: "" })
      yield* TestClock.adjust(2 * hour)
      yield* topics.append("t", records(10, 2_000))
      const quick = yield* topics.open("t", "quick", "earliest")
      assert.deepStrictEqual(yield* topics.range("t"), { first: 4, next: 2_010 })
      assert.deepStrictEqual(yield* quick.position, { watermark: 4, settled: "" })
      yield* slow.commit({ watermark: 2_010, settled: "" })
      yield* quick.commit({ watermark: 2_010, settled: "" })
      yield* topics.open("t", "third", "latest")
      assert.deepStrictEqual(yield* topics.range("t"), { first: 10, next: 2_010 })
      // From before the first record it goes on with the first.
      assert.deepStrictEqual(yield* offsetsOf(slow.read(0, 2, all)), [10, 11])
    }).pipe(Effect.scoped, Effect.provide(layerWith({ retentionMillis: hour })))
  )

  it.effect("drops also what an onlooker has not seen, who goes on with the first there is", () =>
    Effect.gen(function* () {
      const topics = yield* Topics
      const onlooker = topics.look("t")
      for (let i = 0; i < 50; i++) yield* topics.append("t", large(10))
      const { first, next } = yield* topics.range("t")
      assert.isAbove(first, 0)
      assert.deepStrictEqual(yield* offsetsOf(onlooker.read(0, 1000, all)), offsets(first, next))
    }).pipe(Effect.provide(layerWith({ retentionBytes: 100_000 })))
  )

  it.effect("drops the oldest of what is too much", () =>
    Effect.gen(function* () {
      const topics = yield* Topics
      for (let i = 0; i < 500; i++) yield* topics.append("t", large(10))
      const { first, next } = yield* topics.range("t")
      assert.strictEqual(next, 5_000)
      assert.isAtLeast(first, next - 100)
      assert.isAtMost(first, next - 90)
      const reader = yield* topics.open("t", "g", "earliest")
      assert.deepStrictEqual(yield* reader.position, { watermark: first, settled: "" })
      assert.deepStrictEqual(yield* offsetsOf(reader.read(first, 1000, all)), offsets(first, next))
    }).pipe(Effect.scoped, Effect.provide(layerWith({ retentionBytes: 100_000 })))
  )

  it.effect("is full, and says for whom, when only unread records could go; then it takes what fits", () =>
    Effect.gen(function* () {
      const topics = yield* Topics
      const slow = yield* topics.open("t", "slow", "earliest")
      const quick = yield* topics.open("t", "quick", "earliest")
      yield* topics.append("t", large(8))
      yield* quick.commit({ watermark: 8, settled: "" })
      const error = yield* Effect.flip(topics.append("t", large(8)))
      assert.isTrue(error.retryable)
      assert.match(error.message, /^topic t: full \(10000 bytes\): group slow has not read/)
      assert.deepStrictEqual(yield* topics.range("t"), { first: 0, next: 8 })
      yield* topics.append("other", large(8))
      yield* slow.commit({ watermark: 7, settled: "" })
      yield* topics.append("t", large(8))
      const { first, next } = yield* topics.range("t")
      assert.strictEqual(next, 16)
      // A store may drop a little more than it must, so that not every append has to.
      assert.include([6, 7], first)
    }).pipe(Effect.scoped, Effect.provide(layerWith({ retentionBytes: 10_000 })))
  )

  it.effect("takes a batch larger than the limit when nothing else is in the way", () =>
    Effect.gen(function* () {
      const topics = yield* Topics
      const reader = yield* topics.open("t", "g", "earliest")
      yield* topics.append("t", large(20))
      assert.isTrue((yield* Effect.flip(topics.append("t", large(1)))).retryable)
      yield* reader.commit({ watermark: 20, settled: "" })
      yield* topics.append("t", large(20))
      assert.deepStrictEqual(yield* topics.range("t"), { first: 20, next: 40 })
    }).pipe(Effect.scoped, Effect.provide(layerWith({ retentionBytes: 10_000 })))
  )
}
