/** Tries a target's work until it is answered: retries with backoff, and waits out an outage without counting it. */
import { Cause, Effect, Exit, type Fiber } from "effect"
import type { Policy, Presence } from "../services/Failure.ts"
import { isLater, type Ready } from "../services/Ready.ts"
import type { Reply } from "../services/Reply.ts"
import { type Runner, sentence } from "./Runner.ts"
import type { Job, Slots } from "./Slots.ts"

/** How a leg is tried again. Units: milliseconds; `attempts` counts the first try. */
export interface Retry {
  readonly attempts: number
  readonly backoffMillis: number
  readonly maxMillis: number
}

export const retryDefault: Retry = { attempts: 8, backoffMillis: 200, maxMillis: 60_000 }

/** The longest wait a target may ask for. */
const retryAfterMaxMillis = 3_600_000
/** Units: milliseconds. From when on an outage is worth a line. */
const outageToldMillis = 1_000
/** A target that is away is asked at least this often. */
const probeMaxMillis = 5_000

/** Why something is given back that its source has lost. */
export const lost = "lost to another member"

/** What a failure means here: what to do about it, and whether the target is there. */
export interface Verdict {
  readonly policy: Policy
  readonly reason: string
  readonly presence: Presence
  readonly retryAfterMillis?: number | undefined
  /** What the target answered, for a reply when retries are spent. */
  readonly reply?: Reply | undefined
}

/** Work for a target: one leg, or a batch of them. */
export abstract class Attempt<A> implements Job {
  // Declared, not defined: one is made per leg, and a field that is defined first and assigned later costs twice.
  /** Tries that failed and counted. */
  declare attempts: number
  /** The target's good answers when this last failed, or -1 before the first try. */
  declare goodsSeen: number
  /** Units: milliseconds since 1970; when the present try began. */
  declare startedAt: number
  /** Next of its lane: it starts ahead of others, at once when the one before it is done. */
  declare first: boolean
  /** Tried in the middle of an outage, to see whether it is over. */
  declare probing: boolean
  declare readonly target: Target

  constructor(target: Target) {
    this.attempts = 0
    this.goodsSeen = -1
    this.startedAt = 0
    this.first = false
    this.probing = false
    this.target = target
  }

  start(): void {
    this.target.execute(this)
  }

  /** What it takes a slot of while it works. */
  get slots(): Slots {
    return this.target.slots
  }

  /** Goes out at a drain even when it has not begun. */
  get flushes(): boolean {
    return false
  }

  /** Its source has lost all of it to somebody else. */
  abstract get gone(): boolean

  abstract call(): Ready<A, unknown>
  abstract succeed(value: A): void
  /** For good: retries are spent, or cannot help. */
  abstract fail(verdict: Verdict): void
  /** The pipeline stops: nobody will try this again here. */
  abstract giveBack(reason: string): void
  /** Before a failure counts: what of a batch has not failed goes its own way. True when some of it went well. */
  narrow(_cause: Cause.Cause<unknown>): boolean {
    return false
  }
  /** A batch that failed may go on as its parts; true when it does. */
  divide(_delayMillis: number): boolean {
    return false
  }
}

export interface Options {
  readonly name: string
  readonly retry: Retry
  readonly slots: Slots
  readonly runner: Runner
  readonly verdict: (cause: Cause.Cause<unknown>) => Verdict
  readonly probe: Effect.Effect<void, unknown> | undefined
  readonly onRetry: () => void
  readonly onLeg: (millis: number) => void
}

interface Outage {
  readonly since: number
  readonly reason: string
  /** Said; one that is over within a second is not worth two lines. */
  told: boolean
  delayMillis: number
  timer: Fiber.Fiber<unknown> | undefined
}

export class Target {
  private goods = 0
  private outage: Outage | undefined
  private readonly waiting: Array<Attempt<any>> = []
  private readonly delayed = new Map<Attempt<any>, Fiber.Fiber<unknown> | undefined>()
  private readonly working = new Map<Attempt<any>, Fiber.Fiber<unknown, unknown>>()
  /** Set at drain: what would have to wait is given back instead. */
  private closed: string | undefined
  /** Set at the deadline: nothing begins any more. */
  private stopped = false
  /** Some may be gone: only then it is worth a look. */
  private recalled = false
  readonly slots: Slots
  private readonly options: Options

