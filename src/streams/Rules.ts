/** Conditions on a message, compiled once: equality, one of, prefix, numbers, existence, change, and their combinations. */
import { Equal, Result } from "effect"
import * as Path from "./Path.ts"

export interface Rule {
  readonly holds: (from: Path.From) => boolean
  /** What did not hold, in words; asked only to explain. */
  readonly why: (from: Path.From) => string
}

/** What is wrong with a condition as it is written, and where. */
export interface Problem {
  readonly path: ReadonlyArray<string | number>
  readonly expected: string
  readonly found: unknown
  /** The words that would be right, for a suggestion. */
  readonly words?: ReadonlyArray<string> | undefined
}

/** How expressions are matched: in linear time, or a sentence why the expression cannot be used. */
export type Matcher = (expression: string) => Result.Result<(text: string) => boolean, string>

const operators = ["exists", "prefix", "suffix", "matches", "gt", "gte", "lt", "lte", "changed", "from", "to"] as const
type Operator = (typeof operators)[number]

type Compiled = Result.Result<Rule, ReadonlyArray<Problem>>

/** Compiles a `when`: a map of paths to conditions that must all hold, with `any`, `all` and `not`. */
export const compile = (when: unknown, matcher: Matcher, path: ReadonlyArray<string | number> = []): Compiled => {
  if (!isMap(when)) return Result.fail([{ path, expected: "a map of paths to conditions", found: when }])
  return both(
    Object.keys(when).map((key): Compiled => {
      const at = [...path, key]
      const value = when[key]
      if (key === "not") return Result.map(compile(value, matcher, at), (rule) => not(rule))
      if (key === "all" || key === "any") {
        if (!Array.isArray(value)) return Result.fail([{ path: at, expected: "a list of conditions", found: value }])
        const parts = value.map((part, i) => compile(part, matcher, [...at, i]))
        return key === "all" ? both(parts) : Result.map(collect(parts), (rules) => either(rules))
      }
      const read = Path.compile(key)
      if (Result.isFailure(read)) return Result.fail([{ path: at, expected: read.failure, found: key }])
      return condition(read.success, value, matcher, at)
    })
  )
}

const condition = (
  read: Path.Path,
  value: unknown,
  matcher: Matcher,
  path: ReadonlyArray<string | number>
): Compiled => {
  if (!isMap(value)) return Result.succeed(equals(read, value))
  const keys = Object.keys(value)
  if (keys.length === 0) return Result.fail([{ path, expected: `one of ${operators.join(", ")}`, found: value }])
  return both(
    keys.map((key): Compiled => {
      const at = [...path, key]
      if (!operators.includes(key as Operator))
        return Result.fail([{ path: at, expected: `one of ${operators.join(", ")}`, found: key, words: operators }])
      return operation(read, key as Operator, value[key], matcher, at)
    })
  )
}

const operation = (
  read: Path.Path,
  operator: Operator,
  value: unknown,
  matcher: Matcher,
  path: ReadonlyArray<string | number>
): Compiled => {
  const wrong = (expected: string): Compiled => Result.fail([{ path, expected, found: value }])
  switch (operator) {
    case "exists":
    case "changed":
      if (typeof value !== "boolean") return wrong("true or false")
      return Result.succeed(operator === "exists" ? exists(read, value) : changed(read, value))
    case "prefix":
    case "suffix":
      if (typeof value !== "string") return wrong("text")
      return Result.succeed(
        onText(read, operator, value, operator === "prefix" ? (_) => _.startsWith(value) : (_) => _.endsWith(value))
      )
    case "matches": {
      if (typeof value !== "string") return wrong("a regular expression")
      const matches = matcher(value)
      if (Result.isFailure(matches)) return wrong(`a regular expression that runs in linear time (${matches.failure})`)
      return Result.succeed(onText(read, operator, value, matches.success))
    }
    case "gt":
    case "gte":
    case "lt":
    case "lte":
      if (typeof value !== "number") return wrong("a number")
      return Result.succeed(compare(read, operator, value))
    case "from":
    case "to":
      return Result.succeed(moved(read, operator, value))
  }
}

// ---------------------------------------------------------------------------------------------------- conditions

const equals = (read: Path.Path, wanted: unknown): Rule => {
  const same = sameAs(wanted)
  return test(read, same, (value) => `is ${show(value)}, not ${show(wanted)}`)
}

const exists = (read: Path.Path, wanted: boolean): Rule =>
  test(
    read,
    (value) => (value !== undefined && value !== null) === wanted,
    (value) => `is ${show(value)}`
  )

const onText = (read: Path.Path, operator: string, wanted: string, holds: (text: string) => boolean): Rule =>
  test(
    read,
    (value) => typeof value === "string" && holds(value),
    (value) => `is ${show(value)}, without ${operator} ${show(wanted)}`
  )

