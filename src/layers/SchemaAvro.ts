/** Avro as a language of the gateway: values as JSON, and Avro's binary form. */
import { Effect, Result } from "effect"
import { SchemaInvalid, type SchemaLanguage } from "../services/SchemaLanguage.ts"
import type { Compatibility } from "../services/SchemaRegistry.ts"
import * as AvroCheck from "./AvroCheck.ts"
import * as AvroConflicts from "./AvroConflicts.ts"
import * as AvroDecode from "./AvroDecode.ts"
import * as AvroTypes from "./AvroTypes.ts"
import * as SchemaFindings from "./SchemaFindings.ts"
import * as SchemaText from "./SchemaText.ts"
import * as TimeLimit from "./TimeLimit.ts"

export interface Options extends AvroTypes.Limits, SchemaFindings.Limits {
  readonly schemaBytesMax: number
  readonly compileMillis: number
}

export const defaults: Options = {
  ...SchemaFindings.limitsDefault,
  depthMax: 100,
  valuesMax: 5_000,
  schemaBytesMax: SchemaText.bytesMaxDefault,
  compileMillis: 500
}

export const make = (options: Partial<Options> = {}): SchemaLanguage => {
  const limits = { ...defaults, ...options }
  const parsed = (text: string): Result.Result<AvroTypes.Parsed, string> =>
    Result.flatMap(SchemaText.parse(text, limits.schemaBytesMax), (schema) =>
      TimeLimit.within(limits.compileMillis, () => AvroTypes.parse(schema, limits))
    )
  return {
    type: "avro",
    compile: (text) =>
      Effect.suspend(() =>
        Effect.mapError(
          Effect.fromResult(
            Result.map(parsed(text), (schema) => ({
              check: (value: unknown) => AvroCheck.check(schema, limits, value),
              decode: (bytes: Uint8Array) => AvroDecode.decode(schema.type, limits, bytes)
            }))
          ),
          invalid
        )
      ),
    conflicts: (rule, older, newer) =>
      Effect.suspend(() => {
        const both = Result.all([parsed(older), parsed(newer)])
        if (Result.isFailure(both)) return Effect.fail(invalid(both.failure))
        return Effect.succeed(directions(rule, both.success[0], both.success[1], limits.compileMillis))
      })
  }
}

/** By Avro's own rules of resolution, whose first conflict counts, then by the logical types of what they match. */
const directions = (
  rule: Compatibility,
  older: AvroTypes.Parsed,
  newer: AvroTypes.Parsed,
  millis: number
): ReadonlyArray<string> => {
  const read = (reader: AvroTypes.Parsed, writer: AvroTypes.Parsed, sentence: string): ReadonlyArray<string> => {
    const resolved = TimeLimit.within(millis, () => reader.type.createResolver(writer.type))
    if (Result.isFailure(resolved)) return [`${sentence}: ${resolved.failure.slice(0, 500)}`]
    const found = TimeLimit.within(millis, () => AvroConflicts.conflicts(writer, reader))
    if (Result.isFailure(found)) return [`${sentence}: it cannot be decided: this ${found.failure}`]
    const sentences = found.success.map(({ message, path }) => `${sentence}: ${path}: ${message}`.slice(0, 1_000))
    return [...new Set(sentences)].slice(0, conflictsMax)
  }
  return [
    ...(rule === "backward" || rule === "full"
      ? read(newer, older, "what the version before writes cannot be read by this one")
      : []),
    ...(rule === "forward" || rule === "full"
      ? read(older, newer, "what this version writes cannot be read by the one before")
      : [])
  ]
}

const conflictsMax = 100

const invalid = (reason: string): SchemaInvalid => new SchemaInvalid({ reason })
