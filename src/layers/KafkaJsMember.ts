/** A member of a Kafka group, spoken by kafkajs' protocol layer: join, heartbeat, fetch and commit, each when it is asked. */
import { Buffer } from "node:buffer"
import { Effect, type Scope } from "effect"
import kafkajs from "kafkajs"
import {
  type Committed,
  KafkaError,
  type Member,
  type MemberOptions,
  type Place,
  type Reader
} from "../services/Kafka.ts"
import { assign } from "../streams/KafkaAssignment.ts"
import * as Cluster from "./KafkaJsCluster.ts"
import * as Errors from "./KafkaJsErrors.ts"
import { KafkaJsFetch } from "./KafkaJsFetch.ts"

const { AssignerProtocol } = kafkajs

/** The assignment is ours whatever it is called; the other names let members of other clients share the group. */
const protocols = ["sluice", "range", "roundrobin", "RoundRobinAssigner"]

/** A member, or a reader that never joins. */
export const make = (options: MemberOptions): Effect.Effect<Member & Reader, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => new MemberOfGroup(options)),
    (member) => Effect.sync(() => member.close())
  )

/** Connections of their own, and the group's coordinator over them. */
interface Link extends Cluster.Opened {
  coordinator: Cluster.Broker | undefined
}

class MemberOfGroup implements Member, Reader {
  /** For records, positions and commits. */
  private data: Link
  /** For the place in the group: a broker answers one request of a connection after the other, and a commit may take long. */
  private group: Link
  private memberId = ""
  private generation = -1
  /** Partition counts by topic, as of the last join. */
  private shape: ReadonlyMap<string, number> = new Map()
  private readonly reads: KafkaJsFetch
  private readonly options: MemberOptions

  constructor(options: MemberOptions) {
    this.options = options
    this.data = this.open()
    this.group = this.open()
    this.reads = new KafkaJsFetch(options)
  }

  readonly cluster = Errors.tried(async () => {
    await this.ready()
    return this.vendor.brokerPool.metadata?.clusterId ?? "kafka"
  })

  readonly join = (owned: ReadonlyArray<Place>): Effect.Effect<ReadonlyArray<Place>, KafkaError> =>
    Errors.tried(() => this.joinGroup(owned)).pipe(
      Effect.mapError((error) =>
        Errors.isUnknownTopic(error.cause)
          ? new KafkaError({ trouble: "away", reason: `there is no topic ${this.options.topics} (yet)` })
          : error
      ),
      Effect.tapError(({ trouble }) =>
        Effect.sync(() => {
          if (trouble === "evicted") this.memberId = ""
        })
      )
    )

  readonly heartbeat = this.asked("group", (coordinator) =>
    coordinator.heartbeat({ ...this.self, groupGenerationId: this.generation })
  ).pipe(Effect.asVoid)

  readonly committed = (places: ReadonlyArray<Place>): Effect.Effect<ReadonlyArray<Committed>, KafkaError> => {
    const topics = Cluster.byTopic(places, ({ partition }) => ({ partition }))
    return Effect.map(
      this.asked("data", (coordinator) => coordinator.offsetFetch({ groupId: this.options.group, topics })),
      ({ responses }) =>
        responses.flatMap(({ partitions, topic }) =>
          partitions.flatMap(({ metadata, offset, partition }) =>
            Number(offset) < 0 ? [] : [{ topic, partition, offset: Number(offset), metadata: metadata ?? "" }]
          )
        )
    )
  }

  readonly commit = (offsets: ReadonlyArray<Committed>): Effect.Effect<void, KafkaError> => {
    const topics = Cluster.byTopic(offsets, ({ metadata, offset, partition }) => ({
      partition,
      offset: `${offset}`,
      metadata
    }))
    return Effect.asVoid(
      this.asked("data", (coordinator) =>
        coordinator.offsetCommit({ ...this.self, groupGenerationId: this.generation, topics })
      )
    )
  }