  constructor(options: Options) {
    this.options = options
    this.slots = options.slots
  }

  get away(): boolean {
    return this.outage !== undefined
  }

  submit(attempt: Attempt<any>): void {
    if (this.recalled && attempt.gone) attempt.giveBack(lost)
    else if (this.stopped) attempt.giveBack(this.closed ?? "interrupted")
    else if (this.outage !== undefined) this.wait(attempt)
    else if (attempt.first) attempt.slots.submitFirst(attempt)
    else attempt.slots.submit(attempt)
  }

  /** Submits after a while; the wait holds no slot. */
  submitLater(attempt: Attempt<any>, millis: number): void {
    if (this.closed !== undefined) return attempt.giveBack(this.closed)
    this.delayed.set(
      attempt,
      this.options.runner.after(millis, () => {
        if (this.delayed.delete(attempt)) this.submit(attempt)
      })
    )
  }

  /** The target answered somebody well: an outage is over, and all that waited for it goes on. */
  good(): void {
    this.goods++
    if (this.outage !== undefined) this.endOutage()
  }

  /** Gives back what waits for its next try, now and from now on. */
  close(reason: string): void {
    this.closed = reason
    this.outage?.timer?.interruptUnsafe()
    for (const attempt of this.waiting.splice(0)) attempt.giveBack(reason)
    for (const [attempt, timer] of [...this.delayed]) {
      this.delayed.delete(attempt)
      timer?.interruptUnsafe()
      attempt.giveBack(reason)
    }
  }

  /** Gives back what is gone: at once what waits, and what works when its fiber has ended. */
  recall(): void {
    this.recalled = true
    for (const attempt of this.waiting.splice(0)) this.wait(attempt)
    for (const [attempt, timer] of [...this.delayed]) {
      if (!attempt.gone) continue
      this.delayed.delete(attempt)
      timer?.interruptUnsafe()
      attempt.giveBack(lost)
    }
    for (const [attempt, fiber] of this.working) if (attempt.gone) fiber.interruptUnsafe()
  }

  /** Interrupts what is working; each is given back when its fiber has ended. */
  interrupt(): void {
    this.stopped = true
    for (const fiber of this.working.values()) fiber.interruptUnsafe()
  }

  /** Called by the attempt when it has its slot. */
  execute(attempt: Attempt<any>): void {
    const { onLeg, runner } = this.options
    const { slots } = attempt
    if ((this.recalled && attempt.gone) || (this.outage !== undefined && !attempt.probing)) {
      slots.release()
      return this.wait(attempt)
    }
    attempt.probing = false
    if (attempt.goodsSeen < 0) attempt.goodsSeen = this.goods
    attempt.startedAt = runner.time
    let ready: Ready<unknown, unknown>
    try {
      ready = attempt.call()
    } catch (thrown) {
      ready = Effect.die(thrown)
    }
    if (!isLater(ready)) {
      slots.release()
      onLeg(0)
      return this.succeeded(attempt, ready)
    }
    this.executeLater(attempt, ready)
  }

  private executeLater(attempt: Attempt<any>, later: Effect.Effect<unknown, unknown>): void {
    const { runner } = this.options
    const fiber = runner.start(later, (exit) => {
      this.working.delete(attempt)
      attempt.slots.release()
      this.ended(attempt, exit)
    })
    if (fiber !== undefined) this.working.set(attempt, fiber)
  }

