/** Tells an outage with one line when it has lasted a moment and one when it is over, however many calls fail in it. */
import { Clock, Effect } from "effect"

/** Units: milliseconds. From when on an outage is worth a line: a group that is just loaded takes longer than a leader that moves. */
const toldMillis = 3_000

export interface Outage {
  /** One of the ways to the other side failed. */
  readonly failed: (way: string, reason: string) => Effect.Effect<void>
  /** One of the ways works; the outage is over when all that failed work again. */
  readonly works: (way: string) => Effect.Effect<void>
  readonly isOver: () => boolean
}

export const make = (name: string): Outage => {
  const broken = new Set<string>()
  let since = 0
  let told = false
  return {
    isOver: () => broken.size === 0,
    failed: (way, reason) =>
      Effect.flatMap(Clock.currentTimeMillis, (now) => {
        if (broken.size === 0) since = now
        broken.add(way)
        if (told || now - since < toldMillis) return Effect.void
        told = true
        return Effect.logWarning(`${name}: outage: ${reason}`)
      }),
    works: (way) => {
      if (!broken.delete(way) || broken.size > 0 || !told) return Effect.void
      told = false
      return Effect.flatMap(Clock.currentTimeMillis, (now) =>
        Effect.logInfo(`${name}: outage over after ${Math.round((now - since) / 100) / 10} s`)
      )
    }
  }
}
