/** Whether one Avro schema can follow another: by example, and against values made up at random. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as SchemaAvro from "../../src/layers/SchemaAvro.ts"

const language = SchemaAvro.make()
type Rule = "backward" | "forward" | "full" | "none"
const conflicts = (rule: Rule, older: unknown, newer: unknown) =>
  language.conflicts(rule, JSON.stringify(older), JSON.stringify(newer))

const record = (...fields: ReadonlyArray<unknown>) => ({ type: "record", name: "R", fields })
const uuid = { type: "string", logicalType: "uuid" }
const decimal = (precision: number, scale?: number) => ({ type: "bytes", logicalType: "decimal", precision, scale })

/** Each with a value that the older one allows; where the newer one allows it too, another reason is named. */
const examples: ReadonlyArray<readonly [string, unknown, unknown, unknown, string]> = [
  ["a text become a UUID", "string", uuid, "x", "is uuid now"],
  ["fewer digits", decimal(4), decimal(2), "\u0003\u00e8", "was a decimal of precision 4 and scale 0 and is a decimal"],
  ["another scale, which reads as another number", decimal(4, 2), decimal(4, 1), "", "of precision 4 and scale 1"],
  ["an int become a time", "int", { type: "int", logicalType: "time-millis" }, -1, "is time-millis now"],
  ["a long become a time", "long", { type: "long", logicalType: "time-micros" }, -1, "is time-micros now"],
  [
    "another unit of time, which reads as another time",
    { type: "long", logicalType: "timestamp-millis" },
    { type: "long", logicalType: "timestamp-micros" },
    1,
    "was timestamp-millis and is timestamp-micros"
  ],
  ["a text become bytes", "string", "bytes", "\u0100", "was string and is bytes"],
  ["bytes become a text, which they may not be in binary", "bytes", "string", "\u00ff", "was bytes and is string"],
  ["a long become a double, which is no text", "long", "double", "5", "was long and is double"],
  ["a union become one of its types", ["int"], "int", { int: 1 }, "was a union of int and is int"],
  ["another branch of a union", ["null", "int"], ["null", "long"], { int: 1 }, "int is none of null, long"],
  [
    "a branch by another name",
    ["null", record()],
    ["null", { ...record(), name: "S", aliases: ["R"] }],
    { R: {} },
    "R is none of null, S"
  ],
  ["a field gone", record({ name: "a", type: "int" }), record(), { a: 1 }, "the field a is no field any more"],
  [
    "a field by another name",
    record({ name: "a", type: "int" }),
    record({ name: "b", type: "int", default: 0, aliases: ["a"] }),
    { a: 1 },
    "the field a is no field any more"
  ],
  [
    "a default gone",
    record({ name: "a", type: "int", default: 0 }),
    record({ name: "a", type: "int" }),
    {},
    "payload: the field a could be left out"
  ],
  [
    "a symbol gone that reads as the default",
    { type: "enum", name: "E", symbols: ["A", "B"] },
    { type: "enum", name: "E", symbols: ["A"], default: "A" },
    "B",
    "the symbols B are gone"
  ],
  [
    "a text become a UUID, deep inside",
    record({ name: "a", type: { type: "array", items: { type: "map", values: ["null", "string"] } } }),
    record({ name: "a", type: { type: "array", items: { type: "map", values: ["null", uuid] } } }),
    { a: [{ b: "x" }] },
    "payload.a (items) (values): is uuid now"
  ]
]

const followers: ReadonlyArray<readonly [string, unknown, unknown]> = [
  ["a UUID that is any text", uuid, "string"],
  ["the same decimal", decimal(4), decimal(4, 0)],
  ["a logical type that says nothing of values", "int", { type: "int", logicalType: "date" }],
  ["a wider number", "int", "double"],
  ["a type in a union", "string", ["null", "string"]],
  ["one more branch and symbol", ["null", "string"], ["null", "string", "int"]],
  ["one more field with a default", record(), record({ name: "a", type: "int", default: 0 })],
  [
    "what comes back to itself",
    record({ name: "next", type: ["null", "R"] }),
    record({ name: "next", type: ["null", "R", "int"] })
  ]
]

