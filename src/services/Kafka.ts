/** What is asked of a Kafka client: to be a member of a group, to write records, and to read a topic from end to end. */
import { Context, type Effect, Schema, type Scope } from "effect"
import type { Connection } from "./KafkaConnection.ts"

/**
 * away: the broker, its leader or its coordinator cannot be reached just now · rebalance: the group is being shared out
 * anew, join again · evicted: no member any more, join as a new one · fenced: somebody else has our transactional id ·
 * unfit: the broker takes no such record, by its size or form · refused: trying again cannot help until somebody changes
 * a password, a permission or a setting.
 */
export const Trouble = Schema.Literals(["away", "rebalance", "evicted", "fenced", "unfit", "refused"])
export type Trouble = typeof Trouble.Type

/** A request to Kafka was not granted. */
export class KafkaError extends Schema.TaggedError<KafkaError>()("KafkaError", {
  trouble: Trouble,
  /** One sentence, with the broker's words. */
  reason: Schema.String,
  /**
   * Where it is about one of the topics that were asked for. unknown: the cluster has none of that name, or none yet ·
   * refused: it makes none of that name, or lets us not write there.
   */
  topic: Schema.optionalKey(Schema.Literals(["unknown", "refused"])),
  cause: Schema.optionalKey(Schema.Defect())
}) {
  override get message(): string {
    return this.reason
  }
}

/** One partition of a topic. */
export interface Place {
  readonly topic: string
  readonly partition: number
}

/** A record as it lies in its partition. */
export interface KafkaRecord {
  readonly offset: number
  /** Units: milliseconds since 1970, as its producer or the broker set it. */
  readonly timestamp: number
  /** Null where the record has none. */
  readonly key: Uint8Array | null
  /** Null for a tombstone. */
  readonly value: Uint8Array | null
  /** A name that came more than once has a list. */
  readonly headers: Readonly<Record<string, HeaderValue | ReadonlyArray<HeaderValue> | undefined>>
}
export type HeaderValue = Uint8Array | string

/** What is committed for a partition: the offset to go on from, and up to 4,096 bytes of text. */
export interface Committed extends Place {
  readonly offset: number
  readonly metadata: string
}

/** What a fetch brought from one partition. */
export interface Fetched extends Place {
  /** In ascending order; without markers and without records of aborted transactions. */
  readonly records: ReadonlyArray<KafkaRecord>
  /** Where the next fetch goes on. */
  readonly next: number
  /** The end of what can be read: the offset the next record will have. */
  readonly end: number
  /** outOfRange: there is no such offset any more · moved: another broker leads this partition now. */
  readonly problem: "outOfRange" | "moved" | undefined
}

export interface MemberOptions {
  readonly connection: Connection
  readonly group: string
  /** Names, or an expression that whole names must match. */
  readonly topics: ReadonlyArray<string> | RegExp
  /** Units: milliseconds without a heartbeat, after which the group goes on without this member. */
  readonly sessionMillis: number
  /** Units: milliseconds the group waits for a member to join again. */
  readonly rebalanceMillis: number
  readonly isolation: "read_committed" | "read_uncommitted"
  /** Units: milliseconds; bytes. */
  readonly fetch: {
    readonly waitMillis: number
    readonly bytesMin: number
    readonly bytesMax: number
    readonly partitionBytesMax: number
  }
}

/** Reads a topic without a group: nobody is told where it stands. */
export interface Reader {
  /** All partitions there are; none of a topic that does not exist. */
  readonly places: Effect.Effect<ReadonlyArray<Place>, KafkaError>
  /** The first offset of each partition, the one after its last, or the first from a time on (milliseconds since 1970). */
  readonly offsets: (
    places: ReadonlyArray<Place>,
    at: "earliest" | "latest" | number
  ) => Effect.Effect<ReadonlyArray<Place & { readonly offset: number }>, KafkaError>
  /** The partitions by the broker that has to be asked for them. `fresh` asks the cluster anew. */
  readonly leaders: (
    places: ReadonlyArray<Place>,
    fresh: boolean
  ) => Effect.Effect<ReadonlyArray<{ readonly broker: string; readonly places: ReadonlyArray<Place> }>, KafkaError>
  /** Waits up to `waitMillis` for something to read. Partitions with nothing new are left out. */
  readonly fetch: (
    broker: string,
    from: ReadonlyArray<Place & { readonly offset: number }>
  ) => Effect.Effect<ReadonlyArray<Fetched>, KafkaError>
}

