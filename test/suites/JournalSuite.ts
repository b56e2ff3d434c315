/** What every journal keeps to. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, type Layer } from "effect"
import { type Entry, Journal, type Step } from "../../src/services/Journal.ts"

interface Options {
  readonly keepMillis?: number
  readonly keepMax?: number
}

export const step = (event: string, over: Partial<Step> = {}): Step => ({
  event,
  leg: "dispatch.0:http",
  attempts: 1,
  outcome: "accepted",
  note: undefined,
  millis: 7,
  jobs: [],
  ...over
})

export const entry = (id: string, at: number, over: Partial<Entry> = {}): Entry => ({
  at,
  pipeline: "orders",
  source: "stdin",
  id,
  attempt: 1,
  outcome: "acked",
  reason: undefined,
  millis: 12,
  detected: [],
  steps: [],
  published: [],
  ...over
})

const all = { limit: 100_000 }
const ids = (entries: ReadonlyArray<Entry>) => entries.map(({ id }) => id)

export const suite = <E>(name: string, layerWith: (options?: Options) => Layer.Layer<Journal, E>): void => {
  describe(`${name} as journal`, () => {
    it.effect("gives back what was noted, whole, the oldest first, and at once", () =>
      Effect.gen(function* () {
        const journal = yield* Journal
        const odd = 'a "b" \'c\' \n\t\u001b[31m ü 漢 😀 {"x":1}'
        const entries = [
          entry("a", 1_700_000_000_000, { steps: [step("x", { note: "triggered ETL/nightly: brave-fox" })] }),
          entry(odd, 1_700_000_000_001, {
            pipeline: odd,
            source: odd,
            attempt: 3,
            outcome: "buried",
            reason: odd,
            millis: 86_400_000,
            steps: [step(odd, { leg: odd, attempts: 8, outcome: "failed", note: odd }), step("y", { outcome: "open" })]
          }),
          entry("c", 1_700_000_000_002, {
            outcome: "refused",
            reason: "",
            detected: [
              { event: "x", verdict: "yes", why: undefined },
              { event: odd, verdict: "no", why: odd },
              { event: "z", verdict: "broke", why: "" }
            ],
            steps: [
              step("x", {
                millis: undefined,
                jobs: [
                  { name: odd, ok: false, attempts: 3, millis: 1, note: odd },
                  { name: "b", ok: true, attempts: 1, millis: 0, note: undefined }
                ]
              })
            ],
            published: [
              { event: "x", publisher: odd, outcome: "failed", note: odd },
              { event: "x", publisher: "publish.0:kafka", outcome: "published", note: undefined }
            ]
          }),
          entry("d", 1_700_000_000_002, { outcome: "nacked", steps: [step("z", { outcome: "refused", note: "" })] })
        ]
        assert.deepStrictEqual(yield* journal.find(all), [])
        for (const one of entries) journal.note(one)
        assert.deepStrictEqual(yield* journal.find(all), entries)
        assert.deepStrictEqual(yield* journal.find(all), entries)
      }).pipe(Effect.provide(layerWith()))
    )

    it.effect("finds by pipeline, id, event, outcome and time, alone and together", () =>
      Effect.gen(function* () {
        const journal = yield* Journal
        journal.note(entry("a", 1000, { steps: [step("x"), step("x.y")] }))
        journal.note(entry("b", 2000, { outcome: "buried", steps: [step("w"), step("x.y")] }))
        journal.note(entry("a", 3000, { pipeline: "other", steps: [step("x%")] }))
        journal.note(entry("c", 4000, { outcome: "nacked" }))
        const find = (query: object) => Effect.map(journal.find({ limit: 10, ...query }), ids)
        assert.deepStrictEqual(yield* find({ pipeline: "orders" }), ["a", "b", "c"])
        assert.deepStrictEqual(yield* find({ pipeline: "order_" }), [])
        assert.deepStrictEqual(yield* find({ id: "a" }), ["a", "a"])
        assert.deepStrictEqual(yield* find({ id: "a", pipeline: "other" }), ["a"])
        assert.deepStrictEqual(yield* find({ event: "x" }), ["a"])
        assert.deepStrictEqual(yield* find({ event: "x.y" }), ["a", "b"])
        assert.deepStrictEqual(yield* find({ event: "x%" }), ["a"])
        assert.deepStrictEqual(yield* find({ event: "X" }), [])
        // Text of a leg or a key of the object is no event.
        assert.deepStrictEqual(yield* find({ event: "dispatch.0:http" }), [])
        assert.deepStrictEqual(yield* find({ event: "leg" }), [])
        assert.deepStrictEqual(yield* find({ outcome: "buried" }), ["b"])
        assert.deepStrictEqual(yield* find({ since: 2000 }), ["b", "a", "c"])
        assert.deepStrictEqual(yield* find({ since: 2001, pipeline: "orders" }), ["c"])
        assert.deepStrictEqual(yield* find({ event: "x.y", outcome: "acked", since: 1000, id: "a" }), ["a"])
      }).pipe(Effect.provide(layerWith()))
    )

    it.effect("gives the newest so many, by their time", () =>
      Effect.gen(function* () {
        const journal = yield* Journal
        for (const at of [5, 3, 9, 1, 7]) journal.note(entry(`${at}`, at, { pipeline: at === 9 ? "other" : "orders" }))
        assert.deepStrictEqual(ids(yield* journal.find({ limit: 2 })), ["7", "9"])
        assert.deepStrictEqual(ids(yield* journal.find({ limit: 3, pipeline: "orders" })), ["3", "5", "7"])
        assert.deepStrictEqual(ids(yield* journal.find({ limit: 1, id: "3" })), ["3"])
      }).pipe(Effect.provide(layerWith()))
    )

    it.effect("keeps the newest of too many", () =>
      Effect.gen(function* () {
        const journal = yield* Journal
        for (let round = 0; round < 3; round++) {
          for (let i = 0; i < 150; i++) journal.note(entry(`${round * 150 + i}`, round * 150 + i))
          const kept = ids(yield* journal.find(all))
          assert.deepStrictEqual(
            kept,
            Array.from({ length: 100 }, (_, i) => `${round * 150 + 50 + i}`)
          )
        }
      }).pipe(Effect.provide(layerWith({ keepMax: 100 })))
    )

    it.effect("forgets what is older than it keeps", () =>
      Effect.gen(function* () {
        const journal = yield* Journal
        const day = 86_400_000
        for (let i = 0; i < 10; i++) journal.note(entry(`${i}`, i * day))
        assert.deepStrictEqual(ids(yield* journal.find(all)), ["3", "4", "5", "6", "7", "8", "9"])
        journal.note(entry("later", 30 * day))
        assert.deepStrictEqual(ids(yield* journal.find(all)), ["later"])
      }).pipe(Effect.provide(layerWith()))
    )
  })
}