  private ended(attempt: Attempt<any>, exit: Exit.Exit<unknown, unknown>): void {
    const { onLeg, runner } = this.options
    onLeg(runner.time - attempt.startedAt)
    if (Exit.isSuccess(exit)) return this.succeeded(attempt, exit.value)
    // Interrupted by us it is given back; one that interrupts itself is a defect like any other.
    const stopping = attempt.gone ? lost : (this.closed ?? (runner.closing ? "interrupted" : undefined))
    if (stopping !== undefined && Cause.hasInterruptsOnly(exit.cause)) return attempt.giveBack(stopping)
    if (attempt.narrow(exit.cause)) this.good()
    const verdict = this.options.verdict(exit.cause)
    if (verdict.presence === "answered") {
      if (this.outage !== undefined) this.endOutage()
      return this.count(attempt, verdict)
    }
    if (verdict.policy !== "retry" || this.goods > attempt.goodsSeen) return this.count(attempt, verdict)
    if (verdict.presence === "reset" && this.options.probe !== undefined) return this.askTarget(attempt, verdict)
    this.beginOutage(attempt, verdict)
  }

  private succeeded(attempt: Attempt<any>, value: unknown): void {
    this.good()
    attempt.succeed(value)
  }

  /** Nobody has been answered since, so the broken connection may be the target's fault or the message's: ask. */
  private askTarget(attempt: Attempt<any>, verdict: Verdict): void {
    this.options.runner.start(this.options.probe!, (exit) => {
      if (Exit.isSuccess(exit)) {
        this.good()
        this.count(attempt, verdict)
      } else this.beginOutage(attempt, verdict)
    })
  }

  private count(attempt: Attempt<any>, verdict: Verdict): void {
    attempt.attempts++
    attempt.goodsSeen = this.goods
    const { onRetry, retry, runner } = this.options
    if (verdict.policy !== "retry") return attempt.divide(0) ? undefined : attempt.fail(verdict)
    const backoff = Math.min(retry.maxMillis, retry.backoffMillis * 2 ** (attempt.attempts - 1))
    const delay = Math.max(
      backoff * (0.8 + 0.4 * runner.random()),
      Math.min(verdict.retryAfterMillis ?? 0, retryAfterMaxMillis)
    )
    if (attempt.divide(delay)) return
    if (attempt.attempts >= retry.attempts) return attempt.fail(verdict)
    onRetry()
    this.submitLater(attempt, delay)
  }

  private wait(attempt: Attempt<any>): void {
    if (attempt.gone) attempt.giveBack(lost)
    else if (this.closed !== undefined) attempt.giveBack(this.closed)
    else this.waiting.push(attempt)
  }

  private beginOutage(attempt: Attempt<any>, verdict: Verdict): void {
    const { retry, runner } = this.options
    this.wait(attempt)
    if (this.outage !== undefined || this.closed !== undefined) return
    this.outage = {
      since: runner.now(),
      reason: verdict.reason,
      told: false,
      delayMillis: Math.min(verdict.retryAfterMillis ?? retry.backoffMillis, probeMaxMillis),
      timer: undefined
    }
    this.probeLater(this.outage)
  }

  /** Tries what waits, one after the other in turn, so that a message that kills the target does not hide its return. */
  private probeLater(outage: Outage): void {
    const { name, runner } = this.options
    outage.timer = runner.after(outage.delayMillis, () => {
      if (!outage.told && runner.time - outage.since >= outageToldMillis) {
        outage.told = true
        runner.log(Effect.logWarning(`${name}: outage: ${outage.reason}`))
      }
      outage.delayMillis = Math.min(outage.delayMillis * 2, probeMaxMillis)
      const attempt = this.waiting.shift()
      if (attempt !== undefined) {
        attempt.probing = true
        attempt.slots.submit(attempt)
      }
      this.probeLater(outage)
    })
  }

  private endOutage(): void {
    const { name, runner } = this.options
    const outage = this.outage!
    this.outage = undefined
    outage.timer?.interruptUnsafe()
    const seconds = Math.round((runner.now() - outage.since) / 100) / 10
    if (outage.told) runner.log(Effect.logInfo(`${name}: outage over after ${seconds} s`))
    for (const attempt of this.waiting.splice(0)) this.submit(attempt)
  }
}

/** The verdict on a cause that is not a failure of the target: our own code broke. */
export const defect = (cause: Cause.Cause<unknown>): Verdict => ({
  policy: "bury",
  reason: sentence(cause),
  presence: "answered"
})
