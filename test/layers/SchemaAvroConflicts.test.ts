/** Whether one Avro schema can follow another: by example, and against values written at random. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Result } from "effect"
import * as AvroTypes from "../../src/layers/AvroTypes.ts"
import * as SchemaAvro from "../../src/layers/SchemaAvro.ts"
import type { Validator } from "../../src/services/SchemaLanguage.ts"
import { generator, pick, type Random } from "./Random.ts"

const language = SchemaAvro.make()
type Rule = "backward" | "forward" | "full" | "none"
const conflicts = (rule: Rule, older: unknown, newer: unknown) =>
  language.conflicts(rule, JSON.stringify(older), JSON.stringify(newer))

const record = (...fields: ReadonlyArray<unknown>) => ({ type: "record", name: "R", fields })
const uuid = { type: "string", logicalType: "uuid" }
const int = (logicalType: string) => ({ type: "int", logicalType })
const long = (logicalType: string) => ({ type: "long", logicalType })
const inner = (type: string) => ({ type: "record", name: "I", fields: [{ name: "v", type }] })
const decimal = (precision: number, scale?: number) => ({ type: "bytes", logicalType: "decimal", precision, scale })

/** Each a conflict of `backward`, and of `forward` the other way round. */
const examples: ReadonlyArray<readonly [string, older: unknown, newer: unknown, string]> = [
  ["a field without a default added", record(), record({ name: "a", type: "int" }), "default-less R.a"],
  [
    "a field by another name",
    record({ name: "a", type: "int" }),
    record({ name: "b", type: "int" }),
    "no matching field for default-less R.b"
  ],
  ["a number become a text", "int", "string", "cannot read"],
  ["a number narrowed", "long", "int", "cannot read"],
  ["a number narrowed in a union", ["null", "long"], ["null", "int"], "cannot read"],
  ["a branch gone", ["null", "int", "string"], ["null", "int"], "cannot read"],
  ["a union become a type that cannot read one of its branches", ["null", "int"], "int", "cannot read"],
  [
    "a symbol gone where no default is",
    { type: "enum", name: "E", symbols: ["A", "B"] },
    { type: "enum", name: "E", symbols: ["A"] },
    "cannot read"
  ],
  ["a fixed of another size", { type: "fixed", name: "F", size: 2 }, { type: "fixed", name: "F", size: 3 }, "cannot"],
  ["another name without an alias", record(), { ...record(), name: "S" }, "no alias found for R"],
  ["a text become a UUID", "string", uuid, "payload: is uuid now"],
  ["bytes become a decimal", "bytes", decimal(4), "payload: is decimal now"],
  ["a text become a decimal", "string", decimal(4), "payload: is decimal now"],
  ["fewer digits", decimal(4), decimal(2), "was a decimal of precision 4 and scale 0 and is a decimal of precision 2"],
  ["more digits", decimal(4), decimal(6), "was a decimal of precision 4 and scale 0 and is a decimal of precision 6"],
  [
    "another scale",
    decimal(4, 2),
    decimal(4, 1),
    "of precision 4 and scale 2 and is a decimal of precision 4 and scale 1"
  ],
  ["an int become a time", "int", int("time-millis"), "payload: is time-millis now"],
  ["a long become a time", "long", long("time-micros"), "payload: is time-micros now"],
  ["an int become a time that is a long", "int", long("time-micros"), "payload: is time-micros now"],
  ["another unit", long("timestamp-millis"), long("timestamp-micros"), "was timestamp-millis and is timestamp-micros"],
  ["a day become a time", int("date"), int("time-millis"), "was date and is time-millis"],
  ["a day become a point in time", int("date"), long("timestamp-millis"), "was date and is timestamp-millis"],
  ["another unit in a union", ["null", int("date")], ["null", int("time-millis")], "was date and is time-millis"],
  [
    "another unit in the branch that some readers prefer",
    int("date"),
    ["long", int("time-millis")],
    "was date and is time-millis"
  ],
  [
    "a text become a UUID, deep inside",
    record({ name: "a", type: { type: "array", items: { type: "map", values: ["null", "string"] } } }),
    record({ name: "a", type: { type: "array", items: { type: "map", values: ["null", uuid] } } }),
    "payload.a (items) (values): is uuid now"
  ],
  [
    "a text become a UUID behind an alias",
    record({ name: "a", type: "string" }),
    record({ name: "b", type: uuid, aliases: ["a"] }),
    "payload.b: is uuid now"
  ],
  [
    "what a branch that was tried before seemed to read",
    record({ name: "x", type: inner("string") }, { name: "y", type: "I" }),
    record(
      { name: "x", type: [inner("int"), { type: "record", name: "J", aliases: ["I"], fields: [] }] },
      { name: "y", type: "I" }
    ),
    "payload.y.v: was string and is int"
  ]
]

