/** Says what goes wrong, and the same only once in a while: it may go wrong again and again. */

/** Units: milliseconds. */
const quietMillis = 10_000

/** Sentences that are remembered. */
const sentencesMax = 1000

/** `now` is in milliseconds. */
export const sparingly = (
  say: (where: string, words: string) => void,
  now: () => number = () => performance.now()
): ((where: string, words: string) => void) => {
  const said = new Map<string, { readonly at: number; more: number }>()
  return (where, words) => {
    const key = `${where}: ${words}`
    const before = said.get(key)
    const time = now()
    if (before !== undefined && time - before.at < quietMillis) {
      before.more++
      return
    }
    if (said.size >= sentencesMax) said.clear()
    said.set(key, { at: time, more: 0 })
    const times = before?.more ?? 0
    say(where, times === 0 ? words : `${words} (${times} times more in ${Math.round((time - before!.at) / 1000)} s)`)
  }
}
