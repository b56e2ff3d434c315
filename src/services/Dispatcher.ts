/** Acts on a detection and gives one reply. */
import { type Effect, type Result, Schema } from "effect"
import type { Detection } from "./Event.ts"
import { targetFields } from "./Failure.ts"
import type { Ready } from "./Ready.ts"
import type { Reply } from "./Reply.ts"

/** The target gave no reply. A refusal is a `Reply`, not a failure. */
export class DispatchError extends Schema.TaggedError<DispatchError>()("DispatchError", {
  ...targetFields,
  /** What the target answered, for a reply when retries are spent. */
  reply: Schema.optionalKey(Schema.Any as Schema.Schema<Reply>)
}) {
  override get message(): string {
    return this.reason
  }
}

/** Why a batch went out: it was full, the oldest of it had waited long enough, or nothing was to wait any more. */
export type Trigger = "size" | "bytes" | "age" | "flush"

/** What a batch is, besides its messages. */
export interface BatchInfo {
  /** The batcher's name. */
  readonly batcher: string
  /** The value that all of the batch share, where the batcher has a key. */
  readonly key: string | undefined
  /** Units: messages. */
  readonly size: number
  readonly trigger: Trigger
}

export interface Dispatcher<out E = DispatchError> {
  readonly name: string
  /**
   * Called again for the same detection after a retryable failure, a replay or a redelivery.
   *
   * Return an effect only to fail or to wait.
   */
  readonly dispatch: (detection: Detection) => Ready<Reply, E>
  /** For legs with a batcher: one result per detection, in their order; a failure of the effect is everyone's. */
  readonly dispatchBatch?:
    | ((batch: ReadonlyArray<Detection>, info: BatchInfo) => Effect.Effect<ReadonlyArray<Result.Result<Reply, E>>, E>)
    | undefined
  /** Asks the target whether it answers, without giving it work: tells a message that kills its target from an outage. */
  readonly probe?: Effect.Effect<void, E> | undefined
}
