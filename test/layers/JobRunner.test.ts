/** Jobs: all start together, each to its own end, within the limits of its name. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Deferred, Duration, Effect, Fiber, Logger, Schema } from "effect"
import { TestClock } from "effect/testing"
import { type JobFailure, type JobOutcome, JobRunner, type JobSpec } from "../../src/layers/JobRunner.ts"

class MailError extends Schema.TaggedError<MailError>()("MailError", { code: Schema.Int }) {}

const timeout = Duration.seconds(10)
const runner = (byName = {}) => JobRunner.makeUnsafe({ defaults: { timeout }, byName })
const hang = () => new Promise<never>(() => {})

const errorOf = (outcome: JobOutcome): JobFailure => {
  assert.isFalse(outcome.ok, `${outcome.name} succeeded`)
  return (outcome as Extract<JobOutcome, { readonly ok: false }>).error
}

const starts = (log: Array<number>, name = "job"): JobSpec => ({
  name,
  run: () => Effect.flatMap(Clock.currentTimeMillis, (now) => Effect.sync(() => log.push(now)))
})

/** Runs jobs, moves the clock on in small steps, and gives the outcomes. */
const passing = (millis: number, jobs: ReadonlyArray<JobSpec>, on = runner()) =>
  Effect.gen(function* () {
    const fiber = yield* Effect.forkChild(on.all(jobs))
    for (let at = 0; at < millis; at += 50) yield* TestClock.adjust(50)
    return yield* Fiber.join(fiber)
  })

/** What was logged while an effect ran. */
const logged = <A, E, R>(effect: Effect.Effect<A, E, R>) => {
  const lines: Array<string> = []
  const logger = Logger.make(({ message }) => void lines.push(String(message)))
  return Effect.map(Effect.provide(effect, Logger.layer([logger])), (value) => ({ value, lines }))
}

