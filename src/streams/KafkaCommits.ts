/** How what is settled reaches the group: by itself, or in transactions with what was published for it. */
import { Effect } from "effect"
import type { KafkaError, Member, Place } from "../services/Kafka.ts"
import type { Partition } from "./KafkaPartition.ts"
import type { KafkaTransactions } from "./KafkaTransactions.ts"

export interface Commits {
  /** Returns once nobody who may have had these partitions before can commit anything of them; then positions are read. */
  readonly take: (places: ReadonlyArray<Place>) => Effect.Effect<void, KafkaError>
  /** All other partitions are somebody else's now. */
  readonly keep: (names: ReadonlySet<string>) => Effect.Effect<void>
  /** Tells what the group does not know yet. */
  readonly commit: (partitions: ReadonlyArray<Partition>) => Effect.Effect<void, KafkaError>
}

/** The group itself refuses whoever is no member any more. */
export const plain = (member: Member): Commits => ({
  take: () => Effect.void,
  keep: () => Effect.void,
  commit: (partitions) => {
    const dirty = partitions.flatMap((partition) => {
      const offset = partition.commit()
      return offset === undefined ? [] : [{ partition, offset }]
    })
    if (dirty.length === 0) return Effect.void
    return Effect.tap(member.commit(dirty.map(({ offset }) => offset)), () =>
      Effect.sync(() => {
        for (const { offset, partition } of dirty) partition.confirmed(offset)
      })
    )
  }
})

export const transactional = (transactions: KafkaTransactions): Commits => ({
  take: (places) => transactions.take(places),
  keep: (names) => transactions.keep(names),
  commit: (partitions) =>
    Effect.forEach(partitions, (partition) => transactions.commit(partition, []), {
      concurrency: partitions.length,
      discard: true
    })
})
