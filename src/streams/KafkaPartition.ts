/** One partition of a group's member: where to read on, what of it is settled, and what of that the group knows. */
import type { Delivery, Settlement } from "../services/Delivery.ts"
import { type Envelope, noHeaders } from "../services/Envelope.ts"
import type { Committed, HeaderValue, KafkaRecord, Place } from "../services/Kafka.ts"
import * as Offsets from "./Offsets.ts"
import * as Utf8Text from "./Utf8Text.ts"

/** Units: characters. More metadata makes the broker refuse a whole commit, and all its characters are single bytes. */
const metadataMax = 4096
/** Units: characters. A longer map lets a partition take no more, since what is taken may make it longer; a shorter one does again. */
const metadataFull = 3072
const metadataFree = 2048
/** Units: records. So many a partition may always have in hand. */
const unsettledMin = 16
/** Units: offsets. So few fit as runs whatever becomes of them, with what is taken next; and so near ones fit as bits. */
const unsettledFew = 400
const windowNear = 23_000

/** Units: commits without an answer that are remembered. */
const doubtfulMax = 16

export interface Options {
  readonly place: Place
  /** The source as it is named in envelopes. */
  readonly source: string
  /** Makes an id the same in every process. */
  readonly cluster: string
  /** Where to begin, and what is settled beyond. */
  readonly from: Offsets.Snapshot
  /** What the group has noted; undefined when there is nothing. */
  readonly committed: Committed | undefined
  readonly onSettled: () => void
}

export class Partition {
  readonly place: Place
  readonly name: string
  /** Somebody else reads it now. */
  lost = false
  /** Where the next fetch goes on. */
  next: number
  /** The offset the next record of the log will have, as far as known. */
  end: number
  /** It takes no more until something of it is settled. */
  full = false
  /** Units: milliseconds since 1970. */
  fullSince: number | undefined
  /** Units: milliseconds since 1970: when it last gave something, and when it was last said to be paused. */
  readAt = 0
  toldAt = Number.NEGATIVE_INFINITY
  private readonly ledger: Offsets.Offsets<string | undefined>
  /** What the group has noted, and what it may have noted since. */
  private noted: string | undefined
  private doubtful: ReadonlyArray<string> = []
  private readonly ids: string
  private readonly options: Options

  constructor(options: Options) {
    const { cluster, committed, from, place } = options
    this.options = options
    this.place = place
    this.name = nameOf(place)
    this.ids = `${cluster}/${this.name}/`
    this.ledger = new Offsets.Offsets(from)
    this.next = from.watermark
    this.end = from.watermark
    this.noted = committed && wordOf(committed)
  }

  get watermark(): number {
    return this.ledger.watermark
  }

  isOpen(offset: number): boolean {
    return this.ledger.isOpen(offset)
  }

  /** Settled beyond what is not. */
  get beyond(): number {
    return Math.max(0, this.ledger.end - this.watermark - this.ledger.unsettled)
  }

  /** Given and not settled. */
  get unsettled(): number {
    return this.ledger.unsettled
  }

  /** What the others wait for to be forgotten. */
  get oldest(): { readonly offset: number; readonly note: string | undefined } | undefined {
    return this.ledger.oldest
  }

  /** Whether the group knows no more than we told it: then nobody has read it in the meantime. */
  agrees(committed: Committed | undefined): boolean {
    const word = committed && wordOf(committed)
    return word === this.noted || (word !== undefined && this.doubtful.includes(word))
  }

  /** What there is to be committed, once some more are settled. */
  position(settling?: ReadonlySet<number>): Committed {
    const snapshot = this.ledger.snapshot(settling)
    const { text } = Offsets.encode(snapshot, { charactersMax: metadataMax })
    return { ...this.place, offset: snapshot.watermark, metadata: text }
  }

  /** The same, if the group does not know it. */
  commit(settling?: ReadonlySet<number>): Committed | undefined {
    const committed = this.position(settling)
    const word = wordOf(committed)
    if (this.noted === word) return undefined
    this.doubtful = [...this.doubtful, word].slice(-doubtfulMax)
    return committed
  }

  /** In the place of this one, when its log turns out to be another. */
  anew(at: number): Partition {
    return new Partition({ ...this.options, from: { watermark: at, settled: [] }, committed: undefined })
  }

  /** The group has noted it. */
  confirmed(committed: Committed): void {
    this.noted = wordOf(committed)
    this.doubtful = []
  }

