/** What the tests of hostile schemas and values share. */
import { assert } from "@effect/vitest"
import { Effect, Result } from "effect"
import type { SchemaInvalid, Validator } from "../../src/services/SchemaLanguage.ts"

/** The limits are 500 ms to compile and twice 250 ms to check, of the processor's time; the rest is for what is around. */
const millisMax = 2_500

const processorMillis = (): number => {
  const { system, user } = process.threadCpuUsage()
  return (system + user) / 1000
}

/** Compiles and checks, whatever comes out, and says how long both took. */
export const endsInTime = Effect.fnUntraced(function* (
  name: string,
  compile: Effect.Effect<Validator, SchemaInvalid>,
  value: unknown
) {
  const started = processorMillis()
  const compiled = yield* Effect.result(compile)
  const between = processorMillis()
  const violations = Result.isSuccess(compiled) ? compiled.success.check(value) : []
  const ended = processorMillis()
  console.log(
    `${name}: compile ${Math.round(between - started)} ms, check ${Math.round(ended - between)} ms: ${
      Result.isFailure(compiled) ? compiled.failure.message : (violations[0]?.message ?? "valid")
    }`.slice(0, 160)
  )
  assert.isBelow(between - started, millisMax)
  assert.isBelow(ended - between, millisMax)
})
