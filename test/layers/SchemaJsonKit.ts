/** What the tests of hostile schemas and values share. */
import { assert } from "@effect/vitest"
import { Effect, Result } from "effect"
import type { SchemaInvalid, Validator } from "../../src/services/SchemaLanguage.ts"

/** The limits are 500 ms to compile and twice 250 ms to check; the rest is for a machine that is busy. */
const busyMillis = 2_500

/** Compiles and checks, whatever comes out, and says how long both took. */
export const endsInTime = Effect.fnUntraced(function* (
  name: string,
  compile: Effect.Effect<Validator, SchemaInvalid>,
  value: unknown
) {
  const started = performance.now()
  const compiled = yield* Effect.result(compile)
  const between = performance.now()
  const violations = Result.isSuccess(compiled) ? compiled.success.check(value) : []
  const ended = performance.now()
  console.log(
    `${name}: compile ${Math.round(between - started)} ms, check ${Math.round(ended - between)} ms: ${
      Result.isFailure(compiled) ? compiled.failure.message : (violations[0]?.message ?? "valid")
    }`.slice(0, 160)
  )
  assert.isBelow(between - started, busyMillis)
  assert.isBelow(ended - between, busyMillis)
})
