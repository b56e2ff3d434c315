/** Counts what a gateway or a webhook answers, by route and status: also what was refused, and never came to the pipeline. */
import { Effect, Exit, Metric, type Scope } from "effect"
import type { HttpResponse } from "../services/HttpHost.ts"

/** Counts the answers of one route. */
export interface Counter {
  readonly answered: (response: HttpResponse) => void
  /** Who has gone away is answered nothing; what breaks is answered 500 by the server. */
  readonly ended: (exit: Exit.Exit<HttpResponse>) => void
}

/** `route` is a name of its kind: there is one series for each and its statuses, and not for each client. */
export type Counters = (route: string) => Counter

/** The series are there while the scope is open, each from its first answer on. */
export const make: (kind: "gateway" | "webhook", pipeline: string) => Effect.Effect<Counters, never, Scope.Scope> =
  Effect.fnUntraced(function* (kind: "gateway" | "webhook", pipeline: string) {
    const context = yield* Effect.context<never>()
    const registrations: Array<Metric.Registration> = []
    const seriesOf = (route: string, status: number): { count: number } => {
      const series = { count: 0 }
      const metric = Metric.counter(`sluice_${kind}_answers_total`, {
        description: `Answers of a ${kind}, by route and status`,
        incremental: true,
        attributes: { pipeline, route, status: `${status}` }
      })
      const none = (): void => {}
      const get = () => ({ count: series.count, incremental: true })
      registrations.push(Metric.registerUnsafe(metric, context, { get, update: none, modify: none }))
      return series
    }
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        for (const { remove } of registrations) remove()
      })
    )
    return (route) => {
      const byStatus = new Map<number, { count: number }>()
      const count = (status: number): void => {
        let series = byStatus.get(status)
        if (series === undefined) {
          series = seriesOf(route, status)
          byStatus.set(status, series)
        }
        series.count++
      }
      return {
        answered: ({ status }) => count(status),
        ended: (exit) => {
          if (Exit.isSuccess(exit)) count(exit.value.status)
          else if (Exit.hasDies(exit)) count(500)
        }
      }
    }
  })
