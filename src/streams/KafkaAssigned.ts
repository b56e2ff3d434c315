/** The partitions a member has: which of them go on after a join, where new ones begin, which are lost. */
import { Clock, Effect } from "effect"
import type { Committed, Member, Place } from "../services/Kafka.ts"
import type { Downstream } from "../services/Source.ts"
import type { Commits } from "./KafkaCommits.ts"
import { nameOf, Partition } from "./KafkaPartition.ts"
import * as Positions from "./KafkaPositions.ts"

export interface Options extends Positions.Options {
  readonly member: Member
  readonly commits: Commits
  readonly downstream: Downstream["Service"]
  /** The pipeline as logs name it, and the source as envelopes do. */
  readonly name: string
  readonly source: string
  readonly onSettled: () => void
}

/** Units: milliseconds between two lines about a partition that is paused. */
const toldMillis = 60_000
/** Units: partitions named in a line. */
const shownMax = 8

export class KafkaAssigned {
  private partitions: ReadonlyMap<string, Partition> = new Map()
  private readonly options: Options

  constructor(options: Options) {
    this.options = options
  }

  get all(): ReadonlyArray<Partition> {
    return [...this.partitions.values()]
  }

  get(name: string): Partition | undefined {
    return this.partitions.get(name)
  }

  /**
   * What a join gave. A partition we had goes on if the group knows no more of it than we told it; otherwise somebody
   * else has read it, and it begins where he left it.
   */
  readonly set = Effect.fnUntraced({ self: this }, function* (places: ReadonlyArray<Place>) {
    const { commits, downstream, group, member, name } = this.options
    const cluster = yield* member.cluster
    yield* commits.keep(new Set(places.map(nameOf)))
    const ours = (place: Place) => this.partitions.get(nameOf(place))?.lost === false
    yield* commits.take(places.filter((place) => !ours(place)))
    const committed = byName(yield* member.committed(places))
    const changed = places.filter((place) => ours(place) && !this.goesOn(place, committed))
    if (changed.length > 0) {
      yield* commits.take(changed)
      for (const one of yield* member.committed(changed)) committed.set(nameOf(one), one)
    }
    const begins = yield* Positions.begins(
      this.options,
      places.filter((place) => !committed.has(nameOf(place)))
    )
    const mapped = [...committed.values()].filter(({ metadata }) => metadata !== "")
    const ends = Positions.byName(mapped.length === 0 ? [] : yield* member.offsets(mapped, "latest"))
    const before = this.partitions
    this.partitions = new Map(
      places.map((place) => {
        const at = nameOf(place)
        if (this.goesOn(place, committed)) return [at, before.get(at)!]
        const one = committed.get(at)
        const from = one && Positions.snapshotOf(one, ends.get(at))
        return [at, this.begun(place, cluster, from ?? { watermark: begins.get(at) ?? 0, settled: [] }, one)]
      })
    )
    const lost = [...before.values()].filter((partition) => this.partitions.get(partition.name) !== partition)
    for (const partition of lost) partition.lost = true
    if (lost.length > 0) yield* downstream.recall
    if (lost.length > 0 || this.partitions.size !== before.size || before.size === 0) {
      yield* Effect.logInfo(`${name}: in group ${group}, reads ${shown(this.all)}`)
    }
  })

  /** Nothing of it may be told any more. */
  lose(partition: Partition): Effect.Effect<void> {
    partition.lost = true
    return this.options.downstream.recall
  }

  /** The log has no such offset any more. */
  readonly outOfRange = Effect.fnUntraced({ self: this }, function* (partition: Partition) {
    const { member, name } = this.options
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
    this.partitions = new Map([...this.partitions, [partition.name, partition.anew(begin)]])
    yield* this.lose(partition)
  })

  readonly tellFull = Effect.fnUntraced({ self: this }, function* (partition: Partition) {
    const now = yield* Clock.currentTimeMillis
    if (now < partition.toldAt + toldMillis) return
    partition.toldAt = now
    const { name, oldest } = partition
    const key = oldest?.note === undefined ? "" : `, of key ${oldest.note},`
    yield* Effect.logWarning(
      `${this.options.name}: ${name} is paused: ${oldest?.offset}${key} is not settled, and what is behind it has taken its share of the buffer or of the commit`
    )
  })

  private goesOn(place: Place, committed: ReadonlyMap<string, Committed>): boolean {
    const known = this.partitions.get(nameOf(place))
    return known?.lost === false && known.agrees(committed.get(nameOf(place)))
  }

  private begun(place: Place, cluster: string, from: Positions.Snapshot, committed: Committed | undefined): Partition {
    const { onSettled, source } = this.options
    return new Partition({ place, source, cluster, from, committed, onSettled })
  }
}

const byName = (committed: ReadonlyArray<Committed>): Map<string, Committed> =>
  new Map(committed.map((one) => [nameOf(one), one]))

const shown = (partitions: ReadonlyArray<Partition>): string => {
  if (partitions.length === 0) return "nothing: there are more members than partitions"
  const names = partitions.slice(0, shownMax).map(({ name }) => name)
  return names.join(", ") + (partitions.length > shownMax ? ` and ${partitions.length - shownMax} more` : "")
}