const followers: ReadonlyArray<readonly [string, older: unknown, newer: unknown]> = [
  ["one more field with a default", record(), record({ name: "a", type: "int", default: 0 })],
  ["a record without one of its fields", record({ name: "a", type: "int" }), record()],
  ["a field without its default", record({ name: "a", type: "int", default: 0 }), record({ name: "a", type: "int" })],
  ["a field by an alias", record({ name: "a", type: "int" }), record({ name: "b", type: "int", aliases: ["a"] })],
  ["a record by an alias", record(), { ...record(), name: "S", aliases: ["R"] }],
  ["a branch by an alias", ["null", record()], ["null", { ...record(), name: "S", aliases: ["R"] }]],
  ...[
    ["int", "long"],
    ["int", "float"],
    ["int", "double"],
    ["long", "float"],
    ["long", "double"],
    ["float", "double"],
    ["string", "bytes"],
    ["bytes", "string"]
  ].flatMap(([from, to]) => [
    [`${from} as ${to}`, from, to] as const,
    [`${from} as ${to} in a union`, ["null", from], ["null", to]] as const
  ]),
  ["a union become one of its types", ["int"], "int"],
  ["a union become a type that can read its branches", ["int", "long"], "double"],
  ["a type in a union", "string", ["null", "string"]],
  ["one more branch", ["null", "string"], ["null", "string", "int"]],
  ["branches in another order", ["null", "string"], ["string", "null"]],
  ["one more symbol", { type: "enum", name: "E", symbols: ["A"] }, { type: "enum", name: "E", symbols: ["A", "B"] }],
  [
    "an enum without a symbol that reads as the default",
    { type: "enum", name: "E", symbols: ["A", "B"] },
    { type: "enum", name: "E", symbols: ["A"], default: "A" }
  ],
  ["a UUID that is any text", uuid, "string"],
  ["a time that is any number", int("time-millis"), "long"],
  ["a decimal that is any bytes", decimal(4), "bytes"],
  ["the same decimal", decimal(4), decimal(4, 0)],
  ["a logical type that any value suits", "int", int("date")],
  ["a logical type that is not known", int("shop-a"), int("shop-b")],
  ["a logical type that does not suit its type", { type: "string", logicalType: "date" }, "string"],
  [
    "what comes back to itself",
    record({ name: "next", type: ["null", "R"] }),
    record({ name: "next", type: ["null", "R", "int"] })
  ]
]