/** A place in a group. All calls may be made at the same time, but for `join`, which is made alone. */
export interface Member extends Omit<Reader, "places"> {
  /** The name of the cluster, for ids that are the same in every process. */
  readonly cluster: Effect.Effect<string, KafkaError>
  /**
   * Joins the group, waits for the others, and says what this member has to read.
   *
   * `owned` is what it reads so far: the group leaves it that if it can. Fails: `KafkaError`; `refused` also when a
   * topic does not exist.
   */
  readonly join: (owned: ReadonlyArray<Place>) => Effect.Effect<ReadonlyArray<Place>, KafkaError>
  readonly heartbeat: Effect.Effect<void, KafkaError>
  /** Partitions without a commit are left out. */
  readonly committed: (places: ReadonlyArray<Place>) => Effect.Effect<ReadonlyArray<Committed>, KafkaError>
  /** Returns when the group has noted all of them; otherwise none may be assumed noted. */
  readonly commit: (offsets: ReadonlyArray<Committed>) => Effect.Effect<void, KafkaError>
  /** Whether topics or partitions have appeared since the last join: then it is time to join again. */
  readonly grown: Effect.Effect<boolean, KafkaError>
  /** Tells the group not to wait for this member. */
  readonly leave: Effect.Effect<void, KafkaError>
  /** Gives up all connections; the next call makes new ones. */
  readonly reconnect: Effect.Effect<void>
}

export const Compression = Schema.Literals(["none", "gzip", "snappy", "lz4", "zstd"])
export type Compression = typeof Compression.Type

export interface ProducerOptions {
  readonly connection: Connection
  readonly acks: "all" | 1 | 0
  /** Whether the broker removes what is written twice by a retry within one call. */
  readonly idempotent: boolean
  readonly compression: Compression
  /** Units: milliseconds for one call. */
  readonly timeoutMillis: number
}

/** A record to be written. */
export interface KafkaMessage {
  readonly topic: string
  /** Absent: chosen by the key as Kafka's own clients do, or in turn without one. */
  readonly partition?: number | undefined
  readonly key: Uint8Array | string | null
  readonly value: Uint8Array | null
  readonly headers: Readonly<Record<string, HeaderValue>>
  /** Units: milliseconds since 1970; absent means now. */
  readonly timestamp?: number | undefined
}

export interface Producer {
  /**
   * Writes a batch, in order per partition, and returns where each record lies once the cluster has confirmed all.
   *
   * Fails: `KafkaError`; then any part of it may be written. An offset is -1 where acks is 0.
   */
  readonly send: (
    messages: ReadonlyArray<KafkaMessage>
  ) => Effect.Effect<ReadonlyArray<Place & { readonly offset: number }>, KafkaError>
}

export interface TransactionsOptions extends Omit<ProducerOptions, "acks" | "idempotent"> {
  readonly group: string
  /** Whoever opens the same id later fences this one. */
  readonly transactionalId: string
}

/** Transactions of one transactional id, one after the other. */
export interface Transactions {
  /** Fences whoever had the id before: returns once nothing of his can be committed any more. */
  readonly fence: Effect.Effect<void, KafkaError>
  /**
   * Writes records and commits offsets, both or none.
   *
   * Fails: `KafkaError`, `fenced` also without a `fence` before; after `away` the outcome is not known. After any failure
   * it has to be fenced again.
   */
  readonly commit: (
    messages: ReadonlyArray<KafkaMessage>,
    offsets: ReadonlyArray<Committed>
  ) => Effect.Effect<void, KafkaError>
}

/** Kafka behind a driver. Everything it opens is closed with the scope; nothing is connected before the first call. */
export class KafkaClient extends Context.Service<
  KafkaClient,
  {
    readonly member: (options: MemberOptions) => Effect.Effect<Member, never, Scope.Scope>
    readonly producer: (options: ProducerOptions) => Effect.Effect<Producer, never, Scope.Scope>
    readonly transactions: (options: TransactionsOptions) => Effect.Effect<Transactions, never, Scope.Scope>
    readonly reader: (connection: Connection, topic: string) => Effect.Effect<Reader, never, Scope.Scope>
    /** All records of a topic that lie in it now, partition by partition. A topic that does not exist has none. */
    readonly readAll: (
      connection: Connection,
      topic: string,
      take: (place: Place, records: ReadonlyArray<KafkaRecord>) => void
    ) => Effect.Effect<void, KafkaError>
  }
>()("sluice/services/KafkaClient") {}
