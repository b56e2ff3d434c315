/** A connection to a Kafka cluster by kafkajs: its parts below the public interface, sockets we can close. */
import { Buffer } from "node:buffer"
import { createRequire } from "node:module"
import { connect, isIP, Socket } from "node:net"
import { type ConnectionOptions, connect as connectTls } from "node:tls"
import { Redacted } from "effect"
import kafkajs, { type ISocketFactory, type KafkaConfig, type Logger } from "kafkajs"
import type { KafkaRecord, Place } from "../services/Kafka.ts"
import type { Connection, Tls } from "../services/KafkaConnection.ts"
import { words } from "../streams/Runner.ts"
import * as KafkaJsErrors from "./KafkaJsErrors.ts"
import * as KafkaJsTokens from "./KafkaJsTokens.ts"

/**
 * The group and the fetches of `kafkajs` are driven from here, below its `Consumer`: that one revokes everything before
 * it has told anybody, commits behind a fetch, and goes on by itself. The package has had no release since 2023, and its
 * exact version is pinned.
 */
const vendor = createRequire(import.meta.url)

export interface PartitionMetadata {
  readonly partitionId: number
  readonly leader: number
}

/** What is used of `kafkajs/src/broker`; offsets are decimal text. */
export interface Broker {
  joinGroup(request: {
    groupId: string
    sessionTimeout: number
    rebalanceTimeout: number
    memberId: string
    groupProtocols: ReadonlyArray<{ name: string; metadata: Buffer }>
  }): Promise<{
    readonly generationId: number
    readonly leaderId: string
    readonly memberId: string
    readonly members: ReadonlyArray<{ readonly memberId: string; readonly memberMetadata: Buffer }>
  }>
  syncGroup(request: {
    groupId: string
    generationId: number
    memberId: string
    groupAssignment: ReadonlyArray<{ memberId: string; memberAssignment: Buffer }>
  }): Promise<{ readonly memberAssignment: Buffer }>
  heartbeat(request: { groupId: string; groupGenerationId: number; memberId: string }): Promise<unknown>
  leaveGroup(request: { groupId: string; memberId: string }): Promise<unknown>
  offsetFetch(request: { groupId: string; topics: ReadonlyArray<OfTopic<{ partition: number }>> }): Promise<{
    readonly responses: ReadonlyArray<OfTopic<{ partition: number; offset: string; metadata: string | null }>>
  }>
  offsetCommit(request: {
    groupId: string
    groupGenerationId: number
    memberId: string
    topics: ReadonlyArray<OfTopic<{ partition: number; offset: string; metadata: string }>>
  }): Promise<unknown>
  fetch(request: {
    isolationLevel: number
    maxWaitTime: number
    minBytes: number
    maxBytes: number
    topics: ReadonlyArray<OfTopic<{ partition: number; fetchOffset: string; maxBytes: number }>>
  }): Promise<{ readonly responses: ReadonlyArray<TopicAnswer> }>
}

export interface OfTopic<A> {
  readonly topic: string
  readonly partitions: ReadonlyArray<A>
}

export interface TopicAnswer {
  readonly topicName: string
  readonly partitions: ReadonlyArray<PartitionAnswer>
}

export interface PartitionAnswer {
  readonly partition: number
  readonly highWatermark: string
  readonly lastStableOffset?: string
  readonly abortedTransactions?: ReadonlyArray<unknown>
  readonly messages: ReadonlyArray<Message>
}

export interface Message {
  readonly offset: string
  readonly timestamp: string
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers?: KafkaRecord["headers"]
  readonly isControlRecord?: boolean
  readonly batchContext?: { readonly firstOffset: string; readonly lastOffsetDelta: number }
}

/** What is used of `kafkajs/src/cluster`. */
export interface Cluster {
  readonly brokerPool: { readonly metadata: { readonly clusterId?: string } | null }
  connect(): Promise<void>
  refreshMetadata(): Promise<void>
  metadata(options: { topics: ReadonlyArray<string> }): Promise<{
    readonly topicMetadata: ReadonlyArray<{
      readonly topic: string
      readonly isInternal?: boolean
      readonly partitionMetadata: ReadonlyArray<PartitionMetadata>
    }>
  }>
  addMultipleTargetTopics(topics: ReadonlyArray<string>): Promise<void>
  findBroker(options: { nodeId: string }): Promise<Broker>
  findGroupCoordinator(options: { groupId: string }): Promise<Broker>
  findTopicPartitionMetadata(topic: string): ReadonlyArray<PartitionMetadata>
  fetchTopicsOffset(
    topics: ReadonlyArray<OfTopic<{ partition: number }> & { fromBeginning?: boolean; fromTimestamp?: number }>
  ): Promise<ReadonlyArray<OfTopic<{ readonly partition: number; readonly offset: string }>>>
}

const ClusterOfVendor = vendor("kafkajs/src/cluster") as new (options: object) => Cluster

/** A cluster and the right to drop all its connections at once. */
export interface Opened {
  readonly cluster: Cluster
  readonly close: () => void
}

/** Connects nothing yet. Units: 0 reads uncommitted records too, 1 does not. */
export const open = (connection: Connection, isolationLevel: 0 | 1): Opened => {
  const sockets = socketsOf()
  const cluster = new ClusterOfVendor({
    ...common(connection, sockets),
    logger: silent,
    metadataMaxAge: connection.metadataMillis,
    allowAutoTopicCreation: false,
    maxInFlightRequests: null,
    isolationLevel,
    enforceRequestTimeout: true
  })
  return { cluster, close: sockets.close }
}

