/** The group coordinator of the Kafka in memory: who is a member, which generation it is, and what is committed. */
import { Deferred, Effect } from "effect"
import { type Committed, KafkaError, type Place, type Trouble } from "../services/Kafka.ts"
import { assign } from "../streams/KafkaAssignment.ts"

/**
 * Empty: nobody · PreparingRebalance: waits until all have joined again · CompletingRebalance: a new generation, whose
 * leader has still to say who reads what · Stable.
 *
 * Source: `GroupState` and `GroupCoordinator` of Apache Kafka's classic groups.
 */
export type State = "Empty" | "PreparingRebalance" | "CompletingRebalance" | "Stable"

/** What a member says when it joins. */
export interface Joining {
  readonly topics: ReadonlyArray<string>
  readonly owned: ReadonlyArray<Place>
  readonly sessionMillis: number
  readonly rebalanceMillis: number
}

export interface GroupMember extends Joining {
  readonly id: string
  /** Without a sign until then it is gone; not while it waits for an answer. Units: milliseconds since 1970. */
  expiresAt: number
  /** Waits for the others to join; gets the generation. */
  joining: Deferred.Deferred<number, KafkaError> | undefined
  /** Waits for the leader; gets what it has to read. */
  syncing: Deferred.Deferred<ReadonlyArray<Place>, KafkaError> | undefined
  /** Whether it has asked for its share of this generation. */
  synced: boolean
  assigned: ReadonlyArray<Place>
}

export interface Group {
  readonly id: string
  state: State
  generation: number
  leader: string | undefined
  /** Who has not joined, or not asked for his share, until then is removed. Units: milliseconds since 1970. */
  until: number
  /** The partitions of each topic when they were last shared out. */
  partitions: ReadonlyMap<string, number>
  readonly members: Map<string, GroupMember>
  readonly committed: Map<string, Committed>
}

/** The broker's `offset.metadata.max.bytes`. */
export const metadataBytesMax = 4096

export const make = (id: string): Group => ({
  id,
  state: "Empty",
  generation: 0,
  leader: undefined,
  until: 0,
  partitions: new Map(),
  members: new Map(),
  committed: new Map()
})

/** Makes a member, or takes its word anew; the answer comes when all others have joined too. */
export const join = (group: Group, id: string, says: Joining, now: number): Deferred.Deferred<number, KafkaError> => {
  const joining = Deferred.makeUnsafe<number, KafkaError>()
  const before = group.members.get(id)
  if (before !== undefined) answer(before, "rebalance")
  const { owned, rebalanceMillis, sessionMillis, topics } = says
  const member: GroupMember = {
    id,
    topics,
    owned,
    sessionMillis,
    rebalanceMillis,
    expiresAt: now + sessionMillis,
    joining,
    syncing: undefined,
    synced: false,
    assigned: []
  }
  // A member keeps its place: the first one leads.
  group.members.set(id, member)
  if (group.state !== "PreparingRebalance") prepare(group, now)
  completeWhenAll(group, now)
  return joining
}

/** Asks for the share of a generation. The leader, who works it out, answers everybody with it. */
export const sync = (
  group: Group,
  id: string,
  generation: number,
  now: number,
  partitions: ReadonlyMap<string, number>
): Deferred.Deferred<ReadonlyArray<Place>, KafkaError> => {
  const syncing = Deferred.makeUnsafe<ReadonlyArray<Place>, KafkaError>()
  const member = group.members.get(id)
  if (member === undefined || generation !== group.generation) return done(syncing, Effect.fail(trouble("evicted")))
  touch(member, now)
  if (group.state === "PreparingRebalance") return done(syncing, Effect.fail(trouble("rebalance")))
  member.synced = true
  if (group.state === "Stable") return done(syncing, Effect.succeed(member.assigned))
  member.syncing = syncing
  if (id === group.leader) share(group, now, partitions)
  return syncing
}

/** What is wrong with a heartbeat, if anything. */
export const heartbeat = (group: Group, id: string, generation: number, now: number): Trouble | undefined => {
  const member = group.members.get(id)
  if (member === undefined || generation !== group.generation) return "evicted"
  touch(member, now)
  return group.state === "PreparingRebalance" ? "rebalance" : undefined
}

/** What is wrong with a commit, if anything; otherwise it is to be noted. */
export const mayCommit = (group: Group, id: string, generation: number, now: number): Trouble | undefined => {
  const member = group.members.get(id)
  if (member === undefined || generation !== group.generation) return "evicted"
  touch(member, now)
  // While the others are still joining, those who read on may say how far they came.
  return group.state === "CompletingRebalance" ? "rebalance" : undefined
}

