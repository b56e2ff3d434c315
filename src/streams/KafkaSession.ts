/** A member's life in its group, as a state machine: joining, reading, making room for others, and joining again. */

/*
 * - joining: asks for a place until it gets one. A partition we had and still have goes on, if the group knows no more
 *   of it than we told it; what works on a lost one is interrupted, and its settlements count for nothing.
 * - reading: heartbeats, fetches, commits of what is settled. Ends when the group is shared out anew (rebalance), has
 *   gone on without us (evicted), or a partition gives nothing although it has something (stalled).
 * - making room, after rebalance: no leg begins any more; what is at work may finish until a deadline, while heartbeats
 *   go on; then what is settled is committed, once, and we join again. After evicted there is nothing to commit, and
 *   nothing begins until we are back.
 *
 * A connection that is lost ends no state: calls are tried again until it is back.
 */
import { Clock, Deferred, Effect, Result } from "effect"
import { KafkaError, type Member } from "../services/Kafka.ts"
import { type Downstream, SourceError } from "../services/Source.ts"
import * as Committer from "./Committer.ts"
import { KafkaFetcher } from "./KafkaFetcher.ts"
import { nameOf, Partition } from "./KafkaPartition.ts"
import * as Positions from "./KafkaPositions.ts"
import * as Outage from "./Outage.ts"

export interface Options {
  readonly member: Member
  readonly downstream: Downstream["Service"]
  /** The pipeline and the source as logs name them. */
  readonly name: string
  readonly source: string
  readonly group: string
  /** Where a partition begins of which nothing is committed; a number is a time in milliseconds since 1970. */
  readonly from: Positions.From
  /** Units: milliseconds. */
  readonly heartbeatMillis: number
  readonly sessionMillis: number
  /** Units: milliseconds. How long what is at work may take to finish before others get our partitions. */
  readonly revokeMillis: number
  readonly metadataMillis: number
  /** Units: milliseconds; settlements. */
  readonly commit: { readonly millis: number; readonly count: number }
  /** Units: bytes that may lie fetched and not taken. */
  readonly readyMax: number
}

type Ended = "rebalance" | "evicted" | "stalled"

/** Units: milliseconds. Between two tries when the other side is away. */
const backoffMillis = 100
const backoffMaxMillis = 2_000
/** Units: milliseconds. A partition that has something and gives nothing for so long has hung. */
const stalledMillis = 30_000
const watchMillis = 10_000
/** Units: milliseconds between two lines about a partition that is paused. */
const toldMillis = 60_000
/** Units: milliseconds for the last commit, and for taking leave. */
const farewellMillis = 5_000

export class KafkaSession {
  readonly fetcher: KafkaFetcher
  private partitions: ReadonlyMap<string, Partition> = new Map()
  private joinedAt = 0
  /** Whether the group takes commits from us: from a join until others may get our partitions. */
  private mayCommit = false
  private onSettled = (): void => {}
  private readonly outage: Outage.Outage
  private readonly options: Options

  constructor(options: Options) {
    this.options = options
    this.outage = Outage.make(options.name)
    this.fetcher = new KafkaFetcher({
      member: options.member,
      outage: this.outage,
      readyMax: options.readyMax,
      partitions: () => this.assigned,
      onFull: (partition) => this.tellFull(partition),
      onOutOfRange: (partition) => this.outOfRange(partition)
    })
  }

  get assigned(): ReadonlyArray<Partition> {
    return [...this.partitions.values()]
  }

  /** Goes on until the scope closes, which takes leave of the group; fails when the group refuses us. */
  readonly start = Effect.gen({ self: this }, function* () {
    const failed = yield* Deferred.make<never, SourceError>()
    const committer = yield* Committer.make({
      ...this.options.commit,
      commit: Effect.suspend(() => this.commit),
      onError: (error) => Deferred.fail(failed, error)
    })
    this.onSettled = committer.settled
    yield* Effect.addFinalizer(() => {
      const farewell = Effect.andThen(Effect.ignore(committer.now), Effect.ignore(this.options.member.leave))
      return Effect.timeoutOption(Effect.interruptible(farewell), farewellMillis)
    })
    yield* this.live(committer.now).pipe(
      Effect.catchCause((cause) => Deferred.failCause(failed, cause)),
      Effect.forkScoped
    )
    return failed
  })

  private live(commitNow: Effect.Effect<void, SourceError>): Effect.Effect<never, SourceError> {
    return Effect.gen({ self: this }, function* () {
      for (;;) {
        yield* this.join
        const ended = yield* this.reading
        this.fetcher.hold()
        if (ended === "rebalance") {
          yield* this.makeRoom
          yield* commitNow
        } else yield* Effect.timeoutOption(this.options.downstream.quiet, 0)
        this.mayCommit = false
        if (ended === "stalled") yield* this.options.member.reconnect
      }
    })
  }

