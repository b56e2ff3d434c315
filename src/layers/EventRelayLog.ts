/** What an EventRelay server keeps: the events of each topic by their offset, and how far each destination has got in them. */
import type { RelayEvent } from "../services/EventRelay.ts"
import type { Matches } from "./EventRelayQuery.ts"

export interface Stored {
  readonly event: RelayEvent
  /** The part of the topic behind its colon; empty where there is none. */
  readonly identifier: string
  /** Units: milliseconds since 1970. */
  readonly availableAt: number
}

export interface Topic {
  readonly name: string
  /** By offset, the first of which is 1. */
  readonly log: Array<Stored>
}

export interface Destination {
  readonly id: string
  readonly topic: Topic
  /** Empty for all of the topic. */
  readonly identifier: string
  readonly query: string
  readonly matches: Matches
  /** Places in the log from here on were not looked at yet. */
  next: number
  /** Places before `next` that can be pulled, now or once they are available. */
  readonly open: Set<number>
  /** The place of each event that is out, by id. */
  readonly locked: Map<string, number>
}

/** The next events that are available and belong to the destination; all of them are locked for it from then on. */
export const take = (destination: Destination, most: number, now: number): ReadonlyArray<RelayEvent> => {
  const { identifier, locked, matches, open, topic } = destination
  const taken: Array<RelayEvent> = []
  const lock = (place: number, event: RelayEvent) => {
    locked.set(event.id, place)
    taken.push(event)
  }
  // All of them lie before `next`, so the order of offsets is kept.
  for (const place of [...open].sort((a, b) => a - b)) {
    if (taken.length >= most) break
    const { availableAt, event } = topic.log[place]!
    if (availableAt > now) continue
    open.delete(place)
    lock(place, event)
  }
  while (taken.length < most && destination.next < topic.log.length) {
    const place = destination.next++
    const stored = topic.log[place]!
    if ((identifier !== "" && stored.identifier !== identifier) || !matches(stored.event)) continue
    if (stored.availableAt > now) open.add(place)
    else lock(place, stored.event)
  }
  return taken
}

/** Takes the locks away; ids that have none are passed over. Returns the events that can be pulled again. */
export const giveBack = (destination: Destination, ids: ReadonlyArray<string>): ReadonlyArray<RelayEvent> =>
  ids.flatMap((id) => {
    const place = destination.locked.get(id)
    if (place === undefined) return []
    destination.locked.delete(id)
    destination.open.add(place)
    return [destination.topic.log[place]!.event]
  })

/** What of a topic can be read now. */
export const readable = (
  topic: Topic,
  identifier: string,
  matches: Matches,
  now: number
): ReadonlyArray<RelayEvent> => {
  const found: Array<RelayEvent> = []
  for (const { availableAt, event, identifier: own } of topic.log) {
    if (availableAt <= now && (identifier === "" || own === identifier) && matches(event)) found.push(event)
  }
  return found
}
