/** Avro: values as JSON, the binary form against the vendor's encoder, resolution, and hostile texts. */
import { assert, describe, it } from "@effect/vitest"
import avro from "avsc"
import { Effect, Result } from "effect"
import * as SchemaAvro from "../../src/layers/SchemaAvro.ts"

const language = SchemaAvro.make()
const compile = (schema: unknown) => language.compile(JSON.stringify(schema))
const refused = (text: string) => Effect.map(Effect.flip(language.compile(text)), ({ message }) => message)

const order = {
  type: "record",
  name: "Order",
  namespace: "shop",
  fields: [
    { name: "id", type: { type: "string", logicalType: "uuid" } },
    { name: "count", type: "int" },
    { name: "total", type: "long" },
    { name: "price", type: "double", default: 0 },
    { name: "raw", type: ["null", "bytes"], default: null },
    { name: "state", type: { type: "enum", name: "State", symbols: ["NEW", "PAID"] } },
    { name: "hash", type: { type: "fixed", name: "Hash", size: 2 } },
    { name: "tags", type: { type: "map", values: "string" } },
    {
      name: "lines",
      type: { type: "array", items: { type: "record", name: "Line", fields: [{ name: "of", type: ["null", "Line"] }] } }
    },
    { name: "either", type: ["null", "string", "long"] }
  ]
}
const valid = {
  id: "123e4567-e89b-12d3-a456-426614174000",
  count: 1,
  total: "9223372036854775807",
  raw: { bytes: "\u00ff\u0000" },
  state: "PAID",
  hash: "ab",
  tags: { a: "b", toString: "own", ["__proto__"]: "own" },
  lines: [{ of: { of: { of: null } } }, { of: { "shop.Line": { of: null } } }],
  either: 5
}

