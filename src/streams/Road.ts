/** The road of a pipeline: takes deliveries, decodes, orders them by key, runs their legs, publishes, and settles each once. */
import { Effect, type Fiber, MutableList } from "effect"
import type { DecodeError } from "../services/Codec.ts"
import { acked, type Delivery, weightOf } from "../services/Delivery.ts"
import type { Detection, Event } from "../services/Event.ts"
import type { Policy } from "../services/Failure.ts"
import { isLater, type Ready } from "../services/Ready.ts"
import type { Reply } from "../services/Reply.ts"
import type { Downstream } from "../services/Source.ts"
import type * as Burial from "./Burial.ts"
import { type Decoded, Decoding } from "./Decoding.ts"
import { Endings, type Options as EndingsOptions, type RoadFailure } from "./Endings.ts"
import { Finding, type Found } from "./Finding.ts"
import { Intake } from "./Intake.ts"
import { Lanes } from "./Lanes.ts"
import { KeyError } from "./Plan.ts"
import { Publishing } from "./Publishing.ts"
import { copy, Routes } from "./Routes.ts"
import { Slots } from "./Slots.ts"
import type { Stats } from "./Stats.ts"
import { lost, type Verdict } from "./Target.ts"
import { Leg, type LegEnds, Work } from "./Work.ts"

export type Options = Omit<EndingsOptions, "onSettled">

/** Units: milliseconds. How long an interrupted leg may take to end. */
const interruptMillis = 5_000

export class Road implements Decoded, LegEnds, Found {
  readonly stats: Stats
  readonly lanes = new Lanes<Work>()
  readonly slots: Slots
  readonly intake: Intake
  private readonly decoding: Decoding
  private readonly endings: Endings
  private readonly routes: Routes
  private quieters: Array<() => void> = []
  private readonly finding: Finding
  private readonly publishing: Publishing
  private readonly next = MutableList.make<Work>()
  private sequence = 0
  private closed: string | undefined
  private recalled = false
  private readonly options: Options

  constructor(options: Options) {
    const { plan, runner } = options
    this.options = options
    this.stats = options.stats
    this.slots = new Slots(plan.concurrency, runner)
    this.decoding = new Decoding(runner, this)
    this.intake = new Intake({
      buffer: plan.buffer,
      rate: plan.rate,
      runner,
      stats: this.stats,
      slots: this.slots,
      admit: (delivery) => this.admit(delivery),
      refuse: (delivery) => this.undecided(this.receive(delivery))
    })
    this.endings = new Endings({
      ...options,
      onFailure: (failure) => this.fail(failure),
      onSettled: () => this.intake.settled()
    })
    this.finding = new Finding({ ...options, ends: this })
    const beginNext = (): boolean => this.beginNext()
    runner.loop(() => this.next.length > 0 && runner.slice(beginNext))
    this.publishing = new Publishing({ ...options, endings: this.endings })
    this.routes = new Routes({ ...options, slots: this.slots })
    runner.loop(() => {
      if (this.quieters.length === 0) return false
      const isQuiet = this.routes.working === 0 && this.publishing.open === 0 && this.endings.burying === 0
      if (isQuiet) for (const quiet of this.quieters.splice(0)) quiet()
      return false
    })
  }

  // ------------------------------------------------------------------------------------------------ intake

  /** Returns when nothing is held any more. */
  get idle(): Effect.Effect<void> {
    return this.endings.idle
  }

  get away(): ReadonlyArray<string> {
    return [...this.routes.away, ...this.publishing.away]
  }

  /** Legs and batches at work. */
  get working(): number {
    return this.routes.working
  }

  private receive(delivery: Delivery): Work {
    this.stats.received++
    this.stats.held++
    this.stats.heldBytes += weightOf(delivery)
    return new Work(delivery, ++this.sequence, this.options.runner.time)
  }

  private admit(delivery: Delivery): Fiber.Fiber<unknown, unknown> | undefined {
    const work = this.receive(delivery)
    if (delivery.envelope.broken !== undefined) {
      this.undecodable(work, delivery.envelope.broken)
      return undefined
    }
    let ready: Ready<Event, DecodeError>
    try {
      ready = this.options.plan.codec.decode(delivery.envelope)
    } catch (thrown) {
      ready = Effect.die(thrown)
    }
    if (isLater(ready)) return this.decoding.start(work, ready)
    this.decoded(work, ready)
    return undefined
  }

  /** What the codec waits for is given back, or buried where its source cannot give it again. */
  stopDecoding(): void {
    this.options.runner.turn(() => this.decoding.stop())
  }

