/** Dispatches legs in batches: each leg gets its own reply, and only those that failed are tried again. */
import { Cause, Effect, Exit, Result } from "effect"
import type { BatchInfo, Trigger } from "../services/Dispatcher.ts"
import type { Detection } from "../services/Event.ts"
import { later, type Ready } from "../services/Ready.ts"
import { Batches } from "./Batches.ts"
import type { Batcher, Group, Item } from "./BatchGroups.ts"
import type { BatcherPlan, LegPlan } from "./Plan.ts"
import { type Runner, words } from "./Runner.ts"
import type { Slots } from "./Slots.ts"
import type { Stats } from "./Stats.ts"
import { Attempt, defect, lost, type Target, type Verdict } from "./Target.ts"
import type { Leg, LegBatches } from "./Work.ts"

export interface Options {
  readonly plan: LegPlan
  readonly target: Target
  /** Of what is done for each message before its batch; undefined where there is nothing. */
  readonly processing: Target | undefined
  /** Each with slots of its own, or with those of the pipeline. */
  readonly batchers: ReadonlyArray<{ readonly plan: BatcherPlan; readonly slots: Slots | undefined }>
  readonly runner: Runner
  readonly stats: Stats
}

class BatchedLeg implements Item {
  alone = false
  delayMillis = 0
  at = 0
  readonly leg: Leg
  /** As the batch sees it. */
  readonly detection: Detection

  constructor(leg: Leg, detection: Detection) {
    this.leg = leg
    this.detection = detection
  }

  get key(): string | undefined {
    return this.leg.work.lane
  }

  get bytes(): number {
    return this.leg.work.delivery.envelope.payload.length
  }
}

/** The batcher of a batch, as its attempt needs it. */
interface Place {
  readonly plan: BatcherPlan
  readonly slots: Slots | undefined
  readonly batcher: Batcher<BatchedLeg>
}

class BatchAttempt extends Attempt<void> {
  private open: ReadonlyArray<BatchedLeg>
  private readonly plan: LegPlan
  private readonly runner: Runner
  private readonly place: Pick<Place, "plan" | "slots">
  private readonly batches: Batches<BatchedLeg>
  private readonly group: Group<BatchedLeg>
  private readonly trigger: Trigger

  constructor(
    { plan, runner, target }: Options,
    place: Pick<Place, "plan" | "slots">,
    batches: Batches<BatchedLeg>,
    batch: ReadonlyArray<BatchedLeg>,
    group: Group<BatchedLeg>,
    trigger: Trigger
  ) {
    super(target)
    this.plan = plan
    this.runner = runner
    this.place = place
    this.batches = batches
    this.open = batch
    this.group = group
    this.trigger = trigger
    this.attempts = batch[0]!.leg.attempts
  }

  override get slots(): Slots {
    return this.place.slots ?? this.target.slots
  }

  override get flushes(): boolean {
    return true
  }

  get gone(): boolean {
    return this.open.length > 0 && this.open.every(({ leg }) => leg.gone)
  }

  call(): Effect.Effect<void, unknown> {
    const asked = this.open
    const { dispatcher } = this.plan
    const answers =
      dispatcher.dispatchBatch === undefined
        ? Effect.forEach(asked, ({ detection }) => Effect.result(later(dispatcher.dispatch(detection))), {
            concurrency: asked.length
          })
        : dispatcher.dispatchBatch(
            asked.map(({ detection }) => detection),
            this.info
          )
    return Effect.flatMap(answers, (results) => this.answered(asked, results))
  }

  private get info(): BatchInfo {
    return { batcher: this.place.plan.name, key: this.group.key, size: this.open.length, trigger: this.trigger }
  }

  /** All of it is answered already. */
  succeed(): void {}

  fail(verdict: Verdict): void {
    this.end((leg) => leg.fail(verdict))
  }

  giveBack(reason: string): void {
    this.end((leg) => leg.giveBack(reason))
  }

  /** What failed in company goes on by itself, so that one message does not take its neighbours with it. */
  override divide(delayMillis: number): boolean {
    if (this.open.length === 1) return false
    const { open } = this
    this.open = []
    for (const item of open) {
      item.alone = true
      item.delayMillis = delayMillis
      item.leg.attempts = this.attempts
    }
    this.batches.done(this.group, open, open)
    return true
  }

  private end(how: (leg: Leg) => void): void {
    const { open } = this
    this.open = []
    for (const { leg } of open) {
      leg.attempts = this.attempts
      leg.work.legsBatched--
      how(leg)
    }
    this.batches.done(this.group, open)
  }

