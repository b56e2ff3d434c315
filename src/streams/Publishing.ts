/** Hands the replies of a work to the publishers that take them, and keeps account of what is still on its way out. */
import { Cause } from "effect"
import type { Detection } from "../services/Event.ts"
import type { Policy } from "../services/Failure.ts"
import { type Outgoing, PublishError } from "../services/Publisher.ts"
import type { Reply } from "../services/Reply.ts"
import type * as Burial from "./Burial.ts"
import type { Endings } from "./Endings.ts"
import type { Journaling } from "./Journaling.ts"
import { Outbox, Publication, type PublicationEnds } from "./Outbox.ts"
import type { Plan, PublishPlan } from "./Plan.ts"
import { type Runner, words } from "./Runner.ts"
import type { Stats } from "./Stats.ts"
import { defect, type Verdict } from "./Target.ts"
import type { Work } from "./Work.ts"

export interface Options {
  readonly plan: Plan
  readonly runner: Runner
  readonly stats: Stats
  readonly endings: Endings
  readonly journaling: Journaling | undefined
}

export class Publishing implements PublicationEnds {
  /** Whether anybody wants to hear of refusals; otherwise they are buried. */
  readonly takesRefusals: boolean
  private readonly outboxes: ReadonlyArray<Outbox>
  /** Publications that have not ended. */
  open = 0
  private readonly options: Options

  constructor(options: Options) {
    const { plan, runner, stats } = options
    const onRetry = () => {
      stats.retries++
    }
    this.options = options
    this.takesRefusals = plan.publishes.some(({ when }) => when.includes("refused"))
    this.outboxes = plan.publishes.map((publish) => {
      const name = `${plan.name}: ${publish.name}`
      const target = { name, retry: plan.retry, runner, verdict: publishVerdict, onRetry, onLeg: () => {} }
      return new Outbox(publish, this, target, runner)
    })
  }

  get away(): ReadonlyArray<string> {
    return this.outboxes.filter(({ target }) => target.away).map(({ plan }) => plan.name)
  }

  /** Replies go out in the order of the config, each as soon as those before it are known. */
  answered(work: Work): void {
    if (this.outboxes.length === 0) return
    while (work.legNext < work.legs.length && work.legs[work.legNext]!.answered) {
      const { detection, reply } = work.legs[work.legNext++]!
      if (reply === undefined) continue
      for (const outbox of this.outboxes) {
        if (outbox.plan.when.includes(reply.kind)) this.publish(outbox, work, detection, reply)
      }
    }
  }

  /** Publishes the reply of a replayed letter again; false when its publisher is gone. */
  again(work: Work, detection: Detection): boolean {
    const { leg, reply } = work.delivery.resume!
    const outbox = this.outboxes.find(({ plan }) => plan.name === leg)
    if (outbox === undefined || reply === undefined) return false
    this.publish(outbox, work, detection, reply)
    return true
  }

  /** Gives back what waits for its next try and is gone. */
  recall(): void {
    for (const { target } of this.outboxes) target.recall()
  }

  /** Gives back what waits: at drain the tries to come, at the deadline all of it. */
  close(reason: string, all: boolean): void {
    for (const outbox of this.outboxes) outbox.close(reason, all)
  }

  published({ detection, plan, work }: Publication): void {
    this.options.stats.published++
    this.options.journaling?.published(work, detection, plan)
    this.done(work)
  }

  publishFailed({ attempts, detection, plan, reply, work }: Publication, verdict: Verdict): void {
    this.options.journaling?.published(work, detection, plan, verdict.reason)
    this.stop(work, verdict.policy, causeOf(plan, detection, reply, verdict.reason, attempts))
  }

  publishGivenBack({ attempts, detection, plan, reply, work }: Publication, reason: string): void {
    if (!this.options.endings.returns(work)) {
      return this.stop(work, "bury", causeOf(plan, detection, reply, reason, attempts))
    }
    work.givenBackFor = reason
    this.done(work)
  }

  private publish(outbox: Outbox, work: Work, detection: Detection, reply: Reply): void {
    work.publishesOpen++
    this.open++
    const outgoing = render(outbox.plan, detection, reply)
    if (typeof outgoing !== "string") {
      return outbox.offer(new Publication(work, outbox.plan, detection, reply, outgoing))
    }
    this.stop(work, "bury", causeOf(outbox.plan, detection, reply, outgoing, 1))
  }

  private stop(work: Work, policy: Policy, cause: Burial.Cause): void {
    this.options.endings.byPolicy(work, policy, () => this.done(work), cause)
  }

  private done(work: Work): void {
    work.publishesOpen--
    this.open--
    this.options.endings.endIfDone(work)
  }
}

const causeOf = (
  plan: PublishPlan,
  detection: Detection,
  reply: Reply,
  reason: string,
  attempts: number
): Burial.Cause => ({ stage: "publish", event: detection.name, leg: plan.name, reason, attempts, reply })

const render = (plan: PublishPlan, detection: Detection, reply: Reply): Outgoing | string => {
  try {
    return {
      envelope: detection.event.envelope,
      event: detection.name,
      key: plan.key(detection, reply),
      value: plan.value(detection, reply),
      detection,
      reply
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
