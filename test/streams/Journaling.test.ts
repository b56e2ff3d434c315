/** What the road notes of each delivery in the journal, in virtual time. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, References } from "effect"
import { TestClock } from "effect/testing"
import * as CodecJson from "../../src/layers/CodecJson.ts"
import * as DeadLettersMemory from "../../src/layers/DeadLettersMemory.ts"
import * as DedupeMemory from "../../src/layers/DedupeMemory.ts"
import * as JournalMemory from "../../src/layers/JournalMemory.ts"
import * as PublisherMemory from "../../src/layers/PublisherMemory.ts"
import { DeadLetters } from "../../src/services/DeadLetters.ts"
import { DispatchError } from "../../src/services/Dispatcher.ts"
import { Journal } from "../../src/services/Journal.ts"
import { accepted, type Reply, refused } from "../../src/services/Reply.ts"
import * as Define from "../../src/streams/Define.ts"
import * as Pipeline from "../../src/streams/Pipeline.ts"
import { KeyError } from "../../src/streams/Plan.ts"
import * as SourceMemory from "../../src/streams/SourceMemory.ts"

const decode = CodecJson.make()
const one: Array<SourceMemory.Message> = [{ id: "a", payload: { n: 1 } }]

const failed = (retryable: boolean, reply?: Reply) =>
  new DispatchError({ reason: "no luck", presence: "answered", retryable, ...(reply && { reply }) })

const run = Effect.fnUntraced(function* (plan: Parameters<typeof Define.run>[0]) {
  const fiber = yield* Effect.forkChild(Define.run(plan))
  for (let i = 0; i < 10_000 && fiber.pollUnsafe() === undefined; i++) yield* TestClock.adjust("100 millis")
  yield* Fiber.join(fiber)
})

const noted = Effect.flatMap(Journal, (journal) => journal.find({ limit: 1000 }))

/** Outcome, reason and steps of all that was noted, each step as event, leg, outcome, tries and note. */
const told = Effect.map(noted, (entries) =>
  entries.map(({ id, outcome, reason, steps }) => [
    id,
    outcome,
    reason,
    ...steps.map(({ attempts, event, leg, note, outcome }) => [event, leg, outcome, attempts, note])
  ])
)

const services = () =>
  Layer.mergeAll(
    DeadLettersMemory.layer,
    DedupeMemory.layer(),
    JournalMemory.layer(),
    Layer.succeed(References.MinimumLogLevel, "Error")
  )

const plan = { name: "orders", decode, journal: true }

