/** Jobs as a dispatcher: what they are given, what they reply, and what is run again. */
import { writeFileSync } from "node:fs"
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Fiber, FileSystem, Layer, Path, Schema } from "effect"
import { TestClock } from "effect/testing"
import * as CodecJson from "../../src/layers/CodecJson.ts"
import * as DeadLettersMemory from "../../src/layers/DeadLettersMemory.ts"
import * as DispatcherJobs from "../../src/layers/DispatcherJobs.ts"
import * as PublisherMemory from "../../src/layers/PublisherMemory.ts"
import type { OptionsError, Site } from "../../src/services/Component.ts"
import { DeadLetters } from "../../src/services/DeadLetters.ts"
import type { Dispatcher } from "../../src/services/Dispatcher.ts"
import * as Define from "../../src/streams/Define.ts"
import * as SourceMemory from "../../src/streams/SourceMemory.ts"

const layer = Layer.mergeAll(DeadLettersMemory.layer, NodeServices.layer)
const message = (id: string, more: Partial<SourceMemory.Message> = {}): SourceMemory.Message => ({
  id,
  payload: { id },
  ...more
})

/** Runs messages through jobs, with the clock in small steps, and gives what was published and what was buried. */
const flow = Effect.fnUntraced(function* (
  run: Dispatcher,
  messages: ReadonlyArray<SourceMemory.Message>,
  more: Partial<Parameters<typeof Define.define>[0]> = {}
) {
  const out = PublisherMemory.make()
  const source = SourceMemory.fromIterable(messages)
  const plan = Define.define({
    name: "jobs",
    source,
    decode: CodecJson.make(),
    retry: { attempts: 3, backoffMillis: 100, maxMillis: 100 },
    dispatch: [{ run }],
    publish: [{ to: out }],
    ...more
  })
  const fiber = yield* Effect.forkChild(Define.run(plan))
  for (let i = 0; i < 2000 && fiber.pollUnsafe() === undefined; i++) yield* TestClock.adjust(20)
  yield* Fiber.join(fiber)
  const letters = yield* (yield* DeadLetters).list({})
  return {
    replies: out.published.map(({ value }) => JSON.parse(new TextDecoder().decode(value)) as unknown),
    reasons: letters.map(({ reason }) => reason)
  }
})

