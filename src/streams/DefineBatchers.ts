/** The batchers of a pipeline as data: what is said of them, and which leg uses which. */
import { Duration, Effect, Result } from "effect"
import { OptionsError, type Problem } from "../services/Component.ts"
import type { BatchInfo, Dispatcher } from "../services/Dispatcher.ts"
import type { Detection } from "../services/Event.ts"
import type { Ready } from "../services/Ready.ts"
import type { Reply } from "../services/Reply.ts"
import type { BatcherPlan, Batching } from "./Plan.ts"

export interface BatcherOptions {
  /** Messages of a batch, 1 to 100,000; 100 by default. */
  readonly size?: number | undefined
  /** How long the oldest message of a batch waits for company; 1 second by default. */
  readonly age?: Duration.Input | undefined
  /** Bytes of the payloads as they came; no bound of its own by default. */
  readonly bytes?: number | undefined
  /** A batch holds one value of it. */
  readonly key?: ((detection: Detection) => string | undefined) | undefined
  /** Batches at work at the same time; 1 by default. */
  readonly concurrency?: number | undefined
}

/** Names the batcher of a leg: one for all messages, or each by what it says, with one for those that name none. */
export type BatcherOf =
  | string
  | { readonly by: (detection: Detection) => string | undefined; readonly default?: string | undefined }

/** One reply for all of a batch, or one for each message in their order. */
export type BatchReplies<E> = Reply | ReadonlyArray<Reply | Result.Result<Reply, E>>

export type RunBatch<E> = (batch: ReadonlyArray<Detection>, info: BatchInfo) => Effect.Effect<BatchReplies<E>, E>

/** What a leg says of its batches. */
export interface LegBatching<E> {
  /** Absent: that of the pipeline's `batch`, where it has one. */
  readonly batcher?: BatcherOf | undefined
  /** What is done for each message before it comes into its batch; its value is the payload there. */
  readonly process?: ((detection: Detection) => Ready<unknown, E>) | undefined
}

/** The batcher of legs that name none. */
export const batcherDefault = "default"

export const sizeMax = 100_000
export const concurrencyMax = 100_000
export const sizeDefault = 100
export const ageDefault = Duration.seconds(1)

export interface Options {
  /** Of legs that name none; its batches share the pipeline's concurrency unless it has its own. */
  readonly batch?: BatcherOptions | undefined
  readonly batchers?: Readonly<Record<string, BatcherOptions>> | undefined
  readonly dispatch: ReadonlyArray<LegBatching<unknown> & { readonly runBatch?: unknown }>
}

export interface Batchers {
  readonly all: ReadonlyArray<BatcherPlan>
  /** Per leg; undefined goes message by message. */
  readonly legs: ReadonlyArray<Batching | undefined>
  /** Of legs that nobody writes down, such as those of event modules. */
  readonly others: Batching | undefined
}

/** Throws: `OptionsError`, since a pipeline with such batchers cannot be. */
export const make = ({ batch, batchers = {}, dispatch }: Options): Batchers => {
  const problems: Array<Problem> = []
  const all = Object.entries(batchers).map(([name, one]) => planOf(name, one, one.concurrency ?? 1))
  const hasDefault = Object.hasOwn(batchers, batcherDefault)
  if (batch !== undefined && hasDefault) {
    problems.push({ path: ["batch"], expected: `none beside batchers.${batcherDefault}`, found: batch })
  }
  const implied = dispatch.some(({ batcher, runBatch }) => batcher === undefined && runBatch !== undefined)
  if (batch !== undefined && !hasDefault) all.push(planOf(batcherDefault, batch, batch.concurrency))
  else if (implied && !hasDefault) all.push(planOf(batcherDefault, {}, 1))
  for (const one of all) problems.push(...problemsOf(one, batch !== undefined && one.name === batcherDefault))
  const names = all.map(({ name }) => name)
  const others = batch === undefined ? undefined : whole(undefined)
  const legs = dispatch.map(({ batcher, process, runBatch }, i) => {
    if (batcher === undefined) {
      if (batch !== undefined || runBatch !== undefined) return whole(process)
      if (process === undefined) return undefined
      problems.push({ path: ["dispatch", i, "process"], expected: "a batcher for what it makes", found: "no batcher" })
      return undefined
    }
    problems.push(...namesOf(batcher, names).map((one) => ({ ...one, path: ["dispatch", i, ...one.path] })))
    if (typeof batcher === "string") return { by: batcher, otherwise: undefined, process }
    return { by: batcher.by, otherwise: batcher.default, process }
  })
  if (problems.length > 0) throw new OptionsError({ problems })
  return { all, legs, others }
}

/** What is wrong with the names that a leg gives. */
export const namesOf = (
  batcher: string | { readonly default?: string | undefined },
  names: ReadonlyArray<string>
): ReadonlyArray<Problem> => {
  const [name, path] = typeof batcher === "string" ? [batcher, ["batcher"]] : [batcher.default, ["batcher", "default"]]
  if (name === undefined || names.includes(name)) return []
  const expected = names.length === 0 ? "a pipeline with batchers" : `one of the batchers: ${names.join(", ")}`
  return [{ path, expected, found: name, words: names }]
}

/** A dispatcher of batches from a plain function. */
export const dispatcherOf = <E>(runBatch: RunBatch<E>): Dispatcher<E> => {
  const dispatchBatch = (batch: ReadonlyArray<Detection>, info: BatchInfo) =>
    Effect.map(runBatch(batch, info), (replies) =>
      isList(replies) ? replies.map(asResult) : batch.map(() => Result.succeed(replies))
    )
  return {
    name: "runBatch",
    dispatchBatch,
    dispatch: (detection) =>
      Effect.flatMap(
        dispatchBatch([detection], { batcher: batcherDefault, key: undefined, size: 1, trigger: "flush" }),
        ([result]) =>
          result === undefined ? Effect.die("there is no reply for the message") : Effect.fromResult(result)
      )
  }
}

const isList = <E>(replies: BatchReplies<E>): replies is ReadonlyArray<Reply | Result.Result<Reply, E>> =>
  Array.isArray(replies)

const asResult = <E>(one: Reply | Result.Result<Reply, E>): Result.Result<Reply, E> =>
  Result.isResult(one) ? one : Result.succeed(one)

const whole = (process: Batching["process"]): Batching => ({ by: batcherDefault, otherwise: undefined, process })

const planOf = (name: string, one: BatcherOptions, concurrency: number | undefined): BatcherPlan => ({
  name,
  size: one.size ?? sizeDefault,
  ageMillis: Duration.toMillis(Duration.fromInputUnsafe(one.age ?? ageDefault)),
  bytesMax: one.bytes,
  key: one.key,
  concurrency
})

const problemsOf = ({ bytesMax, concurrency, name, size }: BatcherPlan, isBatch: boolean): ReadonlyArray<Problem> => {
  const at = isBatch ? ["batch"] : ["batchers", name]
  const numbers = [
    ["size", size, sizeMax],
    ["bytes", bytesMax, Number.MAX_SAFE_INTEGER],
    ["concurrency", concurrency, concurrencyMax]
  ] as const
  return numbers.flatMap(([field, found, most]) =>
    found === undefined || (Number.isInteger(found) && found >= 1 && found <= most)
      ? []
      : [{ path: [...at, field], expected: `a whole number from 1 to ${most}`, found }]
  )
}
