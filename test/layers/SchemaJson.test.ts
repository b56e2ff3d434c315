/** JSON Schema: drafts, violations, formats, and schemas and events made to hurt, with bounds on their time. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as SchemaJson from "../../src/layers/SchemaJson.ts"
import { endsInTime } from "./SchemaJsonKit.ts"

const language = SchemaJson.make()
const compile = (schema: unknown) => language.compile(JSON.stringify(schema))
const refused = (text: string) => Effect.map(Effect.flip(language.compile(text)), ({ message }) => message)
const many = <A>(count: number, item: (index: number) => A): ReadonlyArray<A> =>
  Array.from({ length: count }, (_, i) => item(i))
const named = <A>(count: number, name: string, item: (index: number) => A) =>
  Object.fromEntries(many(count, (index) => [`${name}${index}`, item(index)]))
const draft2020 = "https://json-schema.org/draft/2020-12/schema"

describe("SchemaJson", () => {
  it.effect("takes the draft from $schema, draft-07 without one, and refuses what it does not know", () =>
    Effect.gen(function* () {
      const prefix = { prefixItems: [{ type: "string" }] }
      assert.deepStrictEqual((yield* compile(prefix)).check([1]), [])
      assert.lengthOf((yield* compile({ $schema: draft2020, ...prefix })).check([1]), 1)
      for (const id of ["draft-06/schema#", "draft-07/schema", "draft-07/schema#"]) {
        yield* compile({ $schema: `http://json-schema.org/${id}`, type: "string" })
      }
      assert.include(yield* refused('{"$schema":"http://json-schema.org/draft-04/schema#"}'), "is not known here")
      assert.include(yield* refused('{"$schema":5}'), "is not known here")
    })
  )

  it.effect("asks a schema to be one, and lets booleans be schemas", () =>
    Effect.gen(function* () {
      assert.include(yield* refused('{"type":"random_type"}'), "#/type must be one of")
      for (const text of ["[]", '"string"', "5", "null"]) assert.include(yield* refused(text), "not a JSON Schema")
      assert.include(yield* refused("{"), "not JSON")
      assert.deepStrictEqual((yield* compile(true)).check(1), [])
      assert.lengthOf((yield* compile(false)).check(1), 1)
    })
  )

  it.effect("names every violation with its path, and not more than a hundred", () =>
    Effect.gen(function* () {
      const { check } = yield* compile({
        properties: { a: { items: { properties: { "b/~": { type: "string" } }, additionalProperties: false } } },
        required: ["c"]
      })
      assert.deepStrictEqual(check({ a: [{ "b/~": 1, d: 1 }] }), [
        { path: "payload", message: "must have required property 'c'" },
        { path: "payload.a.0", message: "must NOT have additional properties (d)" },
        { path: "payload.a.0.b/~", message: "must be string" }
      ])
      assert.lengthOf((yield* compile({ items: { type: "string" } })).check(many(1_000, () => 1)), 100)
    })
  )

  it.effect("counts only own properties, __proto__ among them", () =>
    Effect.gen(function* () {
      assert.lengthOf((yield* compile({ required: ["toString", "constructor", "__proto__"] })).check({}), 3)
      const text =
        '{"properties":{"__proto__":{"type":"number"},"constructor":{"type":"number"}},"additionalProperties":false}'
      const { check } = yield* language.compile(text)
      assert.deepStrictEqual(check(JSON.parse('{"__proto__":"x"}')), [
        { path: "payload.__proto__", message: "must be number" }
      ])
      assert.deepStrictEqual(check(JSON.parse('{"__proto__":1,"constructor":1}')), [])
      assert.deepStrictEqual(check({}), [])
    })
  )

  it.effect("gives each expression its own meaning", () =>
    Effect.gen(function* () {
      const { check } = yield* compile({ properties: { a: { pattern: "^x" }, b: { pattern: "^y" } } })
      assert.deepStrictEqual(
        check({ a: "x", b: "x" }).map(({ path }) => path),
        ["payload.b"]
      )
    })
  )

  it.effect("leaves out the compiler's own words", () =>
    Effect.gen(function* () {
      assert.lengthOf((yield* compile({ $async: true, type: "string", nullable: true })).check(null), 1)
      assert.deepStrictEqual(
        (yield* compile({ properties: { nullable: { type: "string" }, id: {} }, id: 5 })).check({ nullable: "" }),
        []
      )
    })
  )

  it.effect("asserts formats where a schema asks, and then refuses those it does not know", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual((yield* compile({ format: "email" })).check("no"), [])
      for (const asking of [
        { "x-assert-formats": true },
        { $schema: draft2020, $vocabulary: { "https://json-schema.org/draft/2020-12/vocab/format-assertion": true } }
      ]) {
        assert.lengthOf((yield* compile({ ...asking, format: "email" })).check("no"), 1)
        assert.include(yield* refused(JSON.stringify({ ...asking, format: "emial" })), "cannot be asserted")
      }
      assert.lengthOf((yield* SchemaJson.make({ formats: "asserted" }).compile('{"format":"email"}')).check("no"), 1)
    })
  )

  it.effect("reads formats by their grammars", () =>
    Effect.gen(function* () {
      const wanted: ReadonlyArray<readonly [string, string, string]> = [
        ["uuid", "2eb8aa08-aa98-11ea-b4aa-73b441d16380", "urn:uuid:2eb8aa08-aa98-11ea-b4aa-73b441d16380"],
        ["uri", "http://user@[::1]:80/a?b#c", "http://a:b/"],
        ["uri-reference", "./a:b", "a b"],
        ["iri", "http://\u00fc.example/\u00e9", "http://\u00fc.example/<"],
        ["iri-reference", "\u00e9", "\u00e9\\"],
        ["uri-template", "a/{+b,c:3}", "a/{b"],
        ["duration", "P1Y2M", "P1Y2D"],
        ["date-time", "1998-12-31T15:59:60-08:00", "1998-12-31T23:59:60-08:00"],
        ["time", "00:29:60+00:30", "00:30:60+00:30"],
        ["email", '"a b"@[127.0.0.1]', "a b@example.com"],
        ["idn-email", "\u5b9f\u4f8b@\u5b9f\u4f8b.\u30c6\u30b9\u30c8", "a"],
        ["hostname", "xn--4gbwdl.xn--wgbh1c", "xn--X"],
        ["idn-hostname", "b\u00fccher.example", "B\u00dcCHER.example"],
        ["regex", "^a\\d$", "\\a"]
      ]
      for (const [format, right, wrong] of wanted) {
        const { check } = yield* compile({ "x-assert-formats": true, format })
        assert.deepStrictEqual(check(right), [], `${format} ${right}`)
        assert.lengthOf(check(wrong), 1, `${format} ${wrong}`)
      }
    })
  )

  it.effect("fetches nothing, and keeps one schema's ids from the next", () =>
    Effect.gen(function* () {
      for (const ref of [
        "http://127.0.0.1:9/a",
        "file:///etc/passwd",
        "#/nowhere",
        "#/constructor",
        "#/__proto__",
        "#/definitions/toString",
        "x#/y"
      ]) {
        const reason = yield* refused(JSON.stringify({ $ref: ref, definitions: {} }))
        assert.include(reason, "nothing is fetched")
      }
      yield* compile({ $id: "http://mine/a", definitions: { x: { $id: "http://mine/b", type: "string" } } })
      yield* compile({ $id: "http://mine/a", type: "number" })
      assert.include(yield* refused('{"$ref":"http://mine/b"}'), "nothing is fetched")
      assert.include(yield* refused('{"$ref":"http://mine/a"}'), "nothing is fetched")
    })
  )

  it.effect("knows the drafts' own schemas, as such and as what a schema adds to", () =>
    Effect.gen(function* () {
      for (const [draft, anchor] of [
        [draft2020, { $dynamicAnchor: "meta" }],
        ["https://json-schema.org/draft/2019-09/schema", { $recursiveAnchor: true }]
      ] as const) {
        const { check } = yield* compile({
          $schema: draft,
          properties: { s: { $ref: draft } },
          unevaluatedProperties: false
        })
        assert.deepStrictEqual(check({ s: { properties: { a: { type: "string" } } } }), [])
        assert.strictEqual(check({ s: { properties: { a: { type: 5 } } } })[0]?.path, "payload.s.properties.a.type")
        const stricter = yield* compile({
          $schema: draft,
          $id: "https://example.com/meta",
          ...anchor,
          $ref: draft,
          properties: { type: { const: "string" } }
        })
        assert.deepStrictEqual(stricter.check({ properties: { a: { type: "string" } } }), [])
        assert.deepStrictEqual(
          stricter.check({ properties: { a: { type: "number" } } }).map(({ path }) => path),
          ["payload.properties.a.type"]
        )
      }
    })
  )

  it.effect("writes no name into code", () =>
    Effect.gen(function* () {
      const evil = [
        "'",
        '"',
        "`",
        "${process.exit(3)}",
        "\n",
        "\u2028",
        "\\",
        "*/process.exit(3)//",
        "');process.exit(3);//"
      ]
      for (const name of [...evil, evil.join("")]) {
        const schema = {
          $id: `http://x/${encodeURIComponent(name)}`,
          $comment: name,
          title: name,
          properties: { [name]: { enum: [name, 1], const: name } },
          required: [name],
          dependencies: { [name]: [name] },
          definitions: { [name]: { type: "string" } }
        }
        const { check } = yield* compile(schema)
        assert.deepStrictEqual(check({ [name]: name }), [])
        assert.deepStrictEqual(
          check({ [name]: 1 }).map(({ path }) => path),
          [`payload.${name}`]
        )
      }
      assert.include(yield* refused('{"properties":{"\\ud800":{}}}'), "not well-formed Unicode")
    })
  )

  it.effect("refuses what looks ahead or back, and too much of anything", () =>
    Effect.gen(function* () {
      for (const pattern of ["^(?=a)", "(?<!a)b", "(a)\\1", "(?<x>a)\\k<x>"]) {
        assert.include(yield* refused(JSON.stringify({ pattern })), "looks ahead or back")
      }
      assert.include(yield* refused('{"pattern":"("}'), "cannot be used")
      assert.include(yield* refused(JSON.stringify({ pattern: "a".repeat(1_001) })), "longer than 1000")
      assert.include(
        yield* refused(
          JSON.stringify(
            many(40, (i) => i).reduce<unknown>((inner, i) => ({ allOf: [inner, { pattern: `x${i}a{1000}` }] }), {})
          )
        ),
        "more than 20000 steps"
      )
      assert.include(yield* refused(`"${"x".repeat(1_048_576)}"`), "larger than 1048576 bytes")
      assert.include(yield* refused(`${'{"not":'.repeat(200)}{}${"}".repeat(200)}`), "deeper than 100 levels")
      assert.include(yield* refused(JSON.stringify({ properties: named(6_000, "p", () => true) })), "more than 5000")
      assert.include(
        yield* refused('{"definitions":{"a":{"allOf":[{"$ref":"#/definitions/a"}]}},"$ref":"#/definitions/a"}'),
        "refers to itself without end"
      )
    })
  )

  it.effect("goes on as before after a check was ended in the middle", () =>
    Effect.gen(function* () {
      const { check } = yield* compile({
        anyOf: [{ type: "string" }, { properties: { a: { allOf: [{ $ref: "#" }, { $ref: "#" }] } }, pattern: "^a" }]
      })
      const multiplied = many(60, () => 0).reduce<unknown>((a) => ({ a }), { b: 1 })
      for (let count = 0; count < 2; count++) {
        assert.include(check(multiplied)[0]!.message, "takes more than 250 ms")
        assert.deepStrictEqual(check({ a: { a: "x" } }), [])
      }
    })
  )

  const deep = (levels: number): unknown => JSON.parse(`${"[".repeat(levels)}${"]".repeat(levels)}`)
  const branch = (i: number) => ({ allOf: [{ $ref: `#/definitions/a${i + 1}` }, { $ref: `#/definitions/a${i + 1}` }] })
  const hostile: ReadonlyArray<readonly [string, unknown, unknown]> = [
    ["references that double", { definitions: { ...named(40, "a", branch), a40: {} }, $ref: "#/definitions/a0" }, 1],
    [
      "a recursion that doubles",
      { properties: { a: { allOf: [{ $ref: "#" }, { $ref: "#" }] } } },
      many(60, () => 0).reduce<unknown>((a) => ({ a }), 1)
    ],
    ["as many properties as can be", { properties: named(2_400, "p", () => ({ type: "string" })) }, { p1: 1 }],
    ["as many alternatives as can be", { anyOf: many(2_000, (i) => ({ const: i })) }, "x"],
    [
      "as many references as can be",
      {
        definitions: { a: { items: { $ref: "#/definitions/a" } } },
        oneOf: many(2_000, () => ({ $ref: "#/definitions/a" }))
      },
      [1]
    ],
    [
      "unevaluated alternatives",
      {
        $schema: draft2020,
        unevaluatedProperties: false,
        anyOf: many(1_000, (i) => ({ properties: { [`p${i}`]: true } }))
      },
      { q: 1 }
    ],
    ["a huge enum", { items: { enum: many(100_000, (i) => i) } }, many(200_000, () => 99_999)],
    ["a huge enum of objects", { items: { enum: many(40_000, (i) => ({ a: i })) } }, many(50_000, () => ({ a: 1 }))],
    ["300,000 items that must differ", { uniqueItems: true }, many(300_000, (i) => i)],
    ["100,000 objects that must differ", { uniqueItems: true }, many(100_000, (i) => ({ a: i }))],
    ["the catastrophic expression", { pattern: "^(a+)+$" }, `${"a".repeat(1_000_000)}!`],
    ["an expression with counts", { pattern: "(a{1000}|b{900}c{900}){1}$" }, "ab".repeat(500_000)],
    [
      "many expressions on many names",
      { patternProperties: named(1_500, "^a", () => ({})) },
      named(50_000, "b", () => 1)
    ],
    [
      "more violations than memory",
      { items: { $ref: "#/definitions/a" }, definitions: { a: { type: "string" } } },
      many(300_000, () => 1)
    ],
    ["an event of 400,000 levels", { items: { $ref: "#" } }, deep(400_000)],
    ["an event of 400,000 levels in an enum", { enum: [[1]] }, deep(400_000)],
    [
      "required names on many objects",
      { required: many(4_000, (i) => `p${i}`), items: { $ref: "#" } },
      many(100_000, () => ({}))
    ]
  ]
  for (const [name, schema, value] of hostile) {
    it.effect(`ends in time: ${name}`, () =>
      Effect.andThen(compile({ $schema: draft2020 }), endsInTime(name, compile(schema), value))
    )
  }
})