  /** What was sent since, the group has not noted and never will. */
  denied(): void {
    this.doubtful = []
  }

  settle(offset: number): void {
    this.ledger.settle(offset)
    this.options.onSettled()
  }

  /** Whether it may take some more: within its share of what may be in hand, and of what a commit can tell. */
  takes(share: number, now: number): boolean {
    this.full = this.ledger.unsettled >= Math.max(share, unsettledMin) || !this.fits()
    if (!this.full) this.fullSince = undefined
    else this.fullSince ??= now
    return !this.full
  }

  /** Whether what is taken now could still be told in a commit when it is settled. */
  private fits(): boolean {
    if (this.ledger.end - this.watermark < windowNear) return true
    if (this.ledger.unsettled > unsettledFew) return false
    const { complete, text } = Offsets.encode(this.ledger.snapshot(), { charactersMax: metadataMax })
    return complete && text.length <= (this.full ? metadataFree : metadataFull)
  }

  /** Records as deliveries, without those that were settled before. */
  deliveries(records: ReadonlyArray<KafkaRecord>, from: number, to: number, now: number): Array<Delivery> {
    const deliveries: Array<Delivery> = []
    if (this.lost) return deliveries
    for (let i = from; i < to; i++) {
      const record = records[i]!
      const key = record.key === null ? undefined : (ascii(record.key) ?? Utf8Text.readOrHex(record.key))
      if (this.ledger.see(record.offset, key)) {
        deliveries.push(new KafkaDelivery(this, this.envelopeOf(record, key, now)))
      }
    }
    return deliveries
  }

  private envelopeOf(record: KafkaRecord, key: string | undefined, receivedAt: number): Envelope {
    const { headers, offset, timestamp, value } = record
    const envelope: Envelope = {
      id: this.ids + offset,
      source: this.options.source,
      key,
      headers: headersOf(headers),
      payload: value ?? nothing,
      receivedAt,
      attempt: 1,
      partition: this.name,
      position: offset,
      producedAt: timestamp
    }
    // Rare, and a spread on the way of every record would cost as much as the rest.
    const keyBytes = key?.startsWith(Utf8Text.hexPrefix) === true ? bytesOf(record.key!) : undefined
    if (value !== null && keyBytes === undefined) return envelope
    return { ...envelope, ...(keyBytes && { keyBytes }), ...(value === null ? tombstone : undefined) }
  }
}

export const nameOf = ({ partition, topic }: Place): string => `${topic}/${partition}`

const wordOf = ({ metadata, offset }: Committed): string => `${offset} ${metadata}`

class KafkaDelivery implements Delivery {
  readonly envelope: Envelope
  private readonly partition: Partition

  constructor(partition: Partition, envelope: Envelope) {
    this.partition = partition
    this.envelope = envelope
  }

  get gone(): boolean {
    return this.partition.lost
  }

  settle({ _tag }: Settlement): void {
    if (_tag !== "Nacked" && !this.partition.lost) this.partition.settle(this.envelope.position!)
  }
}

const nothing = new Uint8Array(0)
const tombstone = { tombstone: true } as const
const utf8 = new TextDecoder()

/** Most keys are short and plain; a decoder's call costs more than all else that is done to a record. */
const ascii = (key: Uint8Array): string | undefined => {
  if (key.length > 64) return undefined
  for (let i = 0; i < key.length; i++) if (key[i]! > 127) return undefined
  return String.fromCharCode.apply(null, key as unknown as Array<number>)
}

/** The key's bytes, unless it is a text that only looks like ours. */
const bytesOf = (key: Uint8Array): Uint8Array | undefined =>
  ascii(key)?.startsWith(Utf8Text.hexPrefix) === true ? undefined : key.slice()

/** As text; of a name that came more than once the last, as maps read it everywhere else. */
const headersOf = (headers: KafkaRecord["headers"]): Readonly<Record<string, string>> => {
  let found: Record<string, string> | undefined
  for (const name in headers) {
    const value = headers[name]
    if (value === undefined || name === "__proto__") continue
    found ??= {}
    found[name] = textOf(isList(value) ? value.at(-1)! : value)
  }
  return found ?? noHeaders
}

const textOf = (value: HeaderValue): string => (typeof value === "string" ? value : utf8.decode(value))

const isList = (value: HeaderValue | ReadonlyArray<HeaderValue>): value is ReadonlyArray<HeaderValue> =>
  Array.isArray(value)
