/** Protobuf: the JSON mapping, the binary form against the vendor's encoder, conflicts, and hostile texts. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Result } from "effect"
import protobuf from "protobufjs"
import * as SchemaProtobuf from "../../src/layers/SchemaProtobuf.ts"

const language = SchemaProtobuf.make()
const refused = (text: string) => Effect.map(Effect.flip(language.compile(text)), ({ message }) => message)

const file = `// An order.
syntax = "proto3";
package shop;
import "google/protobuf/timestamp.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/wrappers.proto";
import "google/protobuf/field_mask.proto";
import "google/protobuf/any.proto";
message Order {
  string order_id = 1;
  int64 total = 2;
  repeated sint32 counts = 3;
  map<string, Line> lines = 4;
  State state = 5;
  bytes raw = 6;
  oneof pay { string card = 7; bool cash = 8; }
  google.protobuf.Timestamp at = 9;
  google.protobuf.Duration took = 10;
  google.protobuf.Struct more = 11;
  google.protobuf.StringValue note = 12;
  google.protobuf.FieldMask mask = 13;
  google.protobuf.Any any = 14;
  optional float price = 15;
  map<uint64, fixed64> ids = 16;
  string constructor = 17;
  string toString = 18;
  message Line { Line of = 1; double size = 2; }
  enum State { UNKNOWN = 0; PAID = 1; }
}
message Other { int32 a = 1; }
`
const valid = {
  orderId: "a",
  total: "-9223372036854775808",
  counts: [1, "-2"],
  lines: { x: { of: { size: "NaN" } } },
  state: "PAID",
  raw: "/w==",
  cash: true,
  at: "2024-01-31T12:00:00.5Z",
  took: "-1.5s",
  more: { a: [null, 1, { b: "c" }] },
  note: "n",
  mask: "a.b,c",
  any: { "@type": "type.googleapis.com/shop.Other", a: 5 },
  price: 1.5,
  ids: { "18446744073709551615": "1" },
  constructor: "own",
  toString: "own"
}

describe("SchemaProtobuf", () => {
  it.effect("accepts the JSON mapping, by both names, with numbers as text, and null for what is left out", () =>
    Effect.gen(function* () {
      const { check } = yield* language.compile(file)
      assert.deepStrictEqual(check(valid), [])
      assert.deepStrictEqual(check({}), [])
      assert.deepStrictEqual(check({ order_id: "a", state: 7, cash: null, card: "x", total: null }), [])
    })
  )

  it.effect("names every violation with its path", () =>
    Effect.gen(function* () {
      const { check } = yield* language.compile(file)
      const wrong = check({
        orderId: 1,
        order_id: "twice",
        total: "9223372036854775808",
        counts: [1, 2.5, null],
        lines: { x: { of: { nope: 1 } } },
        state: "toString",
        raw: "a",
        card: "x",
        cash: true,
        at: "2024-02-31",
        took: "1",
        more: [],
        note: 1,
        any: { "@type": "x/shop.Unknown" },
        price: 1e300,
        ids: { "-1": 1 },
        hasOwnProperty: 1
      })
      assert.deepStrictEqual(
        wrong.map(({ path }) => path.replace("payload.", "")),
        [
          "orderId",
          "order_id",
          "total",
          "counts.1",
          "counts.2",
          "lines.x.of.nope",
          "state",
          "raw",
          "cash",
          "at",
          "took",
          "more",
          "note",
          "any.@type",
          "price",
          "ids.-1",
          "hasOwnProperty"
        ]
      )
    })
  )

  it.effect("reads what the vendor writes, as values that it accepts", () =>
    Effect.gen(function* () {
      const { check, decode } = yield* language.compile(file)
      const root = protobuf.parse(file, new protobuf.Root(), { keepCase: true }).root
      for (const name of ["timestamp", "duration", "struct", "wrappers", "field_mask", "any"]) {
        root.addJSON(protobuf.common.get(`google/protobuf/${name}.proto`)!.nested!)
      }
      const Order = root.lookupType("shop.Order")
      const Other = root.lookupType("shop.Other")
      const bytes = Order.encode(
        Order.fromObject({
          order_id: "ä",
          total: -5,
          counts: [1, -2, 3],
          lines: { x: { of: { size: 2.5 } }, __proto__x: {} },
          state: 1,
          raw: Buffer.from([255]),
          cash: true,
          at: { seconds: 1_706_702_400, nanos: 500_000_000 },
          took: { seconds: -1, nanos: -500_000_000 },
          more: { fields: { a: { listValue: { values: [{ nullValue: 0 }, { numberValue: 1 }] } } } },
          note: { value: "n" },
          mask: { paths: ["a_b", "c"] },
          any: { type_url: "type.googleapis.com/shop.Other", value: Other.encode(Other.fromObject({ a: 5 })).finish() },
          price: 1.5,
          ids: { 7: 8 },
          constructor: "c",
          toString: "t"
        })
      ).finish()
      const decoded = Result.getOrThrow(decode!(bytes)) as any
      assert.deepStrictEqual(check(decoded), [])
      assert.deepStrictEqual(decoded, {
        orderId: "ä",
        total: "-5",
        counts: [1, -2, 3],
        lines: { x: { of: { size: 2.5 } }, __proto__x: {} },
        state: "PAID",
        raw: "/w==",
        cash: true,
        at: "2024-01-31T12:00:00.5Z",
        took: "-1.5s",
        more: { a: [null, 1] },
        note: "n",
        mask: "aB,c",
        any: { "@type": "type.googleapis.com/shop.Other", a: 5 },
        price: 1.5,
        ids: { 7: "8" },
        constructor: "c",
        toString: "t"
      })
    })
  )

  it.effect("skips fields it does not know, and refuses bytes that are cut or of another form", () =>
    Effect.gen(function* () {
      const { decode } = yield* language.compile(
        'syntax = "proto3"; message A { int32 a = 1; string s = 2; A of = 3; }'
      )
      assert.deepStrictEqual(decode!(Uint8Array.of(0x08, 5, 0x50, 1, 0x5a, 1, 65)), Result.succeed({ a: 5 }))
      for (const bytes of [
        [0x08],
        [0x0a, 1, 1],
        [0x12, 5, 65],
        [0x12, 1, 0xff],
        [0x0b],
        [0x00],
        [0x08, ...Array(11).fill(0xff)]
      ]) {
        assert.isTrue(Result.isFailure(decode!(Uint8Array.from(bytes))), String(bytes))
      }
      let deep: Uint8Array = Uint8Array.of()
      for (let depth = 0; depth < 300; depth++) {
        deep = protobuf.Writer.create().uint32(26).bytes(deep).finish()
      }
      assert.deepStrictEqual(decode!(deep), Result.fail("not protobuf: it is deeper than 200 levels"))
    })
  )

  it.effect("takes the first message, or the one that is named", () =>
    Effect.gen(function* () {
      const named = yield* language.compile(`// @message Other\n${file}`)
      assert.deepStrictEqual(named.check({ a: 1 }), [])
      assert.include(yield* refused(`// @message Nothing\n${file}`), "names no message")
    })
  )

  it.effect("refuses what is not proto3, imports, and texts made to hurt", () =>
    Effect.gen(function* () {
      const started = performance.now()
      assert.include(yield* refused('syntax = "proto2"; message A {}'), "must begin with")
      assert.include(yield* refused('syntax = "proto3"; import "other.proto"; message A {}'), "nothing is fetched")
      assert.include(
        yield* refused('syntax = "proto3"; import "google/protobuf/../x"; message A {}'),
        "nothing is fetched"
      )
      assert.include(yield* refused('syntax = "proto3"; package google.protobuf; message A {}'), "not yours")
      assert.include(yield* refused('syntax = "proto3"; message __proto__ { int32 a = 1; }'), "__proto__")
      assert.include(yield* refused('syntax = "proto3"; message A { Nothing a = 1; }'), "Nothing")
      assert.include(yield* refused('syntax = "proto3";'), "no message")
      assert.include(yield* refused("x".repeat(1_048_577)), "larger than")
      const head = 'syntax = "proto3"; '
      yield* Effect.flip(language.compile(`${head}${"message A {".repeat(50_000)}${"}".repeat(50_000)}`))
      yield* Effect.flip(
        language.compile(
          `${head}message A {${Array.from({ length: 20_000 }, (_, i) => `int32 f${i} = ${i + 1};`).join("")}}`
        )
      )
      yield* Effect.flip(language.compile(`${head}${"/*".repeat(500_000)}`))
      yield* Effect.flip(language.compile("/".repeat(1_000_000)))
      assert.isBelow(performance.now() - started, 8_000)
    })
  )

  const version = (fields: string) => `syntax = "proto3"; message A { ${fields} }`
  const older = version("int32 a = 1; string b = 2; reserved 9;")
  for (const [name, fields, sentence] of [
    ["a number of another type", "string a = 1; string b = 2; reserved 9;", "was int32 and is string"],
    ["a field gone without a reserve", "int32 a = 1; reserved 9;", "is gone and its number is not reserved"],
    ["a name changed", "int32 z = 1; string b = 2; reserved 9;", "was named a and is named z"],
    ["a field repeated", "repeated int32 a = 1; string b = 2; reserved 9;", "was a single value and is repeated"],
    ["a reserved number", "int32 a = 1; string b = 2; int32 c = 9;", "takes the reserved number 9"],
    ["a field in a oneof", "int32 a = 1; oneof x { string b = 2; } reserved 9;", "into a oneof"]
  ] as const) {
    it.effect(`sees ${name}`, () =>
      Effect.gen(function* () {
        for (const rule of ["backward", "forward", "full"] as const) {
          assert.include((yield* language.conflicts(rule, older, version(fields))).join("\n"), sentence)
        }
        assert.deepStrictEqual(yield* language.conflicts("none", older, version(fields)), [])
      })
    )
  }

  it.effect("lets fields be added, and removed with a reserve, and numbers grow one way", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(
        yield* language.conflicts("full", older, version("int32 a = 1; string c = 3; reserved 2, 9;")),
        []
      )
      const wide = version("int64 a = 1; string b = 2; reserved 9;")
      assert.deepStrictEqual(yield* language.conflicts("backward", older, wide), [])
      assert.strictEqual((yield* language.conflicts("forward", older, wide)).length, 1)
    })
  )
})
