/** What is counted of a gateway's answers. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Metric } from "effect"
import { PrometheusMetrics } from "effect/observability"
import * as AnswerCount from "../../src/streams/AnswerCount.ts"

describe("the answers of a gateway", () => {
  it.effect("are counted by route and status, and not by client", () =>
    Effect.gen(function* () {
      yield* Effect.gen(function* () {
        const counted = yield* AnswerCount.make("gateway", "orders")
        const send = counted("sendEvent")
        for (const status of [200, 422]) send.answered({ status })
        for (const status of [422, 503]) send.ended(Exit.succeed({ status }))
        counted("busy").answered({ status: 503 })
        counted("broken").ended(Exit.die("broken"))
        counted("gone").ended(Exit.interrupt())
        const lines = (yield* PrometheusMetrics.format())
          .split("\n")
          .filter((line) => line.startsWith("sluice_gateway"))
        assert.sameMembers(lines, [
          'sluice_gateway_answers_total{pipeline="orders",route="sendEvent",status="200"} 1',
          'sluice_gateway_answers_total{pipeline="orders",route="sendEvent",status="422"} 2',
          'sluice_gateway_answers_total{pipeline="orders",route="sendEvent",status="503"} 1',
          'sluice_gateway_answers_total{pipeline="orders",route="busy",status="503"} 1',
          'sluice_gateway_answers_total{pipeline="orders",route="broken",status="500"} 1'
        ])
      }).pipe(Effect.scoped)
      assert.notInclude(yield* PrometheusMetrics.format(), "sluice_gateway")
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map()))
  )
})
