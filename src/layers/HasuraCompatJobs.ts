/** Hands the jobs of handlers to the runner of jobs: a pipeline's, or one of their own where no pipeline runs them. */
import { Context, Duration, Effect } from "effect"
import { type JobOutcome, JobRunner, type JobSpec } from "./JobRunner.ts"

/** Runs jobs within the limits of where the handler runs; gives outcomes in the order of the jobs, never rejects. */
export type Jobs = (specs: ReadonlyArray<JobSpec>) => Promise<ReadonlyArray<JobOutcome>>

export const jobsOf =
  (runner: JobRunner, context: Context.Context<never> = Context.empty()): Jobs =>
  (specs) =>
    Effect.runPromiseWith(context)(runner.all(specs))

/** Units: milliseconds a detector, a handler beside its jobs, or a try of a job may take where nobody says. */
export const timeoutMillis = 10_000

/** For handlers that run without a pipeline: what bounds a job is its time. */
export const plainJobs = (millis: number = timeoutMillis): Jobs =>
  jobsOf(JobRunner.makeUnsafe({ defaults: { timeout: Duration.millis(millis) } }))
