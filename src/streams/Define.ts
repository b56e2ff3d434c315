/** Puts a pipeline together: defaults for what is not said, and a policy for every error its dispatchers can have. */
import { Cause, Duration, Effect, Layer, type Result, type Scope } from "effect"
import * as Chain from "../services/Chain.ts"
import type { Codec } from "../services/Codec.ts"
import type { DeadLetters } from "../services/DeadLetters.ts"
import type { Detector } from "../services/Detector.ts"
import { DispatchError, type Dispatcher } from "../services/Dispatcher.ts"
import type { Detection, Event } from "../services/Event.ts"
import type { Policies, Policy } from "../services/Failure.ts"
import type { Publisher } from "../services/Publisher.ts"
import type { Ready } from "../services/Ready.ts"
import * as Reply from "../services/Reply.ts"
import type { Source } from "../services/Source.ts"
import * as DefineBatchers from "./DefineBatchers.ts"
import * as Pipeline from "./Pipeline.ts"
import type { KeyError, LegPlan, MessagePolicy, Plan } from "./Plan.ts"
import * as Rate from "./Rate.ts"
import { words } from "./Runner.ts"
import { defect, type Retry, retryDefault, type Verdict } from "./Target.ts"

interface LegCommon<E> extends DefineBatchers.LegBatching<E> {
  /** The event or events it acts on; absent means all. */
  readonly on?: string | ReadonlyArray<string> | undefined
  readonly name?: string | undefined
}

/** What a leg does: for each message, or for each batch. */
export type LegOptions<E> =
  | (LegCommon<E> & {
      readonly run: Dispatcher<E> | ((detection: Detection) => Ready<Reply.Reply, E>)
      readonly runBatch?: undefined
    })
  | (LegCommon<E> & { readonly run?: undefined; readonly runBatch: DefineBatchers.RunBatch<E> })

export interface PublishOptions {
  readonly to: Publisher
  /** Which replies it takes; absent means the accepted ones. */
  readonly when?: ReadonlyArray<Reply.Reply["kind"]> | undefined
  /** Absent means the event's key. */
  readonly key?: ((detection: Detection, reply: Reply.Reply) => string | undefined) | undefined
  /** Absent means the reply's payload as it is. */
  readonly value?: ((detection: Detection, reply: Reply.Reply) => Uint8Array | string) | undefined
  readonly name?: string | undefined
}

interface Common {
  readonly name: string
  readonly source: Source
  readonly decode: Codec
  readonly key?: ((event: Event) => string | KeyError) | undefined
  readonly order?: Plan["order"] | undefined
  readonly unkeyed?: Plan["unkeyed"] | undefined
  /** Working legs; 64 by default. */
  readonly concurrency?: number | undefined
  /** What may wait beyond them; 4,096 messages and 64 MiB by default. */
  readonly buffer?: { readonly messages?: number | undefined; readonly bytes?: number | undefined } | undefined
  /** How many are let in per interval, replays not counted; absent sets no limit. Throws: `RateError`, when it cannot be one. */
  readonly rate?: Rate.Input | undefined
  /** Absent makes every decoded message the event `message`. */
  readonly detect?: ReadonlyArray<Detector> | ((event: Event) => Ready<ReadonlyArray<string>>) | undefined
  readonly publish?: ReadonlyArray<PublishOptions> | undefined
  readonly retry?: Partial<Retry> | undefined
  readonly onDecodeError?: MessagePolicy | undefined
  readonly onKeyError?: MessagePolicy | undefined
  /** The batcher of legs that name none; absent, those go message by message, but for `runBatch`. */
  readonly batch?: DefineBatchers.BatcherOptions | undefined
  readonly batchers?: Readonly<Record<string, DefineBatchers.BatcherOptions>> | undefined
  /** Absent for a source whose messages may come again after they are settled: by their ids. */
  readonly dedupe?:
    | { readonly id?: ((event: Event) => string) | undefined; readonly lease?: Duration.Input }
    | false
    | undefined
  /** Absent means the source's own; false none. */
  readonly setAside?: SetAside
  /** Pipelines a message may have gone through before it is taken for one that goes in circles; 32 by default. */
  readonly depthMax?: number | undefined
  /** Note what became of each message in the `Journal` of the environment; not by default. */
  readonly journal?: boolean | undefined
}

