/** Which offsets of an ordered log are seen and settled: the watermark, and what is settled beyond it. */

/** Offsets from the first one on, up to and without the second. */
export type Run = readonly [from: number, to: number]

/** The highest offset below which all is settled, and what is settled beyond it: ascending, with gaps between. */
export interface Snapshot {
  readonly watermark: number
  readonly settled: ReadonlyArray<Run>
}

/**
 * A ledger of one partition. Offsets are seen in ascending order and settled in any order. What the log has not
 * (compaction, transaction markers) counts as settled once something after it is seen.
 *
 * Only what is open is remembered, so that one stuck offset costs no memory however far the others go.
 */
export class Offsets<Note = void> {
  /** Ascending, since it is filled in order. */
  private readonly open = new Map<number, Note>()
  /** Settled before this ledger began, and not passed yet. */
  private known: ReadonlyArray<Run>
  private next: number

  constructor({ settled, watermark }: Snapshot) {
    this.next = watermark
    this.known = settled.filter(([, to]) => to > watermark)
    this.passKnown()
  }

  /** Takes note of an offset, and of a word about it; false when it is settled and must not run again. */
  see(offset: number, note: Note): boolean {
    if (offset < this.next) return this.open.has(offset)
    this.next = offset + 1
    let isKnown = false
    while (this.known.length > 0 && this.known[0]![0] <= offset) {
      isKnown = offset < this.known[0]![1]
      if (isKnown) break
      this.known = this.known.slice(1)
    }
    if (!isKnown) this.open.set(offset, note)
    this.passKnown()
    return !isKnown
  }

  settle(offset: number): void {
    this.open.delete(offset)
  }

  /** Whether it is seen and not settled. */
  isOpen(offset: number): boolean {
    return this.open.has(offset)
  }

  /** How many are seen and not settled. */
  get unsettled(): number {
    return this.open.size
  }

  get watermark(): number {
    for (const oldest of this.open.keys()) return oldest
    return this.next
  }

  /** Behind the last one that is seen. */
  get end(): number {
    return this.next
  }

  /** What the others wait for to be forgotten. */
  get oldest(): { readonly offset: number; readonly note: Note } | undefined {
    for (const [offset, note] of this.open) return { offset, note }
    return undefined
  }

  /** As it is, or as it will be when some more are settled. */
  snapshot(settling: ReadonlySet<number> = none): Snapshot {
    const settled: Array<Run> = []
    let watermark: number | undefined
    let at = this.next
    for (const offset of this.open.keys()) {
      if (settling.has(offset)) continue
      if (watermark === undefined) watermark = offset
      else if (offset > at) settled.push([at, offset])
      at = offset + 1
    }
    if (watermark !== undefined && this.next > at) settled.push([at, this.next])
    return { watermark: watermark ?? this.next, settled: [...settled, ...this.known] }
  }

  /** What is known right behind the end is part of it. */
  private passKnown(): void {
    while (this.known.length > 0 && this.known[0]![0] <= this.next) {
      this.next = Math.max(this.next, this.known[0]![1])
      this.known = this.known.slice(1)
    }
  }
}

const none: ReadonlySet<number> = new Set()

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
 * The settled offsets beyond the watermark as short text behind a version. Nothing settled beyond is empty text.
 *
 * As run lengths, alternating open and settled, in variable-length numbers of base 64; where that is too long, as a bit
 * for each offset, which fits whatever the pattern as long as the offsets are not too far apart.
 */
export const encode = (snapshot: Snapshot, options: EncodeOptions = {}): Encoded => {
  const runs = encodeRuns(snapshot, options)
  if (runs.complete) return runs
  const first = snapshot.watermark
  const bits = bitsVersion.length + Math.ceil((snapshot.settled.at(-1)![1] - first) / 6)
  return bits <= options.charactersMax! ? { text: encodeBits(snapshot), complete: true } : runs
}

const encodeBits = ({ settled, watermark }: Snapshot): string => {
  const values = new Uint8Array(Math.ceil((settled.at(-1)![1] - watermark) / 6))
  for (const [from, to] of settled) {
    for (let at = from - watermark; at < to - watermark; at++) values[Math.floor(at / 6)]! |= 1 << (at % 6)
  }
  return bitsVersion + Array.from(values, (value) => alphabet[value]).join("")
}

const decodeBits = (text: string, watermark: number): Snapshot | undefined => {
  const settled: Array<Run> = []
  for (let i = bitsVersion.length; i < text.length; i++) {
    const value = digits.get(text.charCodeAt(i))
    if (value === undefined) return undefined
    for (let bit = 0; bit < 6; bit++) {
      if ((value & (1 << bit)) === 0) continue
      const at = watermark + (i - bitsVersion.length) * 6 + bit
      const last = settled.at(-1)
      if (last?.[1] === at) settled[settled.length - 1] = [last[0], at + 1]
      else settled.push([at, at + 1])
    }
  }
  return { watermark, settled }
}

const encodeRuns = ({ settled, watermark }: Snapshot, { charactersMax }: EncodeOptions): Encoded => {
  if (settled.length === 0) return { text: "", complete: true }
  let at = watermark
  let text = version
  for (const [from, to] of settled) {
    const pair = varint(from - at) + varint(to - from)
    if (charactersMax !== undefined && text.length + pair.length > charactersMax) {
      return { text: text === version ? "" : text, complete: false }
    }
    text += pair
    at = to
  }
  return { text, complete: true }
}

/** Undefined when the text is not ours (another version, another program, damaged): then nothing is known to be settled. */
export const decode = (text: string, watermark: number): Snapshot | undefined => {
  if (text === "") return { watermark, settled: [] }
  if (text.startsWith(bitsVersion)) return decodeBits(text, watermark)
  if (!text.startsWith(version)) return undefined
  const settled: Array<Run> = []
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
    if (value === 0 || value > runMax) return undefined
    if (isSettled) settled.push([at, at + value])
    at += value
    isSettled = !isSettled
  }
  return isSettled ? undefined : { watermark, settled }
}

const version = "s1:"
const bitsVersion = "b1:"
/** No run is longer: text that claims more is not ours. */
const runMax = 2 ** 40

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
