/** Which dispatchers act on which event, and what becomes of their work when the pipeline pauses or stops. */
import { Effect } from "effect"
import * as DispatchBatches from "./DispatchBatches.ts"
import type { LegPlan, Plan } from "./Plan.ts"
import type { Runner } from "./Runner.ts"
import { Slots } from "./Slots.ts"
import type { Stats } from "./Stats.ts"
import { Attempt, defect, Target, type Options as TargetOptions } from "./Target.ts"
import type { Route } from "./Work.ts"

export interface Options {
  readonly plan: Plan
  readonly runner: Runner
  /** The pipeline's own. */
  readonly slots: Slots
  readonly stats: Stats
}

/** Event names whose routes are remembered. */
const namesMax = 10_000

export class Routes {
  readonly all: ReadonlyArray<Route>
  private readonly byEvent = new Map<string, ReadonlyArray<Route>>()
  /** Of the legs, and of what is done before their batches. */
  private readonly targets: Array<{ readonly name: string; readonly target: Target }> = []
  /** The pipeline's, and those of batchers that have their own. */
  private readonly slots: Array<Slots>
  private readonly options: Options

  constructor(options: Options) {
    const { plan, runner, slots } = options
    this.options = options
    this.slots = [slots]
    const batchers = plan.batchers.map((one) => ({
      plan: one,
      slots: one.concurrency === undefined ? undefined : new Slots(one.concurrency, runner)
    }))
    for (const { slots } of batchers) if (slots !== undefined) this.slots.push(slots)
    this.all = plan.legs.map((leg) => {
      const target = this.target(leg, leg.name, leg.dispatcher.probe)
      if (leg.batching === undefined) return { plan: leg, target, batches: undefined }
      const { process } = leg.batching
      const processing = process && this.target(leg, `${leg.name}: process`, undefined)
      return {
        plan: leg,
        target,
        batches: DispatchBatches.make({ ...options, plan: leg, target, processing, batchers })
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

  /** The legs whose targets are away. */
  get away(): ReadonlyArray<string> {
    return this.targets.filter(({ target }) => target.away).map(({ name }) => name)
  }

  /** Legs and batches at work. */
  get working(): number {
    let working = 0
    for (const { active } of this.slots) working += active
    return working
  }

  hold(): void {
    for (const slots of this.slots) slots.hold()
  }

  go(): void {
    for (const slots of this.slots) slots.go()
  }

  recall(): void {
    for (const { batches } of this.all) batches?.recall()
    for (const { target } of this.targets) target.recall()
  }

  /** Nothing waits for company any more. */
  flush(): void {
    for (const { batches } of this.all) batches?.flush()
  }

  /** Gives back what waits to begin, but for batches, and what waits for its next try. */
  close(reason: string): void {
    this.giveBackWaiting(reason, false)
    for (const { target } of this.targets) target.close(reason)
  }

  /** Gives back everything: at once what waits, and what works when it has been interrupted. */
  stop(reason: string): void {
    this.giveBackWaiting(reason, true)
    for (const { target } of this.targets) {
      target.close(reason)
      target.interrupt()
    }
    for (const { batches } of this.all) batches?.stop()
  }

  private giveBackWaiting(reason: string, all: boolean): void {
    for (const slots of this.slots) {
      for (const job of slots.takeAll()) {
        if (job instanceof Attempt && (all || !job.flushes)) job.giveBack(reason)
        else slots.submit(job)
      }
    }
  }

  private target(leg: LegPlan, name: string, probe: TargetOptions["probe"]): Target {
    const { plan, runner, slots, stats } = this.options
    const target = new Target({
      name: `${plan.name}: ${name}`,
      retry: plan.retry,
      slots,
      runner,
      verdict: leg.verdict,
      probe,
      onRetry: () => {
        stats.retries++
      },
      onLeg: (millis) => stats.leg.observe(millis)
    })
    this.targets.push({ name, target })
    return target
  }
}

/** The leg of an event that no dispatcher acts on: it never reaches a target. */
export const copy: Route = {
  plan: {
    name: "copy",
    on: undefined,
    dispatcher: { name: "copy", dispatch: () => Effect.never },
    verdict: defect,
    batching: undefined
  },
  target: undefined as never,
  batches: undefined
}
