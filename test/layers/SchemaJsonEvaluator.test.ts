/** JSON Schema where the compiler is not enough: bundles, references settled while checking, and what is unevaluated. */
import { readdirSync, readFileSync } from "node:fs"
import { resolve } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Random, Result } from "effect"
import * as Evaluator from "../../src/layers/JsonSchemaEvaluator.ts"
import * as Resources from "../../src/layers/JsonSchemaResources.ts"
import * as LinearRegExp from "../../src/layers/LinearRegExp.ts"
import * as SchemaJson from "../../src/layers/SchemaJson.ts"
import { endsInTime } from "./SchemaJsonKit.ts"

const language = SchemaJson.make()
const compile = (schema: unknown) => language.compile(JSON.stringify(schema))
const draft2019 = "https://json-schema.org/draft/2019-09/schema"
const draft2020 = "https://json-schema.org/draft/2020-12/schema"

/** Without the compiler, whatever the schema. */
const evaluator = (schema: unknown, draft: "2019-09" | "2020-12") =>
  Evaluator.compile(
    schema,
    Resources.read(schema, draft, () => undefined),
    {
      draft,
      expression: LinearRegExp.make({ patternCharsMax: 1_000, instructionsMax: 20_000 }),
      format: () => undefined,
      unresolved: (ref) => ref,
      violationsMax: 100
    }
  )

