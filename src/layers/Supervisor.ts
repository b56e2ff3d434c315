/** Keeps the pipelines of a process running: restarts what fails, gives up on what keeps failing, drains all on a stop. */
import { Clock, Deferred, Effect, FiberSet, Option, References, Result, type Scope } from "effect"
import type { DeadLetters } from "../services/DeadLetters.ts"
import * as Pipeline from "../streams/Pipeline.ts"
import type { Plan } from "../streams/Plan.ts"
import type { Limit } from "../streams/Rate.ts"
import { Stats } from "../streams/Stats.ts"

export interface Options {
  /** Units: milliseconds. How long a stop may take until the rest is given back. */
  readonly drainMillis: number
  /** Failures within a window after which the process gives up. Units: restarts; milliseconds. */
  readonly restartsMax: number
  readonly windowMillis: number
}

/** How it ended. `failed` names the pipelines that were halted or kept failing. */
export interface Outcome {
  readonly failed: ReadonlyArray<string>
}

export interface Supervisor {
  readonly pipelines: ReadonlyArray<Supervised>
  /** Every pipeline runs, or has ended as it should. */
  readonly ready: () => boolean
  /** Returns when all pipelines have ended, or one kept failing and the others were drained. */
  readonly await: Effect.Effect<Outcome>
  /** Stops intake everywhere and ends the work in hand. */
  readonly drain: Effect.Effect<void>
}

/** One pipeline over all its restarts. */
export interface Supervised {
  readonly name: string
  /** As it was tuned last: a restart goes on with that. */
  plan: Plan
  paused: boolean
  readonly stats: Stats
  state: "starting" | "running" | "restarting" | "ended" | "failed"
  /** The running one; undefined between two. */
  handle: Pipeline.Handle | undefined
}

/** Units: milliseconds between a failure and the next try. */
const backoffMillis = 200
const backoffMaxMillis = 5_000

export const start = Effect.fnUntraced(function* (
  plans: ReadonlyArray<Plan>,
  options: Options
): Effect.fn.Return<Supervisor, never, DeadLetters | Scope.Scope> {
  const stopping = yield* Deferred.make<void>()
  const gaveUp = yield* Deferred.make<void>()
  const fibers = yield* FiberSet.make<void>()
  const pipelines = plans.map(
    (plan): Supervised => ({
      name: plan.name,
      plan,
      paused: false,
      stats: new Stats(),
      state: "starting",
      handle: undefined
    })
  )
  for (const one of pipelines) {
    yield* FiberSet.run(fibers, supervise(one, options, Deferred.await(stopping), Deferred.succeed(gaveUp, undefined)))
  }
  const drain = Effect.gen(function* () {
    yield* Deferred.succeed(stopping, undefined)
    yield* Effect.forEach(pipelines, ({ handle }) => handle?.drain(options.drainMillis) ?? Effect.void, {
      concurrency: Math.max(1, pipelines.length),
      discard: true
    })
    yield* FiberSet.awaitEmpty(fibers)
    yield* report(pipelines)
  })
  const failed = () => pipelines.filter(({ state }) => state === "failed").map(({ name }) => name)
  return {
    pipelines,
    ready: () => pipelines.every(({ state }) => state === "running" || state === "ended"),
    drain,
    await: Effect.raceFirst(
      Effect.andThen(FiberSet.awaitEmpty(fibers), report(pipelines)),
      Effect.andThen(Deferred.await(gaveUp), drain)
    ).pipe(Effect.map(() => ({ failed: failed() })))
  }
})

/** What may be changed of a pipeline while it runs. */
export interface Tuning {
  /** null lifts the limit. */
  readonly rate?: Limit | null | undefined
  /** Units: working legs. */
  readonly concurrency?: number | undefined
  readonly paused?: boolean | undefined
}

