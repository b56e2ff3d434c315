/** Finds the events of a directory of event modules, and runs the handlers that lie beside the detectors. */
import { Duration, Effect, Path, Schema } from "effect"
import * as Component from "../services/Component.ts"
import type { Detector, Explanation } from "../services/Detector.ts"
import type { Dispatcher } from "../services/Dispatcher.ts"
import type { Detection, Event } from "../services/Event.ts"
import * as Fields from "../services/Fields.ts"
import { accepted, type JobNote, type Reply } from "../services/Reply.ts"
import * as EventModules from "./EventModules.ts"
import * as Calls from "./EventModulesCalls.ts"
import { sparingly } from "./EventModulesLog.ts"
import { type Handled, InProcess, type Modules, type Verdicts } from "./EventModulesRun.ts"
import { Watch } from "./EventModulesWatch.ts"
import { jobsOf } from "./HasuraCompatJobs.ts"
import { type JobResult, timesOf } from "./HasuraCompatRun.ts"
import { entriesOf } from "./HasuraCompatSummary.ts"
import { Told } from "./HasuraCompatTold.ts"
import { JobRunner } from "./JobRunner.ts"

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
  // What was said about an event, for its journal and for the handlers; gone with the event.
  const said = new WeakMap<Event, Verdicts>()
  const found = (event: Event, verdicts: Verdicts): ReadonlyArray<Detection> => {
    said.set(event, verdicts)
    told?.detected(event, verdicts)
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
        ? Effect.map(
            Effect.promise(() => verdicts),
            (verdicts) => found(event, verdicts)
          )
        : found(event, verdicts)
    },
    explain: (event): ReadonlyArray<Explanation> => {
      const verdicts = said.get(event)
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
        Effect.map(
          Effect.promise(() => modules.handle(name, event.payload, said.get(event))),
          (handled) => {
            told?.handled(event, handled)
            return replyOf(handled)
          }
        )
    }
  }
}

/** A crashed handler and a failed job are told in the reply; neither is a failure of the pipeline. */
const replyOf = ({ crashed, jobs, name }: Handled): Reply => {
  if (crashed !== undefined) {
    const done: Done = { name, jobs: undefined, error: crashed }
    return { ...accepted(done), note: `the handler crashed: ${crashed}` }
  }
  const told = json(jobs)
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
  const result = json(entry.result)
  return {
    name: name || "anonymous",
    options,
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

/** What JSON cannot hold must not cost the others their answer. */
const json = (jobs: unknown): unknown => {
  const holds = (value: unknown): boolean => {
    try {
      JSON.stringify(value)
      return true
    } catch {
      return false
    }
  }
  if (holds(jobs)) return jobs
  if (!Array.isArray(jobs)) return "[a result that JSON cannot hold]"
  return jobs.map((one) =>
    holds(one) ? one : { ...(one as object), result: `[a result that JSON cannot hold: ${typeof one.result}]` }
  )
}

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
    /** Asks the detectors of an event at the same time instead of one after the other. */
    parallel: Fields.orElse(Fields.Boolean, false),
    /** Reloads modules when their files change. */
    watch: Fields.orElse(Fields.Boolean, false)
  }),
  make: Effect.fnUntraced(function* (options, { folder, hide, pipeline, source }) {
    const directory = (yield* Path.Path).resolve(folder, options.directory)
    const loaded = yield* Effect.tryPromise({
      try: () => EventModules.load(directory),
      catch: (error) => wrong(options.directory, error)
    })
    const context = yield* Effect.context<never>()
    const run = Effect.runForkWith(context)
    const log = (isBroken: boolean, words: string) => {
      const message = `${pipeline}: ${hide(words)}`
      run(isBroken ? Effect.logWarning(message) : Effect.logInfo(message))
    }
    for (const { file, reason } of loaded.problems) log(true, `${file} ${reason}`)
    const defaults = { timeout: options.jobTimeout ?? options.timeout }
    const runner = yield* JobRunner.make(options.jobs === undefined ? { defaults } : { defaults, byName: options.jobs })
    const modules = new InProcess(loaded.modules, loaded.problems, {
      timeoutMillis: Duration.toMillis(options.timeout),
      jobs: jobsOf(runner, context),
      parallel: options.parallel,
      warn: sparingly((event, words) => log(true, `${event}: ${words}`))
    })
    if (options.watch) yield* watched(directory, loaded, modules, log)
    return make(modules, isCompatible(source) ? new Told() : undefined)
  })
})

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
  const code = (error as { readonly code?: string }).code
  const why = code === "ENOENT" ? "there is none" : code === "ENOTDIR" ? "it is a file" : Calls.words(error)
  return new Component.OptionsError({
    problems: [{ path: ["directory"], expected: `a directory of event modules (${why})`, found }]
  })
}