describe("SchemaAvro.conflicts", () => {
  for (const [name, older, newer, value, sentence] of examples) {
    it.effect(`sees ${name}`, () =>
      Effect.gen(function* () {
        const before = yield* language.compile(JSON.stringify(older))
        const after = yield* language.compile(JSON.stringify(newer))
        assert.deepStrictEqual(before.check(value), [])
        if (!name.includes("which reads") && !name.includes("in binary")) assert.notDeepEqual(after.check(value), [])
        assert.include((yield* conflicts("backward", older, newer)).join("\n"), sentence)
        assert.notDeepEqual(yield* conflicts("full", older, newer), [])
        assert.deepStrictEqual(yield* conflicts("none", older, newer), [])
        // Fields that were not there are skipped by the readers of the version before.
        if (!sentence.includes("any more") || name.includes("default")) {
          assert.include((yield* conflicts("forward", newer, older)).join("\n"), sentence)
        }
      })
    )
  }

  for (const [name, older, newer] of followers) {
    it.effect(`lets ${name} follow`, () =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* conflicts("backward", older, newer), [])
        assert.deepStrictEqual(yield* conflicts("forward", newer, older), [])
      })
    )
  }

  it.effect("decides within its time for records that name one another many times", () =>
    Effect.gen(function* () {
      const chain = (leaf: string): unknown => {
        const own = Array.from({ length: 60 }, (_, at) => ({
          type: "record",
          name: `R${at}`,
          fields: ["a", "b"].map((name) => ({ name, type: at === 0 ? leaf : ["null", `R${at - 1}`] }))
        }))
        return { type: "record", name: "All", fields: own.map((type, at) => ({ name: `f${at}`, type })) }
      }
      const started = performance.now()
      assert.deepStrictEqual(yield* conflicts("full", chain("int"), chain("int")), [])
      assert.include((yield* conflicts("backward", chain("string"), chain("bytes")))[0]!, "payload.f0.a")
      assert.isBelow(performance.now() - started, 4_000)
    })
  )

  it.effect("says none only where every value that was valid stays valid", () =>
    Effect.gen(function* () {
      let none = 0
      let checked = 0
      for (let seed = 1; seed <= 4_000; seed++) {
        const random = generator(seed)
        const older = schemaOf(random, 3)
        const newer = random(8) === 0 ? schemaOf(random, 3) : mutated(random, older)
        const texts = [older, newer].map((schema) => JSON.stringify(named(schema)))
        const compiled = yield* Effect.option(Effect.forEach(texts, language.compile))
        // Such as two branches of one type.
        if (compiled._tag === "None") continue
        const [before, after] = compiled.value
        if ((yield* language.conflicts("backward", texts[0]!, texts[1]!)).length > 0) continue
        if (texts[0] !== texts[1]) none++
        for (let count = 0; count < 30; count++) {
          const value = valueOf(random, older)
          if (before!.check(value).length > 0) continue
          checked++
          const wrong = after!.check(value)
          assert.deepStrictEqual(wrong, [], `seed ${seed}: ${JSON.stringify(value)} by ${texts[0]} and not ${texts[1]}`)
        }
      }
      // Otherwise nothing has been shown.
      assert.isAbove(none, 300)
      assert.isAbove(checked, 5_000)
    })
  )
})

type Random = (end: number) => number

const generator = (seed: number): Random => {
  let state = seed * 2_654_435_761
  return (end) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % end
  }
}

const pick = <A>(random: Random, from: ReadonlyArray<A>): A => from[random(from.length)]!

type Node = any

const scalars: ReadonlyArray<(random: Random) => Node> = [
  (random) => pick(random, ["null", "boolean", "int", "long", "float", "double", "bytes", "string"]),
  (random) => pick(random, ["int", "long", "string", "bytes"]),
  () => uuid,
  (random) => ({ type: "int", logicalType: pick(random, ["date", "time-millis"]) }),
  (random) => ({ type: "long", logicalType: pick(random, ["timestamp-millis", "time-micros"]) }),
  (random) => decimal(1 + random(4), random(2)),
  (random) => ({ type: "enum", symbols: [["A"], ["A", "B"], ["B", "C"]][random(3)] }),
  (random) => ({ type: "fixed", size: 1 + random(2) })
]

/** Names are given later, by where a type stands. */
const schemaOf = (random: Random, depth: number): Node => {
  const kind = depth === 0 ? 0 : random(7)
  if (kind < 3) return pick(random, scalars)(random)
  if (kind === 3) return { type: "array", items: schemaOf(random, depth - 1) }
  if (kind === 4) return { type: "map", values: schemaOf(random, depth - 1) }
  if (kind === 5) return Array.from({ length: 1 + random(3) }, () => notUnion(schemaOf(random, depth - 1)))
  return { type: "record", fields: Array.from({ length: random(4) }, (_, at) => fieldOf(random, depth, "abcd"[at]!)) }
}

const notUnion = (schema: Node): Node => (Array.isArray(schema) ? "null" : schema)

