/** The drafts of JSON Schema that are spoken here, and how a document names its own. */
import { Result } from "effect"

export type Draft = "draft-07" | "2019-09" | "2020-12"

/** Fails: with a sentence, for a draft that is not spoken. */
export const draftOf = (schema: unknown, fallback: Draft): Result.Result<Draft, string> => {
  if (typeof schema !== "object" || schema === null || !Object.hasOwn(schema, "$schema"))
    return Result.succeed(fallback)
  const name = (schema as { readonly $schema: unknown }).$schema
  const draft = typeof name === "string" ? names.get(name.replace(/^https?:/, "").replace(/#$/, "")) : undefined
  return draft === undefined
    ? Result.fail(
        `$schema ${JSON.stringify(name)?.slice(0, 200)} is not known here: use draft-07 (http://json-schema.org/draft-07/schema#), 2019-09 or 2020-12 (https://json-schema.org/draft/2020-12/schema)`
      )
    : Result.succeed(draft)
}

const names = new Map<string, Draft>([
  ["//json-schema.org/draft-06/schema", "draft-07"],
  ["//json-schema.org/draft-07/schema", "draft-07"],
  ["//json-schema.org/draft/2019-09/schema", "2019-09"],
  ["//json-schema.org/draft/2020-12/schema", "2020-12"]
])

/** Whether a document asks, by a word of ours or by the standard's vocabulary, for its formats to be asserted. */
export const assertsFormats = (schema: unknown): boolean => {
  if (typeof schema !== "object" || schema === null) return false
  const root = schema as { readonly "x-assert-formats"?: unknown; readonly $vocabulary?: Record<string, unknown> }
  const vocabulary = typeof root.$vocabulary === "object" ? (root.$vocabulary ?? {}) : {}
  return (
    root["x-assert-formats"] === true ||
    vocabulary["https://json-schema.org/draft/2020-12/vocab/format-assertion"] === true ||
    vocabulary["https://json-schema.org/draft/2019-09/vocab/format"] === true
  )
}

/** Keywords that say nothing in a draft, though another has them. "dependencies" counts in all, as the compiler has it. */
export const silent: Readonly<Record<Draft, ReadonlyArray<string>>> = {
  "draft-07": [
    "dependentRequired",
    "dependentSchemas",
    "prefixItems",
    "minContains",
    "maxContains",
    "unevaluatedItems",
    "unevaluatedProperties",
    "$dynamicRef",
    "$recursiveRef"
  ],
  "2019-09": ["prefixItems", "$dynamicRef"],
  "2020-12": ["additionalItems", "$recursiveRef"]
}

/** Keywords by what stands behind them. */
export const inPlaceLists: ReadonlyArray<string> = ["allOf", "anyOf", "oneOf"]
export const inPlaceSingles: ReadonlyArray<string> = ["not", "if", "then", "else"]
export const inPlaceMaps: ReadonlyArray<string> = ["dependentSchemas", "dependencies"]
export const childSingles: ReadonlyArray<string> = [
  "additionalProperties",
  "additionalItems",
  "unevaluatedItems",
  "unevaluatedProperties",
  "propertyNames",
  "contains",
  "items"
]
export const childLists: ReadonlyArray<string> = ["prefixItems", "items"]
export const childMaps: ReadonlyArray<string> = ["properties", "patternProperties"]
export const shelves: ReadonlyArray<string> = ["definitions", "$defs"]
/** Their values are data, not schemas. */
export const dataKeywords: ReadonlySet<string> = new Set(["enum", "const", "default", "examples", "example"])