  undecided(work: Work): void {
    // What comes behind it must not overtake it.
    if (this.options.plan.source.redelivers) this.closed ??= "shutdown"
    this.giveBackOrBury(work, "shutdown")
  }

  undecodable(work: Work, reason: string): void {
    const { plan } = this.options
    if (plan.source.answers && work.delivery.resume === undefined) {
      this.stats.refused++
      return this.endings.end(work, { _tag: "Refused", reason })
    }
    this.stop(work, plan.onDecodeError, { stage: "decode", reason, attempts: 1 })
  }

  decoded(work: Work, event: Event): void {
    const { key, onKeyError } = this.options.plan
    if (key !== undefined) {
      const read = key(event)
      if (read instanceof KeyError) {
        return this.stop(work, onKeyError, { stage: "key", reason: read.message, attempts: 1 })
      }
      event.key = read
    }
    work.event = event
    work.lane = this.laneOf(event)
    if (work.lane !== undefined && this.lanes.has(work.lane)) {
      work.inLane = true
      this.lanes.enter(work.lane, work)
      return
    }
    // What ends within this call needs no lane.
    this.begin(work)
    if (work.lane === undefined || work.leftLane) return
    work.inLane = true
    this.lanes.enter(work.lane, work)
  }

  private laneOf(event: Event): string | undefined {
    const { order, unkeyed } = this.options.plan
    if (order === "none") return undefined
    if (order === "key" && (event.key !== undefined || unkeyed === "none")) return event.key
    return `partition ${event.envelope.partition ?? ""}`
  }

  /** The lane is free for the next of its key. */
  private leave(work: Work): void {
    work.leftLane = true
    if (!work.inLane) return
    work.inLane = false
    const next = this.lanes.leave(work.lane!)
    if (next !== undefined) MutableList.append(this.next, next)
  }

  /** Begins what waited in its lane, from a loop, so that a long lane is no deep recursion. */
  private beginNext(): boolean {
    const work = MutableList.take(this.next)
    if (work === MutableList.Empty) return false
    work.waited = true
    this.begin(work)
    return true
  }

  // ------------------------------------------------------------------------------------------------ detection

  private begin(work: Work): void {
    if (this.recalled && work.delivery.gone === true) return this.giveBack(work, lost)
    if (this.closed !== undefined) return this.giveBackOrBury(work, this.closed)
    const { resume } = work.delivery
    if (resume?.event === undefined) return this.finding.find(work)
    const detection: Detection = { name: resume.event, event: work.event! }
    if (resume.stage === "dispatch") return this.fork(work, [detection], resume.leg)
    if (!this.publishing.again(work, detection)) return this.gone(work)
    this.leave(work)
    this.endings.endIfDone(work)
  }

  found(work: Work, detections: ReadonlyArray<Detection>): void {
    this.fork(work, detections, undefined)
  }

  undetected(work: Work): void {
    this.stats.undetected++
    this.leave(work)
    this.endings.endIfDone(work)
  }

  broke(work: Work, reason: string): void {
    this.stop(work, "bury", { stage: "detect", reason, attempts: 1 })
  }

  duplicate(work: Work): void {
    this.stats.duplicates++
    this.leave(work)
    this.endings.end(work, acked)
  }

  unclaimed(work: Work, reason: string): void {
    this.fail({ halted: false, reason })
    this.giveBack(work, reason)
  }

  // ------------------------------------------------------------------------------------------------ legs

  /** Starts the dispatch legs of all detections at the same time; an event nobody acts on replies with its own payload. */
  private fork(work: Work, found: ReadonlyArray<Detection>, only: string | undefined): void {
    const legs: Array<Leg> = []
    for (let i = 0; i < found.length; i++) {
      const detection = found[i]!
      const routes = only === undefined ? this.routes.of(detection.name) : this.routes.all
      for (let j = 0; j < routes.length; j++) {
        const route = routes[j]!
        if (only === undefined || route.plan.name === only) legs.push(new Leg(route, this, work, detection))
      }
    }
    if (legs.length === 0) return this.gone(work)
    work.legs = legs
    work.legsOpen = legs.length
    for (let i = 0; i < legs.length; i++) {
      const leg = legs[i]!
      if (leg.route === copy) this.replied(leg, { kind: "accepted", payload: work.delivery.envelope.payload })
      else if (leg.route.batches !== undefined) leg.route.batches.offer(leg)
      else leg.target.submit(leg)
    }
  }

  /** The leg of a replayed letter is no longer in the config: the letter stays as it is. */
  private gone(work: Work): void {
    this.giveBack(work, `the pipeline has no ${work.delivery.resume!.leg} any more`)
  }

