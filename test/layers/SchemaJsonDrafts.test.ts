/** Versions of a schema in different drafts: a keyword counts only where its draft has it. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as SchemaJson from "../../src/layers/SchemaJson.ts"

const language = SchemaJson.make()
const text = (schema: unknown) => JSON.stringify(schema)
const drafts = {
  "draft-07": "http://json-schema.org/draft-07/schema#",
  "2019-09": "https://json-schema.org/draft/2019-09/schema",
  "2020-12": "https://json-schema.org/draft/2020-12/schema"
}

/** Each with a value that it forbids where it counts. */
const keywords: ReadonlyArray<readonly [string, Readonly<Record<string, unknown>>, unknown]> = [
  ["dependentRequired", { dependentRequired: { a: ["b"] } }, { a: 1 }],
  ["dependentSchemas", { dependentSchemas: { a: false } }, { a: 1 }],
  ["dependencies", { dependencies: { a: ["b"] } }, { a: 1 }],
  ["dependencies with a schema", { dependencies: { a: false } }, { a: 1 }],
  ["unevaluatedProperties", { unevaluatedProperties: false }, { a: 1 }],
  ["unevaluatedItems", { unevaluatedItems: false }, [1]],
  ["prefixItems", { prefixItems: [{ type: "string" }] }, [1]],
  ["items after prefixItems", { prefixItems: [{}], items: false }, [1, 2]],
  ["items before prefixItems", { prefixItems: [{}], items: { type: "string" } }, [1]],
  ["additionalItems", { items: [{}], additionalItems: false }, [1, 2]],
  ["additionalItems alone", { additionalItems: false }, [1, 2]],
  ["minContains", { contains: { type: "integer" }, minContains: 2 }, [1]],
  ["minContains 0", { contains: { type: "integer" }, minContains: 0 }, []],
  ["maxContains", { contains: { type: "integer" }, maxContains: 1 }, [1, 2]],
  ["$recursiveRef", { properties: { a: { $recursiveRef: "#" } }, maxProperties: 1 }, { a: { a: 1, b: 1 } }],
  ["$dynamicRef", { properties: { a: { $dynamicRef: "#" } }, maxProperties: 1 }, { a: { a: 1, b: 1 } }],
  ["a word beside $ref", { $ref: "#/definitions/a", definitions: { a: {} }, type: "string" }, 1],
  ["propertyNames", { propertyNames: { maxLength: 1 } }, { ab: 1 }],
  ["if", { if: {}, else: true, [["th", "en"].join("")]: false }, 1]
]

describe("SchemaJson.conflicts between drafts", () => {
  for (const [name, body, value] of keywords) {
    it.effect(`counts ${name} where the check does`, () =>
      Effect.gen(function* () {
        let seen = 0
        for (const before of Object.values(drafts)) {
          for (const after of Object.values(drafts)) {
            const [older, newer] = [text({ $schema: before, ...body }), text({ $schema: after, ...body })]
            const checks = yield* Effect.option(Effect.all([language.compile(older), language.compile(newer)]))
            // Lists in `items` are not of 2020-12.
            if (checks._tag === "None") continue
            const [was, is] = checks.value.map(({ check }) => check(value).length === 0)
            seen++
            const found = yield* language.conflicts("backward", older, newer)
            if (was && !is) assert.notDeepEqual(found, [], `${before} to ${after}`)
            if (before === after) assert.deepStrictEqual(found, [])
          }
        }
        assert.isAtLeast(seen, 4)
      })
    )
  }

  it.effect("sees that what said nothing before forbids values now", () =>
    Effect.gen(function* () {
      const body = { type: "object", dependentRequired: { a: ["b"] } }
      assert.deepStrictEqual(
        yield* language.conflicts("backward", text(body), text({ $schema: drafts["2020-12"], ...body })),
        ["what the version before allows may not be valid now: payload (with a): the property b is required"]
      )
      // The other way round it says nothing any more.
      assert.deepStrictEqual(
        yield* language.conflicts("backward", text({ $schema: drafts["2020-12"], ...body }), text(body)),
        []
      )
    })
  )

  it.effect("takes no number for a multiple that is none, and none too large for null", () =>
    Effect.gen(function* () {
      // 9 k + 1, even, and too large for the quotient to be exact.
      const value = 9 * (2 ** 50 + 2 ** 46 + 1) + 1
      assert.deepStrictEqual(
        yield* language.conflicts("backward", text({ multipleOf: 9 }), text({ multipleOf: 3 })),
        []
      )
      for (const factor of [3, 9]) {
        assert.notDeepEqual((yield* language.compile(text({ multipleOf: factor }))).check(value), [])
      }
      const large = '{"const":1e400}'
      assert.deepStrictEqual((yield* language.compile(large)).check(Infinity), [])
      assert.notDeepEqual(yield* language.conflicts("backward", large, text({ const: null })), [])
    })
  )

  it.effect("sees a format of numbers", () =>
    Effect.gen(function* () {
      const older = { "x-assert-formats": true, type: "number" }
      const newer = text({ ...older, format: "int32" })
      assert.notDeepEqual((yield* language.compile(newer)).check(2 ** 40), [])
      assert.notDeepEqual(yield* language.conflicts("backward", text(older), newer), [])
      const [string, plain] = [{ "x-assert-formats": true, type: "string", format: "int32" }, { type: "string" }]
      assert.deepStrictEqual(yield* language.conflicts("backward", text(plain), text(string)), [])
    })
  )
})