describe("JobRunner", () => {
  it.effect("starts all jobs together, and is done when the longest is", () =>
    Effect.gen(function* () {
      const order: Array<string> = []
      const job = (name: string, millis: number): JobSpec => ({
        name,
        run: () => {
          order.push(`${name} starts`)
          return Effect.delay(
            Effect.sync(() => order.push(`${name} ends`)),
            millis
          )
        }
      })
      const outcomes = yield* passing(3000, [job("slow", 3000), job("fast", 100)])
      assert.deepStrictEqual(order, ["slow starts", "fast starts", "fast ends", "slow ends"])
      assert.deepStrictEqual(
        outcomes.map(({ name, ok, attempts, startedAt, millis }) => [name, ok, attempts, startedAt, millis]),
        [
          ["slow", true, 1, 0, 3000],
          ["fast", true, 1, 0, 100]
        ]
      )
    })
  )

  it.effect("tells apart a value, a promise, an effect, and each way to fail, and no job stops another", () =>
    Effect.gen(function* () {
      const mail = new MailError({ code: 550 })
      const error = new Error("no such user")
      const outcomes = yield* passing(10_000, [
        { name: "value", run: () => 1 },
        { name: "promise", run: () => Promise.resolve(2) },
        { name: "effect", run: () => Effect.succeed(3) },
        {
          name: "throws",
          run: () => {
            throw error
          }
        },
        {
          name: "text",
          run: () => {
            throw "just text"
          }
        },
        { name: "rejects", run: () => Promise.reject(error) },
        { name: "fails", run: () => Effect.fail(mail) },
        { name: "dies", run: () => Effect.die(new TypeError("not a function")) },
        { name: "leaves", run: () => Effect.interrupt },
        { name: "hangs", run: hang }
      ])
      const results = outcomes.map((outcome) => (outcome.ok ? outcome.result : outcome.error._tag))
      const failures = [
        "JobFailed",
        "JobFailed",
        "JobFailed",
        "JobFailed",
        "JobDefect",
        "JobInterrupted",
        "JobTimedOut"
      ]
      assert.deepStrictEqual(results, [1, 2, 3, ...failures])
      const [, , , throws, text, rejects, fails, dies, , hangs] = outcomes.map((_) => (_.ok ? undefined : _.error))
      assert.strictEqual(throws?._tag === "JobFailed" && throws.cause, error)
      assert.strictEqual(rejects?._tag === "JobFailed" && rejects.cause, error)
      assert.strictEqual(fails?._tag === "JobFailed" && fails.cause, mail)
      assert.strictEqual(text?.message, "job text failed: just text")
      assert.strictEqual(dies?.message, "job dies failed: defect: not a function")
      assert.strictEqual(hangs?.message, "job hangs failed: no result within 10s")
    })
  )

  it.effect("survives what throws when it is read", () =>
    Effect.gen(function* () {
      const trap = new Proxy(
        {},
        {
          get: () => {
            throw new Error("trap")
          },
          has: () => {
            throw new Error("trap")
          },
          getPrototypeOf: () => {
            throw new Error("trap")
          }
        }
      )
      const outcomes = yield* runner().all([
        { name: "throws", run: () => Promise.reject(trap) },
        { name: "returns", run: () => trap },
        { name: "big", run: () => Promise.reject({ amount: 1n }) },
        {
          name: "then",
          run: () => ({
            // biome-ignore lint/suspicious/noThenProperty: what a job gives back may have one
            then: () => {
              throw "thrown in then"
            }
          })
        }
      ])
      const reasons = outcomes.map((outcome) => errorOf(outcome).reason)
      const hidden = "an error that cannot be shown"
      assert.deepStrictEqual(reasons, [hidden, "trap", hidden, "thrown in then"])
    })
  )

  it.effect("aborts the signal when the time is up, and only logs what a promise rejects with after that", () =>
    Effect.gen(function* () {
      const { lines, value } = yield* logged(
        Effect.gen(function* () {
          let reject = (_: unknown) => {}
          let signal: AbortSignal | undefined
          const outcomes = yield* passing(1000, [
            {
              name: "late",
              timeout: Duration.seconds(1),
              run: (given) => {
                signal = given
                return new Promise((_, no) => {
                  reject = no
                })
              }
            },
            {
              name: "obeys",
              timeout: Duration.seconds(1),
              run: (given) => new Promise((_, no) => given.addEventListener("abort", () => no(given.reason)))
            }
          ])
          assert.isTrue(signal?.aborted)
          reject(new Error("too late"))
          yield* Effect.promise(() => Promise.resolve())
          return outcomes
        })
      )
      assert.deepStrictEqual(
        value.map((_) => errorOf(_)._tag),
        ["JobTimedOut", "JobTimedOut"]
      )
      assert.deepStrictEqual(lines, ["job late rejected after it was given up: too late"])
    })
  )

  it.effect("interrupts an effect whose time is up, lets it clean up, and leaves alone what does not end", () =>
    Effect.gen(function* () {
      let cleaned = 0
      const cleaning = Effect.onInterrupt(Effect.never, () =>
        Effect.delay(
          Effect.sync(() => cleaned++),
          500
        )
      )
      const polite = yield* passing(1500, [{ name: "polite", timeout: Duration.seconds(1), run: () => cleaning }])
      assert.deepStrictEqual([errorOf(polite[0]!)._tag, cleaned], ["JobTimedOut", 1])
      const { lines, value } = yield* logged(
        passing(6000, [
          { name: "deaf", timeout: Duration.seconds(1), run: () => Effect.uninterruptible(Effect.never) },
          { name: "other", run: () => Effect.as(Effect.sleep(100), "done") }
        ])
      )
      assert.deepStrictEqual([errorOf(value[0]!)._tag, value[1]!.ok], ["JobTimedOut", true])
      assert.deepStrictEqual(lines, ["job deaf does not end 5000 ms after it was interrupted; it is left alone"])
    })
  )

  it.effect("interrupts its jobs when it is interrupted itself, and tells them", () =>
    Effect.gen(function* () {
      const signals: Array<AbortSignal> = []
      const ended = yield* Deferred.make<void>()
      const fiber = yield* Effect.forkChild(
        runner().all([
          {
            name: "promise",
            run: (signal) => {
              signals.push(signal)
              return hang()
            }
          },
          {
            name: "effect",
            run: (signal) => {
              signals.push(signal)
              return Effect.onInterrupt(Effect.never, () => Deferred.succeed(ended, undefined))
            }
          }
        ]),
        { startImmediately: true }
      )
      yield* Fiber.interrupt(fiber)
      yield* Deferred.await(ended)
      assert.deepStrictEqual(
        signals.map((_) => _.aborted),
        [true, true]
      )
    })
  )

  it.effect("tries again as often as asked, each time a little later, but not after a defect or a clear no", () =>
    Effect.gen(function* () {
      const tries: Record<string, Array<number>> = { fails: [], recovers: [], dies: [], refuses: [], hangs: [] }
      const job = (name: string, then: (tries: number) => Effect.Effect<unknown, unknown>): JobSpec => ({
        name,
        retries: 3,
        timeout: Duration.seconds(1),
        run: () => Effect.flatMap(Clock.currentTimeMillis, (now) => Effect.suspend(() => then(tries[name]!.push(now))))
      })
      const outcomes = yield* passing(6000, [
        job("fails", () => Effect.fail("no")),
        job("recovers", (n) => (n < 3 ? Effect.fail("not yet") : Effect.succeed(n))),
        job("dies", () => Effect.die("broken")),
        job("refuses", () => Effect.fail({ message: "never", retryable: false })),
        job("hangs", () => Effect.never)
      ])
      assert.deepStrictEqual(
        outcomes.map((_) => [_.name, _.ok, _.attempts, _.millis]),
        [
          ["fails", false, 4, 1400],
          ["recovers", true, 3, 600],
          ["dies", false, 1, 0],
          ["refuses", false, 1, 0],
          ["hangs", false, 4, 5400]
        ]
      )
      assert.deepStrictEqual(tries.fails, [0, 200, 600, 1400])
      assert.deepStrictEqual(tries.hangs, [0, 1200, 2600, 4400])
    })
  )

  it.effect("runs no more of a name at the same time than its limit, over all calls, and counts the wait as none", () =>
    Effect.gen(function* () {
      let active = 0
      let most = 0
      const job: JobSpec = {
        name: "mail",
        timeout: Duration.millis(150),
        run: () =>
          Effect.acquireUseRelease(
            Effect.sync(() => {
              most = Math.max(most, ++active)
            }),
            () => Effect.sleep(100),
            () => Effect.sync(() => active--)
          )
      }
      const on = runner({ mail: { concurrency: 2 } })
      const fiber = yield* Effect.forkChild(
        Effect.all([on.all([job, job, job]), on.all([job, job])], { concurrency: 2 })
      )
      for (let i = 0; i < 6; i++) yield* TestClock.adjust(50)
      const outcomes = (yield* Fiber.join(fiber)).flat()
      assert.strictEqual(most, 2)
      assert.deepStrictEqual(
        outcomes.map((_) => [_.ok, _.startedAt, _.millis]),
        [
          [true, 0, 100],
          [true, 0, 100],
          [true, 100, 100],
          [true, 100, 100],
          [true, 200, 100]
        ]
      )
    })
  )

  it.effect("frees the place of what ran out of time or was interrupted", () =>
    Effect.gen(function* () {
      const on = runner({ mail: { concurrency: 1 } })
      const hanging: JobSpec = { name: "mail", timeout: Duration.seconds(1), run: hang }
      const [first, second] = yield* passing(2000, [hanging, { ...hanging, run: () => "went" }], on)
      assert.deepStrictEqual([first!.ok, second!.ok, second!.startedAt], [false, true, 1000])
      const holding = yield* Effect.forkChild(on.all([hanging]), { startImmediately: true })
      const waiting = yield* Effect.forkChild(on.all([hanging]), { startImmediately: true })
      yield* Fiber.interrupt(waiting)
      yield* Fiber.interrupt(holding)
      const [third] = yield* on.all([{ name: "mail", run: () => "went" }])
      assert.isTrue(third!.ok)
    })
  )

  it.effect("begins no more of a name within any stretch of time than its rate, and leaves other names alone", () =>
    Effect.gen(function* () {
      const mails: Array<number> = []
      const others: Array<number> = []
      const on = runner({ mail: { rate: { count: 3, per: Duration.seconds(1) } } })
      const mail = starts(mails, "mail")
      yield* TestClock.adjust(300)
      yield* passing(50, [mail, mail], on)
      yield* passing(
        4000,
        Array.from({ length: 9 }, (_, i) => (i === 8 ? starts(others, "other") : mail)),
        on
      )
      assert.deepStrictEqual(mails, [300, 300, 350, 1300, 1300, 1350, 2300, 2300, 2350, 3300])
      assert.deepStrictEqual(others, [350])
    })
  )

  it("takes no limit that nothing could pass", () => {
    const per = Duration.seconds(1)
    const wrong = [
      { concurrency: 0 },
      { concurrency: 1.5 },
      { rate: { count: 0, per } },
      { rate: { count: Number.NaN, per } }
    ]
    for (const limits of wrong) assert.throws(() => runner({ mail: limits }), /expected a whole number from 1, found/)
  })

  it.effect("has limits for a name that an object has by nature", () =>
    Effect.gen(function* () {
      const outcomes = yield* runner({ mail: {} }).all([{ name: "constructor", run: () => 1 }])
      assert.isTrue(outcomes[0]!.ok)
      assert.deepStrictEqual(yield* runner().all([]), [])
    })
  )
})
