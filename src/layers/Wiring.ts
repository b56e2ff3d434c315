/** Turns a decoded config into plans: makes each component and checks what they must know of each other. */
import { Duration, Effect, Result } from "effect"
import { AzureQueueClient } from "../services/AzureQueue.ts"
import type { Codec } from "../services/Codec.ts"
import { type Component, type Needs, OptionsError, type Problem, type Site } from "../services/Component.ts"
import type { Detector } from "../services/Detector.ts"
import type { Dispatcher } from "../services/Dispatcher.ts"
import type { Event } from "../services/Event.ts"
import * as AzureQueueOptions from "../streams/AzureQueueOptions.ts"
import * as AzureQueuePoison from "../streams/AzureQueuePoison.ts"
import * as Define from "../streams/Define.ts"
import * as Path from "../streams/Path.ts"
import { KeyError, type Plan } from "../streams/Plan.ts"
import * as Catalog from "./Catalog.ts"
import * as CodecJson from "./CodecJson.ts"
import { keepsJournal, type Loaded, type Pipeline } from "./Config.ts"
import { ConfigError, type Finding } from "./ConfigFile.ts"
import * as ExactlyOnce from "./ExactlyOnce.ts"
import * as MessageLog from "./MessageLog.ts"
import * as WiringBatchers from "./WiringBatchers.ts"

/** Fails: `ConfigError` with everything wrong in all pipelines. */
export const plans = Effect.fnUntraced(function* (
  loaded: Loaded
): Effect.fn.Return<ReadonlyArray<Plan>, ConfigError, Needs> {
  const problems: Array<Problem> = []
  const made: Array<Plan> = []
  for (const [name, pipeline] of Object.entries(loaded.config.pipelines)) {
    const result = yield* Effect.result(planOf(name, pipeline, loaded.folder, loaded.file.hide))
    if (Result.isSuccess(result)) made.push(result.success)
    else problems.push(...within(["pipelines", name], result.failure).problems)
  }
  if (problems.length > 0) return yield* new ConfigError({ findings: problems.map(loaded.file.finding) })
  return made
})

/** What the pipelines run without, though the config names it. */
export const unusable = ({ file }: Loaded, plans: ReadonlyArray<Plan>): ReadonlyArray<Finding> =>
  plans.flatMap(({ detectors, name }) =>
    detectors.flatMap(({ problems = [] }) =>
      problems.map((one) =>
        file.finding({
          path: ["pipelines", name, "detect", "directory"],
          expected: `modules that can be used (${one.reason})`,
          found: one.file
        })
      )
    )
  )

const planOf = Effect.fnUntraced(function* (name: string, pipeline: Pipeline, folder: string, hide: Site["hide"]) {
  const exactlyOnce = yield* ExactlyOnce.optionsOf(pipeline)
  const site: Site = {
    pipeline: name,
    source: pipeline.source,
    folder,
    concurrency: pipeline.concurrency,
    bufferMessages: pipeline.buffer?.messages ?? Define.bufferMessages,
    keyed: pipeline.key !== undefined,
    hide,
    exactlyOnce
  }
  const source = yield* Effect.result(makeOne(Catalog.sources, ["source"], pipeline.source, site))
  const behind: Site = { ...site, transact: Result.isSuccess(source) ? source.success.transact : undefined }
  const parts = yield* all({
    source: Effect.fromResult(source),
    decode: decoderOf(pipeline, behind, Result.isSuccess(source) ? source.success.codec : undefined),
    detect: Effect.map(detectorsOf(pipeline, behind), (found) =>
      pipeline.exactlyOnce ? found?.map(ExactlyOnce.single) : found
    ),
    key: keyOf(pipeline.key),
    dispatch: legsOf(pipeline, behind),
    batching: WiringBatchers.optionsOf(pipeline),
    publish: publishesOf(pipeline, behind),
    dedupe: dedupeOf(pipeline),
    setAside: setAsideOf(pipeline, site)
  })
  yield* checkEvents(pipeline, parts.detect)
  const { batching, ...told } = pipeline.log?.lines === "eventor" ? withLines(pipeline, parts) : parts
  const plan = yield* defined({
    name,
    ...told,
    ...batching,
    order: pipeline.order,
    unkeyed: pipeline.unkeyed,
    concurrency: pipeline.concurrency,
    buffer: pipeline.buffer,
    rate: pipeline.rate,
    retry: pipeline.retry && {
      attempts: pipeline.retry.attempts,
      backoffMillis: Duration.toMillis(pipeline.retry.backoff),
      maxMillis: Duration.toMillis(pipeline.retry.max)
    },
    onDecodeError: pipeline.failures?.decode,
    onKeyError: pipeline.failures?.key,
    journal: keepsJournal(pipeline),
    depthMax: pipeline.depthMax
  })
  return pipeline.log === undefined ? plan : { ...plan, logLevel: levels[pipeline.log.level] }
})

