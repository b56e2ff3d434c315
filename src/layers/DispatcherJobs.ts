/** Runs named in-process functions: all jobs of an event at the same time, each to its end, each reported. */
import { dirname } from "node:path"
import { pathToFileURL } from "node:url"
import { Duration, Effect, Exit, Path, Schema } from "effect"
import * as Chain from "../services/Chain.ts"
import * as Component from "../services/Component.ts"
import { DispatchError, type Dispatcher } from "../services/Dispatcher.ts"
import type { Detection } from "../services/Event.ts"
import * as Fields from "../services/Fields.ts"
import { isLater, type Ready } from "../services/Ready.ts"
import type { Reply } from "../services/Reply.ts"
import { words } from "../streams/Runner.ts"
import { contained } from "./ContainedJob.ts"
import * as Calls from "./EventModulesCalls.ts"
import { isPromise, type JobFailure, type JobOutcome, JobRunner, type JobSpec, type Limits } from "./JobRunner.ts"
import { failed, isRetryable } from "./JobRunnerFailure.ts"
import { type JobReport, JobsReply, OneReply, reportOf } from "./JobsReply.ts"
import * as StallWatch from "./StallWatch.ts"

export type { JobReport } from "./JobsReply.ts"

/** What a job is given. */
export interface JobInput {
  readonly event: string
  readonly id: string
  readonly key: string | undefined
  readonly payload: unknown
  readonly headers: Readonly<Record<string, string>>
  /** Shared by all messages that follow from each other. */
  readonly correlationId: string
  /** Aborts when the job's time is up or it is interrupted. */
  readonly signal: AbortSignal
  /** All of the above is read from it. */
  readonly detection: Detection
}

/** A job returns a value, a promise or an effect; it fails by throwing, rejecting or failing. */
export type Job = (input: JobInput) => unknown

/** What holds for one job. */
export interface JobOptions extends Partial<Limits> {
  /** Further tries before it counts as failed; 0 by default. */
  readonly retries?: number | undefined
}

/**
 * What a job's failure does.
 *
 * retry: the leg is tried again as the pipeline says, with the jobs that have not succeeded yet · report: the reply is
 * accepted, and holds the failure · bury: the leg is buried.
 */
export type FailurePolicy = "retry" | "report" | "bury"

export interface Options {
  readonly jobs: Readonly<Record<string, Job>>
  /** How long one try of a job may take, where it says nothing itself; it is interrupted then. Absent means for ever. */
  readonly timeout?: Duration.Duration | undefined
  /** By job. Limits are shared by all events of the pipeline. */
  readonly limits?: Readonly<Record<string, JobOptions>> | undefined
  /** Absent retries, and buries what cannot be helped: a defect, and an error that says `retryable: false`. */
  readonly onFailure?: ((failure: JobFailure) => FailurePolicy) | undefined
}

