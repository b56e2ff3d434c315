/** Reads JSON, and checks it against a schema where one is given. */
import "effect/schema/SchemaJITCompiler/enable"
import { Effect, Exit, FileSystem, Path, Result, Schema, SchemaAST, SchemaIssue } from "effect"
import { type Codec, DecodeError } from "../services/Codec.ts"
import * as Component from "../services/Component.ts"
import * as JsonSchema from "./JsonSchema.ts"
import * as Utf8 from "./Utf8.ts"

/** Returns the checked value, or what is wrong with it. */
export type Check = (value: unknown) => unknown | DecodeError

export const make = (check?: Check): Codec => ({
  name: "json",
  decode: (envelope) => {
    const text = envelope.tombstone === true ? "null" : Utf8.decode(envelope.payload)
    if (text === undefined) return fail("not UTF-8 text")
    let payload: unknown
    try {
      payload = JSON.parse(text)
    } catch (error) {
      return fail(`not JSON: ${(error as SyntaxError).message}`)
    }
    if (check === undefined) return { envelope, payload, key: envelope.key }
    const checked = check(payload)
    if (checked instanceof DecodeError) return Effect.fail(checked)
    return { envelope, payload: checked, key: envelope.key }
  }
})

/** Checks by an Effect Schema and keeps what it decodes to. */
export const schema = <A, I>(schema: Schema.Codec<A, I>): Check => {
  const decode = Schema.decodeUnknownExit(schema)
  // Where decoding changes nothing, asking is enough: it copies nothing and costs a third.
  const is = isPlain(schema.ast) ? Schema.is(schema) : undefined
  const format = SchemaIssue.makeFormatterStandardSchemaV1()
  return (value) => {
    if (is?.(value) === true) return value
    const exit = decode(value, { errors: "all" })
    if (Exit.isSuccess(exit)) return exit.value
    const failure = exit.cause.reasons[0]
    if (failure?._tag !== "Fail") return new DecodeError({ reason: "does not match the schema" })
    const { issues } = format(failure.error.issue)
    return new DecodeError({
      reason: issues
        .map(({ message, path }) => `${["payload", ...(path ?? [])].map(String).join(".")}: ${message}`)
        .join("; ")
    })
  }
}

export const component = Component.codec({
  type: "json",
  summary: "JSON, checked against a JSON Schema where one is given: a file or the schema itself.",
  options: Schema.Struct({
    schema: Schema.optionalKey(Schema.Union([Schema.NonEmptyString, Schema.Record(Schema.String, Schema.Any)]))
  }),
  make: Effect.fnUntraced(function* (options, { folder }) {
    if (options.schema === undefined) return make()
    const schema = typeof options.schema === "string" ? yield* load(options.schema, folder) : options.schema
    const compiled = JsonSchema.compile(structuredClone(schema), checking)
    if (Result.isFailure(compiled)) {
      return yield* wrong(`a JSON Schema (${compiled.failure})`, options.schema)
    }
    const check = compiled.success
    return make((value) => {
      const violations = check(value)
      if (violations.length === 0) return value
      return new DecodeError({ reason: violations.map(({ path, message }) => `${path} ${message}`).join("; ") })
    })
  })
})

/** The schema is the operator's own: the latest draft, with formats. A reason names five violations at most. */
const checking: JsonSchema.Options = {
  ...JsonSchema.defaults,
  draft: "2020-12",
  formats: "asserted",
  violationsMax: 5
}

const load = Effect.fnUntraced(function* (file: string, folder: string) {
  const fs = yield* FileSystem.FileSystem
  const path = (yield* Path.Path).resolve(folder, file)
  const text = yield* Effect.catch(fs.readFileString(path), ({ message }) =>
    wrong(`a file that can be read (${message})`, file)
  )
  return yield* Effect.try({
    try: () => JSON.parse(text) as unknown,
    catch: (error) => problem(`a JSON file (${(error as SyntaxError).message})`, file)
  })
})

const problem = (expected: string, found: unknown): Component.OptionsError =>
  new Component.OptionsError({ problems: [{ path: ["schema"], expected, found }] })

const wrong = (expected: string, found: unknown): Effect.Effect<never, Component.OptionsError> =>
  Effect.fail(problem(expected, found))

/** Whether the type is what is encoded: no transformation anywhere. */
const isPlain = (ast: SchemaAST.AST): boolean => SchemaAST.toType(ast) === ast && SchemaAST.toEncoded(ast) === ast

const fail = (reason: string): Exit.Exit<never, DecodeError> => Exit.fail(new DecodeError({ reason }))
