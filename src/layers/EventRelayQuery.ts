/** The query of an EventRelay server, as far as it is spoken here: comparisons joined by `and` and `or`, read from the left. */
import { Result } from "effect"
import type { RelayEvent } from "../services/EventRelay.ts"

type Value = string | number | boolean

export type Matches = (event: RelayEvent) => boolean

/** Fields of an event that a query may name, besides `data.…` and `context.…`. */
const fields: ReadonlySet<string> = new Set([
  "id",
  "name",
  "source",
  "group_key",
  "reference_key",
  "trace_key",
  "user_key",
  "anonymous_key",
  "occurred_at",
  "available_at",
  "prev_id",
  "offset"
])

const compare: Readonly<Record<string, (a: Value, b: Value) => boolean>> = {
  "==": (a, b) => a === b,
  "!=": (a, b) => a !== b,
  "<": (a, b) => typeof a === typeof b && a < b,
  "<=": (a, b) => typeof a === typeof b && a <= b,
  ">": (a, b) => typeof a === typeof b && a > b,
  ">=": (a, b) => typeof a === typeof b && a >= b
}

const token = /\s*(?:('[^']*'|"[^"]*")|(-?\d+(?:\.\d+)?)(?![\w.])|(==|!=|<=|>=|<|>)|([A-Za-z_][\w.-]*))/y

/**
 * Such as `data.cart.total == 30 and name != 'cart.left'`. An empty one matches all.
 *
 * Fails: with one sentence, where it is anything else.
 */
export const read = (query: string): Result.Result<Matches, string> => {
  if (query.trim() === "") return Result.succeed(() => true)
  const words = wordsOf(query)
  if (words === undefined) return Result.fail(`the query cannot be read: ${query}`)
  const parts: Array<{ readonly or: boolean; readonly matches: Matches }> = []
  for (let at = 0; at < words.length; at += 4) {
    const join = at === 0 ? "and" : words[at - 1]!.toLowerCase()
    const [path = "", operator = "", text = ""] = words.slice(at, at + 3)
    const matches = comparison(path, operator, text)
    if (typeof matches === "string") return Result.fail(matches)
    if (join !== "and" && join !== "or") return Result.fail(`the query expects and, or; found ${join}`)
    parts.push({ or: join === "or", matches })
  }
  if (words.length % 4 !== 3) return Result.fail(`the query ends too early: ${query}`)
  return Result.succeed((event) =>
    parts.reduce((so, { matches, or }) => (or ? so || matches(event) : so && matches(event)), true)
  )
}

const wordsOf = (query: string): ReadonlyArray<string> | undefined => {
  const words: Array<string> = []
  const text = query.trimEnd()
  let at = 0
  while (at < text.length) {
    token.lastIndex = at
    const found = token.exec(text)
    if (found === null) return undefined
    words.push(found[0].trim())
    at = token.lastIndex
  }
  return words
}

const valueOf = (text: string): Value | undefined => {
  if (/^['"]/.test(text)) return text.slice(1, -1)
  if (text === "true" || text === "false") return text === "true"
  return /^-?\d/.test(text) ? Number(text) : undefined
}

/** A text says what is wrong with it. */
const comparison = (path: string, operator: string, text: string): Matches | string => {
  const [first, ...rest] = path.split(".")
  const isInside = (first === "data" || first === "context") && rest.length > 0
  if (!isInside && !fields.has(path)) return `the query names no such field: ${path}`
  const passes = Object.hasOwn(compare, operator) ? compare[operator]! : undefined
  const value = valueOf(text)
  if (passes === undefined) return `the query expects one of ${Object.keys(compare).join(" ")}; found ${operator}`
  if (value === undefined) return `the query expects a number, a text in quotes, true or false; found ${text}`
  return (event) => {
    const found = first === "data" ? inside(JSON.parse(event.data), rest) : inside(event, path.split("."))
    // What is not there is neither equal nor different, as in SQL.
    return found !== undefined && passes(found, value)
  }
}

const inside = (from: unknown, path: ReadonlyArray<string>): Value | undefined => {
  let at = from
  for (const step of path) {
    if (typeof at !== "object" || at === null || !Object.hasOwn(at, step)) return undefined
    at = (at as Record<string, unknown>)[step]
  }
  return typeof at === "object" || at === undefined ? undefined : (at as Value)
}