describe("Journaling", () => {
  it.effect("notes an accepted leg with the dispatcher's own words, and how long the delivery took", () =>
    Effect.gen(function* () {
      yield* TestClock.adjust("1 minute")
      yield* run(
        Define.define({
          ...plan,
          source: SourceMemory.fromIterable(one, { name: "lines" }),
          detect: () => ["paid"],
          dispatch: [
            { run: () => Effect.as(Effect.sleep(70), { ...accepted(null), note: "triggered ETL/nightly: brave-fox" }) },
            { run: () => accepted(null), name: "second" }
          ]
        })
      )
      assert.deepStrictEqual(yield* noted, [
        {
          at: 60_070,
          pipeline: "orders",
          source: "lines",
          id: "a",
          attempt: 1,
          outcome: "acked",
          reason: undefined,
          millis: 70,
          detected: [],
          steps: [
            {
              event: "paid",
              leg: "dispatch.0:run",
              attempts: 1,
              outcome: "accepted",
              note: "triggered ETL/nightly: brave-fox",
              millis: 70,
              jobs: []
            },
            { event: "paid", leg: "second", attempts: 1, outcome: "accepted", note: undefined, millis: 0, jobs: [] }
          ],
          published: []
        }
      ])
    }).pipe(Effect.provide(services()))
  )

  it.effect("notes nothing for a pipeline that does not ask for it", () =>
    Effect.gen(function* () {
      const { journal: _, ...quiet } = plan
      yield* run(Define.define({ ...quiet, source: SourceMemory.fromIterable(one) }))
      assert.deepStrictEqual(yield* noted, [])
      yield* run(Define.define({ ...quiet, journal: true, source: SourceMemory.fromIterable(one) }))
      assert.deepStrictEqual(yield* told, [["a", "acked", undefined, ["message", "copy", "accepted", 1, undefined]]])
    }).pipe(Effect.provide(services()))
  )

  it.effect("runs where there is no journal", () =>
    Effect.gen(function* () {
      const source = SourceMemory.fromIterable(one)
      yield* run(Define.define({ ...plan, source }))
      assert.strictEqual(source.settled.length, 1)
    }).pipe(Effect.provide(DeadLettersMemory.layer))
  )

  it.effect("calls refused what the target refused, whether a publisher takes it or it is buried", () =>
    Effect.gen(function* () {
      const published = PublisherMemory.make()
      const dispatch = [{ run: () => refused("out of stock") }]
      const publish = [{ to: published, when: ["refused" as const] }]
      yield* run(Define.define({ ...plan, source: SourceMemory.fromIterable(one), dispatch, publish }))
      yield* run(Define.define({ ...plan, source: SourceMemory.fromIterable(one), dispatch }))
      const step = ["message", "dispatch.0:run", "refused", 1, "out of stock"]
      assert.deepStrictEqual(yield* told, [
        ["a", "acked", undefined, step],
        ["a", "buried", "out of stock", step]
      ])
      assert.strictEqual(published.published.length, 1)
    }).pipe(Effect.provide(services()))
  )

  it.effect("counts the tries: those that failed, and the good one", () =>
    Effect.gen(function* () {
      let tries = 0
      const retry = { attempts: 4, backoffMillis: 10 }
      const spent = { kind: "refused", payload: null, reason: "answered 503" } as const
      yield* run(
        Define.define({
          ...plan,
          retry,
          source: SourceMemory.fromIterable(one),
          dispatch: [
            { name: "late", run: () => (tries++ < 2 ? Effect.fail(failed(true)) : accepted(null)) },
            { name: "never", run: () => Effect.fail(failed(true)) },
            { name: "final", run: () => Effect.fail(failed(false)) }
          ]
        })
      )
      // A refusal that stands for spent retries is no try of its own.
      yield* run(
        Define.define({
          ...plan,
          retry,
          source: SourceMemory.fromIterable([{ id: "b", payload: 1 }]),
          dispatch: [{ name: "spent", run: () => Effect.fail(failed(true, spent)) }],
          publish: [{ to: PublisherMemory.make(), when: ["refused"] }]
        })
      )
      assert.deepStrictEqual(yield* told, [
        [
          "a",
          "buried",
          "no luck",
          ["message", "late", "accepted", 3, undefined],
          ["message", "never", "failed", 4, "no luck"],
          ["message", "final", "failed", 1, "no luck"]
        ],
        ["b", "acked", undefined, ["message", "spent", "refused", 4, "no luck"]]
      ])
    }).pipe(Effect.provide(services()))
  )

  it.effect("counts the tries of what goes on alone after its batch has failed", () =>
    Effect.gen(function* () {
      const tries = new Map<string, number>()
      yield* run(
        Define.define({
          ...plan,
          source: SourceMemory.fromIterable([..."abc"].map((id) => ({ id, payload: 1 }))),
          batch: { size: 3, age: "10 millis" },
          retry: { attempts: 5, backoffMillis: 10 },
          dispatch: [
            {
              run: ({ event: { envelope } }) => {
                const n = (tries.get(envelope.id) ?? 0) + 1
                tries.set(envelope.id, n)
                return envelope.id === "b" || (envelope.id === "c" && n < 4)
                  ? Effect.fail(failed(true))
                  : accepted(null)
              }
            }
          ]
        })
      )
      const attempts = Object.fromEntries((yield* noted).map(({ id, steps }) => [id, steps[0]!.attempts]))
      assert.deepStrictEqual(attempts, Object.fromEntries(tries))
      assert.deepStrictEqual(attempts, { a: 1, b: 5, c: 4 })
    }).pipe(Effect.provide(services()))
  )

  it.effect("says why there is nothing to show: nothing detected, a duplicate, not decodable, no key", () =>
    Effect.gen(function* () {
      const messages = [
        { id: "none", payload: { n: 0 } },
        { id: "twice", payload: { n: 1 } },
        { id: "twice", payload: { n: 1 } },
        { id: "broken", payload: "{" },
        { id: "keyless", payload: { n: 2 } }
      ]
      yield* run(
        Define.define({
          ...plan,
          source: SourceMemory.fromIterable(messages),
          order: "partition",
          unkeyed: "partition",
          dedupe: {},
          key: ({ payload }) =>
            (payload as { n: number }).n === 2 ? new KeyError({ reason: "the key is absent" }) : "k",
          onKeyError: "drop",
          detect: ({ payload }) => ((payload as { n: number }).n === 0 ? [] : ["x"])
        })
      )
      const entries = (yield* told).toSorted((a, b) => String(a[0]).localeCompare(String(b[0])))
      assert.match(String(entries[0]![2]), /JSON/)
      assert.deepStrictEqual(entries, [
        ["broken", "buried", entries[0]![2]],
        ["keyless", "acked", "dropped: the key is absent"],
        ["none", "acked", "nothing detected"],
        ["twice", "acked", undefined, ["x", "copy", "accepted", 1, undefined]],
        ["twice", "acked", "duplicate"]
      ])
    }).pipe(Effect.provide(services()))
  )

  it.effect("notes what a sender was told of a message that cannot be decoded", () =>
    Effect.gen(function* () {
      const source = SourceMemory.fromIterable([{ id: "a", payload: "{" }], { answers: true })
      yield* run(Define.define({ ...plan, source }))
      const [entry] = yield* noted
      assert.strictEqual(entry!.outcome, "refused")
      assert.match(entry!.reason!, /JSON/)
    }).pipe(Effect.provide(services()))
  )

  it.effect("notes what is given back at a drain: begun legs are open", () =>
    Effect.gen(function* () {
      const source = SourceMemory.fromIterable([
        { id: "works", key: "k", payload: 1 },
        { id: "waits", key: "k", payload: 1 }
      ])
      yield* Effect.gen(function* () {
        const handle = yield* Pipeline.start(
          Define.define({ ...plan, source, dispatch: [{ run: () => accepted(null) }, { run: () => Effect.never }] })
        )
        yield* TestClock.adjust("1 second")
        const drained = yield* Effect.forkChild(handle.drain(1000))
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(drained)
      }).pipe(Effect.scoped)
      assert.deepStrictEqual(yield* told, [
        ["waits", "nacked", "shutdown"],
        [
          "works",
          "nacked",
          "shutdown",
          ["message", "dispatch.0:run", "accepted", 1, undefined],
          ["message", "dispatch.1:run", "open", 0, undefined]
        ]
      ])
    }).pipe(Effect.provide(services()))
  )

  it.effect("notes a replay as a delivery of its own, with the leg that ran", () =>
    Effect.gen(function* () {
      let broken = true
      const run_ = () => (broken ? Effect.fail(failed(false)) : accepted(null))
      const dispatch = [{ run: () => accepted(null) }, { name: "second", run: run_ }]
      yield* run(Define.define({ ...plan, source: SourceMemory.fromIterable(one), dispatch }))
      const letters = yield* (yield* DeadLetters).list({})
      yield* TestClock.adjust("1 minute")
      yield* Effect.gen(function* () {
        const handle = yield* Pipeline.start(Define.define({ ...plan, source: yield* SourceMemory.make(), dispatch }))
        yield* handle.replay(letters)
        broken = false
        yield* TestClock.adjust("1 minute")
        yield* handle.replay(letters)
      }).pipe(Effect.scoped)
      assert.deepStrictEqual((yield* told).slice(1), [
        ["a", "buried", "no luck", ["message", "second", "failed", 1, "no luck"]],
        ["a", "acked", undefined, ["message", "second", "accepted", 1, undefined]]
      ])
    }).pipe(Effect.provide(services()))
  )

  it.effect("keeps long words short", () =>
    Effect.gen(function* () {
      const note = "n".repeat(10_000)
      const dispatch = [{ run: () => ({ ...accepted(null), note }) }, { run: () => refused("r".repeat(10_000)) }]
      yield* run(Define.define({ ...plan, source: SourceMemory.fromIterable(one), dispatch }))
      const [entry] = yield* noted
      assert.strictEqual(entry!.reason, `${"r".repeat(500)}...`)
      assert.deepStrictEqual(
        entry!.steps.map(({ note }) => note?.length),
        [503, 503]
      )
    }).pipe(Effect.provide(services()))
  )
})
