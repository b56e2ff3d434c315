/** Runs jobs: all of them start together, each runs to its own end and is told, within the limits of its name. */
import { Cause, Clock, Duration, Effect, Exit, Fiber, Result } from "effect"
import { isLater } from "../services/Ready.ts"
import { defect, failed, interrupted, isRetryable, type JobFailure, reasonOf, timedOut } from "./JobRunnerFailure.ts"
import { JobLimit, type Rate } from "./JobRunnerLimit.ts"

export { JobDefect, JobFailed, type JobFailure, JobInterrupted, JobTimedOut } from "./JobRunnerFailure.ts"
export { JobLimitError } from "./JobRunnerLimit.ts"

export interface JobSpec {
  readonly name: string
  /**
   * Returns a value, a promise or an effect; fails by throwing, rejecting or failing.
   *
   * The signal aborts when the job's time is up or it is interrupted. Each try has its own.
   */
  readonly run: (signal: AbortSignal) => unknown
  /** How long one try may take, from its start on; absent means the runner's. */
  readonly timeout?: Duration.Duration | undefined
  /** Further tries after one that failed or ran out of time; 0 by default. */
  readonly retries?: number | undefined
}

export type JobOutcome = {
  readonly name: string
  readonly attempts: number
  /** When the first try began, after what it had to wait for. Units: milliseconds since 1970. */
  readonly startedAt: number
  /** From there to the end of the last try. Units: milliseconds. */
  readonly millis: number
} & (
  | { readonly ok: true; readonly result: unknown }
  | {
      readonly ok: false
      /** Of the last try. */
      readonly error: JobFailure
    }
)

export interface Limits {
  /** How long one try may take. */
  readonly timeout: Duration.Duration
  /** Tries of one name that may be under way at the same time. */
  readonly concurrency?: number | undefined
  /** Tries of one name that may begin within a time, whichever stretch of it is looked at. */
  readonly rate?: Rate | undefined
}

export interface Options {
  readonly defaults: Limits
  readonly byName?: Readonly<Record<string, Partial<Limits>>> | undefined
  /** The wait before the second try; it doubles with each further one. 200 ms by default. */
  readonly backoff?: Duration.Duration | undefined
}

/** Units: milliseconds. No wait between two tries is longer. */
const backoffMaxMillis = 10_000
/** Units: milliseconds. How long an effect may take to end after it was interrupted, before it is left alone. */
const endMillis = 5_000
/** Names with limits of their own; what comes beyond shares one. */
const namesMax = 10_000

export class JobRunner {
  private readonly limits = new Map<string, JobLimit>()
  private readonly options: Options

  private constructor(options: Options) {
    this.options = options
    // What is wrong is told here, not by the first job.
    for (const limits of [options.defaults, ...Object.values(options.byName ?? {})]) new JobLimit(limits)
  }

  /** What is limited is shared by all that run jobs on this runner. A limit below 1 is a defect, `JobLimitError`. */
  static make(options: Options): Effect.Effect<JobRunner> {
    return Effect.sync(() => new JobRunner(options))
  }

  /** Without an effect, for those who build a pipeline as a value. */
  static makeUnsafe(options: Options): JobRunner {
    return new JobRunner(options)
  }

  /**
   * Starts all together, as far as the limits of their names let them; none waits for another, and none stops another.
   *
   * Returns the outcomes in the order of the jobs. Never fails; what interrupts it interrupts the jobs.
   */
  readonly all = (jobs: ReadonlyArray<JobSpec>): Effect.Effect<ReadonlyArray<JobOutcome>> =>
    jobs.length === 1
      ? Effect.map(this.one(jobs[0]!), (outcome) => [outcome])
      : Effect.forEach(jobs, (job) => this.one(job), { concurrency: jobs.length })

  readonly one = (job: JobSpec): Effect.Effect<JobOutcome> =>
    Clock.clockWith((clock) => {
      const { name, retries = 0 } = job
      const limit = this.limitOf(name)
      const timeout = job.timeout ?? this.ownOf(name)?.timeout ?? this.options.defaults.timeout
      let startedAt: number | undefined
      const once = Effect.suspend(() => {
        startedAt ??= clock.currentTimeMillisUnsafe()
        return attempt(job, timeout)
      })
      const limited = limit === undefined ? once : limit.hold(once)
      const told = (attempts: number, result: Result.Result<unknown, JobFailure>): JobOutcome => {
        const millis = Math.max(0, clock.currentTimeMillisUnsafe() - startedAt!)
        const facts = { name, attempts, startedAt: startedAt!, millis }
        return Result.isSuccess(result)
          ? { ...facts, ok: true, result: result.success }
          : { ...facts, ok: false, error: result.failure }
      }
      const tries = (attempts: number): Effect.Effect<JobOutcome> =>
        Effect.flatMap(Effect.result(limited), (result) =>
          Result.isSuccess(result) || attempts > retries || !isRetryable(result.failure)
            ? Effect.succeed(told(attempts, result))
            : Effect.delay(
                Effect.suspend(() => tries(attempts + 1)),
                this.backoffMillis(attempts)
              )
        )
      return tries(1)
    })

