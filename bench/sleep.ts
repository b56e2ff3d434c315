/** Throughput with concurrency 64 and handlers that sleep 10 ms, as a share of the ideal 6,400/s. */
import { Effect } from "effect"
import { accepted } from "../src/services/Reply.ts"
import * as Define from "../src/streams/Define.ts"
import { LeanSource, orders, plan, runPlan } from "./shop.ts"

export const run = async (): Promise<void> => {
  const count = 19_200
  const { codec, key } = plan(new LeanSource([]))
  const before = performance.now()
  await runPlan(
    Define.define({
      name: "sleep",
      source: new LeanSource(orders(count, 1000)),
      decode: codec,
      key,
      concurrency: 64,
      dispatch: [{ run: () => Effect.as(Effect.sleep(10), accepted(null)) }]
    })
  )
  const rate = count / ((performance.now() - before) / 1000)
  console.log(`sleep: ${rate.toFixed(0)}/s, ${(rate / 6400).toFixed(2)} of the ideal 6400/s (wanted: at least 0.85)`)
}
