/** Shows what a process does: logs, metrics, and whether it lives and is ready. */
import { type Context, Effect, Logger, Metric, type Scope } from "effect"
import { PrometheusMetrics } from "effect/observability"
import { HttpHost, type HttpHostError, type HttpResponse } from "../services/HttpHost.ts"
import { oneLine } from "../streams/OneLine.ts"
import type { Histogram } from "../streams/Stats.ts"
import * as PartitionMetrics from "./PartitionMetrics.ts"
import type { Supervised, Supervisor } from "./Supervisor.ts"

/** Human lines on a terminal, JSON lines otherwise; always on standard error, since standard output is for data. */
export const logger = (terminal: boolean): Logger.Logger<unknown, void> =>
  Logger.withConsoleError(terminal ? human : Logger.formatJson)

const human = Logger.make(({ date, logLevel, message }) => {
  const text = (Array.isArray(message) ? message : [message])
    .map((part) => (typeof part === "string" ? part : JSON.stringify(part)))
    .join(" ")
  return `${date.toISOString().slice(11, 23)} ${logLevel.toUpperCase().padEnd(5)} ${oneLine(text)}`
})

/** Serves `/livez`, `/readyz` and `/metrics`, where the config has `http`. */
export const routes = Effect.fnUntraced(function* (
  supervisor: Supervisor
): Effect.fn.Return<void, HttpHostError, HttpHost | Scope.Scope> {
  const host = yield* HttpHost
  yield* register(supervisor.pipelines)
  if (host.address === undefined) return
  const get = (path: string, handle: () => HttpResponse | Effect.Effect<HttpResponse>) =>
    host.route({ method: "GET", path, handle })
  yield* get("/livez", () => ({ status: 200, body: "ok\n" }))
  yield* get("/readyz", () =>
    supervisor.ready() ? { status: 200, body: readyText(supervisor) } : notReady(supervisor)
  )
  yield* get("/metrics", () =>
    Effect.map(PrometheusMetrics.format(), (body) => ({
      status: 200,
      headers: { "content-type": "text/plain; version=0.0.4; charset=utf-8" },
      body: `${body.trimEnd()}\n${PartitionMetrics.format(supervisor.pipelines)}`
    }))
  )
})

/** It works, though without what cannot be used. */
const readyText = ({ pipelines }: Supervisor): string =>
  [
    "ready",
    ...pipelines.flatMap(({ name, plan }) =>
      plan.detectors.flatMap(({ problems = [] }) => problems.map(({ file, reason }) => `${name}: ${file} ${reason}`))
    )
  ]
    .join("\n")
    .concat("\n")

const notReady = ({ pipelines }: Supervisor): HttpResponse => ({
  status: 503,
  body: `${pipelines
    .filter(({ state }) => state !== "running" && state !== "ended")
    .map(({ name, state }) => `${name}: ${state}`)
    .join("\n")}\n`
})

// ---------------------------------------------------------------------------------------------------- metrics

/** Numbers the pipelines count anyway, read when somebody scrapes: a message pays nothing for them. */
const register = (pipelines: ReadonlyArray<Supervised>) =>
  Effect.contextWith((context: Context.Context<Scope.Scope>) =>
    Effect.forEach(pipelines, (one) => registerOne(one, context), { discard: true })
  )

const registerOne = (one: Supervised, context: Context.Context<Scope.Scope>) => {
  const { name: pipeline, stats } = one
  const registrations: Array<Metric.Registration> = []
  const bind = <Input, State>(metric: Metric.Metric<Input, State>, get: () => State): void => {
    const none = (): void => {}
    registrations.push(Metric.registerUnsafe(metric, context, { get, update: none, modify: none }))
  }
  const counter = (
    id: string,
    description: string,
    value: () => number,
    attributes: Record<string, string> = {}
  ): void =>
    bind(Metric.counter(id, { description, incremental: true, attributes: { pipeline, ...attributes } }), () => ({
      count: value(),
      incremental: true
    }))
  const gauge = (id: string, description: string, value: () => number): void =>
    bind(Metric.gauge(id, { description, attributes: { pipeline } }), () => ({ value: value() }))
  /** `scale`: how many of what was counted make one of what is shown. */
  const histogram = (
    id: string,
    description: string,
    of: Histogram,
    scale: number,
    attributes: Record<string, string> = {}
  ): void => {
    const boundaries = of.bounds.map((bound) => bound / scale)
    bind(Metric.histogram(id, { description, attributes: { pipeline, ...attributes }, boundaries }), () =>
      stateOf(of, scale)
    )
  }

  counter("sluice_received_total", "Deliveries received", () => stats.received)
  const outcomes = ["acked", "buried", "refused", "nacked"] as const
  for (const outcome of outcomes) {
    counter("sluice_settled_total", "Deliveries settled, by outcome", () => stats[outcome], { outcome })
  }
  counter("sluice_undetected_total", "Deliveries in which nothing was detected", () => stats.undetected)
  counter("sluice_dropped_total", "Messages and legs dropped by policy", () => stats.dropped)
  counter("sluice_duplicates_total", "Copies that dedupe kept from running", () => stats.duplicates)
  counter("sluice_retries_total", "Second tries of legs and publishes", () => stats.retries)
  counter("sluice_dead_letters_total", "Dead letters written", () => stats.letters)
  counter("sluice_published_total", "Replies confirmed by a publisher", () => stats.published)
  gauge("sluice_held", "Deliveries received and not settled", () => stats.held)
  gauge("sluice_held_bytes", "Bytes of what is held, as it came and decoded", () => stats.heldBytes)
  gauge("sluice_in_flight", "Legs at work", () => one.handle?.gauges().working ?? 0)
  gauge("sluice_lanes", "Keys with work in hand", () => one.handle?.gauges().lanes ?? 0)
  gauge("sluice_paused", "1 while the source is held back", () => (one.handle?.gauges().waiting === true ? 1 : 0))
  histogram("sluice_leg_seconds", "One try of a leg", stats.leg, 1000)
  histogram("sluice_settle_seconds", "From the source's hand to the settlement", stats.latency, 1000)
  for (const { name } of one.plan.batchers) {
    const batches = stats.batcher(name)
    for (const trigger of ["size", "bytes", "age", "flush"] as const) {
      const attributes = { batcher: name, trigger }
      counter("sluice_batches_total", "Batches begun, by what sent them out", () => batches[trigger], attributes)
    }
    histogram("sluice_batch_size", "Messages of a batch", batches.sizes, 1, { batcher: name })
  }
  return Effect.addFinalizer(() =>
    Effect.sync(() => {
      for (const { remove } of registrations) remove()
    })
  )
}

const stateOf = ({ bounds, count, counts, max, min, sum }: Histogram, scale: number): Metric.HistogramState => {
  let cumulated = 0
  const buckets = bounds.map((bound, i): [number, number] => {
    cumulated += counts[i]!
    return [bound / scale, cumulated]
  })
  return { buckets, count, min: min / scale, max: max / scale, sum: sum / scale }
}
