/** Lets deliveries in: whole arrays, then a pause while the buffer is full; as many as the rate allows, and in turns. */
import { Effect, Fiber, Latch } from "effect"
import type { Delivery } from "../services/Delivery.ts"
import type { Plan } from "./Plan.ts"
import { type Limit, Rate } from "./Rate.ts"
import type { Runner } from "./Runner.ts"
import type { Slots } from "./Slots.ts"
import type { Stats } from "./Stats.ts"

export interface Options {
  readonly buffer: Plan["buffer"]
  readonly rate: Limit | undefined
  readonly runner: Runner
  readonly stats: Stats
  readonly slots: Slots
  /** Lets one in; a fiber comes back when it must be waited for before the next. */
  readonly admit: (delivery: Delivery) => Fiber.Fiber<unknown, unknown> | undefined
  /** Does without one that has waited for the rate, or in a pause, until it was too late. */
  readonly refuse: (delivery: Delivery) => void
}

/** Units: milliseconds; arrays. When a source that never waits must let others run. */
const yieldMillis = 8
const yieldArrays = 64

export class Intake {
  private readonly gate = Latch.makeUnsafe(true)
  private readonly rate: Rate
  private paused = false
  private unbounded = false
  private refusing = false
  /** Deliveries are in its hand, which the source cannot take back. */
  private holding = false
  /** Ends when the rate allows one more. */
  private timer: Fiber.Fiber<void> | undefined
  private arrays = 0
  private yieldedAt = 0
  private readonly options: Options
  /** Whether the source is held back. */
  waiting = false

  constructor(options: Options) {
    this.options = options
    this.rate = new Rate(options.rate)
  }

  /**
   * Takes a whole array, then suspends while the buffer is full, the rate is used up or the pipeline is paused. Under a
   * rate, and in a pause, what is not let in yet waits in the hand. While the rate is used up the source is asked for no
   * more, so that its end, too, is seen up to an interval later.
   */
  take(deliveries: ReadonlyArray<Delivery>): Effect.Effect<void> {
    return Effect.suspend(() => this.takeFrom(deliveries, 0, true))
  }

  /** Takes a whole array, whatever the rate is: for what was let in once before. */
  takeAgain(deliveries: ReadonlyArray<Delivery>): Effect.Effect<void> {
    return Effect.suspend(() => this.takeFrom(deliveries, 0, false))
  }

  pause(): void {
    this.paused = true
    this.shut()
  }

  resume(): void {
    this.paused = false
    this.settled()
  }

  get limit(): Limit | undefined {
    return this.rate.limit
  }

  /** Holds from now on. */
  set limit(limit: Limit | undefined) {
    this.rate.limit = limit
    this.stopTimer()
    this.settled()
  }

  get full(): boolean {
    const { buffer, slots, stats } = this.options
    return stats.held - slots.active >= buffer.messagesMax || stats.heldBytes >= buffer.bytesMax
  }

  /**
   * From here on all is taken, and what the rate does not allow is refused: for the little that a source which is
   * stopped cannot leave to anybody.
   */
  unbound(): void {
    this.unbounded = true
    this.refusing = true
    this.open()
  }

  /** From here on what waits in the hand is refused instead, so that an end is not held up by the rate or a pause. */
  refuseRest(): void {
    this.refusing = true
    if (this.holding) this.open()
  }

  /** Something left: there may be room again. */
  settled(): void {
    if (this.waiting && this.timer === undefined && !this.paused && !this.full) this.open()
  }

  private open(): void {
    this.stopTimer()
    this.waiting = false
    this.gate.openUnsafe()
  }

  private shut(): void {
    const { runner } = this.options
    this.waiting = true
    this.gate.closeUnsafe()
    if (this.timer !== undefined || this.paused || this.full) return
    this.timer = runner.after(this.rate.waitMillis(runner.now()), () => {
      this.timer = undefined
      this.settled()
    })
  }

  private stopTimer(): void {
    this.timer?.interruptUnsafe()
    this.timer = undefined
  }

  /** How many of those in the hand may be let in: all, where nothing holds them back. */
  private allowed(): number {
    if (this.paused) return 0
    if (this.rate.limit === undefined) return Number.POSITIVE_INFINITY
    return this.full && !this.unbounded ? 0 : this.rate.allowed(this.options.runner.now())
  }

  private takeFrom(deliveries: ReadonlyArray<Delivery>, from: number, isLimited: boolean): Effect.Effect<void> {
    const { admit, refuse, runner } = this.options
    let at = from
    let end = deliveries.length
    let decoding: Fiber.Fiber<unknown, unknown> | undefined
    runner.turn(() => {
      if (isLimited) end = Math.min(end, from + this.allowed())
      while (at < end && decoding === undefined) {
        decoding = admit(deliveries[at]!)
        if ((++at & 15) === 0 && runner.late()) break
      }
      if (isLimited) this.rate.spend(at - from, runner.time)
      if (this.refusing && at === end && decoding === undefined) {
        while (at < deliveries.length) refuse(deliveries[at++]!)
      }
    })
    if (at < deliveries.length || decoding !== undefined) {
      // What was taken from the source is held: an interruption waits until all of it is admitted, or refused.
      const next =
        decoding !== undefined ? Fiber.await(decoding) : at < end ? Effect.yieldNow : Effect.suspend(() => this.hold())
      return Effect.uninterruptible(Effect.flatMap(next, () => this.takeFrom(deliveries, at, isLimited)))
    }
    return isLimited ? this.turn() : Effect.void
  }

  /** Until more of what is in the hand may be let in, or must be refused. */
  private hold(): Effect.Effect<void> {
    if (this.refusing) return Effect.void
    this.holding = true
    this.shut()
    return Effect.andThen(
      this.gate.await,
      Effect.sync(() => {
        this.holding = false
      })
    )
  }

  private turn(): Effect.Effect<void> {
    const { runner } = this.options
    if (++this.arrays % yieldArrays !== 0 && runner.time - this.yieldedAt < yieldMillis) return this.room()
    this.yieldedAt = runner.time
    return Effect.flatMap(Effect.yieldNow, () => this.room())
  }

  private room(): Effect.Effect<void> {
    if (this.unbounded || (!this.full && this.allowed() > 0)) return Effect.void
    this.shut()
    return Effect.flatMap(Effect.interruptible(this.gate.await), () => this.room())
  }
}