/** Changes what is named, now and for the restarts to come. */
export const tune = (one: Supervised, { concurrency, paused, rate }: Tuning): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (rate !== undefined) one.plan = { ...one.plan, rate: rate ?? undefined }
    if (concurrency !== undefined) one.plan = { ...one.plan, concurrency }
    if (paused !== undefined) one.paused = paused
    return one.handle === undefined ? Effect.void : apply(one, one.handle)
  })

const apply = ({ paused, plan }: Supervised, handle: Pipeline.Handle): Effect.Effect<void> =>
  Effect.gen(function* () {
    const { rate } = plan
    // What is paused takes nothing of a higher rate, and what is resumed takes nothing beyond a lower one.
    if (paused) yield* handle.pause
    yield* Effect.orDie(handle.rate(rate && { messages: rate.messages, per: rate.perMillis }))
    yield* handle.resize(plan.concurrency)
    if (!paused) yield* handle.resume
  })

/** Runs one pipeline until it ends, is halted, or fails too often; a source that is away is waited for without counting. */
const supervise = (
  one: Supervised,
  options: Options,
  stopping: Effect.Effect<void>,
  giveUp: Effect.Effect<unknown>
): Effect.Effect<void, never, DeadLetters> =>
  Effect.gen(function* () {
    let failures: ReadonlyArray<number> = []
    let inARow = 0
    for (;;) {
      const startedAt = yield* Clock.currentTimeMillis
      const result = yield* Effect.result(atLevel(one.plan, runOnce(one)))
      if (Result.isSuccess(result)) {
        one.state = "ended"
        return
      }
      const { kind, message } = result.failure
      if (kind === "halted") {
        one.state = "failed"
        return yield* Effect.logError(`${message}: halted by its policy`)
      }
      const now = yield* Clock.currentTimeMillis
      failures = kind === "away" ? failures : [...failures, now].filter((at) => at > now - options.windowMillis)
      if (failures.length > options.restartsMax) {
        one.state = "failed"
        yield* Effect.logError(
          `${message}: failed ${failures.length} times within ${options.windowMillis / 1000} s, giving up`
        )
        yield* giveUp
        return
      }
      inARow = now - startedAt > options.windowMillis ? 0 : inARow + 1
      const delay = Math.min(backoffMillis * 2 ** (inARow - 1), backoffMaxMillis)
      one.state = "restarting"
      yield* Effect.logWarning(`${message}: starting again in ${delay / 1000} s`)
      const stopped = yield* Effect.timeoutOption(stopping, delay)
      if (Option.isSome(stopped)) {
        one.state = "ended"
        return
      }
    }
  })

const atLevel = <A, E, R>({ logLevel }: Plan, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  logLevel === undefined ? effect : Effect.provideService(effect, References.MinimumLogLevel, logLevel)

const runOnce = (one: Supervised) =>
  Effect.scoped(
    Effect.gen(function* () {
      const { paused, plan } = one
      const handle = yield* Pipeline.start(plan, { stats: one.stats, paused })
      one.handle = handle
      if (one.plan !== plan || one.paused !== paused) yield* apply(one, handle)
      one.state = "running"
      yield* Effect.logInfo(`${one.name}: started, reading ${one.plan.source.name}`)
      yield* handle.await.pipe(
        Effect.ensuring(
          Effect.sync(() => {
            one.handle = undefined
          })
        )
      )
      yield* Effect.logInfo(`${one.name}: ended`)
    })
  )

const report = (pipelines: ReadonlyArray<Supervised>): Effect.Effect<void> =>
  Effect.forEach(
    pipelines,
    ({ name, stats }) => {
      const parts = [
        `received ${stats.received}`,
        `acked ${stats.acked}`,
        `buried ${stats.buried}`,
        ...(stats.refused > 0 ? [`refused ${stats.refused}`] : []),
        ...(stats.dropped > 0 ? [`dropped ${stats.dropped}`] : []),
        ...(stats.duplicates > 0 ? [`duplicates ${stats.duplicates}`] : []),
        `given back ${stats.nacked + stats.held}`
      ]
      return Effect.logInfo(`${name}: ${parts.join(", ")}`)
    },
    { discard: true }
  )
