/** What is counted of a gateway's answers. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Metric } from "effect"
import { PrometheusMetrics } from "effect/observability"
import type { HttpRequest, Route } from "../../src/services/HttpHost.ts"
import { later } from "../../src/services/Ready.ts"
import * as GatewayCount from "../../src/streams/GatewayCount.ts"

const request: HttpRequest = {
  method: "POST",
  path: "/api/v1/clients/shop/events/paid",
  params: { client: "shop" },
  query: new URLSearchParams(),
  headers: {},
  body: new Uint8Array()
}

const ask = (handle: Route["handle"]) => Effect.exit(later(handle(request)))

describe("the answers of a gateway", () => {
  it.effect("are counted by route and status, at once or later, and not by client", () =>
    Effect.gen(function* () {
      yield* Effect.gen(function* () {
        const counted = yield* GatewayCount.make("orders")
        let status = 200
        const send = counted("sendEvent", () => Effect.sync(() => ({ status })))
        for (const next of [200, 422, 422, 503]) {
          status = next
          yield* ask(send)
        }
        assert.deepStrictEqual(counted("busy", () => ({ status: 503 }))(request), { status: 503 })
        yield* ask(counted("broken", () => Effect.die("broken")))
        const waiting = yield* Effect.forkChild(ask(counted("gone", () => Effect.never)))
        yield* Effect.yieldNow
        yield* Fiber.interrupt(waiting)
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
