/** Where a check of a value is, what it found wrong there, and what it evaluated. */
import type { Violation } from "../services/SchemaLanguage.ts"
import type { Resource } from "./JsonSchemaResources.ts"

interface Path {
  readonly up: Path | undefined
  readonly key: string | number
}

/** Where a check is. */
export interface At {
  readonly path: Path | undefined
  /** In the order they were entered, each once: the outermost decides what a reference means. */
  readonly scope: ReadonlyArray<Resource>
  readonly report: Report
  /** Undefined where nobody asks what was evaluated. */
  readonly marks: Marks | undefined
}

export type Run = (value: unknown, at: At) => boolean

export class Report {
  readonly violations: Array<Violation> = []
  readonly max: number
  constructor(max: number) {
    this.max = max
  }
  add(path: Path | undefined, message: string): false {
    if (this.violations.length < this.max) this.violations.push({ path: textOf(path), message })
    return false
  }
  take(other: Report): void {
    for (const violation of other.violations) if (this.violations.length < this.max) this.violations.push(violation)
  }
}

const textOf = (path: Path | undefined): string => {
  const keys: Array<string | number> = []
  for (let at = path; at !== undefined; at = at.up) keys.push(at.key)
  return ["payload", ...keys.reverse()].join(".")
}

/** What of one object or array was evaluated. */
export class Marks {
  /** All items, or all properties. */
  all = false
  /** So many items from the first. */
  first = 0
  readonly keys = new Set<string | number>()
  take(other: Marks): void {
    this.all ||= other.all
    this.first = Math.max(this.first, other.first)
    for (const key of other.keys) this.keys.add(key)
  }
  has(key: string | number): boolean {
    return this.all || (typeof key === "number" && key < this.first) || this.keys.has(key)
  }
}

export const entered = (scope: ReadonlyArray<Resource>, resource: Resource): ReadonlyArray<Resource> =>
  scope.includes(resource) ? scope : [...scope, resource]

/** A schema beside others: what it has evaluated counts only if it is met. */
export const aside = (run: Run, value: unknown, at: At, report: Report): boolean => {
  const marks = at.marks === undefined ? undefined : new Marks()
  const valid = run(value, { path: at.path, scope: at.scope, report, marks })
  if (valid && marks !== undefined) at.marks!.take(marks)
  return valid
}

export const silent = (): Report => new Report(0)

export const inside = (run: Run, value: unknown, key: string | number, at: At, report = at.report): boolean =>
  run(value, { path: { up: at.path, key }, scope: at.scope, report, marks: undefined })
