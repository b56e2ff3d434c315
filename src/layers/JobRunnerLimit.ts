/** Holds back the jobs of one name: so many at the same time, and so many begun within a time. */
import { Clock, Duration, Effect, Semaphore } from "effect"

export interface Rate {
  readonly count: number
  readonly per: Duration.Duration
}

export interface Options {
  /** Absent means as many as come. Units: tries under way. */
  readonly concurrency?: number | undefined
  /** Absent means as fast as they come. */
  readonly rate?: Rate | undefined
}

export class JobLimit {
  private readonly permits: Semaphore.Semaphore | undefined
  private readonly window: Window | undefined

  constructor({ concurrency, rate }: Options) {
    this.permits = concurrency === undefined ? undefined : Semaphore.makeUnsafe(concurrency)
    this.window = rate && new Window(rate)
  }

  /** Begins when its turn has come; first come, first served. What is interrupted while it waits gives its turn away. */
  hold<A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> {
    // The permit first: a turn that is used as soon as it comes keeps the rate exact.
    const paced = this.window === undefined ? effect : Effect.andThen(this.window.turn, effect)
    return this.permits === undefined ? paced : this.permits.withPermit(paced)
  }
}

/** Never more than `count` turns within any stretch of `per`: each waits until the one `count` before it is that old. */
class Window {
  /** When the last `count` turns were or will be, as a ring. Units: milliseconds of a clock that nobody sets. */
  private readonly turns: Array<number> = []
  private next = 0
  private readonly count: number
  private readonly perMillis: number

  constructor({ count, per }: Rate) {
    this.count = count
    this.perMillis = Duration.toMillis(per)
  }

  readonly turn: Effect.Effect<void> = Clock.clockWith((clock) => {
    const now = Number(clock.monotonicTimeNanosUnsafe() / 1000n) / 1000
    const before = this.turns[this.next]
    const at = before === undefined ? now : Math.max(now, before + this.perMillis)
    this.turns[this.next] = at
    this.next = (this.next + 1) % this.count
    return at > now ? Effect.sleep(Math.ceil(at - now)) : Effect.void
  })
}
