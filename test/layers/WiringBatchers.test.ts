/** Batchers of a config, as they run: what an HTTP endpoint gets, and what it says of them in the metrics. */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, FileSystem, Layer } from "effect"
import { PrometheusMetrics } from "effect/observability"
import * as App from "../../src/layers/App.ts"
import * as Config from "../../src/layers/Config.ts"
import * as DeadLettersMemory from "../../src/layers/DeadLettersMemory.ts"
import * as Observability from "../../src/layers/Observability.ts"
import * as Wiring from "../../src/layers/Wiring.ts"
import { DeadLetters } from "../../src/services/DeadLetters.ts"
import { HttpHost } from "../../src/services/HttpHost.ts"
import * as Pipeline from "../../src/streams/Pipeline.ts"
import { bodyOf, serve } from "./Servers.ts"

const unbound = Layer.succeed(HttpHost, { address: undefined } as HttpHost["Service"])

describe("batchers of a config", () => {
  it.live("send arrays of the batcher that each message names, one value of its key in each", () =>
    Effect.gen(function* () {
      const bodies: Array<string> = []
      const { url } = yield* serve((incoming, outgoing) => {
        void bodyOf(incoming).then((body) => {
          bodies.push(`${incoming.url} ${body}`)
          outgoing.writeHead(200).end()
        })
      })
      const fs = yield* FileSystem.FileSystem
      const file = `${yield* fs.makeTempDirectoryScoped()}/x.yaml`
      const messages = [
        { kind: "mail", to: "ann", data: 1 },
        { kind: "mail", to: "bob", data: 2 },
        { kind: "bulk", data: 3 },
        { kind: "mail", to: "ann", data: 4 },
        { kind: "what", data: 5 },
        { kind: "bulk", data: 6 }
      ]
      yield* fs.writeFileString(
        file,
        `pipelines:
  a:
    source: { type: memory, messages: ${JSON.stringify(messages)} }
    batchers:
      mail: { size: 2, age: 50 millis, key: payload.to, concurrency: 2 }
      bulk: { size: 10, age: 100 millis, bytes: 1 KiB }
    dispatch:
      - { name: strict, type: http, url: "${url}/strict", body: payload.data, batcher: { by: payload.kind } }
      - { type: http, url: "${url}/all", body: payload.data, batcher: bulk }
      - { type: http, url: "${url}/each", body: payload.data }
`
      )
      const loaded = yield* Config.load(file, {})
      const [plan] = yield* Wiring.plans(loaded).pipe(Effect.provide(App.dry(loaded)))
      const handle = yield* Pipeline.start(plan!)
      yield* handle.await
      // The last answer settles from within its call.
      yield* Effect.yieldNow
      assert.deepStrictEqual(bodies.sort(), [
        "/all [1,2,3,4,5,6]",
        ...[1, 2, 3, 4, 5, 6].map((data) => `/each ${data}`),
        "/strict [1,4]",
        "/strict [2]",
        "/strict [3,6]"
      ])
      const letters = yield* (yield* DeadLetters).list({})
      assert.deepStrictEqual(
        letters.map(({ leg, reason }) => [leg, reason]),
        [["strict", 'there is no batcher for it: "what" is none of mail, bulk']]
      )
      const { age, size, sizes } = handle.stats.batcher("mail")
      assert.deepStrictEqual([size, age, sizes.sum], [1, 1, 3])
      const supervised = { name: "a", plan: plan!, stats: handle.stats, handle, state: "running" as const }
      yield* Observability.routes({ pipelines: [supervised] } as never)
      const metrics = yield* PrometheusMetrics.format()
      for (const line of [
        'sluice_batches_total{pipeline="a",batcher="mail",trigger="size"} 1',
        'sluice_batches_total{pipeline="a",batcher="bulk",trigger="age"} 2',
        'sluice_batches_total{pipeline="a",batcher="bulk",trigger="flush"} 0',
        'sluice_batch_size_bucket{pipeline="a",batcher="mail",le="1"} 1',
        'sluice_batch_size_sum{pipeline="a",batcher="mail"} 3',
        'sluice_in_flight{pipeline="a"} 0',
        'sluice_leg_seconds_bucket{pipeline="a",le="0.001"}'
      ])
        assert.include(metrics, line)
    }).pipe(Effect.scoped, Effect.provide([NodeServices.layer, DeadLettersMemory.layer, unbound]))
  )
})
