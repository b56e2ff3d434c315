/** Topics in memory: for tests, and the reference of what a store does. */
import { Clock, Effect, Latch, Layer } from "effect"
import {
  type NewRecord,
  type Onlooker,
  type Position,
  TopicError,
  type TopicRecord,
  Topics
} from "../services/Topics.ts"

export interface Options {
  /** Records older than this go. Units: milliseconds. */
  readonly retentionMillis?: number | undefined
  /** The oldest records of a topic beyond this size go. Units: bytes. */
  readonly retentionBytes?: number | undefined
}

interface Log {
  /** The offset of the first record. */
  first: number
  bytes: number
  records: Array<TopicRecord>
  readonly groups: Map<string, Position>
  readonly held: Set<string>
  grown: Latch.Latch
}

export const make = ({ retentionBytes = 1024 ** 3, retentionMillis = 7 * 86_400_000 }: Options = {}) => {
  const logs = new Map<string, Log>()
  const logOf = (topic: string): Log => {
    const known = logs.get(topic)
    if (known !== undefined) return known
    const log = {
      first: 0,
      bytes: 0,
      records: [],
      groups: new Map(),
      held: new Set<string>(),
      grown: Latch.makeUnsafe()
    }
    logs.set(topic, log)
    return log
  }
  /** Drops the oldest records beyond age or size, but none that a group has still to settle. */
  const drop = (log: Log, size: number, now: number): void => {
    const unread = slowest(log)?.[1].watermark ?? nextOf(log)
    let count = 0
    for (const record of log.records) {
      if (record.offset >= unread) break
      if (record.at > now - retentionMillis && log.bytes + size <= retentionBytes) break
      log.bytes -= sizeOf(record)
      count++
    }
    log.records.splice(0, count)
    log.first += count
  }
  const append = Effect.fnUntraced(function* (topic: string, records: ReadonlyArray<NewRecord>) {
    const log = logOf(topic)
    const at = yield* Clock.currentTimeMillis
    const size = records.reduce((sum, record) => sum + sizeOf(record), 0)
    drop(log, size, at)
    if (log.bytes + size > retentionBytes && log.records.length > 0) {
      return yield* full(topic, slowest(log)?.[0] ?? "", retentionBytes)
    }
    for (const record of records) log.records.push({ ...record, offset: nextOf(log), at })
    log.bytes += size
    const { grown } = log
    log.grown = Latch.makeUnsafe()
    grown.openUnsafe()
  })
  return Topics.of({
    append,
    open: Effect.fnUntraced(function* (topic, group, from) {
      const log = logOf(topic)
      if (log.held.has(group)) return yield* held(topic, group)
      yield* Effect.acquireRelease(
        Effect.sync(() => log.held.add(group)),
        () => Effect.sync(() => log.held.delete(group))
      )
      drop(log, 0, yield* Clock.currentTimeMillis)
      if (!log.groups.has(group)) {
        log.groups.set(group, { watermark: from === "latest" ? nextOf(log) : log.first, settled: "" })
      }
      return {
        ...look(log),
        position: Effect.sync(() => log.groups.get(group)!),
        commit: (position) => Effect.sync(() => void log.groups.set(group, position))
      }
    }),
    look: (topic) => look(logOf(topic)),
    range: (topic) => Effect.sync(() => ({ first: logOf(topic).first, next: nextOf(logOf(topic)) }))
  })
}

export const layer: Layer.Layer<Topics> = Layer.sync(Topics, make)

export const layerWith = (options: Options): Layer.Layer<Topics> => Layer.sync(Topics, () => make(options))

const look = (log: Log): Onlooker => ({
  read: (offset, count, bytes) =>
    Effect.sync(() => {
      const from = Math.max(offset - log.first, 0)
      return within(log.records.slice(from, from + count), bytes)
    }),
  wait: (offset) => Effect.suspend(() => (nextOf(log) > offset ? Effect.void : log.grown.await))
})

const nextOf = ({ first, records }: Log): number => first + records.length

const sizeOf = ({ headers, id, key, value }: NewRecord): number =>
  id.length + (key?.length ?? 0) + JSON.stringify(headers).length + value.length

const slowest = ({ groups }: Log) => [...groups].sort(([, a], [, b]) => a.watermark - b.watermark)[0]

/** As many records as begin within `bytes`, and at least one. */
const within = (records: ReadonlyArray<TopicRecord>, bytes: number): ReadonlyArray<TopicRecord> => {
  let sum = 0
  const end = records.findIndex((record) => {
    const isBeyond = sum >= bytes
    sum += sizeOf(record)
    return isBeyond
  })
  return end === -1 ? records : records.slice(0, end)
}

/** The position of a group is somebody else's. */
const held = (topic: string, group: string): TopicError =>
  new TopicError({
    topic,
    reason: `the position of group ${group} is held by another pipeline or process; give this one a group of its own`,
    retryable: false
  })

const full = (topic: string, group: string, bytes: number): TopicError =>
  new TopicError({
    topic,
    reason: `full (${bytes} bytes): group ${group} has not read its oldest records yet`,
    retryable: true
  })
