/** What is known of a value that several JSON Schemas allow: its types, values and bounds. */
import * as Draft from "./JsonSchemaDraft.ts"
import { canonical, multiple } from "./JsonSchemaKeywords.ts"

export type Node = Readonly<Record<string, unknown>>

export interface Document {
  readonly root: unknown
  readonly draft: Draft.Draft
  readonly formats: boolean
  readonly target: (ref: string) => unknown
  readonly matches: (pattern: string, text: string) => boolean
}

export interface Context {
  readonly from: Document
  readonly to: Document
  /** The document that a subschema is in; what is made up here is in none, and holds no reference. */
  readonly owner: WeakMap<Node, Document>
  /** Subschemas as their draft reads them, once asked for. */
  readonly spoken: WeakMap<Node, Node>
  readonly open: Set<string>
  readonly ids: WeakMap<Node, number>
  steps: number
  readonly prove: Prove
}

export type Prove = (
  context: Context,
  given: ReadonlyArray<unknown>,
  goal: unknown,
  path: string,
  split: ReadonlySet<unknown>
) => ReadonlyArray<string>

export class TooLarge extends Error {}

export const isNode = (value: unknown): value is Node =>
  typeof value === "object" && value !== null && !Array.isArray(value)

export const list = (value: unknown): ReadonlyArray<unknown> => (Array.isArray(value) ? value : [])

export const own = (owner: WeakMap<Node, Document>, document: Document): void => {
  const visit = (value: unknown): void => {
    if (Array.isArray(value)) value.forEach(visit)
    else if (isNode(value)) {
      owner.set(value, document)
      Object.values(value).forEach(visit)
    }
  }
  visit(document.root)
}

export const documentOf = (context: Context, node: Node): Document => context.owner.get(node) ?? context.from

/** A subschema without the keywords that its document's draft does not have: they say nothing. */
export const spoken = (context: Context, node: Node): Node => {
  const before = context.spoken.get(node)
  if (before !== undefined) return before
  const document = documentOf(context, node)
  const silent = Draft.silent[document.draft].filter((keyword) => Object.hasOwn(node, keyword))
  let read = node
  if (silent.length > 0) {
    read = Object.fromEntries(Object.entries(node).filter(([keyword]) => !silent.includes(keyword)))
    context.owner.set(read, document)
  }
  context.spoken.set(node, read)
  context.spoken.set(read, read)
  return read
}

/** All that holds at once, without references and allOf; false when nothing is allowed. */
export const flatten = (context: Context, given: ReadonlyArray<unknown>): ReadonlyArray<Node> | false => {
  const nodes = new Set<Node>()
  const visit = (schema: unknown): boolean => {
    if (schema === false) return false
    if (!isNode(schema)) return true
    const value = spoken(context, schema)
    if (nodes.has(value)) return true
    if (++context.steps > 200_000) throw new TooLarge()
    const document = documentOf(context, value)
    const target = typeof value.$ref === "string" ? document.target(value.$ref) : undefined
    if (typeof value.$ref === "string" && document.draft === "draft-07") return target === undefined || visit(target)
    nodes.add(value)
    return (target === undefined || visit(target)) && list(value.allOf).every(visit)
  }
  return given.every(visit) && [...nodes]
}

export const keyOf = (context: Context, known: ReadonlyArray<Node>, goal: Node): string => {
  const id = (node: Node): number => {
    const before = context.ids.get(node)
    if (before !== undefined) return before
    const next = ++lastId
    context.ids.set(node, next)
    return next
  }
  return `${known
    .map(id)
    .sort((a, b) => a - b)
    .join()}:${id(goal)}`
}

let lastId = 0

/** Equal as text, and of equal meaning: without references, in the same draft. */
export const same = (context: Context, one: unknown, other: unknown): boolean => {
  const { from, to } = context
  if (from.draft !== to.draft || from.formats !== to.formats) return false
  const text = canonical(one)
  return text === canonical(other) && !/"\$(?:ref|dynamicRef|recursiveRef|id)"/.test(text)
}

const allTypes = ["null", "boolean", "object", "array", "string", "number", "integer"] as const

/** "number" stands for those that are no integers. */
export const typesOf = (known: ReadonlyArray<Node>): Set<string> => {
  let types = new Set<string>(allTypes)
  const only = (allowed: ReadonlySet<string>): void => {
    types = new Set([...types].filter((type) => allowed.has(type)))
  }
  for (const node of known) {
    if (node.type !== undefined) only(allowedTypes(node.type))
    if ("const" in node) only(new Set([typeOf(node.const)]))
    if (Array.isArray(node.enum)) only(new Set(node.enum.map(typeOf)))
  }
  return types
}