  // -------------------------------------------------------------------------------------------------- joining

  private readonly join: Effect.Effect<void, SourceError> = Effect.gen({ self: this }, function* () {
    const { downstream, member } = this.options
    let delay = backoffMillis
    for (;;) {
      const result = yield* Effect.result(this.joinOnce)
      if (Result.isSuccess(result)) break
      const { reason, trouble } = result.failure
      if (trouble !== "away" && trouble !== "rebalance" && trouble !== "evicted") return yield* this.refused(reason)
      if (trouble === "away") {
        yield* this.outage.failed("group", reason)
        yield* member.reconnect
        delay = Math.min(delay * 2, backoffMaxMillis)
      } else delay = backoffMillis
      yield* Effect.sleep(delay)
    }
    yield* this.outage.works("group")
    this.joinedAt = yield* Clock.currentTimeMillis
    this.mayCommit = true
    this.onSettled()
    yield* downstream.go
    this.fetcher.go()
  })

  private readonly joinOnce: Effect.Effect<void, KafkaError> = Effect.gen({ self: this }, function* () {
    const { downstream, group, member, name } = this.options
    const places = yield* member.join(this.assigned.map(({ place }) => place))
    const cluster = yield* member.cluster
    const committed = new Map((yield* member.committed(places)).map((one) => [nameOf(one), one]))
    const begins = yield* Positions.begins(
      this.options,
      places.filter((place) => !committed.has(nameOf(place)))
    )
    const mapped = [...committed.values()].filter(({ metadata }) => metadata !== "")
    const ends = Positions.byName(mapped.length === 0 ? [] : yield* member.offsets(mapped, "latest"))
    const before = this.partitions
    this.partitions = new Map(
      places.map((place) => {
        const known = before.get(nameOf(place))
        const one = committed.get(nameOf(place))
        if (known?.lost === false && known.agrees(one)) return [nameOf(place), known]
        const from = one === undefined ? undefined : Positions.snapshotOf(one, ends.get(nameOf(place)))
        const partition = new Partition({
          place,
          source: this.options.source,
          cluster,
          from: from ?? { watermark: begins.get(nameOf(place)) ?? 0, settled: [] },
          committed: one,
          onSettled: () => this.onSettled()
        })
        return [partition.name, partition]
      })
    )
    let lost = 0
    for (const [at, partition] of before) {
      if (this.partitions.get(at) === partition) continue
      partition.lost = true
      lost++
    }
    if (lost > 0) yield* downstream.recall
    if (lost > 0 || this.partitions.size !== before.size || before.size === 0) {
      yield* Effect.logInfo(`${name}: in group ${group}, reads ${shown(this.assigned)}`)
    }
  })

  // -------------------------------------------------------------------------------------------------- reading

  private readonly reading: Effect.Effect<Ended, SourceError> = Effect.suspend(() =>
    Effect.raceAllFirst([this.heartbeats("rebalance"), this.fetching, this.watching, this.growing])
  )

  private readonly fetching: Effect.Effect<Ended, SourceError> = Effect.suspend(() =>
    Effect.catch(this.fetcher.fetch, ({ reason }) => this.refused(reason))
  )

  /** Keeps our place; ends when it is gone, and at a rebalance if that is to end it. */
  private heartbeats(until: "rebalance" | "evicted"): Effect.Effect<Ended, SourceError> {
    const { heartbeatMillis, member, sessionMillis } = this.options
    const heartbeat = Effect.timeoutOrElse(member.heartbeat, {
      duration: sessionMillis / 2,
      orElse: () =>
        Effect.fail(
          new KafkaError({ trouble: "away", reason: "the group's coordinator gives no answer to a heartbeat" })
        )
    })
    return Effect.gen({ self: this }, function* () {
      let failures = 0
      for (;;) {
        yield* Effect.sleep(
          failures === 0 ? heartbeatMillis : Math.min(backoffMillis * 2 ** failures, backoffMaxMillis)
        )
        const result = yield* Effect.result(heartbeat)
        if (Result.isSuccess(result) || result.failure.trouble === "rebalance") {
          failures = 0
          yield* this.outage.works("group")
          if (Result.isFailure(result) && until === "rebalance") return "rebalance"
          continue
        }
        const { reason, trouble } = result.failure
        if (trouble === "evicted") return "evicted"
        if (trouble !== "away") return yield* this.refused(reason)
        yield* this.outage.failed("group", reason)
        // The coordinator may just have moved; a second failure is more.
        if (++failures > 1) yield* member.reconnect
      }
    })
  }

