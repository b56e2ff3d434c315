/** Finds the events of a directory of event modules, and runs the handlers that lie beside the detectors. */
import { dirname } from "node:path"
import { Duration, Effect, Path, Schema } from "effect"
import * as Component from "../services/Component.ts"
import { DetectError, type Detector, type Explanation } from "../services/Detector.ts"
import { DispatchError, type Dispatcher } from "../services/Dispatcher.ts"
import type { Detection, Event } from "../services/Event.ts"
import * as Fields from "../services/Fields.ts"
import { later, type Ready } from "../services/Ready.ts"
import { accepted, type JobNote, type Reply } from "../services/Reply.ts"
import { sparingly } from "../streams/Sparingly.ts"
import * as EventModules from "./EventModules.ts"
import * as Calls from "./EventModulesCalls.ts"
import { type Handled, InProcess, type Modules, type Verdicts } from "./EventModulesRun.ts"
import { Watch } from "./EventModulesWatch.ts"
import { jobsOf } from "./HasuraCompatJobs.ts"
import { type JobResult, timesOf } from "./HasuraCompatRun.ts"
import { entriesOf } from "./HasuraCompatSummary.ts"
import { Told } from "./HasuraCompatTold.ts"
import * as HeldByJson from "./HeldByJson.ts"
import { JobRunner } from "./JobRunner.ts"
import * as ModuleWorker from "./ModuleWorker.ts"
import * as StallWatch from "./StallWatch.ts"

/** A detector that brings what is to be done with its events. */
export interface ActingDetector extends Detector {
  readonly explain: NonNullable<Detector["explain"]>
  readonly problems: ReadonlyArray<EventModules.ModuleProblem>
  readonly acts: Dispatcher
}

/** The payload of the reply for one event. */
export interface Done {
  readonly name: string
  /** As the handler returned them. */
  readonly jobs: unknown
  /** The same jobs as version 2 of the predecessor lists them; absent where the handler returned anything else. */
  readonly v2?: ReadonlyArray<unknown>
  /** Why the handler crashed. */
  readonly error?: string
}

const nothing: ReadonlyArray<Detection> = []

/** The detector of modules, wherever their code runs. `told` prints what the predecessor did. */
export const make = (modules: Modules, told?: Told): ActingDetector => {
  // What was said about an event, for its journal and for the handlers, goes where the event goes. A `WeakMap` costs 0.5 µs.
  const said = Symbol("said")
  const looked = (event: Event) => event as Event & { [said]?: Verdicts }
  const found = (event: Event, verdicts: Verdicts): Ready<ReadonlyArray<Detection>, DetectError> => {
    looked(event)[said] = verdicts
    told?.detected(event, verdicts)
    // Nobody has looked at it: that is not the same as nothing detected.
    if (modules.over !== undefined) return Effect.fail(new DetectError({ detector: "modules", reason: modules.over }))
    if (verdicts.found.length === 0) return nothing
    return verdicts.found.map((name) => ({ name, event }))
  }
  return {
    name: "modules",
    get events() {
      return modules.names
    },
    get problems() {
      return modules.problems
    },
    detect: (event) => {
      const verdicts = modules.detect(event.payload)
      return verdicts instanceof Promise
        ? Effect.flatMap(
            Effect.promise(() => verdicts),
            (verdicts) => later(found(event, verdicts))
          )
        : found(event, verdicts)
    },
    explain: (event): ReadonlyArray<Explanation> => {
      const verdicts = looked(event)[said]
      if (verdicts === undefined) return []
      const yes = new Set(verdicts.found)
      return verdicts.asked.map((name) => {
        const broke = verdicts.broke.get(name)
        const verdict = broke !== undefined ? "broke" : yes.has(name) ? "yes" : "no"
        return { event: name, verdict, why: broke }
      })
    },
    acts: {
      name: "modules",
      dispatch: ({ event, name }) =>
        Effect.flatMap(
          Effect.promise(() => modules.handle(name, event.payload, looked(event)[said])),
          (handled) => {
            told?.handled(event, handled)
            return handled.isLost === true ? lost(handled) : Effect.succeed(replyOf(handled))
          }
        )
    }
  }
}

const lost = ({ crashed = "", name }: Handled): Effect.Effect<never, DispatchError> =>
  Effect.fail(new DispatchError({ reason: `${name}: ${crashed}`, presence: "answered", retryable: false }))

/** A crashed handler and a failed job are told in the reply; neither is a failure of the pipeline. */
const replyOf = ({ crashed, jobs, name }: Handled): Reply => {
  if (crashed !== undefined) {
    const done: Done = { name, jobs: undefined, error: crashed }
    return { ...accepted(done), note: `the handler crashed: ${crashed}` }
  }
  const told = HeldByJson.whole(jobs)
  const entries = entriesOf(jobs)
  const done: Done = entries.length === 0 ? { name, jobs: told } : { name, jobs: told, v2: entries.map(versionTwo) }
  return { ...accepted(done), note: noteOf(entries), jobs: entries.map(jobNoteOf) }
}

const jobNoteOf = ({ completed, duration, name, result }: JobResult): JobNote => ({
  name: name || "anonymous",
  ok: completed,
  attempts: 1,
  millis: duration,
  note: completed ? undefined : String(result)
})

const versionTwo = (entry: JobResult): unknown => {
  const { completed, duration, name, options } = entry
  const times = timesOf(entry)
  const result = HeldByJson.whole(entry.result)
  return {
    name: name || "anonymous",
    options: HeldByJson.part(options),
    durationMs: duration,
    result: completed ? result : `Job func crashed: ${result}`,
    completed,
    ...(!completed && { error: result }),
    ...(times && { startTime: isoOf(times.startedAt), endTime: isoOf(times.endedAt) })
  }
}

