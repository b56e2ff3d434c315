/** Checks values by schemas where what was evaluated, or what a reference means, shows only while checking. */
import type { Violation } from "../services/SchemaLanguage.ts"
import * as Assertions from "./JsonSchemaAssertions.ts"
import { isObject } from "./JsonSchemaAssertions.ts"
import type { Draft } from "./JsonSchemaDraft.ts"
import * as Keywords from "./JsonSchemaKeywords.ts"
import type { Link, Node, References, Resource } from "./JsonSchemaResources.ts"
import { type At, aside, entered, inside, Marks, Report, type Run, silent } from "./JsonSchemaVisit.ts"

export interface Options extends Assertions.Context {
  readonly draft: Exclude<Draft, "draft-07">
  readonly violationsMax: number
  /** What is said of a reference that leads nowhere. */
  readonly unresolved: (ref: string) => string
}

/** Whether what a schema asks of unevaluated items or properties depends on more than the compiler can tell. */
export const needed = (words: ReadonlySet<string>): boolean =>
  words.has("unevaluatedItems") || words.has("unevaluatedProperties")

/** What a step costs at most, measured in those of compiled code. */
export const stepCost = 10

/** Throws: an `Error` with a sentence. */
export const compile = (
  schema: unknown,
  references: References,
  options: Options
): ((value: unknown) => ReadonlyArray<Violation>) => {
  const run = compiler(references, options)(schema)
  return (value) => {
    const report = new Report(options.violationsMax)
    run(value, { path: undefined, scope: [references.root], report, marks: undefined })
    return report.violations
  }
}

type Compile = (schema: unknown) => Run

const compiler = (references: References, options: Options): Compile => {
  const known = new Map<Node, { run: Run }>()
  const compileOne: Compile = (schema) => {
    if (!isObject(schema)) return schema === false ? nothing : anything
    const before = known.get(schema)
    // It may still be under way.
    if (before !== undefined) return (value, at) => before.run(value, at)
    const own: { run: Run } = { run: anything }
    known.set(schema, own)
    own.run = compileNode(schema, compileOne, references, options)
    return own.run
  }
  return compileOne
}

const anything: Run = () => true
const nothing: Run = (_, at) => at.report.add(at.path, "boolean schema is false")

const compileNode = (node: Node, compileOne: Compile, references: References, options: Options): Run => {
  const steps: Array<Run> = Assertions.of(node, options).map((assertion) => (value, at) => {
    const message = assertion(value)
    return message === undefined || at.report.add(at.path, message)
  })
  const add = (step: Run | undefined): void => {
    if (step !== undefined) steps.push(step)
  }
  for (const link of references.links.get(node) ?? []) add(linked(link, compileOne, references, options))
  add(inPlace(node, compileOne))
  add(objects(node, compileOne, options))
  add(arrays(node, compileOne, options))
  // They look at what all others have evaluated.
  const last = [
    unevaluated(node, "unevaluatedProperties", compileOne),
    unevaluated(node, "unevaluatedItems", compileOne)
  ].filter((step) => step !== undefined)
  const resource = references.resources.get(node)
  const all = [...steps, ...last]
  return (value, outer) => {
    const marks = last.length > 0 ? new Marks() : outer.marks
    const scope = resource === undefined ? outer.scope : entered(outer.scope, resource)
    const at =
      marks === outer.marks && scope === outer.scope ? outer : { path: outer.path, report: outer.report, scope, marks }
    let valid = true
    for (const step of all) valid = step(value, at) && valid
    if (valid && marks !== outer.marks) outer.marks?.take(marks!)
    return valid
  }
}

