/** Typed jobs and detectors: what does not type-check, and what each policy does. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Duration, Effect, Exit, Fiber, Schema } from "effect"
import { TestClock } from "effect/testing"
import * as CodecJson from "../../src/layers/CodecJson.ts"
import * as DeadLettersMemory from "../../src/layers/DeadLettersMemory.ts"
import * as Detectors from "../../src/layers/DetectorEffects.ts"
import * as Jobs from "../../src/layers/Jobs.ts"
import * as PublisherMemory from "../../src/layers/PublisherMemory.ts"
import { DeadLetters } from "../../src/services/DeadLetters.ts"
import { DispatchError } from "../../src/services/Dispatcher.ts"
import type { Detection } from "../../src/services/Event.ts"
import { later } from "../../src/services/Ready.ts"
import * as Define from "../../src/streams/Define.ts"
import * as SourceMemory from "../../src/streams/SourceMemory.ts"

class MailError extends Schema.TaggedError<MailError>()("MailError", {}) {}
class StockError extends Schema.TaggedError<StockError>()("StockError", {}) {}

const detection: Detection = {
  name: "order.paid",
  event: { envelope: SourceMemory.envelopeOf({ payload: {} }, "memory", 1, 0), payload: {}, key: undefined }
}

const mail = () => Effect.fail(new MailError())
const stock = () => Effect.fail(new StockError())

describe("Typed jobs", () => {
  it("ask for a policy per failure", () => {
    Jobs.make({ fine: () => Effect.succeed(1) }, { failures: {} })
    Jobs.make({ mail, stock }, { failures: { MailError: "retry", StockError: "bury", JobTimedOut: "report" } })
    Jobs.make({ mail }, { failures: { MailError: "retry" }, limits: { mail: { retries: 2 } } })
    Jobs.make(
      { call: () => Effect.fail(new DispatchError({ reason: "", presence: "busy", retryable: true })) },
      { failures: {} }
    )
    Jobs.make(
      {
        book: ({ event }, signal) => Effect.succeed([event, signal]),
        post: ({ name }) => (name === "a" ? mail() : stock())
      },
      { failures: { MailError: "retry", StockError: "bury" }, limits: { book: { retries: 2 } } }
    )
    // @ts-expect-error StockError has no policy
    Jobs.make({ post: ({ name }) => (name === "a" ? mail() : stock()) }, { failures: { MailError: "retry" } })
    // @ts-expect-error a failure without a tag can have no policy
    Jobs.make({ post: ({ name }) => Effect.fail(name) }, { failures: {} })
    // @ts-expect-error MailError has no policy
    Jobs.make({ mail }, { failures: {} })
    // @ts-expect-error StockError has no policy
    Jobs.make({ mail, stock }, { failures: { MailError: "retry" } })
    // @ts-expect-error there is no such policy
    Jobs.make({ mail }, { failures: { MailError: "halt" } })
    // @ts-expect-error a failure without a tag can have no policy
    Jobs.make({ mail, text: () => Effect.fail("plain") }, { failures: { MailError: "retry" } })
    // @ts-expect-error there is no job of that name
    Jobs.make({ mail }, { failures: { MailError: "retry" }, limits: { male: { retries: 2 } } })
  })

  it.effect("end as the policy of their failure says", () =>
    Effect.gen(function* () {
      const ended = (run: ReturnType<typeof Jobs.make>) => Effect.exit(later(run.dispatch(detection)))
      const failures = { MailError: "report", StockError: "bury" } as const
      const reported = yield* ended(Jobs.make({ mail, fine: () => Effect.succeed(1) }, { failures }))
      assert.deepStrictEqual(Exit.isSuccess(reported) && reported.value.payload, [
        { job: "mail", ok: false, error: "MailError", failure: "JobFailed", millis: 0 },
        { job: "fine", ok: true, result: 1, millis: 0 }
      ])
      assert.strictEqual(Exit.isSuccess(reported) && reported.value.note, "mail failed: MailError, fine 0 ms")
      const retryable = (exit: Exit.Exit<unknown, DispatchError>) =>
        Exit.isFailure(exit) && exit.cause.reasons.find(Cause.isFailReason)?.error.retryable
      assert.isFalse(retryable(yield* ended(Jobs.make({ mail, stock }, { failures }))))
      assert.isTrue(retryable(yield* ended(Jobs.make({ mail }, { failures: { MailError: "retry" } }))))
      assert.isFalse(retryable(yield* ended(Jobs.make({ dies: () => Effect.die("x") }, { failures: {} }))))
      const away = new DispatchError({ reason: "away", presence: "busy", retryable: true })
      assert.isTrue(retryable(yield* ended(Jobs.make({ call: () => Effect.fail(away) }, { failures: {} }))))
      const hanging = Jobs.make({ hangs: () => Effect.never }, { failures: {}, timeout: Duration.seconds(1) })
      const hung = yield* Effect.forkChild(ended(hanging))
      yield* TestClock.adjust("1 second")
      assert.isTrue(retryable(yield* Fiber.join(hung)))
    })
  )
})

describe("Typed detectors", () => {
  it("ask for a policy per failure", () => {
    assert.deepStrictEqual(
      Detectors.make({ "order.paid": () => true, "order.late": () => Effect.succeed(false) }).flatMap(
        (_) => _.events ?? []
      ),
      ["order.paid", "order.late"]
    )
    Detectors.make({ "order.paid": mail }, { failures: { MailError: "no" } })
    Detectors.make({
      "order.paid": ({ payload }) => payload === 1,
      "order.late": ({ key }) => Effect.succeed(key === "x")
    })
    Detectors.make({ "order.paid": ({ key }) => (key === "x" ? true : mail()) }, { failures: { MailError: "no" } })
    // @ts-expect-error MailError has no policy
    Detectors.make({ "order.paid": ({ key }) => (key === "x" ? true : mail()) }, { failures: {} })
    // @ts-expect-error MailError has no policy
    Detectors.make({ "order.paid": ({ key }) => (key === "x" ? true : mail()) })
    // @ts-expect-error MailError has no policy
    Detectors.make({ "order.paid": mail })
    // @ts-expect-error StockError has no policy
    Detectors.make({ "order.paid": mail, "order.late": stock }, { failures: { MailError: "no" } })
  })

  it.effect("find their own events, and one that breaks stops no other", () =>
    Effect.gen(function* () {
      const out = PublisherMemory.make()
      const source = SourceMemory.fromIterable([
        { id: "paid", payload: { paid: true } },
        { id: "odd", payload: { paid: false } }
      ])
      yield* Define.run(
        Define.define({
          name: "typed",
          source,
          decode: CodecJson.make(),
          detect: Detectors.make(
            {
              "order.seen": mail,
              "order.odd": stock,
              "order.paid": ({ payload }) => Effect.succeed((payload as { paid: boolean }).paid),
              "order.thrown": () => {
                throw new Error("thrown")
              }
            },
            { failures: { MailError: "no", StockError: "broken" } }
          ),
          publish: [{ to: out }]
        })
      )
      assert.deepStrictEqual(
        out.published.map(({ event, envelope }) => [envelope.id, event]),
        [["paid", "order.paid"]]
      )
      const letters = yield* (yield* DeadLetters).list({})
      assert.deepStrictEqual(
        letters.map(({ envelope, reason }) => [envelope.id, reason]),
        [["odd", "a detector broke: order.odd: StockError; defect: thrown"]]
      )
    }).pipe(Effect.provide(DeadLettersMemory.layer))
  )
})
