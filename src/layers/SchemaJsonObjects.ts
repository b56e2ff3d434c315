/** Compares what JSON Schemas say of the properties of objects and the items of arrays. */
import * as Facts from "./SchemaJsonFacts.ts"

type Known = ReadonlyArray<Facts.Node>
const none: ReadonlySet<unknown> = new Set()

export const objects = (
  context: Facts.Context,
  known: Known,
  goal: Facts.Node,
  path: string
): ReadonlyArray<string> => {
  const problems: Array<string> = []
  const required = Facts.requiredOf(known)
  for (const name of Facts.list(goal.required).map(String)) {
    if (!required.has(name)) problems.push(`${path}: the property ${name} is required`)
  }
  for (const keyword of ["minProperties", "maxProperties"]) {
    const limit = goal[keyword]
    if (typeof limit === "number" && !Facts.counted(known, keyword, limit, required.size)) {
      problems.push(`${path}: ${keyword} ${limit} is a tighter limit`)
    }
  }
  if ("propertyNames" in goal) {
    const names = [
      Facts.typeNode("string"),
      ...known.flatMap((node) => ("propertyNames" in node ? [node.propertyNames] : []))
    ]
    problems.push(...context.prove(context, names, goal.propertyNames, `${path} (names of properties)`, none))
  }
  problems.push(...properties(context, known, goal, path), ...dependents(context, known, goal, path))
  return problems
}

const properties = (context: Facts.Context, known: Known, goal: Facts.Node, path: string): ReadonlyArray<string> => {
  if (!["properties", "patternProperties", "additionalProperties"].some((keyword) => keyword in goal)) return []
  const problems: Array<string> = []
  const names = new Set(
    [goal, ...known].flatMap((node) => (Facts.isNode(node.properties) ? Object.keys(node.properties) : []))
  )
  for (const name of names) {
    const given = known.flatMap((node) => Facts.applicable(context, node, name))
    for (const part of Facts.applicable(context, goal, name)) {
      problems.push(...context.prove(context, given, part, `${path}.${name}`, none))
    }
  }
  const patterns = Facts.isNode(goal.patternProperties) ? goal.patternProperties : {}
  // Of all other names: what those say that have no expressions, and so say the same of each of them.
  const others = known.flatMap((node) =>
    patternsOf(node).length === 0 && "additionalProperties" in node ? [node.additionalProperties] : []
  )
  for (const [pattern, part] of Object.entries(patterns)) {
    const given = known.flatMap((node) =>
      patternsOf(node).flatMap(([own, schema]) => (own === pattern ? [schema] : []))
    )
    problems.push(...context.prove(context, [...given, ...others], part, `${path} (properties like ${pattern})`, none))
  }
  if (!("additionalProperties" in goal) || goal.additionalProperties === true) return problems
  const at = `${path} (other properties)`
  const left = context.prove(context, others, goal.additionalProperties, at, none)
  const covered =
    left.length === 0 ||
    known.some((node) => {
      const own = patternsOf(node)
      if (own.length === 0 || !("additionalProperties" in node)) return false
      // What an expression of the goal catches is not "additional" to it.
      const cases = [
        node.additionalProperties,
        ...own.flatMap(([p, schema]) => (Object.hasOwn(patterns, p) ? [] : [schema]))
      ]
      return cases.every(
        (one) => context.prove(context, [...others, one], goal.additionalProperties, at, none).length === 0
      )
    })
  if (!covered) problems.push(...left)
  return problems
}

const patternsOf = (node: Facts.Node): ReadonlyArray<readonly [string, unknown]> =>
  Facts.isNode(node.patternProperties) ? Object.entries(node.patternProperties) : []

/** What must hold where a property is there. */
const dependents = (context: Facts.Context, known: Known, goal: Facts.Node, path: string): ReadonlyArray<string> =>
  dependenciesOf(goal).flatMap(([name, part]) => {
    const given = [
      ...known,
      { required: [name] },
      ...known.flatMap((node) => dependenciesOf(node).flatMap(([own, schema]) => (own === name ? [schema] : [])))
    ]
    return context.prove(context, given, part, `${path} (with ${name})`, none)
  })

/** In the drafts after 07 "dependencies" is checked too, as the compiler does. */
const dependenciesOf = (node: Facts.Node): ReadonlyArray<readonly [string, unknown]> =>
  ["dependencies", "dependentSchemas", "dependentRequired"].flatMap((keyword) => {
    const map = node[keyword]
    if (!Facts.isNode(map)) return []
    return Object.entries(map).map(([name, part]) => [name, Array.isArray(part) ? { required: part } : part] as const)
  })

export const arrays = (context: Facts.Context, known: Known, goal: Facts.Node, path: string): ReadonlyArray<string> => {
  const problems: Array<string> = []
  for (const keyword of ["minItems", "maxItems"]) {
    const limit = goal[keyword]
    if (typeof limit === "number" && !Facts.counted(known, keyword, limit)) {
      problems.push(`${path}: ${keyword} ${limit} is a tighter limit`)
    }
  }
  if (goal.uniqueItems === true && !known.some((node) => node.uniqueItems === true)) {
    problems.push(`${path}: the items must differ`)
  }
  problems.push(...items(context, known, goal, path))
  if ("contains" in goal && !contains(context, known, goal, path)) {
    problems.push(`${path}: it cannot be decided for contains`)
  }
  return problems
}

const items = (context: Facts.Context, known: Known, goal: Facts.Node, path: string): ReadonlyArray<string> => {
  const wanted = sequence(context, goal)
  if (wanted.first.length === 0 && wanted.rest === undefined) return []
  const problems: Array<string> = []
  const given = known.map((node) => sequence(context, node))
  const length = Math.max(wanted.first.length, ...given.map(({ first }) => first.length))
  for (let index = 0; index < length; index++) {
    if (Facts.counted(known, "maxItems", index)) return problems
    const at = given.map((one) => one.first[index] ?? one.rest ?? true)
    problems.push(...context.prove(context, at, wanted.first[index] ?? wanted.rest, `${path}.${index}`, none))
  }
  if (Facts.counted(known, "maxItems", length)) return problems
  const rest = given.map((one) => one.rest ?? true)
  return [...problems, ...context.prove(context, rest, wanted.rest, `${path} (items)`, none)]
}

const sequence = (
  context: Facts.Context,
  node: Facts.Node
): { readonly first: ReadonlyArray<unknown>; readonly rest: unknown } => {
  if (Facts.documentOf(context, node).draft === "2020-12")
    return { first: Facts.list(node.prefixItems), rest: node.items }
  return Array.isArray(node.items) ? { first: node.items, rest: node.additionalItems } : { first: [], rest: node.items }
}

const contains = (context: Facts.Context, known: Known, goal: Facts.Node, path: string): boolean => {
  const wanted = limitsOf(goal)
  const least =
    wanted.least === 0 ||
    known.some((node) => {
      if (!("contains" in node) || limitsOf(node).least < wanted.least) return false
      return context.prove(context, [node.contains], goal.contains, path, none).length === 0
    })
  const most =
    wanted.most === Infinity ||
    known.some(
      (node) =>
        "contains" in node && limitsOf(node).most <= wanted.most && Facts.same(context, node.contains, goal.contains)
    )
  return least && most
}

const limitsOf = ({ maxContains, minContains }: Facts.Node): { readonly least: number; readonly most: number } => ({
  least: typeof minContains === "number" ? minContains : 1,
  most: typeof maxContains === "number" ? maxContains : Infinity
})
