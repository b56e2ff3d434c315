/** Remembers how far a reader is, for sources whose server does not. */
import { Context, type Effect, Schema, type Scope } from "effect"

export class PositionsError extends Schema.TaggedError<PositionsError>()("PositionsError", {
  reason: Schema.String,
  /** False when trying again cannot help. */
  retryable: Schema.Boolean,
  cause: Schema.optionalKey(Schema.Defect())
}) {
  override get message(): string {
    return this.reason
  }
}

/** One reader's place, exclusive while its scope is open. */
export interface Place {
  /** As it was noted last, in the reader's own words; undefined for a new one. */
  readonly read: Effect.Effect<string | undefined, PositionsError>
  /** Durable once it has returned. */
  readonly note: (text: string) => Effect.Effect<void, PositionsError>
}

export class Positions extends Context.Service<
  Positions,
  {
    /** Fails when a living process has it. */
    readonly open: (name: string) => Effect.Effect<Place, PositionsError, Scope.Scope>
  }
>()("sluice/services/Positions") {}
