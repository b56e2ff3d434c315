/** The road of a pipeline: takes deliveries, decodes, orders them by key, runs their legs, publishes, and settles each once. */
import { Cause, Effect, Exit, type Fiber, MutableList } from "effect"
import type { DecodeError } from "../services/Codec.ts"
import type { Delivery } from "../services/Delivery.ts"
import { acked } from "../services/Delivery.ts"
import type { DetectError } from "../services/Detector.ts"
import type { Detection, Event } from "../services/Event.ts"
import type { Policy } from "../services/Failure.ts"
import type { Outgoing } from "../services/Publisher.ts"
import { PublishError } from "../services/Publisher.ts"
import { isLater, type Ready } from "../services/Ready.ts"
import type { Reply } from "../services/Reply.ts"
import type * as Burial from "./Burial.ts"
import * as DispatchBatches from "./DispatchBatches.ts"
import { Endings, type Options as EndingsOptions } from "./Endings.ts"
import { Intake } from "./Intake.ts"
import { Lanes } from "./Lanes.ts"
import { Outbox, Publication, type PublicationEnds } from "./Outbox.ts"
import type { PublishPlan } from "./Plan.ts"
import { KeyError } from "./Plan.ts"
import { sentence, words } from "./Runner.ts"
import { Slots } from "./Slots.ts"
import type { Stats } from "./Stats.ts"
import { Attempt, defect, Target, type Verdict } from "./Target.ts"
import { Leg, type LegEnds, type Route, Work } from "./Work.ts"

export type Options = Omit<EndingsOptions, "onSettled">

/** Event names whose legs are remembered. */
const routesMax = 10_000
/** Units: milliseconds between two looks at a claim that somebody else holds. */
const claimPollMillis = 100
/** Units: milliseconds. How long an interrupted leg may take to end. */
const interruptMillis = 5_000

export class Road implements LegEnds, PublicationEnds {
  readonly stats: Stats
  readonly lanes = new Lanes<Work>()
  readonly slots: Slots
  readonly intake: Intake
  private readonly endings: Endings
  private readonly legs: ReadonlyArray<Route>
  private readonly routes = new Map<string, ReadonlyArray<Route>>()
  private readonly publishesRefusals: boolean
  private readonly outboxes: ReadonlyArray<Outbox>
  private readonly claiming = new Map<Work, Fiber.Fiber<unknown> | undefined>()
  private readonly next = MutableList.make<Work>()
  private sequence = 0
  private closed: string | undefined
  private readonly options: Options

  constructor(options: Options) {
    const { plan, runner } = options
    this.options = options
    this.stats = options.stats
    this.slots = new Slots(plan.concurrency, runner)
    this.intake = new Intake({
      buffer: plan.buffer,
      runner,
      stats: this.stats,
      slots: this.slots,
      admit: (delivery) => this.admit(delivery)
    })
    this.endings = new Endings({ ...options, onSettled: () => this.intake.settled() })
    this.publishesRefusals = plan.publishes.some(({ when }) => when.includes("refused"))
    const beginNext = (): boolean => this.beginNext()
    runner.loop(() => this.next.length > 0 && runner.slice(beginNext))
    const onRetry = () => {
      this.stats.retries++
    }
    const onLeg = (millis: number) => this.stats.leg.observe(millis)
    this.legs = plan.legs.map((leg) => {
      const target = new Target({
        name: `${plan.name}: ${leg.name}`,
        retry: plan.retry,
        slots: this.slots,
        runner,
        verdict: leg.verdict,
        probe: leg.dispatcher.probe,
        onRetry,
        onLeg
      })
      return {
        plan: leg,
        target,
        batches: plan.batch && DispatchBatches.make({ plan: leg, target, ...plan.batch, runner })
      }
    })
    this.outboxes = plan.publishes.map(
      (publish) =>
        new Outbox(
          publish,
          this,
          {
            name: `${plan.name}: ${publish.name}`,
            retry: plan.retry,
            runner,
            verdict: publishVerdict,
            onRetry,
            onLeg: () => {}
          },
          runner
        )
    )
  }

  // ------------------------------------------------------------------------------------------------ intake

  /** Returns when nothing is held any more. */
  get idle(): Effect.Effect<void> {
    return this.endings.idle
  }

  get away(): ReadonlyArray<string> {
    return [
      ...this.legs.filter(({ target }) => target.away).map(({ plan }) => plan.name),
      ...this.outboxes.filter(({ target }) => target.away).map(({ plan }) => plan.name)
    ]
  }

