/** Kafka in memory, with groups, transactions and faults on demand: for tests, and the reference of what a client does. */
import { Clock, Context, Effect, Exit, FiberHandle, Layer, type Scope } from "effect"
import {
  type Committed,
  KafkaClient,
  KafkaError,
  type KafkaRecord,
  type Producer,
  type Transactions
} from "../services/Kafka.ts"
import * as Faults from "./KafkaClientMemoryFaults.ts"
import * as Group from "./KafkaClientMemoryGroup.ts"
import * as Log from "./KafkaClientMemoryLog.ts"
import * as Member from "./KafkaClientMemoryMember.ts"

export interface Options extends Partial<Log.Options> {
  /** The name of the cluster. */
  readonly name?: string | undefined
}

/** A member by its number, in the order in which they were made (from 0), or by its id in the group. */
export type Who = number | string

/** The calls of clients that can be made to fail. */
export type Failing = Exclude<Faults.Call, "reconnect">

/** What a test does to the cluster, and what it sees of it. */
export interface Controls {
  /** Makes a topic, or adds partitions to it up to this number. */
  readonly createTopic: (topic: string, partitions: number) => Effect.Effect<void>
  /** Writes a record, as somebody else would. */
  readonly produce: (
    topic: string,
    partition?: number | undefined,
    record?: Omit<Log.Message, "topic" | "partition">
  ) => Effect.Effect<{ readonly partition: number; readonly offset: number }, KafkaError>
  /** Removes the records before an offset, as retention does. */
  readonly trim: (topic: string, partition: number, before: number) => Effect.Effect<void>
  /** Begins a transaction that stays open until it is committed, aborted, or fenced by the next with its id. */
  readonly begin: (
    transactionalId: string,
    records: ReadonlyArray<Log.Message>
  ) => Effect.Effect<{ readonly commit: Effect.Effect<void>; readonly abort: Effect.Effect<void> }, KafkaError>
  /** Gives a partition to the next broker; if there is only one, there are two from now on. */
  readonly moveLeader: (topic: string, partition: number) => Effect.Effect<void>
  /** While true every call fails with `away`, also those that wait. Sessions run out meanwhile. */
  readonly away: (isAway: boolean) => Effect.Effect<void>
  /** Lets the next such call fail, whoever makes it: before anything is done, or after all of it is. */
  readonly failNext: (call: Failing, error: KafkaError, when?: "before" | "after") => Effect.Effect<void>
  /** Lets all calls of a member hang, as if its process stood still, until `thaw`. */
  readonly freeze: (who: Who) => Effect.Effect<void>
  readonly thaw: (who: Who) => Effect.Effect<void>
  /** Takes a member out of its group, as if its session had run out. */
  readonly evict: (who: Who) => Effect.Effect<void>
  readonly committed: (group: string, topic: string, partition: number) => Committed | undefined
  /** What a reader of committed records finds. */
  readonly records: (topic: string, partition: number) => ReadonlyArray<KafkaRecord>
  readonly members: (group: string) => ReadonlyArray<Group.GroupMember>
  readonly generation: (group: string) => number
  readonly state: (group: string) => Group.State
  /** How many such calls were made. */
  readonly calls: (call: Faults.Call) => number
}

export interface KafkaMemory extends Controls {
  readonly client: KafkaClient["Service"]
}

/** The controls, for tests that get the client by its layer. */
export class Cluster extends Context.Service<Cluster, KafkaMemory>()("sluice/layers/KafkaClientMemory/Cluster") {}

/** Who has a transactional id, and what is open under it. */
interface Holder {
  epoch: number
  readonly open: Set<Log.Transaction>
}

interface Broker extends Member.Broker {
  readonly holderOf: (transactionalId: string) => Holder
}