describe("SchemaJson where the compiler is not enough", () => {
  for (const [folder, draft] of [
    ["draft2019-09", "2019-09"],
    ["draft2020-12", "2020-12"]
  ] as const) {
    it.effect(`decides the official suite of ${draft} without the compiler too`, () =>
      Effect.gen(function* () {
        const suite = resolve(import.meta.dirname, "../fixtures/json-schema-test-suite/tests", folder)
        const formatless = SchemaJson.make({ draft })
        let decided = 0
        for (const file of readdirSync(suite).filter((name) => name.endsWith(".json"))) {
          for (const group of JSON.parse(readFileSync(resolve(suite, file), "utf8"))) {
            const known = yield* Effect.result(formatless.compile(JSON.stringify(group.schema)))
            // A document from elsewhere, or a draft's own schema, which is not given here.
            if (Result.isFailure(known) || /"\$ref":"https?:..json-schema/.test(JSON.stringify(group.schema))) continue
            const check = evaluator(group.schema, draft)
            for (const { data, description, valid } of group.tests) {
              // It takes a document that has been surveyed, where __proto__ stands elsewhere.
              if (JSON.stringify(group.schema).includes("__proto__")) continue
              assert.strictEqual(check(data).length === 0, valid, `${file}: ${group.description}: ${description}`)
              decided++
            }
          }
        }
        assert.isAbove(decided, 1_150)
      })
    )
  }

  it.effect("says what the compiler says, of schemas that both can decide", () =>
    Effect.gen(function* () {
      const draft = "2020-12"
      const plain = SchemaJson.make({ draft })
      const tally = { valid: 0, invalid: 0 }
      for (let count = 0; count < 600; count++) {
        const schema = yield* schemaOf(3)
        const compiled = yield* plain.compile(JSON.stringify(schema))
        const check = evaluator(schema, draft)
        for (let values = 0; values < 8; values++) {
          const value = yield* valueOf(3)
          const valid = compiled.check(value).length === 0
          assert.strictEqual(check(value).length === 0, valid, `${JSON.stringify(schema)} of ${JSON.stringify(value)}`)
          tally[valid ? "valid" : "invalid"]++
        }
      }
      assert.isAbove(Math.min(tally.valid, tally.invalid), 500)
    }).pipe(Random.withSeed("schemas"))
  )

  it.effect("takes an empty list for what it is, whatever was met before it", () =>
    Effect.gen(function* () {
      const nested = yield* compile({ items: { contains: { const: 1 } } })
      assert.deepStrictEqual(
        nested.check([[1], []]).map(({ path }) => path),
        ["payload.1"]
      )
      for (const schema of [{ items: [true] }, { $schema: draft2020, prefixItems: [{ type: "number" }] }]) {
        assert.lengthOf((yield* compile({ ...schema, contains: { const: 1 } })).check([]), 1)
      }
      const { check } = yield* compile({ $schema: draft2020, contains: { const: 1 }, minContains: 2, maxContains: 3 })
      assert.deepStrictEqual(
        [[1], [1, 1, 2], [1, 1, 1, 1]].map((value) => check(value).length === 0),
        [false, true, false]
      )
    })
  )

  it.effect("checks patterns of names beside alternatives", () =>
    Effect.gen(function* () {
      const { check } = yield* compile({
        $schema: draft2020,
        patternProperties: { "^a": { minimum: 2 } },
        anyOf: [{ additionalProperties: { type: "number" } }, { items: false }]
      })
      assert.deepStrictEqual(check({ a: 2 }), [])
      assert.deepStrictEqual(
        check({ a: 1 }).map(({ path }) => path),
        ["payload.a"]
      )
    })
  )

  it.effect("reads bundles: ids below one another, anchors, and their own $schema", () =>
    Effect.gen(function* () {
      const { check } = yield* compile({
        $schema: draft2020,
        $id: "https://example.com/order",
        properties: { lines: { items: { $ref: "parts/line" } }, total: { $ref: "#amount" } },
        $defs: {
          line: {
            $id: "parts/line",
            $schema: draft2020,
            properties: { sku: { $ref: "sku" }, price: { $ref: "../order#amount" } },
            $defs: { sku: { $id: "sku", type: "string" } }
          },
          amount: { $anchor: "amount", type: "number" }
        }
      })
      assert.deepStrictEqual(check({ lines: [{ sku: "a", price: 1 }], total: 1 }), [])
      assert.deepStrictEqual(
        check({ lines: [{ sku: 1, price: "1" }], total: "1" }).map(({ path }) => path),
        ["payload.lines.0.sku", "payload.lines.0.price", "payload.total"]
      )
      for (const ref of ["line", "https://example.com/sku", "parts/line#amount"]) {
        const reason = yield* Effect.flip(
          compile({ $id: "https://example.com/a", $ref: ref, $defs: { line: { $id: "parts/line" } } })
        )
        assert.include(reason.message, "nothing is fetched")
      }
      // Inside a resource a pointer starts at it: what is not there is not looked for in the document.
      const inner = { $id: "https://example.com/b", $ref: "#/$defs/x" }
      assert.include(
        (yield* Effect.flip(compile({ $schema: draft2020, allOf: [inner], $defs: { x: true } }))).message,
        "nothing is fetched"
      )
    })
  )

  it.effect("leads $dynamicRef and $recursiveRef to the outermost, and names places", () =>
    Effect.gen(function* () {
      const dynamic = yield* compile({
        $schema: draft2020,
        $id: "https://example.com/strict",
        $dynamicAnchor: "node",
        $ref: "tree",
        unevaluatedProperties: false,
        $defs: {
          tree: {
            $id: "tree",
            $dynamicAnchor: "node",
            properties: { data: true, children: { items: { $dynamicRef: "#node" } } }
          }
        }
      })
      const recursive = yield* compile({
        $schema: draft2019,
        $id: "https://example.com/strict",
        $recursiveAnchor: true,
        $ref: "tree",
        unevaluatedProperties: false,
        $defs: {
          tree: {
            $id: "tree",
            $recursiveAnchor: true,
            properties: { data: true, children: { items: { $recursiveRef: "#" } } }
          }
        }
      })
      for (const { check } of [dynamic, recursive]) {
        assert.deepStrictEqual(check({ children: [{ data: 1, children: [] }] }), [])
        assert.deepStrictEqual(check({ children: [{ data: 1 }, { daat: 1 }] }), [
          { path: "payload.children.1", message: "must NOT have unevaluated properties (daat)" }
        ])
      }
    })
  )

  it.effect("sees what alternatives, conditions and contains have evaluated", () =>
    Effect.gen(function* () {
      const { check } = yield* compile({
        $schema: draft2020,
        properties: {
          list: { if: { contains: { type: "string" } }, unevaluatedItems: { type: "number" } },
          map: {
            anyOf: [{ properties: { a: { type: "number" } } }, { required: ["b"], properties: { b: true } }],
            unevaluatedProperties: false
          }
        }
      })
      assert.deepStrictEqual(check({ list: ["a", 1, "b"], map: { a: 1, b: 1 } }), [])
      assert.deepStrictEqual(check({ list: ["a", null], map: { a: "x", b: 1 } }), [
        { path: "payload.list.1", message: "must be number" },
        { path: "payload.map", message: "must NOT have unevaluated properties (a)" }
      ])
    })
  )

  it.effect("asserts formats, keeps names apart, and names a hundred violations at most", () =>
    Effect.gen(function* () {
      const schema = { $schema: draft2020, "x-assert-formats": true, unevaluatedProperties: false }
      const { check } = yield* compile({ ...schema, properties: { a: { format: "email" }, n: { format: "int32" } } })
      assert.deepStrictEqual(
        check({ a: "no", n: 1.5 }).map(({ message }) => message),
        ['must match format "email"', 'must match format "int32"']
      )
      const text = `{"$schema":"${draft2020}","required":["toString"],"properties":{"__proto__":true},"unevaluatedProperties":false}`
      const names = yield* language.compile(text)
      assert.lengthOf(names.check(JSON.parse('{"__proto__":1}')), 1)
      assert.lengthOf(names.check({ constructor: 1, toString: 1 }), 2)
      const many = yield* compile({ $schema: draft2020, prefixItems: [true], unevaluatedItems: false })
      assert.lengthOf(many.check(Array.from({ length: 1_000 }, () => 1)), 100)
    })
  )

  it.effect("multiplies beyond what a number holds", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual((yield* compile({ multipleOf: 0.5 })).check(1e308), [])
      assert.lengthOf((yield* compile({ multipleOf: 0.123456789 })).check(1e308), 1)
      for (const [factor, value, count] of [
        [0.01, 19.99, 0],
        [0.01, -4.35, 0],
        [0.01, 19.999, 1],
        [0.3, 0.9, 0],
        [3, 1e23, 1],
        [1e-300, 5e-299, 0],
        [7, 0, 0],
        [1.5, 4.5, 0],
        [1.5, 4, 1]
      ] as const) {
        assert.lengthOf((yield* compile({ multipleOf: factor })).check(value), count, `${value} by ${factor}`)
      }
    })
  )

  const twice = {
    $schema: draft2020,
    unevaluatedItems: false,
    prefixItems: [{ allOf: [{ $ref: "#" }, { $ref: "#" }] }]
  }
  const deep = (levels: number): unknown => JSON.parse(`${"[".repeat(levels)}${"]".repeat(levels)}`)
  const many = <A>(count: number, item: (index: number) => A): ReadonlyArray<A> =>
    Array.from({ length: count }, (_, index) => item(index))
  const loop = { $id: "https://a/b", $dynamicAnchor: "x", allOf: [{ $dynamicRef: "#x" }] }
  const hostile: ReadonlyArray<readonly [string, unknown, unknown]> = [
    ["a recursion that doubles", twice, deep(60)],
    [
      "an event of 400,000 levels",
      { $schema: draft2020, items: { $ref: "#" }, unevaluatedItems: false },
      deep(400_000)
    ],
    [
      "a reference that leads to itself",
      { $schema: draft2020, $id: "https://a/a", $dynamicAnchor: "x", $ref: "b", $defs: { loop } },
      1
    ],
    [
      "many ids and anchors",
      {
        $schema: draft2020,
        $dynamicRef: "#a",
        $defs: Object.fromEntries(many(800, (i) => [`d${i}`, { $id: `https://a/${i}`, $dynamicAnchor: "a" }])),
        $dynamicAnchor: "a"
      },
      1
    ],
    [
      "alternatives that all evaluate much",
      {
        $schema: draft2020,
        unevaluatedProperties: false,
        anyOf: many(1_000, () => ({ patternProperties: { "^k": true } }))
      },
      Object.fromEntries(many(20_000, (i) => [`k${i}`, 1]))
    ],
    [
      "the catastrophic expression",
      { $schema: draft2020, unevaluatedProperties: false, pattern: "^(a+)+$" },
      `${"a".repeat(1_000_000)}!`
    ]
  ]
  for (const [name, schema, value] of hostile) {
    it.effect(`ends in time: ${name}`, () =>
      Effect.andThen(compile({ $schema: draft2020 }), endsInTime(name, compile(schema), value))
    )
  }
})

