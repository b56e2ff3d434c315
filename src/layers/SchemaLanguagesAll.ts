/** All the languages of schemas, with a bounded cache of what they have compiled. */
import { Cache, Effect, Exit, Layer } from "effect"
import { type SchemaInvalid, type SchemaLanguage, SchemaLanguages, type Validator } from "../services/SchemaLanguage.ts"
import type { SchemaType } from "../services/SchemaRegistry.ts"
import * as SchemaAvro from "./SchemaAvro.ts"
import * as SchemaJson from "./SchemaJson.ts"
import * as SchemaProtobuf from "./SchemaProtobuf.ts"

export interface Options {
  readonly schemaBytesMax: number
  /** Compiled validators kept. */
  readonly validatorsMax: number
  /** Of the texts of the validators kept; a validator is some 10 to 50 times as large as its text. */
  readonly cachedBytesMax: number
  /** "asked": only in schemas that ask for it. */
  readonly formats: "asserted" | "asked"
}

export const defaults: Options = {
  schemaBytesMax: SchemaJson.defaults.schemaBytesMax,
  validatorsMax: 1_000,
  cachedBytesMax: 8 * 1_048_576,
  formats: "asked"
}

export const make = Effect.fnUntraced(function* (options: Partial<Options> = {}) {
  const { cachedBytesMax, formats, schemaBytesMax, validatorsMax } = { ...defaults, ...options }
  const languages: Record<SchemaType, SchemaLanguage> = {
    json: yield* cached(SchemaJson.make({ schemaBytesMax, formats }), validatorsMax, cachedBytesMax),
    avro: yield* cached(SchemaAvro.make({ schemaBytesMax }), validatorsMax, cachedBytesMax),
    protobuf: yield* cached(SchemaProtobuf.make({ schemaBytesMax }), validatorsMax, cachedBytesMax)
  }
  return SchemaLanguages.of({ of: (type) => languages[type] })
})

export const layer = (options: Partial<Options> = {}): Layer.Layer<SchemaLanguages> =>
  Layer.effect(SchemaLanguages, make(options))

export interface Cached extends SchemaLanguage {
  /** What is kept now. */
  readonly size: Effect.Effect<{ readonly validators: number; readonly bytes: number }>
}

/**
 * Compiles each text once for everybody who asks at the same time, and keeps what was used last. Failures are not
 * kept: a text that is refused for the time it takes may be let in later.
 */
export const cached = Effect.fnUntraced(function* (
  language: SchemaLanguage,
  validatorsMax: number,
  bytesMax: number
): Effect.fn.Return<Cached> {
  // From the one not used for the longest time to the last one.
  const kept = new Map<string, Validator>()
  let bytes = 0
  const keep = (text: string, validator: Validator): void => {
    const size = Buffer.byteLength(text)
    if (size > bytesMax || validatorsMax < 1 || kept.has(text)) return
    kept.set(text, validator)
    bytes += size
    for (const oldest of kept.keys()) {
      if (kept.size <= validatorsMax && bytes <= bytesMax) return
      kept.delete(oldest)
      bytes -= Buffer.byteLength(oldest)
    }
  }
  // Those that are under way; what is done is taken out.
  const compiling = yield* Cache.makeWith((text: string) => language.compile(text), {
    capacity: 1_000,
    timeToLive: () => "1 minute"
  })
  const compile = (text: string): Effect.Effect<Validator, SchemaInvalid> =>
    Effect.suspend(() => {
      const validator = kept.get(text)
      if (validator !== undefined) {
        kept.delete(text)
        kept.set(text, validator)
        return Effect.succeed(validator)
      }
      return Effect.onExit(Cache.get(compiling, text), (exit) =>
        Effect.suspend(() => {
          if (Exit.isSuccess(exit)) keep(text, exit.value)
          return Cache.invalidate(compiling, text)
        })
      )
    })
  return {
    ...language,
    compile,
    size: Effect.sync(() => ({ validators: kept.size, bytes }))
  }
})
