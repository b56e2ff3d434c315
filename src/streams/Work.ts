/** One delivery on its way: what is still open on it, and the reply each of its legs gave. */
import type { Delivery } from "../services/Delivery.ts"
import type { Detection, Event } from "../services/Event.ts"
import type { Reply } from "../services/Reply.ts"
import type { LegPlan } from "./Plan.ts"
import { Attempt, type Target, type Verdict } from "./Target.ts"

export class Work {
  // Declared, not defined: see Attempt.
  declare event: Event | undefined
  /** The key whose lane it stands in; undefined when nothing has to wait for it. */
  declare lane: string | undefined
  declare inLane: boolean
  declare leftLane: boolean
  /** It waited behind another of its key, so it goes first now. */
  declare waited: boolean
  declare legs: ReadonlyArray<Leg>
  /** The first leg whose reply has not been handed to the publishers: they leave in the order of the config. */
  declare legNext: number
  declare legsOpen: number
  /** Of those, the ones that stand in batches: they do not hold the lane. */
  declare legsBatched: number
  declare publishesOpen: number
  declare burialsOpen: number
  declare buriedFor: string | undefined
  declare givenBackFor: string | undefined
  declare claimed: boolean
  /** Its settlement is on its way: there is only one. */
  declare ended: boolean
  declare readonly delivery: Delivery
  /** The order of arrival. */
  declare readonly sequence: number
  /** Units: milliseconds since 1970. */
  declare readonly takenAt: number

  constructor(delivery: Delivery, sequence: number, takenAt: number) {
    this.event = undefined
    this.lane = undefined
    this.inLane = false
    this.leftLane = false
    this.waited = false
    this.legs = none
    this.legNext = 0
    this.legsOpen = 0
    this.legsBatched = 0
    this.publishesOpen = 0
    this.burialsOpen = 0
    this.buriedFor = undefined
    this.givenBackFor = undefined
    this.claimed = false
    this.ended = false
    this.delivery = delivery
    this.sequence = sequence
    this.takenAt = takenAt
  }

  get replies(): ReadonlyArray<Reply> {
    const { resume } = this.delivery
    if (resume?.reply !== undefined) return [resume.reply]
    return this.legs.flatMap(({ reply }) => (reply === undefined ? [] : [reply]))
  }

  get done(): boolean {
    return this.legsOpen === 0 && this.publishesOpen === 0 && this.burialsOpen === 0
  }
}

/** What a leg tells the road; how it ended is told once. */
export interface LegEnds {
  /** It stands in a batch, which keeps its order; one of the others is still called. */
  batched(leg: Leg): void
  replied(leg: Leg, reply: Reply): void
  legFailed(leg: Leg, verdict: Verdict): void
  legGivenBack(leg: Leg, reason: string): void
}

/** What stands between a leg and its target where the leg has batchers. */
export interface LegBatches {
  readonly offer: (leg: Leg) => void
  /** Nothing waits for company any more. */
  readonly flush: () => void
  /** All that waits is given back; called when the target gives back whatever comes. */
  readonly stop: () => void
  /** Gives back what is gone. */
  readonly recall: () => void
}

/** One dispatcher of a pipeline, with its target. */
export interface Route {
  readonly plan: LegPlan
  readonly target: Target
  readonly batches: LegBatches | undefined
}

/** One detection for one dispatcher. */
export class Leg extends Attempt<Reply> {
  declare reply: Reply | undefined
  declare answered: boolean
  declare readonly work: Work
  declare readonly route: Route
  declare readonly detection: Detection
  declare private readonly ends: LegEnds

  constructor(route: Route, ends: LegEnds, work: Work, detection: Detection) {
    super(route.target)
    this.reply = undefined
    this.answered = false
    this.ends = ends
    this.work = work
    this.route = route
    this.detection = detection
    this.first = work.waited
  }

  get plan(): LegPlan {
    return this.route.plan
  }

  get gone(): boolean {
    return this.work.delivery.gone === true
  }

  call() {
    return this.plan.dispatcher.dispatch(this.detection)
  }

  succeed(reply: Reply): void {
    this.ends.replied(this, reply)
  }

  fail(verdict: Verdict): void {
    this.ends.legFailed(this, verdict)
  }

  giveBack(reason: string): void {
    this.ends.legGivenBack(this, reason)
  }

  batched(): void {
    this.ends.batched(this)
  }
}

const none: ReadonlyArray<Leg> = []
