/** How far a reader of a topic is: which of its events are settled, and which are to be worked, also those that appear between others. */
import * as Offsets from "./Offsets.ts"

/** As it is kept between two openings. */
interface Kept {
  /** How many of the topic's events stand before the first that is not settled. */
  readonly index: number
  /** The offset of the one before it; absent where there is none. */
  readonly last?: number
  /** Below it nothing is known, and nothing is looked for. */
  readonly floor: number
  /** Encoded by `Offsets`. */
  readonly settled: string
}

/** Units: runs of settled offsets behind what is settled without a gap. Where there are more, the oldest are forgotten. */
const runsMax = 10_000

/** Runs of offsets, ascending, with gaps between. */
class Runs {
  private runs: Array<[from: number, to: number]>

  constructor(runs: ReadonlyArray<Offsets.Run>) {
    this.runs = runs.map(([from, to]) => [from, to])
  }

  get all(): ReadonlyArray<Offsets.Run> {
    return this.runs
  }

  has(offset: number): boolean {
    const run = this.runs[this.place(offset)]
    return run !== undefined && run[0] <= offset
  }

  add(offset: number): void {
    const i = this.place(offset)
    const [before, at] = [this.runs[i - 1], this.runs[i]]
    if (at !== undefined && at[0] <= offset) return
    const joinsAt = at?.[0] === offset + 1
    if (before?.[1] === offset) {
      before[1] = joinsAt ? at[1] : offset + 1
      if (joinsAt) this.runs.splice(i, 1)
    } else if (joinsAt) at[0] = offset
    else this.runs.splice(i, 0, [offset, offset + 1])
  }

  /** The highest below. */
  before(offset: number): number | undefined {
    const run = this.runs[this.place(offset)]
    if (run !== undefined && run[0] < offset) return offset - 1
    const before = this.runs[this.place(offset) - 1]
    return before === undefined ? undefined : before[1] - 1
  }

  /** How many there are from one up to another, both included. */
  count(first: number, last: number): number {
    let count = 0
    for (let i = this.place(first); i < this.runs.length && this.runs[i]![0] <= last; i++) {
      count += Math.min(this.runs[i]![1], last + 1) - Math.max(this.runs[i]![0], first)
    }
    return count
  }

  /** Forgets the oldest that are too many, but none from `offset` on; what is first then comes back. */
  trim(offset: number): number | undefined {
    const count = Math.min(this.runs.length - runsMax, this.place(offset))
    if (count <= 0) return undefined
    this.runs.splice(0, count)
    return this.runs[0]![0]
  }

  /** The first run that ends behind it. */
  private place(offset: number): number {
    let [low, high] = [0, this.runs.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.runs[middle]![1] > offset) high = middle
      else low = middle + 1
    }
    return low
  }
}

/**
 * The ledger of one reader. An event is known by its offset, which never changes; its place among the others does, when one
 * becomes available between them.
 */
export class EventRelayPages {
  /** How many events stand up to `last`, it included. */
  index: number
  /** The offset of the one that was read last. */
  last: number | undefined
  private floor: number
  private readonly open = new Set<number>()
  private readonly settled: Runs

  constructor(kept: string | undefined) {
    const { floor, index, last, settled } = decode(kept)
    this.index = index
    this.last = last
    this.floor = floor
    this.settled = new Runs(settled)
  }

  /** Begins behind what is there. */
  begin(index: number, last: number): void {
    this.index = index
    this.last = last
    this.floor = last
  }

  /** Whether it is to be worked; from then on it is. */
  see(offset: number): boolean {
    if (offset <= this.floor || this.open.has(offset) || this.settled.has(offset)) return false
    this.open.add(offset)
    return true
  }

  settle(offset: number): void {
    if (this.open.delete(offset)) this.settled.add(offset)
  }

  /** Whether so much is settled behind a gap that reading must wait for what is in it. */
  get isFull(): boolean {
    return this.settled.all.length > 2 * runsMax
  }

  encode(): string {
    const first = this.open.size === 0 ? undefined : Math.min(...this.open)
    this.floor = (this.settled.trim(first ?? Number.POSITIVE_INFINITY) ?? this.floor + 1) - 1
    const runs = this.settled.all
    // What was settled before this opening may lie further on than what is read by now.
    const index =
      first === undefined ? this.index : this.index - this.open.size - this.settled.count(first, this.last ?? first)
    const last = first === undefined ? this.last : (this.settled.before(first) ?? this.floorOr(index))
    const settled = Offsets.encode({ watermark: this.floor, settled: runs }).text
    const kept: Kept = {
      index: Math.max(0, index),
      floor: this.floor,
      settled,
      ...(last === undefined ? {} : { last })
    }
    return JSON.stringify(kept)
  }

  /** What stands before the first is where the reader began. */
  private floorOr(index: number): number | undefined {
    return index > 0 ? this.floor : undefined
  }
}

const nothing = { index: 0, last: undefined, floor: -1, settled: [] as ReadonlyArray<Offsets.Run> }

/** What is not ours begins anew. */
const decode = (text: string | undefined) => {
  if (text === undefined) return nothing
  const { floor, index, last, settled } = JSON.parse(text) as Kept
  return { index, last, floor, settled: Offsets.decode(settled, floor)?.settled ?? [] }
}
