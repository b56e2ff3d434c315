/** Whether one JSON Schema can follow another: by example, and against documents made up at random. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as SchemaJson from "../../src/layers/SchemaJson.ts"
import { generator, pick, type Random } from "./Random.ts"

const language = SchemaJson.make()
const conflicts = (rule: "backward" | "forward" | "full" | "none", older: unknown, newer: unknown) =>
  language.conflicts(rule, JSON.stringify(older), JSON.stringify(newer))

const order = {
  type: "object",
  properties: {
    id: { type: "string", minLength: 1 },
    amount: { type: "number", minimum: 0 },
    status: { enum: ["new", "paid"] },
    lines: { type: "array", items: { $ref: "#/definitions/line" } }
  },
  required: ["id"],
  definitions: { line: { type: "object", properties: { sku: { type: "string" }, of: { $ref: "#/definitions/line" } } } }
}
const changed = (change: (copy: any) => void): unknown => {
  const copy = structuredClone(order)
  change(copy)
  return copy
}

const examples: ReadonlyArray<readonly [string, unknown, string]> = [
  ["an added required property", changed((_) => _.required.push("amount")), "the property amount is required"],
  ["a narrowed type", changed((_) => (_.properties.amount.type = "integer")), "payload.amount: the type number is not"],
  ["a removed enum value", changed((_) => _.properties.status.enum.pop()), 'payload.status: the value "paid" is not'],
  ["a tightened bound", changed((_) => (_.properties.amount.minimum = 1)), "payload.amount: minimum 1 is a tighter"],
  ["a tightened length", changed((_) => (_.properties.id.minLength = 2)), "payload.id: minLength 2 is a tighter"],
  ["an added pattern", changed((_) => (_.properties.id.pattern = "^a")), "payload.id: pattern"],
  ["closed properties", changed((_) => (_.additionalProperties = false)), "(other properties): nothing is allowed"],
  ["a closed array", changed((_) => (_.properties.lines.maxItems = 3)), "payload.lines: maxItems 3 is a tighter"],
  ["a changed definition", changed((_) => (_.definitions.line.properties.sku.maxLength = 3)), "maxLength 3"],
  ["what cannot be decided", changed((_) => (_.not = { required: ["x"] })), "cannot be decided for not"]
]

const followers: ReadonlyArray<readonly [string, unknown]> = [
  ["itself in another order", { ...order, type: order.type }],
  ["a required property less", changed((_) => (_.required = []))],
  ["a widened type", changed((_) => (_.properties.amount.type = ["number", "null"]))],
  ["an added enum value", changed((_) => _.properties.status.enum.push("sent"))],
  ["a loosened bound", changed((_) => (_.properties.amount.minimum = -1))],
  [
    "anyOf with what was there",
    changed((_) => (_.properties.id = { anyOf: [{ type: "integer" }, { type: "string" }] }))
  ],
  [
    "types told apart by anyOf",
    changed((_) => (_.properties.status = { anyOf: [{ const: "new" }, { const: "paid" }] }))
  ],
  [
    "another name for a definition",
    changed((_) => {
      _.definitions.row = _.definitions.line
      _.properties.lines.items.$ref = "#/definitions/row"
    })
  ]
]

describe("SchemaJson.conflicts", () => {
  for (const [name, newer, sentence] of examples) {
    it.effect(`sees ${name}`, () =>
      Effect.gen(function* () {
        assert.include((yield* conflicts("backward", order, newer)).join("\n"), sentence)
        assert.notDeepEqual(yield* conflicts("full", order, newer), [])
        assert.deepStrictEqual(yield* conflicts("none", order, newer), [])
        // The other way round the same change allows more.
        if (!sentence.includes("decided"))
          assert.include((yield* conflicts("forward", newer, order)).join("\n"), sentence)
      })
    )
  }

  for (const [name, newer] of followers) {
    it.effect(`lets ${name} follow`, () =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* conflicts("backward", order, newer), [])
        assert.deepStrictEqual(yield* conflicts("forward", newer, order), [])
      })
    )
  }

  it.effect("adds an optional property to a closed schema, but not to an open one", () =>
    Effect.gen(function* () {
      const older = { type: "object", properties: { a: {} }, additionalProperties: false }
      const newer = { ...older, properties: { a: {}, b: { type: "string" } } }
      assert.deepStrictEqual(yield* conflicts("backward", older, newer), [])
      const open = { type: "object", properties: { b: { type: "string" } } }
      assert.include((yield* conflicts("backward", { type: "object" }, open)).join(), "payload.b: the type")
    })
  )

  it.effect("decides within its time for schemas that multiply", () =>
    Effect.gen(function* () {
      const either = (depth: number, leaf: string): unknown =>
        depth === 0
          ? { type: leaf }
          : {
              anyOf: ["a", "b"].map((name) => ({
                type: "object",
                required: [name],
                properties: { [name]: either(depth - 1, leaf) }
              }))
            }
      const started = performance.now()
      assert.notDeepEqual(yield* conflicts("full", either(7, "string"), either(7, "number")), [])
      assert.isBelow(performance.now() - started, 4_000)
    })
  )

  it.effect("says none only where every document that was valid stays valid", () =>
    Effect.gen(function* () {
      let none = 0
      let checked = 0
      for (let seed = 1; seed <= 1_500; seed++) {
        const random = generator(seed)
        const first = schemaOf(random, 3)
        const second = random(2) === 0 ? schemaOf(random, 3) : mutated(random, first)
        const [older, newer] = seed % 3 === 0 ? [first, second] : [drafted(random, first), drafted(random, second)]
        const compiled = yield* Effect.option(
          Effect.all([language.compile(JSON.stringify(older)), language.compile(JSON.stringify(newer))])
        )
        // Lists in `items` are not of 2020-12.
        if (compiled._tag === "None") continue
        const found = yield* conflicts("backward", older, newer)
        if (found.length > 0) continue
        none++
        const [before, after] = compiled.value
        for (let count = 0; count < 40; count++) {
          const value = valueOf(random, 3)
          if (before.check(value).length > 0) continue
          checked++
          const wrong = after.check(value)
          assert.deepStrictEqual(
            wrong,
            [],
            `seed ${seed}: ${JSON.stringify(value)} is valid by ${JSON.stringify(older)} and not by ${JSON.stringify(newer)}`
          )
        }
      }
      // Otherwise nothing has been shown.
      assert.isAbove(none, 200)
      assert.isAbove(checked, 2_000)
    })
  )
})

const names = ["a", "b", "ab", "c"]
const scalars = [null, true, false, 0, 1, 2, 2.5, -3, 6, "", "a", "ab", "abc"]

const valueOf = (random: Random, depth: number): unknown => {
  const kind = depth === 0 ? 0 : random(4)
  if (kind < 2) return pick(random, scalars)
  if (kind === 2) return Array.from({ length: random(4) }, () => valueOf(random, depth - 1))
  return Object.fromEntries(Array.from({ length: random(4) }, () => [pick(random, names), valueOf(random, depth - 1)]))
}

const keywords: Record<string, (random: Random, depth: number) => unknown> = {
  type: (random) =>
    random(2) === 0
      ? pick(random, ["null", "boolean", "object", "array", "string", "number", "integer"])
      : ["object", pick(random, ["null", "string", "array"]), pick(random, ["number", "integer", "boolean"])],
  enum: (random) => [...new Set([pick(random, scalars), pick(random, scalars), pick(random, scalars)])],
  const: (random) => pick(random, scalars),
  minimum: (random) => random(4) - 2,
  exclusiveMaximum: (random) => random(5),
  multipleOf: (random) => pick(random, [1, 2, 3, 6]),
  minLength: (random) => random(3),
  maxLength: (random) => random(3),
  pattern: (random) => pick(random, ["^a", "b$", ""]),
  minItems: (random) => random(3),
  maxItems: (random) => random(3),
  uniqueItems: () => true,
  minProperties: (random) => random(3),
  maxProperties: (random) => random(3),
  required: (random) => [pick(random, names)],
  items: (random, depth) =>
    random(3) === 0 ? [schemaOf(random, depth - 1), schemaOf(random, depth - 1)] : schemaOf(random, depth - 1),
  additionalItems: (random, depth) => schemaOf(random, depth - 1),
  contains: (random, depth) => schemaOf(random, depth - 1),
  minContains: (random) => random(3),
  maxContains: (random) => random(3),
  prefixItems: (random, depth) => [schemaOf(random, depth - 1), schemaOf(random, depth - 1)],
  unevaluatedItems: (random, depth) => schemaOf(random, depth - 1),
  unevaluatedProperties: (random, depth) => schemaOf(random, depth - 1),
  dependentRequired: (random) => ({ [pick(random, names)]: [pick(random, names)] }),
  dependentSchemas: (random, depth) => ({ [pick(random, names)]: schemaOf(random, depth - 1) }),
  properties: (random, depth) =>
    Object.fromEntries([0, 1].map(() => [pick(random, names), schemaOf(random, depth - 1)])),
  patternProperties: (random, depth) => ({ [pick(random, ["^a", "b$"])]: schemaOf(random, depth - 1) }),
  additionalProperties: (random, depth) => schemaOf(random, depth - 1),
  propertyNames: (random, depth) => schemaOf(random, depth - 1),
  dependencies: (random, depth) => ({
    [pick(random, names)]: random(2) === 0 ? [pick(random, names)] : schemaOf(random, depth - 1)
  }),
  allOf: (random, depth) => [schemaOf(random, depth - 1), schemaOf(random, depth - 1)],
  anyOf: (random, depth) => [schemaOf(random, depth - 1), schemaOf(random, depth - 1)],
  oneOf: (random, depth) => [schemaOf(random, depth - 1), schemaOf(random, depth - 1)],
  not: (random, depth) => schemaOf(random, depth - 1),
  if: (random, depth) => schemaOf(random, depth - 1),
  // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON Schema
  then: (random, depth) => schemaOf(random, depth - 1),
  else: (random, depth) => schemaOf(random, depth - 1)
}

const schemaOf = (random: Random, depth: number): unknown => {
  if (depth === 0 || random(12) === 0)
    return pick(random, [true, true, false, { type: "string" }, { type: "integer" }, {}])
  const chosen = Array.from({ length: 1 + random(3) }, () => pick(random, Object.keys(keywords)))
  return Object.fromEntries(chosen.map((keyword) => [keyword, keywords[keyword]!(random, depth)]))
}

const drafts = ["http://json-schema.org/draft-07/schema", "https://json-schema.org/draft/2019-09/schema"]
drafts.push("https://json-schema.org/draft/2020-12/schema")

const drafted = (random: Random, schema: unknown): unknown =>
  typeof schema === "object" ? { $schema: pick(random, drafts), ...schema } : schema

/** With one keyword more, less or otherwise, somewhere. */
const mutated = (random: Random, schema: unknown): unknown => {
  if (typeof schema !== "object" || schema === null || Array.isArray(schema)) return schemaOf(random, 1)
  const copy = structuredClone(schema) as Record<string, unknown>
  const keys = Object.keys(copy)
  const key = keys.length > 0 ? pick(random, keys) : "type"
  const inner = copy[key]
  const way = random(4)
  if (way === 0) delete copy[key]
  else if (way === 1) {
    const more = pick(random, Object.keys(keywords))
    copy[more] ??= keywords[more]!(random, 1)
  } else if (
    ["items", "not", "if", "then", "contains", "additionalProperties"].includes(key) &&
    !Array.isArray(inner)
  ) {
    copy[key] = mutated(random, inner)
  } else if (keywords[key] !== undefined) copy[key] = keywords[key](random, 2)
  return copy
}
