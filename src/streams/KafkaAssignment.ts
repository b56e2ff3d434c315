/** Which member of a group reads which partition: evenly shared, and everybody keeps what he had as far as that allows. */
import type { Place } from "../services/Kafka.ts"

export interface Subscriber {
  readonly id: string
  readonly topics: ReadonlyArray<string>
  /** What it reads so far. */
  readonly owned: ReadonlyArray<Place>
}

interface Load {
  readonly id: string
  readonly topics: ReadonlySet<string>
  readonly places: Array<Place>
}

/**
 * Every partition goes to exactly one member that subscribed to its topic, if there is one. No partition could move to
 * a member that has two fewer, so members with equal subscriptions differ by one at most. A partition claimed by two
 * stays with the first in the order of ids. The same input, in any order, gives the same shares.
 *
 * Source: KIP-54, https://cwiki.apache.org/confluence/display/KAFKA/KIP-54+-+Sticky+Partition+Assignment+Strategy
 */
export const assign = (
  members: ReadonlyArray<Subscriber>,
  partitions: ReadonlyMap<string, number>
): ReadonlyMap<string, ReadonlyArray<Place>> => {
  const sorted = [...members].sort((a, b) => compare(a.id, b.id))
  const loads = sorted.map(({ id, topics }): Load => ({ id, topics: new Set(topics), places: [] }))
  const taken = keep(sorted, loads, partitions)
  for (const place of missing(loads, partitions, taken)) {
    const readers = loads.filter(({ topics }) => topics.has(place.topic))
    const least = readers.reduce((least, load) => (load.places.length < least.places.length ? load : least))
    least.places.push(place)
  }
  while (moveOne(loads)) {
    // Each move brings two loads nearer to each other, so there is a last one.
  }
  return new Map(loads.map(({ id, places }) => [id, places.sort(inOrder)]))
}

/** Gives everybody what he owned and may keep; returns the keys of what is taken. */
const keep = (
  members: ReadonlyArray<Subscriber>,
  loads: ReadonlyArray<Load>,
  partitions: ReadonlyMap<string, number>
): ReadonlySet<string> => {
  const taken = new Set<string>()
  members.forEach(({ owned }, i) => {
    const { places, topics } = loads[i]!
    for (const { partition, topic } of [...owned].sort(inOrder)) {
      if (!topics.has(topic) || partition < 0 || partition >= (partitions.get(topic) ?? 0)) continue
      if (taken.has(keyOf(topic, partition))) continue
      taken.add(keyOf(topic, partition))
      places.push({ topic, partition })
    }
  })
  return taken
}

/** What nobody has; first what the fewest may read, so that the others can even it out. */
const missing = (
  loads: ReadonlyArray<Load>,
  partitions: ReadonlyMap<string, number>,
  taken: ReadonlySet<string>
): ReadonlyArray<Place> =>
  [...partitions]
    .map(([topic, count]) => ({ topic, count, readers: loads.filter(({ topics }) => topics.has(topic)).length }))
    .filter(({ readers }) => readers > 0)
    .sort((a, b) => a.readers - b.readers || compare(a.topic, b.topic))
    .flatMap(({ count, topic }) => Array.from({ length: count }, (_, partition) => ({ topic, partition })))
    .filter(({ partition, topic }) => !taken.has(keyOf(topic, partition)))

/** Moves a partition from the fullest member that can give one to the emptiest that can take it; false when all is even. */
const moveOne = (loads: ReadonlyArray<Load>): boolean => {
  const fullest = [...loads].sort((a, b) => b.places.length - a.places.length || compare(a.id, b.id))
  const emptiest = [...loads].sort((a, b) => a.places.length - b.places.length || compare(a.id, b.id))
  for (const giver of fullest) {
    for (const taker of emptiest) {
      if (giver.places.length - taker.places.length < 2) break
      const index = giver.places.findLastIndex(({ topic }) => taker.topics.has(topic))
      if (index === -1) continue
      taker.places.push(...giver.places.splice(index, 1))
      return true
    }
  }
  return false
}

const keyOf = (topic: string, partition: number): string => `${partition} ${topic}`

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

const inOrder = (a: Place, b: Place): number => compare(a.topic, b.topic) || a.partition - b.partition
