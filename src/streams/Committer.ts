/** Says when to commit: a while after the first settlement, at once when many came, one commit at a time. */
import { Effect, Latch, type Scope, Semaphore } from "effect"

export interface Options<E> {
  /** A settlement is committed after this long or this many. Units: milliseconds; settlements. */
  readonly millis: number
  readonly count: number
  /** Writes down what is settled by now; called by one at a time. */
  readonly commit: Effect.Effect<void, E>
  /** Ends the committing by itself; what is settled later is committed by `now` only. */
  readonly onError: (error: E) => Effect.Effect<unknown>
}

export interface Committer<E> {
  /** Something was settled. */
  readonly settled: () => void
  /** Commits without waiting. */
  readonly now: Effect.Effect<void, E>
}

/** Commits as long as its scope lives. */
export const make = Effect.fnUntraced(function* <E>({
  commit,
  count,
  millis,
  onError
}: Options<E>): Effect.fn.Return<Committer<E>, never, Scope.Scope> {
  const alone = yield* Semaphore.make(1)
  const dirty = Latch.makeUnsafe(false)
  const full = Latch.makeUnsafe(false)
  let pending = 0
  const now = Effect.suspend(() => {
    pending = 0
    dirty.closeUnsafe()
    full.closeUnsafe()
    return commit
  }).pipe(Semaphore.withPermits(alone, 1))
  yield* dirty.await.pipe(
    Effect.andThen(Effect.timeoutOption(full.await, millis)),
    Effect.andThen(now),
    Effect.forever,
    Effect.catch(onError),
    Effect.forkScoped
  )
  return {
    now,
    settled: () => {
      pending++
      if (pending === 1) dirty.openUnsafe()
      if (pending === count) full.openUnsafe()
    }
  }
})
