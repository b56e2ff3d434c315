/** The logs of the Kafka in memory: topics, partitions, offsets, transactions, and which broker leads what. */
import { Deferred, Effect } from "effect"
import { type HeaderValue, KafkaError, type KafkaMessage, type KafkaRecord, type Place } from "../services/Kafka.ts"

export interface Options {
  /** How many brokers there are. */
  readonly brokers: number
  /** Partitions of a topic that is made by its first record. */
  readonly partitionsDefault: number
  /** Units: bytes of key, value and headers. */
  readonly recordBytesMax: number
}

export type Isolation = "read_committed" | "read_uncommitted"

/** Records that become readable together, or never. */
export interface Transaction {
  state: "open" | "committed" | "aborted"
  /** Where it has written. */
  readonly partitions: Set<Partition>
}

/** What lies at one offset; the end of a transaction takes one too, and has no record. */
interface Entry {
  readonly record: KafkaRecord | undefined
  readonly bytes: number
  readonly transaction: Transaction | undefined
}

export interface Partition extends Place {
  /** The offset of the first entry. */
  start: number
  readonly entries: Array<Entry>
  /** The number of its broker. */
  leader: number
  /** The first offset of each transaction that is still open. */
  readonly open: Map<Transaction, number>
}

interface Topic {
  readonly partitions: Array<Partition>
  /** Records without a key so far. */
  turn: number
}

export type Logs = ReturnType<typeof make>

export const make = ({ brokers, partitionsDefault, recordBytesMax }: Options) => {
  const topics = new Map<string, Topic>()
  const readers = new Set<Deferred.Deferred<void, KafkaError>>()
  const topicOf = (name: string): Topic => topics.get(name) ?? create(name, partitionsDefault)
  const create = (name: string, count: number): Topic => {
    const topic = topics.get(name) ?? { partitions: [], turn: 0 }
    for (let partition = topic.partitions.length; partition < count; partition++) {
      const leader = partition % brokers
      topic.partitions.push({ topic: name, partition, start: 0, entries: [], leader, open: new Map() })
    }
    topics.set(name, topic)
    return topic
  }
  const find = ({ partition, topic }: Place): Partition | undefined => topics.get(topic)?.partitions[partition]
  /** Lets those who wait for something to read look again. */
  const changed = (): void => {
    const woken = [...readers]
    readers.clear()
    for (const reader of woken) Deferred.doneUnsafe(reader, Effect.void)
  }
  const place = (message: Message): Partition => {
    const topic = topicOf(message.topic)
    if (message.partition !== undefined) return topic.partitions[message.partition]!
    const { length } = topic.partitions
    const { key = null } = message
    return topic.partitions[key === null ? topic.turn++ % length : (murmur2(bytesOf(key)) & 0x7fffffff) % length]!
  }
  /** Appends; returns where, in the order given. Refuses all when one cannot be taken. */
  const append = Effect.fnUntraced(function* (
    messages: ReadonlyArray<Message>,
    now: number,
    transaction?: Transaction | undefined
  ) {
    yield* check(messages)
    const places = messages.map((message) => {
      const partition = place(message)
      const offset = endOf(partition)
      const record = recordOf(message, offset, now)
      partition.entries.push({ record, bytes: sizeOf(record), transaction })
      if (transaction !== undefined) {
        transaction.partitions.add(partition)
        if (!partition.open.has(transaction)) partition.open.set(transaction, offset)
      }
      return { topic: partition.topic, partition: partition.partition, offset }
    })
    changed()
    return places
  })
  const check = Effect.fnUntraced(function* (messages: ReadonlyArray<Message>) {
    for (const message of messages) {
      const { partition, topic } = message
      if (partition !== undefined && partition >= (topics.get(topic)?.partitions.length ?? partitionsDefault)) {
        return yield* unknown({ topic, partition })
      }
      if (sizeOf(recordOf(message, 0, 0)) > recordBytesMax) {
        return yield* new KafkaError({
          trouble: "unfit",
          reason: `a record for ${topic} is larger than ${recordBytesMax} bytes (MESSAGE_TOO_LARGE)`
        })
      }
    }
  })
  const begin = (): Transaction => ({ state: "open", partitions: new Set() })
  const end = (transaction: Transaction, state: "committed" | "aborted"): void => {
    if (transaction.state !== "open") return
    transaction.state = state
    for (const partition of transaction.partitions) {
      partition.open.delete(transaction)
      partition.entries.push({ record: undefined, bytes: 0, transaction: undefined })
    }
    changed()
  }
  const trim = (place: Place, before: number): void => {
    const partition = find(place)
    if (partition === undefined) return
    const count = Math.min(Math.max(before - partition.start, 0), partition.entries.length)
    partition.entries.splice(0, count)
    partition.start += count
    changed()
  }
  const moveLeader = (place: Place): void => {
    const partition = find(place)
    if (partition === undefined) return
    partition.leader = (partition.leader + 1) % Math.max(brokers, 2)
    changed()
  }
  return { topics, readers, create, find, check, append, begin, end, trim, moveLeader }
}

