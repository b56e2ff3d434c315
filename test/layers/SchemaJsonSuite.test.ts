/** The official JSON Schema test suite, through the gateway's validator. */
import { readdirSync, readFileSync } from "node:fs"
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

/** What passes now. */
const least = {
  "draft-07": { required: 904, optional: 680 },
  "2019-09": { required: 1205, optional: 801 },
  "2020-12": { required: 1208, optional: 804 }
}

const outcomes = Effect.fnUntraced(function* (folder: string, draft: (typeof drafts)[number][1], file: string) {
  // What the suite holds under optional/format is about formats that are asserted; the rest leaves them alone.
  const formats = /^optional\/format/.test(file) ? "asserted" : "asked"
  const language = SchemaJson.make({ draft, formats })
  const failed: Array<string> = []
  let passed = 0
  let refused = 0
  for (const group of JSON.parse(readFileSync(resolve(suite, folder, file), "utf8")) as ReadonlyArray<Case>) {
    const compiled = yield* Effect.result(language.compile(JSON.stringify(group.schema)))
    for (const test of group.tests) {
      const valid = Result.isSuccess(compiled) ? compiled.success.check(test.data).length === 0 : undefined
      if (valid === undefined) refused++
      if (valid === test.valid) passed++
      else failed.push(`${file}: ${group.description}: ${test.description}`)
    }
  }
  return { passed, failed, refused }
})

describe("SchemaJson and the official test suite", () => {
  for (const [folder, draft] of drafts) {
    it.effect(`passes what is required of ${draft}, but for the failures that are named`, () =>
      Effect.gen(function* () {
        const count = { required: { passed: 0, failed: 0 }, optional: { passed: 0, failed: 0 } }
        const failures: Array<string> = []
        let refusals = 0
        for (const file of readdirSync(resolve(suite, folder), { recursive: true, encoding: "utf8" }).sort()) {
          if (!file.endsWith(".json")) continue
          const { failed, passed, refused } = yield* outcomes(folder, draft, file)
          const kind = file.startsWith("optional/") || file.startsWith("proposals/") ? "optional" : "required"
          count[kind].passed += passed
          count[kind].failed += failed.length
          if (kind === "required") {
            failures.push(...failed)
            refusals += refused
          } else if (process.env.SUITE_OPTIONAL === "1") console.log(failed.join("\n"))
        }
        const named = Object.entries(known[draft] ?? {}).flatMap(([file, names]) =>
          names.map((name) => `${file}.json: ${name}`)
        )
        const remote = failures.filter((name) => name.startsWith("refRemote.json"))
        const others = failures.filter((name) => !remote.includes(name))
        console.log(
          `JSON Schema ${draft} | required: ${count.required.passed} passed, ${count.required.failed} failed (${remote.length} remote, ${others.length} others; ${refusals} of them as the schema is refused) | optional: ${count.optional.passed} passed, ${count.optional.failed} failed`
        )
        // Neither one more, nor one that passes now and is still on the list.
        assert.deepStrictEqual(others.sort(), named.sort())
        for (const name of failures) assert.isString(reasons[name.slice(0, name.indexOf(".json"))], name)
        assert.isAtLeast(count.required.passed, least[draft].required)
        assert.isAtLeast(count.optional.passed, least[draft].optional)
      })
    )
  }
})
