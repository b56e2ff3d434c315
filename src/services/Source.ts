/** Where deliveries come from. */
import { type Effect, Schema, type Scope, type Stream } from "effect"
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
   * Opens the source: called again after a failure, by the same value, which remembers what it has to.
   *
   * The stream gives deliveries in arrays as they were fetched. It ends when the input is finite and is interrupted to
   * stop intake; what was handed out may be settled until the scope closes.
   *
   * Units: an array holds about 1 MiB, or a single larger delivery. Fails: `SourceError`.
   */
  readonly open: Effect.Effect<Stream.Stream<Delivery, SourceError>, SourceError, Scope.Scope>
  /** Whether a nacked delivery comes again. One that cannot is worked until the deadline, then buried. */
  readonly redelivers: boolean
  /** Whether its sender is told at once that a message cannot be decoded; then that message is refused, not buried. */
  readonly answers: boolean
  /** Goes on at another position, such as `earliest` or an offset. */
  readonly seek?: ((position: string) => Effect.Effect<void, SourceError>) | undefined
}
