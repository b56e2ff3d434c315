/** Holds what a source has taken and nobody else can give again, until it is settled: so that a kill loses none of it. */
import { Context, type Effect, Schema, type Scope } from "effect"

export class InboxError extends Schema.TaggedError<InboxError>()("InboxError", {
  reason: Schema.String,
  /** False when trying again cannot help. */
  retryable: Schema.Boolean,
  cause: Schema.optionalKey(Schema.Defect())
}) {
  override get message(): string {
    return this.reason
  }
}

/** What was taken in one go. */
export interface Held {
  readonly batch: number
  /** The how many-th box this is that has it; 2 after one process that is gone. */
  readonly holder: number
  /** As it was put. */
  readonly bytes: Uint8Array
  /** Which of its items are settled, by their places from 0 on. */
  readonly settled: ReadonlySet<number>
}

export interface Box {
  /** What processes that are gone have left under this name, the oldest first; it is this box's own from then on. */
  readonly left: ReadonlyArray<Held>
  /** Durable once it has returned: a killed process finds it again. `count` items are in it. Its number comes back. */
  readonly put: (bytes: Uint8Array, count: number) => Effect.Effect<number, InboxError>
  /** Notes one as settled; written within 50 ms, many in one go. A batch of which all are settled is forgotten. */
  readonly settle: (batch: number, item: number) => void
  /** Writes what is noted. */
  readonly flush: Effect.Effect<void, InboxError>
}

export class Inbox extends Context.Service<
  Inbox,
  {
    /**
     * The box of a name for this process, until the scope closes, which writes what is noted; several processes have one
     * each under the same name. `onError`: what is noted could not be written, and is tried again.
     */
    readonly open: (
      name: string,
      onError: (error: InboxError) => Effect.Effect<void>
    ) => Effect.Effect<Box, InboxError, Scope.Scope>
  }
>()("sluice/services/Inbox") {}
