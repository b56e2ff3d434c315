/** Holds back the jobs of one name: so many at the same time, and so many begun within a time. */
import { Clock, Duration, Effect, Schema, Semaphore } from "effect"

/** A limit that nothing could ever pass, or that is none. */
export class JobLimitError extends Schema.TaggedError<JobLimitError>()("JobLimitError", {
  limit: Schema.String,
  expected: Schema.String,
  found: Schema.Unknown
}) {
  override get message(): string {
    return `${this.limit}: expected ${this.expected}, found ${String(this.found)}`
  }
}

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

  /** Throws `JobLimitError`: these are written, not received. */
  constructor({ concurrency, rate }: Options) {
    check("concurrency", concurrency)
    check("rate.count", rate?.count)
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

const check = (limit: string, found: number | undefined): void => {
  if (found === undefined || (Number.isSafeInteger(found) && found >= 1)) return
  throw new JobLimitError({ limit, expected: "a whole number from 1", found })
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
