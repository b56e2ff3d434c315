/** Fetches what the assigned partitions have, ahead of what is asked for by a bounded number of bytes. */
import { Clock, Effect, Latch, Result } from "effect"
import type { Delivery } from "../services/Delivery.ts"
import type { Fetched, KafkaError, KafkaRecord, Member, Place } from "../services/Kafka.ts"
import { nameOf, type Partition } from "./KafkaPartition.ts"
import type { Outage } from "./Outage.ts"

export interface Options {
  readonly member: Member
  readonly outage: Outage
  /** Units: bytes that may lie ready; one fetch may go beyond. */
  readonly readyMax: number
  /** Units: records given and not settled, of all partitions. */
  readonly unsettledMax: number
  /** A partition takes no more until something of it is settled. */
  readonly onFull: (partition: Partition) => Effect.Effect<void>
  /** What is assigned just now. */
  readonly partitions: () => ReadonlyArray<Partition>
  /** There is no such offset any more: sets where to go on, or puts another partition in the place of this one. */
  readonly onOutOfRange: (partition: Partition) => Effect.Effect<void, KafkaError>
}

/** Units: milliseconds. When what lies ready of a partition that takes nothing is put back, and when that is worth a line. */
const putBackMillis = 3_000
const toldMillis = 10_000
/** Units: records that are taken at a time. */
const takeMax = 500
/** Units: bytes. What a record weighs besides its value, about. */
const recordBytes = 100
/** Units: milliseconds. Between two looks at partitions that all take nothing, and after a failure. */
const fullMillis = 10
const backoffMillis = 100
const backoffMaxMillis = 2_000

interface Ready {
  readonly partition: Partition
  readonly records: ReadonlyArray<KafkaRecord>
  readonly bytes: number
  /** How many of them are. */
  taken: number
}

export class KafkaFetcher {
  private readonly ready: Array<Ready> = []
  private readyBytes = 0
  private readonly some = Latch.makeUnsafe(false)
  private readonly room = Latch.makeUnsafe(true)
  private readonly going = Latch.makeUnsafe(false)
  private isGoing = false
  private readonly options: Options

  constructor(options: Options) {
    this.options = options
  }

  /** Whether fetches wait for what lies ready to be taken. */
  get waiting(): boolean {
    return this.readyBytes >= this.options.readyMax
  }

  /** Takes some of the oldest fetch of a partition that takes more; waits for one. */
  readonly take: Effect.Effect<ReadonlyArray<Delivery>> = Effect.gen({ self: this }, function* () {
    for (;;) {
      while (this.ready.length === 0 || !this.isGoing) yield* Effect.andThen(this.some.await, this.going.await)
      const now = yield* Clock.currentTimeMillis
      const share = this.share()
      for (let i = 0; i < this.ready.length; i++) {
        const { partition } = this.ready[i]!
        if (partition.lost || partition.takes(share, now)) return this.takeFrom(i, now)
      }
      yield* this.holdBack(now)
      yield* Effect.sleep(fullMillis)
    }
  })

  /** A partition may have as much in hand as all of them together have still room for: one that is stuck leaves the rest to others. */
  private share(): number {
    let unsettled = 0
    for (const partition of this.options.partitions()) unsettled += partition.unsettled
    return this.options.unsettledMax - unsettled
  }

  /** What takes nothing for long is not in the way of others any more, and somebody is told. */
  private readonly holdBack = Effect.fnUntraced({ self: this }, function* (now: number) {
    for (const partition of new Set(this.ready.map(({ partition }) => partition))) {
      if (partition.fullSince === undefined) continue
      if (now - partition.fullSince >= putBackMillis) this.putBack(partition)
    }
    for (const partition of this.options.partitions()) {
      if (partition.fullSince !== undefined && now - partition.fullSince >= toldMillis)
        yield* this.options.onFull(partition)
    }
  })

  /** What lies ready of a partition that takes no more is fetched again later: it must not be in the way of others. */
  private putBack(partition: Partition): void {
    for (let i = this.ready.length - 1; i >= 0; i--) {
      const { bytes, partition: owner, records, taken } = this.ready[i]!
      if (owner !== partition) continue
      partition.next = records[taken]!.offset
      this.readyBytes -= bytes
      this.ready.splice(i, 1)
    }
    this.looked()
  }