const keys = ["a", "b", "c"]
const pick = <A>(items: ReadonlyArray<A>) => Effect.map(Random.nextIntBetween(0, items.length - 1), (at) => items[at]!)

const schemaOf: (depth: number) => Effect.Effect<unknown> = Effect.fnUntraced(function* (depth: number) {
  const simple = [
    true,
    false,
    {},
    { type: "string" },
    { minimum: 2 },
    { const: 1 },
    { type: "array" },
    { maxLength: 1 }
  ]
  if (depth === 0) return yield* pick(simple)
  const schema: Record<string, unknown> = {}
  const inner = () => schemaOf(depth - 1)
  for (let words = yield* Random.nextIntBetween(1, 3); words > 0; words--) {
    const word = yield* pick(keywords)
    if (lists.has(word)) schema[word] = [yield* inner(), yield* inner()]
    else if (maps.has(word)) schema[word] = { [yield* pick(keys)]: yield* inner(), [yield* pick(keys)]: yield* inner() }
    else if (word === "patternProperties") schema[word] = { [yield* pick(["^a", "b|c"])]: yield* inner() }
    else if (word === "required") schema[word] = [yield* pick(keys)]
    else if (word === "maxContains") schema[word] = yield* Random.nextIntBetween(1, 2)
    else schema[word] = yield* inner()
  }
  return schema
})

const lists = new Set(["allOf", "anyOf", "oneOf", "prefixItems"])
const maps = new Set(["properties", "dependentSchemas"])
const keywords = [
  ...lists,
  ...maps,
  ...["patternProperties", "additionalProperties", "propertyNames", "required", "items", "contains", "maxContains"],
  ...["not", "if", "then", "else"]
]

const valueOf: (depth: number) => Effect.Effect<unknown> = Effect.fnUntraced(function* (depth: number) {
  const kind = yield* Random.nextIntBetween(depth === 0 ? 2 : 0, 3)
  if (kind >= 2) return yield* pick([1, 3, "x", "xx", null, true])
  const values: Array<unknown> = []
  for (let count = yield* Random.nextIntBetween(0, 3); count > 0; count--) values.push(yield* valueOf(depth - 1))
  return kind === 0 ? values : Object.fromEntries(values.map((value, index) => [keys[index]!, value]))
})
