/** Where deliveries come from. */
import { type Effect, Schema, type Stream } from "effect"
import type { Delivery } from "./Delivery.ts"

/** The source cannot go on. `away` when its connection is lost and reopening it can help. */
export class SourceError extends Schema.TaggedError<SourceError>()("SourceError", {
  source: Schema.String,
  reason: Schema.String,
  away: Schema.Boolean,
  cause: Schema.optionalKey(Schema.Defect())
}) {
  override get message(): string {
    return `${this.source}: ${this.reason}`
  }
}

export interface Source {
  readonly name: string
  /**
   * Deliveries in arrays as they were fetched. Ends when the input is finite; is interrupted to stop intake, after which
   * deliveries already handed out may still be settled until the source's scope closes.
   *
   * Units: an array holds at most 1,024 deliveries and about 1 MiB, or a single larger one. Fails: `SourceError`.
   */
  readonly stream: Stream.Stream<Delivery, SourceError>
  /** Whether a nacked delivery comes again. One that cannot is worked until the deadline, then buried. */
  readonly redelivers: boolean
  /** Whether its sender is told at once that a message cannot be decoded; then that message is refused, not buried. */
  readonly answers: boolean
  /** Goes on at another position, such as `earliest` or an offset. */
  readonly seek?: ((position: string) => Effect.Effect<void, SourceError>) | undefined
}
