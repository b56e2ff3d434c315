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
import { Clock, Deferred, Effect, Latch, Result } from "effect"
import { KafkaError, type Member } from "../services/Kafka.ts"
import { type Downstream, SourceError } from "../services/Source.ts"
import * as Committer from "./Committer.ts"
import { KafkaAssigned } from "./KafkaAssigned.ts"
import * as Commits from "./KafkaCommits.ts"
import { KafkaFetcher } from "./KafkaFetcher.ts"
import * as Positions from "./KafkaPositions.ts"
import { KafkaTransactions, type Options as TransactionsOptions } from "./KafkaTransactions.ts"
import * as Outage from "./Outage.ts"

export interface Options {
  readonly member: Member
  readonly downstream: Downstream["Service"]
  /** The pipeline as logs name it, and the source as envelopes do. */
  readonly name: string
  readonly source: string
  readonly group: string
  /** Where a partition begins of which nothing is committed. */
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
  /** Units: records given and not settled, of all partitions. */
  readonly unsettledMax: number
  /** Offsets are committed with what is published for them. */
  readonly exactlyOnce?: Omit<TransactionsOptions, "member" | "onFenced"> | undefined
}

type Ended = "rebalance" | "evicted" | "stalled"

/** Units: milliseconds. Between two tries when the other side is away. */
const backoffMillis = 100
const backoffMaxMillis = 2_000
/** Units: milliseconds. A partition that has something and gives nothing for so long has hung. */
const stalledMillis = 30_000
const watchMillis = 10_000
/** Units: milliseconds for the last commit, and for taking leave. */
const farewellMillis = 5_000

export class KafkaSession {
  readonly assigned: KafkaAssigned
  readonly fetcher: KafkaFetcher
  readonly transactions: KafkaTransactions | undefined
  private joinedAt = 0
  /** Whether the group takes commits from us: from a join until others may get our partitions. */
  private mayCommit = false
  private onSettled = (): void => {}
  /** Somebody else has a partition of ours. */
  private readonly fenced = Latch.makeUnsafe(false)
  private readonly commits: Commits.Commits
  private readonly outage: Outage.Outage
  private readonly options: Options

  constructor(options: Options) {
    const { exactlyOnce, member, name, readyMax } = options
    this.options = options
    this.outage = Outage.make(name)
    this.transactions =
      exactlyOnce &&
      new KafkaTransactions({
        ...exactlyOnce,
        member,
        onFenced: (partition) => {
          partition.lost = true
          this.fenced.openUnsafe()
        }
      })
    this.commits = this.transactions === undefined ? Commits.plain(member) : Commits.transactional(this.transactions)
    this.assigned = new KafkaAssigned({ ...options, commits: this.commits, onSettled: () => this.onSettled() })
    this.fetcher = new KafkaFetcher({
      member,
      outage: this.outage,
      readyMax,
      unsettledMax: options.unsettledMax,
      partitions: () => this.assigned.all,
      onFull: (partition) => this.assigned.tellFull(partition),
      onOutOfRange: (partition) => this.assigned.outOfRange(partition)
    })
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

  private readonly joinOnce: Effect.Effect<void, KafkaError> = Effect.suspend(() => {
    this.fenced.closeUnsafe()
    const owned = this.assigned.all.filter(({ lost }) => !lost).map(({ place }) => place)
    // Fencing others can take longer than a session.
    const kept = this.heartbeats("rebalance").pipe(
      Effect.mapError(({ reason }) => new KafkaError({ trouble: "refused", reason })),
      Effect.flatMap((ended) =>
        Effect.fail(new KafkaError({ trouble: ended === "evicted" ? "evicted" : "rebalance", reason: ended }))
      )
    )
    return Effect.flatMap(this.options.member.join(owned), (places) =>
      Effect.raceFirst(this.assigned.set(places), kept)
    )
  })

  // -------------------------------------------------------------------------------------------------- reading

  private readonly reading: Effect.Effect<Ended, SourceError> = Effect.suspend(() =>
    Effect.raceAllFirst([
      this.heartbeats("rebalance"),
      this.fetching,
      this.watching,
      this.growing,
      Effect.as(this.fenced.await, "evicted" as const)
    ])
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
      const silent = this.assigned.all.filter(
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
    const result = yield* Effect.result(this.commits.commit(this.assigned.all.filter(({ lost }) => !lost)))
    if (Result.isSuccess(result)) return yield* this.outage.works("commit")
    const { reason, trouble } = result.failure
    // The heartbeats find out about the rest.
    if (trouble === "rebalance" || trouble === "evicted" || trouble === "fenced") return
    if (trouble !== "away") return yield* this.refused(reason)
    yield* this.outage.failed("commit", reason)
    yield* Effect.sleep(backoffMillis)
    this.onSettled()
  })

  private refused(reason: string): Effect.Effect<never, SourceError> {
    return Effect.fail(new SourceError({ source: this.options.source, reason, away: false }))
  }
}
