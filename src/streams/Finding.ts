/** Finds the events of a work: claims its id first where copies are told apart, then asks one detector after the other. */
import { Effect, Exit, type Fiber } from "effect"
import * as Chain from "../services/Chain.ts"
import type { Dedupe } from "../services/Dedupe.ts"
import type { DetectError } from "../services/Detector.ts"
import type { Detection } from "../services/Event.ts"
import { isLater, type Ready } from "../services/Ready.ts"
import type { Journaling } from "./Journaling.ts"
import type { Plan } from "./Plan.ts"
import { type Runner, sentence } from "./Runner.ts"
import type { Work } from "./Work.ts"

/** What became of a work; one of them is called once. */
export interface Found {
  found(work: Work, detections: ReadonlyArray<Detection>): void
  undetected(work: Work): void
  /** Nothing matched, and detectors broke. */
  broke(work: Work, reason: string): void
  duplicate(work: Work): void
  /** The id could not be claimed. */
  unclaimed(work: Work, reason: string): void
}

export interface Options {
  readonly plan: Plan
  readonly runner: Runner
  readonly dedupe: Dedupe["Service"] | undefined
  readonly journaling: Journaling | undefined
  readonly ends: Found
}

/** Units: milliseconds between two looks at a claim that somebody else holds. */
const claimPollMillis = 100

export class Finding {
  private readonly claiming = new Map<Work, Fiber.Fiber<unknown> | undefined>()
  private readonly options: Options

  constructor(options: Options) {
    this.options = options
  }

  find(work: Work): void {
    const { dedupe, ends, plan } = this.options
    const circles = Chain.tooDeep(work.delivery.envelope, plan.depthMax)
    // Replayed by hand it goes on.
    if (circles !== undefined && work.delivery.resume === undefined) return ends.broke(work, circles)
    const isTold = plan.dedupe !== undefined && dedupe !== undefined && work.delivery.resume === undefined
    const id = isTold ? plan.dedupe.id(work.event!) : undefined
    if (id === undefined) this.detect(work, 0, none, none)
    else this.claim(work, id)
  }

  /** Takes back the works that wait for somebody else's claim. */
  takeWaiting(): ReadonlyArray<Work> {
    const works = [...this.claiming.keys()]
    for (const timer of this.claiming.values()) timer?.interruptUnsafe()
    this.claiming.clear()
    return works
  }

  private claim(work: Work, id: string): void {
    const { dedupe, ends, plan, runner } = this.options
    runner.start(dedupe!.claim(plan.name, id, plan.dedupe!.leaseMillis), (exit) => {
      if (Exit.isFailure(exit)) return ends.unclaimed(work, `dedupe: ${sentence(exit.cause)}`)
      if (exit.value === "done") {
        this.options.journaling?.copied(work)
        return ends.duplicate(work)
      }
      if (exit.value === "claimed") {
        work.claimed = true
        return this.detect(work, 0, none, none)
      }
      const timer = runner.after(claimPollMillis, () => {
        if (this.claiming.delete(work)) this.claim(work, id)
      })
      this.claiming.set(work, timer)
    })
  }

  private detect(work: Work, from: number, found: ReadonlyArray<Detection>, broken: ReadonlyArray<string>): void {
    const { ends, plan } = this.options
    if (from === plan.detectors.length) {
      if (found.length > 0) return ends.found(work, found)
      return broken.length > 0 ? ends.broke(work, `a detector broke: ${broken.join("; ")}`) : ends.undetected(work)
    }
    let ready: Ready<ReadonlyArray<Detection>, DetectError>
    try {
      ready = plan.detectors[from]!.detect(work.event!)
    } catch (thrown) {
      ready = Effect.die(thrown)
    }
    if (isLater(ready)) return this.detectLater(work, from, found, broken, ready)
    this.detect(work, from + 1, found.length === 0 ? ready : [...found, ...ready], broken)
  }

  private detectLater(
    work: Work,
    from: number,
    found: ReadonlyArray<Detection>,
    broken: ReadonlyArray<string>,
    later: Effect.Effect<ReadonlyArray<Detection>, DetectError>
  ): void {
    const { plan, runner } = this.options
    runner.start(later, (exit) => {
      if (Exit.isSuccess(exit)) return this.detect(work, from + 1, [...found, ...exit.value], broken)
      const reason = sentence(exit.cause)
      this.options.journaling?.broke(work, plan.detectors[from]!, reason)
      runner.log(Effect.logWarning(`${plan.name}: detector broke on ${work.delivery.envelope.id}: ${reason}`))
      this.detect(work, from + 1, found, [...broken, reason])
    })
  }
}

const none: ReadonlyArray<never> = []
