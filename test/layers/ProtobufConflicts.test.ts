/** Whether one .proto file can follow another: by example, and against values made up at random. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as SchemaProtobuf from "../../src/layers/SchemaProtobuf.ts"
import { generator, pick, type Random } from "./Random.ts"

const language = SchemaProtobuf.make()
const message = (fields: string, more = "") => `syntax = "proto3"; ${more} message A { ${fields} }`
const file = (name: string) => `import "google/protobuf/${name}.proto";`

type Example = readonly [string, older: string, newer: string, value: unknown, sentence: string]

/** Each with a value that the older one allows and the newer one does not. */
const examples: ReadonlyArray<Example> = [
  [
    "a name in JSON gone",
    message('int32 a = 1 [json_name = "q"];'),
    message("int32 a = 1;"),
    { q: 1 },
    "A: the field a = 1 was q in JSON and is a"
  ],
  [
    "a name in JSON of another kind",
    message("int32 a_b = 1;"),
    message('int32 a_b = 1 [json_name = "a_b"];'),
    { aB: 1 },
    "A: the field a_b = 1 was aB in JSON and is a_b"
  ],
  [
    "a name in JSON taken by another field",
    message("int32 a = 1;"),
    message('int32 a = 1; string b = 2 [json_name = "a"];'),
    { a: 1 },
    "A: the name a was that of the field 1 and is that of the field 2 in JSON"
  ]
]

/** Under every rule, as readers skip what they do not know. */
const followers: ReadonlyArray<readonly [string, older: string, newer: string]> = [
  ["a field added", message("int32 a = 1;"), message("int32 a = 1; string b = 2;")],
  ["a field gone, its number reserved", message("int32 a = 1;"), message("reserved 1;")],
  ["a field gone, its number and name reserved", message("int32 a = 1;"), message('reserved 1; reserved "a";')],
  ["an enum value added", message("E a = 1; enum E { Z = 0; }"), message("E a = 1; enum E { Z = 0; Y = 1; }")],
  [
    "an enum value gone, its number and name reserved",
    message("E a = 1; enum E { Z = 0; Y = 1; }"),
    message('E a = 1; enum E { Z = 0; reserved 1; reserved "Y"; }')
  ],
  [
    "an import gone that no field used",
    message("google.protobuf.Any a = 1;", file("any") + file("duration")),
    message("google.protobuf.Any a = 1;", file("any"))
  ],
  [
    "a message added where an Any is",
    message("google.protobuf.Any a = 1;", file("any")),
    `${message("google.protobuf.Any a = 1;", file("any"))} message B {}`
  ],
  ["a name in JSON that says what it was", message("int32 a_b = 1;"), message('int32 a_b = 1 [json_name = "aB"];')]
]