  private admit(delivery: Delivery): Fiber.Fiber<unknown, unknown> | undefined {
    const work = new Work(delivery, ++this.sequence, this.options.runner.time)
    this.stats.received++
    this.stats.held++
    this.stats.heldBytes += delivery.envelope.payload.length
    let ready: Ready<Event, DecodeError>
    try {
      ready = this.options.plan.codec.decode(delivery.envelope)
    } catch (thrown) {
      ready = Effect.die(thrown)
    }
    if (isLater(ready)) return this.decodeLater(work, ready)
    this.decoded(work, ready)
    return undefined
  }

  // What waits has a method of its own on this road: a closure in a method costs each call of it an allocation.
  private decodeLater(work: Work, later: Effect.Effect<Event, DecodeError>): Fiber.Fiber<unknown, unknown> | undefined {
    return this.options.runner.start(later, (exit) =>
      Exit.isSuccess(exit) ? this.decoded(work, exit.value) : this.undecodable(work, sentence(exit.cause))
    )
  }

  private undecodable(work: Work, reason: string): void {
    const { plan } = this.options
    if (plan.source.answers && work.delivery.resume === undefined) {
      this.stats.refused++
      return this.endings.end(work, { _tag: "Refused", reason })
    }
    this.stop(work, plan.onDecodeError, { stage: "decode", reason, attempts: 1 })
  }

  private decoded(work: Work, event: Event): void {
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
    if (this.closed !== undefined) return this.giveBackOrBury(work, this.closed)
    const { dedupe } = this.options.plan
    if (dedupe !== undefined && work.delivery.resume === undefined) return this.claim(work)
    this.detect(work)
  }

  private claim(work: Work): void {
    const { dedupe, plan, runner } = this.options
    const id = plan.dedupe!.id(work.event!)
    runner.start(dedupe!.claim(plan.name, id, plan.dedupe!.leaseMillis), (exit) => {
      if (Exit.isFailure(exit)) return this.fail(work, `dedupe: ${sentence(exit.cause)}`)
      if (exit.value === "claimed") {
        work.claimed = true
        return this.detect(work)
      }
      if (exit.value === "done") {
        this.stats.duplicates++
        this.leave(work)
        return this.endings.end(work, acked)
      }
      const timer = runner.after(claimPollMillis, () => {
        if (this.claiming.delete(work)) this.claim(work)
      })
      this.claiming.set(work, timer)
    })
  }

  private detect(work: Work): void {
    const { resume } = work.delivery
    if (resume?.event !== undefined && (resume.stage === "dispatch" || resume.stage === "publish")) {
      const detection: Detection = { name: resume.event, event: work.event! }
      return resume.stage === "dispatch" ? this.fork(work, [detection], resume.leg) : this.republish(work, detection)
    }
    this.detectFrom(work, 0, empty, empty)
  }

  private detectFrom(work: Work, from: number, found: ReadonlyArray<Detection>, broken: ReadonlyArray<string>): void {
    const { detectors } = this.options.plan
    if (from === detectors.length) return this.detected(work, found, broken)
    let ready: Ready<ReadonlyArray<Detection>, DetectError>
    try {
      ready = detectors[from]!.detect(work.event!)
    } catch (thrown) {
      ready = Effect.die(thrown)
    }
    if (isLater(ready)) return this.detectLater(work, from, found, broken, ready)
    this.detectFrom(work, from + 1, found.length === 0 ? ready : [...found, ...ready], broken)
  }

  private detectLater(
    work: Work,
    from: number,
    found: ReadonlyArray<Detection>,
    broken: ReadonlyArray<string>,
    later: Effect.Effect<ReadonlyArray<Detection>, DetectError>
  ): void {
    this.options.runner.start(later, (exit) => {
      if (Exit.isSuccess(exit)) return this.detectFrom(work, from + 1, [...found, ...exit.value], broken)
      const reason = sentence(exit.cause)
      this.log(
        Effect.logWarning(`${this.options.plan.name}: detector broke on ${work.delivery.envelope.id}: ${reason}`)
      )
      this.detectFrom(work, from + 1, found, [...broken, reason])
    })
  }

  private detected(work: Work, found: ReadonlyArray<Detection>, broken: ReadonlyArray<string>): void {
    if (found.length > 0) return this.fork(work, found, undefined)
    if (broken.length > 0) {
      return this.stop(work, "bury", { stage: "detect", reason: `a detector broke: ${broken.join("; ")}`, attempts: 1 })
    }
    this.stats.undetected++
    this.leave(work)
    this.endings.end(work, acked)
  }

