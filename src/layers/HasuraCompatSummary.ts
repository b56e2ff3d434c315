/** The summary on a terminal: the events that a database event showed, and how their jobs ended. */
import { getObjectSafely } from "./HasuraCompatHelpers.ts"
import type { JobResult } from "./HasuraCompatRun.ts"

/** An event that was detected, with what its handler returned: entries of jobs where it ended with `run`. */
export interface Detected {
  readonly name: string
  readonly jobs: unknown
}

export interface Options {
  /** Whether each job says how long it took. */
  readonly durations?: boolean | undefined
}

/** The lines as one text, without a line break at its end. */
export const summary = (events: ReadonlyArray<Detected>, { durations = false }: Options = {}): string => {
  const lines = [`\n🔔  Detected ${events.length} events from the database event:\n`]
  for (const { name, jobs } of events) {
    lines.push(`   ⭐️ ${name}\n`)
    const entries = entriesOf(jobs)
    if (entries.length === 0) lines.push("      No jobs\n")
    for (const entry of entries) {
      const took = durations ? ` (${entry.duration ?? 0} ms)` : ""
      lines.push(`      ${entry.completed ? "✅" : "❌"} ${resultOf(entry)}${took}\n`)
    }
  }
  return lines.join("\n")
}

/** The jobs among what a handler returned. */
export const entriesOf = (jobs: unknown): ReadonlyArray<JobResult> =>
  Array.isArray(jobs)
    ? jobs.filter((one): one is JobResult => typeof one === "object" && one !== null && "completed" in one)
    : []

const resultOf = ({ completed, name, result }: JobResult): string => {
  const text = typeof result === "object" ? jsonOf(result) : String(result)
  if (!completed) return name ? `${name}: ${text}` : text
  return result === undefined || result === null ? name : text
}

const jsonOf = (result: unknown): string => {
  try {
    return JSON.stringify(getObjectSafely(result))
  } catch {
    return "a result that cannot be shown"
  }
}
