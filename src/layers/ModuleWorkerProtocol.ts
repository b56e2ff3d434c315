/** What a worker of event modules and the thread that holds it say to each other. All of it can be cloned. */
import { Duration } from "effect"
import type { ModuleProblem } from "./EventModules.ts"
import type { Handled } from "./EventModulesRun.ts"
import type { JobTimes } from "./HasuraCompatRun.ts"
import type * as JobRunner from "./JobRunner.ts"

/** What the thread starts with. */
export interface Start {
  readonly directory: string
  /** Units: milliseconds a detector, and a handler beside its jobs, may take. */
  readonly timeoutMillis: number
  readonly jobs: PlainJobs
  readonly parallel: boolean
  readonly watch: boolean
  /** Modules that are not loaded any more. */
  readonly aside: ReadonlyArray<string>
  /** Units: milliseconds between two signs of life. */
  readonly everyMillis: number
  /** The id of the call whose code runs. */
  readonly running: SharedArrayBuffer
}

/** What the thread is asked for. */
export type Ask =
  | { readonly kind: "detect"; readonly id: number; readonly payload: unknown; readonly skip: ReadonlyArray<string> }
  | {
      readonly kind: "handle"
      readonly id: number
      readonly payload: unknown
      readonly event: string
      /** The call that found the event, where it was in the same thread. */
      readonly foundBy: number | undefined
    }

/** What the thread tells. */
export type Tell =
  | { readonly kind: "marks"; readonly shared: SharedArrayBuffer }
  | { readonly kind: "name"; readonly name: string }
  | {
      readonly kind: "loaded"
      readonly modules: ReadonlyArray<{ readonly event: string; readonly file: string }>
      readonly problems: ReadonlyArray<ModuleProblem>
    }
  | { readonly kind: "unreadable"; readonly code: string | undefined; readonly reason: string }
  | { readonly kind: "said"; readonly isBroken: boolean; readonly words: string }
  | { readonly kind: "began"; readonly id: number }
  | {
      readonly kind: "verdicts"
      readonly id: number
      readonly found: ReadonlyArray<string>
      readonly asked: ReadonlyArray<string>
      readonly broke: ReadonlyMap<string, string>
    }
  | {
      readonly kind: "handled"
      readonly id: number
      readonly handled: Handled
      /** What is known of the jobs beside their entries, in their order. */
      readonly times: ReadonlyArray<JobTimes | undefined>
    }

/** The options of a runner of jobs, as they can be sent. */
export interface PlainJobs {
  readonly defaults: PlainLimits
  readonly byName: Readonly<Record<string, Partial<PlainLimits>>>
}

/** Units: milliseconds. */
interface PlainLimits {
  readonly timeout: number
  readonly concurrency?: number | undefined
  readonly rate?: { readonly count: number; readonly per: number } | undefined
}

export const plain = ({ byName = {}, defaults }: JobRunner.Options): PlainJobs => ({
  defaults: { ...plainLimits(defaults), timeout: Duration.toMillis(defaults.timeout) },
  byName: Object.fromEntries(Object.entries(byName).map(([name, limits]) => [name, plainLimits(limits)]))
})

const plainLimits = ({ concurrency, rate, timeout }: Partial<JobRunner.Limits>): Partial<PlainLimits> => ({
  ...(timeout && { timeout: Duration.toMillis(timeout) }),
  ...(concurrency !== undefined && { concurrency }),
  ...(rate && { rate: { count: rate.count, per: Duration.toMillis(rate.per) } })
})

export const runnerOptions = ({ byName, defaults }: PlainJobs): JobRunner.Options => ({
  defaults: { ...limitsOf(defaults), timeout: Duration.millis(defaults.timeout) },
  byName: Object.fromEntries(Object.entries(byName).map(([name, limits]) => [name, limitsOf(limits)]))
})

const limitsOf = ({ concurrency, rate, timeout }: Partial<PlainLimits>): Partial<JobRunner.Limits> => ({
  ...(timeout !== undefined && { timeout: Duration.millis(timeout) }),
  ...(concurrency !== undefined && { concurrency }),
  ...(rate && { rate: { count: rate.count, per: Duration.millis(rate.per) } })
})