describe("ProtobufConflicts", () => {
  for (const [name, older, newer, value, sentence] of examples) {
    it.effect(`sees ${name}`, () =>
      Effect.gen(function* () {
        const checks = yield* Effect.forEach([older, newer], language.compile, { concurrency: 1 })
        assert.deepStrictEqual(
          checks.map(({ check }) => check(value).length === 0),
          [true, false]
        )
        for (const rule of ["backward", "forward", "full"] as const) {
          assert.include(yield* language.conflicts(rule, older, newer), sentence)
        }
        assert.deepStrictEqual(yield* language.conflicts("none", older, newer), [])
      })
    )
  }

  for (const [name, older, newer] of followers) {
    it.effect(`lets ${name} follow`, () =>
      Effect.gen(function* () {
        for (const rule of ["backward", "forward", "full"] as const) {
          assert.deepStrictEqual(yield* language.conflicts(rule, older, newer), [])
        }
      })
    )
  }

  it.effect("sees what goes without a reserve", () =>
    Effect.gen(function* () {
      const older = message("E a = 1; enum E { Z = 0; Y = 1; }")
      for (const rule of ["backward", "forward", "full"] as const) {
        assert.deepStrictEqual(yield* language.conflicts(rule, older, message("enum E { Z = 0; Y = 1; }")), [
          "A: the field a = 1 is gone and its number is not reserved"
        ])
        assert.deepStrictEqual(
          yield* language.conflicts(rule, older, message("E a = 1; enum E { Z = 0; reserved 1; }")),
          ["A.E: the value Y = 1 is gone, and its number and name are not both reserved"]
        )
      }
    })
  )

  it.effect("refuses messages in the place of protobuf's own, which are not compared", () =>
    Effect.gen(function* () {
      const text =
        'syntax = "proto3"; package google; message A { protobuf.B b = 1; } message protobuf { message B {} }'
      const wrong = yield* Effect.flip(language.compile(text))
      assert.include(wrong.message, "google.protobuf is not yours")
    })
  )

  it.effect("says none only where every value that was valid stays valid, but for names that are gone", () =>
    Effect.gen(function* () {
      let none = 0
      let checked = 0
      for (let seed = 1; seed <= 2_000; seed++) {
        const random = generator(seed)
        const older = fileOf(random)
        const newer = mutated(random, older)
        const texts = [older, newer].map(textOf)
        const compiled = yield* Effect.option(Effect.forEach(texts, language.compile))
        // Such as a number that is taken and reserved.
        if (compiled._tag === "None") continue
        const [before, after] = compiled.value
        if ((yield* language.conflicts("backward", texts[0]!, texts[1]!)).length > 0) continue
        if (texts[0] !== texts[1]) none++
        for (let count = 0; count < 30; count++) {
          const value = valueOf(random, older)
          if (before!.check(value).length > 0) continue
          checked++
          const wrong = after!.check(value).filter(({ message }) => !gone.test(message))
          assert.deepStrictEqual(wrong, [], `seed ${seed}: ${JSON.stringify(value)} by ${texts[0]} and not ${texts[1]}`)
        }
      }
      // Otherwise nothing has been shown.
      assert.isAbove(none, 300)
      assert.isAbove(checked, 5_000)
    })
  )
})

/** Fields whose numbers are reserved, which readers of the wire skip; messages in an Any. */
const gone = /^is no field of |^must name a message of the file$/

interface Field {
  readonly id: number
  readonly name: string
  readonly type: string
  readonly label: "" | "optional " | "repeated " | "map"
  readonly oneof: string
  readonly json: string
}

interface File {
  readonly fields: ReadonlyArray<Field>
  readonly symbols: ReadonlyArray<string>
  readonly reserved: ReadonlyArray<string>
  readonly imports: ReadonlyArray<string>
}

const types = ["int32", "int64", "uint32", "uint64", "sint32", "sint64", "fixed32", "sfixed64", "bool", "string"]
types.push("bytes", "float", "double", "E", "A", "B", "google.protobuf.Any", "google.protobuf.Duration")
const names = ["a", "b", "a_b", "aB", "c_d_e", "q"]
const imports = ["any", "duration", "timestamp", "wrappers"]

const fieldOf = (random: Random, id: number): Field => ({
  id,
  name: pick(random, names),
  type: pick(random, types),
  label: pick(random, ["", "", "", "optional ", "repeated ", "map"] as const),
  oneof: pick(random, ["", "", "", "x", "y"]),
  json: pick(random, ["", "", "", ...names])
})

const fileOf = (random: Random): File => ({
  fields: Array.from({ length: 1 + random(3) }, (_, at) => fieldOf(random, at + 1)),
  symbols: ["Z = 0", "Y = 1", "X = 2"].slice(0, 1 + random(3)),
  reserved: random(3) === 0 ? ["9", '"q"'] : [],
  imports: random(3) === 0 ? imports.slice(0, 3) : imports
})