describe("SchemaAvro", () => {
  it.effect("accepts both ways to write a union, names, recursion, and defaults left out", () =>
    Effect.gen(function* () {
      const { check } = yield* compile(order)
      assert.deepStrictEqual(check(valid), [])
      assert.deepStrictEqual(check({ ...valid, raw: "\u00ff", either: { string: "x" }, price: "NaN" }), [])
    })
  )

  it.effect("names every violation with its path", () =>
    Effect.gen(function* () {
      const { check } = yield* compile(order)
      const wrong = check({
        ...valid,
        id: "no",
        count: 2 ** 31,
        total: 2 ** 53,
        raw: "\u0100",
        state: "toString",
        hash: "abc",
        tags: { a: 1 },
        lines: [{ of: null }, { of: { of: 5 } }],
        either: true,
        more: 1
      })
      assert.deepStrictEqual(
        wrong.map(({ path }) => path),
        ["id", "count", "total", "raw", "state", "hash", "tags.a", "lines.1.of.of", "either", "more"].map(
          (_) => `payload.${_}`
        )
      )
      assert.deepStrictEqual(check({}).map(({ message }) => message)[0], "must have the field id")
      assert.strictEqual(check({}).length, 8)
    })
  )

  it.effect("counts only own properties", () =>
    Effect.gen(function* () {
      const { check } = yield* compile({
        type: "record",
        name: "R",
        fields: [
          { name: "toString", type: "string" },
          { name: "constructor", type: "int" }
        ]
      })
      assert.strictEqual(check({}).length, 2)
      assert.deepStrictEqual(check({ toString: "a", constructor: 1 }), [])
    })
  )

  it.effect("reads what the vendor writes, as values that it accepts", () =>
    Effect.gen(function* () {
      const { check, decode } = yield* compile(order)
      const type = avro.Type.forSchema(order as never, { wrapUnions: "always" } as never)
      for (let count = 0; count < 300; count++) {
        const value = type.random() as any
        value.id = valid.id
        const decoded = decode!(type.toBuffer(value))
        assert.isTrue(Result.isSuccess(decoded), JSON.stringify(decoded))
        const json = Result.getOrThrow(decoded) as any
        assert.deepStrictEqual(check(json), [])
        assert.deepStrictEqual(json.lines, JSON.parse(JSON.stringify(value.lines)))
        assert.strictEqual(Buffer.from(json.hash, "latin1").equals(value.hash), true)
        assert.deepStrictEqual(Number(json.total), value.total)
      }
    })
  )

  it.effect("reads longs of 64 bits exactly, and refuses bytes that are cut, too long, or broken", () =>
    Effect.gen(function* () {
      const { decode } = yield* compile("long")
      const max = Uint8Array.of(0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01)
      assert.deepStrictEqual(decode!(max), Result.succeed("9223372036854775807"))
      for (const bytes of [[], [0x80], [0, 0], Array(11).fill(0xff)]) {
        assert.isTrue(Result.isFailure(decode!(Uint8Array.from(bytes))), String(bytes))
      }
      const text = yield* compile("string")
      assert.deepStrictEqual(text.decode!(Uint8Array.of(2, 0xff)), Result.fail("not Avro: a string is not UTF-8"))
    })
  )

  it.effect("ends in time for an array of a billion items without bytes, and for unions that multiply", () =>
    Effect.gen(function* () {
      const { decode } = yield* compile({ type: "array", items: "null" })
      const started = performance.now()
      assert.include(JSON.stringify(decode!(avro.Type.forSchema("long").toBuffer(1e12))), "more than 1000000 values")
      const next = (name: string) => ({ name: "next", type: ["null", "A", ...(name === "A" ? [] : ["B"])] })
      const multiply = yield* compile({
        type: "record",
        name: "A",
        fields: [{ name: "next", type: ["null", "A", { type: "record", name: "B", fields: [next("B")] }] }]
      })
      let value: unknown = 5
      for (let depth = 0; depth < 60; depth++) value = { next: value }
      assert.notDeepEqual(multiply.check(value), [])
      for (let depth = 0; depth < 5_000; depth++) value = { next: value }
      assert.include(multiply.check(value).at(-1)!.message, "deeper than 200")
      assert.isBelow(performance.now() - started, 5_000)
    })
  )

  it.effect("refuses what is no schema, and names that reach into the machine", () =>
    Effect.gen(function* () {
      assert.include(yield* refused('{"type":"constructor"}'), "not known")
      assert.include(yield* refused('"toString"'), "undefined type name")
      assert.include(
        yield* refused('{"type":"record","name":"a\\");process.exit(1)//","fields":[]}'),
        "name that cannot be used"
      )
      assert.include(
        yield* refused('{"type":"record","name":"R","fields":[{"name":"__proto__","type":"int"}]}'),
        "name that cannot"
      )
      assert.include(yield* refused("["), "not JSON")
      assert.include(yield* refused(`"${"x".repeat(1_048_576)}"`), "larger than 1048576 bytes")
      assert.include(
        yield* refused(`${'{"type":"array","items":'.repeat(500)}"int"${"}".repeat(500)}`),
        "deeper than 100"
      )
      const many = {
        type: "record",
        name: "R",
        fields: Array.from({ length: 6_000 }, (_, i) => ({ name: `f${i}`, type: "int" }))
      }
      assert.include(yield* refused(JSON.stringify(many)), "more than 5000")
    })
  )

  it.effect("tells conflicts by Avro's resolution, each way", () =>
    Effect.gen(function* () {
      const with_ = (...fields: ReadonlyArray<unknown>) => JSON.stringify({ type: "record", name: "R", fields })
      const a = { name: "a", type: "int" }
      const required = with_(a, { name: "b", type: "string" })
      const optional = with_(a, { name: "b", type: "string", default: "" })
      assert.include((yield* language.conflicts("backward", with_(a), required)).join(), "cannot be read by this one")
      assert.deepStrictEqual(yield* language.conflicts("forward", with_(a), required), [])
      assert.deepStrictEqual(yield* language.conflicts("full", with_(a), optional), [])
      assert.strictEqual((yield* language.conflicts("full", with_(a), with_({ name: "a", type: "string" }))).length, 2)
      assert.deepStrictEqual(yield* language.conflicts("backward", with_(a), with_({ name: "a", type: "long" })), [])
      assert.strictEqual((yield* language.conflicts("forward", with_(a), with_({ name: "a", type: "long" }))).length, 1)
      assert.deepStrictEqual(yield* language.conflicts("none", with_(a), '"string"'), [])
    })
  )
})
