/** How a delivery ends: by the policy of what failed, buried, settled with its source, and counted. */
import { Effect, Exit } from "effect"
import type { DeadLetters } from "../services/DeadLetters.ts"
import type { Dedupe } from "../services/Dedupe.ts"
import { type Answers, acked, type Settlement, weightOf } from "../services/Delivery.ts"
import type { Policy } from "../services/Failure.ts"
import { isLater } from "../services/Ready.ts"
import * as Burial from "./Burial.ts"
import { explain } from "./Explaining.ts"
import type { Journaling } from "./Journaling.ts"
import type { Plan } from "./Plan.ts"
import { type Runner, sentence } from "./Runner.ts"
import { settle } from "./Settlement.ts"
import type { Stats } from "./Stats.ts"
import type { Verdict } from "./Target.ts"
import type { Leg, Work } from "./Work.ts"

/** Why a road stopped taking: `halted` by policy for good; otherwise its supervisor may start it again. */
export interface RoadFailure {
  readonly halted: boolean
  readonly reason: string
}

export interface Options {
  readonly plan: Plan
  readonly runner: Runner
  readonly deadLetters: DeadLetters["Service"]
  readonly dedupe: Dedupe["Service"] | undefined
  /** Set where the pipeline keeps a journal. */
  readonly journaling: Journaling | undefined
  readonly stats: Stats
  readonly onFailure: (failure: RoadFailure) => void
  readonly onSettled: () => void
}

export class Endings {
  private idlers: Array<() => void> = []
  /** Burials under way. */
  burying = 0
  private readonly options: Options

  constructor(options: Options) {
    this.options = options
  }

  /** Ends a leg that failed for good by its policy, then goes on. */
  legFailed(leg: Leg, verdict: Verdict, then: () => void): void {
    const { attempts, detection, plan, work } = leg
    const { policy, reason } = verdict
    this.byPolicy(work, policy, then, { stage: "dispatch", event: detection.name, leg: plan.name, reason, attempts })
  }

  /** Ends what failed for good by its policy, then goes on. */
  byPolicy(work: Work, policy: Policy, then: () => void, cause: Burial.Cause): void {
    const { plan, runner, stats } = this.options
    if (work.delivery.gone === true) {
      work.givenBackFor = cause.reason
      return then()
    }
    switch (policy) {
      case "drop": {
        stats.dropped++
        this.options.journaling?.dropped(work, cause.reason)
        runner.log(Effect.logWarning(`${plan.name}: dropped ${work.delivery.envelope.id}: ${cause.reason}`))
        return then()
      }
      case "halt": {
        work.givenBackFor = cause.reason
        this.options.onFailure({ halted: true, reason: cause.reason })
        return then()
      }
      default:
        return this.bury(work, cause, then)
    }
  }

  private bury(work: Work, cause: Burial.Cause, then: () => void): void {
    const { deadLetters, plan, runner, stats } = this.options
    const letter = Burial.letterOf(plan.name, work, cause, runner.now())
    const buried = Burial.bury(deadLetters, letter)
    // Once for the message, however many of its legs are buried, and not when a letter of it is replayed.
    const aside = work.buriedFor === undefined && work.delivery.resume === undefined ? plan.setAside : undefined
    work.buriedFor = cause.reason
    work.burialsOpen++
    this.burying++
    // The letter first: the other place may be away for long, and some sources cannot give the message again.
    runner.start(aside === undefined ? buried : Effect.andThen(buried, aside(letter.envelope)), (exit) => {
      work.burialsOpen--
      this.burying--
      if (Exit.isSuccess(exit)) stats.letters++
      else {
        work.givenBackFor = sentence(exit.cause)
        this.options.onFailure({ halted: false, reason: `cannot bury: ${sentence(exit.cause)}` })
      }
      then()
    })
  }

  /** Whether its source (or, for a replay, the dead letters) can give this delivery again. */
  returns(work: Work): boolean {
    return this.options.plan.source.redelivers || work.delivery.resume !== undefined
  }

  endIfDone(work: Work): void {
    if (work.done) this.end(work, this.settlementOf(work))
  }

  /** Settles a delivery with nothing open on it, its claim first. */
  end(work: Work, settlement: Settlement): void {
    if (work.ended) return
    work.ended = true
    if (work.claimed) this.releaseClaim(work, settlement)
    else this.settle(work, settlement)
  }

  /** Returns when nothing is held any more. */
  readonly idle: Effect.Effect<void> = Effect.callback<void>((resume) => {
    if (this.options.stats.held === 0) resume(Effect.void)
    else this.idlers.push(() => resume(Effect.void))
  })

  private settlementOf(work: Work): Settlement {
    const { buriedFor, givenBackFor } = work
    if (givenBackFor !== undefined) return { _tag: "Nacked", reason: givenBackFor }
    const answers = this.answersOf(work)
    if (buriedFor !== undefined) return { _tag: "Buried", reason: buriedFor, ...answers }
    return answers === none ? acked : { _tag: "Acked", ...answers }
  }

  /** Only a source that answers someone reads them. */
  private answersOf(work: Work): Answers {
    const { plan } = this.options
    const { answers, explains } = plan.source
    if (!answers) return none
    const explained = explains === true && work.event !== undefined ? explain(plan, work.event) : undefined
    const { replies } = work
    if (explained !== undefined) return { replies, explained }
    return replies.length === 0 ? none : { replies }
  }

  private releaseClaim(work: Work, settlement: Settlement): void {
    const { dedupe, onFailure, plan, runner } = this.options
    const id = plan.dedupe!.id(work.event!)!
    const comesAgain =
      settlement._tag === "Nacked" || (settlement._tag === "Buried" && plan.source.tellsBurials === true)
    const noted = comesAgain ? dedupe!.release(plan.name, id) : dedupe!.confirm(plan.name, id)
    runner.start(noted, (exit) => {
      if (Exit.isSuccess(exit)) return this.settle(work, settlement)
      const reason = `dedupe: ${sentence(exit.cause)}`
      this.settle(work, { _tag: "Nacked", reason })
      onFailure({ halted: false, reason })
    })
  }

  private settle(work: Work, settlement: Settlement): void {
    const noted = settle(work.delivery, settlement)
    if (isLater(noted)) this.settleLater(work, settlement, noted)
    else this.settled(work, settlement)
  }

  private settleLater(work: Work, settlement: Settlement, later: Effect.Effect<void>): void {
    const { onFailure, runner } = this.options
    runner.start(later, (exit) => {
      if (Exit.isFailure(exit)) {
        onFailure({ halted: false, reason: `cannot settle ${work.delivery.envelope.id}: ${sentence(exit.cause)}` })
      }
      this.settled(work, settlement)
    })
  }

  private settled(work: Work, settlement: Settlement): void {
    const { journaling, onSettled, runner, stats } = this.options
    if (settlement._tag === "Acked") stats.acked++
    else if (settlement._tag === "Buried") stats.buried++
    else if (settlement._tag === "Nacked") stats.nacked++
    stats.held--
    stats.heldBytes -= weightOf(work.delivery)
    stats.latency.observe(runner.time - work.takenAt)
    if (journaling !== undefined) journaling.settled(work, settlement, runner.time)
    if (stats.held === 0 && this.idlers.length > 0) for (const idle of this.idlers.splice(0)) idle()
    onSettled()
  }
}

const none: Answers = { replies: [] }
