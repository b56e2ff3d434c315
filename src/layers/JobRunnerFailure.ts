/** The ways in which a job can end without a result. */
import { Duration as D, type Duration, Schema } from "effect"
import { words } from "../streams/Runner.ts"

const fields = {
  job: Schema.String,
  /** One sentence, with the words of whatever was thrown. */
  reason: Schema.String
}

/** It threw, rejected or failed; `cause` is what with. */
export class JobFailed extends Schema.TaggedError<JobFailed>()("JobFailed", { ...fields, cause: Schema.Unknown }) {
  override get message(): string {
    return messageOf(this)
  }
}

/** Its time was up; it was interrupted, and what it still does counts for nothing. */
export class JobTimedOut extends Schema.TaggedError<JobTimedOut>()("JobTimedOut", fields) {
  override get message(): string {
    return messageOf(this)
  }
}

/** An effect that broke otherwise than by a failure of its type; `cause` is the defect. */
export class JobDefect extends Schema.TaggedError<JobDefect>()("JobDefect", { ...fields, cause: Schema.Unknown }) {
  override get message(): string {
    return messageOf(this)
  }
}

/** An effect that interrupted itself. */
export class JobInterrupted extends Schema.TaggedError<JobInterrupted>()("JobInterrupted", fields) {
  override get message(): string {
    return messageOf(this)
  }
}

export type JobFailure = JobDefect | JobFailed | JobInterrupted | JobTimedOut

export const failed = (job: string, cause: unknown): JobFailed => new JobFailed({ job, reason: reasonOf(cause), cause })

export const defect = (job: string, cause: unknown): JobDefect =>
  new JobDefect({ job, reason: `defect: ${reasonOf(cause)}`, cause })

export const timedOut = (job: string, timeout: Duration.Duration): JobTimedOut =>
  new JobTimedOut({ job, reason: `no result within ${D.format(timeout)}` })

export const interrupted = (job: string): JobInterrupted => new JobInterrupted({ job, reason: "interrupted" })

/** Whether another try can help: not after a defect, nor after an error that says `retryable: false`. */
export const isRetryable = (failure: JobFailure): boolean => {
  if (failure._tag === "JobTimedOut") return true
  return failure._tag === "JobFailed" && !saysNo(failure.cause)
}

/** What is thrown may be anything, also something that throws when it is read. */
export const reasonOf = (cause: unknown): string => {
  try {
    return words(cause)
  } catch {
    return "an error that cannot be shown"
  }
}

const saysNo = (cause: unknown): boolean => {
  try {
    return typeof cause === "object" && cause !== null && "retryable" in cause && cause.retryable === false
  } catch {
    return false
  }
}

const messageOf = ({ job, reason }: { readonly job: string; readonly reason: string }): string =>
  `job ${job} failed: ${reason}`