/** A record to be written; absent means none. */
export interface Message {
  readonly topic: string
  readonly partition?: number | undefined
  readonly key?: KafkaMessage["key"] | undefined
  readonly value?: Uint8Array | string | null | undefined
  readonly headers?: KafkaRecord["headers"] | undefined
  readonly timestamp?: number | undefined
}

/** The offset the next record will have. */
export const endOf = ({ entries, start }: Partition): number => start + entries.length

/** The end of what can be read: a reader of committed records stops at the first open transaction. */
export const readableOf = (partition: Partition, isolation: Isolation): number =>
  isolation === "read_uncommitted" ? endOf(partition) : Math.min(endOf(partition), ...partition.open.values())

/** The records from an offset on that fit into `bytesMax`, and at least one; `next` passes over what is not shown. */
export const read = (partition: Partition, from: number, isolation: Isolation, bytesMax: number) => {
  const end = readableOf(partition, isolation)
  const records: Array<KafkaRecord> = []
  let next = from
  let bytes = 0
  for (; next < end; next++) {
    const { bytes: size, record, transaction } = partition.entries[next - partition.start]!
    if (record === undefined) continue
    if (isolation === "read_committed" && transaction?.state === "aborted") continue
    if (records.length > 0 && bytes + size > bytesMax) break
    records.push(record)
    bytes += size
  }
  return { records, next, end, bytes }
}

/** The first offset from a time on, or the end. Units: milliseconds since 1970. */
export const offsetAt = (partition: Partition, isolation: Isolation, at: "earliest" | "latest" | number): number => {
  if (at === "earliest") return partition.start
  const found = at === "latest" ? -1 : partition.entries.findIndex(({ record }) => record && record.timestamp >= at)
  return found === -1 ? readableOf(partition, isolation) : partition.start + found
}

export const unknown = ({ partition, topic }: Place): KafkaError =>
  new KafkaError({ trouble: "refused", reason: `there is no ${topic}/${partition} (UNKNOWN_TOPIC_OR_PARTITION)` })

const utf8 = new TextEncoder()

const bytesOf = (value: HeaderValue): Uint8Array => (typeof value === "string" ? utf8.encode(value) : value)

/** As it comes back: everything in bytes. */
const recordOf = (
  { headers = {}, key = null, timestamp, value = null }: Message,
  offset: number,
  now: number
): KafkaRecord => ({
  offset,
  timestamp: timestamp ?? now,
  key: key === null ? null : bytesOf(key),
  value: value === null ? null : bytesOf(value),
  headers: Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) => {
      if (value === undefined) return []
      return [[name, typeof value === "string" || value instanceof Uint8Array ? bytesOf(value) : value.map(bytesOf)]]
    })
  )
})

/** At least one byte, so that an empty record is something to read too. */
const sizeOf = ({ headers, key, value }: KafkaRecord): number => {
  let bytes = (key?.length ?? 0) + (value?.length ?? 0)
  for (const [name, values] of Object.entries(headers)) {
    for (const one of [values ?? []].flat()) bytes += name.length + one.length
  }
  return Math.max(bytes, 1)
}

/** The hash by which Kafka's own clients choose the partition of a key. Source: `Utils.murmur2` of kafka-clients. */
export const murmur2 = (bytes: Uint8Array): number => {
  const m = 0x5bd1e995
  const { length } = bytes
  let hash = 0x9747b28c ^ length
  let i = 0
  for (; i + 4 <= length; i += 4) {
    const word = bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24)
    const mixed = Math.imul(word, m)
    hash = Math.imul(hash, m) ^ Math.imul(mixed ^ (mixed >>> 24), m)
  }
  for (let shift = (length - i - 1) * 8; shift >= 0; shift -= 8) {
    hash ^= bytes[i + shift / 8]! << shift
    if (shift === 0) hash = Math.imul(hash, m)
  }
  hash = Math.imul(hash ^ (hash >>> 13), m)
  return hash ^ (hash >>> 15)
}