export const make = Effect.fnUntraced(function* ({
  brokers = 1,
  name = "memory",
  partitionsDefault = 1,
  recordBytesMax = 1_048_576
}: Options = {}): Effect.fn.Return<KafkaMemory, never, Scope.Scope> {
  const groups = new Map<string, Group.Group>()
  const holders = new Map<string, Holder>()
  let ids = 0
  const broker: Broker = {
    name,
    logs: Log.make({ brokers, partitionsDefault, recordBytesMax }),
    faults: Faults.make(),
    groupOf: (id) => getOrMake(groups, id, () => Group.make(id)),
    holderOf: (id) => getOrMake(holders, id, () => ({ epoch: 0, open: new Set() })),
    arm: yield* makeTimer(groups),
    nextId: (clientId) => `${clientId}-${ids++}`
  }
  const members: Array<Member.Self> = []
  const { faults, logs } = broker
  const client = KafkaClient.of({
    member: (options) =>
      Effect.map(faults.open, (line) => {
        const { member, self } = Member.make(broker, options, line)
        members.push(self)
        return member
      }),
    producer: ({ acks }) => Effect.map(faults.open, (line) => makeProducer(broker, line, acks)),
    transactions: ({ group, transactionalId }) =>
      Effect.map(faults.open, (line) => makeTransactions(broker, line, group, transactionalId)),
    reader: (connection, topic) =>
      Effect.map(faults.open, (line) => {
        const { member } = Member.make(broker, { ...reading, connection, topics: [topic] }, line)
        const places = Effect.sync(() =>
          (logs.topics.get(topic)?.partitions ?? []).map(({ partition }) => ({ topic, partition }))
        )
        const { fetch, leaders, offsets } = member
        return { fetch, leaders, offsets, places: faults.call("places", line, places) }
      }),
    readAll: (_, topic, take) =>
      Effect.flatMap(faults.open, (line) =>
        faults.call(
          "readAll",
          line,
          Effect.sync(() => {
            for (const partition of logs.topics.get(topic)?.partitions ?? []) {
              const { records } = committedIn(partition)
              if (records.length > 0) take({ topic, partition: partition.partition }, records)
            }
          })
        )
      ).pipe(Effect.scoped)
  })
  return { client, ...logControls(broker), ...groupControls(broker, members) }
})

/** Of a reader, whose group is never joined. */
const reading = {
  group: "",
  sessionMillis: 0,
  rebalanceMillis: 0,
  isolation: "read_committed",
  fetch: { waitMillis: 100, bytesMin: 1, bytesMax: 10 * 1024 * 1024, partitionBytesMax: 1024 * 1024 }
} as const

const layerOf = (cluster: ReturnType<typeof make>): Layer.Layer<KafkaClient | Cluster> =>
  Layer.effectContext(
    Effect.map(cluster, (cluster) => Context.make(Cluster, cluster).pipe(Context.add(KafkaClient, cluster.client)))
  )

export const layer: Layer.Layer<KafkaClient | Cluster> = layerOf(make())

export const layerWith = (options: Options): Layer.Layer<KafkaClient | Cluster> => layerOf(make(options))

/** One fiber that sleeps until the next thing is due in any group; to be armed after what may bring it forward. */
const makeTimer = (groups: ReadonlyMap<string, Group.Group>): Effect.Effect<Effect.Effect<void>, never, Scope.Scope> =>
  Effect.map(FiberHandle.make(), (handle) => {
    let armed = Number.POSITIVE_INFINITY
    const dueAt = (): number => Math.min(Number.POSITIVE_INFINITY, ...[...groups.values()].map(Group.dueAt))
    const run = Effect.gen(function* () {
      while (true) {
        const now = yield* Clock.currentTimeMillis
        for (const group of groups.values()) Group.expire(group, now)
        armed = dueAt()
        if (armed === Number.POSITIVE_INFINITY) return
        yield* Effect.sleep(armed - now)
      }
    })
    return Effect.suspend(() => (dueAt() < armed ? Effect.asVoid(FiberHandle.run(handle, run)) : Effect.void))
  })

const makeProducer = ({ faults, logs }: Broker, line: Faults.Line, acks: "all" | 1 | 0): Producer => ({
  send: (messages) =>
    faults.call(
      "send",
      line,
      Effect.gen(function* () {
        const places = yield* logs.append(messages, yield* Clock.currentTimeMillis)
        return acks === 0 ? places.map((place) => ({ ...place, offset: -1 })) : places
      })
    )
})