describe("DispatcherJobs", () => {
  it.effect("replies how each job ended, in the order they are named, and in as much time as the longest takes", () =>
    Effect.gen(function* () {
      const { replies } = yield* flow(
        DispatcherJobs.make({
          jobs: {
            slow: ({ payload }) => Effect.as(Effect.sleep(2000), payload),
            now: ({ id }) => id,
            soon: () => Effect.delay(Effect.succeed(null), 500)
          }
        }),
        [message("a")]
      )
      assert.deepStrictEqual(replies, [
        [
          { job: "slow", ok: true, result: { id: "a" }, millis: 2000 },
          { job: "now", ok: true, result: "a", millis: 0 },
          { job: "soon", ok: true, result: null, millis: 500 }
        ]
      ])
    }).pipe(Effect.provide(layer))
  )

  it.effect("replies what a single job gave, whether at once or later", () =>
    Effect.gen(function* () {
      const at = (job: DispatcherJobs.Job) => flow(DispatcherJobs.make({ jobs: { job } }), [message("a")])
      assert.deepStrictEqual((yield* at(({ event }) => event)).replies, [
        [{ job: "job", ok: true, result: "message", millis: 0 }]
      ])
      assert.deepStrictEqual((yield* at(async ({ key }) => key ?? "none")).replies, [
        [{ job: "job", ok: true, result: "none", millis: 0 }]
      ])
      assert.deepStrictEqual((yield* at(() => Effect.as(Effect.sleep(40), 1))).replies, [
        [{ job: "job", ok: true, result: 1, millis: 40 }]
      ])
    }).pipe(Effect.provide(layer))
  )

  it.effect("runs again only the jobs that have not succeeded for this detection", () =>
    Effect.gen(function* () {
      const ran: Array<string> = []
      let broken = 2
      const { reasons, replies } = yield* flow(
        DispatcherJobs.make({
          jobs: {
            book: ({ id }) => void ran.push(`book ${id}`),
            mail: ({ id }) => {
              ran.push(`mail ${id}`)
              if (id === "a" && broken-- > 0) throw new Error("no mail today")
            }
          }
        }),
        [message("a"), message("b")]
      )
      assert.deepStrictEqual(ran, ["book a", "mail a", "book b", "mail b", "mail a", "mail a"])
      assert.deepStrictEqual([replies.length, reasons], [2, []])
    }).pipe(Effect.provide(layer))
  )

  it.effect("buries what no retry helps: a clear no, a defect, and a job that fails each time", () =>
    Effect.gen(function* () {
      const tries = { no: 0, defect: 0, fails: 0, hangs: 0 }
      const buried = (name: keyof typeof tries, job: () => unknown) =>
        flow(
          DispatcherJobs.make({
            jobs: {
              [name]: () => {
                tries[name]++
                return job()
              }
            },
            timeout: Duration.seconds(1)
          }),
          [message(name)]
        ).pipe(
          Effect.map(({ reasons }) => reasons.at(-1)),
          Effect.provide(DeadLettersMemory.layer)
        )
      assert.strictEqual(
        yield* buried("no", () => Promise.reject(Object.assign(new Error("sold out"), { retryable: false }))),
        "job no failed: sold out"
      )
      assert.strictEqual(yield* buried("defect", () => Effect.die("oops")), "job defect failed: defect: oops")
      assert.strictEqual(yield* buried("fails", () => Promise.reject("down")), "job fails failed: down")
      assert.strictEqual(yield* buried("hangs", () => new Promise(() => {})), "job hangs failed: no result within 1s")
      assert.deepStrictEqual(tries, { no: 1, defect: 1, fails: 3, hangs: 3 })
    }).pipe(Effect.provide(layer))
  )

  it.effect("accepts a reply that holds the failed jobs, where that is asked for", () =>
    Effect.gen(function* () {
      const jobs = {
        book: () => 1,
        mail: () => {
          throw new Error("no mail today")
        }
      }
      const onFailure = () => "report" as const
      const failed = { job: "mail", ok: false, error: "no mail today", failure: "JobFailed", millis: 0 }
      const both = yield* flow(DispatcherJobs.make({ jobs, onFailure }), [message("a")])
      assert.deepStrictEqual(both, {
        replies: [[{ job: "book", ok: true, result: 1, millis: 0 }, failed]],
        reasons: []
      })
      const one = yield* flow(DispatcherJobs.make({ jobs: { mail: jobs.mail }, onFailure }), [message("a")])
      assert.deepStrictEqual(one.replies, [[failed]])
    }).pipe(Effect.provide(layer))
  )

  it.effect("tries a job again by itself as often as its limits say, and tells how often", () =>
    Effect.gen(function* () {
      let broken = 2
      const flaky = () => (broken-- > 0 ? Promise.reject(new Error("not yet")) : Promise.resolve("done"))
      const { replies } = yield* flow(
        DispatcherJobs.make({ jobs: { flaky }, limits: { flaky: { retries: 2 } } }),
        [message("a")],
        { retry: { attempts: 1 } }
      )
      assert.deepStrictEqual(replies, [[{ job: "flaky", ok: true, result: "done", attempts: 3, millis: 600 }]])
    }).pipe(Effect.provide(layer))
  )

  it.effect("keeps its limits over all events of the pipeline", () =>
    Effect.gen(function* () {
      let active = 0
      let most = 0
      const job = () =>
        Effect.acquireUseRelease(
          Effect.sync(() => {
            most = Math.max(most, ++active)
          }),
          () => Effect.sleep(100),
          () => Effect.sync(() => active--)
        )
      const started: Array<number> = []
      const paced = () =>
        Effect.flatMap(
          Effect.clockWith((clock) => clock.currentTimeMillis),
          (now) => Effect.sync(() => started.push(now))
        )
      const per = Duration.seconds(1)
      const { replies } = yield* flow(
        DispatcherJobs.make({
          jobs: { job, paced },
          limits: { job: { concurrency: 3 }, paced: { rate: { count: 4, per } } }
        }),
        Array.from({ length: 12 }, (_, i) => message(`${i}`))
      )
      assert.deepStrictEqual([replies.length, most, started.length], [12, 3, 12])
      for (let i = 4; i < started.length; i++) assert.isAtLeast(started[i]! - started[i - 4]!, 1000)
    }).pipe(Effect.provide(layer))
  )

  it.effect(
    "gives a job the correlation id, and a signal that aborts when its time is up, also when it asks late",
    () =>
      Effect.gen(function* () {
        const seen: Array<unknown> = []
        const job: DispatcherJobs.Job = (input) => {
          seen.push(input.correlationId)
          const early = input.signal
          return Promise.resolve().then(() => {
            seen.push(early.aborted, input.signal.aborted)
            return new Promise((_, reject) => {
              early.addEventListener("abort", () => {
                seen.push(early.aborted, input.signal.aborted)
                reject(early.reason)
              })
            })
          })
        }
        const late: DispatcherJobs.Job = (input) =>
          Promise.resolve().then(
            () => new Promise((_, reject) => input.signal.addEventListener("abort", () => reject(seen.push("late"))))
          )
        const headers = { "X-Correlation-Id": "c-1" }
        for (const run of [job, late]) {
          yield* flow(DispatcherJobs.make({ jobs: { run }, timeout: Duration.seconds(1), onFailure: () => "report" }), [
            message("a", { headers })
          ])
        }
        assert.deepStrictEqual(seen, ["c-1", false, false, true, true, "late"])
      }).pipe(Effect.provide(layer))
  )

  const site = (folder: string): Site => ({
    pipeline: "p",
    source: { type: "memory" },
    folder,
    concurrency: 1,
    bufferMessages: 1,
    keyed: false,
    hide: (text) => text
  })

  const fromConfig = Effect.fnUntraced(function* (module: string, options: object) {
    const folder = yield* (yield* FileSystem.FileSystem).makeTempDirectoryScoped()
    writeFileSync((yield* Path.Path).join(folder, "jobs.mjs"), module)
    const decode = Schema.decodeUnknownEffect(DispatcherJobs.component.options as unknown as Schema.Codec<object>)
    const decoded = yield* decode({ module: "jobs.mjs", ...options })
    return yield* DispatcherJobs.component.make(decoded, site(folder)) as Effect.Effect<Dispatcher, OptionsError>
  })

  it.effect("is made from a config: a module, which of its functions run, and what holds for each", () =>
    Effect.gen(function* () {
      const module = `let tries = 0
export const flaky = () => { if (tries++ < 2) throw new Error("not yet"); return tries }
export const fails = () => { throw new Error("never") }
export const unused = () => 1
export const setting = 7
export default () => 2
`
      const jobs = {
        flaky: { retries: "2", rate: { count: 5, per: "1 second" } },
        fails: { timeout: "1s", concurrency: 1 }
      }
      const run = yield* fromConfig(module, { run: ["flaky", "fails"], jobs, onFailure: "report" })
      assert.deepStrictEqual((yield* flow(run, [message("a")])).replies, [
        [
          { job: "flaky", ok: true, result: 3, attempts: 3, millis: 600 },
          { job: "fails", ok: false, error: "never", failure: "JobFailed", millis: 0 }
        ]
      ])
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.effect("names what is wrong in a config", () =>
    Effect.gen(function* () {
      const problems = (options: object) =>
        Effect.flip(fromConfig("export const mail = () => 1\n", options)).pipe(
          Effect.map((error) => ("problems" in error ? error.problems[0] : String(error)))
        )
      assert.deepStrictEqual(yield* problems({ jobs: { mial: { retries: 1 } } }), {
        path: ["jobs", "mial"],
        expected: "one of the jobs that run: mail",
        found: "mial",
        words: ["mail"]
      })
      for (const jobs of [
        { retries: -1 },
        { concurrency: 0 },
        { rate: { count: 0, per: "1s" } },
        { rate: { count: 1 } }
      ]) {
        assert.isString(yield* problems({ jobs: { mail: jobs } }), JSON.stringify(jobs))
      }
    }).pipe(Effect.scoped, Effect.provide(layer))
  )
})