export const make = ({ jobs, limits = {}, onFailure = retryOrBury, timeout }: Options): Dispatcher => {
  const names = Object.keys(jobs)
  const runner = JobRunner.makeUnsafe({ defaults: { timeout: timeout ?? Duration.infinity }, byName: limits })
  // A retry runs only the jobs that have not ended for this detection.
  const done = new WeakMap<Detection, Map<string, JobReport>>()
  const plain = new Set(names.filter((name) => isUnlimited(limits[name])))
  /** The outcome at once, or what is left to run. */
  const begin = (name: string, detection: Detection): JobOutcome | JobSpec => {
    const job = jobs[name]!
    if (!plain.has(name)) {
      return { name, retries: limits[name]?.retries, run: (signal) => job(new Input(detection).follow(signal)) }
    }
    const input = new Input(detection)
    try {
      const returned = job(input)
      return isLater(returned) || isPromise(returned) ? waitFor(name, input, returned) : gave(name, returned)
    } catch (error) {
      return threw(name, error)
    }
  }
  const ended = (detection: Detection, outcomes: ReadonlyArray<JobOutcome>): Exit.Exit<Reply, DispatchError> => {
    const kept = done.get(detection) ?? new Map<string, JobReport>()
    const failures: Array<Failed> = []
    for (const outcome of outcomes) {
      const policy = outcome.ok ? "report" : onFailure(outcome.error)
      if (policy === "report") kept.set(outcome.name, reportOf(outcome))
      else if (!outcome.ok) failures.push({ error: outcome.error, policy })
    }
    if (failures.length === 0) return Exit.succeed(new JobsReply(names.map((name) => kept.get(name)!)))
    done.set(detection, kept)
    return failure(failures)
  }
  const dispatchAll = (detection: Detection): Ready<Reply, DispatchError> => {
    const before = done.get(detection)
    const outcomes: Array<JobOutcome> = []
    const open: Array<JobSpec> = []
    for (const name of names) {
      if (before?.has(name) === true) continue
      const begun = begin(name, detection)
      if ("ok" in begun) outcomes.push(begun)
      else open.push(begun)
    }
    if (open.length === 0) return ended(detection, outcomes)
    return Effect.flatMap(runner.all(open), (later) => ended(detection, [...outcomes, ...later]))
  }
  const [name = ""] = names
  if (names.length !== 1 || !plain.has(name)) return { name: "jobs", dispatch: dispatchAll }
  const job = jobs[name]!
  // The common case: a job that ends at once costs no fiber, no clock, no report and no closure.
  const dispatchOne = (detection: Detection): Ready<Reply, DispatchError> => {
    const input = new Input(detection)
    let returned: unknown
    try {
      returned = job(input)
      if (!isLater(returned) && !isPromise(returned)) return new OneReply(name, returned)
    } catch (error) {
      return ended(detection, [threw(name, error)])
    }
    return Effect.flatMap(runner.one(waitFor(name, input, returned)), (outcome) => ended(detection, [outcome]))
  }
  return { name: "jobs", dispatch: dispatchOne }
}

/** A job that has begun already. */
const waitFor = (name: string, input: Input, returned: unknown): JobSpec => ({
  name,
  run: (signal) => {
    input.follow(signal)
    return returned
  }
})

const gave = (name: string, result: unknown): JobOutcome => ({ ...atOnce, name, ok: true, result })

const threw = (name: string, error: unknown): JobOutcome => ({ ...atOnce, name, ok: false, error: failed(name, error) })

/** Nobody reads when it was. */
const atOnce = { attempts: 1, startedAt: 0, millis: 0 }

const JobFields = Schema.Struct({
  /** How long one try may take. */
  timeout: Schema.optionalKey(Fields.Duration),
  /** Further tries, each a little later, before the job counts as failed. */
  retries: Schema.optionalKey(Fields.int(0, 100)),
  /** Tries under way at the same time. */
  concurrency: Schema.optionalKey(Fields.int(1, 100_000)),
  /** Tries that begin within a time. */
  rate: Schema.optionalKey(Schema.Struct({ count: Fields.int(1, 100_000), per: Fields.Duration }))
})

