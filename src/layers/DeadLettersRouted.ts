/** Dead letters of several places as one: those of each pipeline go where its config says, all others to the store. */
import { Effect, Option, Result } from "effect"
import { DeadLetters, type DeadLettersError, type Filter, type Letter } from "../services/DeadLetters.ts"

type Place = DeadLetters["Service"]

/** Letters whose place is remembered, so that a removal asks only there. Units: letters. */
const seenMax = 65_536
/** Places that are read at the same time. */
const readingMax = 4

/** `routes`: by pipeline; several may share one. Where a letter is asked for that nobody knows, all places are. */
export const make = (store: Place, routes: ReadonlyMap<string, Place>): Place => {
  const places: ReadonlyArray<Place> = [...new Set([store, ...routes.values()])]
  const seen = new Map<string, ReadonlySet<Place>>()

  const remember = (id: string, place: Place): void => {
    seen.set(id, new Set([...(seen.get(id) ?? []), place]))
    if (seen.size > seenMax) seen.delete(seen.keys().next().value!)
  }

  const bury = Effect.fnUntraced(function* (letter: Letter) {
    const place = routes.get(letter.pipeline) ?? store
    yield* place.bury(letter)
    const before = seen.get(letter.id)
    if (before === undefined || before.has(place)) return
    // It lay elsewhere before its pipeline's config was changed. Left there it does no harm: the newer one is listed.
    for (const other of before) yield* Effect.ignore(other.remove([letter.id]))
    remember(letter.id, place)
  })

  /** The store is asked too: it has what was buried before a pipeline got a place of its own. */
  const askedFor = ({ pipeline }: Filter): ReadonlyArray<Place> =>
    pipeline === undefined ? places : [...new Set([routes.get(pipeline) ?? store, store])]

  const list = Effect.fnUntraced(function* (filter: Filter) {
    const asked = askedFor(filter)
    const found = yield* Effect.forEach(asked, (place) => place.list(filter), { concurrency: readingMax })
    const letters = new Map<string, Letter>()
    for (const id of filter.ids ?? []) seen.delete(id)
    for (const [i, some] of found.entries()) {
      for (const letter of some) {
        remember(letter.id, asked[i]!)
        const other = letters.get(letter.id)
        if (other === undefined || other.at < letter.at) letters.set(letter.id, letter)
      }
    }
    return [...letters.values()].sort(byOrigin)
  })

  const get = Effect.fnUntraced(function* (id: string) {
    let failure: DeadLettersError | undefined
    for (const place of places) {
      const found = yield* Effect.result(place.get(id))
      if (Result.isFailure(found)) failure ??= found.failure
      else if (Option.isSome(found.success)) return found.success
    }
    return failure === undefined ? Option.none() : yield* failure
  })

  const remove = Effect.fnUntraced(function* (ids: ReadonlyArray<string>) {
    const wanted = [...new Set(ids)]
    let count = 0
    let failure: DeadLettersError | undefined
    for (const place of places) {
      const own = wanted.filter((id) => seen.get(id)?.has(place) ?? true)
      if (own.length === 0) continue
      const removed = yield* Effect.result(place.remove(own))
      if (Result.isSuccess(removed)) count += removed.success
      else failure ??= removed.failure
    }
    // What could be removed is removed, whichever place is away.
    if (failure !== undefined) return yield* failure
    for (const id of wanted) seen.delete(id)
    return count
  })

  return DeadLetters.of({ bury, list, get, remove })
}

const byOrigin = (a: Letter, b: Letter): number =>
  a.envelope.receivedAt - b.envelope.receivedAt || a.sequence - b.sequence