  private backoffMillis(attempts: number): number {
    const { backoff } = this.options
    const first = backoff === undefined ? 200 : Duration.toMillis(backoff)
    return Math.min(backoffMaxMillis, first * 2 ** (attempts - 1))
  }

  private ownOf(name: string): Partial<Limits> | undefined {
    const { byName } = this.options
    return byName !== undefined && Object.hasOwn(byName, name) ? byName[name] : undefined
  }

  private limitOf(name: string): JobLimit | undefined {
    const { defaults } = this.options
    const own = this.ownOf(name)
    const limits = { concurrency: own?.concurrency ?? defaults.concurrency, rate: own?.rate ?? defaults.rate }
    if (limits.concurrency === undefined && limits.rate === undefined) return undefined
    const place = this.limits.has(name) || this.limits.size < namesMax ? name : ""
    const known = this.limits.get(place)
    if (known !== undefined) return known
    const made = new JobLimit(limits)
    this.limits.set(place, made)
    return made
  }
}

/** Whether it is a promise, or something that acts as one. */
export const isPromise = (value: unknown): value is PromiseLike<unknown> =>
  typeof value === "object" && value !== null && "then" in value && typeof value.then === "function"

/** One try. */
const attempt = (job: JobSpec, timeout: Duration.Duration): Effect.Effect<unknown, JobFailure> => {
  const { name } = job
  const controller = new AbortController()
  let work: Effect.Effect<unknown, JobFailure>
  try {
    const returned = job.run(controller.signal)
    if (isLater(returned)) work = effectOf(name, returned as Effect.Effect<unknown, unknown>, controller)
    else if (isPromise(returned)) work = promised(name, returned, controller)
    else return Effect.succeed(returned)
  } catch (error) {
    return Effect.fail(failed(name, error))
  }
  if (!Duration.isFinite(timeout)) return work
  return Effect.timeoutOrElse(work, { duration: timeout, orElse: () => Effect.fail(timedOut(name, timeout)) })
}

/** A promise cannot be stopped: once it is given up, what it brings is ignored, and why it rejects is only logged. */
const promised = (
  name: string,
  promise: PromiseLike<unknown>,
  controller: AbortController
): Effect.Effect<unknown, JobFailure> =>
  Effect.contextWith((context) =>
    Effect.callback<unknown, JobFailure>((resume) => {
      const { signal } = controller
      const rejected = (error: unknown) => {
        if (!signal.aborted) return resume(Effect.fail(failed(name, error)))
        // It obeyed.
        if (error === signal.reason) return
        Effect.runForkWith(context)(Effect.logWarning(`job ${name} rejected after it was given up: ${reasonOf(error)}`))
      }
      try {
        promise.then((value) => resume(Effect.succeed(value)), rejected)
      } catch (error) {
        rejected(error)
      }
      return Effect.sync(() => controller.abort())
    })
  )

/** In a fiber of its own, so that an effect that cannot be interrupted holds up nobody for longer than `endMillis`. */
const effectOf = (
  name: string,
  effect: Effect.Effect<unknown, unknown>,
  controller: AbortController
): Effect.Effect<unknown, JobFailure> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(Effect.forkDetach(effect, { startImmediately: true }), (fiber) =>
      Effect.flatMap(
        Effect.onInterrupt(restore(Fiber.await(fiber)), () => stop(name, fiber, controller)),
        (exit) => (Exit.isSuccess(exit) ? Effect.succeed(exit.value) : Effect.fail(failureOf(name, exit.cause)))
      )
    )
  )

const stop = (name: string, fiber: Fiber.Fiber<unknown, unknown>, controller: AbortController): Effect.Effect<void> =>
  Effect.flatMap(
    Effect.suspend(() => {
      controller.abort()
      fiber.interruptUnsafe()
      return Effect.timeoutOption(Fiber.await(fiber), endMillis)
    }),
    (ended) =>
      ended._tag === "Some"
        ? Effect.void
        : Effect.logWarning(`job ${name} does not end ${endMillis} ms after it was interrupted; it is left alone`)
  )

const failureOf = (name: string, cause: Cause.Cause<unknown>): JobFailure => {
  const failure = cause.reasons.find(Cause.isFailReason)
  if (failure !== undefined) return failed(name, failure.error)
  const died = cause.reasons.find(Cause.isDieReason)
  return died === undefined ? interrupted(name) : defect(name, died.defect)
}
