/** A member of a group at the Kafka in memory: what a client keeps between its calls, and the calls. */
import { Cause, Clock, Deferred, Effect, Exit, Option } from "effect"
import {
  type Committed,
  type Fetched,
  KafkaError,
  type Member,
  type MemberOptions,
  type Place
} from "../services/Kafka.ts"
import * as Faults from "./KafkaClientMemoryFaults.ts"
import * as Group from "./KafkaClientMemoryGroup.ts"
import * as Log from "./KafkaClientMemoryLog.ts"

/** What a member is connected to. */
export interface Broker {
  readonly name: string
  readonly logs: Log.Logs
  readonly faults: Faults.Faults
  readonly groupOf: (id: string) => Group.Group
  /** Sees to it that what is due in the groups happens when it is due. */
  readonly arm: Effect.Effect<void>
  readonly nextId: (clientId: string) => string
}

/** The client's side of a membership. */
export interface Self {
  readonly options: MemberOptions
  readonly line: Faults.Line
  id: string | undefined
  /** Of the last join that returned. */
  generation: number
  /** Of the join that is underway, as soon as it is known. */
  joined: number | undefined
  /** From a join on until one returns, also when it has to be made again. */
  isJoining: boolean
  /** Its partitions by topic at the last join; undefined before. */
  known: ReadonlyMap<string, number> | undefined
  /** The brokers as they were when it last asked. */
  readonly leaders: Map<string, number>
}

export const make = (broker: Broker, options: MemberOptions, line: Faults.Line): { self: Self; member: Member } => {
  const { faults, logs } = broker
  const group = broker.groupOf(options.group)
  const self: Self = {
    options,
    line,
    id: undefined,
    generation: -1,
    joined: undefined,
    isJoining: false,
    known: undefined,
    leaders: new Map()
  }
  const call = <A>(name: Faults.Call, body: Effect.Effect<A, KafkaError>) => faults.call(name, line, body)
  const now = Effect.map(Clock.currentTimeMillis, (now) => {
    Group.expire(group, now)
    return now
  })
  /** Whether the coordinator takes it as coming from a member. */
  const vouched = Effect.fnUntraced(function* (ask: typeof Group.heartbeat, generation: number) {
    const trouble = ask(group, self.id ?? "", generation, yield* now)
    if (trouble === undefined) return
    // With its join underway it is behind by a generation, and is a member nevertheless.
    const isUnderway = self.isJoining && group.members.has(self.id ?? "")
    return yield* Group.trouble(trouble === "evicted" && isUnderway ? "rebalance" : trouble)
  })
  return {
    self,
    member: {
      cluster: call("cluster", Effect.succeed(broker.name)),
      join: (owned) =>
        call("join", join(broker, self, group, owned)).pipe(
          Effect.onExit((exit) =>
            Effect.sync(() => {
              const error = Exit.isFailure(exit) ? Option.getOrUndefined(Cause.findErrorOption(exit.cause)) : undefined
              self.isJoining = error?.trouble === "rebalance"
              self.joined = undefined
            })
          )
        ),
      heartbeat: call(
        "heartbeat",
        Effect.suspend(() => vouched(Group.heartbeat, self.joined ?? self.generation))
      ),
      committed: (places) =>
        call(
          "committed",
          Effect.sync(() => places.flatMap((place) => group.committed.get(Group.keyOf(place)) ?? []))
        ),
      commit: (offsets) =>
        call(
          "commit",
          Effect.gen(function* () {
            yield* vouched(Group.mayCommit, self.generation)
            yield* checkMetadata(offsets)
            Group.note(group, offsets)
          })
        ),
      offsets: (places, at) =>
        call(
          "offsets",
          Effect.forEach(places, (place) =>
            Effect.map(existing(logs, place), (partition) => ({
              topic: place.topic,
              partition: place.partition,
              offset: Log.offsetAt(partition, options.isolation, at)
            }))
          )
        ),
      leaders: (places, fresh) => call("leaders", leaders(logs, self, places, fresh)),
      fetch: (name, from) => call("fetch", fetch(broker, self, name, from)),
      grown: call(
        "grown",
        Effect.sync(() => hasGrown(logs, self))
      ),
      leave: call(
        "leave",
        Effect.gen(function* () {
          if (self.id !== undefined) Group.remove(group, self.id, yield* now)
          self.id = undefined
          self.generation = -1
          yield* broker.arm
        })
      ),
      reconnect: Effect.andThen(
        line.running.await,
        Effect.sync(() => {
          faults.count("reconnect")
          Faults.cut(line)
        })
      )
    }
  }
}

export const checkMetadata = Effect.fnUntraced(function* (offsets: ReadonlyArray<Committed>) {
  for (const { metadata, partition, topic } of offsets) {
    if (new TextEncoder().encode(metadata).length <= Group.metadataBytesMax) continue
    return yield* new KafkaError({
      trouble: "refused",
      reason: `the metadata for ${topic}/${partition} is over ${Group.metadataBytesMax} bytes (OFFSET_METADATA_TOO_LARGE)`
    })
  }
})

