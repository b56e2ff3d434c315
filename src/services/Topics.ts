/** Embedded durable topics: append-only logs with a position per group. */
import { Context, type Effect, Schema, type Scope } from "effect"

export class TopicError extends Schema.TaggedError<TopicError>()("TopicError", {
  topic: Schema.String,
  reason: Schema.String,
  /** False when trying again cannot help. */
  retryable: Schema.Boolean,
  cause: Schema.optionalKey(Schema.Defect())
}) {
  override get message(): string {
    return `topic ${this.topic}: ${this.reason}`
  }
}

export interface NewRecord {
  readonly id: string
  readonly key: string | undefined
  readonly headers: Readonly<Record<string, string>>
  readonly value: Uint8Array
}

export interface TopicRecord extends NewRecord {
  /** Ascending, without gaps, from 0. */
  readonly offset: number
  /** Units: milliseconds since 1970. */
  readonly at: number
}

/** Where a group stands: the watermark and, encoded by `streams/Offsets`, what is settled beyond it. */
export interface Position {
  readonly watermark: number
  readonly settled: string
}

/** Looks at a topic without a position: takes nothing, holds nothing, and keeps nothing from being dropped. */
export interface Onlooker {
  /** At most `count` records and about `bytes`, from `offset` on; empty when there are none yet. */
  readonly read: (offset: number, count: number, bytes: number) => Effect.Effect<ReadonlyArray<TopicRecord>, TopicError>
  /** Returns when there may be records from `offset` on. */
  readonly wait: (offset: number) => Effect.Effect<void>
}

/** One group's hold on a topic, exclusive while its scope is open. */
export interface Reader extends Onlooker {
  readonly position: Effect.Effect<Position, TopicError>
  readonly commit: (position: Position) => Effect.Effect<void, TopicError>
}

export class Topics extends Context.Service<
  Topics,
  {
    /** Appends durably and in order. Fails retryably when retention would drop what a group still needs. */
    readonly append: (topic: string, records: ReadonlyArray<NewRecord>) => Effect.Effect<void, TopicError>
    /** Takes the group's position, or refuses when a living process holds it. */
    readonly open: (
      topic: string,
      group: string,
      from: "earliest" | "latest"
    ) => Effect.Effect<Reader, TopicError, Scope.Scope>
    /** Beside all groups; the topic may appear later. */
    readonly look: (topic: string) => Onlooker
    /** First and next offset. */
    readonly range: (topic: string) => Effect.Effect<{ readonly first: number; readonly next: number }, TopicError>
  }
>()("sluice/services/Topics") {}