describe("SchemaAvro.conflicts", () => {
  for (const [name, older, newer, sentence] of examples) {
    it.effect(`sees ${name}`, () =>
      Effect.gen(function* () {
        assert.include((yield* conflicts("backward", older, newer)).join("\n"), sentence)
        assert.include((yield* conflicts("forward", newer, older)).join("\n"), sentence)
        assert.include((yield* conflicts("full", older, newer)).join("\n"), sentence)
        assert.deepStrictEqual(yield* conflicts("none", older, newer), [])
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

  it.effect("lets a field go under forward and full only where the version before has a default", () =>
    Effect.gen(function* () {
      const required = record({ name: "a", type: "int" })
      const optional = record({ name: "a", type: "int", default: 0 })
      for (const rule of ["forward", "full"] as const) {
        assert.include((yield* conflicts(rule, required, record())).join("\n"), "default-less R.a")
        assert.deepStrictEqual(yield* conflicts(rule, optional, record()), [])
      }
    })
  )

  it.effect("decides within its time for records that name one another many times", () =>
    Effect.gen(function* () {
      const chain = (leaf: unknown): unknown => {
        const own = Array.from({ length: 60 }, (_, at) => ({
          type: "record",
          name: `R${at}`,
          fields: ["a", "b"].map((name) => ({ name, type: at === 0 ? leaf : ["null", `R${at - 1}`] }))
        }))
        return { type: "record", name: "All", fields: own.map((type, at) => ({ name: `f${at}`, type })) }
      }
      const started = performance.now()
      assert.deepStrictEqual(yield* conflicts("full", chain("int"), chain("int")), [])
      assert.include((yield* conflicts("backward", chain("string"), chain(uuid)))[0]!, "payload.f0.a: is uuid now")
      assert.include((yield* conflicts("backward", chain("string"), chain("int")))[0]!, "cannot read")
      assert.isBelow(performance.now() - started, 4_000)
    })
  )

  it.effect("says none only where what the older one writes can be read, with logical types that hold", () =>
    Effect.gen(function* () {
      let none = 0
      let checked = 0
      for (let seed = 1; seed <= 1_500; seed++) {
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
        const [writer, reader] = texts.map((text) => AvroTypes.parse(JSON.parse(text), SchemaAvro.defaults).type)
        const resolver = reader!.createResolver(writer!)
        for (let count = 0; count < 30; count++) {
          const value = valueOf(random, named(older))
          if (!writer!.isValid(value)) continue
          const bytes = writer!.toBuffer(value)
          if (before!.check(json(before!, bytes)).length > 0) continue
          checked++
          const read = json(after!, reader!.toBuffer(reader!.fromBuffer(bytes, resolver)))
          const wrong = after!.check(read)
          assert.deepStrictEqual(wrong, [], `seed ${seed}: ${JSON.stringify(read)} by ${texts[0]} and not ${texts[1]}`)
        }
      }
      // Otherwise nothing has been shown.
      assert.isAbove(none, 300)
      assert.isAbove(checked, 5_000)
    })
  )

  it.effect("sees nothing that Avro's resolution does not, where no logical types are", () =>
    Effect.gen(function* () {
      let resolved = 0
      for (let seed = 1; seed <= 1_500; seed++) {
        const random = generator(seed)
        const older = schemaOf(random, 3)
        const plain = [older, mutated(random, older)].map((schema) =>
          JSON.stringify(named(schema), (key, value) => (key === "logicalType" ? undefined : value))
        )
        const types = Result.try(() => plain.map((text) => AvroTypes.parse(JSON.parse(text), SchemaAvro.defaults).type))
        // Such as two branches of one type.
        if (Result.isFailure(types)) continue
        const [writer, reader] = types.success
        if (plain[0] === plain[1] || Result.isFailure(Result.try(() => reader!.createResolver(writer!)))) continue
        resolved++
        assert.deepStrictEqual(yield* language.conflicts("backward", plain[0]!, plain[1]!), [], `seed ${seed}`)
      }
      assert.isAbove(resolved, 300)
    })
  )
})

const json = (schema: Validator, bytes: Uint8Array): unknown => Result.getOrThrow(schema.decode!(bytes))

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

/** As the vendor's types have them. */
const values: Record<string, ReadonlyArray<unknown>> = {
  null: [null],
  boolean: [true, false],
  int: [0, -1, 1, 2 ** 31 - 1, 86_400_000],
  long: [0, -1, 2 ** 53 - 1, 86_400_000_000],
  float: [0.5, Number.NaN, 3e38],
  double: [0.5, -Infinity, 1e300],
  bytes: ["", "\u0001", "\u007f", "ab", "A"].map((text) => Buffer.from(text, "latin1")),
  string: ["", "x", "\u0100", "5", "A", "123e4567-e89b-12d3-a456-426614174000"],
  enum: ["A", "B", "C"],
  fixed: ["a", "\u007f\u007f", "ab"].map((text) => Buffer.from(text, "latin1"))
}

/** Most can be written by the schema. */
const valueOf = (random: Random, schema: Node, root: Node = schema, depth = 6): unknown => {
  if (Array.isArray(schema)) {
    const branch = pick(random, depth > 0 || !schema.includes("null") ? schema : ["null"])
    const name = typeof branch === "string" ? branch : (branch.name ?? branch.type)
    return branch === "null" ? null : { [name]: valueOf(random, branch, root, depth - 1) }
  }
  if (schema === "R") return depth > 0 ? valueOf(random, root, root, depth - 1) : null
  if (typeof schema === "string") return pick(random, values[schema]!)
  if (schema.type === "array")
    return Array.from({ length: random(3) }, () => valueOf(random, schema.items, root, depth))
  if (schema.type === "map") return { x: valueOf(random, schema.values, root, depth) }
  if (schema.type !== "record") return pick(random, values[schema.type]!)
  return Object.fromEntries(schema.fields.map(({ name, type }: Node) => [name, valueOf(random, type, root, depth - 1)]))
}