const textOf = ({ fields, imports, reserved, symbols }: File): string => {
  const line = ({ id, json, label, name, oneof, type }: Field): string => {
    const asked = json === "" ? "" : ` [json_name = "${json}"]`
    if (label === "map") return `map<${id % 2 === 0 ? "int32" : "string"}, ${type}> ${name} = ${id}${asked};`
    return `${oneof === "" ? label : ""}${type} ${name} = ${id}${asked};`
  }
  const lines = fields.filter(({ label, oneof }) => label === "map" || oneof === "").map(line)
  for (const name of ["x", "y"]) {
    const members = fields.filter(({ label, oneof }) => label !== "map" && oneof === name)
    if (members.length > 0) lines.push(`oneof ${name} { ${members.map(line).join(" ")} }`)
  }
  for (const one of reserved) lines.push(`reserved ${one};`)
  const head = imports.map(file).join(" ")
  const more = 'message B { int32 v = 1 [json_name = "w"]; }'
  return `syntax = "proto3"; ${head} message A { ${lines.join(" ")} } enum E { ${symbols.join("; ")}; } ${more}`
}

const wide: Readonly<Record<string, string>> = { int32: "int64", uint32: "uint64", sint32: "sint64" }

/** With one or two things changed. */
const mutated = (random: Random, older: File): File => {
  const next = change(random, older)
  return random(3) === 0 ? change(random, next) : next
}

const change = (random: Random, older: File): File => {
  const { fields } = older
  const at = random(fields.length)
  const one = fields[at]
  const put = (field: Partial<Field>): File => ({
    ...older,
    fields: fields.map((own, index) => (index === at ? { ...own, ...field } : own))
  })
  switch (one === undefined ? 0 : random(10)) {
    case 0:
    case 1:
      return { ...older, fields: [...fields, fieldOf(random, 4 + random(3))] }
    case 2:
      return {
        ...older,
        fields: fields.filter((own) => own !== one),
        reserved: [...older.reserved, String(one!.id), `"${one!.name}"`]
      }
    case 3:
      return put({ json: pick(random, ["", ...names]) })
    case 4:
      return put({ type: wide[one!.type] ?? pick(random, types) })
    case 5:
      return put({ label: pick(random, ["", "optional ", "repeated ", "map"] as const) })
    case 6:
      return put({ oneof: pick(random, ["", "x", "y"]) })
    case 7:
      return put({ name: pick(random, names) })
    case 8:
      return { ...older, imports: older.imports.filter((name) => name === "any" || random(3) > 0) }
    default:
      return { ...older, symbols: pick(random, [["Z = 0"], [...older.symbols, "W = 3"], ["Z = 0", "V = 1"]]) }
  }
}

const values: ReadonlyArray<unknown> = [
  0,
  1,
  -1,
  "5",
  2 ** 31,
  "9223372036854775807",
  2.5,
  "NaN",
  true,
  "",
  "ab==",
  "é"
]
const symbols = ["X", "Y", "Z"]

const valueOf = (random: Random, { fields }: File, depth = 3): unknown => {
  const one = (type: string): unknown => {
    if (random(20) === 0) return pick(random, [...values, null])
    if (type === "A") return depth > 0 ? valueOf(random, { fields } as File, depth - 1) : {}
    if (type === "B") return pick(random, [{ v: 1 }, { w: 1 }])
    if (type === "E") return pick(random, [...symbols, 7])
    if (type.endsWith("Duration")) return "1s"
    if (type.endsWith("Any")) {
      const named = pick(random, [
        { "@type": "x/B", w: 1 },
        { "@type": "x/google.protobuf.UInt64Value", value: 1 }
      ])
      return pick(random, [named, { "@type": "x/google.protobuf.Timestamp", value: "2024-01-31T12:00:00Z" }])
    }
    if (type === "string" || type === "bytes") return pick(random, ["", "ab==", "é"])
    return type === "bool" ? true : pick(random, values)
  }
  const present = fields.filter(() => random(3) > 0)
  return Object.fromEntries(
    present.map(({ json, label, name, type }) => {
      const camel = name.replaceAll(/_(.)/g, (_, letter: string) => letter.toUpperCase())
      const key = random(2) === 0 ? name : json === "" ? camel : json
      if (label === "map") return [key, { "1": one(type) }]
      return [key, label === "repeated " ? [one(type)] : one(type)]
    })
  )
}
