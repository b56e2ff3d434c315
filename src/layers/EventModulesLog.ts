/** Says what goes wrong in event modules, and the same only once in a while: a detector breaks on each of many events. */

/** Units: milliseconds. */
const quietMillis = 10_000

/** Sentences that are remembered. */
const sentencesMax = 1000

/** `now` is in milliseconds. */
export const sparingly = (
  say: (event: string, words: string) => void,
  now: () => number = () => performance.now()
): ((event: string, words: string) => void) => {
  const said = new Map<string, { readonly at: number; more: number }>()
  return (event, words) => {
    const key = `${event}: ${words}`
    const before = said.get(key)
    const time = now()
    if (before !== undefined && time - before.at < quietMillis) {
      before.more++
      return
    }
    if (said.size >= sentencesMax) said.clear()
    said.set(key, { at: time, more: 0 })
    const times = before?.more ?? 0
    say(event, times === 0 ? words : `${words} (${times} times more in ${Math.round((time - before!.at) / 1000)} s)`)
  }
}
