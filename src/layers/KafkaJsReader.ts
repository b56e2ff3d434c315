/** Reads a topic without a group: all of it, or as it is asked. */
import { Effect, Schedule, type Scope } from "effect"
import type { KafkaError, KafkaRecord, MemberOptions, Place, Reader } from "../services/Kafka.ts"
import type { Connection } from "../services/KafkaConnection.ts"
import * as KafkaJsMember from "./KafkaJsMember.ts"

/** Leaders move and connections break: tried again this often. */
const tries = { times: 5, schedule: Schedule.exponential("100 millis") }

/** The group is never joined. */
const options: Omit<MemberOptions, "connection" | "topics"> = {
  group: "",
  sessionMillis: 0,
  rebalanceMillis: 0,
  isolation: "read_committed",
  fetch: { waitMillis: 100, bytesMin: 1, bytesMax: 10 * 1024 * 1024, partitionBytesMax: 1024 * 1024 }
}

export const make = (connection: Connection, topic: string): Effect.Effect<Reader, never, Scope.Scope> =>
  KafkaJsMember.make({ ...options, connection, topics: [topic] })

export const readAll = (
  connection: Connection,
  topic: string,
  take: (place: Place, records: ReadonlyArray<KafkaRecord>) => void
): Effect.Effect<void, KafkaError> =>
  Effect.scoped(
    Effect.gen(function* () {
      const reader = yield* make(connection, topic)
      const places = yield* retried(reader.places)
      if (places.length === 0) return
      const first = yield* retried(reader.offsets(places, "earliest"))
      const last = yield* retried(reader.offsets(places, "latest"))
      const ends = new Map(last.map(({ offset, partition }) => [partition, offset]))
      let open = first.filter(({ offset, partition }) => offset < (ends.get(partition) ?? 0))
      while (open.length > 0) {
        const next = new Map(open.map((place) => [place.partition, place]))
        const groups = yield* retried(reader.leaders(open, false))
        for (const { broker, places } of groups) {
          const from = places.map(({ partition }) => next.get(partition)!)
          for (const fetched of yield* retried(reader.fetch(broker, from))) {
            if (fetched.problem === "moved") yield* retried(reader.leaders(open, true))
            if (fetched.problem === "outOfRange") {
              // The log has forgotten its beginning in the meantime.
              const [first] = yield* retried(reader.offsets([fetched], "earliest"))
              next.set(fetched.partition, first!)
              continue
            }
            if (fetched.records.length > 0) take(fetched, fetched.records)
            next.set(fetched.partition, { topic, partition: fetched.partition, offset: fetched.next })
          }
        }
        open = [...next.values()].filter(({ offset, partition }) => offset < (ends.get(partition) ?? 0))
      }
    })
  )

const retried = <A>(effect: Effect.Effect<A, KafkaError>): Effect.Effect<A, KafkaError> =>
  Effect.retry(effect, { ...tries, while: ({ trouble }) => trouble === "away" })
