/** Which offsets of an ordered log are seen and settled: the watermark, and what is settled beyond it. */

/** The highest offset below which all is settled, and the settled offsets beyond it in ascending order. */
export interface Snapshot {
  readonly watermark: number
  readonly settled: ReadonlyArray<number>
}

/**
 * A ledger of one partition. Offsets are seen in ascending order, with gaps where the log has none (compaction,
 * transaction markers), and settled in any order.
 */
export class Offsets {
  private readonly open = new Set<number>()
  private readonly beyond = new Set<number>()
  private next: number
  private low: number

  constructor({ settled, watermark }: Snapshot) {
    this.next = watermark
    this.low = watermark
    for (const offset of settled) if (offset >= watermark) this.beyond.add(offset)
  }

  /** Takes note of an offset; false when it was settled before and must not run again. */
  see(offset: number): boolean {
    if (offset < this.low || this.beyond.has(offset)) {
      if (offset >= this.next) this.next = offset + 1
      this.advance()
      return false
    }
    this.open.add(offset)
    if (offset >= this.next) this.next = offset + 1
    return true
  }

  settle(offset: number): void {
    if (!this.open.delete(offset)) return
    this.beyond.add(offset)
    this.advance()
  }

  /** Seen and not settled. */
  get unsettled(): number {
    return this.open.size
  }

  get watermark(): number {
    return this.low
  }

  snapshot(): Snapshot {
    return { watermark: this.low, settled: [...this.beyond].sort((a, b) => a - b) }
  }

  /** All offsets below the oldest open one are settled, since they were seen in order. */
  private advance(): void {
    const oldest = first(this.open)
    const to = oldest ?? this.next
    if (to <= this.low) return
    // Whichever is shorter: the way from the old watermark, or the set.
    if (to - this.low <= this.beyond.size) for (let offset = this.low; offset < to; offset++) this.beyond.delete(offset)
    else for (const offset of this.beyond) if (offset < to) this.beyond.delete(offset)
    this.low = to
  }
}

const first = (set: Set<number>): number | undefined => {
  for (const value of set) return value
  return undefined
}

/** Units: characters. What a metadata field holds. */
export interface EncodeOptions {
  readonly charactersMax?: number | undefined
}

export interface Encoded {
  readonly text: string
  /** False when the far end was cut: the offsets there would run again. */
  readonly complete: boolean
}

/**
 * The settled offsets beyond the watermark as short text: run lengths, alternating open and settled, as variable-length
 * numbers in base 64, behind a version. Nothing settled beyond is empty text.
 */
export const encode = ({ settled, watermark }: Snapshot, { charactersMax }: EncodeOptions = {}): Encoded => {
  if (settled.length === 0) return { text: "", complete: true }
  const runs: Array<number> = []
  let at = watermark
  for (let i = 0; i < settled.length; ) {
    const from = settled[i]!
    let to = from + 1
    while (++i < settled.length && settled[i] === to) to++
    runs.push(from - at, to - from)
    at = to
  }
  let text = version
  for (let i = 0; i < runs.length; i += 2) {
    const pair = varint(runs[i]!) + varint(runs[i + 1]!)
    if (charactersMax !== undefined && text.length + pair.length > charactersMax) {
      return { text: text === version ? "" : text, complete: false }
    }
    text += pair
  }
  return { text, complete: true }
}

/** Undefined when the text is not ours (another version, another program, damaged): then nothing is known to be settled. */
export const decode = (text: string, watermark: number): Snapshot | undefined => {
  if (text === "") return { watermark, settled: [] }
  if (!text.startsWith(version)) return undefined
  const settled: Array<number> = []
  let at = watermark
  let i = version.length
  let isSettled = false
  while (i < text.length) {
    let value = 0
    let scale = 1
    for (;;) {
      const digit = digits.get(text.charCodeAt(i++))
      if (digit === undefined || scale > 2 ** 50) return undefined
      value += (digit & 31) * scale
      scale *= 32
      if ((digit & 32) === 0) break
    }
    if (isSettled) {
      if (value > settledMax || settled.length + value > settledMax) return undefined
      for (let k = 0; k < value; k++) settled.push(at + k)
    }
    at += value
    isSettled = !isSettled
  }
  return isSettled ? undefined : { watermark, settled }
}

const version = "s1:"
/** More than any buffer holds: text that claims more is not ours. */
const settledMax = 10_000_000

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
const digits = new Map([...alphabet].map((character, i) => [character.charCodeAt(0), i]))

/** Five bits a character, the sixth says that more follow. */
const varint = (value: number): string => {
  let text = ""
  let rest = value
  while (rest >= 32) {
    text += alphabet[(rest % 32) | 32]
    rest = Math.floor(rest / 32)
  }
  return text + alphabet[rest]
}