const makeTransactions = (
  { faults, groupOf, holderOf, logs }: Broker,
  line: Faults.Line,
  group: string,
  transactionalId: string
): Transactions => {
  const holder = holderOf(transactionalId)
  let epoch: number | undefined
  const fence = Effect.sync(() => {
    epoch = ++holder.epoch
    for (const transaction of holder.open) logs.end(transaction, "aborted")
    holder.open.clear()
  })
  const commit: Transactions["commit"] = Effect.fnUntraced(function* (messages, offsets) {
    if (epoch !== holder.epoch) {
      return yield* new KafkaError({
        trouble: "fenced",
        reason: `a newer producer has the transactional id ${transactionalId} (PRODUCER_FENCED)`
      })
    }
    yield* Member.checkMetadata(offsets)
    const transaction = logs.begin()
    yield* logs.append(messages, yield* Clock.currentTimeMillis, transaction)
    Group.note(groupOf(group), offsets)
    logs.end(transaction, "committed")
  })
  return {
    fence: faults.call("fence", line, fence),
    // After a failure the id has to be taken again.
    commit: (messages, offsets) =>
      Effect.onExit(faults.call("transact", line, commit(messages, offsets)), (exit) =>
        Effect.sync(() => {
          if (Exit.isFailure(exit)) epoch = undefined
        })
      )
  }
}

const logControls = ({ holderOf, logs }: Broker) => ({
  createTopic: (topic: string, partitions: number) =>
    Effect.sync(() => {
      logs.create(topic, partitions)
    }),
  produce: Effect.fnUntraced(function* (
    topic: string,
    partition?: number | undefined,
    record: Omit<Log.Message, "topic" | "partition"> = {}
  ) {
    return (yield* logs.append([{ ...record, topic, partition }], yield* Clock.currentTimeMillis))[0]!
  }),
  trim: (topic: string, partition: number, before: number) =>
    Effect.sync(() => logs.trim({ topic, partition }, before)),
  begin: Effect.fnUntraced(function* (transactionalId: string, records: ReadonlyArray<Log.Message>) {
    const transaction = logs.begin()
    yield* logs.append(records, yield* Clock.currentTimeMillis, transaction)
    holderOf(transactionalId).open.add(transaction)
    return {
      commit: Effect.sync(() => logs.end(transaction, "committed")),
      abort: Effect.sync(() => logs.end(transaction, "aborted"))
    }
  }),
  moveLeader: (topic: string, partition: number) => Effect.sync(() => logs.moveLeader({ topic, partition })),
  records: (topic: string, partition: number) => {
    const log = logs.find({ topic, partition })
    return log === undefined ? [] : committedIn(log).records
  }
})

const groupControls = ({ arm, faults, groupOf }: Broker, members: ReadonlyArray<Member.Self>) => {
  const by = (who: Who): Effect.Effect<Member.Self> =>
    Effect.suspend(() => {
      const self = typeof who === "number" ? members[who] : members.findLast(({ id }) => id === who)
      return self === undefined ? Effect.die(noMember(who)) : Effect.succeed(self)
    })
  return {
    away: (isAway: boolean) => Effect.sync(() => faults.setAway(isAway)),
    failNext: (call: Failing, error: KafkaError, when: "before" | "after" = "before") =>
      Effect.sync(() => {
        faults.planned.push({ call, error, when })
      }),
    freeze: (who: Who) => Effect.flatMap(by(who), ({ line }) => Effect.asVoid(line.running.close)),
    thaw: (who: Who) => Effect.flatMap(by(who), ({ line }) => Effect.asVoid(line.running.open)),
    evict: Effect.fnUntraced(function* (who: Who) {
      const { id = "", options } = yield* by(who)
      Group.remove(groupOf(options.group), id, yield* Clock.currentTimeMillis)
      yield* arm
    }),
    committed: (group: string, topic: string, partition: number) =>
      groupOf(group).committed.get(Group.keyOf({ topic, partition })),
    members: (group: string) => [...groupOf(group).members.values()],
    generation: (group: string) => groupOf(group).generation,
    state: (group: string) => groupOf(group).state,
    calls: faults.calls
  }
}

const committedIn = (partition: Log.Partition) =>
  Log.read(partition, partition.start, "read_committed", Number.POSITIVE_INFINITY)

const getOrMake = <A>(map: Map<string, A>, key: string, make: () => A): A => {
  const known = map.get(key)
  if (known !== undefined) return known
  const made = make()
  map.set(key, made)
  return made
}

const noMember = (who: Who): KafkaError =>
  new KafkaError({ trouble: "refused", reason: `the test names a member that was never made: ${who}` })
