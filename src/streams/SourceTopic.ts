/** Reads an embedded topic as a group; settlements are committed together, a moment after they are made. */
import { Clock, Deferred, Effect, Schema, Stream } from "effect"
import * as Component from "../services/Component.ts"
import type { Delivery } from "../services/Delivery.ts"
import { type Source, SourceError } from "../services/Source.ts"
import { type TopicError, type TopicRecord, Topics } from "../services/Topics.ts"
import * as Committer from "./Committer.ts"
import * as Offsets from "./Offsets.ts"

export interface Options {
  readonly topic: string
  readonly group: string
  readonly from: "earliest" | "latest"
}

/** A settlement is durable after this long or this many. Units: milliseconds; settlements. */
const commitMillis = 50
const commitCount = 64
/** Units: records; bytes. What one read brings. */
const readMax = 256
const readBytesMax = 1024 * 1024

export const make = Effect.fnUntraced(function* (options: Options) {
  const topics = yield* Topics
  const name = `topic:${options.topic}`
  const source: Source = {
    name,
    redelivers: true,
    answers: false,
    open: Effect.gen(function* () {
      const reader = yield* topics.open(options.topic, options.group, options.from)
      const { settled, watermark } = yield* reader.position
      const known = Offsets.decode(settled, watermark) ?? { watermark, settled: [] }
      const failed = yield* Deferred.make<never, SourceError>()
      const ledger = new Offsets.Offsets(known)
      const committer = yield* Committer.make({
        millis: commitMillis,
        count: commitCount,
        commit: Effect.suspend(() => {
          const snapshot = ledger.snapshot()
          return reader.commit({ watermark: snapshot.watermark, settled: Offsets.encode(snapshot).text })
        }),
        onError: (error) => Deferred.fail(failed, sourceError(name, error))
      })
      yield* Effect.addFinalizer(() => Effect.ignore(committer.now))
      const settle = (offset: number): void => {
        ledger.settle(offset)
        committer.settled()
      }
      let next = watermark
      const read = Effect.gen(function* () {
        yield* reader.wait(next)
        const records = yield* reader.read(next, readMax, readBytesMax)
        if (records.length === 0) return []
        next = records.at(-1)!.offset + 1
        const now = yield* Clock.currentTimeMillis
        return records.flatMap((record) => (ledger.see(record.offset) ? [deliveryOf(name, record, now, settle)] : []))
      })
      return Stream.fromIterableEffectRepeat(read).pipe(
        Stream.mapError((error) => sourceError(name, error)),
        Stream.interruptWhen(Deferred.await(failed))
      )
    }).pipe(Effect.mapError((error) => sourceError(name, error)))
  }
  return source
})

export const component = Component.source({
  type: "topic",
  summary: "An embedded durable topic, read as a group with a position of its own.",
  options: Schema.Struct({
    topic: Schema.NonEmptyString,
    group: Schema.optionalKey(Schema.NonEmptyString),
    from: Schema.optionalKey(Schema.Literals(["earliest", "latest"]))
  }),
  make: ({ from = "earliest", group, topic }, { pipeline }) => make({ topic, group: group ?? pipeline, from })
})

const deliveryOf = (
  source: string,
  { at, headers, id, key, offset, value }: TopicRecord,
  receivedAt: number,
  settle: (offset: number) => void
): Delivery => ({
  envelope: {
    id: `${source}/${offset}`,
    source,
    key,
    headers: { ...headers, "sluice-id": id, "sluice-at": `${at}` },
    payload: value,
    receivedAt,
    attempt: 1,
    position: offset
  },
  settle: ({ _tag }) => {
    if (_tag !== "Nacked") settle(offset)
  }
})

const sourceError = (source: string, error: TopicError | SourceError): SourceError =>
  error instanceof SourceError
    ? error
    : new SourceError({ source, reason: error.reason, away: error.retryable, cause: error })
