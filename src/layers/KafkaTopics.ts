/** Sends a batch for several topics so that one the cluster does not have, and does not make, fails alone. */
import { type Clock, Effect, Result } from "effect"
import type { KafkaError, KafkaMessage, Producer } from "../services/Kafka.ts"
import { type Outgoing, PublishError, type Stored } from "../services/Publisher.ts"

/** A message with its record, which names its topic. */
export interface Named {
  readonly one: Outgoing
  readonly record: KafkaMessage
}

export interface Options {
  readonly producer: Producer
  readonly clock: Clock.Clock
  /** Of what is no topic's own. */
  readonly failure: (error: KafkaError) => PublishError
}

/** Units: topics that are remembered; the oldest is forgotten first. */
const missingMax = 10_000
const provenMax = 10_000
/**
 * Units: milliseconds for which a topic that failed is not asked for again, doubled each time. Below the pause before a
 * retry, so that a message alone is tried in truth each time.
 */
const pauseMillis = 100
const pauseMaxMillis = 5_000

/** A topic that failed last time. */
interface Missing {
  readonly error: KafkaError
  readonly pauseMillis: number
  /** Units: milliseconds since 1970. */
  readonly until: number
}

export const make = ({ clock, failure, producer }: Options) => {
  const missing = new Map<string, Missing>()
  /** Topics that have taken something: those that have not are looked at first when one of several has failed. */
  const proven = new Set<string>()
  /** What was confirmed before something else of its batch failed: it must not go out again with that. */
  const done = new WeakSet<Outgoing>()
  let anyDone = false
  /** One of the missing is asked for at a time, so that they never take all calls there may be. */
  let asking = false

  const confirm = (group: ReadonlyArray<Named>): void => {
    for (const { record } of group) {
      if (proven.has(record.topic)) continue
      remember(proven, record.topic, provenMax)
      proven.add(record.topic)
      missing.delete(record.topic)
    }
  }

  const note = (topic: string, error: KafkaError): void => {
    const last = missing.get(topic)?.pauseMillis
    const pause = last === undefined ? pauseMillis : Math.min(last * 2, pauseMaxMillis)
    remember(missing, topic, missingMax)
    missing.set(topic, { error, pauseMillis: pause, until: clock.currentTimeMillisUnsafe() + pause })
    proven.delete(topic)
  }

  const send = Effect.fnUntraced(function* (
    groups: Array<ReadonlyArray<Named>>
  ): Effect.fn.Return<ReadonlyArray<Stored> | void, PublishError> {
    const confirmed: Array<Outgoing> = []
    for (let group = groups.shift(); group !== undefined; group = groups.shift()) {
      const sent = yield* Effect.result(producer.send(group.map(({ record }) => record)))
      if (Result.isSuccess(sent)) {
        confirm(group)
        if (confirmed.length === 0 && groups.length === 0) return sent.success
        for (const { one } of group) confirmed.push(one)
        continue
      }
      const error = sent.failure
      if (error.topic === undefined) {
        // Whoever is away answers for no topic: what it said of them is asked anew.
        missing.clear()
        anyDone ||= confirmed.length > 0
        for (const one of confirmed) done.add(one)
        return yield* failure(error)
      }
      const { topic } = group[0]!.record
      if (group.every(({ record }) => record.topic === topic)) {
        note(topic, error)
        // What is left goes again at once: those that are confirmed need not wait for it.
        return yield* inPart(topic, error, group, confirmed)
      }
      groups.unshift(...byTopic(group, proven))
    }
  })

  /** Where topics are missing, another that has taken nothing yet may be too. */
  const careful = (batch: ReadonlyArray<Named>): Array<ReadonlyArray<Named>> =>
    batch.every(({ record }) => proven.has(record.topic)) ? [batch] : byTopic(batch, proven)

  return (batch: ReadonlyArray<Named>): Effect.Effect<ReadonlyArray<Stored> | void, PublishError> =>
    Effect.suspend(() => {
      const open = anyDone ? batch.filter(({ one }) => !done.has(one)) : batch
      if (open.length === 0) return Effect.void
      if (missing.size === 0) return send([open])
      const now = clock.currentTimeMillisUnsafe()
      const found = open.find(({ record }) => {
        const known = missing.get(record.topic)
        return known !== undefined && (asking || known.until > now)
      })
      if (found !== undefined) {
        const { topic } = found.record
        return Effect.fail(inPart(topic, missing.get(topic)!.error, ofTopic(open, topic), []))
      }
      const suspect = open.find(({ record }) => missing.has(record.topic))?.record.topic
      if (suspect === undefined) return send(careful(open))
      asking = true
      // The others first, which need not wait for it.
      const others = open.filter(({ record }) => record.topic !== suspect)
      return Effect.ensuring(
        send([...(others.length === 0 ? [] : careful(others)), ofTopic(open, suspect)]),
        Effect.sync(() => {
          asking = false
        })
      )
    })
}

const ofTopic = (batch: ReadonlyArray<Named>, topic: string): ReadonlyArray<Named> =>
  batch.filter(({ record }) => record.topic === topic)

/** Those that have worked stay together, each other topic is by itself; where all have worked, all are. */
const byTopic = (group: ReadonlyArray<Named>, proven: ReadonlySet<string>): Array<ReadonlyArray<Named>> => {
  const together: Array<Named> = []
  const alone = new Map<string, Array<Named>>()
  const allProven = group.every(({ record }) => proven.has(record.topic))
  for (const named of group) {
    const { topic } = named.record
    if (!allProven && proven.has(topic)) together.push(named)
    else if (alone.has(topic)) alone.get(topic)!.push(named)
    else alone.set(topic, [named])
  }
  return together.length === 0 ? [...alone.values()] : [together, ...alone.values()]
}

/** The cluster answers: it has no such topic, or lets nobody write to it, and others are no worse for it. */
const inPart = (
  topic: string,
  { cause, reason, topic: state }: KafkaError,
  failed: ReadonlyArray<Named>,
  confirmed: ReadonlyArray<Outgoing>
): PublishError =>
  new PublishError({
    reason: `Kafka topic ${topic}: ${reason}`,
    presence: "answered",
    retryable: state === "unknown",
    part: { failed: failed.map(({ one }) => one), confirmed },
    ...(cause === undefined ? undefined : { cause })
  })

/** Makes room for one more. */
const remember = (known: Set<string> | Map<string, unknown>, topic: string, max: number): void => {
  known.delete(topic)
  if (known.size >= max) known.delete(known.keys().next().value!)
}
