/** The keywords of JSON Schema that look at one value without other schemas, as plain functions. */

import * as Keywords from "./JsonSchemaKeywords.ts"
import type { Expression } from "./LinearRegExp.ts"

type Node = Record<string, unknown>

/** What is wrong with a value, as a sentence without its subject; undefined where nothing is. */
export type Assertion = (value: unknown) => string | undefined

export interface Context {
  readonly expression: (pattern: string) => Expression
  /** Of the formats that are asserted; undefined for those that are not. */
  readonly format: (name: string) => ((value: unknown) => boolean) | undefined
}

export const of = (node: Node, context: Context): ReadonlyArray<Assertion> => {
  const found: Array<Assertion> = []
  for (const [keyword, make] of Object.entries(assertions)) {
    if (!Object.hasOwn(node, keyword)) continue
    const assertion = make(node[keyword] as never, context)
    if (assertion !== undefined) found.push(assertion)
  }
  return found
}

type Make<A> = (asked: A, context: Context) => Assertion | undefined

const number =
  (make: (asked: number) => readonly [(value: number) => boolean, string]): Make<number> =>
  (asked) => {
    const [holds, message] = make(asked)
    return (value) => (typeof value !== "number" || holds(value) ? undefined : message)
  }

const size =
  (sizeOf: (value: unknown) => number | undefined, what: string, most: boolean): Make<number> =>
  (asked) =>
  (value) => {
    const count = sizeOf(value)
    if (count === undefined || (most ? count <= asked : count >= asked)) return undefined
    return `must NOT have ${most ? "more" : "fewer"} than ${asked} ${what}`
  }

/** Code points. */
const characters = (value: unknown): number | undefined => {
  if (typeof value !== "string") return undefined
  let count = 0
  for (const _ of value) count++
  return count
}
const items = (value: unknown): number | undefined => (Array.isArray(value) ? value.length : undefined)
const properties = (value: unknown): number | undefined => (isObject(value) ? Object.keys(value).length : undefined)

export const isObject = (value: unknown): value is Node =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const isOf = (type: string, value: unknown): boolean => {
  switch (type) {
    case "null":
      return value === null
    case "array":
      return Array.isArray(value)
    case "object":
      return isObject(value)
    case "number":
      return typeof value === "number" && Number.isFinite(value)
    case "integer":
      return Number.isInteger(value)
    default:
      return typeof value === type
  }
}

const assertions: Readonly<Record<string, Make<never>>> = {
  type: ((asked: string | ReadonlyArray<string>) => {
    const types = typeof asked === "string" ? [asked] : asked
    return (value) => (types.some((type) => isOf(type, value)) ? undefined : `must be ${types.join()}`)
  }) satisfies Make<string | ReadonlyArray<string>>,
  enum: ((asked: ReadonlyArray<unknown>) => {
    const holds = Keywords.oneOf(asked)
    return (value) => (holds(value) ? undefined : `must be one of ${Keywords.shown(asked)}`)
  }) satisfies Make<ReadonlyArray<unknown>>,
  const: ((asked: unknown) => {
    const holds = Keywords.oneOf([asked])
    return (value) => (holds(value) ? undefined : "must be equal to constant")
  }) satisfies Make<unknown>,
  multipleOf: number((asked) => [(value) => Keywords.multiple(value, asked), `must be multiple of ${asked}`]),
  maximum: number((asked) => [(value) => value <= asked, `must be <= ${asked}`]),
  exclusiveMaximum: number((asked) => [(value) => value < asked, `must be < ${asked}`]),
  minimum: number((asked) => [(value) => value >= asked, `must be >= ${asked}`]),
  exclusiveMinimum: number((asked) => [(value) => value > asked, `must be > ${asked}`]),
  maxLength: size(characters, "characters", true),
  minLength: size(characters, "characters", false),
  maxItems: size(items, "items", true),
  minItems: size(items, "items", false),
  maxProperties: size(properties, "properties", true),
  minProperties: size(properties, "properties", false),
  pattern: ((asked: string, { expression }) => {
    const { test } = expression(asked)
    return (value) => (typeof value !== "string" || test(value) ? undefined : `must match pattern "${asked}"`)
  }) satisfies Make<string>,
  uniqueItems: ((asked: boolean) => {
    if (!asked) return undefined
    return (value) => (!Array.isArray(value) || Keywords.unique(value) ? undefined : "must NOT have duplicate items")
  }) satisfies Make<boolean>,
  format: ((asked: string, { format }) => {
    const holds = format(asked)
    return holds && ((value) => (holds(value) ? undefined : `must match format "${asked}"`))
  }) satisfies Make<string>
}
