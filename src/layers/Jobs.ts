/** Jobs as effects whose failures are all decided: one without a policy does not type-check. */
import type { Duration, Effect } from "effect"
import { DispatchError, type Dispatcher } from "../services/Dispatcher.ts"
import type { Detection } from "../services/Event.ts"
import * as DispatcherJobs from "./DispatcherJobs.ts"
import type { JobDefect, JobFailure, JobInterrupted, JobTimedOut } from "./JobRunner.ts"

export type { FailurePolicy } from "./DispatcherJobs.ts"

/** Fails with tagged errors. The signal aborts when its time is up or it is interrupted. */
export type Job<E = any> = (detection: Detection, signal: AbortSignal) => Effect.Effect<unknown, E>

type Jobs = Readonly<Record<string, Job>>

type ErrorsOf<All extends Jobs> = {
  readonly [Name in keyof All]: ReturnType<All[Name]> extends Effect.Effect<unknown, infer E> ? E : never
}[keyof All]

/** While a type is not known yet it is `any`: nothing is asked for then. */
type TagOf<E> = 0 extends 1 & E ? never : E extends { readonly _tag: infer Tag extends string } ? Tag : never

/** `DispatchError` knows by itself whether to retry. */
type Asked<All extends Jobs> = Exclude<ErrorsOf<All>, DispatchError>

/** What no policy can name. */
type Untagged<E> = 0 extends 1 & E ? never : E extends { readonly _tag: string } ? never : E

/** What may end any job, whatever its type says; by default a timeout is retried, and the others are buried. */
type Anywhere = (JobDefect | JobInterrupted | JobTimedOut)["_tag"]

export type Failures<All extends Jobs> = {
  readonly [Tag in TagOf<Asked<All>>]: DispatcherJobs.FailurePolicy
} & { readonly [Tag in Anywhere]?: DispatcherJobs.FailurePolicy }

export type Options<All extends Jobs> = {
  /** How long one try of a job may take, where it says nothing itself. Absent means for ever. */
  readonly timeout?: Duration.Duration | undefined
  readonly limits?: { readonly [Name in keyof All]?: DispatcherJobs.JobOptions } | undefined
} & ([Untagged<Asked<All>>] extends [never]
  ? { readonly failures: Failures<All> }
  : { readonly failures: "a job fails with something that has no _tag" })

/**
 * All jobs of an event start together; what becomes of a failure stands beside them.
 *
 * ```ts
 * Jobs.make(
 *   { sendMail: ({ event }) => mail(event.payload) },              // Effect<void, MailError>
 *   { failures: { MailError: "retry" }, timeout: Duration.seconds(5) }
 * )
 * ```
 */
export const make = <const All extends Jobs>(jobs: All, options: Options<All>): Dispatcher => {
  const policies = options.failures as Readonly<Record<string, DispatcherJobs.FailurePolicy>>
  return DispatcherJobs.make({
    jobs: Object.fromEntries(
      Object.entries(jobs).map(([name, job]) => [name, ({ detection, signal }) => job(detection, signal)])
    ),
    timeout: options.timeout,
    limits: options.limits as Readonly<Record<string, DispatcherJobs.JobOptions>> | undefined,
    onFailure: (failure) => policyOf(failure, policies)
  })
}

const policyOf = (
  failure: JobFailure,
  policies: Readonly<Record<string, DispatcherJobs.FailurePolicy>>
): DispatcherJobs.FailurePolicy => {
  if (failure._tag === "JobTimedOut") return policies[failure._tag] ?? "retry"
  if (failure._tag !== "JobFailed") return policies[failure._tag] ?? "bury"
  const { cause } = failure
  if (cause instanceof DispatchError) return cause.retryable ? "retry" : "bury"
  const tag = typeof cause === "object" && cause !== null && "_tag" in cause ? String(cause._tag) : ""
  return (Object.hasOwn(policies, tag) ? policies[tag] : undefined) ?? "bury"
}