  readonly offsets: Member["offsets"] = (places, at) =>
    Errors.tried(async () => {
      await this.ready()
      const topics = Cluster.byTopic(places, ({ partition }) => ({ partition }))
      const found = await this.vendor.fetchTopicsOffset(
        topics.map((topic) =>
          typeof at === "number" ? { ...topic, fromTimestamp: at } : { ...topic, fromBeginning: at === "earliest" }
        )
      )
      return found.flatMap(({ partitions, topic }) =>
        partitions.map(({ offset, partition }) => ({ topic, partition, offset: Number(offset) }))
      )
    })

  readonly leaders: Member["leaders"] = (places, fresh) =>
    Errors.tried(async () => {
      await this.ready()
      if (fresh) await this.vendor.refreshMetadata()
      const found = new Map<number, Array<Place>>()
      for (const place of places) {
        const leader = this.vendor
          .findTopicPartitionMetadata(place.topic)
          .find(({ partitionId }) => partitionId === place.partition)?.leader
        if (leader === undefined || leader < 0) throw new Error(`${place.topic}/${place.partition} has no leader`)
        const known = found.get(leader)
        if (known === undefined) found.set(leader, [place])
        else known.push(place)
      }
      return [...found].map(([broker, places]) => ({ broker: `${broker}`, places }))
    })

  readonly fetch: Member["fetch"] = (broker, from) =>
    Errors.tried(async () => this.reads.fetch(await this.vendor.findBroker({ nodeId: broker }), from))

  readonly places = Errors.tried(async () => {
    await this.vendor.connect()
    try {
      const shape = await this.shapeOf(await this.topics())
      return [...shape].flatMap(([topic, count]) =>
        Array.from({ length: count }, (_, partition): Place => ({ topic, partition }))
      )
    } catch (thrown) {
      if (Errors.isUnknownTopic(thrown)) return []
      throw thrown
    }
  })

  readonly grown = Errors.tried(async () => {
    await this.ready()
    await this.vendor.refreshMetadata()
    const now = await this.shapeOf(await this.topics())
    return now.size !== this.shape.size || [...now].some(([topic, count]) => this.shape.get(topic) !== count)
  })

  readonly leave = Effect.suspend(() => {
    if (this.memberId === "") return Effect.void
    const { self } = this
    this.memberId = ""
    // Not behind a join that still waits for others.
    return Effect.asVoid(this.asked("data", (coordinator) => coordinator.leaveGroup(self)))
  })

  readonly reconnect = Effect.sync(() => {
    this.close()
    this.data = this.open()
    this.group = this.open()
  })

  close(): void {
    this.data.close()
    this.group.close()
  }

  // -------------------------------------------------------------------------------------------------- helpers

  private get vendor(): Cluster.Cluster {
    return this.data.cluster
  }

  private get self() {
    return { groupId: this.options.group, memberId: this.memberId }
  }

  private open(): Link {
    const { connection, isolation } = this.options
    return { ...Cluster.open(connection, isolation === "read_committed" ? 1 : 0), coordinator: undefined }
  }

  private async ready({ cluster }: Link = this.data): Promise<void> {
    await cluster.connect()
    if (cluster.brokerPool.metadata === null) await cluster.addMultipleTargetTopics(await this.topics())
  }

  /** One request to the group's coordinator, which is looked up again when it may have moved. */
  private asked<A>(
    over: "data" | "group",
    call: (coordinator: Cluster.Broker) => Promise<A>
  ): Effect.Effect<A, KafkaError> {
    return Errors.tried(async () => {
      const link = this[over]
      link.coordinator ??= await this.findCoordinator(link)
      return call(link.coordinator)
    }).pipe(
      Effect.tapError(({ trouble }) =>
        Effect.sync(() => {
          if (trouble === "away") this[over].coordinator = undefined
          // A name the group has forgotten; the next join makes a new one.
          if (trouble === "evicted") this.memberId = ""
        })
      )
    )
  }

  private async findCoordinator(link: Link): Promise<Cluster.Broker> {
    await this.ready(link)
    return link.cluster.findGroupCoordinator({ groupId: this.options.group })
  }