/** What only the whole pipeline shows to be wrong stands at the same places as in the config. */
const defined = (options: Parameters<typeof Define.define>[0]): Effect.Effect<Plan, OptionsError> =>
  Effect.suspend(() => {
    try {
      return Effect.succeed(Define.define(options))
    } catch (error) {
      return error instanceof OptionsError ? Effect.fail(error) : Effect.die(error)
    }
  })

const levels = { debug: "Debug", info: "Info", warn: "Warn", error: "Error" } as const

/** The parts, each of which says what it does. */
const withLines = <
  Parts extends {
    readonly decode: Codec
    readonly dispatch: ReadonlyArray<{ readonly name: string; readonly run: Dispatcher }>
    readonly publish: ReadonlyArray<Define.PublishOptions>
  }
>(
  pipeline: Pipeline,
  parts: Parts
): Parts => ({
  ...parts,
  decode: MessageLog.codec(parts.decode),
  dispatch: parts.dispatch.map((leg, i) => ({ ...leg, run: MessageLog.dispatcher(leg.run, pipeline.dispatch[i]!) })),
  publish: parts.publish.map((one) => ({ ...one, to: MessageLog.publisher(one.to) }))
})

// ---------------------------------------------------------------------------------------------------- parts

type Options = { readonly type: string; readonly [option: string]: unknown }

const makeOne = <Made>(
  components: ReadonlyArray<Component<string, any, Made>>,
  path: ReadonlyArray<string | number>,
  options: Options,
  site: Site
): Effect.Effect<Made, OptionsError, Needs> =>
  Effect.mapError(components.find(({ type }) => type === options.type)!.make(options, site), (error) =>
    within(path, error)
  )

const decoderOf = (
  { decode }: Pipeline,
  site: Site,
  own: Codec | undefined
): Effect.Effect<Codec, OptionsError, Needs> =>
  decode === undefined ? Effect.succeed(own ?? CodecJson.make()) : makeOne(Catalog.codecs, ["decode"], decode, site)

const detectorsOf = (
  { detect }: Pipeline,
  site: Site
): Effect.Effect<ReadonlyArray<Detector> | undefined, OptionsError, Needs> => {
  if (detect === undefined) return Effect.succeed(undefined)
  if (!isList(detect)) return Effect.map(makeOne(Catalog.detectors, ["detect"], detect, site), (one) => [one])
  // A plain list is short for rules; what is wrong in it stands one level higher.
  return makeOne(Catalog.detectors, [], { type: "rules", rules: detect }, site).pipe(
    Effect.map((one) => [one]),
    Effect.mapError(
      ({ problems }) =>
        new OptionsError({ problems: problems.map((one) => ({ ...one, path: ["detect", ...one.path.slice(1)] })) })
    )
  )
}

const legsOf = (pipeline: Pipeline, site: Site) =>
  list(pipeline.dispatch, (leg, i) => {
    const concurrency = Math.max(site.concurrency, WiringBatchers.concurrencyOf(pipeline, leg.batcher))
    return Effect.map(
      all({
        run: makeOne(Catalog.dispatchers, ["dispatch", i], leg, { ...site, concurrency }),
        batcher: WiringBatchers.batcherOf(leg.batcher, ["dispatch", i, "batcher"])
      }),
      (made) => ({
        name: (hasOwnName(leg.type) ? undefined : leg.name) ?? `dispatch.${i}:${leg.type}`,
        on: leg.on,
        ...made
      })
    )
  })

/** Of some `name` is an option of their own, such as the name of a flow run. */
const hasOwnName = (type: string): boolean =>
  Catalog.dispatchers.some((one) => one.type === type && "name" in one.options.fields)

const publishesOf = ({ publish }: Pipeline, site: Site) =>
  list(publish, (one, i) =>
    all({
      to: makeOne(Catalog.publishers, ["publish", i], one, site),
      key: optionalPath(one.key === "none" ? undefined : one.key, ["publish", i, "key"]),
      value: optionalPath(one.value, ["publish", i, "value"])
    }).pipe(
      Effect.map(
        ({ key, to, value }): Define.PublishOptions => ({
          to,
          name: one.name ?? `publish.${i}:${one.type}`,
          when: one.when && [one.when].flat(),
          key:
            one.key === "none"
              ? () => undefined
              : key && ((detection, reply) => Path.asKey(key.read({ event: detection.event, detection, reply }))),
          value:
            value &&
            ((detection, reply) => {
              const read = value.read({ event: detection.event, detection, reply })
              if (read === undefined) throw new Error(`there is no ${value.text}`)
              return read instanceof Uint8Array || typeof read === "string" ? read : JSON.stringify(read)
            })
        })
      )
    )
  )

const keyOf = (key: string | undefined) =>
  Effect.map(
    optionalPath(key, ["key"], ["payload", "envelope"]),
    (path) =>
      path &&
      ((event: Event): string | KeyError => {
        const value = path.read({ event })
        return Path.asKey(value) ?? new KeyError({ reason: `the key ${path.text} ${missing(value)}` })
      })
  )

