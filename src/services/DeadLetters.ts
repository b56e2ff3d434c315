/** Keeps what could not be done, whole, until someone replays or purges it. */
import { Context, type Effect, type Option, Schema } from "effect"
import type { Stage } from "./Delivery.ts"
import type { Envelope } from "./Envelope.ts"
import type { Reply } from "./Reply.ts"

/** The dead letters cannot be written or read. A failed burial nacks the delivery and fails its pipeline. */
export class DeadLettersError extends Schema.TaggedError<DeadLettersError>()("DeadLettersError", {
  reason: Schema.String,
  cause: Schema.optionalKey(Schema.Defect())
}) {
  override get message(): string {
    return this.reason
  }
}

/** One buried leg. */
export interface Letter {
  readonly id: string
  readonly pipeline: string
  /** The business event of the leg; undefined when the burial came before detection. */
  readonly event: string | undefined
  /** The dispatcher or publisher of the leg, such as `dispatch.0:http`. */
  readonly leg: string | undefined
  readonly stage: Stage
  /** One sentence: what failed, with the other side's words. */
  readonly reason: string
  /** Tries of the leg, over all replays. */
  readonly attempts: number
  /** Units: milliseconds since 1970. */
  readonly at: number
  /** The order of arrival in its pipeline, which a replay keeps. */
  readonly sequence: number
  readonly envelope: Envelope
  /** The reply whose publish was buried. */
  readonly reply: Reply | undefined
}

/** How one replay ended: gone from the list, buried again under the same id, or given back because of a stop. */
export interface Replayed {
  readonly id: string
  readonly outcome: "acked" | "buried" | "nacked"
  readonly reason: string | undefined
}

export interface Filter {
  readonly pipeline?: string | undefined
  readonly ids?: ReadonlyArray<string> | undefined
}

export class DeadLetters extends Context.Service<
  DeadLetters,
  {
    /** Stores the letter durably; one with a known id replaces it. */
    readonly bury: (letter: Letter) => Effect.Effect<void, DeadLettersError>
    /** In the order of origin. */
    readonly list: (filter: Filter) => Effect.Effect<ReadonlyArray<Letter>, DeadLettersError>
    readonly get: (id: string) => Effect.Effect<Option.Option<Letter>, DeadLettersError>
    /** Takes letters off the list for good and says how many there were. */
    readonly remove: (ids: ReadonlyArray<string>) => Effect.Effect<number, DeadLettersError>
  }
>()("sluice/services/DeadLetters") {}
