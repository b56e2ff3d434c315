/** Asks a broker for records by kafkajs, and reads its answer: which are visible, where to go on, what went wrong. */
import { Buffer } from "node:buffer"
import type { Fetched, KafkaRecord, MemberOptions, Place } from "../services/Kafka.ts"
import * as Cluster from "./KafkaJsCluster.ts"
import * as Errors from "./KafkaJsErrors.ts"

/** Fetches that brought nothing although there is something, after which a batch must be empty by compaction. */
const emptyFetchesMax = 3

type From = Place & { readonly offset: number }

export class KafkaJsFetch {
  private readonly empties = new Map<string, number>()
  private readonly options: Pick<MemberOptions, "fetch" | "isolation">

  constructor(options: Pick<MemberOptions, "fetch" | "isolation">) {
    this.options = options
  }

  async fetch(broker: Cluster.Broker, from: ReadonlyArray<From>): Promise<ReadonlyArray<Fetched>> {
    const { fetch, isolation } = this.options
    const asked = new Map(from.map((place) => [`${place.topic}/${place.partition}`, place.offset]))
    try {
      const { responses } = await broker.fetch({
        isolationLevel: isolation === "read_committed" ? 1 : 0,
        maxWaitTime: fetch.waitMillis,
        minBytes: fetch.bytesMin,
        maxBytes: fetch.bytesMax,
        topics: Cluster.byTopic(from, ({ offset, partition }) => ({
          partition,
          fetchOffset: `${offset}`,
          maxBytes: fetch.partitionBytesMax
        }))
      })
      const answers = responses.flatMap(({ partitions, topicName }) =>
        partitions.map((answer) => ({ answer, place: { topic: topicName, partition: answer.partition } }))
      )
      const nothing = answers.every(({ answer }) => answer.messages.length === 0)
      return answers.map(({ answer, place }) =>
        this.fetched(place, asked.get(`${place.topic}/${place.partition}`) ?? 0, answer, nothing)
      )
    } catch (thrown) {
      const problem = problemOf(thrown, from)
      if (problem === undefined) throw thrown
      return problem
    }
  }

  private fetched(place: Place, offset: number, answer: Cluster.PartitionAnswer, nothing: boolean): Fetched {
    const { abortedTransactions, highWatermark, lastStableOffset, messages } = answer
    const end = Number(
      this.options.isolation === "read_committed" ? (lastStableOffset ?? highWatermark) : highWatermark
    )
    const last = messages.at(-1)
    if (last === undefined) {
      return { ...place, records: [], next: this.afterEmpty(place, offset, end, nothing), end, problem: undefined }
    }
    // The batch knows its last offset even when compaction has removed that record.
    const { firstOffset, lastOffsetDelta } = last.batchContext ?? {}
    const batchEnd = firstOffset === undefined ? 0 : Number(firstOffset) + (lastOffsetDelta ?? 0) + 1
    const next = Math.max(Number(last.offset) + 1, batchEnd)
    const visible =
      abortedTransactions === undefined || abortedTransactions.length === 0
        ? messages
        : Cluster.filterAborted({ messages, abortedTransactions })
    const records: Array<KafkaRecord> = []
    for (const message of visible) {
      const at = Number(message.offset)
      if (at >= offset && message.isControlRecord !== true) records.push(recordOf(at, message))
    }
    return { ...place, records, next, end, problem: undefined }
  }

  /** A batch that compaction has emptied brings nothing, for ever: step over it. */
  private afterEmpty({ partition, topic }: Place, offset: number, end: number, nothing: boolean): number {
    const name = `${topic}/${partition}`
    if (offset >= end || !nothing) {
      this.empties.delete(name)
      return offset
    }
    const times = (this.empties.get(name) ?? 0) + 1
    this.empties.set(name, times)
    return times < emptyFetchesMax ? offset : offset + 1
  }
}

/** The value is copied: a slice would keep the whole fetch in memory for as long as one record waits. */
const recordOf = (offset: number, { headers, key, timestamp, value }: Cluster.Message): KafkaRecord => ({
  offset,
  timestamp: Number(timestamp),
  key,
  value: value === null ? null : Buffer.from(value),
  headers: headers ?? {}
})

const moved: ReadonlySet<string> = new Set([
  "NOT_LEADER_FOR_PARTITION",
  "LEADER_NOT_AVAILABLE",
  "FENCED_LEADER_EPOCH",
  "UNKNOWN_LEADER_EPOCH",
  "UNKNOWN_TOPIC_OR_PARTITION",
  "REPLICA_NOT_AVAILABLE",
  "KAFKA_STORAGE_ERROR",
  "OFFSET_NOT_AVAILABLE"
])

/** The vendor fails the whole fetch for one partition. */
const problemOf = (thrown: unknown, from: ReadonlyArray<From>): ReadonlyArray<Fetched> | undefined => {
  const error = Errors.vendorError(thrown) as Error & Partial<Place> & { readonly type?: string }
  const nothing = ({ offset, partition, topic }: From, problem: Fetched["problem"]): Fetched => ({
    topic,
    partition,
    records: [],
    next: offset,
    end: offset,
    problem
  })
  if (error.type === "OFFSET_OUT_OF_RANGE") {
    return from
      .filter(({ partition, topic }) => topic === error.topic && partition === error.partition)
      .map((place) => nothing(place, "outOfRange"))
  }
  if (moved.has(error.type ?? "") || error.name === "KafkaJSBrokerNotFound") {
    return from.map((place) => nothing(place, "moved"))
  }
  return undefined
}
