/** Dispatches legs in batches, for pipelines with `batch`: each leg gets its own reply, and only those that failed are tried again. */
import { Cause, Effect, Exit, Result } from "effect"
import { later } from "../services/Ready.ts"
import { Batches, type Item } from "./Batches.ts"
import type { LegPlan } from "./Plan.ts"
import type { Runner } from "./Runner.ts"
import { Attempt, type Target, type Verdict } from "./Target.ts"
import type { Leg } from "./Work.ts"

class BatchedLeg implements Item {
  alone = false
  delayMillis = 0
  readonly leg: Leg

  constructor(leg: Leg) {
    this.leg = leg
  }

  get key(): string | undefined {
    return this.leg.work.lane
  }
}

class BatchAttempt extends Attempt<void> {
  private open: ReadonlyArray<BatchedLeg>
  private readonly all: ReadonlyArray<BatchedLeg>
  private readonly plan: LegPlan
  private readonly batches: Batches<BatchedLeg>

  constructor(target: Target, plan: LegPlan, batches: Batches<BatchedLeg>, all: ReadonlyArray<BatchedLeg>) {
    super(target)
    this.plan = plan
    this.batches = batches
    this.all = all
    this.open = all
    this.attempts = all[0]!.leg.attempts
  }

  get gone(): boolean {
    return this.open.length > 0 && this.open.every(({ leg }) => leg.gone)
  }

  call(): Effect.Effect<void, unknown> {
    const asked = this.open
    const { dispatcher } = this.plan
    const answers =
      dispatcher.dispatchBatch === undefined
        ? Effect.forEach(asked, ({ leg }) => Effect.result(later(dispatcher.dispatch(leg.detection))), {
            concurrency: asked.length
          })
        : dispatcher.dispatchBatch(asked.map(({ leg }) => leg.detection))
    return Effect.flatMap(answers, (results) => this.answered(asked, results))
  }

  succeed(): void {
    this.batches.done(this.all)
  }

  fail(verdict: Verdict): void {
    for (const { leg } of this.takeOpen()) {
      leg.attempts = this.attempts
      leg.fail(verdict)
    }
    this.batches.done(this.all)
  }

  giveBack(reason: string): void {
    for (const { leg } of this.takeOpen()) {
      leg.attempts = this.attempts
      leg.giveBack(reason)
    }
    this.batches.done(this.all)
  }

  /** What failed in company goes on by itself, so that one message does not take its neighbours with it. */
  override divide(delayMillis: number): boolean {
    if (this.open.length === 1) return false
    const open = this.takeOpen()
    for (const item of open) {
      item.alone = true
      item.delayMillis = delayMillis
      item.leg.attempts = this.attempts
    }
    this.batches.done(this.all, open)
    return true
  }

  private takeOpen(): ReadonlyArray<BatchedLeg> {
    const open = this.open
    this.open = []
    return open
  }

  /** Settles what was answered; fails when some of it is to be tried again. */
  private answered(
    asked: ReadonlyArray<BatchedLeg>,
    results: ReadonlyArray<Result.Result<unknown, unknown>>
  ): Effect.Effect<void, unknown> {
    const again: Array<BatchedLeg> = []
    let failure: unknown
    asked.forEach((item, i) => {
      const result = results[i]
      if (result !== undefined && Result.isSuccess(result)) {
        this.target.good()
        item.leg.attempts = this.attempts
        item.leg.succeed(result.success as never)
        return
      }
      const error =
        result === undefined ? "the dispatcher gave no answer for this message of the batch" : result.failure
      const verdict = this.plan.verdict(result === undefined ? Cause.die(error) : Cause.fail(error))
      if (verdict.policy === "retry") {
        again.push(item)
        failure = error
      } else {
        item.leg.attempts = this.attempts + 1
        item.leg.fail(verdict)
      }
    })
    this.open = again
    return again.length === 0 ? Exit.void : Exit.fail(failure)
  }
}

/** The batcher of one dispatcher. */
export const make = (options: {
  readonly plan: LegPlan
  readonly target: Target
  readonly size: number
  readonly ageMillis: number
  readonly runner: Runner
}) => {
  const batches: Batches<BatchedLeg> = new Batches<BatchedLeg>({
    size: options.size,
    ageMillis: options.ageMillis,
    runner: options.runner,
    open: () => true,
    begin: (batch) => {
      const attempt = new BatchAttempt(options.target, options.plan, batches, batch)
      const { delayMillis } = batch[0]!
      if (delayMillis > 0) options.target.submitLater(attempt, delayMillis)
      else options.target.submit(attempt)
    }
  })
  return {
    offer: (leg: Leg): void => batches.offer(new BatchedLeg(leg)),
    flush: (): void => batches.flush()
  }
}
