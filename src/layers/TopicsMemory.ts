/** Topics in memory: for tests, and the reference of what a store does. */
import { Clock, Effect, Latch, Layer } from "effect"
import { type Position, TopicError, type TopicRecord, Topics } from "../services/Topics.ts"

interface Log {
  readonly records: Array<TopicRecord>
  readonly groups: Map<string, Position>
  readonly held: Set<string>
  grown: Latch.Latch
}

export const make = (): Topics["Service"] => {
  const logs = new Map<string, Log>()
  const logOf = (topic: string): Log => {
    const known = logs.get(topic)
    if (known !== undefined) return known
    const log: Log = { records: [], groups: new Map(), held: new Set(), grown: Latch.makeUnsafe(false) }
    logs.set(topic, log)
    return log
  }
  return {
    append: (topic, records) =>
      Effect.map(Clock.currentTimeMillis, (at) => {
        const log = logOf(topic)
        for (const record of records) log.records.push({ ...record, offset: log.records.length, at })
        const { grown } = log
        log.grown = Latch.makeUnsafe(false)
        grown.openUnsafe()
      }),
    open: Effect.fnUntraced(function* (topic, group, from) {
      const log = logOf(topic)
      if (log.held.has(group)) return yield* held(topic, group)
      yield* Effect.acquireRelease(
        Effect.sync(() => log.held.add(group)),
        () => Effect.sync(() => log.held.delete(group))
      )
      if (!log.groups.has(group)) {
        log.groups.set(group, { watermark: from === "latest" ? log.records.length : 0, settled: "" })
      }
      return {
        position: Effect.sync(() => log.groups.get(group)!),
        commit: (position) => Effect.sync(() => void log.groups.set(group, position)),
        read: (offset, count, bytes) => Effect.sync(() => within(log.records.slice(offset, offset + count), bytes)),
        wait: (offset) => Effect.suspend(() => (log.records.length > offset ? Effect.void : log.grown.await))
      }
    }),
    range: (topic) => Effect.sync(() => ({ first: 0, next: logOf(topic).records.length }))
  }
}

export const layer: Layer.Layer<Topics> = Layer.sync(Topics, make)

/** The position of a group is somebody else's. */
const held = (topic: string, group: string): TopicError =>
  new TopicError({
    topic,
    reason: `the position of group ${group} is held by another pipeline or process; give this one a group of its own`,
    retryable: false
  })

/** Records until the bytes are reached, and at least one. */
const within = (records: ReadonlyArray<TopicRecord>, bytes: number): ReadonlyArray<TopicRecord> => {
  let sum = 0
  const taken = records.findIndex((record) => {
    sum += record.value.length
    return sum >= bytes
  })
  return taken === -1 ? records : records.slice(0, taken + 1)
}
