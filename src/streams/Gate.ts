/** Lets as many calls at a target at once as it bears: half as many after it was busy, one more while it answers well. */
import { Effect, Exit, Semaphore } from "effect"

export interface Gate {
  /** How many calls may be under way just now. */
  readonly size: number
  /** The most there will ever be at once; a smaller one takes effect when the target is next busy. */
  max: number
  /** Waits for a place and makes the call; `isBusy` tells the answers that mean there were too many. */
  readonly run: <A, E>(call: Effect.Effect<A, E>, isBusy: (error: E) => boolean) => Effect.Effect<A, E>
}

/**
 * How many good answers a place more needs, per place there is. It doubles with each time the target was busy, since a
 * target that never bears two would otherwise be asked by two after each good answer, and halves with each place that
 * was added to a place that was added.
 */
const patienceMax = 64

export const make = (options: { readonly first: number; readonly max: number }): Gate => {
  let { max } = options
  let size = Math.max(1, Math.min(options.first, max))
  const places = Semaphore.makeUnsafe(size)
  let patience = 1
  let goods = 0
  let added = false
  /** Counts how often the target was busy: what began before says nothing about the size since. */
  let round = 0

  const good = (): Effect.Effect<void> => {
    if (size >= max || ++goods < size * patience) return Effect.void
    if (added) patience = Math.max(1, patience / 2)
    added = true
    goods = 0
    return places.resize(++size)
  }
  const busy = (): Effect.Effect<void> => {
    round++
    added = false
    goods = 0
    patience = Math.min(patienceMax, patience * 2)
    size = Math.max(1, Math.floor(Math.min(size, max) / 2))
    return places.resize(size)
  }
  return {
    get size() {
      return size
    },
    get max() {
      return max
    },
    set max(wanted) {
      max = wanted
    },
    run: (call, isBusy) =>
      places.withPermits(1)(
        Effect.suspend(() => {
          const begun = round
          return Effect.onExit(call, (exit) => {
            if (begun !== round) return Effect.void
            if (Exit.isSuccess(exit)) return good()
            const failure = exit.cause.reasons.find((reason) => reason._tag === "Fail")
            return failure !== undefined && isBusy(failure.error) ? busy() : Effect.void
          })
        })
      )
  }
}