  /** Its batch keeps its order from here on. */
  batched({ work }: Leg): void {
    if (work.legsOpen === ++work.legsBatched) this.leave(work)
  }

  replied(leg: Leg, reply: Reply): void {
    if (reply.kind === "refused" && !this.publishing.takesRefusals) {
      leg.attempts++
      return this.legFailed(leg, { policy: "bury", reason: reply.reason ?? "refused", presence: "answered", reply })
    }
    leg.reply = reply
    this.answered(leg)
  }

  legFailed(leg: Leg, verdict: Verdict): void {
    this.options.journaling?.legFailed(leg, verdict)
    if (verdict.reply !== undefined && this.publishing.takesRefusals) return this.replied(leg, verdict.reply)
    this.endings.legFailed(leg, verdict, () => this.answered(leg))
  }

  legGivenBack(leg: Leg, reason: string): void {
    if (this.endings.returns(leg.work)) {
      leg.work.givenBackFor = reason
      return this.answered(leg)
    }
    this.legFailed(leg, { policy: "bury", reason, presence: "answered" })
  }

  private answered(leg: Leg): void {
    const { work } = leg
    leg.answered = true
    this.options.journaling?.answered(leg, this.options.runner.time)
    // The leg stays open until its replies are on their way, so that a publish that ends at once ends nothing else.
    this.publishing.answered(work)
    work.legsOpen--
    if (work.legsOpen === work.legsBatched) this.leave(work)
    this.endings.endIfDone(work)
  }

  // ------------------------------------------------------------------------------------------------ endings

  /** The whole delivery goes no further. */
  private stop(work: Work, policy: Policy, cause: Burial.Cause): void {
    this.endings.byPolicy(
      work,
      policy,
      () => {
        this.leave(work)
        this.endings.endIfDone(work)
      },
      cause
    )
  }

  /** From here on what has not begun is given back: it must not overtake what was given back before it. */
  private fail(failure: RoadFailure): void {
    if (this.options.plan.source.redelivers) this.closed ??= failure.reason
    this.options.onFailure(failure)
  }

  private giveBack(work: Work, reason: string): void {
    work.givenBackFor = reason
    this.leave(work)
    this.endings.endIfDone(work)
  }

  // ------------------------------------------------------------------------------------------------ for the source

  /** What a source may ask, when its input is shared out anew. */
  readonly downstream: Downstream["Service"] = {
    quiet: Effect.callback<void>((resume) => {
      this.quieters.push(() => resume(Effect.void))
      this.options.runner.turn(() => this.routes.hold())
    }),
    go: Effect.sync(() => this.options.runner.turn(() => this.routes.go())),
    recall: Effect.sync(() =>
      this.options.runner.turn(() => {
        this.recalled = true
        this.routes.recall()
        this.publishing.recall()
      })
    )
  }

  // ------------------------------------------------------------------------------------------------ drain

  /**
   * Ends the work in hand, once intake has stopped: what waits is given back at once, working legs finish until the
   * deadline, batches go out; at the deadline the rest is given back too.
   *
   * What a source cannot give again is worked until the deadline and then buried.
   */
  drain(deadlineMillis: number): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.options.runner.turn(() => this.stopWaiting())
      return Effect.flatMap(Effect.timeoutOption(this.endings.idle, deadlineMillis), (done) => {
        if (done._tag === "Some") return Effect.void
        this.options.runner.turn(() => this.stopWorking())
        return Effect.asVoid(Effect.timeoutOption(this.endings.idle, interruptMillis))
      })
    })
  }

  private stopWaiting(): void {
    this.routes.flush()
    if (!this.options.plan.source.redelivers) return
    this.closed = "shutdown"
    this.giveBackWaiting("shutdown")
    this.routes.close("shutdown")
    this.publishing.close("shutdown", false)
  }

  private stopWorking(): void {
    this.closed = "shutdown"
    this.giveBackWaiting("shutdown")
    this.routes.stop("shutdown")
    this.publishing.close("shutdown", true)
  }

  private giveBackWaiting(reason: string): void {
    for (const work of this.finding.takeWaiting()) this.giveBackOrBury(work, reason)
    for (const work of this.lanes.takeWaiting()) {
      work.inLane = false
      this.giveBackOrBury(work, reason)
    }
  }

  private giveBackOrBury(work: Work, reason: string): void {
    if (this.endings.returns(work)) this.giveBack(work, reason)
    else this.stop(work, "bury", { stage: "shutdown", reason, attempts: 0 })
  }
}