  // ------------------------------------------------------------------------------------------------ legs

  /** Starts the dispatch legs of all detections at the same time; an event nobody acts on replies with its own payload. */
  private fork(work: Work, found: ReadonlyArray<Detection>, only: string | undefined): void {
    const legs: Array<Leg> = []
    for (let i = 0; i < found.length; i++) {
      const detection = found[i]!
      const routes = only === undefined ? this.routesOf(detection.name) : this.legs
      for (let j = 0; j < routes.length; j++) {
        const route = routes[j]!
        if (only === undefined || route.plan.name === only) legs.push(new Leg(route, this, work, detection))
      }
    }
    if (legs.length === 0) {
      const reason = `the pipeline has no leg ${only} any more`
      return this.stop(work, "bury", { ...work.delivery.resume!, reason, attempts: 1 })
    }
    work.legs = legs
    work.legsOpen = legs.length
    for (let i = 0; i < legs.length; i++) {
      const leg = legs[i]!
      if (leg.route === copy) this.replied(leg, { kind: "accepted", payload: work.delivery.envelope.payload })
      else if (leg.route.batches !== undefined) leg.route.batches.offer(leg)
      else leg.target.submit(leg)
    }
    if (this.options.plan.batch !== undefined) this.leave(work)
  }

  /** The legs of an event; names come from the data at times, so only a bounded number is remembered. */
  private routesOf(event: string): ReadonlyArray<Route> {
    const known = this.routes.get(event)
    if (known !== undefined) return known
    const found = this.legs.filter(({ plan }) => plan.on === undefined || plan.on.includes(event))
    const routes = found.length === 0 ? [copy] : found
    if (this.routes.size < routesMax) this.routes.set(event, routes)
    return routes
  }

  replied(leg: Leg, reply: Reply): void {
    if (reply.kind === "refused" && !this.publishesRefusals) {
      const verdict: Verdict = { policy: "bury", reason: reply.reason ?? "refused", presence: "answered" }
      leg.attempts++
      return this.legFailed(leg, verdict)
    }
    leg.reply = reply
    this.answered(leg)
  }

  legFailed(leg: Leg, verdict: Verdict): void {
    this.endings.byPolicy(leg.work, verdict.policy, () => this.answered(leg), {
      stage: "dispatch",
      event: leg.detection.name,
      leg: leg.plan.name,
      reason: verdict.reason,
      attempts: leg.attempts
    })
  }

  legGivenBack(leg: Leg, reason: string): void {
    if (this.returns(leg.work)) {
      leg.work.givenBackFor = reason
      return this.answered(leg)
    }
    const verdict: Verdict = { policy: "bury", reason, presence: "answered" }
    this.legFailed(leg, verdict)
  }

  private answered(leg: Leg): void {
    const { work } = leg
    leg.answered = true
    work.legsOpen--
    if (this.outboxes.length > 0) this.publishAnswered(work)
    if (work.legsOpen === 0) this.leave(work)
    this.endings.endIfDone(work)
  }

  // ------------------------------------------------------------------------------------------------ publishes

  /** Replies go to the publishers in the order of the config, each as soon as those before it are known. */
  private publishAnswered(work: Work): void {
    while (work.legNext < work.legs.length && work.legs[work.legNext]!.answered) {
      const { detection, reply } = work.legs[work.legNext++]!
      if (reply !== undefined) this.publish(work, detection, reply)
    }
  }

  private publish(work: Work, detection: Detection, reply: Reply): void {
    for (let i = 0; i < this.outboxes.length; i++) {
      const outbox = this.outboxes[i]!
      if (outbox.plan.when.includes(reply.kind)) this.publishTo(outbox, work, detection, reply)
    }
  }

  private publishTo(outbox: Outbox, work: Work, detection: Detection, reply: Reply): void {
    work.publishesOpen++
    const outgoing = render(outbox.plan, detection, reply)
    if (typeof outgoing === "string") {
      return this.stopPublish(work, "bury", this.publishCause(outbox.plan, detection, reply, outgoing, 1))
    }
    outbox.offer(new Publication(work, outbox.plan, detection, reply, outgoing))
  }

  private republish(work: Work, detection: Detection): void {
    const { leg, reply } = work.delivery.resume!
    const outbox = this.outboxes.find(({ plan }) => plan.name === leg)
    if (outbox === undefined || reply === undefined) {
      const reason = `the pipeline has no publisher ${leg} any more`
      return this.stop(work, "bury", { ...work.delivery.resume!, reason, attempts: 1 })
    }
    this.publishTo(outbox, work, detection, reply)
    this.leave(work)
    this.endings.endIfDone(work)
  }

