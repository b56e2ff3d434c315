/** Lets deliveries in: whole arrays, then a pause while the buffer is full; never for so long that others starve. */
import { Effect, Fiber, Latch } from "effect"
import type { Delivery } from "../services/Delivery.ts"
import type { Plan } from "./Plan.ts"
import type { Runner } from "./Runner.ts"
import type { Slots } from "./Slots.ts"
import type { Stats } from "./Stats.ts"

export interface Options {
  readonly buffer: Plan["buffer"]
  readonly runner: Runner
  readonly stats: Stats
  readonly slots: Slots
  /** Lets one in; a fiber comes back when it must be waited for before the next. */
  readonly admit: (delivery: Delivery) => Fiber.Fiber<unknown, unknown> | undefined
}

/** Units: milliseconds; arrays. When a source that never waits must let others run. */
const yieldMillis = 8
const yieldArrays = 64

export class Intake {
  private readonly gate = Latch.makeUnsafe(true)
  private paused = false
  private unbounded = false
  private arrays = 0
  private yieldedAt = 0
  private readonly options: Options
  /** Whether the source is held back. */
  waiting = false

  constructor(options: Options) {
    this.options = options
  }

  /** Takes a whole array, then suspends while the buffer is full or the pipeline is paused. */
  take(deliveries: ReadonlyArray<Delivery>): Effect.Effect<void> {
    return Effect.suspend(() => this.takeFrom(deliveries, 0))
  }

  pause(): void {
    this.paused = true
    this.shut()
  }

  resume(): void {
    this.paused = false
    this.settled()
  }

  get full(): boolean {
    const { buffer, slots, stats } = this.options
    return stats.held - slots.active >= buffer.messagesMax || stats.heldBytes >= buffer.bytesMax
  }

  /** From here on all is let in: for the little that a source which is stopped cannot leave to anybody. */
  unbound(): void {
    this.unbounded = true
    this.waiting = false
    this.gate.openUnsafe()
  }

  /** Something left: there may be room again. */
  settled(): void {
    if (!this.waiting || this.paused || this.full) return
    this.waiting = false
    this.gate.openUnsafe()
  }

  private shut(): void {
    this.waiting = true
    this.gate.closeUnsafe()
  }

  private takeFrom(deliveries: ReadonlyArray<Delivery>, from: number): Effect.Effect<void> {
    const { admit, runner } = this.options
    let at = from
    let decoding: Fiber.Fiber<unknown, unknown> | undefined
    runner.turn(() => {
      while (at < deliveries.length && decoding === undefined) {
        decoding = admit(deliveries[at]!)
        if ((++at & 15) === 0 && runner.late()) break
      }
    })
    if (at < deliveries.length || decoding !== undefined) {
      // What was taken from the source is held: an interruption waits until all of it is admitted.
      const turn = decoding === undefined ? Effect.yieldNow : Fiber.await(decoding)
      return Effect.uninterruptible(Effect.flatMap(turn, () => this.takeFrom(deliveries, at)))
    }
    if (++this.arrays % yieldArrays !== 0 && runner.time - this.yieldedAt < yieldMillis) return this.room()
    this.yieldedAt = runner.time
    return Effect.flatMap(Effect.yieldNow, () => this.room())
  }

  private room(): Effect.Effect<void> {
    if (this.unbounded || (!this.full && !this.paused)) return Effect.void
    this.shut()
    return Effect.flatMap(Effect.interruptible(this.gate.await), () => this.room())
  }
}