  private looked(): void {
    if (this.ready.length === 0) this.some.closeUnsafe()
    if (!this.waiting) this.room.openUnsafe()
  }

  private takeFrom(i: number, now: number): ReadonlyArray<Delivery> {
    const one = this.ready[i]!
    const { partition, records } = one
    const from = one.taken
    one.taken = partition.lost ? records.length : Math.min(from + takeMax, records.length)
    if (one.taken === records.length) {
      this.ready.splice(i, 1)
      this.readyBytes -= one.bytes
      this.looked()
    }
    return partition.deliveries(records, from, one.taken, now)
  }

  /** Nothing more is taken until `go`. */
  hold(): void {
    this.isGoing = false
    this.going.closeUnsafe()
  }

  go(): void {
    this.isGoing = true
    this.going.openUnsafe()
  }

  /** Fetches from all leaders at the same time, and finds them again when one has moved or cannot be reached. */
  readonly fetch: Effect.Effect<never, KafkaError> = Effect.gen({ self: this }, function* () {
    const { outage } = this.options
    for (let failures = 0; ; failures++) {
      const result = yield* Effect.result(
        this.fetchAll(failures > 0, () => {
          failures = 0
        })
      )
      if (Result.isFailure(result)) {
        if (result.failure.trouble !== "away") return yield* result.failure
        yield* outage.failed("fetch", result.failure.reason)
      }
      yield* Effect.sleep(Math.min(backoffMillis * 2 ** failures, backoffMaxMillis))
    }
  })

  private fetchAll(fresh: boolean, onAnswer: () => void): Effect.Effect<void, KafkaError> {
    const partitions = this.options.partitions()
    if (partitions.length === 0) return Effect.never
    const byName = new Map(partitions.map((partition) => [partition.name, partition]))
    const partitionsOf = (places: ReadonlyArray<Place>) => places.flatMap((place) => byName.get(nameOf(place)) ?? [])
    const places = partitions.map(({ place }) => place)
    return Effect.flatMap(this.options.member.leaders(places, fresh), (leaders) =>
      Effect.raceAllFirst(leaders.map(({ broker, places }) => this.fetchFrom(broker, partitionsOf(places), onAnswer)))
    )
  }

  /** Ends when a partition has moved to another broker. */
  private fetchFrom(
    broker: string,
    partitions: ReadonlyArray<Partition>,
    onAnswer: () => void
  ): Effect.Effect<void, KafkaError> {
    const { member, outage } = this.options
    return Effect.gen({ self: this }, function* () {
      for (;;) {
        yield* this.room.await
        const share = this.share()
        const at = yield* Clock.currentTimeMillis
        const open = partitions.filter((partition) => !partition.full || partition.takes(share, at))
        if (open.length < partitions.length) yield* this.holdBack(at)
        if (open.length === 0) {
          yield* Effect.sleep(fullMillis)
          continue
        }
        const from = open.map(({ next, place }) => ({ ...place, offset: next }))
        const fetched = yield* member.fetch(broker, from)
        const now = yield* Clock.currentTimeMillis
        if (fetched.some(({ problem }) => problem === "moved")) return
        onAnswer()
        yield* outage.works("fetch")
        for (const one of fetched) {
          const i = open.findIndex(({ name }) => name === nameOf(one))
          const partition = open[i]
          // Meanwhile it may have gone to others, or back to what was put back.
          if (partition === undefined || partition.lost || partition.next !== from[i]!.offset) continue
          if (one.problem === "outOfRange") {
            yield* this.options.onOutOfRange(partition)
            if (partition.lost) return
          } else this.took(partition, one, now)
        }
      }
    })
  }

  private took(partition: Partition, { end, next, records }: Fetched, now: number): void {
    partition.end = Math.max(end, next)
    if (next === partition.next) return
    partition.next = next
    partition.readAt = now
    if (records.length === 0) return
    let bytes = 0
    for (let i = 0; i < records.length; i++) bytes += recordBytes + (records[i]!.value?.length ?? 0)
    this.ready.push({ partition, records, bytes, taken: 0 })
    this.readyBytes += bytes
    this.some.openUnsafe()
    if (this.waiting) this.room.closeUnsafe()
  }
}
