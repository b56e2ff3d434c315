/** JSON Schema as a language of the gateway: draft-07, 2019-09 and 2020-12. */
import { Effect, Result } from "effect"
import { SchemaInvalid, type SchemaLanguage } from "../services/SchemaLanguage.ts"
import * as JsonSchema from "./JsonSchema.ts"
import * as SchemaJsonConflicts from "./SchemaJsonConflicts.ts"
import * as SchemaText from "./SchemaText.ts"
import * as TimeLimit from "./TimeLimit.ts"

export interface Options extends JsonSchema.Options {
  readonly schemaBytesMax: number
}

export const defaults: Options = { ...JsonSchema.defaults, schemaBytesMax: SchemaText.bytesMaxDefault }

export const make = (options: Partial<Options> = {}): SchemaLanguage => {
  const limits = { ...defaults, ...options }
  const compiled = (text: string) =>
    Result.flatMap(SchemaText.parse(text, limits.schemaBytesMax), (schema) => JsonSchema.compile(schema, limits))
  const document = (text: string): Result.Result<unknown, string> =>
    Result.flatMap(compiled(text), () => SchemaText.parse(text, limits.schemaBytesMax))
  return {
    type: "json",
    compile: (text) =>
      Effect.suspend(() =>
        Effect.mapError(Effect.fromResult(Result.map(compiled(text), (check) => ({ check }))), invalid)
      ),
    conflicts: (rule, older, newer) =>
      Effect.suspend(() => {
        const both = Result.all([document(older), document(newer)])
        if (Result.isFailure(both)) return Effect.fail(invalid(both.failure))
        const found = TimeLimit.within(limits.compileMillis, () =>
          SchemaJsonConflicts.conflicts(rule, both.success[0], both.success[1], limits)
        )
        return Effect.succeed(
          Result.getOrElse(found, (reason) => [`it cannot be decided whether the versions go together: this ${reason}`])
        )
      })
  }
}

const invalid = (reason: string): SchemaInvalid => new SchemaInvalid({ reason })
