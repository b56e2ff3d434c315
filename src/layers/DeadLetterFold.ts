/** What lies in a topic of dead letters: per id the newest record counts, and the done ones are left out. */
import type { Filter, Letter } from "../services/DeadLetters.ts"
import type { KafkaRecord, Place } from "../services/Kafka.ts"
import * as DeadLetterRecord from "./DeadLetterRecord.ts"

interface At {
  readonly partition: number
  readonly offset: number
  readonly timestamp: number
}

interface Ended extends At {
  readonly done: boolean
}

export interface Entry extends Ended {
  readonly pipeline: string
  readonly key: Uint8Array | null
  /** Where it was first buried: letters of one origin keep that order. */
  readonly first: At
  /** Held while there is room. */
  readonly letter: Letter | undefined
  readonly bytes: number
}

export class DeadLetterFold {
  private readonly all = new Map<string, Entry>()
  private readonly ids: ReadonlySet<string> | undefined
  private readonly pipeline: string | undefined
  private readonly bytesMax: number
  private bytes = 0

  /** `bytesMax`: how much of values is held before it is known which are wanted. */
  constructor(filter: Filter, bytesMax: number) {
    this.bytesMax = bytesMax
    this.pipeline = filter.pipeline
    this.ids = filter.ids && new Set(filter.ids)
  }

  take({ partition }: Place, records: ReadonlyArray<KafkaRecord>): void {
    for (const record of records) {
      const read = DeadLetterRecord.read(record)
      if (read === undefined || !this.isWanted(read)) continue
      const at: At = { partition, offset: record.offset, timestamp: record.timestamp }
      const before = this.all.get(read.id)
      if (before !== undefined && !isNewer({ ...at, done: read.done }, before)) continue
      this.bytes -= before?.bytes ?? 0
      const bytes = read.done ? 0 : DeadLetterRecord.bytesOf(record)
      const room = !read.done && this.bytes + bytes <= this.bytesMax
      this.bytes += room ? bytes : 0
      this.all.set(read.id, {
        ...at,
        done: read.done,
        first: before === undefined || before.done ? at : before.first,
        pipeline: read.pipeline,
        // A copy: what came in one fetch is one piece of memory.
        key: read.done || record.key === null ? null : new Uint8Array(record.key),
        letter: room ? DeadLetterRecord.toLetter(record) : undefined,
        bytes: room ? bytes : 0
      })
    }
  }

  isMissingSome(): boolean {
    return [...this.all.values()].some(({ done, letter }) => !done && letter === undefined)
  }

  /** A second reading: takes the letters there was no room for while it was not known which are wanted. */
  complete({ partition }: Place, records: ReadonlyArray<KafkaRecord>): void {
    for (const record of records) {
      const read = DeadLetterRecord.read(record)
      if (read === undefined || read.done) continue
      const entry = this.all.get(read.id)
      if (entry === undefined || entry.done || entry.letter !== undefined) continue
      if (entry.partition !== partition || entry.offset !== record.offset) continue
      this.all.set(read.id, { ...entry, letter: DeadLetterRecord.toLetter(record) })
    }
  }

  /** What is not done, in the order of origin. */
  entries(): ReadonlyArray<readonly [string, Entry]> {
    return [...this.all].filter(([, { done }]) => !done).sort(([, a], [, b]) => byOrigin(a, b))
  }

  private isWanted({ id, pipeline }: { readonly id: string; readonly pipeline: string }): boolean {
    if (this.pipeline !== undefined && pipeline !== this.pipeline) return false
    return this.ids?.has(id) !== false
  }
}

/**
 * Within a partition what comes later is newer; across partitions, of which a topic may get more, the clock says. Of the
 * same millisecond the letter counts, not its end: rather twice than never.
 */
const isNewer = (one: Ended, other: Ended): boolean => {
  if (one.partition === other.partition) return one.offset > other.offset
  return one.timestamp === other.timestamp ? !one.done || other.done : one.timestamp > other.timestamp
}

const byOrigin = (a: Entry, b: Entry): number =>
  (a.letter?.envelope.receivedAt ?? 0) - (b.letter?.envelope.receivedAt ?? 0) ||
  (a.letter?.sequence ?? 0) - (b.letter?.sequence ?? 0) ||
  a.first.timestamp - b.first.timestamp ||
  a.first.partition - b.first.partition ||
  a.first.offset - b.first.offset