const linked = (link: Link, compileOne: Compile, references: References, options: Options): Run => {
  const { anchor, target } = link
  if (target === undefined) throw new Error(options.unresolved(link.ref))
  const run = compileOne(target.schema)
  if (anchor === undefined) return (value, at) => run(value, { ...at, scope: entered(at.scope, target.resource) })
  const runs = new Map<Resource, Run>()
  for (const resource of references.resources.values()) {
    const schema = resource.dynamicAnchors.get(anchor)
    if (schema !== undefined) runs.set(resource, compileOne(schema))
  }
  return (value, at) => {
    const resource = at.scope.find((one) => runs.has(one)) ?? target.resource
    return (runs.get(resource) ?? run)(value, { ...at, scope: entered(at.scope, resource) })
  }
}

const inPlace = (node: Node, compileOne: Compile): Run | undefined => {
  const steps: Array<Run> = []
  const list = (key: string) =>
    Array.isArray(node[key]) ? (node[key] as ReadonlyArray<unknown>).map(compileOne) : undefined
  const all = list("allOf")
  if (all !== undefined) steps.push((value, at) => all.reduce((valid, run) => run(value, at) && valid, true))
  const any = list("anyOf")
  if (any !== undefined) {
    steps.push((value, at) => {
      const report = new Report(at.report.max)
      let valid = false
      for (const run of any) {
        if (aside(run, value, at, report)) valid = true
        if (valid && at.marks === undefined) return true
      }
      if (valid) return true
      at.report.take(report)
      return at.report.add(at.path, "must match a schema in anyOf")
    })
  }
  const one = list("oneOf")
  if (one !== undefined) {
    steps.push((value, at) => {
      const report = new Report(at.report.max)
      const count = one.filter((run) => aside(run, value, at, report)).length
      if (count === 1) return true
      if (count === 0) at.report.take(report)
      return at.report.add(at.path, "must match exactly one schema in oneOf")
    })
  }
  if ("not" in node) {
    const not = compileOne(node.not)
    steps.push(
      (value, at) =>
        !not(value, { path: at.path, scope: at.scope, report: silent(), marks: undefined }) ||
        at.report.add(at.path, "must NOT be valid")
    )
  }
  if ("if" in node) {
    const test = compileOne(node.if)
    const met = compileOne(node.then)
    const otherwise = compileOne(node.else)
    steps.push((value, at) =>
      aside(test, value, at, silent())
        ? met(value, at) || at.report.add(at.path, 'must match "then" schema')
        : otherwise(value, at) || at.report.add(at.path, 'must match "else" schema')
    )
  }
  return together(steps)
}

const together = (steps: ReadonlyArray<Run>): Run | undefined =>
  steps.length === 0 ? undefined : (value, at) => steps.reduce((valid, step) => step(value, at) && valid, true)

const entriesOf = (map: unknown): ReadonlyArray<readonly [string, unknown]> =>
  isObject(map) ? Object.entries(map) : []

