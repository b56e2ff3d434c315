/** Where a partition begins: by what its group has committed, or by what the config says where there is nothing. */
import { Effect } from "effect"
import { type Committed, KafkaError, type Member, type Place } from "../services/Kafka.ts"
import { nameOf } from "./KafkaPartition.ts"
import * as Offsets from "./Offsets.ts"

export type Snapshot = Offsets.Snapshot

/** A number is a time in milliseconds since 1970. */
export type From = "earliest" | "latest" | "none" | number

export interface Options {
  readonly member: Member
  readonly group: string
  readonly from: From
}

/** For partitions of which nothing is committed. */
export const begins = (
  { from, group, member }: Options,
  places: ReadonlyArray<Place>
): Effect.Effect<ReadonlyMap<string, number>, KafkaError> => {
  if (places.length === 0) return Effect.succeed(new Map())
  if (from === "none") {
    const reason = `group ${group} has committed nothing of ${places.map(nameOf).join(", ")}, and from is none`
    return Effect.fail(new KafkaError({ trouble: "refused", reason }))
  }
  return Effect.gen(function* () {
    const found = yield* member.offsets(places, from)
    // Nothing is as young as the time: from the end on.
    const beyond = found.filter(({ offset }) => offset < 0)
    const ends = beyond.length === 0 ? [] : yield* member.offsets(beyond, "latest")
    return byName([...found.filter(({ offset }) => offset >= 0), ...ends])
  })
}

/** A map that claims more than the log has is of another log: then nothing beyond the watermark is known. */
export const snapshotOf = ({ metadata, offset }: Committed, end: number | undefined): Offsets.Snapshot => {
  const read = Offsets.decode(metadata, offset)
  const last = read?.settled.at(-1)
  return read === undefined || (last !== undefined && end !== undefined && last[1] > end)
    ? { watermark: offset, settled: [] }
    : read
}

export const byName = (places: ReadonlyArray<Place & { readonly offset: number }>): ReadonlyMap<string, number> =>
  new Map(places.map((place) => [nameOf(place), place.offset]))