const isoOf = (millis: number): string => new Date(millis).toISOString()

const noteOf = (entries: ReturnType<typeof entriesOf>): string => {
  const failed = entries.filter(({ completed }) => !completed)
  const completed = `${count(entries.length - failed.length)} completed`
  if (failed.length === 0) return entries.length === 0 ? "no jobs" : completed
  return `${completed}, ${failed.length} failed: ${failed.map(({ name, result }) => `${name}: ${result}`).join("; ")}`
}

const count = (jobs: number): string => `${jobs} ${jobs === 1 ? "job" : "jobs"}`

const JobFields = Schema.Struct({
  /** For each try. */
  timeout: Schema.optionalKey(Fields.Duration),
  /** Tries under way at the same time. */
  concurrency: Schema.optionalKey(Fields.int(1, 100_000)),
  /** Tries that may begin within a time. */
  rate: Schema.optionalKey(Schema.Struct({ count: Fields.int(1, 100_000), per: Fields.Duration }))
})

export const component = Component.detector({
  type: "modules",
  summary:
    "A directory of event modules, each with a `detector` and a `handler`, as the Hasura event detector's users have them.",
  options: Schema.Struct({
    directory: Fields.Text,
    /** For each detector, and for each handler beside its jobs. */
    timeout: Fields.orElse(Fields.Duration, Duration.seconds(10)),
    /** For each try of a job; absent means `timeout`. */
    jobTimeout: Schema.optionalKey(Fields.Duration),
    /** What holds for jobs by the names of their functions, whichever event they are of. */
    jobs: Schema.optionalKey(Schema.Record(Schema.String, JobFields)),
    /**
     * none: in this process, which ends with 1 when one never yields · worker: in a worker, which is then stopped and
     * started again.
     */
    isolation: Fields.orElse(Schema.Literals(["none", "worker"]), "none"),
    /** Asks the detectors of an event at the same time instead of one after the other. */
    parallel: Fields.orElse(Fields.Boolean, false),
    /** Reloads modules when their files change. */
    watch: Fields.orElse(Fields.Boolean, false)
  }),
  make: Effect.fnUntraced(function* (options, { folder, hide, pipeline, source }) {
    const run = Effect.runForkWith(yield* Effect.context<never>())
    const log = (isBroken: boolean, words: string) => {
      const message = `${pipeline}: ${hide(words)}`
      run(isBroken ? Effect.logWarning(message) : Effect.logInfo(message))
    }
    const defaults = { timeout: options.jobTimeout ?? options.timeout }
    const place: Place = {
      pipeline,
      directory: (yield* Path.Path).resolve(folder, options.directory),
      timeoutMillis: Duration.toMillis(options.timeout),
      jobs: options.jobs === undefined ? { defaults } : { defaults, byName: options.jobs },
      parallel: options.parallel,
      watch: options.watch,
      say: log
    }
    const made = options.isolation === "worker" ? ModuleWorker.make(place) : here(place)
    const modules = yield* Effect.mapError(made, (error) => wrong(options.directory, error))
    for (const { file, reason } of modules.problems) log(true, `${file} ${reason}`)
    return make(modules, isCompatible(source) ? new Told() : undefined)
  })
})

interface Place extends ModuleWorker.Options {
  readonly pipeline: string
  readonly watch: boolean
}

/** In this process, whose main thread is watched from another. */
const here = Effect.fnUntraced(function* ({ directory, jobs, parallel, pipeline, say, timeoutMillis, watch }: Place) {
  // Jobs lie beside the modules, mostly.
  const stalls = yield* StallWatch.make({ limitMillis: timeoutMillis, folders: [directory, dirname(directory)] })
  const loaded = yield* Effect.tryPromise({
    try: () => stalls.call(`${pipeline}: event modules`, () => EventModules.load(directory)),
    catch: (error) => error
  })
  const modules = new InProcess(loaded.modules, loaded.problems, {
    timeoutMillis,
    jobs: jobsOf(yield* JobRunner.make(jobs), yield* Effect.context<never>()),
    parallel,
    warn: sparingly((event, words) => say(true, `${event}: ${words}`))
  })
  if (watch) yield* watched(directory, loaded, modules, say)
  return watchedBy(stalls, pipeline, modules)
})

const watchedBy = (stalls: StallWatch.StallWatch, pipeline: string, modules: Modules): Modules => {
  const detectors = `${pipeline}: a detector`
  return {
    get names() {
      return modules.names
    },
    get problems() {
      return modules.problems
    },
    detect: (payload) => stalls.call(detectors, () => modules.detect(payload)),
    handle: (event, payload, verdicts) =>
      stalls.call(`${pipeline}: ${event}`, () => modules.handle(event, payload, verdicts))
  }
}

/** Whether its senders are answered as by the predecessor. */
const isCompatible = (source: { readonly type: string; readonly answer?: unknown }): boolean =>
  source.answer === "v0" || source.answer === "v2"

/** Until the pipeline ends. */
const watched = (
  directory: string,
  first: EventModules.Loaded,
  modules: InProcess,
  log: (isBroken: boolean, words: string) => void
) =>
  Effect.acquireRelease(
    Effect.sync(
      () =>
        new Watch({
          directory,
          first,
          replace: (loaded, problems) => modules.replace(loaded, problems),
          say: (words, isBroken) => log(isBroken, words)
        })
    ),
    (watch) => Effect.sync(() => watch.close())
  )

const wrong = (found: string, error: unknown) => {
  const code = (error as { readonly code?: string } | undefined)?.code
  const why = code === "ENOENT" ? "there is none" : code === "ENOTDIR" ? "it is a file" : Calls.words(error)
  return new Component.OptionsError({
    problems: [{ path: ["directory"], expected: `a directory of event modules (${why})`, found }]
  })
}