const defaults: Record<string, unknown> = { null: null, boolean: true, int: 1, long: 1, double: 1, string: "s" }

const fieldOf = (random: Random, depth: number, name: string): Node => {
  const type = random(6) === 0 ? ["null", "R"] : schemaOf(random, depth - 1)
  const first = Array.isArray(type) ? type[0] : type
  const known = typeof first === "string" && Object.hasOwn(defaults, first)
  return { name, type, ...(known && random(2) === 0 ? { default: defaults[first] } : {}) }
}

/** The outermost record is R, so that fields can name it. */
const named = (schema: Node): Node => {
  let next = 0
  const visit = (node: Node, level: number): Node => {
    if (Array.isArray(node)) return node.map((one) => visit(one, level + 1))
    if (typeof node !== "object") return node
    const name = level === 0 ? "R" : `N${node.type}${next++}`
    if (node.type === "array") return { ...node, items: visit(node.items, level + 1) }
    if (node.type === "map") return { ...node, values: visit(node.values, level + 1) }
    if (node.type === "record") {
      return { ...node, name, fields: node.fields.map((one: Node) => ({ ...one, type: visit(one.type, level + 1) })) }
    }
    return node.type === "enum" || node.type === "fixed" ? { ...node, name } : node
  }
  return visit(schema, 0)
}

/** With one thing changed somewhere. */
const mutated = (random: Random, schema: Node): Node => {
  if (random(6) === 0) return schemaOf(random, 1)
  if (Array.isArray(schema)) {
    const at = random(schema.length + 1)
    if (at === schema.length) return [...schema, notUnion(schemaOf(random, 1))]
    if (random(4) === 0) return schema[at]
    return schema.map((one, index) => (index === at ? notUnion(mutated(random, one)) : one))
  }
  if (random(5) === 0) return [schema, "null"]
  if (typeof schema === "string") return random(2) === 0 ? pick(random, scalars)(random) : schema
  if (schema.type === "array") return { ...schema, items: mutated(random, schema.items) }
  if (schema.type === "map") return { ...schema, values: mutated(random, schema.values) }
  if (schema.type !== "record") return pick(random, [schema, schema.type, pick(random, scalars)(random)])
  const fields = [...schema.fields]
  const at = random(fields.length + 1)
  const way = random(4)
  if (at === fields.length) fields.push(fieldOf(random, 1, "efgh"[at]!))
  else if (way === 0) fields.splice(at, 1)
  else if (way === 1) {
    const { default: _, ...field } = fields[at]
    fields[at] = random(2) === 0 ? field : { ...field, name: "h", aliases: [field.name] }
  } else fields[at] = { ...fields[at], type: mutated(random, fields[at].type) }
  return { ...schema, fields }
}

const values: Record<string, ReadonlyArray<unknown>> = {
  null: [null, { null: null }],
  boolean: [true, false],
  int: [0, -1, 1, 2 ** 31 - 1, 86_400_000],
  long: [0, "5", -1, "-9223372036854775808", 2 ** 53 - 1, 86_400_000_000],
  float: [0.5, "NaN", 3e38],
  double: [0.5, "-Infinity", 1e300],
  bytes: ["", "\u0001", "\u007f\u00ff\u00ff", "ab", "A"],
  string: ["", "x", "\u0100", "5", "NaN", "A", "123e4567-e89b-12d3-a456-426614174000"],
  enum: ["A", "B", "C"],
  fixed: ["a", "\u00ff\u00ff", "ab"]
}

/** Most are valid by the schema. */
const valueOf = (random: Random, schema: Node, root: Node = schema, depth = 6): unknown => {
  if (random(40) === 0) return pick(random, Object.values(values).flat())
  if (Array.isArray(schema)) {
    const branch = pick(random, schema)
    const value = valueOf(random, branch, root, depth - 1)
    const name = typeof branch === "string" ? branch : (branch.name ?? branch.type)
    return branch !== "null" && random(2) === 0 ? { [name]: value } : value
  }
  if (schema === "R") return depth > 0 ? valueOf(random, root, root, depth - 1) : null
  if (typeof schema === "string") return pick(random, values[schema]!)
  if (schema.type === "array")
    return Array.from({ length: random(3) }, () => valueOf(random, schema.items, root, depth))
  if (schema.type === "map") return { x: valueOf(random, schema.values, root, depth) }
  if (schema.type !== "record") return pick(random, values[schema.type]!)
  const fields = schema.fields.filter((field: Node) => !("default" in field) || random(2) === 0)
  return Object.fromEntries(fields.map(({ name, type }: Node) => [name, valueOf(random, type, root, depth - 1)]))
}
