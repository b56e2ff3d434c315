/** Dead letters in memory: for tests, and the reference of what a store does. */
import { Effect, Layer, Option } from "effect"
import { DeadLetters, DeadLettersError, type Letter } from "../services/DeadLetters.ts"

export interface Options {
  /** Over this size burials fail: nothing is dropped silently. Units: bytes. */
  readonly bytesMax?: number | undefined
}

export const make = ({ bytesMax = 1024 ** 3 }: Options = {}): DeadLetters["Service"] => {
  const letters = new Map<string, Letter>()
  let total = 0
  const ordered = (): Array<Letter> =>
    [...letters.values()].sort((a, b) => a.envelope.receivedAt - b.envelope.receivedAt || a.sequence - b.sequence)
  const forget = (id: string): boolean => {
    total -= bytesOf(letters.get(id))
    return letters.delete(id)
  }
  return {
    bury: Effect.fnUntraced(function* (letter) {
      const more = bytesOf(letter) - bytesOf(letters.get(letter.id))
      if (more > 0 && total + more > bytesMax) return yield* full(bytesMax)
      total += more
      letters.set(letter.id, letter)
    }),
    list: ({ ids, pipeline }) =>
      Effect.sync(() => {
        const wanted = ids && new Set(ids)
        return ordered().filter(
          (letter) => (pipeline === undefined || letter.pipeline === pipeline) && wanted?.has(letter.id) !== false
        )
      }),
    get: (id) => Effect.sync(() => Option.fromUndefinedOr(letters.get(id))),
    remove: (ids) => Effect.sync(() => ids.filter(forget).length)
  }
}

export const layer: Layer.Layer<DeadLetters> = Layer.sync(DeadLetters, make)

export const layerWith = (options: Options): Layer.Layer<DeadLetters> => Layer.sync(DeadLetters, () => make(options))

const full = (bytes: number): DeadLettersError =>
  new DeadLettersError({ reason: `the dead letters are full (${bytes} bytes): replay or purge some` })

/** The bytes in it; the rest is small. */
const bytesOf = (letter: Letter | undefined): number => {
  if (letter === undefined) return 0
  const { envelope, reply } = letter
  return envelope.payload.length + (reply?.payload instanceof Uint8Array ? reply.payload.length : 0)
}
