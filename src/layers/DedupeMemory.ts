/** Dedupe ids in memory: for tests, and the reference of what a store does. */
import { Clock, Effect, Layer } from "effect"
import { Dedupe } from "../services/Dedupe.ts"

export interface Options {
  /** How long done ids are remembered. Units: milliseconds. */
  readonly keepMillis?: number | undefined
  /** How many done ids are remembered, the oldest forgotten first. */
  readonly keepMax?: number | undefined
}

export const make = ({ keepMax = 1_000_000, keepMillis = 7 * 86_400_000 }: Options = {}): Dedupe["Service"] => {
  // Maps keep the order of insertion, so the oldest is the first.
  const done = new Map<string, number>()
  const claims = new Map<string, number>()
  const keyOf = (scope: string, id: string): string => JSON.stringify([scope, id])
  return {
    claim: (scope, id, leaseMillis) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        const key = keyOf(scope, id)
        if ((done.get(key) ?? 0) > now) return "done"
        if ((claims.get(key) ?? 0) > now) return "busy"
        claims.set(key, now + leaseMillis)
        return "claimed"
      }),
    confirm: (scope, id) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        const key = keyOf(scope, id)
        claims.delete(key)
        done.delete(key)
        done.set(key, now + keepMillis)
        for (const [oldest, until] of done) {
          if (done.size <= keepMax && until > now) break
          done.delete(oldest)
        }
      }),
    release: (scope, id) => Effect.sync(() => void claims.delete(keyOf(scope, id)))
  }
}

export const layer = (options?: Options): Layer.Layer<Dedupe> => Layer.sync(Dedupe, () => make(options))
