/** Notes in the journal what became of each delivery of a pipeline that wants it. */
import type { Settlement } from "../services/Delivery.ts"
import type { Detector, Explanation } from "../services/Detector.ts"
import type { Detection } from "../services/Event.ts"
import type { Entry, Journal, Publication, Step } from "../services/Journal.ts"
import { explain } from "./Explaining.ts"
import type { Plan, PublishPlan } from "./Plan.ts"
import type { Verdict } from "./Target.ts"
import type { Leg, Work } from "./Work.ts"

const outcomes = { Acked: "acked", Buried: "buried", Refused: "refused", Nacked: "nacked" } as const

/** Units: characters of a note or a reason that are kept. */
const textMax = 500

export class Journaling {
  // Beside the legs and not in them: hardly one fails, and the legs of other pipelines carry nothing for this.
  private readonly failures = new WeakMap<Leg, Verdict>()
  private readonly millis = new WeakMap<Leg, number>()
  private readonly copies = new WeakSet<Work>()
  private readonly drops = new WeakMap<Work, string>()
  private readonly breaks = new WeakMap<Work, ReadonlyArray<Explanation>>()
  private readonly publications = new WeakMap<Work, Array<Publication>>()
  private readonly plan: Plan
  private readonly journal: Journal["Service"]

  constructor(plan: Plan, journal: Journal["Service"]) {
    this.plan = plan
    this.journal = journal
  }

  legFailed(leg: Leg, verdict: Verdict): void {
    this.failures.set(leg, verdict)
  }

  copied(work: Work): void {
    this.copies.add(work)
  }

  /** Units of `now`: milliseconds since 1970. */
  answered(leg: Leg, now: number): void {
    if (leg.startedAt > 0) this.millis.set(leg, now - leg.startedAt)
  }

  /** One that explains itself says this there. */
  broke(work: Work, { explain, name }: Detector, reason: string): void {
    if (explain !== undefined) return
    const broken: Explanation = { event: name, verdict: "broke", why: clip(reason) }
    this.breaks.set(work, [...(this.breaks.get(work) ?? []), broken])
  }

  published(work: Work, { name: event }: Detection, { name: publisher }: PublishPlan, failure?: string): void {
    const outcome = failure === undefined ? "published" : "failed"
    const publication: Publication = { event, publisher, outcome, note: clip(failure) }
    const before = this.publications.get(work)
    if (before === undefined) this.publications.set(work, [publication])
    else before.push(publication)
  }

  dropped(work: Work, reason: string): void {
    this.drops.set(work, `dropped: ${reason}`)
  }

  /** Units of `now`: milliseconds since 1970. */
  settled(work: Work, settlement: Settlement, now: number): void {
    const { envelope } = work.delivery
    const reason = settlement._tag === "Acked" ? this.whyNothing(work) : settlement.reason
    const entry: Entry = {
      at: now,
      pipeline: this.plan.name,
      source: envelope.source,
      id: envelope.id,
      attempt: envelope.attempt,
      outcome: outcomes[settlement._tag],
      reason: clip(reason),
      millis: now - work.takenAt,
      detected: this.detectedIn(work),
      steps: work.legs.map((leg) => this.stepOf(leg)),
      published: this.publications.get(work) ?? []
    }
    this.journal.note(entry)
  }

  private stepOf(leg: Leg): Step {
    const failure = this.failures.get(leg)
    // What a target refused is refused, whether a publisher takes it or it is buried.
    const reply = leg.reply ?? (failure?.reply?.kind === "refused" ? failure.reply : undefined)
    const outcome = reply?.kind ?? (failure === undefined ? "open" : "failed")
    // Counted are tries that failed; a reply that did not come with a failure is one more.
    const attempts = leg.attempts + (outcome !== "open" && failure === undefined ? 1 : 0)
    const why = failure?.reason ?? reply?.reason
    const note = outcome === "accepted" ? reply?.note : (why ?? reply?.note)
    return {
      event: leg.detection.name,
      leg: leg.plan.name,
      attempts,
      outcome,
      note: clip(note),
      millis: this.millis.get(leg),
      jobs: reply?.jobs?.map((job) => ({ ...job, note: clip(job.note) })) ?? []
    }
  }

  /** Nothing, for what was not looked at: a copy, or a letter whose event is known. */
  private detectedIn(work: Work): ReadonlyArray<Explanation> {
    if (work.event === undefined || work.delivery.resume?.event !== undefined || this.copies.has(work)) return []
    const explained = explain(this.plan, work.event).map((one) => ({ ...one, why: clip(one.why) }))
    return [...explained, ...(this.breaks.get(work) ?? [])]
  }

  /** Why a delivery that is done has no steps to show. */
  private whyNothing(work: Work): string | undefined {
    const dropped = this.drops.get(work)
    const { resume } = work.delivery
    if (dropped !== undefined || work.legs.length > 0 || resume?.stage === "publish") return dropped
    return this.copies.has(work) ? "duplicate" : "nothing detected"
  }
}

const clip = (text: string | undefined): string | undefined =>
  text === undefined || text.length <= textMax ? text : `${text.slice(0, textMax)}...`