/** The public client, for producers. */
export const client = (connection: Connection): { readonly kafka: kafkajs.Kafka; readonly close: () => void } => {
  const sockets = socketsOf()
  const kafka = new kafkajs.Kafka({
    ...common(connection, sockets),
    logLevel: kafkajs.logLevel.NOTHING,
    enforceRequestTimeout: true
  })
  return { kafka, close: sockets.close }
}

const silent: Logger = new kafkajs.Kafka({ brokers: ["-"], logLevel: kafkajs.logLevel.NOTHING }).logger()

const common = (
  { brokers, clientId, connectMillis, requestMillis, sasl, tls }: Connection,
  { socketFactory }: Sockets
): KafkaConfig => ({
  brokers: seeds(brokers),
  clientId,
  connectionTimeout: connectMillis,
  authenticationTimeout: connectMillis,
  requestTimeout: requestMillis,
  reauthenticationThreshold: reauthMillis,
  // Tries again are ours: they are counted, told and bounded in one place.
  retry: { retries: 0 },
  socketFactory,
  ...(tls === undefined ? undefined : { ssl: tlsOf(tls) }),
  ...(sasl === undefined
    ? undefined
    : { sasl: KafkaJsTokens.mechanismOf(sasl, (thrown) => KafkaJsErrors.kafkaError(thrown).trouble === "away") })
})

/** Units: milliseconds before the end of a session. The vendor's ten seconds log in at each request of a shorter one. */
const reauthMillis = 1_000

/** The vendor begins with the first of the list, and what fails is given up and opened anew: with any of them. */
const seeds = (brokers: ReadonlyArray<string>): Array<string> => {
  const first = Math.floor(Math.random() * brokers.length)
  return [...brokers.slice(first), ...brokers.slice(0, first)]
}

const plain = <A>(secret: Redacted.Redacted<A> | undefined): A | undefined =>
  secret === undefined ? undefined : Redacted.value(secret)

const tlsOf = ({ ca, cert, key, passphrase, pfx, verify, verifyHost }: Tls): ConnectionOptions => {
  const bytes = plain(pfx)
  return {
    ca: plain(ca),
    cert: plain(cert),
    key: plain(key),
    passphrase: plain(passphrase),
    ...(bytes === undefined ? undefined : { pfx: Buffer.from(bytes) }),
    rejectUnauthorized: verify,
    ...(verifyHost ? undefined : { checkServerIdentity: () => undefined })
  }
}

// ---------------------------------------------------------------------------------------------------- sockets

interface Sockets {
  readonly socketFactory: ISocketFactory
  readonly close: () => void
}

/** kafkajs ends a connection only when all it asked is answered, which a broker that hangs never does. */
const socketsOf = (): Sockets => {
  const open = new Set<Socket>()
  return {
    socketFactory: ({ host, onConnect, port, ssl }) => {
      // Without TLS it is null, whatever the vendor's types say.
      const tls = ssl as ConnectionOptions | null
      const socket = tls ? secured(tls, host, port, onConnect) : connect({ host, port }, onConnect)
      socket.setKeepAlive(true, 60_000)
      socket.setNoDelay(true)
      open.add(socket)
      socket.once("close", () => open.delete(socket))
      return socket
    },
    close: () => {
      for (const socket of open) socket.destroy(new Error("connection closed"))
    }
  }
}

const secured = (tls: ConnectionOptions, host: string, port: number, onConnect: () => void): Socket => {
  try {
    return connectTls({ host, port, ...(isIP(host) === 0 ? { servername: host } : undefined), ...tls }, onConnect)
  } catch (thrown) {
    // A key or passphrase that does not fit. The vendor drops the code of what is thrown here.
    const reason = `the certificate or key cannot be used: ${words(thrown)}`
    return new Socket().destroy(Object.assign(new Error(reason), { code: KafkaJsErrors.unusable }))
  }
}

/**
 * Without anything to wait for, the vendor's queue sets a timer of a negative time again and again: a thousand wake-ups
 * a second for each connection, and a warning. Source: https://github.com/tulios/kafkajs/issues/1751
 */
interface RequestQueue {
  throttleCheckTimeoutId: NodeJS.Timeout | null
  readonly throttledUntil: number
  readonly pending: ReadonlyArray<unknown>
  checkPendingRequests(): void
  scheduleCheckPendingRequests(): void
}
;(vendor("kafkajs/src/network/requestQueue") as { prototype: RequestQueue }).prototype.scheduleCheckPendingRequests =
  function (this: RequestQueue): void {
    if (this.throttleCheckTimeoutId !== null || this.pending.length === 0) return
    this.throttleCheckTimeoutId = setTimeout(
      () => {
        this.throttleCheckTimeoutId = null
        this.checkPendingRequests()
      },
      Math.max(this.throttledUntil - Date.now(), 10)
    )
  }

// ---------------------------------------------------------------------------------------------------- helpers

/** The way the protocol wants partitions: one entry per topic. */
export const byTopic = <P extends Place, A>(
  places: ReadonlyArray<P>,
  of: (place: P) => A
): ReadonlyArray<OfTopic<A>> => {
  const topics = new Map<string, Array<A>>()
  for (const place of places) {
    const known = topics.get(place.topic)
    if (known === undefined) topics.set(place.topic, [of(place)])
    else known.push(of(place))
  }
  return [...topics].map(([topic, partitions]) => ({ topic, partitions }))
}

export const filterAborted = vendor("kafkajs/src/consumer/filterAbortedMessages") as <M>(input: {
  messages: ReadonlyArray<M>
  abortedTransactions: ReadonlyArray<unknown> | undefined
}) => ReadonlyArray<M>