/** Two requests, as in Kafka: to join, and to ask for its share. */
const join = Effect.fnUntraced(function* (broker: Broker, self: Self, group: Group.Group, owned: ReadonlyArray<Place>) {
  const { faults, logs } = broker
  const { connection, rebalanceMillis, sessionMillis } = self.options
  const topics = yield* subscribed(logs, self.options)
  const now = yield* Clock.currentTimeMillis
  Group.expire(group, now)
  self.isJoining = true
  if (self.id === undefined || !group.members.has(self.id)) {
    self.id = broker.nextId(connection.clientId)
    self.generation = -1
  }
  const { id } = self
  const joined = Group.join(group, id, { topics, owned, sessionMillis, rebalanceMillis }, now)
  yield* broker.arm
  const generation = yield* faults.answer(self.line, joined)
  yield* faults.reach(self.line)
  self.joined = generation
  const synced = Group.sync(group, id, generation, yield* Clock.currentTimeMillis, countsOf(logs))
  yield* broker.arm
  const assigned = yield* faults.answer(self.line, synced)
  self.generation = generation
  // Only of what it named itself: a topic that appeared meanwhile is still new to it.
  self.known = new Map([...group.partitions].filter(([topic]) => topics.includes(topic)))
  return assigned
})

const subscribed = Effect.fnUntraced(function* (logs: Log.Logs, { topics }: MemberOptions) {
  if (topics instanceof RegExp) return matching(logs, topics)
  for (const topic of topics) {
    if (!logs.topics.has(topic)) return yield* Log.unknown({ topic, partition: 0 })
  }
  return topics
})

/** The topics whose whole name an expression matches. */
const matching = (logs: Log.Logs, { flags, source }: RegExp): ReadonlyArray<string> => {
  const whole = new RegExp(`^(?:${source})$`, flags.replaceAll(/[gy]/g, ""))
  return [...logs.topics.keys()].filter((topic) => whole.test(topic))
}

const countsOf = (logs: Log.Logs): ReadonlyMap<string, number> =>
  new Map([...logs.topics].map(([topic, { partitions }]) => [topic, partitions.length]))

const hasGrown = (logs: Log.Logs, { known, options: { topics } }: Self): boolean => {
  if (known === undefined) return false
  const wanted = topics instanceof RegExp ? matching(logs, topics) : topics
  return wanted.some((topic) => (logs.topics.get(topic)?.partitions.length ?? 0) > (known.get(topic) ?? 0))
}

const existing = (logs: Log.Logs, place: Place): Effect.Effect<Log.Partition, KafkaError> =>
  Effect.suspend(() => {
    const partition = logs.find(place)
    return partition === undefined ? Effect.fail(Log.unknown(place)) : Effect.succeed(partition)
  })

const brokerName = (leader: number): string => `broker-${leader}`

const leaders = Effect.fnUntraced(function* (logs: Log.Logs, self: Self, places: ReadonlyArray<Place>, fresh: boolean) {
  const byLeader = new Map<number, Array<Place>>()
  for (const { partition, topic } of places) {
    const key = Group.keyOf({ topic, partition })
    const { leader: current } = yield* existing(logs, { topic, partition })
    const leader = fresh ? current : (self.leaders.get(key) ?? current)
    self.leaders.set(key, leader)
    byLeader.set(leader, [...(byLeader.get(leader) ?? []), { topic, partition }])
  }
  return [...byLeader].sort(([a], [b]) => a - b).map(([leader, places]) => ({ broker: brokerName(leader), places }))
})

/** Looks, and looks again at every change, until there is enough or the time is over. */
const fetch = Effect.fnUntraced(function* (
  { faults, logs }: Broker,
  { line, options }: Self,
  name: string,
  from: ReadonlyArray<Place & { readonly offset: number }>
) {
  const until = (yield* Clock.currentTimeMillis) + options.fetch.waitMillis
  while (true) {
    const { bytes, fetched } = yield* look(logs, options, name, from)
    const left = until - (yield* Clock.currentTimeMillis)
    if (left <= 0 || bytes >= options.fetch.bytesMin || fetched.some(isUrgent)) return fetched
    const changed = Deferred.makeUnsafe<void, KafkaError>()
    logs.readers.add(changed)
    yield* faults
      .answer(line, changed)
      .pipe(Effect.timeoutOption(left), Effect.ensuring(Effect.sync(() => logs.readers.delete(changed))))
    yield* faults.reach(line)
  }
})

/** What the reader has to know at once, however little it is: a problem, or that there is nothing to see up to here. */
const isUrgent = ({ problem, records }: Fetched): boolean => problem !== undefined || records.length === 0

const look = Effect.fnUntraced(function* (
  logs: Log.Logs,
  { fetch: { bytesMax, partitionBytesMax }, isolation }: MemberOptions,
  broker: string,
  from: ReadonlyArray<Place & { readonly offset: number }>
) {
  const fetched: Array<Fetched> = []
  let bytes = 0
  for (const { offset, partition, topic } of from) {
    const log = yield* existing(logs, { topic, partition })
    const place = { topic, partition }
    const problem = brokerName(log.leader) !== broker ? "moved" : isWithin(log, offset) ? undefined : "outOfRange"
    if (problem !== undefined) {
      fetched.push({ ...place, records: [], next: offset, end: Log.readableOf(log, isolation), problem })
      continue
    }
    if (bytes > 0 && bytes >= bytesMax) continue
    const { bytes: size, ...found } = Log.read(log, offset, isolation, Math.min(partitionBytesMax, bytesMax - bytes))
    if (found.next === offset) continue
    // The first one may be larger than all that was asked for; it would block its partition otherwise.
    if (bytes > 0 && bytes + size > bytesMax) continue
    fetched.push({ ...place, ...found, problem })
    bytes += size
  }
  return { fetched, bytes }
})

const isWithin = (partition: Log.Partition, offset: number): boolean =>
  offset >= partition.start && offset <= Log.endOf(partition)