const allowedTypes = (type: unknown): Set<string> => {
  const allowed = new Set((Array.isArray(type) ? type : [type]).map(String))
  if (allowed.has("number")) allowed.add("integer")
  return allowed
}

const typeOf = (value: unknown): string => {
  if (value === null) return "null"
  if (Array.isArray(value)) return "array"
  return Number.isInteger(value) ? "integer" : typeof value
}

/** All values there can be; undefined when there may be others. */
export const valuesOf = (known: ReadonlyArray<Node>): ReadonlyArray<unknown> | undefined => {
  let values: ReadonlyArray<unknown> | undefined
  for (const node of known) {
    for (const more of [Array.isArray(node.enum) ? node.enum : undefined, "const" in node ? [node.const] : undefined]) {
      if (more === undefined) continue
      const texts = new Set(more.map(canonical))
      values = values === undefined ? more : values.filter((value) => texts.has(canonical(value)))
    }
  }
  const types = typesOf(known)
  if (values === undefined && [...types].every((type) => type === "null" || type === "boolean")) {
    values = [null, true, false]
  }
  return values?.filter((value) => types.has(typeOf(value)))
}

/** Whether no value at all is allowed, as far as it is easily seen. */
export const impossible = (context: Context, known: ReadonlyArray<Node>, depth: number): boolean => {
  const types = typesOf(known)
  if (types.size === 0 || valuesOf(known)?.length === 0) return true
  const texts = known.filter((node) => "not" in node)
  if (texts.some(({ not }) => not === true || known.some((node) => same(context, node, not)))) return true
  if (depth === 0 || types.size !== 1 || !types.has("object")) return false
  for (const name of requiredOf(known)) {
    const inner = flatten(
      context,
      known.flatMap((node) => applicable(context, node, name))
    )
    if (inner === false || impossible(context, inner, depth - 1)) return true
  }
  return false
}

export const requiredOf = (known: ReadonlyArray<Node>): Set<string> =>
  new Set(known.flatMap((node) => list(node.required).map(String)))

/** The schemas of one node that a property must meet. */
export const applicable = (context: Context, node: Node, name: string): ReadonlyArray<unknown> => {
  const found: Array<unknown> = []
  if (isNode(node.properties) && Object.hasOwn(node.properties, name)) found.push(node.properties[name])
  if (isNode(node.patternProperties)) {
    for (const [pattern, schema] of Object.entries(node.patternProperties)) {
      if (documentOf(context, node).matches(pattern, name)) found.push(schema)
    }
  }
  if (found.length === 0 && "additionalProperties" in node) found.push(node.additionalProperties)
  return found
}

/** Ways to tell the values apart: each value is in one of the cases of each way. */
export const casesOf = (
  known: ReadonlyArray<Node>,
  goal: Node
): ReadonlyArray<readonly [unknown, ReadonlyArray<ReadonlyArray<unknown>>]> => {
  const ways: Array<readonly [unknown, ReadonlyArray<ReadonlyArray<unknown>>]> = []
  for (const node of known) {
    for (const parts of [node.anyOf, node.oneOf]) {
      if (Array.isArray(parts)) ways.push([parts, parts.map((part) => [part])])
    }
    if ("if" in node) {
      ways.push([
        node,
        [
          [node.if, node.then ?? true],
          [{ not: node.if }, node.else ?? true]
        ]
      ])
    }
  }
  if (!["anyOf", "oneOf", "if", "not", "$ref", "allOf"].some((keyword) => keyword in goal)) return ways
  const types = typesOf(known)
  if (types.size > 1 && types.size < allTypes.length) {
    // "number" alone would let integers in again, which does no harm: the cases need not exclude each other.
    ways.push(["types", [...types].map((type) => [typeNode(type)])])
  }
  const values = valuesOf(known)
  if (values !== undefined && values.length > 1 && values.length <= 50) {
    ways.push(["values", values.map((value) => [{ const: value }])])
  }
  return ways
}

const typeNodes = new Map<string, Node>()
export const typeNode = (type: string): Node => {
  const node = typeNodes.get(type) ?? { type }
  typeNodes.set(type, node)
  return node
}

type Bound = { readonly value: number; readonly exclusive: boolean }

const bound = (known: ReadonlyArray<Node>, sign: 1 | -1): Bound | undefined => {
  let tightest: Bound | undefined
  const consider = (value: unknown, exclusive: boolean): void => {
    if (typeof value !== "number") return
    if (tightest === undefined || sign * value > sign * tightest.value || (value === tightest.value && exclusive)) {
      tightest = { value, exclusive }
    }
  }
  for (const node of known) {
    consider(sign > 0 ? node.minimum : node.maximum, false)
    consider(sign > 0 ? node.exclusiveMinimum : node.exclusiveMaximum, true)
  }
  return tightest
}