  published(publication: Publication): void {
    this.stats.published++
    publication.work.publishesOpen--
    this.endings.endIfDone(publication.work)
  }

  publishFailed({ attempts, detection, plan, reply, work }: Publication, verdict: Verdict): void {
    this.stopPublish(work, verdict.policy, this.publishCause(plan, detection, reply, verdict.reason, attempts))
  }

  publishGivenBack({ attempts, detection, plan, reply, work }: Publication, reason: string): void {
    if (!this.returns(work)) {
      return this.stopPublish(work, "bury", this.publishCause(plan, detection, reply, reason, attempts))
    }
    work.givenBackFor = reason
    work.publishesOpen--
    this.endings.endIfDone(work)
  }

  private publishCause(
    plan: PublishPlan,
    detection: Detection,
    reply: Reply,
    reason: string,
    attempts: number
  ): Burial.Cause {
    return { stage: "publish", event: detection.name, leg: plan.name, reason, attempts, reply }
  }

  private stopPublish(work: Work, policy: Policy, cause: Burial.Cause): void {
    this.endings.byPolicy(
      work,
      policy,
      () => {
        work.publishesOpen--
        this.endings.endIfDone(work)
      },
      cause
    )
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

  private fail(work: Work, reason: string): void {
    this.giveBack(work, reason)
    this.options.onFailure({ halted: false, reason })
  }

  private giveBack(work: Work, reason: string): void {
    work.givenBackFor = reason
    this.leave(work)
    this.endings.endIfDone(work)
  }

  /** Whether its source (or, for a replay, the dead letters) can give this delivery again. */
  private returns(work: Work): boolean {
    return this.options.plan.source.redelivers || work.delivery.resume !== undefined
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
    for (const { batches } of this.legs) batches?.flush()
    if (!this.options.plan.source.redelivers) return
    this.closed = "shutdown"
    this.giveBackWaiting("shutdown", (job) => job instanceof Leg)
    for (const { target } of this.legs) target.close("shutdown")
    for (const outbox of this.outboxes) outbox.close("shutdown", false)
  }

  private stopWorking(): void {
    this.closed = "shutdown"
    this.giveBackWaiting("shutdown", () => true)
    for (const { target } of this.legs) {
      target.close("shutdown")
      target.interrupt()
    }
    for (const outbox of this.outboxes) outbox.close("shutdown", true)
  }

  private giveBackWaiting(reason: string, returned: (attempt: Attempt<unknown>) => boolean): void {
    for (const [work, timer] of [...this.claiming]) {
      this.claiming.delete(work)
      timer?.interruptUnsafe()
      this.giveBackOrBury(work, reason)
    }
    for (const work of this.lanes.takeWaiting()) {
      work.inLane = false
      this.giveBackOrBury(work, reason)
    }
    for (const job of this.slots.takeAll()) {
      if (job instanceof Attempt && returned(job)) job.giveBack(reason)
      else this.slots.submit(job)
    }
  }

  private giveBackOrBury(work: Work, reason: string): void {
    if (this.returns(work)) this.giveBack(work, reason)
    else this.stop(work, "bury", { stage: "shutdown", reason, attempts: 0 })
  }

  private log(effect: Effect.Effect<void>): void {
    this.options.runner.log(effect)
  }
}

const empty: ReadonlyArray<never> = []

/** The leg of an event that no dispatcher acts on: it never reaches a target. */
const copy: Route = {
  plan: { name: "copy", on: undefined, dispatcher: { name: "copy", dispatch: () => Effect.never }, verdict: defect },
  target: undefined as never,
  batches: undefined
}

const render = (plan: PublishPlan, detection: Detection, reply: Reply): Outgoing | string => {
  const { envelope } = detection.event
  try {
    return {
      id: envelope.id,
      key: plan.key(detection, reply),
      headers: {},
      value: plan.value(detection, reply),
      event: detection.name,
      origin: envelope.source
    }
  } catch (error) {
    return `cannot be published: ${words(error)}`
  }
}

const publishVerdict = (cause: Cause.Cause<unknown>): Verdict => {
  const failure = cause.reasons.find(Cause.isFailReason)
  if (failure === undefined || !(failure.error instanceof PublishError)) return defect(cause)
  const { presence, reason, retryable, retryAfterMillis } = failure.error
  return { policy: retryable ? "retry" : "bury", reason, presence, retryAfterMillis }
}