  /** The topics there are of those that are asked for. */
  private async topics(): Promise<ReadonlyArray<string>> {
    const { topics } = this.options
    if (!(topics instanceof RegExp)) return topics
    const { topicMetadata } = await this.vendor.metadata({ topics: [] })
    return topicMetadata
      .filter(({ isInternal, topic }) => isInternal !== true && whole(topics, topic))
      .map(({ topic }) => topic)
  }

  private async shapeOf(topics: ReadonlyArray<string>): Promise<ReadonlyMap<string, number>> {
    if (topics.length > 0) await this.vendor.addMultipleTargetTopics(topics)
    return new Map(topics.map((topic) => [topic, this.vendor.findTopicPartitionMetadata(topic).length]))
  }

  // -------------------------------------------------------------------------------------------------- group

  private async joinGroup(owned: ReadonlyArray<Place>): Promise<ReadonlyArray<Place>> {
    const { group, rebalanceMillis, sessionMillis } = this.options
    await this.vendor.connect()
    await this.refresh()
    const topics = await this.topics()
    this.shape = await this.shapeOf(topics)
    const coordinator = await this.findCoordinator(this.group)
    this.group.coordinator = coordinator
    const metadata = AssignerProtocol.MemberMetadata.encode({
      version: 0,
      topics: [...topics],
      userData: Buffer.from(JSON.stringify({ owned: Cluster.byTopic(owned, ({ partition }) => partition) }))
    })
    const joined = await coordinator.joinGroup({
      groupId: group,
      sessionTimeout: sessionMillis,
      rebalanceTimeout: rebalanceMillis,
      memberId: this.memberId,
      groupProtocols: protocols.map((name) => ({ name, metadata }))
    })
    this.memberId = joined.memberId
    this.generation = joined.generationId
    const groupAssignment = joined.leaderId === joined.memberId ? await this.assignment(joined.members) : []
    const { memberAssignment } = await coordinator.syncGroup({
      ...this.self,
      generationId: this.generation,
      groupAssignment
    })
    const assigned = AssignerProtocol.MemberAssignment.decode(memberAssignment)?.assignment ?? {}
    return Object.entries(assigned).flatMap(([topic, partitions]) =>
      partitions.map((partition) => ({ topic, partition }))
    )
  }

  private async refresh(): Promise<void> {
    if (this.vendor.brokerPool.metadata === null) await this.ready()
    else await this.vendor.refreshMetadata()
  }

  private async assignment(members: ReadonlyArray<{ memberId: string; memberMetadata: Buffer }>) {
    const subscribed = members.map(({ memberId, memberMetadata }) => {
      const decoded = AssignerProtocol.MemberMetadata.decode(memberMetadata)
      return { id: memberId, topics: decoded?.topics ?? [], owned: ownedOf(decoded?.userData) }
    })
    const shape = await this.shapeOf([...new Set(subscribed.flatMap(({ topics }) => topics))])
    return [...assign(subscribed, shape)].map(([memberId, places]) => ({
      memberId,
      memberAssignment: AssignerProtocol.MemberAssignment.encode({
        version: 0,
        assignment: Object.fromEntries(
          Cluster.byTopic(places, ({ partition }) => partition).map(({ partitions, topic }) => [topic, [...partitions]])
        ),
        userData: Buffer.alloc(0)
      })
    }))
  }
}

/** Whatever another client puts there is not ours. */
const ownedOf = (userData: Buffer | undefined): ReadonlyArray<Place> => {
  try {
    const { owned } = JSON.parse((userData ?? Buffer.alloc(0)).toString()) as {
      owned: ReadonlyArray<{ topic: string; partitions: ReadonlyArray<number> }>
    }
    return owned.flatMap(({ partitions, topic }) => partitions.map((partition) => ({ topic, partition })))
  } catch {
    return []
  }
}

const whole = ({ source }: RegExp, name: string): boolean => new RegExp(`^(?:${source})$`).test(name)