const compare = (read: Path.Path, operator: "gt" | "gte" | "lt" | "lte", wanted: number): Rule => {
  const compared = {
    gt: (value: number) => value > wanted,
    gte: (value: number) => value >= wanted,
    lt: (value: number) => value < wanted,
    lte: (value: number) => value <= wanted
  }[operator]
  return test(
    read,
    (value) => typeof value === "number" && compared(value),
    (value) => `is ${show(value)}, not ${operator} ${wanted}`
  )
}

const test = (read: Path.Path, holds: (value: unknown) => boolean, why: (value: unknown) => string): Rule => ({
  holds: (from) => holds(read.read(from)),
  why: (from) => `${read.text} ${why(read.read(from))}`
})

const changed = (read: Path.Path, wanted: boolean): Rule => {
  const pair = oldAndNew(read)
  return {
    holds: (from) => {
      const { after, before } = pair(from)
      return Equal.equals(before, after) !== wanted
    },
    why: (from) => {
      const { after, before } = pair(from)
      return `${read.text} ${wanted ? `stayed ${show(after)}` : `changed from ${show(before)} to ${show(after)}`}`
    }
  }
}

const moved = (read: Path.Path, end: "from" | "to", wanted: unknown): Rule => {
  const pair = oldAndNew(read)
  const same = sameAs(wanted)
  return {
    holds: (from) => {
      const { after, before } = pair(from)
      return !Equal.equals(before, after) && same(end === "from" ? before : after)
    },
    why: (from) => {
      const { after, before } = pair(from)
      if (Equal.equals(before, after)) return `${read.text} stayed ${show(after)}`
      return `${read.text} went from ${show(before)} to ${show(after)}, not ${end} ${show(wanted)}`
    }
  }
}

const twins: Readonly<Record<string, string>> = { new: "old", after: "before" }
/** Where database events keep the row before and after: plain, Hasura's and Debezium's. */
const rows = [[], ["event", "data"], ["data"], ["payload"]]

/**
 * The value before and after a change.
 *
 * A path through `new` or `after` has its twin through `old` or `before`. Any other path names a column: it is looked
 * up in the old and the new row, wherever the event keeps them; or the value itself is `{ old, new }`.
 */
const oldAndNew = (read: Path.Path): ((from: Path.From) => { before: unknown; after: unknown }) => {
  const steps = read.text.split(".").slice(1)
  const at = steps.findIndex((step) => Object.hasOwn(twins, step))
  if (at >= 0) {
    const twin = steps.with(at, twins[steps[at]!]!)
    return (from) => ({ before: Path.follow(from.event.payload, twin), after: read.read(from) })
  }
  return (from) => {
    for (const row of rows) {
      const holder = Path.follow(from.event.payload, row)
      for (const [after, before] of Object.entries(twins)) {
        if (!isMap(holder) || !Object.hasOwn(holder, after) || !Object.hasOwn(holder, before)) continue
        return { before: Path.follow(holder[before], steps), after: Path.follow(holder[after], steps) }
      }
    }
    const value = read.read(from)
    return { before: Path.own(value, "old"), after: Path.own(value, "new") }
  }
}

// ---------------------------------------------------------------------------------------------------- combinations

const all = (rules: ReadonlyArray<Rule>): Rule => {
  if (rules.length === 1) return rules[0]!
  return {
    holds: (from) => {
      for (let i = 0; i < rules.length; i++) if (!rules[i]!.holds(from)) return false
      return true
    },
    why: (from) => rules.find((rule) => !rule.holds(from))?.why(from) ?? "all conditions hold"
  }
}

const either = (rules: ReadonlyArray<Rule>): Rule => ({
  holds: (from) => rules.some((rule) => rule.holds(from)),
  why: (from) => rules.map((rule) => rule.why(from)).join(", and ")
})

const not = (rule: Rule): Rule => ({
  holds: (from) => !rule.holds(from),
  why: () => "what must not hold does"
})

const collect = (parts: ReadonlyArray<Compiled>): Result.Result<ReadonlyArray<Rule>, ReadonlyArray<Problem>> => {
  const problems = parts.flatMap((part) => (Result.isFailure(part) ? part.failure : []))
  return problems.length > 0
    ? Result.fail(problems)
    : Result.succeed(parts.flatMap((part) => (Result.isSuccess(part) ? [part.success] : [])))
}

const both = (parts: ReadonlyArray<Compiled>): Compiled => Result.map(collect(parts), all)

const sameAs = (wanted: unknown): ((value: unknown) => boolean) => {
  if (Array.isArray(wanted)) return (value) => wanted.some((one) => Equal.equals(one, value))
  return typeof wanted === "object" && wanted !== null
    ? (value) => Equal.equals(wanted, value)
    : (value) => value === wanted
}

const isMap = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const show = (value: unknown): string => {
  const text = value === undefined ? "absent" : (JSON.stringify(value) ?? String(value))
  return text.length > 80 ? `${text.slice(0, 80)}...` : text
}
