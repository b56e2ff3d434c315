/** Collects what is wrong with a value while it is walked, within limits in steps, levels and violations. */
import type { Violation } from "../services/SchemaLanguage.ts"

export interface Limits {
  readonly violationsMax: number
  /** Of a value. */
  readonly levelsMax: number
  /** Values looked at, those looked at again in other branches of a union included. */
  readonly stepsMax: number
}

export const limitsDefault: Limits = { violationsMax: 100, levelsMax: 200, stepsMax: 1_000_000 }

export interface Findings {
  readonly violations: Array<Violation>
  readonly add: (path: string, message: string) => void
  /** Counts; ends the walk by throwing where it goes too far. */
  readonly step: (path: string, level: number) => void
  /** Runs a part of the walk whose violations may not count; they are returned instead. */
  readonly apart: (walk: () => void) => ReadonlyArray<Violation>
}

/** Ends a walk; its reason is already noted, or its message is the reason. */
export class Stop extends Error {}

/** Walks with a fresh collection. */
export const collect = (limits: Limits, walk: (findings: Findings) => void): ReadonlyArray<Violation> => {
  const violations: Array<Violation> = []
  let steps = 0
  const findings: Findings = {
    violations,
    add: (path, message) => {
      if (violations.length < limits.violationsMax) violations.push({ path, message })
    },
    step: (path, level) => {
      if (level > limits.levelsMax)
        throw new Stop(`is nested deeper than ${limits.levelsMax} levels, at ${path.slice(0, 200)}`)
      if (++steps > limits.stepsMax) throw new Stop(`could not be checked: it takes more than ${limits.stepsMax} steps`)
    },
    apart: (walk) => {
      const before = violations.length
      walk()
      return violations.splice(before)
    }
  }
  try {
    walk(findings)
  } catch (error) {
    if (!(error instanceof Stop)) throw error
    return [...violations, { path: "payload", message: error.message }].slice(-limits.violationsMax)
  }
  return violations
}

export const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value)

/** What a value is, for a sentence. */
export const kind = (value: unknown): string =>
  value === null
    ? "null"
    : Array.isArray(value)
      ? "an array"
      : typeof value === "object"
        ? "an object"
        : `a ${typeof value}`
