/** Puts results where other systems can read them. */
import { type Effect, Schema } from "effect"
import type { Envelope } from "./Envelope.ts"
import { targetFields } from "./Failure.ts"

/** The target did not confirm a batch; then no part may be assumed stored. */
export class PublishError extends Schema.TaggedError<PublishError>()("PublishError", targetFields) {
  override get message(): string {
    return this.reason
  }
}

/** One message on its way out. */
export interface Outgoing {
  /** What it answers. */
  readonly envelope: Envelope
  /** The business event it answers. */
  readonly event: string
  readonly key: string | undefined
  /** The envelope's own payload itself, where it is a copy. */
  readonly value: Uint8Array
}

/** Where a published message lies, where the target has places. */
export interface Stored {
  readonly topic: string
  readonly partition: number
  readonly offset: number
}

export interface Publisher {
  readonly name: string
  /** Units: messages in one `publish`. */
  readonly batchMax: number
  /** Units: calls of `publish` under way at the same time; they never share a key. */
  readonly inFlightMax: number
  /** Sends a batch and returns once the target has confirmed all of it. Fails: `PublishError`. */
  readonly publish: (batch: ReadonlyArray<Outgoing>) => Effect.Effect<ReadonlyArray<Stored> | void, PublishError>
  readonly probe?: Effect.Effect<void, PublishError> | undefined
}
