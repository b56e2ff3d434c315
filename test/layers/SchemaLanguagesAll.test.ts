/** The languages together, and the cache of what they compile. */
import { assert, describe, it, layer } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Ref } from "effect"
import * as SchemaLanguagesAll from "../../src/layers/SchemaLanguagesAll.ts"
import { SchemaInvalid, type SchemaLanguage, SchemaLanguages } from "../../src/services/SchemaLanguage.ts"

const counting = (gate: Effect.Effect<void> = Effect.void) =>
  Effect.gen(function* () {
    const compiled = yield* Ref.make<ReadonlyArray<string>>([])
    const language: SchemaLanguage = {
      type: "json",
      compile: (text) =>
        Effect.gen(function* () {
          yield* Ref.update(compiled, (texts) => [...texts, text])
          yield* gate
          if (text === "bad") return yield* new SchemaInvalid({ reason: "bad" })
          return { check: () => [] }
        }),
      conflicts: () => Effect.succeed([])
    }
    return { compiled, language }
  })

layer(SchemaLanguagesAll.layer())("SchemaLanguagesAll", (it) => {
  it.effect("gives each language, compiled once", () =>
    Effect.gen(function* () {
      const languages = yield* SchemaLanguages
      const texts = { json: "{}", avro: '"int"', protobuf: 'syntax = "proto3"; message A {}' } as const
      for (const type of ["json", "avro", "protobuf"] as const) {
        const language = languages.of(type)
        assert.strictEqual(language.type, type)
        assert.strictEqual(yield* language.compile(texts[type]), yield* language.compile(texts[type]))
      }
    })
  )
})

describe("SchemaLanguagesAll.cached", () => {
  it.effect("keeps as many validators, and bytes of their texts, as it may: those used last", () =>
    Effect.gen(function* () {
      const { compiled, language } = yield* counting()
      const cached = yield* SchemaLanguagesAll.cached(language, 2, 10)
      for (const text of ["a", "b", "a", "c", "a", "b"]) yield* cached.compile(text)
      assert.deepStrictEqual(yield* Ref.get(compiled), ["a", "b", "c", "b"])
      yield* cached.compile("ääää")
      assert.deepStrictEqual(yield* cached.size, { validators: 2, bytes: 9 })
      yield* cached.compile("1234567890")
      assert.deepStrictEqual(yield* cached.size, { validators: 1, bytes: 10 })
      yield* cached.compile("12345678901")
      assert.deepStrictEqual(yield* cached.size, { validators: 1, bytes: 10 })
    })
  )

  it.effect("compiles a text once for all who ask at the same time, even when the first one leaves", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      const { compiled, language } = yield* counting(Deferred.await(gate))
      const cached = yield* SchemaLanguagesAll.cached(language, 10, 100)
      const first = yield* Effect.forkChild(cached.compile("a"), { startImmediately: true })
      const others = yield* Effect.forEach([1, 2, 3], () =>
        Effect.forkChild(cached.compile("a"), { startImmediately: true })
      )
      yield* Deferred.succeed(gate, undefined)
      const all = yield* Effect.forEach([first, ...others], Fiber.join)
      assert.strictEqual(new Set(all).size, 1)
      assert.deepStrictEqual(yield* Ref.get(compiled), ["a"])
      const closed = yield* Deferred.make<void>()
      const slow = yield* counting(Deferred.await(closed))
      const again = yield* SchemaLanguagesAll.cached(slow.language, 10, 100)
      const leaves = yield* Effect.forkChild(again.compile("a"), { startImmediately: true })
      const stays = yield* Effect.forkChild(again.compile("a"), { startImmediately: true })
      yield* Fiber.interrupt(leaves)
      yield* Deferred.succeed(closed, undefined)
      assert.isTrue(Exit.isSuccess(yield* Fiber.await(stays)))
    })
  )

  it.effect("does not keep a refusal", () =>
    Effect.gen(function* () {
      const { compiled, language } = yield* counting()
      const cached = yield* SchemaLanguagesAll.cached(language, 10, 100)
      for (const _ of [1, 2]) assert.strictEqual((yield* Effect.flip(cached.compile("bad"))).reason, "bad")
      assert.lengthOf(yield* Ref.get(compiled), 2)
      assert.deepStrictEqual(yield* cached.size, { validators: 0, bytes: 0 })
    })
  )
})
