/** The batchers of a config, with their paths compiled. */
import { Effect, Result } from "effect"
import { OptionsError, type Problem } from "../services/Component.ts"
import type { Detection } from "../services/Event.ts"
import type * as DefineBatchers from "../streams/DefineBatchers.ts"
import * as Path from "../streams/Path.ts"
import type { Pipeline } from "./Config.ts"

type Batcher = NonNullable<Pipeline["batch"]>

/** What the pipeline says of its batchers. Fails: `OptionsError` with all paths that are none. */
export const optionsOf = ({ batch, batchers = {} }: Pipeline) => {
  const problems: Array<Problem> = []
  const one = ({ key, ...rest }: Batcher, at: ReadonlyArray<string>): DefineBatchers.BatcherOptions => ({
    ...rest,
    key: key === undefined ? undefined : reader(key, [...at, "key"], problems)
  })
  const made = {
    batch: batch && one(batch, ["batch"]),
    batchers: Object.fromEntries(Object.entries(batchers).map(([name, it]) => [name, one(it, ["batchers", name])]))
  }
  return problems.length > 0 ? Effect.fail(new OptionsError({ problems })) : Effect.succeed(made)
}

/** How a leg names its batcher. */
export const batcherOf = (
  batcher: Pipeline["dispatch"][number]["batcher"],
  at: ReadonlyArray<string | number>
): Effect.Effect<DefineBatchers.BatcherOf | undefined, OptionsError> => {
  if (batcher === undefined || typeof batcher === "string") return Effect.succeed(batcher)
  const problems: Array<Problem> = []
  const by = reader(batcher.by, [...at, "by"], problems)
  return problems.length > 0
    ? Effect.fail(new OptionsError({ problems }))
    : Effect.succeed({ by, default: batcher.default })
}

/** Batches of a leg that may be at work at the same time, over all batchers it can come into. */
export const concurrencyOf = (
  { batch, batchers = {}, concurrency }: Pipeline,
  batcher: Pipeline["dispatch"][number]["batcher"]
): number => {
  if (batcher === undefined) return batch?.concurrency ?? concurrency
  if (typeof batcher === "string") return batchers[batcher]?.concurrency ?? 1
  return Object.values(batchers).reduce((sum, { concurrency = 1 }) => sum + concurrency, 0)
}

const reader = (text: string, path: Problem["path"], problems: Array<Problem>) => {
  const compiled = Path.compile(text, ["payload", "envelope", "event"])
  if (Result.isFailure(compiled)) problems.push({ path, expected: compiled.failure, found: text })
  return (detection: Detection): string | undefined =>
    Result.isSuccess(compiled) ? Path.asKey(compiled.success.read({ event: detection.event, detection })) : undefined
}