export const component = Component.dispatcher({
  type: "jobs",
  summary: "Runs functions that a module exports; all of them at the same time, each reported in the reply.",
  options: Schema.Struct({
    module: Fields.Text,
    /** The exports to run; absent means every exported function. */
    run: Schema.optionalKey(Schema.Union([Schema.Array(Fields.Text), Fields.Text])),
    /** How long one try of a job may take, where it says nothing itself. */
    timeout: Fields.orElse(Fields.Duration, Duration.seconds(10)),
    /** By job; all events of the pipeline share its limits. */
    jobs: Schema.optionalKey(Schema.Record(Schema.String, JobFields)),
    /** retry: the leg is tried again with the jobs that failed; report: the reply holds them, as failed. */
    onFailure: Fields.orElse(Schema.Literals(["retry", "report"]), "retry")
  }),
  make: Effect.fnUntraced(function* (options, { folder, pipeline }) {
    const path = (yield* Path.Path).resolve(folder, options.module)
    const exported = yield* Effect.tryPromise({
      try: () => import(pathToFileURL(path).href) as Promise<Readonly<Record<string, unknown>>>,
      catch: (error) =>
        wrong(
          ["module"],
          `a module that can be imported (${words(error).replace(/ imported from .*/, "")})`,
          options.module
        )
    })
    const known = Object.keys(exported).filter((name) => typeof exported[name] === "function" && name !== "default")
    const wanted = options.run === undefined ? known : typeof options.run === "string" ? [options.run] : options.run
    if (wanted.length === 0) return yield* wrong(["module"], "a module that exports functions", options.module)
    const missing = wanted.find((name) => !known.includes(name))
    if (missing !== undefined) {
      return yield* wrong(
        ["run"],
        `one of the functions that ${options.module} exports: ${known.join(", ")}`,
        missing,
        known
      )
    }
    const { jobs: limits = {}, onFailure, timeout } = options
    const stranger = Object.keys(limits).find((name) => !wanted.includes(name))
    if (stranger !== undefined) {
      const expected = `one of the jobs that run: ${wanted.join(", ")}`
      return yield* wrong(["jobs", stranger], expected, stranger, wanted)
    }
    Calls.guard()
    const stalls = yield* StallWatch.make({
      limitMillis: Math.max(...[options, ...Object.values(options.jobs ?? {})].map(timeoutMillis)),
      folders: [dirname(path)]
    })
    return make({
      jobs: Object.fromEntries(
        wanted.map((name) => [name, guarded(`${pipeline}: the job ${name}`, name, exported[name] as Job, stalls)])
      ),
      limits,
      timeout,
      onFailure: onFailure === "report" ? () => "report" : undefined
    })
  })
})

const timeoutMillis = ({ timeout = Duration.zero }: { readonly timeout?: Duration.Duration }): number =>
  Duration.toMillis(timeout)

/** Under its name, so that it cannot end the process, and is named when it never gives the thread back. */
const guarded =
  (mark: string, job: string, f: Job, stalls: StallWatch.StallWatch): Job =>
  (input) =>
    stalls.call(mark, () => contained(Calls.make(input.event, "job", { job }), () => f(input)))

const wrong = (path: ReadonlyArray<string>, expected: string, found: unknown, known?: ReadonlyArray<string>) =>
  new Component.OptionsError({ problems: [{ path, expected, found, words: known }] })

const retryOrBury = (failure: JobFailure): FailurePolicy => (isRetryable(failure) ? "retry" : "bury")

const isUnlimited = ({ concurrency, rate, retries = 0 }: JobOptions = {}): boolean =>
  concurrency === undefined && rate === undefined && retries === 0

interface Failed {
  readonly error: JobFailure
  readonly policy: Exclude<FailurePolicy, "report">
}

const failure = (failures: ReadonlyArray<Failed>): Exit.Exit<never, DispatchError> =>
  Exit.fail(
    new DispatchError({
      reason: failures.map(({ error }) => error.message).join("; "),
      presence: "answered",
      retryable: failures.every(({ policy }) => policy === "retry")
    })
  )

/** What a job is given, read from the detection where the job asks for it. */
class Input implements JobInput {
  declare readonly detection: Detection
  /** Absent until somebody asks: one of these is made per message. */
  declare private control: AbortController | AbortSignal | undefined

  constructor(detection: Detection) {
    this.detection = detection
  }

  get event() {
    return this.detection.name
  }

  get id() {
    return this.detection.event.envelope.id
  }

  get key() {
    return this.detection.event.key
  }

  get payload() {
    return this.detection.event.payload
  }

  get headers() {
    return this.detection.event.envelope.headers
  }

  get correlationId() {
    return Chain.correlationOf(this.detection.event.envelope)
  }

  /** Made when it is asked for: most jobs never do. */
  get signal() {
    this.control ??= new AbortController()
    return this.control instanceof AbortController ? this.control.signal : this.control
  }

  /** From now on it aborts with another. */
  follow(signal: AbortSignal): this {
    const { control } = this
    if (control instanceof AbortController) signal.addEventListener("abort", () => control.abort(), { once: true })
    else this.control = signal
    return this
  }
}