export type SetAside = Plan["setAside"] | false

type ErrorsOf<Leg> = RunErrors<Leg> | BatchErrors<Leg> | ProcessErrors<Leg>

type RunErrors<Leg> = Leg extends { readonly run: infer Run }
  ? Run extends (detection: Detection) => infer Answer
    ? FailureOf<Answer>
    : Run extends Dispatcher<infer E>
      ? E
      : never
  : never

type BatchErrors<Leg> = Leg extends { readonly runBatch: (...batch: never) => Effect.Effect<infer Replies, infer E> }
  ?
      | E
      | (Replies extends ReadonlyArray<infer One>
          ? One extends Result.Failure<unknown, infer E2>
            ? E2
            : never
          : never)
  : never

type ProcessErrors<Leg> = Leg extends { readonly process: (detection: Detection) => infer Value }
  ? FailureOf<Value>
  : never

type FailureOf<Answer> = Answer extends Effect.Effect<unknown, infer E> ? E : never

/** `DispatchError` knows by itself whether to retry; every other error needs its policy, or this does not type-check. */
type Unmapped<E, F> = 0 extends 1 & E ? never : Exclude<keyof Policies<Exclude<E, DispatchError>>, keyof F>

export type Options<Legs extends ReadonlyArray<LegOptions<any>>, F> = Common & {
  readonly dispatch?: Legs
  readonly failures?: F
} & ([Unmapped<ErrorsOf<Legs[number]>, F>] extends [never]
    ? unknown
    : { readonly failures: { readonly [Tag in Unmapped<ErrorsOf<Legs[number]>, F>]: Policy } })

/** Units: deliveries that may wait, where nobody says otherwise. */
export const bufferMessages = 4096

/** A pipeline as a value: run it with `run`, put it into an app with `layer`, or start it and keep its handle. */
export const define = <
  const Legs extends ReadonlyArray<LegOptions<any>>,
  F extends Readonly<Record<string, Policy>> = Readonly<Record<never, Policy>>
>(
  options: Options<Legs, F>
): Plan => {
  const { batch, buffer, concurrency = 64, detect, dispatch = [], publish = [], retry, source } = options
  const { repeats = false } = source
  const dedupe = options.dedupe ?? (repeats === false ? false : {})
  const detectors = detect === undefined ? [everything] : typeof detect === "function" ? [named(detect)] : detect
  const failures = (options.failures ?? {}) as Readonly<Record<string, Policy>>
  const batchers = DefineBatchers.make({ batch, batchers: options.batchers, dispatch })
  return {
    name: options.name,
    source,
    codec: options.decode,
    key: options.key,
    order: options.order ?? "key",
    unkeyed: options.unkeyed ?? "none",
    concurrency,
    buffer: { messagesMax: buffer?.messages ?? bufferMessages, bytesMax: buffer?.bytes ?? 64 * 1024 * 1024 },
    rate: options.rate && rateOf(options.rate),
    detectors,
    legs: [
      ...dispatch.map((leg, i) => legOf(leg, i, failures, batchers.legs[i])),
      ...detectors.flatMap((detector) => actingOf(detector, failures, batchers.others))
    ],
    publishes: publish.map(({ key, name, to, value, when }, i) => ({
      name: name ?? `publish.${i}:${to.name}`,
      publisher: to,
      when: when ?? ["accepted"],
      key: key ?? (({ event }) => event.key),
      value:
        value === undefined
          ? (_, { payload }) => Reply.bytes(payload)
          : (detection, reply) => Reply.bytes(value(detection, reply))
    })),
    retry: { ...retryDefault, ...retry },
    onDecodeError: options.onDecodeError ?? "bury",
    onKeyError: options.onKeyError ?? "bury",
    batchers: batchers.all,
    setAside: options.setAside === false ? undefined : (options.setAside ?? source.setAside),
    dedupe:
      dedupe === false
        ? undefined
        : {
            id:
              dedupe.id ??
              (({ envelope }) => (typeof repeats !== "function" || repeats(envelope) ? envelope.id : undefined)),
            leaseMillis: Duration.toMillis(Duration.fromInputUnsafe(dedupe.lease ?? "5 minutes"))
          },
    depthMax: options.depthMax ?? Chain.depthMaxDefault,
    journal: options.journal ?? false
  }
}