const objects = (node: Node, compileOne: Compile, { expression }: Options): Run | undefined => {
  const steps: Array<(value: Node, at: At) => boolean> = []
  const required = Array.isArray(node.required) ? (node.required as ReadonlyArray<string>) : []
  const properties = entriesOf(node.properties).map(([key, schema]) => [key, compileOne(schema)] as const)
  const patterns = entriesOf(node.patternProperties).map(
    ([pattern, schema]) => [expression(pattern).test, compileOne(schema)] as const
  )
  if (required.length > 0) {
    steps.push((value, at) => {
      const missing = required.filter((key) => !Object.hasOwn(value, key))
      for (const key of missing) at.report.add(at.path, `must have required property '${key}'`)
      return missing.length === 0
    })
  }
  for (const keyword of ["dependentRequired", "dependentSchemas", "dependencies"]) {
    for (const [key, needed] of entriesOf(node[keyword])) {
      const names = Array.isArray(needed) ? (needed as ReadonlyArray<string>) : []
      const run = Array.isArray(needed) ? anything : compileOne(needed)
      steps.push((value, at) => {
        if (!Object.hasOwn(value, key)) return true
        const missing = names.filter((name) => !Object.hasOwn(value, name))
        for (const name of missing) at.report.add(at.path, `must have property ${name} when property ${key} is present`)
        return run(value, at) && missing.length === 0
      })
    }
  }
  for (const [key, run] of properties) {
    steps.push((value, at) => {
      if (!Object.hasOwn(value, key)) return true
      at.marks?.keys.add(key)
      return inside(run, value[key], key, at)
    })
  }
  const others = "additionalProperties" in node ? compileOne(node.additionalProperties) : undefined
  if (patterns.length > 0 || others !== undefined) {
    const named = new Set(properties.map(([key]) => key))
    steps.push((value, at) => {
      let valid = true
      for (const key of Object.keys(value)) {
        let met = named.has(key)
        for (const [test, run] of patterns) {
          if (!test(key)) continue
          met = true
          at.marks?.keys.add(key)
          valid = inside(run, value[key], key, at) && valid
        }
        if (met || others === undefined) continue
        if (others !== nothing) valid = inside(others, value[key], key, at) && valid
        else valid = at.report.add(at.path, `must NOT have additional properties (${key.slice(0, 200)})`)
      }
      if (others !== undefined && at.marks !== undefined) at.marks.all = true
      return valid
    })
  }
  if ("propertyNames" in node) {
    const run = compileOne(node.propertyNames)
    steps.push((value, at) => {
      let valid = true
      for (const key of Object.keys(value)) {
        if (run(key, { path: at.path, scope: at.scope, report: at.report, marks: undefined })) continue
        valid = at.report.add(at.path, `property name must be valid (${key.slice(0, 200)})`)
      }
      return valid
    })
  }
  return steps.length === 0
    ? undefined
    : (value, at) => !isObject(value) || steps.reduce((valid, step) => step(value, at) && valid, true)
}

const arrays = (node: Node, compileOne: Compile, { draft }: Options): Run | undefined => {
  const places = draft === "2020-12" ? node.prefixItems : node.items
  const first = Array.isArray(places) ? places.map(compileOne) : []
  const rest = draft === "2020-12" || !Array.isArray(node.items) ? node.items : node.additionalItems
  const others = rest === undefined ? undefined : compileOne(rest)
  const contains = "contains" in node ? compileOne(node.contains) : undefined
  const least = typeof node.minContains === "number" ? node.minContains : 1
  const most = typeof node.maxContains === "number" ? node.maxContains : Infinity
  if (first.length === 0 && others === undefined && contains === undefined) return undefined
  return (value, at) => {
    if (!Array.isArray(value)) return true
    let valid = true
    const until = others === undefined ? Math.min(first.length, value.length) : value.length
    for (let index = 0; index < until; index++) {
      valid = inside(first[index] ?? others!, value[index], index, at) && valid
    }
    if (at.marks !== undefined) {
      at.marks.first = Math.max(at.marks.first, until)
      if (others !== undefined) at.marks.all = true
    }
    if (contains === undefined) return valid
    let count = 0
    for (let index = 0; index < value.length; index++) {
      if (!inside(contains, value[index], index, at, silent())) continue
      count++
      // Before 2020-12 it says nothing of what is evaluated.
      if (draft === "2020-12") at.marks?.keys.add(index)
    }
    if (count >= least && count <= most) return valid
    return at.report.add(at.path, Keywords.containsMessage([least, most]))
  }
}

const unevaluated = (
  node: Node,
  keyword: "unevaluatedProperties" | "unevaluatedItems",
  compileOne: Compile
): Run | undefined => {
  if (!(keyword in node)) return undefined
  const run = compileOne(node[keyword])
  const what = keyword === "unevaluatedItems" ? "items" : "properties"
  return (value, at) => {
    const isItems = Array.isArray(value)
    if (isItems !== (what === "items") || typeof value !== "object" || value === null) return true
    let valid = true
    for (const key of isItems ? value.keys() : Object.keys(value)) {
      if (at.marks!.has(key)) continue
      if (run !== nothing) valid = inside(run, (value as Node)[key], key, at) && valid
      else valid = at.report.add(at.path, `must NOT have unevaluated ${what} (${String(key).slice(0, 200)})`)
    }
    at.marks!.all = true
    return valid
  }
}
