/** The official JSON Schema test suite, through the gateway's validator, and what the docs say of it. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { resolve } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Result } from "effect"
import * as SchemaJson from "../../src/layers/SchemaJson.ts"
import { known, reasons } from "./SchemaJsonSuiteKnown.ts"

interface Case {
  readonly description: string
  readonly schema: unknown
  readonly tests: ReadonlyArray<{ readonly description: string; readonly data: unknown; readonly valid: boolean }>
}

const suite = resolve(import.meta.dirname, "../fixtures/json-schema-test-suite/tests")
const drafts = [
  ["draft7", "draft-07"],
  ["draft2019-09", "2019-09"],
  ["draft2020-12", "2020-12"]
] as const
type Draft = (typeof drafts)[number][1]

interface Outcome {
  readonly right: ReadonlyArray<string>
  /** The schema was refused: there is no verdict. */
  readonly refused: ReadonlyArray<string>
  readonly wrong: ReadonlyArray<string>
}

const outcomeOf = Effect.fnUntraced(function* (folder: string, draft: Draft, file: string) {
  const language = SchemaJson.make({ draft })
  const outcome = { right: Array.of<string>(), refused: Array.of<string>(), wrong: Array.of<string>() }
  for (const group of JSON.parse(readFileSync(resolve(suite, folder, file), "utf8")) as ReadonlyArray<Case>) {
    // What the suite holds under optional/format is about formats that are asserted: so the schema asks for that.
    const asking = kindOf(file) === "formats" && typeof group.schema === "object" ? { "x-assert-formats": true } : {}
    const schema = typeof group.schema === "object" ? { ...group.schema, ...asking } : group.schema
    const compiled = yield* Effect.result(language.compile(JSON.stringify(schema)))
    for (const test of group.tests) {
      const name = `${file}: ${group.description}: ${test.description}`
      if (Result.isFailure(compiled)) outcome.refused.push(name)
      else if ((compiled.success.check(test.data).length === 0) === test.valid) outcome.right.push(name)
      else outcome.wrong.push(name)
    }
  }
  return outcome
})

type Kind = "required" | "formats" | "others"

const kindOf = (file: string): Kind =>
  file.startsWith("optional/format/") ? "formats" : /^(?:optional|proposals)\//.test(file) ? "others" : "required"

const measure = Effect.fnUntraced(function* (folder: string, draft: Draft) {
  const found = { required: [] as Array<Outcome>, formats: [] as Array<Outcome>, others: [] as Array<Outcome> }
  for (const file of readdirSync(resolve(suite, folder), { recursive: true, encoding: "utf8" }).sort()) {
    if (file.endsWith(".json")) found[kindOf(file)].push(yield* outcomeOf(folder, draft, file))
  }
  const together = (kind: Kind): Outcome => ({
    right: found[kind].flatMap(({ right }) => right),
    refused: found[kind].flatMap(({ refused }) => refused),
    wrong: found[kind].flatMap(({ wrong }) => wrong)
  })
  return { draft, required: together("required"), formats: together("formats"), others: together("others") }
})

const number = (count: number): string => count.toLocaleString("en-US")
const rightOf = ({ refused, right, wrong }: Outcome): string =>
  `${number(right.length)} of ${number(right.length + refused.length + wrong.length)}`
const fileOf = (name: string): string =>
  name.slice(name.lastIndexOf("/", name.indexOf(".json")) + 1, name.indexOf(".json"))

/** How many there are of each file. */
const byFile = (names: ReadonlyArray<string>): string => {
  const counts = new Map<string, number>()
  if (names.length === 0) return "none"
  for (const name of names) counts.set(fileOf(name), (counts.get(fileOf(name)) ?? 0) + 1)
  return [...counts]
    .sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1))
    .map(([file, count]) => `${file} ${count}`)
    .join(", ")
}

const table = (measured: ReadonlyArray<Effect.Success<ReturnType<typeof measure>>>): string => {
  const rows = measured.map(({ draft, formats, others, required }) => {
    const why = new Map<string, number>()
    for (const name of required.refused) {
      const reason = reasons[fileOf(name)]!
      why.set(reason, (why.get(reason) ?? 0) + 1)
    }
    const refused = [...why].map(([reason, count]) => `${count} for ${reason}`).join(", ")
    return `| ${draft} | ${rightOf(required)} | ${required.wrong.length} | ${refused} | ${rightOf(formats)} | ${rightOf(others)} |`
  })
  const others = measured.map(({ draft, formats, others }) => {
    const [refused, wrong] = [
      [...formats.refused, ...others.refused],
      [...formats.wrong, ...others.wrong]
    ]
    return `- ${draft}: ${byFile(refused)} refused; ${byFile(wrong)} wrong.`
  })
  return [
    "| official suite | required | verdicts wrong | schema refused | formats, on request | optional |",
    "|---|---|---|---|---|---|",
    ...rows,
    "",
    "What is not right among formats and optional tests, by the suite's files:",
    "",
    ...others
  ].join("\n")
}

describe("SchemaJson and the official test suite", () => {
  for (const [folder, draft] of drafts) {
    it.effect(`has no wrong verdict in what is required of ${draft}, and refuses only what is named`, () =>
      Effect.gen(function* () {
        const { formats, others, required } = yield* measure(folder, draft)
        console.log(
          `JSON Schema ${draft} | required: ${rightOf(required)}, ${required.refused.length} refused | formats: ${rightOf(formats)}, ${formats.refused.length} refused | optional: ${rightOf(others)}, ${others.refused.length} refused`
        )
        if (process.env.SUITE_OPTIONAL === "1") console.log([...formats.wrong, ...others.wrong].join("\n"))
        assert.deepStrictEqual(required.wrong, [])
        assert.deepStrictEqual(formats.wrong, [])
        const named = Object.entries(known[draft] ?? {}).flatMap(([file, names]) =>
          names.map((name) => `${file}.json: ${name}`)
        )
        // Neither one more, nor one that passes now and is still on the list.
        const here = required.refused.filter((name) => fileOf(name) !== "refRemote")
        assert.deepStrictEqual([...here].sort(), named.sort())
        for (const name of required.refused) assert.isString(reasons[fileOf(name)], name)
      })
    )
  }

  it.effect("is reported in docs/schemas.md as it is measured", () =>
    Effect.gen(function* () {
      const file = resolve(import.meta.dirname, "../../docs/schemas.md")
      const wanted = table(yield* Effect.forEach(drafts, ([folder, draft]) => measure(folder, draft)))
      const between = /(<!-- measured: [^\n]*-->\n)[\s\S]*?(\n<!-- end -->)/
      const text = readFileSync(file, "utf8")
      const written = text.replace(between, (_, before: string, after: string) => `${before}${wanted}${after}`)
      if (process.env.UPDATE_DOCS !== undefined) writeFileSync(file, written)
      assert.match(text, between)
      assert.strictEqual(
        readFileSync(file, "utf8"),
        written,
        "run UPDATE_DOCS=1 npx vitest run test/layers/SchemaJsonSuite.test.ts"
      )
    })
  )
})
