/** Puts results where other systems can read them. */
import { type Effect, Schema } from "effect"
import { targetFields } from "./Failure.ts"

/** The target did not confirm a batch; then no part may be assumed stored. */
export class PublishError extends Schema.TaggedError<PublishError>()("PublishError", targetFields) {
  override get message(): string {
    return this.reason
  }
}

/** One message on its way out. */
export interface Outgoing {
  /** The id of the envelope it answers. */
  readonly id: string
  readonly key: string | undefined
  readonly headers: Readonly<Record<string, string>>
  readonly value: Uint8Array
  /** The business event it answers. */
  readonly event: string
  /** Where the answered envelope came from. */
  readonly origin: string
}

export interface Publisher {
  readonly name: string
  /** Units: messages in one `publish`. */
  readonly batchMax: number
  /** Units: calls of `publish` under way at the same time; they never share a key. */
  readonly inFlightMax: number
  /** Sends a batch and returns once the target has confirmed all of it. Fails: `PublishError`. */
  readonly publish: (batch: ReadonlyArray<Outgoing>) => Effect.Effect<void, PublishError>
  readonly probe?: Effect.Effect<void, PublishError> | undefined
}