  /** Topics and partitions that appear later are read too. */
  private readonly growing = Effect.suspend(() =>
    Effect.sleep(this.options.metadataMillis).pipe(
      Effect.andThen(Effect.orElseSucceed(this.options.member.grown, () => false)),
      Effect.repeat({ until: (grown) => grown }),
      Effect.as("rebalance" as const)
    )
  )

  /** Notices a partition that has something, is not held back by us, and still gives nothing. */
  private readonly watching: Effect.Effect<Ended> = Effect.gen({ self: this }, function* () {
    for (;;) {
      yield* Effect.sleep(watchMillis)
      const now = yield* Clock.currentTimeMillis
      if (!this.outage.isOver() || this.fetcher.waiting) continue
      const silent = this.assigned.filter(
        ({ full, readAt, unsettled }) =>
          !full && unsettled === 0 && now - Math.max(readAt, this.joinedAt) >= stalledMillis
      )
      if (silent.length === 0) continue
      const ends = yield* this.options.member
        .offsets(
          silent.map(({ place }) => place),
          "latest"
        )
        .pipe(Effect.orElseSucceed(() => []))
      const stalled = silent.find((one) => (Positions.byName(ends).get(one.name) ?? 0) > one.next)
      if (stalled === undefined) continue
      yield* Effect.logWarning(
        `${this.options.name}: ${stalled.name} has records from ${stalled.next} on and gave none for ${stalledMillis / 1000} s: connecting anew`
      )
      return "stalled" as const
    }
  })

  private outOfRange(partition: Partition): Effect.Effect<void, KafkaError> {
    const { downstream, member, name } = this.options
    return Effect.gen({ self: this }, function* () {
      const first = Positions.byName(yield* member.offsets([partition.place], "earliest")).get(partition.name) ?? 0
      if (partition.next < first) {
        yield* Effect.logWarning(
          `${name}: ${partition.name}: the records from ${partition.next} to ${first - 1} are no longer in the log, going on at ${first}`
        )
        partition.next = first
        return
      }
      const begin = (yield* Positions.begins(this.options, [partition.place])).get(partition.name) ?? first
      yield* Effect.logWarning(
        `${name}: ${partition.name}: the log ends before ${partition.next}, so it is another one: going on at ${begin}`
      )
      partition.lost = true
      this.partitions = new Map([...this.partitions, [partition.name, partition.anew(begin)]])
      yield* downstream.recall
    })
  }

  // -------------------------------------------------------------------------------------------------- making room

  /** What is at work may finish; heartbeats go on meanwhile, since the group waits for us no longer than that. */
  private readonly makeRoom: Effect.Effect<void, SourceError> = Effect.suspend(() =>
    Effect.asVoid(
      Effect.raceFirst(
        Effect.timeoutOption(this.options.downstream.quiet, this.options.revokeMillis),
        this.heartbeats("evicted")
      )
    )
  )

  /** Tells the group what is settled; what it does not take now is told again with the next settlement or join. */
  private readonly commit: Effect.Effect<void, SourceError> = Effect.gen({ self: this }, function* () {
    if (!this.mayCommit) return
    const dirty = this.assigned.flatMap((partition) => {
      const offset = partition.commit()
      return offset === undefined ? [] : [{ partition, offset }]
    })
    if (dirty.length === 0) return
    const result = yield* Effect.result(this.options.member.commit(dirty.map(({ offset }) => offset)))
    if (Result.isSuccess(result)) {
      for (const { offset, partition } of dirty) partition.confirmed(offset)
      return yield* this.outage.works("commit")
    }
    const { reason, trouble } = result.failure
    // The heartbeats find out about the rest.
    if (trouble === "rebalance" || trouble === "evicted") return
    if (trouble !== "away") return yield* this.refused(reason)
    yield* this.outage.failed("commit", reason)
    yield* Effect.sleep(backoffMillis)
    this.onSettled()
  })

  private tellFull(partition: Partition): Effect.Effect<void> {
    return Effect.flatMap(Clock.currentTimeMillis, (now) => {
      if (now < partition.toldAt + toldMillis) return Effect.void
      partition.toldAt = now
      const { name, oldest } = partition
      const key = oldest?.note === undefined ? "" : `, of key ${oldest.note},`
      return Effect.logWarning(
        `${this.options.name}: ${name} is paused: ${oldest?.offset}${key} is not settled, and what is settled behind it would no longer fit into a commit`
      )
    })
  }

  private refused(reason: string): Effect.Effect<never, SourceError> {
    return Effect.fail(new SourceError({ source: this.options.source, reason, away: false }))
  }
}

const shownMax = 8

const shown = (partitions: ReadonlyArray<Partition>): string => {
  if (partitions.length === 0) return "nothing: there are more members than partitions"
  const names = partitions.slice(0, shownMax).map(({ name }) => name)
  return names.join(", ") + (partitions.length > shownMax ? ` and ${partitions.length - shownMax} more` : "")
}