  /** Ends what was answered; fails when some of it is to be tried again. */
  private answered(
    asked: ReadonlyArray<BatchedLeg>,
    results: ReadonlyArray<Result.Result<unknown, unknown>>
  ): Effect.Effect<void, unknown> {
    const again: Array<BatchedLeg> = []
    const ended: Array<BatchedLeg> = []
    let failure: unknown
    this.runner.now()
    asked.forEach((item, i) => {
      const { leg } = item
      const result = results[i]
      if (result !== undefined && Result.isSuccess(result)) {
        this.target.good()
        ended.push(item)
        leg.attempts = this.attempts
        leg.work.legsBatched--
        return leg.succeed(result.success as never)
      }
      const error =
        result === undefined ? "the dispatcher gave no answer for this message of the batch" : result.failure
      const verdict = this.plan.verdict(result === undefined ? Cause.die(error) : Cause.fail(error))
      if (verdict.policy === "retry") {
        again.push(item)
        failure = error
        return
      }
      ended.push(item)
      leg.attempts = this.attempts + 1
      leg.work.legsBatched--
      leg.fail(verdict)
    })
    this.open = again
    // The keys of what is answered go on, whatever becomes of the rest.
    this.batches.leave(this.group, ended, [])
    return again.length === 0 ? Exit.void : Exit.fail(failure)
  }
}

/** What is done for one message before it comes into its batch. */
class ProcessAttempt extends Attempt<unknown> {
  private readonly leg: Leg
  private readonly place: (leg: Leg, detection: Detection) => void

  constructor(target: Target, leg: Leg, place: (leg: Leg, detection: Detection) => void) {
    super(target)
    this.leg = leg
    this.place = place
    this.first = leg.first
  }

  get gone(): boolean {
    return this.leg.gone
  }

  call(): Ready<unknown, unknown> {
    return this.leg.plan.batching!.process!(this.leg.detection)
  }

  succeed(payload: unknown): void {
    const { event, name } = this.leg.detection
    this.place(this.leg, { name, event: { ...event, payload } })
  }

  fail(verdict: Verdict): void {
    this.leg.attempts = this.attempts
    this.leg.fail(verdict)
  }

  giveBack(reason: string): void {
    this.leg.attempts = this.attempts
    this.leg.giveBack(reason)
  }
}

/** The batchers of one leg. */
export const make = (options: Options): LegBatches => {
  const { plan, processing, runner, stats, target } = options
  const { by, otherwise } = plan.batching!
  const batches = new Batches<BatchedLeg>(runner)
  const places = new Map<string, Place>()
  for (const one of options.batchers) {
    const { ageMillis, bytesMax, name, size } = one.plan
    const counted = stats.batcher(name)
    const batcher = batches.add({
      size,
      bytesMax,
      ageMillis,
      open: () => one.slots === undefined || one.slots.free,
      begin: (batch, group, trigger) => {
        counted[trigger]++
        counted.sizes.observe(batch.length)
        const attempt = new BatchAttempt(options, one, batches, batch, group, trigger)
        const { delayMillis } = batch[0]!
        if (delayMillis > 0) target.submitLater(attempt, delayMillis)
        else target.submit(attempt)
      }
    })
    places.set(name, { ...one, batcher })
  }

  const placeOf = (detection: Detection): Place | string => {
    const named = typeof by === "string" ? by : by(detection)
    const place = named === undefined ? undefined : places.get(named)
    if (place !== undefined) return place
    const instead = otherwise === undefined ? undefined : places.get(otherwise)
    const what = named === undefined ? "it names none" : `${JSON.stringify(words(named))} is none`
    return instead ?? `there is no batcher for it: ${what} of ${[...places.keys()].join(", ")}`
  }

  const stop = (leg: Leg, verdict: Verdict): void => {
    leg.attempts = 1
    leg.fail(verdict)
  }

  const enter = (leg: Leg, detection: Detection): void => {
    let group: Group<BatchedLeg>
    try {
      const place = placeOf(detection)
      if (typeof place === "string") return stop(leg, { policy: "bury", reason: place, presence: "answered" })
      group = place.batcher.group(place.plan.key?.(detection))
    } catch (thrown) {
      return stop(leg, defect(Cause.die(thrown)))
    }
    batches.offer(new BatchedLeg(leg, detection), group)
    leg.batched()
  }

  return {
    offer: (leg) => {
      if (processing === undefined) enter(leg, leg.detection)
      else processing.submit(new ProcessAttempt(processing, leg, enter))
    },
    flush: () => batches.flush(),
    stop: () => batches.stop(),
    recall: () => {
      for (const { leg } of batches.takeAll(({ leg }) => leg.gone)) {
        leg.work.legsBatched--
        leg.giveBack(lost)
      }
    }
  }
}
