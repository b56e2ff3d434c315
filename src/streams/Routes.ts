/** Which dispatchers act on which event. */
import { Effect } from "effect"
import * as DispatchBatches from "./DispatchBatches.ts"
import type { Plan } from "./Plan.ts"
import type { Runner } from "./Runner.ts"
import type { Slots } from "./Slots.ts"
import type { Stats } from "./Stats.ts"
import { defect, Target } from "./Target.ts"
import type { Route } from "./Work.ts"

export interface Options {
  readonly plan: Plan
  readonly runner: Runner
  readonly slots: Slots
  readonly stats: Stats
}

/** Event names whose routes are remembered. */
const namesMax = 10_000

export class Routes {
  readonly all: ReadonlyArray<Route>
  private readonly byEvent = new Map<string, ReadonlyArray<Route>>()

  constructor({ plan, runner, slots, stats }: Options) {
    const onRetry = () => {
      stats.retries++
    }
    this.all = plan.legs.map((leg) => {
      const target = new Target({
        name: `${plan.name}: ${leg.name}`,
        retry: plan.retry,
        slots,
        runner,
        verdict: leg.verdict,
        probe: leg.dispatcher.probe,
        onRetry,
        onLeg: (millis) => stats.leg.observe(millis)
      })
      return {
        plan: leg,
        target,
        batches: plan.batch && DispatchBatches.make({ plan: leg, target, ...plan.batch, runner })
      }
    })
  }

  /** Names come from the data at times, so only a bounded number is remembered. */
  of(event: string): ReadonlyArray<Route> {
    const known = this.byEvent.get(event)
    if (known !== undefined) return known
    const found = this.all.filter(({ plan }) => plan.on === undefined || plan.on.includes(event))
    const routes = found.length === 0 ? [copy] : found
    if (this.byEvent.size < namesMax) this.byEvent.set(event, routes)
    return routes
  }
}

/** The leg of an event that no dispatcher acts on: it never reaches a target. */
export const copy: Route = {
  plan: { name: "copy", on: undefined, dispatcher: { name: "copy", dispatch: () => Effect.never }, verdict: defect },
  target: undefined as never,
  batches: undefined
}
