/** Looks a JSON Schema over before it is compiled: its limits, what must be written differently, and what a check costs. */
import { Result } from "effect"
import * as Draft from "./JsonSchemaDraft.ts"

export interface Limits {
  /** Levels of the document. */
  readonly depthMax: number
  /** Values of the document (keywords and subschemas, not what stands in enum, const, default and examples). */
  readonly valuesMax: number
}

export interface Shape {
  /** The most subschemas and steps of expressions that one value of an event meets; Infinity where nobody knows. */
  readonly cost: number
  /** Names of formats, anywhere. */
  readonly formats: ReadonlySet<string>
  /** Keywords and subschemas. */
  readonly values: number
  /** Names of keywords, anywhere. */
  readonly words: ReadonlySet<string>
  /** Whether references may go by other ids than the document's own, by anchors, or by what a check is in. */
  readonly named: boolean
  /** What a reference of this document means; undefined where ids inside it decide that. */
  readonly target: (ref: string) => unknown
}

type Node = Record<string, unknown>

/**
 * Rewrites in place what the compiler reads otherwise than the standard: so the document must be the caller's own.
 * Throws: an `Error` with a sentence.
 */
export const survey = (
  root: unknown,
  draft: Draft.Draft,
  limits: Limits,
  patternCost: (pattern: string) => number
): Shape => {
  const found = collect(root, draft, limits)
  const targets = new Map<Node, unknown>()
  for (const { node, path } of found.references) targets.set(node, resolve(root, node.$ref as string, path, found))
  refuseLoops(found.schemas, targets, draft)
  return {
    cost: found.dynamic ? Infinity : costOf(root, targets, draft, patternCost),
    formats: found.formats,
    values: found.values,
    words: found.words,
    named: found.bases || found.dynamic || found.anchors.size > 0,
    target: (ref) => {
      const target = resolve(root, ref, "#", found)
      return target === unknownTarget ? undefined : target
    }
  }
}

/** The target is not in this document as far as can be told without the ids inside it. */
const unknownTarget = Symbol("unknown target")

interface Found {
  readonly schemas: Map<Node, string>
  readonly references: Array<{ readonly node: Node; readonly path: string }>
  readonly formats: Set<string>
  readonly words: Set<string>
  /** Other bases than the document's own, so that a fragment may mean something else. */
  bases: boolean
  readonly anchors: Map<string, Node>
  dynamic: boolean
  values: number
}

const collect = (root: unknown, draft: Draft.Draft, limits: Limits): Found => {
  const found: Found = {
    schemas: new Map(),
    references: [],
    formats: new Set(),
    words: new Set(),
    bases: false,
    anchors: new Map(),
    dynamic: false,
    values: 0
  }
  const visit = (value: unknown, path: string, depth: number, kind: "schema" | "map" | "other"): void => {
    if (++found.values > limits.valuesMax)
      throw new Error(`it has more than ${limits.valuesMax} keywords and subschemas`)
    if (typeof value !== "object" || value === null) return
    if (depth > limits.depthMax) throw new Error(`it is deeper than ${limits.depthMax} levels, at ${path}`)
    if (Array.isArray(value)) {
      value.forEach((item, index) => visit(item, `${path}/${index}`, depth + 1, kind === "map" ? "schema" : kind))
      return
    }
    const node = value as Node
    if (kind === "schema") note(node, path, draft, found, path === "#")
    for (const key of Object.keys(node)) {
      if (!key.isWellFormed()) throw new Error(`a name at ${path} is not well-formed Unicode`)
      if (kind === "schema") found.words.add(key)
      const next = kind === "map" ? "schema" : kindOf(key)
      if (next === undefined) continue
      visit(node[key], `${path}/${key.replaceAll("~", "~0").replaceAll("/", "~1")}`, depth + 1, next)
    }
  }
  visit(root, "#", 1, "schema")
  return found
}

/** What stands behind a keyword; undefined for data. What is unknown may be a schema: references may lead there. */
const kindOf = (key: string): "schema" | "map" | "other" | undefined => {
  if (Draft.dataKeywords.has(key)) return undefined
  if ([Draft.childMaps, Draft.inPlaceMaps, Draft.shelves].some((keys) => keys.includes(key))) return "map"
  return key === "required" || key === "type" || key === "$vocabulary" || key === "dependentRequired"
    ? "other"
    : "schema"
}

const note = (node: Node, path: string, draft: Draft.Draft, found: Found, isRoot: boolean): void => {
  found.schemas.set(node, path)
  // Words of the compiler that are not in the standard, where unknown words mean nothing.
  for (const word of ["$async", "nullable", "discriminator"]) delete node[word]
  if (!isRoot && typeof node.$schema === "string") {
    const own = Result.getOrUndefined(Draft.draftOf(node, draft))
    if (draft !== "draft-07" && own !== draft)
      throw new Error(`${path} has a $schema of its own: a document is of one draft`)
    delete node.$schema
  }
  // A draft before 2019 looks at nothing that stands beside a reference.
  if (draft === "draft-07" && typeof node.$ref === "string") delete node.$id
  if (draft === "draft-07") {
    for (const word of ["$anchor", "$dynamicAnchor", "$recursiveAnchor"]) delete node[word]
  }
  if (!isRoot && typeof node.$id === "string") found.bases = true
  for (const anchor of [node.$anchor, node.$dynamicAnchor]) {
    if (typeof anchor === "string") found.anchors.set(anchor, node)
  }
  if ("$dynamicRef" in node || "$recursiveRef" in node) found.dynamic = true
  if (typeof node.$ref === "string") found.references.push({ node, path })
  if (typeof node.format === "string") found.formats.add(node.format)
  avoidProto(node, path)
}

