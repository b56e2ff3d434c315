/** How long the records of an embedded topic stay: by age and size, but never less than the slowest group needs. */
import { Effect } from "effect"
import type { SqlClient, SqlError } from "effect/sql"
import { TopicError } from "../services/Topics.ts"

/** A topic as it is counted. */
export interface TopicRow {
  readonly id: number
  readonly first: number
  readonly next: number
  /** Units: bytes over all time. The topic's size is their difference. */
  readonly dropped: number
  readonly appended: number
}

export interface Options {
  /** Records older than this go. Units: milliseconds. */
  readonly retentionMillis?: number | undefined
  /** The oldest records of a topic beyond this size go. Units: bytes. */
  readonly retentionBytes?: number | undefined
}

/** Both give the topic as it is then, for the caller to save in its transaction. */
export interface Retention {
  /** Looks only when enough has come since the last look, or there is no room. Fails retryably when there is none to be had. */
  readonly forAppend: (name: string, topic: TopicRow, count: number, size: number, at: number) => Kept
  /** Looks in any case. */
  readonly look: (name: string, topic: TopicRow, at: number) => Kept
}

type Kept = Effect.Effect<TopicRow, SqlError.SqlError | TopicError>

/** Appended between two looks at a topic's age. Units: records; a record counts once more per 16 KiB. */
const dueCount = 1_000
const dueBytes = 16 * 1024
/** Dropped at a time, so that no statement is long. More than comes in between two looks. */
const dropRecordsMax = 2_000
const dropBytesMax = 32 * 1024 * 1024

export const make = (
  sql: SqlClient.SqlClient,
  { retentionBytes = 1024 * 1024 * 1024, retentionMillis = 7 * 86_400_000 }: Options
): Retention => {
  const due = new Map<number, number>()
  const isOver = ({ appended, dropped }: TopicRow, size: number): boolean => appended - dropped + size > retentionBytes

  /** The topic without what is too old or too much, a bounded part at a time; records from `unread` on stay. */
  const drop = Effect.fnUntraced(function* (topic: TopicRow, unread: number, size: number, at: number) {
    const to = Math.min(unread, topic.first + dropRecordsMax)
    if (to <= topic.first) return topic
    // Somewhat below the limit, so that not every append has to make room for itself.
    const spare = isOver(topic, size) ? Math.min(retentionBytes / 64, dropBytesMax) : 0
    const kept = yield* sql<{ record: number; place: number }>`SELECT record, place FROM topic_records
      WHERE topic = ${topic.id} AND record >= ${topic.first} AND record <= ${to} AND (record = ${to}
        OR place >= ${topic.dropped + dropBytesMax}
        OR (at > ${at - retentionMillis} AND place >= ${topic.appended + size + spare - retentionBytes}))
      ORDER BY record LIMIT 1`
    const { place, record } = kept[0] ?? { record: topic.next, place: topic.appended }
    if (record === topic.first) return topic
    yield* sql`DELETE FROM topic_records WHERE topic = ${topic.id} AND record < ${record}`
    return { ...topic, first: record, dropped: place }
  })

  const makeRoom = Effect.fnUntraced(function* (name: string, topic: TopicRow, size: number, at: number) {
    const slowest = (yield* sql<{ name: string; watermark: number }>`SELECT name, watermark FROM topic_groups
      WHERE topic = ${topic.id} ORDER BY watermark LIMIT 1`)[0]
    const unread = slowest?.watermark ?? topic.next
    let now = yield* drop(topic, unread, size, at)
    // A whole part went, so there may be more: then the next append looks again.
    const isWhole = now.first - topic.first >= dropRecordsMax || now.dropped - topic.dropped >= dropBytesMax
    due.set(topic.id, isWhole ? dueCount : 0)
    while (isOver(now, size) && now.first < Math.min(unread, now.next)) {
      yield* Effect.yieldNow
      now = yield* drop(now, unread, size, at)
    }
    // An empty topic takes any batch: one larger than the limit would never fit.
    if (size === 0 || !isOver(now, size) || now.first === now.next) return now
    return yield* full(name, slowest?.name ?? "", retentionBytes)
  })

  return {
    look: (name, topic, at) => makeRoom(name, topic, 0, at),
    forAppend: (name, topic, count, size, at) => {
      const since = (due.get(topic.id) ?? dueCount) + count + size / dueBytes
      due.set(topic.id, since)
      return since >= dueCount || isOver(topic, size) ? makeRoom(name, topic, size, at) : Effect.succeed(topic)
    }
  }
}

const full = (topic: string, group: string, bytes: number): TopicError =>
  new TopicError({
    topic,
    reason: `full (${bytes} bytes): group ${group} has not read its oldest records yet`,
    retryable: true
  })
