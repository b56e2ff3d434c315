/** The p99 of 999 quick keys with and without one key whose handler takes 2 s. */
import { Effect, Stream } from "effect"
import * as CodecJson from "../src/layers/CodecJson.ts"
import { accepted } from "../src/services/Reply.ts"
import * as Define from "../src/streams/Define.ts"
import * as SourceMemory from "../src/streams/SourceMemory.ts"
import { median, runPlan } from "./shop.ts"

const seconds = 8
const perSecond = 3000

/** Units: milliseconds from the source's hand to the end of the handler. */
const p99 = async (slowKey: string | undefined): Promise<number> => {
  const latencies: Array<number> = []
  const offered = new Map<string, number>()
  const messages = Array.from({ length: seconds * perSecond }, (_, i) => ({
    id: `${i}`,
    // The slow key has one message per 2 s, so that it is at work all the time and never alone at the end.
    key: i % 1000 === 0 && i % (2 * perSecond) !== 0 ? "k1" : `k${i % 1000}`,
    payload: "{}"
  }))
  const finite = SourceMemory.fromIterable(messages, { arrayMax: perSecond / 100 })
  const source = {
    ...finite,
    open: Effect.map(
      finite.open,
      Stream.mapArrayEffect((array) =>
        Effect.sleep(10).pipe(
          Effect.map(() => {
            for (const { envelope } of array) offered.set(envelope.id, performance.now())
            return array
          })
        )
      )
    )
  }
  await runPlan(
    Define.define({
      name: "lanes",
      source,
      decode: CodecJson.make(),
      concurrency: 256,
      dispatch: [
        {
          run: ({ event }) =>
            Effect.sleep(event.key === slowKey ? 2000 : 2).pipe(
              Effect.map(() => {
                if (event.key !== "k0") latencies.push(performance.now() - offered.get(event.envelope.id)!)
                return accepted(null)
              })
            )
        }
      ]
    })
  )
  return latencies.toSorted((a, b) => a - b)[Math.floor(latencies.length * 0.99)]!
}

export const run = async (): Promise<void> => {
  const rounds: Array<{ readonly slow: number; readonly none: number }> = []
  await p99(undefined)
  for (let round = 0; round < 3; round++) rounds.push({ none: await p99(undefined), slow: await p99("k0") })
  const ratio = median(rounds.map(({ none, slow }) => slow / none))
  const times = rounds.map(({ none, slow }) => `${slow.toFixed(1)}/${none.toFixed(1)}`).join(", ")
  console.log(
    `head of line: p99 of the others with/without a slow key ${times} ms: ${ratio.toFixed(2)} times (wanted: at most 1.1)`
  )
}
