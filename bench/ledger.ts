/** Notes for every record when it came to an endpoint, by whom, when it was answered and committed, and judges it. */
import type { Snapshot } from "../src/streams/Offsets.ts"

/** The n-th record of a key. */
export interface Entry {
  readonly id: number
  readonly key: string
  readonly n: number
  readonly partition: number
  /** The record of its key before it. */
  readonly before: Entry | undefined
  /** -1 until its producer knows. */
  offset: number
  arrivals: number
  /** An answer was sent to somebody who was there to take it. */
  answered: boolean
  /** Who had it last. */
  member: string
  /** A commit that covers it has been seen: below the watermark, or in the map beyond. */
  covered: boolean
}

/** The end of a member. */
export interface End {
  readonly member: string
  readonly how: "killed" | "stopped"
  /** Units: seconds since the ledger began. */
  readonly at: number
  /** What it had begun and no seen commit covered: no more than these may run again. */
  open: number
  /** What it had begun and was not answered. */
  readonly inFlight: number
  /** What it had begun and came again by another member. */
  duplicates: number
}

export class Ledger {
  readonly entries: Array<Entry> = []
  readonly ends = new Map<string, End>()
  answers = 0
  /** Came again from a member that lives, because its partition went to another. */
  moved = 0
  /** Came again from the same member. */
  repeated = 0
  /** A key's record began before the one before it was answered. */
  violations = 0
  /** Came although a commit that covers it had been seen. */
  runAgain = 0
  /** A watermark went back. */
  backwards = 0
  /** What a commit said beyond its watermark could not be read. */
  unreadable = 0
  /** The first cases of what must not be, in words. */
  readonly cases: Array<string> = []
  private readonly last = new Map<string, Entry>()
  private readonly places: Array<Array<Entry | undefined>>
  private readonly watermarks: Array<number>
  /** What each member has begun and no seen commit covers. */
  private readonly open = new Map<string, Set<Entry>>()
  private readonly began = performance.now()

  constructor(partitions: number) {
    this.places = Array.from({ length: partitions }, () => [])
    this.watermarks = Array.from({ length: partitions }, () => 0)
  }

  /** Units: seconds. */
  get at(): number {
    return (performance.now() - this.began) / 1000
  }

  get lost(): number {
    return this.entries.length - this.answers
  }

  get duplicates(): number {
    return [...this.ends.values()].reduce((sum, { duplicates }) => sum + duplicates, this.moved + this.repeated)
  }

  produced(key: string, partition: number): Entry {
    const before = this.last.get(key)
    const entry = {
      id: this.entries.length,
      key,
      n: before === undefined ? 0 : before.n + 1,
      partition,
      before,
      offset: -1,
      arrivals: 0,
      answered: false,
      member: "",
      covered: false
    }
    this.entries.push(entry)
    this.last.set(key, entry)
    return entry
  }

  placed(entry: Entry, offset: number): void {
    entry.offset = offset
    this.places[entry.partition]![offset] = entry
    if (offset < this.watermarks[entry.partition]!) this.cover(entry)
  }

  arrived(id: number, member: string): void {
    const entry = this.entries[id]!
    const { before } = entry
    if (entry.arrivals++ > 0) this.again(entry, member)
    else if (before !== undefined && !before.answered) {
      this.violations++
      this.tell(
        `${nameOf(entry)} began with ${member} before ${nameOf(before)} of ${before.member || "nobody"} was answered`
      )
    }
    this.open.get(entry.member)?.delete(entry)
    entry.member = member
    if (entry.covered) return
    const end = this.ends.get(member)
    // It was sent before its member was gone, and read after.
    if (end !== undefined) end.open++
    const open = this.open.get(member)
    if (open === undefined) this.open.set(member, new Set([entry]))
    else open.add(entry)
  }

  answered(id: number): void {
    const entry = this.entries[id]!
    if (entry.answered) return
    entry.answered = true
    this.answers++
  }

  /** What the group has noted for a partition; undefined when it cannot be read. */
  sampled(partition: number, watermark: number, snapshot: Snapshot | undefined): void {
    const known = this.watermarks[partition]!
    const places = this.places[partition]!
    if (watermark < known) {
      this.backwards++
      this.tell(`the watermark of partition ${partition} went back from ${known} to ${watermark}`)
    }
    for (let offset = known; offset < watermark; offset++) this.cover(places[offset])
    this.watermarks[partition] = Math.max(known, watermark)
    if (snapshot === undefined) this.unreadable++
    for (const [from, to] of snapshot?.settled ?? []) {
      for (let offset = from; offset < to; offset++) this.cover(places[offset])
    }
  }

  ended(member: string, how: End["how"]): void {
    const open = this.open.get(member) ?? new Set()
    const inFlight = [...open].filter(({ answered }) => !answered).length
    this.ends.set(member, { member, how, at: this.at, open: open.size, inFlight, duplicates: 0 })
  }

  private again(entry: Entry, member: string): void {
    const end = this.ends.get(entry.member)
    if (entry.covered) {
      this.runAgain++
      const watermark = this.watermarks[entry.partition]!
      const where = `offset ${entry.offset} of partition ${entry.partition}, watermark ${watermark}`
      this.tell(`${nameOf(entry)} of ${entry.member} came again with ${member} although it was committed (${where})`)
    }
    if (entry.member === member) this.repeated++
    else if (end === undefined) this.moved++
    else end.duplicates++
  }

  private cover(entry: Entry | undefined): void {
    if (entry === undefined || entry.covered) return
    entry.covered = true
    this.open.get(entry.member)?.delete(entry)
  }

  private tell(words: string): void {
    if (this.cases.length < 20) this.cases.push(`${this.at.toFixed(3)} s: ${words}`)
  }
}

const nameOf = ({ key, n }: Entry): string => `${key}/${n}`