const rateOf = (rate: Rate.Input): Rate.Limit => {
  const limit = Rate.limitOf(rate)
  if (limit instanceof Rate.RateError) throw limit
  return limit
}

/** Starts a pipeline and gives its handle; it ends with the scope. */
export const start = Pipeline.start

/** Runs a pipeline to the end of its input. */
export const run = (plan: Plan): Effect.Effect<void, Pipeline.PipelineError, DeadLetters> =>
  Effect.scoped(Effect.flatMap(Pipeline.start(plan), (handle) => handle.await))

/** Runs a pipeline as long as the layer lives, and drains it when the layer's scope closes. */
export const layer = <E, R>(
  plan: Effect.Effect<Plan, E, R>,
  options: { readonly drain?: Duration.Input | undefined } = {}
): Layer.Layer<never, E, DeadLetters | Exclude<R, Scope.Scope>> =>
  Layer.effectDiscard(
    Effect.flatMap(plan, (plan) =>
      Effect.gen(function* () {
        const handle = yield* Pipeline.start(plan)
        const millis =
          options.drain === undefined ? undefined : Duration.toMillis(Duration.fromInputUnsafe(options.drain))
        yield* Effect.addFinalizer(() => handle.drain(millis))
        yield* handle.await.pipe(
          Effect.catch((error) => Effect.logError(error.message)),
          Effect.forkScoped
        )
      })
    )
  )

const everything: Detector = {
  name: "message",
  events: ["message"],
  detect: (event) => [{ name: "message", event }]
}

const named = (detect: (event: Event) => Ready<ReadonlyArray<string>>): Detector => ({
  name: "detect",
  events: undefined,
  detect: (event) => {
    const found = detect(event)
    return Effect.isEffect(found)
      ? Effect.map(found, (names) => names.map((name) => ({ name, event })))
      : found.map((name) => ({ name, event }))
  }
})

const legOf = (
  leg: LegOptions<unknown>,
  i: number,
  failures: Readonly<Record<string, Policy>>,
  batching: LegPlan["batching"]
): LegPlan => {
  const dispatcher = dispatcherOf(leg)
  return {
    name: leg.name ?? `dispatch.${i}:${dispatcher.name}`,
    on: typeof leg.on === "string" ? [leg.on] : leg.on,
    dispatcher,
    verdict: (cause) => verdictOf(cause, failures),
    batching
  }
}

const dispatcherOf = ({ run, runBatch }: LegOptions<unknown>): Dispatcher<unknown> =>
  run === undefined
    ? DefineBatchers.dispatcherOf(runBatch)
    : typeof run === "function"
      ? { name: "run", dispatch: run }
      : run

/** Some detectors learn events while they run: they are asked when one comes. */
const actingOf = (
  detector: Detector,
  failures: Readonly<Record<string, Policy>>,
  batching: LegPlan["batching"]
): ReadonlyArray<LegPlan> => {
  const { acts, name } = detector
  if (acts === undefined) return []
  const leg = legOf({ name, run: acts }, 0, failures, batching)
  return [
    {
      ...leg,
      get on() {
        return detector.events
      }
    }
  ]
}

const verdictOf = (cause: Cause.Cause<unknown>, failures: Readonly<Record<string, Policy>>): Verdict => {
  const failure = cause.reasons.find(Cause.isFailReason)
  if (failure === undefined) return defect(cause)
  const { error } = failure
  if (error instanceof DispatchError) {
    const { presence, reason, reply, retryable, retryAfterMillis } = error
    return { policy: retryable ? "retry" : "bury", reason, presence, retryAfterMillis, reply }
  }
  const tag = typeof error === "object" && error !== null && "_tag" in error ? String(error._tag) : ""
  return { policy: failures[tag] ?? "bury", reason: words(error), presence: "answered" }
}
