/** Positions in memory: for tests, and the reference of what a store does. */
import { Effect, Layer } from "effect"
import { Positions, PositionsError } from "../services/Positions.ts"

export const make = (): Positions["Service"] => {
  const noted = new Map<string, string>()
  const held = new Set<string>()
  return Positions.of({
    open: Effect.fnUntraced(function* (name) {
      if (held.has(name)) return yield* heldBySomebody(name)
      yield* Effect.acquireRelease(
        Effect.sync(() => held.add(name)),
        () => Effect.sync(() => held.delete(name))
      )
      return {
        read: Effect.sync(() => noted.get(name)),
        note: (text) => Effect.sync(() => void noted.set(name, text))
      }
    })
  })
}

export const layer: Layer.Layer<Positions> = Layer.sync(Positions, make)

/** What every store says. */
export const heldBySomebody = (name: string): PositionsError =>
  new PositionsError({
    reason: `the position of ${name} is held by another pipeline or process; give this one a group of its own`,
    retryable: false
  })
