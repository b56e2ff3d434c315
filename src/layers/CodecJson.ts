/** Reads JSON, and checks it against a schema where one is given. */
import "effect/schema/SchemaJITCompiler/enable"
import { Effect, Exit, Schema, SchemaAST, SchemaIssue } from "effect"
import { type Codec, DecodeError } from "../services/Codec.ts"
import * as Utf8 from "./Utf8.ts"

/** Returns the checked value, or what is wrong with it. */
export type Check = (value: unknown) => unknown | DecodeError

export const make = (check?: Check): Codec => ({
  name: "json",
  decode: (envelope) => {
    const text = Utf8.decode(envelope.payload)
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
      reason: issues.map(({ message, path }) => `${["payload", ...(path ?? [])].map(String).join(".")}: ${message}`).join("; ")
    })
  }
}

/** Whether the type is what is encoded: no transformation anywhere. */
const isPlain = (ast: SchemaAST.AST): boolean => SchemaAST.toType(ast) === ast && SchemaAST.toEncoded(ast) === ast

const fail = (reason: string): Exit.Exit<never, DecodeError> => Exit.fail(new DecodeError({ reason }))
