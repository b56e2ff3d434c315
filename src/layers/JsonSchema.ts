/** Compiles a JSON Schema into a check; its expressions run in linear time, whatever the text. */

import { Ajv, type AnySchema, type ValidateFunction } from "ajv"
import { Ajv2019 } from "ajv/dist/2019.js"
import { Ajv2020 } from "ajv/dist/2020.js"
import formats from "ajv-formats"
import { Result } from "effect"
import { RE2JS } from "re2js"

/** Undefined when the value matches, otherwise what does not: one sentence with the paths. */
export type Check = (value: unknown) => string | undefined

/** The draft is taken from `$schema`; without one it is 2020-12. Fails: with a sentence. */
export const compile = (schema: unknown): Result.Result<Check, string> =>
  Result.map(
    Result.try({
      try: () => validatorOf(schema),
      catch: (error) => (error instanceof Error ? error.message : String(error))
    }),
    (validate): Check =>
      (value) => {
        if (validate(value)) return undefined
        return (validate.errors ?? [])
          .slice(0, errorsMax)
          .map(({ instancePath, message, params }) => {
            const extra = "additionalProperty" in params ? ` (${params.additionalProperty})` : ""
            return `payload${instancePath.replaceAll("/", ".")} ${message}${extra}`
          })
          .join("; ")
      }
  )

/** Violations named in one reason. */
const errorsMax = 5

const validatorOf = (schema: unknown): ValidateFunction => {
  const draft = typeof schema === "object" && schema !== null && "$schema" in schema ? String(schema.$schema) : ""
  const options = {
    allErrors: true,
    strict: false,
    ownProperties: true,
    logger: false as const,
    code: { regExp: Object.assign(linear, { code: "linear" }) }
  }
  const ajv =
    draft.includes("draft-07") || draft.includes("draft-06")
      ? new Ajv(options)
      : draft.includes("2019-09")
        ? new Ajv2019(options)
        : new Ajv2020(options)
  formats.default(ajv as never)
  return ajv.compile(schema as AnySchema)
}

const linear = (pattern: string, _flags: string) => {
  const compiled = RE2JS.compile(pattern)
  return { test: (text: string) => compiled.matcher(text).find() }
}
