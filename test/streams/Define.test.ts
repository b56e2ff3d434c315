/** What does not type-check: a pipeline whose errors are not all mapped. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import * as CodecJson from "../../src/layers/CodecJson.ts"
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
})
