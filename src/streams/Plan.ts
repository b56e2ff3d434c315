/** A pipeline as data: everything the road needs to know, decided and checked. */
import { type Cause, type LogLevel, Schema } from "effect"
import type { Codec } from "../services/Codec.ts"
import type { Detector } from "../services/Detector.ts"
import type { Dispatcher } from "../services/Dispatcher.ts"
import type { Detection, Event } from "../services/Event.ts"
import type { Policy } from "../services/Failure.ts"
import type { Publisher } from "../services/Publisher.ts"
import type { Ready } from "../services/Ready.ts"
import type { Reply } from "../services/Reply.ts"
import type { Source } from "../services/Source.ts"
import type { Limit } from "./Rate.ts"
import type { Retry, Verdict } from "./Target.ts"

/** The key cannot be read from this message. */
export class KeyError extends Schema.TaggedError<KeyError>()("KeyError", { reason: Schema.String }) {
  override get message(): string {
    return this.reason
  }
}

/** What a message that goes no further meets; there is nothing to retry in it. */
export type MessagePolicy = Exclude<Policy, "retry">

/** How messages are grouped before they are dispatched. */
export interface BatcherPlan {
  readonly name: string
  readonly size: number
  /** How long the oldest message of a batch waits for company. */
  readonly ageMillis: number
  /** Units: bytes of the payloads as they came. */
  readonly bytesMax: number | undefined
  /** A batch holds one value of it. */
  readonly key: ((detection: Detection) => string | undefined) | undefined
  /** Units: batches at work at the same time, apart from the working legs; undefined counts them among those. */
  readonly concurrency: number | undefined
}

/** How a leg comes into batches. */
export interface Batching {
  /** The name of its batcher, or what names it for each message. */
  readonly by: string | ((detection: Detection) => string | undefined)
  /** For messages that name none there is. */
  readonly otherwise: string | undefined
  /** What is done for each message before; its value is the payload in the batch. */
  readonly process: ((detection: Detection) => Ready<unknown, unknown>) | undefined
}

export interface LegPlan {
  readonly name: string
  /** The events it acts on; undefined means all. */
  readonly on: ReadonlyArray<string> | undefined
  readonly dispatcher: Dispatcher<unknown>
  readonly verdict: (cause: Cause.Cause<unknown>) => Verdict
  /** Undefined goes message by message. */
  readonly batching: Batching | undefined
}

export interface PublishPlan {
  readonly name: string
  readonly publisher: Publisher
  readonly when: ReadonlyArray<Reply["kind"]>
  readonly key: (detection: Detection, reply: Reply) => string | undefined
  readonly value: (detection: Detection, reply: Reply) => Uint8Array
}

export interface Plan {
  readonly name: string
  /** What its lines must be worth to be logged, whatever holds for the others. */
  readonly logLevel?: LogLevel.LogLevel | undefined
  readonly source: Source
  readonly codec: Codec
  /** Reads the key from the decoded event; undefined takes the record's own. */
  readonly key: ((event: Event) => string | KeyError) | undefined
  readonly order: "key" | "partition" | "none"
  /** How records without a key are ordered under `order: key`. */
  readonly unkeyed: "none" | "partition"
  /** Units: working legs. */
  readonly concurrency: number
  /** What may wait beyond the working legs, over which the source pauses. Units: deliveries; bytes of payload. */
  readonly buffer: { readonly messagesMax: number; readonly bytesMax: number }
  /** How many are let in per interval; undefined sets no limit. */
  readonly rate?: Limit | undefined
  readonly detectors: ReadonlyArray<Detector>
  readonly legs: ReadonlyArray<LegPlan>
  readonly publishes: ReadonlyArray<PublishPlan>
  readonly retry: Retry
  readonly onDecodeError: MessagePolicy
  readonly onKeyError: MessagePolicy
  readonly batchers: ReadonlyArray<BatcherPlan>
  /** Where a buried message goes besides the dead letters; the source's own place where nobody says otherwise. */
  readonly setAside: Source["setAside"]
  /** The id a second copy is known by, undefined when none can come, and how long a claim of a silent process holds. */
  readonly dedupe: { readonly id: (event: Event) => string | undefined; readonly leaseMillis: number } | undefined
  /** Pipelines a message may have gone through before; one that comes from deeper is buried. */
  readonly depthMax: number
  /** Note what became of each message, where a journal is kept. */
  readonly journal?: boolean | undefined
}