export const note = (group: Group, offsets: ReadonlyArray<Committed>): void => {
  for (const { metadata, offset, partition, topic } of offsets) {
    group.committed.set(keyOf({ topic, partition }), { topic, partition, offset, metadata })
  }
}

/** Takes a member out at once; the others share anew. */
export const remove = (group: Group, id: string, now: number): void => {
  const member = group.members.get(id)
  if (member === undefined) return
  group.members.delete(id)
  answer(member, "evicted")
  if (group.state !== "PreparingRebalance") prepare(group, now)
  completeWhenAll(group, now)
}

/** Does what time has brought about. */
export const expire = (group: Group, now: number): void => {
  for (const member of [...group.members.values()]) {
    if (expiryOf(member) <= now) remove(group, member.id, now)
  }
  if (group.until > now) return
  if (group.state === "PreparingRebalance") complete(group, now)
  else for (const { id } of lagging(group)) remove(group, id, now)
}

/** When `expire` has something to do, if nothing else happens. Units: milliseconds since 1970. */
export const dueAt = (group: Group): number => {
  const expiries = [...group.members.values()].map(expiryOf)
  const isWaiting = group.state === "PreparingRebalance" || lagging(group).length > 0
  return Math.min(...expiries, isWaiting ? group.until : Number.POSITIVE_INFINITY)
}

export const keyOf = ({ partition, topic }: Place): string => `${partition} ${topic}`

/** The broker's words. */
export const trouble = (trouble: Trouble): KafkaError =>
  new KafkaError({
    trouble,
    reason:
      trouble === "rebalance"
        ? "the group is rebalancing, so a rejoin is needed (REBALANCE_IN_PROGRESS)"
        : "the coordinator is not aware of this member or its generation (UNKNOWN_MEMBER_ID, ILLEGAL_GENERATION)"
  })

const prepare = (group: Group, now: number): void => {
  group.state = "PreparingRebalance"
  group.until = now + longest(group)
  for (const member of group.members.values()) {
    if (member.syncing === undefined) continue
    Deferred.doneUnsafe(member.syncing, Effect.fail(trouble("rebalance")))
    member.syncing = undefined
    touch(member, now)
  }
}

const completeWhenAll = (group: Group, now: number): void => {
  if ([...group.members.values()].every(({ joining }) => joining !== undefined)) complete(group, now)
}

/** The next generation, of those who have joined. */
const complete = (group: Group, now: number): void => {
  for (const { id, joining } of [...group.members.values()]) {
    if (joining === undefined) group.members.delete(id)
  }
  group.generation++
  group.state = group.members.size === 0 ? "Empty" : "CompletingRebalance"
  group.until = now + longest(group)
  if (!group.members.has(group.leader ?? "")) group.leader = group.members.keys().next().value
  for (const member of group.members.values()) {
    Deferred.doneUnsafe(member.joining!, Effect.succeed(group.generation))
    member.joining = undefined
    member.synced = false
    touch(member, now)
  }
}

const share = (group: Group, now: number, partitions: ReadonlyMap<string, number>): void => {
  const shares = assign([...group.members.values()], partitions)
  group.state = "Stable"
  group.partitions = partitions
  for (const member of group.members.values()) {
    member.assigned = shares.get(member.id) ?? []
    if (member.syncing === undefined) continue
    Deferred.doneUnsafe(member.syncing, Effect.succeed(member.assigned))
    member.syncing = undefined
    touch(member, now)
  }
}

/** Those who have joined this generation and not asked for their share. */
const lagging = ({ members, state }: Group): ReadonlyArray<GroupMember> =>
  state === "CompletingRebalance" || state === "Stable" ? [...members.values()].filter(({ synced }) => !synced) : []

/** Ends what a member waits for. */
const answer = ({ joining, syncing }: GroupMember, why: Trouble): void => {
  if (joining !== undefined) Deferred.doneUnsafe(joining, Effect.fail(trouble(why)))
  if (syncing !== undefined) Deferred.doneUnsafe(syncing, Effect.fail(trouble(why)))
}

const touch = (member: GroupMember, now: number): void => {
  member.expiresAt = now + member.sessionMillis
}

const expiryOf = ({ expiresAt, joining, syncing }: GroupMember): number =>
  joining === undefined && syncing === undefined ? expiresAt : Number.POSITIVE_INFINITY

const longest = ({ members }: Group): number =>
  Math.max(0, ...[...members.values()].map(({ rebalanceMillis }) => rebalanceMillis))

const done = <A, E>(deferred: Deferred.Deferred<A, E>, result: Effect.Effect<A, E>): Deferred.Deferred<A, E> => {
  Deferred.doneUnsafe(deferred, result)
  return deferred
}
