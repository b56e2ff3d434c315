/** Dead letters in memory: for tests, and the reference of what a store does. */
import { Effect, Layer, Option } from "effect"
import { DeadLetters, type Letter } from "../services/DeadLetters.ts"

export const make = (): DeadLetters["Service"] => {
  const letters = new Map<string, Letter>()
  const ordered = (): Array<Letter> =>
    [...letters.values()].sort((a, b) => a.envelope.receivedAt - b.envelope.receivedAt || a.sequence - b.sequence)
  return {
    bury: (letter) => Effect.sync(() => void letters.set(letter.id, letter)),
    list: ({ ids, pipeline }) =>
      Effect.sync(() =>
        ordered().filter(
          (letter) =>
            (pipeline === undefined || letter.pipeline === pipeline) && (ids === undefined || ids.includes(letter.id))
        )
      ),
    get: (id) => Effect.sync(() => Option.fromUndefinedOr(letters.get(id))),
    remove: (ids) => Effect.sync(() => ids.filter((id) => letters.delete(id)).length)
  }
}

export const layer: Layer.Layer<DeadLetters> = Layer.sync(DeadLetters, make)
