/** Follows a Kafka topic without a group: what lies in its partitions, and what comes, also in partitions that appear later. */
import { Clock, Effect, Schedule, type Scope, Stream } from "effect"
import {
  type Fetched,
  KafkaClient,
  type KafkaError,
  type KafkaRecord,
  type Place,
  type Reader
} from "../services/Kafka.ts"
import type { Connection } from "../services/KafkaConnection.ts"

export interface Options {
  readonly connection: Connection
  readonly topic: string
  readonly from: "earliest" | "latest"
  /** Told once per outage, with the reason. */
  readonly onAway: (reason: string) => Effect.Effect<void>
}

/** Units: milliseconds. Between two looks for partitions: of a topic that is not there yet, and of one that is. */
const absentMillis = 500
const grownMillis = 10_000
const movedMillis = 100
/** Units: milliseconds, the longest between two tries while the cluster is away. */
const backoffMaxMillis = 2_000

/** Never ends. Fails: `KafkaError`, when trying again cannot help. */
export const tail = (
  options: Options
): Stream.Stream<ReadonlyArray<KafkaRecord>, KafkaError, KafkaClient | Scope.Scope> =>
  Stream.unwrap(
    Effect.gen(function* () {
      const client = yield* KafkaClient
      const follower = new Follower(options, yield* client.reader(options.connection, options.topic))
      const read = follower.read.pipe(
        Effect.tapError(({ reason, trouble }) => (trouble === "away" ? follower.away(reason) : Effect.void)),
        Effect.retry({ schedule: pauses, while: ({ trouble }) => trouble === "away" })
      )
      return Stream.fromEffectRepeat(read).pipe(
        Stream.flattenIterable,
        Stream.filter((records) => records.length > 0)
      )
    })
  )

const pauses = Schedule.min([Schedule.exponential("100 millis"), Schedule.spaced(backoffMaxMillis)])

class Follower {
  /** Where each partition goes on. */
  private readonly next = new Map<number, number>()
  private known: ReadonlyArray<Place> = []
  private lookedAt: number | undefined
  private isAway = false
  private isMoved = false
  private readonly options: Options
  private readonly reader: Reader

  constructor(options: Options, reader: Reader) {
    this.options = options
    this.reader = reader
  }

  /** One fetch from all leaders at the same time. */
  readonly read: Effect.Effect<ReadonlyArray<ReadonlyArray<KafkaRecord>>, KafkaError> = Effect.gen(
    { self: this },
    function* () {
      yield* this.look()
      if (this.next.size === 0) {
        yield* Effect.sleep(absentMillis)
        return []
      }
      const places = [...this.next.keys()].map((partition) => this.placeOf(partition))
      // Nobody may lead one that has moved just now.
      if (this.isMoved) yield* Effect.sleep(movedMillis)
      const leaders = yield* this.reader.leaders(places, this.isMoved)
      this.isMoved = false
      const fetched = yield* Effect.forEach(
        leaders,
        ({ broker, places }) =>
          this.reader.fetch(
            broker,
            places.map(({ partition }) => this.at(partition))
          ),
        { concurrency: leaders.length }
      )
      this.isAway = false
      return fetched.flat().map((one) => this.taken(one))
    }
  )

  readonly away = (reason: string): Effect.Effect<void> =>
    Effect.suspend(() => {
      // Whoever leads after an outage may be somebody else.
      this.isMoved = true
      if (this.isAway) return Effect.void
      this.isAway = true
      return this.options.onAway(reason)
    })

  /** Finds the partitions there are: at the start where they are asked to begin, later ones from their first record on. */
  private readonly look = Effect.fnUntraced({ self: this }, function* () {
    const now = yield* Clock.currentTimeMillis
    const isWhole = this.next.size > 0 && this.next.size === this.known.length
    if (this.lookedAt !== undefined && isWhole && now - this.lookedAt < grownMillis) return
    if (this.known.length > 0) yield* this.reader.leaders(this.known, true)
    this.known = yield* this.reader.places
    const fresh = this.known.filter(({ partition }) => !this.next.has(partition))
    if (fresh.length > 0) {
      const from = this.lookedAt === undefined ? this.options.from : "earliest"
      for (const { offset, partition } of yield* this.reader.offsets(fresh, from)) this.next.set(partition, offset)
    }
    this.lookedAt = now
  })

  private taken({ next, partition, problem, records }: Fetched): ReadonlyArray<KafkaRecord> {
    if (problem === "moved") this.isMoved = true
    // What was next is gone, or the topic was made anew: it begins again, as soon as somebody says where.
    else if (problem === "outOfRange") this.next.delete(partition)
    else this.next.set(partition, next)
    return records
  }

  private readonly placeOf = (partition: number): Place => ({ topic: this.options.topic, partition })

  private readonly at = (partition: number) => ({ ...this.placeOf(partition), offset: this.next.get(partition)! })
}
