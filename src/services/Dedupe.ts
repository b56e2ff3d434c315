/** Remembers ids that are done, so that a second copy runs nothing. */
import { Context, type Effect, Schema } from "effect"

export class DedupeError extends Schema.TaggedError<DedupeError>()("DedupeError", {
  reason: Schema.String,
  cause: Schema.optionalKey(Schema.Defect())
}) {
  override get message(): string {
    return this.reason
  }
}

/** claimed: ours to do · done: someone did it · busy: a living process is at it. */
export type Claim = "claimed" | "done" | "busy"

export class Dedupe extends Context.Service<
  Dedupe,
  {
    /**
     * Claims an id for this process. A claim whose process is gone or whose lease ran out does not count.
     *
     * Units: milliseconds.
     */
    readonly claim: (scope: string, id: string, leaseMillis: number) => Effect.Effect<Claim, DedupeError>
    /** The work is done: a later copy is a duplicate. */
    readonly confirm: (scope: string, id: string) => Effect.Effect<void, DedupeError>
    /** The work was given back: the next copy may claim. */
    readonly release: (scope: string, id: string) => Effect.Effect<void, DedupeError>
  }
>()("sluice/services/Dedupe") {}
