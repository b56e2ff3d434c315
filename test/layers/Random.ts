/** Numbers for random tests, the same for the same seed. */

/** A whole number from 0 to below `end`. */
export type Random = (end: number) => number

/** Source: https://www.jstatsoft.org/article/view/v008i14 (xorshift, 13, 17, 5). */
export const generator = (seed: number): Random => {
  let state = seed * 2_654_435_761
  return (end) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % end
  }
}

export const pick = <A>(random: Random, from: ReadonlyArray<A>): A => from[random(from.length)]!
