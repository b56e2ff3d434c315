/** Publishes replies: in order per key, in batches, each failed one retried alone ahead of the later ones of its key. */
import { Cause } from "effect"
import type { Detection } from "../services/Event.ts"
import { type Outgoing, PublishError } from "../services/Publisher.ts"
import type { Reply } from "../services/Reply.ts"
import { Batches } from "./Batches.ts"
import type { Batcher, Group, Item } from "./BatchGroups.ts"
import type { PublishPlan } from "./Plan.ts"
import type { Runner } from "./Runner.ts"
import { Slots } from "./Slots.ts"
import { Attempt, Target, type Options as TargetOptions, type Verdict } from "./Target.ts"
import type { Work } from "./Work.ts"

/** One reply for one publisher. */
export class Publication implements Item {
  alone = false
  attempts = 0
  delayMillis = 0
  readonly work: Work
  readonly plan: PublishPlan
  readonly detection: Detection
  readonly reply: Reply
  readonly outgoing: Outgoing

  constructor(work: Work, plan: PublishPlan, detection: Detection, reply: Reply, outgoing: Outgoing) {
    this.work = work
    this.plan = plan
    this.detection = detection
    this.reply = reply
    this.outgoing = outgoing
  }

  get key(): string | undefined {
    return this.work.lane
  }

  get gone(): boolean {
    return this.work.delivery.gone === true
  }
}

/** What a publication tells the road; one of them is called once. */
export interface PublicationEnds {
  published(publication: Publication): void
  publishFailed(publication: Publication, verdict: Verdict): void
  publishGivenBack(publication: Publication, reason: string): void
}

class PublishAttempt extends Attempt<void> {
  private readonly outbox: Outbox
  private readonly group: Group<Publication>
  private batch: ReadonlyArray<Publication>
  /** All of it failed for the same reason: divided it would fail alike. */
  private alike = false

  constructor(outbox: Outbox, batch: ReadonlyArray<Publication>, group: Group<Publication>) {
    super(outbox.target)
    this.outbox = outbox
    this.group = group
    this.batch = batch
    this.attempts = batch[0]!.attempts
  }

  get gone(): boolean {
    return this.batch.every((_) => _.gone)
  }

  call() {
    const open = this.batch.filter((_) => !_.gone)
    return this.outbox.plan.publisher.publish(open.map((_) => _.outgoing))
  }

  succeed(): void {
    this.outbox.batches.done(this.group, this.batch)
    for (const publication of this.batch) this.outbox.ends.published(publication)
  }

  fail(verdict: Verdict): void {
    this.outbox.batches.done(this.group, this.batch)
    for (const publication of this.batch) {
      publication.attempts = this.attempts
      this.outbox.ends.publishFailed(publication, verdict)
    }
  }

  giveBack(reason: string): void {
    this.outbox.batches.done(this.group, this.batch)
    for (const publication of this.batch) this.outbox.ends.publishGivenBack(publication, reason)
  }

  override narrow(cause: Cause.Cause<unknown>): boolean {
    const error = cause.reasons.find(Cause.isFailReason)?.error
    const part = error instanceof PublishError ? error.part : undefined
    this.alike = part !== undefined
    if (part === undefined) return false
    const { batches, ends } = this.outbox
    const [failed, confirmed] = [new Set(part.failed), new Set(part.confirmed)]
    const left = this.batch.filter(({ outgoing }) => confirmed.has(outgoing))
    const again = this.batch.filter(({ outgoing }) => !failed.has(outgoing) && !confirmed.has(outgoing))
    this.batch = this.batch.filter(({ outgoing }) => failed.has(outgoing))
    batches.leave(this.group, left, again)
    for (const publication of left) ends.published(publication)
    return left.length > 0
  }

  override divide(delayMillis: number): boolean {
    if (this.batch.length === 1 || this.alike) return false
    for (const publication of this.batch) {
      publication.alone = true
      publication.attempts = this.attempts
      publication.delayMillis = delayMillis
    }
    this.outbox.batches.done(this.group, this.batch, this.batch)
    return true
  }
}

export class Outbox {
  readonly plan: PublishPlan
  readonly ends: PublicationEnds
  readonly target: Target
  readonly batches: Batches<Publication>
  private readonly batcher: Batcher<Publication>
  private readonly slots: Slots

  constructor(
    plan: PublishPlan,
    ends: PublicationEnds,
    options: Omit<TargetOptions, "slots" | "probe">,
    runner: Runner
  ) {
    const slots = new Slots(plan.publisher.inFlightMax, runner)
    this.slots = slots
    this.plan = plan
    this.ends = ends
    this.target = new Target({ ...options, slots, probe: plan.publisher.probe })
    this.batches = new Batches(runner)
    this.batcher = this.batches.add({
      size: plan.publisher.batchMax,
      ageMillis: 0,
      open: () => slots.free,
      begin: (batch, group) => {
        const attempt = new PublishAttempt(this, batch, group)
        const { delayMillis } = batch[0]!
        if (delayMillis > 0) this.target.submitLater(attempt, delayMillis)
        else this.target.submit(attempt)
      }
    })
  }

  offer(publication: Publication): void {
    this.batches.offer(publication, this.batcher.group(undefined))
  }

  /** Gives back what waits: at drain the tries to come, at the deadline all of it. */
  close(reason: string, all: boolean): void {
    this.target.close(reason)
    if (!all) return
    for (const job of this.slots.takeAll()) if (job instanceof PublishAttempt) job.giveBack(reason)
    for (const publication of this.batches.takeAll()) this.ends.publishGivenBack(publication, reason)
    this.target.interrupt()
  }
}
