/** Puts results where other systems can read them. */
import { type Effect, Schema } from "effect"
import type { Envelope } from "./Envelope.ts"
import type { Detection } from "./Event.ts"
import { targetFields } from "./Failure.ts"
import type { Reply } from "./Reply.ts"

/** One message on its way out. */
export interface Outgoing {
  /** What it answers. */
  readonly envelope: Envelope
  /** The business event it answers. */
  readonly event: string
  readonly key: string | undefined
  /** The envelope's own payload itself, where it is a copy. */
  readonly value: Uint8Array
  /** What was found and what was replied to it, for texts that are filled from them; absent outside of a pipeline. */
  readonly detection?: Detection | undefined
  readonly reply?: Reply | undefined
}

/** What has become of a batch that failed for some of its messages only. The rest was not tried, and goes again at once. */
export interface Part {
  /** Whose failure it is: all of them for the same reason, so that they are tried again together. */
  readonly failed: ReadonlyArray<Outgoing>
  readonly confirmed: ReadonlyArray<Outgoing>
}

const Part = Schema.declare((part): part is Part => typeof part === "object" && part !== null && "failed" in part)

/** The target did not confirm a batch; without `part` nothing of it may be assumed stored. */
export class PublishError extends Schema.TaggedError<PublishError>()("PublishError", {
  ...targetFields,
  part: Schema.optionalKey(Part)
}) {
  override get message(): string {
    return this.reason
  }
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
