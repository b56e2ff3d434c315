/** Runs the jobs of an event handler: all start together, each runs to its own end, and each is told. */
import { Duration } from "effect"
import { contained } from "./ContainedJob.ts"
import * as Calls from "./EventModulesCalls.ts"
import { getObjectSafely, log } from "./HasuraCompatHelpers.ts"
import { plainJobs } from "./HasuraCompatJobs.ts"
import type { JobFailure, JobOutcome, JobSpec } from "./JobRunner.ts"

export type JobFunction<Options = any> = (
  event: string,
  hasuraEvent: any,
  options: Options,
  more: { readonly signal: AbortSignal }
) => unknown

export interface Job {
  readonly func: JobFunction
  readonly options?: any
}

/** How a job ended, as the predecessor tells it. */
export interface JobResult {
  readonly name: string
  readonly options: Record<string, unknown>
  readonly completed: boolean
  /** Units: milliseconds. */
  readonly duration: number
  /** What it returned, or why it failed. */
  readonly result: unknown
}

/** What an entry has no place for. */
export interface JobTimes {
  /** Units: milliseconds since 1970. */
  readonly startedAt: number
  readonly endedAt: number
  readonly attempts: number
  readonly error?: string | undefined
}

/** Units: tries. */
const retriesMax = 100

/** What is told beside an entry, for who wants more than it says; found by the entry itself. */
const times = Calls.once("job-times", () => new WeakMap<object, JobTimes>())

export const timesOf = (entry: unknown): JobTimes | undefined =>
  typeof entry === "object" && entry !== null ? times.get(entry) : undefined

/**
 * A job for `run`. `options` go to the function as they are; `retries` among them asks for further tries, `timeout` for
 * another limit in time (in milliseconds).
 */
export const job = <Options>(func: JobFunction<Options>, options?: Options): Job => ({ func, options })

/**
 * Starts all jobs and waits for all of them. Never rejects because of a job.
 *
 * Each runs once unless it asks for more, for 10 s at most unless the pipeline or the job says otherwise.
 */
export const run = async (
  event: string,
  hasuraEvent: any,
  jobs: ReadonlyArray<Job | null | undefined>
): Promise<ReadonlyArray<JobResult> | undefined> => {
  if (!Array.isArray(jobs)) return undefined
  const wanted = jobs.filter((one): one is Job => Boolean(one?.func))
  const parent = Calls.current()
  const runJobs = parent?.jobs ?? plainJobs()
  const prefix = `${event}.runJobs`
  let started = 0
  let said = false
  const say = () => {
    if (!said) log(prefix, `Running ${wanted.length} jobs...`)
    said = true
  }
  const specs = wanted.map((one) =>
    specOf(event, hasuraEvent, one, parent, () => {
      // Once the last of them has begun, as its own first lines come before this one.
      if (++started === wanted.length) queueMicrotask(say)
    })
  )
  if (parent !== undefined) parent.running++
  try {
    const running = Calls.outside(() => runJobs(specs))
    setImmediate(say)
    const outcomes = await running
    say()
    log(prefix, `Completed ${wanted.length} jobs`)
    return wanted.map((one, i) => entryOf(event, one, outcomes[i]!))
  } finally {
    if (parent !== undefined) parent.running--
  }
}

const nameOf = (func: unknown): string => (typeof func === "function" ? func.name : "")

const specOf = (
  event: string,
  hasuraEvent: unknown,
  { func, options }: Job,
  parent: Calls.Call | undefined,
  onStart: () => void
): JobSpec => {
  const name = nameOf(func) || "anonymous"
  const given = options || {}
  return {
    name,
    timeout: typeof given.timeout === "number" && given.timeout > 0 ? Duration.millis(given.timeout) : undefined,
    retries: Number.isInteger(given.retries) && given.retries > 0 ? Math.min(given.retries, retriesMax) : 0,
    run: (signal) => {
      const call = Calls.make(parent?.event ?? event, "job", { job: name, jobs: parent?.jobs })
      try {
        if (typeof func !== "function") throw new Error("Job func not a function")
        return contained(call, () => func(event, hasuraEvent, given, { signal }))
      } finally {
        onStart()
      }
    }
  }
}

const entryOf = (event: string, { func, options }: Job, outcome: JobOutcome): JobResult => {
  const { attempts, millis, ok, startedAt } = outcome
  const error = ok ? undefined : reasonOf(outcome.error)
  if (error !== undefined) log(event, `Job func crashed: ${error}`)
  const entry: JobResult = {
    name: nameOf(func),
    options: getObjectSafely(options),
    completed: ok,
    duration: Math.round(millis),
    result: ok ? outcome.result : error
  }
  times.set(entry, { startedAt, endedAt: startedAt + Math.round(millis), attempts, error })
  return entry
}

const reasonOf = (failure: JobFailure): string =>
  failure._tag === "JobFailed" ? Calls.words(failure.cause) : failure.reason
