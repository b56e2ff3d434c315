/** Where deliveries come from. */
import { Context, type Effect, Schema, type Scope, type Stream } from "effect"
import type { Codec } from "./Codec.ts"
import type { Delivery } from "./Delivery.ts"
import type { Envelope } from "./Envelope.ts"
import type { KafkaError, KafkaMessage } from "./Kafka.ts"

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

/** What a source may ask of the road that takes its deliveries. */
export class Downstream extends Context.Service<
  Downstream,
  {
    /** From here on no leg begins; returns once none is at work and all replies are published. */
    readonly quiet: Effect.Effect<void>
    /** Legs begin again. */
    readonly go: Effect.Effect<void>
    /** Some deliveries are gone: what works on them is interrupted, what waits is dropped; each is settled as nacked. */
    readonly recall: Effect.Effect<void>
  }
>()("sluice/services/Downstream") {}

export type Transact = (
  answers: ReadonlyArray<{ readonly envelope: Envelope; readonly message: KafkaMessage }>
) => Effect.Effect<void, KafkaError>

/** How far one ordered part of a source is. Units: offsets; records. */
export interface PartitionStatus {
  readonly name: string
  /** Below it all is settled. */
  readonly watermark: number
  /** From the watermark to the end of the log. */
  readonly lag: number
  /** Given and not settled. */
  readonly unsettled: number
  /** Settled beyond the watermark. */
  readonly beyond: number
  readonly paused: boolean
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
  readonly open: Effect.Effect<Stream.Stream<Delivery, SourceError>, SourceError, Downstream | Scope.Scope>
  /**
   * Whether a nacked delivery comes again. One that cannot is worked until the deadline, then buried. Asked each time, since
   * some learn it from their server only once they are open.
   */
  readonly redelivers: boolean
  /**
   * Whether one that was acked may come again, because forgetting it can fail: then copies are told apart by default.
   * Where only some can, those that can; the others are not looked at.
   */
  readonly repeats?: boolean | ((envelope: Envelope) => boolean) | undefined
  /** Whether its sender is told that a message was buried, and may send it again: that one is no copy then. */
  readonly tellsBurials?: boolean | undefined
  /** Reads what it gives, where the pipeline says nothing else; absent means JSON. */
  readonly codec?: Codec | undefined
  /**
   * Takes nothing new, hands out what it has taken already, and then ends its stream. For a source that cannot leave what
   * it has taken to anybody else; without it the stream is interrupted. Units: it is given five seconds.
   */
  readonly stop?: Effect.Effect<void> | undefined
  /**
   * Where a buried message goes besides the dead letters, by the source's own convention; called after the
   * letter is written and before it is settled.
   */
  readonly setAside?: ((envelope: Envelope) => Effect.Effect<void>) | undefined
  /** Whether its sender is told at once that a message cannot be decoded; then that message is refused, not buried. */
  readonly answers: boolean
  /** Whether its answers tell what was not detected either. */
  readonly explains?: boolean | undefined
  /** The parts of it that this process reads just now, for a scrape. */
  readonly partitions?: (() => ReadonlyArray<PartitionStatus>) | undefined
  /**
   * Writes records and notes the deliveries they answer as settled, both or none, for a source that can. Fails:
   * `KafkaError`; then none of the records can be read, and nothing is settled.
   */
  readonly transact?: Transact | undefined
  /** Goes on at another position, such as `earliest` or an offset. */
  readonly seek?: ((position: string) => Effect.Effect<void, SourceError>) | undefined
}
