/** What does not type-check: a pipeline whose errors are not all mapped. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Result, Schema } from "effect"
import * as CodecJson from "../../src/layers/CodecJson.ts"
import { OptionsError } from "../../src/services/Component.ts"
import { DispatchError } from "../../src/services/Dispatcher.ts"
import { accepted } from "../../src/services/Reply.ts"
import * as Define from "../../src/streams/Define.ts"
import * as SourceMemory from "../../src/streams/SourceMemory.ts"

class Late extends Schema.TaggedError<Late>()("Late", {}) {}
class Rude extends Schema.TaggedError<Rude>()("Rude", {}) {}

const base = { name: "typed", source: SourceMemory.fromIterable([]), decode: CodecJson.make() }
const away = new DispatchError({ reason: "away", presence: "unreachable", retryable: true })

describe("Define", () => {
  it("asks for a policy per error, and only for errors that have none of their own", () => {
    assert.strictEqual(Define.define(base).legs.length, 0)
    Define.define({ ...base, dispatch: [{ run: () => accepted(null) }, { run: () => Effect.fail(away) }] })
    Define.define({
      ...base,
      dispatch: [
        { run: () => Effect.fail(new Late()) },
        { run: ({ name }) => Effect.fail(name === "x" ? new Rude() : away) }
      ],
      failures: { Late: "retry", Rude: "bury" }
    })
    // @ts-expect-error Rude has no policy
    Define.define({ ...base, dispatch: [{ run: () => Effect.fail(new Rude()) }] })
    Define.define({
      ...base,
      dispatch: [{ run: () => Effect.fail(new Rude()) }, { run: () => Effect.fail(new Late()) }],
      // @ts-expect-error Late has no policy
      failures: { Rude: "bury" }
    })
  })

  it("asks the same of functions of batches, of the replies in them, and of what is done before", () => {
    const batch = { batcher: "a", runBatch: () => Effect.succeed(accepted(null)) }
    const batchers = { a: {} }
    Define.define({ ...base, batchers, dispatch: [batch, { ...batch, process: () => Effect.fail(away) }] })
    Define.define({
      ...base,
      batchers,
      dispatch: [
        { ...batch, process: () => Effect.fail(new Late()) },
        { batcher: "a", runBatch: () => Effect.succeed([Result.fail(new Rude()), accepted(null)]) }
      ],
      failures: { Late: "retry", Rude: "bury" }
    })
    // @ts-expect-error Rude has no policy
    Define.define({ ...base, batchers, dispatch: [{ batcher: "a", runBatch: () => Effect.fail(new Rude()) }] })
    // @ts-expect-error Rude has no policy
    Define.define({ ...base, dispatch: [{ runBatch: () => Effect.succeed([Result.fail(new Rude())]) }] })
    // @ts-expect-error Late has no policy
    Define.define({ ...base, batchers, dispatch: [{ ...batch, process: () => Effect.fail(new Late()) }] })
    // @ts-expect-error a leg does something
    assert.throws(() => Define.define({ ...base, dispatch: [{ batcher: "a" }] }))
  })

  it("says which batchers cannot be", () => {
    const problemsOf = (options: Partial<Parameters<typeof Define.define>[0]>) => {
      try {
        Define.define({ ...base, ...options } as never)
      } catch (error) {
        if (!(error instanceof OptionsError)) throw error
        return error.problems.map(({ expected, found, path }) => `${path.join(".")}: ${expected}, found ${found}`)
      }
      return []
    }
    const run = () => accepted(null)
    assert.deepStrictEqual(
      problemsOf({
        batchers: { bulk: {} },
        dispatch: [
          { run, batcher: "bulky" },
          { run, batcher: "bulk" }
        ]
      }),
      ["dispatch.0.batcher: one of the batchers: bulk, found bulky"]
    )
    assert.deepStrictEqual(problemsOf({ dispatch: [{ run, batcher: { by: () => "x", default: "x" } }] }), [
      "dispatch.0.batcher.default: a pipeline with batchers, found x"
    ])
    assert.deepStrictEqual(problemsOf({ dispatch: [{ run, process: () => 1 }] }), [
      "dispatch.0.process: a batcher for what it makes, found no batcher"
    ])
    assert.deepStrictEqual(problemsOf({ batch: { size: 0 }, batchers: { a: { concurrency: 1.5, bytes: 0 } } }), [
      "batchers.a.bytes: a whole number from 1 to 9007199254740991, found 0",
      "batchers.a.concurrency: a whole number from 1 to 100000, found 1.5",
      "batch.size: a whole number from 1 to 100000, found 0"
    ])
    assert.deepStrictEqual(problemsOf({ batch: {}, batchers: { default: {} } }).length, 1)
  })
})
