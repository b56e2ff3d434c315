/** Runs named in-process functions: all jobs of an event at the same time, each to its end, each reported. */
import { pathToFileURL } from "node:url"
import { type Cause, Duration, Effect, Exit, Path, Schema } from "effect"
import * as Component from "../services/Component.ts"
import { DispatchError, type Dispatcher } from "../services/Dispatcher.ts"
import type { Detection } from "../services/Event.ts"
import * as Fields from "../services/Fields.ts"
import { isLater, later, type Ready } from "../services/Ready.ts"
import { accepted, type Reply } from "../services/Reply.ts"
import { sentence, words } from "../streams/Runner.ts"

/** What a job is given. */
export interface JobInput {
  readonly event: string
  readonly id: string
  readonly key: string | undefined
  readonly payload: unknown
  readonly headers: Readonly<Record<string, string>>
}

/** A job returns a value, a promise or an effect; it fails by throwing, rejecting or failing. */
export type Job = (input: JobInput) => unknown

/** How one job ended. Units: milliseconds. */
export interface JobReport {
  readonly job: string
  readonly ok: boolean
  readonly result?: unknown
  readonly error?: string
  readonly millis: number
}

export interface Options {
  readonly jobs: Readonly<Record<string, Job>>
  /** How long one job may take; it is interrupted then, and failed. */
  readonly timeout?: Duration.Duration | undefined
}

/** A job failed. `retryable: false` on the thrown error buries the leg at once. */
export class JobError extends Schema.TaggedError<JobError>()("JobError", {
  job: Schema.String,
  reason: Schema.String,
  retryable: Schema.Boolean
}) {
  override get message(): string {
    return `job ${this.job} failed: ${this.reason}`
  }
}

export const make = ({ jobs, timeout }: Options): Dispatcher => {
  const names = Object.keys(jobs)
  // A retry runs only the jobs that have not succeeded for this detection.
  const done = new WeakMap<Detection, Map<string, JobReport>>()
  const report = (
    detection: Detection,
    reports: ReadonlyArray<Exit.Exit<JobReport, JobError>>
  ): Exit.Exit<Reply, DispatchError> => {
    const kept = done.get(detection) ?? new Map<string, JobReport>()
    const errors: Array<JobError> = []
    for (const exit of reports) {
      if (Exit.isSuccess(exit)) kept.set(exit.value.job, exit.value)
      else errors.push(...errorsOf(exit.cause))
    }
    if (errors.length === 0) return Exit.succeed(accepted(names.map((name) => kept.get(name))))
    done.set(detection, kept)
    return failed(errors)
  }
  return {
    name: "jobs",
    dispatch: (detection) => {
      if (names.length === 1) return one(names[0]!, jobs[names[0]!]!, detection, timeout)
      const before = done.get(detection)
      const input = new Input(detection)
      const runs = names
        .filter((name) => before?.has(name) !== true)
        .map((name) => run(name, jobs[name]!, input, timeout))
      return Effect.flatMap(
        Effect.forEach(runs, (run) => Effect.exit(later(run)), { concurrency: runs.length }),
        (exits): Exit.Exit<Reply, DispatchError> => report(detection, exits)
      )
    }
  }
}

/** The common case, without the bookkeeping of several. */
const one = (
  name: string,
  job: Job,
  detection: Detection,
  timeout: Duration.Duration | undefined
): Ready<Reply, DispatchError> => {
  let returned: unknown
  try {
    returned = job(new Input(detection))
  } catch (error) {
    return failed([failure(name, error)])
  }
  if (!isLater(returned) && !isPromise(returned)) return new OneReply(name, returned)
  const ran = finish(name, returned, timeout)
  return Effect.matchCauseEffect(ran, {
    onSuccess: (report) => Exit.succeed(accepted([report])),
    onFailure: (cause) => failed(errorsOf(cause))
  })
}