/** With dead letters of its own a pipeline needs no place of its source's. */
const setAsideOf = ({ deadLetters }: Pipeline, site: Site): Effect.Effect<Define.SetAside, OptionsError, Needs> => {
  if (deadLetters === undefined) return Effect.succeed(undefined)
  if (deadLetters.type !== "azure-queue") return Effect.succeed(false)
  const { queue } = deadLetters
  return Effect.gen(function* () {
    if (!AzureQueueOptions.isQueue(queue)) {
      const problem = { path: ["queue"], expected: AzureQueueOptions.queueExpected, found: queue }
      return yield* new OptionsError({ problems: [problem] })
    }
    const shared = yield* AzureQueueOptions.shared(deadLetters, site)
    const client = yield* AzureQueueClient
    return AzureQueuePoison.make(yield* client.queue(yield* AzureQueueOptions.connectionOf(shared), queue))
  }).pipe(Effect.mapError((error) => within(["deadLetters"], error)))
}

const dedupeOf = ({ dedupe }: Pipeline) => {
  if (dedupe === undefined || dedupe === false) return Effect.succeed(dedupe)
  if (dedupe === true) return Effect.succeed({})
  return Effect.map(optionalPath(dedupe.id, ["dedupe", "id"], ["payload", "envelope"]), (path) => ({
    lease: dedupe.lease,
    id: path && ((event: Event) => Path.asKey(path.read({ event })) ?? event.envelope.id)
  }))
}

const optionalPath = (
  text: string | undefined,
  path: ReadonlyArray<string | number>,
  roots?: ReadonlyArray<Path.Root>
): Effect.Effect<Path.Path | undefined, OptionsError> => {
  if (text === undefined) return Effect.succeed(undefined)
  const compiled = Path.compile(text, roots)
  return Result.isSuccess(compiled)
    ? Effect.succeed(compiled.success)
    : Effect.fail(new OptionsError({ problems: [{ path, expected: compiled.failure, found: text }] }))
}

/** A dispatcher that waits for an event nobody can find would wait for ever: a misspelt name, most likely. */
const checkEvents = (pipeline: Pipeline, detectors: ReadonlyArray<Detector> | undefined) => {
  const known = detectors === undefined ? ["message"] : detectors.flatMap(({ events }) => events ?? [])
  if (detectors?.some(({ events }) => events === undefined) === true) return Effect.succeed(undefined)
  const problems = pipeline.dispatch.flatMap(({ on }, i): ReadonlyArray<Problem> => {
    const names = on === undefined ? [] : typeof on === "string" ? [on] : on
    return names.flatMap((name, k) =>
      known.includes(name)
        ? []
        : [
            {
              path: ["dispatch", i, "on", ...(typeof on === "string" ? [] : [k])],
              expected: `an event that is detected: ${[...new Set(known)].join(", ")}`,
              found: name,
              words: known
            }
          ]
    )
  })
  return problems.length === 0 ? Effect.void : Effect.fail(new OptionsError({ problems }))
}

// ---------------------------------------------------------------------------------------------------- helpers

const within = (path: ReadonlyArray<string | number>, { problems }: OptionsError): OptionsError =>
  new OptionsError({ problems: problems.map((one) => ({ ...one, path: [...path, ...one.path] })) })

/** Makes all parts and fails with the problems of all of them, not only of the first. */
const all = <Parts extends Readonly<Record<string, Effect.Effect<any, OptionsError, Needs>>>>(
  parts: Parts
): Effect.Effect<{ readonly [P in keyof Parts]: Effect.Success<Parts[P]> }, OptionsError, Needs> =>
  Effect.flatMap(
    Effect.all(parts as Readonly<Record<string, Effect.Effect<any, OptionsError, Needs>>>, { mode: "result" }),
    (results) => {
      const failures = Object.values(results).flatMap((result) =>
        Result.isFailure(result) ? result.failure.problems : []
      )
      if (failures.length > 0) return Effect.fail(new OptionsError({ problems: failures }))
      return Effect.succeed(
        Object.fromEntries(Object.entries(results).map(([name, result]) => [name, Result.getOrThrow(result)])) as never
      )
    }
  )

const list = <A, B>(
  items: ReadonlyArray<A>,
  f: (item: A, i: number) => Effect.Effect<B, OptionsError, Needs>
): Effect.Effect<ReadonlyArray<B>, OptionsError, Needs> =>
  Effect.map(all(Object.fromEntries(items.map((item, i) => [`${i}`, f(item, i)]))), (made) => Object.values(made))

const isList = <A>(value: ReadonlyArray<A> | object): value is ReadonlyArray<A> => Array.isArray(value)

const missing = (value: unknown): string =>
  value === undefined || value === null ? "is absent" : "is not text, a number or a boolean"
