/** What a pipeline must be for positions and answers to fit into one transaction. */
import { Effect } from "effect"
import { OptionsError, type Problem } from "../services/Component.ts"
import { DetectError, type Detector } from "../services/Detector.ts"
import type { Compression } from "../services/Kafka.ts"
import { later } from "../services/Ready.ts"
import type { Pipeline } from "./Config.ts"

/** One answer for each message, to the cluster it came from: only that fits into one transaction with its position. */
export const optionsOf = ({ batch, batchers, dispatch, exactlyOnce, publish, source }: Pipeline) => {
  if (!exactlyOnce) return Effect.succeed(undefined)
  const [only] = publish
  const problems: Array<Problem> = []
  const wants = (path: Problem["path"], expected: string, found: unknown) => problems.push({ path, expected, found })
  if (source.type !== "kafka") wants(["source", "type"], "kafka, since exactlyOnce is set", source.type)
  if (publish.length !== 1) wants(["publish"], "one publisher, since exactlyOnce is set", `${publish.length} of them`)
  if (only !== undefined && only.type !== "kafka") {
    wants(["publish", 0, "type"], "kafka, since exactlyOnce is set", only.type)
  }
  if (only?.brokers !== undefined) {
    wants(["publish", 0, "brokers"], "the source's own, since exactlyOnce is set", only.brokers)
  }
  if (dispatch.length > 1) wants(["dispatch", 1], "one dispatcher at most, since exactlyOnce is set", dispatch[1]!.type)
  if (batch !== undefined) wants(["batch"], "no batch, since exactlyOnce is set", batch)
  if (batchers !== undefined) wants(["batchers"], "no batchers, since exactlyOnce is set", batchers)
  if (problems.length > 0) return Effect.fail(new OptionsError({ problems }))
  return Effect.succeed({ compression: (only!.compression ?? "none") as Compression })
}

/** Two answers to a message might be in two transactions. */
export const single = (detector: Detector): Detector => ({
  ...detector,
  detect: (event) =>
    Effect.flatMap(later(detector.detect(event)), (found) => {
      if (found.length <= 1) return Effect.succeed(found)
      const names = found.map(({ name }) => name).join(", ")
      return Effect.fail(
        new DetectError({
          detector: detector.name,
          reason: `exactlyOnce takes one event of a message, and this shows ${names}`
        })
      )
    })
})
