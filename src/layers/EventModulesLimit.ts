/** Bounds what event modules are waited for, with one timer for all of them. */
import type { Call } from "./EventModulesCalls.ts"

/** Something that is waited for. */
export interface Waiting {
  /** Its time stands still while jobs of it are under way. */
  readonly call: Call | undefined
  ticks: number
  readonly onTimeUp: () => void
}

/** Units: milliseconds. */
const tickMaxMillis = 50

/**
 * Counts ticks and not time: 200 detectors for each of 5,000 events a second would ask the clock a million times, and a
 * process that stood still must not take it out on the modules. Later than the limit by a tenth of it or 50 ms at most.
 */
export class TimeLimit {
  readonly millis: number
  private readonly waiting = new Set<Waiting>()
  private readonly tickMillis: number
  private readonly ticksMax: number
  private timer: NodeJS.Timeout | undefined

  constructor(millis: number) {
    this.millis = millis
    this.tickMillis = Math.max(1, Math.min(tickMaxMillis, Math.floor(millis / 10)))
    this.ticksMax = Math.ceil(millis / this.tickMillis)
  }

  add(one: Waiting): void {
    this.waiting.add(one)
    this.timer ??= setInterval(() => this.tick(), this.tickMillis)
  }

  /** False where its time was up before. */
  end(one: Waiting): boolean {
    return this.waiting.delete(one)
  }

  /** In time or never: settles with the promise, or fails when its time is up; `onLate` is told of a later rejection. */
  bound<A>(promise: PromiseLike<A>, call: Call, timeUp: () => unknown, onLate: (error: unknown) => void): Promise<A> {
    return new Promise((resolve, reject) => {
      const one: Waiting = { call, ticks: 0, onTimeUp: () => reject(timeUp()) }
      this.add(one)
      promise.then(
        (value) => {
          if (this.end(one)) resolve(value)
        },
        (error) => {
          if (this.end(one)) reject(error)
          else onLate(error)
        }
      )
    })
  }

  private tick(): void {
    if (this.waiting.size === 0) {
      clearInterval(this.timer)
      this.timer = undefined
      return
    }
    const late: Array<Waiting> = []
    for (const one of this.waiting) {
      if (one.call !== undefined && one.call.running > 0) continue
      if (++one.ticks > this.ticksMax) late.push(one)
    }
    // Afterwards, as one whose time is up may begin to wait for something else.
    for (const one of late) if (this.waiting.delete(one)) one.onTimeUp()
  }
}

/** Such as `10 s` or `200 ms`. */
export const told = (millis: number): string => (millis % 1000 === 0 ? `${millis / 1000} s` : `${millis} ms`)
