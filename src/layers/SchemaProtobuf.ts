/** Protobuf as a language of the gateway: a proto3 file, values in its JSON mapping, and its binary form. */
import { Effect, Result } from "effect"
import { SchemaInvalid, type SchemaLanguage } from "../services/SchemaLanguage.ts"
import * as ProtobufCheck from "./ProtobufCheck.ts"
import * as ProtobufConflicts from "./ProtobufConflicts.ts"
import * as ProtobufDecode from "./ProtobufDecode.ts"
import * as ProtobufTypes from "./ProtobufTypes.ts"
import * as SchemaFindings from "./SchemaFindings.ts"
import * as SchemaText from "./SchemaText.ts"
import * as TimeLimit from "./TimeLimit.ts"

export interface Options extends ProtobufTypes.Limits, SchemaFindings.Limits {
  readonly schemaBytesMax: number
  readonly compileMillis: number
}

export const defaults: Options = {
  ...SchemaFindings.limitsDefault,
  depthMax: 30,
  valuesMax: 5_000,
  schemaBytesMax: SchemaText.bytesMaxDefault,
  compileMillis: 500
}

export const make = (options: Partial<Options> = {}): SchemaLanguage => {
  const limits = { ...defaults, ...options }
  const parsed = (text: string): Result.Result<ProtobufTypes.Parsed, string> =>
    Result.flatMap(SchemaText.size(text, limits.schemaBytesMax), () =>
      Result.mapError(
        TimeLimit.within(limits.compileMillis, () => ProtobufTypes.parse(text, limits)),
        (reason) => `not a .proto file that can be used: ${reason.slice(0, 500)}`
      )
    )
  return {
    type: "protobuf",
    compile: (text) =>
      Effect.suspend(() =>
        Effect.mapError(
          Effect.fromResult(
            Result.map(parsed(text), (schema) => ({
              check: (value: unknown) => ProtobufCheck.check(schema, limits, value),
              decode: (bytes: Uint8Array) => ProtobufDecode.decode(schema, limits, bytes)
            }))
          ),
          invalid
        )
      ),
    conflicts: (rule, older, newer) =>
      Effect.suspend(() => {
        const both = Result.all([parsed(older), parsed(newer)])
        if (Result.isFailure(both)) return Effect.fail(invalid(both.failure))
        return Effect.succeed(ProtobufConflicts.conflicts(rule, both.success[0], both.success[1]))
      })
  }
}

const invalid = (reason: string): SchemaInvalid => new SchemaInvalid({ reason })