const bounded = (known: ReadonlyArray<Node>, sign: 1 | -1, limit: number, exclusive: boolean): boolean => {
  const has = bound(known, sign)
  if (has === undefined) return false
  return sign * has.value > sign * limit || (has.value === limit && (!exclusive || has.exclusive))
}

/** Whether a count that the goal limits is limited as tightly. */
export const counted = (known: ReadonlyArray<Node>, keyword: string, limit: number, implied = 0): boolean => {
  const values = known.flatMap((node) => (typeof node[keyword] === "number" ? [node[keyword] as number] : []))
  return keyword.startsWith("min") ? Math.max(0, implied, ...values) >= limit : values.some((value) => value <= limit)
}

/** Keywords that look at the value itself. */
export const scalars = (
  context: Context,
  known: ReadonlyArray<Node>,
  goal: Node,
  path: string
): ReadonlyArray<string> => {
  const problems: Array<string> = []
  const types = typesOf(known)
  const values = valuesOf(known)
  if (goal.type !== undefined) {
    const allowed = allowedTypes(goal.type)
    const missing = [...types].filter((type) => !allowed.has(type))
    if (missing.length > 0) problems.push(`${path}: the type ${missing.join(", ")} is not allowed`)
  }
  for (const [keyword, allowed] of [
    ["enum", goal.enum],
    ["const", "const" in goal ? [goal.const] : undefined]
  ] as const) {
    if (!Array.isArray(allowed)) continue
    const texts = new Set(allowed.map(canonical))
    if (values === undefined) problems.push(`${path}: only the values of ${keyword} are allowed`)
    for (const value of values ?? []) {
      if (!texts.has(canonical(value)))
        problems.push(`${path}: the value ${canonical(value).slice(0, 100)} is not allowed`)
    }
  }
  const plain = values?.every((value) => typeof value !== "object" || value === null) === true ? values : undefined
  const tightened = (keyword: string, implied: boolean, meets: (value: never) => boolean, type: string): void => {
    if (implied) return
    const concerned = plain?.filter((value) => typeof value === type) as ReadonlyArray<never> | undefined
    if (concerned?.every(meets) === true) return
    problems.push(`${path}: ${keyword} ${JSON.stringify(goal[keyword])?.slice(0, 100)} is a tighter limit`)
  }
  if (types.has("number") || types.has("integer")) {
    const limits: ReadonlyArray<readonly [string, 1 | -1, boolean]> = [
      ["minimum", 1, false],
      ["exclusiveMinimum", 1, true],
      ["maximum", -1, false],
      ["exclusiveMaximum", -1, true]
    ]
    for (const [keyword, sign, exclusive] of limits) {
      const limit = goal[keyword]
      if (typeof limit !== "number") continue
      const meets = (value: number) => sign * value > sign * limit || (!exclusive && value === limit)
      tightened(keyword, bounded(known, sign, limit, exclusive), meets, "number")
    }
    const factor = goal.multipleOf
    if (typeof factor === "number") {
      const implied =
        (factor === 1 && !types.has("number")) ||
        known.some(({ multipleOf }) => multipleOf === factor || dividesSafely(multipleOf, factor))
      tightened("multipleOf", implied, (value: number) => multiple(value, factor), "number")
    }
  }
  if (types.has("string")) {
    for (const keyword of ["minLength", "maxLength"]) {
      const limit = goal[keyword]
      if (typeof limit !== "number") continue
      const meets = (value: string) =>
        keyword === "minLength" ? [...value].length >= limit : [...value].length <= limit
      tightened(keyword, counted(known, keyword, limit), meets, "string")
    }
    const { pattern } = goal
    if (typeof pattern === "string") {
      const meets = (value: string) => documentOf(context, goal).matches(pattern, value)
      tightened(
        "pattern",
        known.some((node) => node.pattern === pattern),
        meets,
        "string"
      )
    }
  }
  const { format } = goal
  if (typeof format === "string" && documentOf(context, goal).formats) {
    const type = formatsOfNumbers.has(format) ? "number" : "string"
    const implied = known.some((node) => node.format === format && documentOf(context, node).formats)
    if (types.has(type) || (type === "number" && types.has("integer"))) tightened("format", implied, () => false, type)
  }
  return problems
}

const formatsOfNumbers = new Set(["int32", "int64", "float", "double"])

/** Integers only: fractions are not exact. */
const dividesSafely = (multiple: unknown, factor: number): boolean =>
  Number.isSafeInteger(multiple) && Number.isSafeInteger(factor) && (multiple as number) % factor === 0