export const component = Component.dispatcher({
  type: "jobs",
  summary: "Runs functions that a module exports; all of them at the same time, each reported in the reply.",
  options: Schema.Struct({
    module: Fields.Text,
    /** The exports to run; absent means every exported function. */
    run: Schema.optionalKey(Schema.Union([Schema.Array(Fields.Text), Fields.Text])),
    timeout: Fields.orElse(Fields.Duration, Duration.seconds(10))
  }),
  make: Effect.fnUntraced(function* (options, { folder }) {
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
    return make({
      jobs: Object.fromEntries(wanted.map((name) => [name, exported[name] as Job])),
      timeout: options.timeout
    })
  })
})

const wrong = (path: ReadonlyArray<string>, expected: string, found: unknown, known?: ReadonlyArray<string>) =>
  new Component.OptionsError({ problems: [{ path, expected, found, words: known }] })

const errorsOf = (cause: Cause.Cause<JobError>): ReadonlyArray<JobError> =>
  cause.reasons.flatMap((reason) => (reason._tag === "Fail" ? [reason.error] : []))

const failed = (errors: ReadonlyArray<JobError>): Exit.Exit<never, DispatchError> =>
  Exit.fail(
    new DispatchError({
      reason: errors.map((error) => error.message).join("; "),
      presence: "answered",
      retryable: errors.every((error) => error.retryable)
    })
  )

/** What a job is given, read from the detection where the job asks for it. */
class Input implements JobInput {
  declare private readonly detection: Detection

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
}

/** The reply of one job that ended at once; its report is built for whoever reads it. */
class OneReply implements Reply {
  declare readonly kind: "accepted"
  declare private readonly job: string
  declare private readonly result: unknown

  constructor(job: string, result: unknown) {
    this.kind = "accepted"
    this.job = job
    this.result = result
  }

  get payload(): ReadonlyArray<JobReport> {
    return [{ job: this.job, ok: true, result: this.result, millis: 0 }]
  }
}

const run = (
  job: string,
  f: Job,
  input: JobInput,
  timeout: Duration.Duration | undefined
): Ready<JobReport, JobError> => {
  let returned: unknown
  try {
    returned = f(input)
  } catch (error) {
    return Exit.fail(failure(job, error))
  }
  if (!isLater(returned) && !isPromise(returned)) return { job, ok: true, result: returned, millis: 0 }
  return finish(job, returned, timeout)
}

/** Waits for what a job returned. */
const finish = (
  job: string,
  returned: unknown,
  timeout: Duration.Duration | undefined
): Effect.Effect<JobReport, JobError> => {
  const effect = isLater(returned)
    ? (returned as Effect.Effect<unknown, unknown>)
    : Effect.tryPromise({ try: () => returned as PromiseLike<unknown>, catch: (error) => failure(job, error) })
  const bounded =
    timeout === undefined
      ? effect
      : Effect.timeoutOrElse(effect, {
          duration: timeout,
          orElse: () => Effect.fail(`no result within ${Duration.format(timeout)}`)
        })
  return Effect.timed(bounded).pipe(
    Effect.map(([took, result]): JobReport => ({ job, ok: true, result, millis: Math.round(Duration.toMillis(took)) })),
    Effect.sandbox,
    Effect.mapError((cause) => {
      const reason = cause.reasons[0]
      if (reason?._tag === "Fail" && reason.error instanceof JobError) return reason.error
      return reason?._tag === "Fail"
        ? failure(job, reason.error)
        : new JobError({ job, reason: sentence(cause), retryable: false })
    })
  )
}

const failure = (job: string, error: unknown): JobError =>
  new JobError({
    job,
    reason: words(error),
    retryable: !(typeof error === "object" && error !== null && "retryable" in error && error.retryable === false)
  })

const isPromise = (value: unknown): value is PromiseLike<unknown> =>
  typeof value === "object" && value !== null && "then" in value && typeof value.then === "function"
