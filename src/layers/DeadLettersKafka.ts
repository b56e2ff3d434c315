/** Dead letters in a Kafka topic: each a record under its message's own key, ended by a record without a value. */
import { Effect, Option, Schedule, type Scope } from "effect"
import { DeadLetters, DeadLettersError, type Filter, type Letter } from "../services/DeadLetters.ts"
import type { KafkaClient, KafkaError, KafkaMessage } from "../services/Kafka.ts"
import type { Connection } from "../services/KafkaConnection.ts"
import { DeadLetterFold } from "./DeadLetterFold.ts"
import * as DeadLetterRecord from "./DeadLetterRecord.ts"

export interface Options {
  readonly client: KafkaClient["Service"]
  readonly connection: Connection
  readonly topic: string
  /** What a reading keeps of values before it knows which are wanted; what is over that is read again. Units: bytes. */
  readonly heldBytesMax?: number | undefined
}

/** Letters whose places are remembered, so that the removals of a replay need not read the topic. Units: letters. */
const placesMax = 65_536
/** What is written in one request. Units: records; bytes of keys. */
const writeMax = 256
const writeBytesMax = 256 * 1024
/** While a partition changes its leader nobody takes records: that must not cost a pipeline its restart. */
const tries = Schedule.min([Schedule.exponential("100 millis"), Schedule.spaced("2 seconds")]).pipe(
  Schedule.jittered,
  Schedule.upTo({ duration: "15 seconds" })
)

/** Where the letter lies that counts, and under which key its end is written. */
interface Known {
  readonly partition: number
  readonly pipeline: string
  readonly key: Uint8Array | null
}

/** Reading costs as much as lies in the topic. */
export const make = Effect.fnUntraced(function* ({
  client,
  connection,
  heldBytesMax = 16 * 1024 * 1024,
  topic
}: Options): Effect.fn.Return<DeadLetters["Service"], never, Scope.Scope> {
  const producer = yield* client.producer({
    connection,
    acks: "all",
    // A record that is there twice is the same letter.
    idempotent: false,
    compression: "gzip",
    timeoutMillis: connection.requestMillis
  })
  const places = new Map<string, Known>()

  /** What a reading with this filter finds anew, or finds no more. */
  const forget = ({ ids, pipeline }: Filter): void => {
    for (const id of ids ?? [...places.keys()]) {
      if (pipeline === undefined || places.get(id)?.pipeline === pipeline) places.delete(id)
    }
  }
  const remember = (id: string, place: Known): void => {
    places.set(id, place)
    if (places.size > placesMax) places.delete(places.keys().next().value!)
  }

  const write = (messages: ReadonlyArray<KafkaMessage>) =>
    Effect.retry(producer.send(messages), { schedule: tries, while: ({ trouble }) => trouble === "away" })

  const bury = Effect.fnUntraced(function* (letter: Letter) {
    // Next to the one it replaces: then the order in the partition says which is newer, also without a key.
    const partition = places.get(letter.id)?.partition
    yield* write([{ topic, partition, ...DeadLetterRecord.ofLetter(letter) }])
  })

  const look = (filter: Filter, bytesMax: number) =>
    Effect.suspend(() => {
      const found = new DeadLetterFold(filter, bytesMax)
      return Effect.as(
        client.readAll(connection, topic, (place, records) => found.take(place, records)),
        found
      )
    })

  const list = Effect.fnUntraced(function* (filter: Filter) {
    if (filter.ids?.length === 0) return []
    const found = yield* look(filter, heldBytesMax)
    if (found.isMissingSome()) {
      yield* client.readAll(connection, topic, (place, records) => found.complete(place, records))
    }
    const entries = found.entries()
    forget(filter)
    for (const [id, { key, partition, pipeline }] of entries) remember(id, { key, partition, pipeline })
    return entries.flatMap(([, { letter }]) => (letter === undefined ? [] : [letter]))
  })

  const remove = Effect.fnUntraced(function* (ids: ReadonlyArray<string>) {
    const wanted = [...new Set(ids)]
    const known = wanted.flatMap((id) => {
      const place = places.get(id)
      return place === undefined ? [] : [[id, place] as const]
    })
    const unknown = wanted.filter((id) => !places.has(id))
    const found = unknown.length === 0 ? [] : (yield* look({ ids: unknown }, 0)).entries()
    const all = [...known, ...found]
    for (const part of parts(all)) {
      yield* write(
        part.map(([id, { key, partition, pipeline }]) => ({
          topic,
          partition,
          ...DeadLetterRecord.ofDone(id, pipeline, key)
        }))
      )
      for (const [id] of part) places.delete(id)
    }
    return all.length
  })

  const failing = <A>(what: string, effect: Effect.Effect<A, KafkaError>) =>
    Effect.mapError(
      effect,
      (cause) =>
        new DeadLettersError({ reason: `cannot ${what} dead letters in topic ${topic}: ${reasonOf(cause)}`, cause })
    )

  return DeadLetters.of({
    bury: (letter) => failing("bury", bury(letter)),
    list: (filter) => failing("list", list(filter)),
    get: (id) =>
      failing(
        "read",
        Effect.map(list({ ids: [id] }), ([letter]) => Option.fromUndefinedOr(letter))
      ),
    remove: (ids) => failing("remove", remove(ids))
  })
})

const reasonOf = ({ reason, trouble }: KafkaError): string =>
  trouble === "unfit"
    ? `${reason}: a letter is a little larger than its message, raise the topic's max.message.bytes`
    : reason

/** Cut where a part holds enough records or bytes. */
const parts = (
  all: ReadonlyArray<readonly [string, Known]>
): ReadonlyArray<ReadonlyArray<readonly [string, Known]>> => {
  const cut: Array<Array<readonly [string, Known]>> = []
  let bytes = 0
  for (const one of all) {
    const more = one[1].key?.length ?? 0
    const last = cut.at(-1)
    if (last === undefined || last.length === writeMax || bytes + more > writeBytesMax) {
      cut.push([one])
      bytes = more
    } else {
      last.push(one)
      bytes += more
    }
  }
  return cut
}
