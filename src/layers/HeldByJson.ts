/** Results as JSON can hold them: what it cannot must not cost the others their answer. */

/** What a handler returned: each of a list for itself. */
export const whole = (jobs: unknown): unknown => {
  if (holds(jobs)) return jobs
  return Array.isArray(jobs) ? jobs.map(part) : unheld(jobs)
}

/** The parts of an object that JSON can hold, and words for the others. */
export const part = (value: unknown): unknown => {
  if (holds(value)) return value
  if (typeof value !== "object" || value === null) return unheld(value)
  const parts: Record<string, unknown> = {}
  for (const name of Object.keys(value)) {
    try {
      const own = (value as Record<string, unknown>)[name]
      parts[name] = holds(own) ? own : name === "options" ? part(own) : unheld(own)
    } catch {
      // A getter that throws is left out.
    }
  }
  return parts
}

const holds = (value: unknown): boolean => {
  try {
    JSON.stringify(value)
    return true
  } catch {
    return false
  }
}

const unheld = (value: unknown): string => `[a result that JSON cannot hold: ${typeof value}]`