/** The compiler leaves out what is named `__proto__`; as an expression the name is checked like any other. */
const avoidProto = (node: Node, path: string): void => {
  const move = (from: unknown, name: string): void => {
    if (!isNode(from) || !Object.hasOwn(from, "__proto__")) return
    const schema = Object.getOwnPropertyDescriptor(from, "__proto__")!.value as unknown
    Reflect.deleteProperty(from, "__proto__")
    node.patternProperties = { ...(isNode(node.patternProperties) ? node.patternProperties : {}), [name]: schema }
  }
  move(node.patternProperties, "(?:__proto__)")
  move(node.properties, "^__proto__$")
  for (const keyword of ["dependencies", "dependentSchemas", "dependentRequired"]) {
    const map = node[keyword]
    if (isNode(map) && Object.hasOwn(map, "__proto__")) throw new Error(`${path}/${keyword} cannot name __proto__`)
  }
}

const isNode = (value: unknown): value is Node => typeof value === "object" && value !== null && !Array.isArray(value)

const resolve = (root: unknown, ref: string, path: string, found: Found): unknown => {
  const id = isNode(root) && typeof root.$id === "string" ? root.$id.replace(/#$/, "") : undefined
  const local = id !== undefined && ref.startsWith(`${id}#`) ? ref.slice(id.length) : ref
  const target = local.startsWith("#") ? within(root, local.slice(1), found) : undefined
  if (target !== undefined && !found.bases) return target
  // The compiler follows names that every object inherits.
  if (
    /(?:^|\/)(?:__proto__|constructor|prototype)(?:\/|$)/.test(local.slice(local.indexOf("#") + 1)) &&
    target === undefined
  ) {
    throw new Error(unresolved(ref, path))
  }
  if (local.startsWith("#/") && target === undefined && !found.bases) throw new Error(unresolved(ref, path))
  return unknownTarget
}

export const unresolved = (ref: string, path?: string): string =>
  `$ref ${JSON.stringify(ref.slice(0, 200))}${path === undefined ? "" : ` at ${path}`} leads nowhere in this document, and nothing is fetched`

const within = (root: unknown, fragment: string, found: Found): unknown => {
  if (fragment === "") return root
  if (!fragment.startsWith("/")) return found.anchors.get(fragment)
  let at: unknown = root
  for (const part of fragment.slice(1).split("/")) {
    let name: string
    try {
      name = decodeURIComponent(part).replaceAll("~1", "/").replaceAll("~0", "~")
    } catch {
      return undefined
    }
    if (typeof at !== "object" || at === null || !Object.hasOwn(at, name)) return undefined
    at = (at as Node)[name]
  }
  return at
}

/** Subschemas that look at the same value. */
const inPlace = (node: Node, draft: Draft.Draft, targets: Map<Node, unknown>): ReadonlyArray<unknown> => {
  const target = targets.get(node)
  if (target !== undefined && draft === "draft-07") return [target]
  const next: Array<unknown> = target === undefined ? [] : [target]
  for (const key of Draft.inPlaceLists) if (Array.isArray(node[key])) next.push(...(node[key] as Array<unknown>))
  for (const key of Draft.inPlaceSingles) next.push(node[key])
  for (const key of Draft.inPlaceMaps) if (isNode(node[key])) next.push(...Object.values(node[key] as Node))
  return next
}

const children = (node: Node): ReadonlyArray<unknown> => {
  const next: Array<unknown> = Draft.childSingles.map((key) => node[key])
  for (const key of Draft.childLists) if (Array.isArray(node[key])) next.push(...(node[key] as Array<unknown>))
  for (const key of Draft.childMaps) if (isNode(node[key])) next.push(...Object.values(node[key] as Node))
  return next
}

/** A schema that comes back to itself without going into the value would never end. */
const refuseLoops = (schemas: Map<Node, string>, targets: Map<Node, unknown>, draft: Draft.Draft): void => {
  const state = new Map<Node, "open" | "done">()
  const visit = (value: unknown): void => {
    if (!isNode(value) || state.get(value) === "done") return
    if (state.get(value) === "open") {
      throw new Error(`the schema at ${schemas.get(value) ?? "a reference"} refers to itself without end`)
    }
    state.set(value, "open")
    for (const next of inPlace(value, draft, targets)) visit(next)
    state.set(value, "done")
  }
  for (const node of schemas.keys()) visit(node)
}

/** Everything one value can meet, references followed: more than is ever done, as children are counted with their parent. */
const costOf = (
  root: unknown,
  targets: Map<Node, unknown>,
  draft: Draft.Draft,
  patternCost: (pattern: string) => number
): number => {
  const costs = new Map<Node, number>()
  const visit = (value: unknown): number => {
    if (value === unknownTarget) return Infinity
    if (!isNode(value)) return 1
    const before = costs.get(value)
    if (before !== undefined) return before
    costs.set(value, Infinity)
    let cost = 1 + Object.keys(value).length
    if (typeof value.pattern === "string") cost += patternCost(value.pattern)
    if (Array.isArray(value.required)) cost += value.required.length
    if (isNode(value.patternProperties)) {
      for (const pattern of Object.keys(value.patternProperties)) cost += patternCost(pattern)
    }
    for (const next of inPlace(value, draft, targets)) cost += visit(next)
    if (draft !== "draft-07" || targets.get(value) === undefined)
      for (const next of children(value)) cost += visit(next)
    costs.set(value, cost)
    return cost
  }
  return visit(root)
}
