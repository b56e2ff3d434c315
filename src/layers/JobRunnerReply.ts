/** What jobs reply: how each of them ended. */
import type { Reply } from "../services/Reply.ts"
import type { JobOutcome } from "./JobRunner.ts"

/** How one job ended. Units: milliseconds. */
export interface JobReport {
  readonly job: string
  readonly ok: boolean
  readonly result?: unknown
  /** Why it failed, in one sentence. */
  readonly error?: string
  /** In which way: `JobFailed`, `JobTimedOut`, `JobDefect` or `JobInterrupted`. */
  readonly failure?: string
  /** Where there was more than one try. */
  readonly attempts?: number
  readonly millis: number
}

export const reportOf = (outcome: JobOutcome): JobReport => {
  const { attempts, millis, name, ok } = outcome
  return {
    job: name,
    ok,
    ...(outcome.ok ? { result: outcome.result } : { error: outcome.error.reason, failure: outcome.error._tag }),
    ...(attempts > 1 ? { attempts } : undefined),
    millis
  }
}

/** The reply of one job that ended at once; its report is built for whoever reads it. */
export class OneReply implements Reply {
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

export class JobsReply implements Reply {
  readonly kind = "accepted"
  readonly payload: ReadonlyArray<JobReport>

  constructor(reports: ReadonlyArray<JobReport>) {
    this.payload = reports
  }

  /** Built for whoever reads it, such as `mail 12 ms, book failed after 3 tries: no such user`. */
  get note(): string {
    return this.payload.map(words).join(", ")
  }
}

const words = ({ attempts = 1, error, job, millis, ok }: JobReport): string => {
  const tries = attempts > 1 ? ` after ${attempts} tries` : ""
  return ok ? `${job} ${millis} ms${tries}` : `${job} failed${tries}: ${error}`
}
