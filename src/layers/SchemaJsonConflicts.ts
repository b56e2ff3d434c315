/** Tells whether everything that one JSON Schema allows is allowed by another, and if not, where. */
import type { Compatibility } from "../services/SchemaRegistry.ts"
import type { Options } from "./JsonSchema.ts"
import * as Draft from "./JsonSchemaDraft.ts"
import { canonical } from "./JsonSchemaKeywords.ts"
import * as Shape from "./JsonSchemaShape.ts"
import * as LinearRegExp from "./LinearRegExp.ts"
import * as Facts from "./SchemaJsonFacts.ts"
import { impossible } from "./SchemaJsonFacts.ts"
import * as Objects from "./SchemaJsonObjects.ts"

/**
 * Sound: no conflict under backward means that every document the older one allows the newer one allows too. What it
 * cannot decide is a conflict. Throws: an `Error` with a sentence for schemas that do not compile.
 */
export const conflicts = (
  rule: Compatibility,
  older: unknown,
  newer: unknown,
  options: Options
): ReadonlyArray<string> => {
  if (rule === "none" || canonical(older) === canonical(newer)) return []
  const before = document(older, options)
  const after = document(newer, options)
  const found: Array<string> = []
  if (rule !== "forward") found.push(...directed(before, after, "what the version before allows may not be valid now"))
  if (rule !== "backward")
    found.push(...directed(after, before, "what is allowed now may not be valid in the version before"))
  return found
}

const conflictsMax = 100
const stepsMax = 50_000

const directed = (from: Facts.Document, to: Facts.Document, sentence: string): ReadonlyArray<string> => {
  const context: Facts.Context = {
    from,
    to,
    owner: new WeakMap(),
    spoken: new WeakMap(),
    open: new Set(),
    ids: new WeakMap(),
    steps: 0,
    prove
  }
  Facts.own(context.owner, from)
  Facts.own(context.owner, to)
  try {
    const problems = prove(context, [from.root], to.root, "payload", new Set())
    return [...new Set(problems)].slice(0, conflictsMax).map((problem) => `${sentence}: ${problem}`)
  } catch (error) {
    if (error instanceof Facts.TooLarge) return [`${sentence}: the schemas are too large for this to be decided`]
    throw error
  }
}

const document = (root: unknown, options: Options): Facts.Document => {
  const draft = Draft.draftOf(root, options.draft)
  if (draft._tag === "Failure") throw new Error(draft.failure)
  const expression = LinearRegExp.make(options)
  const { target } = Shape.survey(root, draft.success, options, (pattern) => expression(pattern).size)
  return {
    root,
    draft: draft.success,
    formats: options.formats === "asserted" || Draft.assertsFormats(root),
    target,
    matches: (pattern, text) => expression(pattern).test(text)
  }
}

/** What is in the way of every value that all of `given` allow being allowed by `goal`; empty when nothing is. */
const prove: Facts.Prove = (context, given, wanted, path, split) => {
  if (++context.steps > stepsMax) throw new Facts.TooLarge()
  const goal = Facts.isNode(wanted) ? Facts.spoken(context, wanted) : wanted
  if (goal === true || goal === undefined) return []
  const known = Facts.flatten(context, given)
  if (known === false || impossible(context, known, 3)) return []
  if (goal === false) return [`${path}: nothing is allowed`]
  if (!Facts.isNode(goal)) return [`${path}: cannot be decided`]
  // A schema that comes back to itself does so deeper in the value: what is assumed there is what is proven here.
  // At the same depth only a case that adds nothing could come back; but then one more way has been split.
  const key = `${Facts.keyOf(context, known, goal)}:${split.size}`
  if (context.open.has(key)) return []
  context.open.add(key)
  try {
    if (known.some((node) => Facts.same(context, node, goal))) return []
    const problems = goals(context, known, goal, path, split)
    if (problems.length === 0) return problems
    for (const [source, cases] of Facts.casesOf(known, goal)) {
      if (split.has(source)) continue
      const inner = new Set(split).add(source)
      if (cases.every((one) => prove(context, [...known, ...one], goal, path, inner).length === 0)) return []
    }
    return problems
  } finally {
    context.open.delete(key)
  }
}

const goals = (
  context: Facts.Context,
  known: ReadonlyArray<Facts.Node>,
  goal: Facts.Node,
  path: string,
  split: ReadonlySet<unknown>
): ReadonlyArray<string> => {
  const problems: Array<string> = []
  const also = (given: ReadonlyArray<unknown>, part: unknown): void => {
    problems.push(...prove(context, given, part, path, split))
  }
  const undecided = (keyword: string): void => {
    problems.push(`${path}: it cannot be decided for ${keyword}`)
  }
  const { draft } = Facts.documentOf(context, goal)
  if (typeof goal.$ref === "string") {
    const target = Facts.documentOf(context, goal).target(goal.$ref)
    if (target === undefined) undecided("$ref")
    else also(known, target)
    if (draft === "draft-07") return problems
  }
  for (const keyword of ["$dynamicRef", "$recursiveRef"]) if (keyword in goal) undecided(keyword)
  for (const part of Facts.list(goal.allOf)) also(known, part)
  if (Array.isArray(goal.anyOf) && !goal.anyOf.some((part) => prove(context, known, part, path, split).length === 0)) {
    problems.push(`${path}: is not surely one of anyOf`)
  }
  if (Array.isArray(goal.oneOf) && !oneOf(context, known, goal.oneOf, path, split)) {
    problems.push(`${path}: is not surely exactly one of oneOf`)
  }
  if ("not" in goal && !known.some((node) => "not" in node && Facts.same(context, node.not, goal.not))) {
    const excluded = Facts.flatten(context, [...known, goal.not])
    if (excluded !== false && !impossible(context, excluded, 3)) undecided("not")
  }
  if ("if" in goal) {
    also([...known, goal.if], goal.then)
    also([...known, { not: goal.if }], goal.else)
  }
  for (const keyword of ["unevaluatedProperties", "unevaluatedItems"]) {
    if (keyword in goal && goal[keyword] !== true) undecided(keyword)
  }
  problems.push(...Facts.scalars(context, known, goal, path))
  const types = Facts.typesOf(known)
  if (types.has("array")) problems.push(...Objects.arrays(context, known, goal, path))
  if (types.has("object")) problems.push(...Objects.objects(context, known, goal, path))
  return problems
}

const oneOf = (
  context: Facts.Context,
  known: ReadonlyArray<Facts.Node>,
  parts: ReadonlyArray<unknown>,
  path: string,
  split: ReadonlySet<unknown>
): boolean => {
  if (known.some((node) => Facts.same(context, { oneOf: node.oneOf }, { oneOf: parts }) && Array.isArray(node.oneOf)))
    return true
  return parts.some(
    (part, index) =>
      prove(context, known, part, path, split).length === 0 &&
      parts.every((other, at) => {
        if (at === index) return true
        const both = Facts.flatten(context, [...known, part, other])
        return both === false || impossible(context, both, 3)
      })
  )
}
