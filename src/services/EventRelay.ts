/** What is asked of an EventRelay server: events of a destination, each once; events of a topic by their place; to take new ones. */
import { Context, type Effect, Schema, type Scope } from "effect"
import type { Connection } from "./EventRelayConnection.ts"

/**
 * away: the server cannot be reached just now, or it is too busy · denied: it does not know us, or does not allow it, until
 * somebody changes a key or a certificate · unsupported: it cannot do this at all · unfit: it takes no such request, whatever
 * the time · failed: anything else it answered.
 */
export const Trouble = Schema.Literals(["away", "denied", "unsupported", "unfit", "failed"])
export type Trouble = typeof Trouble.Type

/** A call was not granted. */
export class EventRelayError extends Schema.TaggedError<EventRelayError>()("EventRelayError", {
  trouble: Trouble,
  /** The status by its gRPC name, such as `PERMISSION_DENIED`. */
  status: Schema.String,
  /** One sentence with the server's words, and no secret. */
  reason: Schema.String,
  /** It may have been done all the same: only the reply is gone. */
  lost: Schema.optionalKey(Schema.Boolean),
  cause: Schema.optionalKey(Schema.Defect())
}) {
  override get message(): string {
    return this.reason
  }
}

/** What both have: an event that is published, and one that was. Text that is not there is empty. */
interface Told {
  readonly name: string
  /** JSON as text. */
  readonly data: string
  readonly source: string
  readonly group_key: string
  readonly reference_key: string
  readonly trace_key: string
  readonly user_key: string
  readonly anonymous_key: string
  /** ISO 8601; empty means now. */
  readonly occurred_at: string
  readonly context: Readonly<Record<string, string>>
  /** A JSON Schema as text. */
  readonly data_schema: string
  readonly prev_id: string
  /** ISO 8601; it cannot be pulled before; empty means now. */
  readonly available_at: string
}

export type NewEvent = Told

/** An event as the server has it; its fields are those of `event_relay.proto`. */
export interface RelayEvent extends Told {
  /** Empty for one that was only broadcast. */
  readonly id: string
  readonly topic: string
  /** Ascending within its topic. */
  readonly offset: number
  readonly errors: ReadonlyArray<string>
}

/** A part of a topic. */
export interface Page {
  readonly events: ReadonlyArray<RelayEvent>
  readonly totalCount: number
  /** 0 when there is nothing behind it. */
  readonly nextOffset: number
}

/**
 * One connection with its token. Nothing is tried twice in here: who calls knows what a second try means. Each call has the
 * connection's deadline; interrupting it ends the call.
 *
 * Source: event_relay.proto of eventrelay/eventrelay, package `eventrelay`, service `Events`.
 */
export interface Channel {
  /** Such as `eventrelay:localhost:50051`. */
  readonly name: string
  /**
   * Takes events of a destination, which nobody else gets from then on: the server locks them for it, without an end.
   *
   * Units: 1 to 100,000 events. None when there are none.
   */
  readonly pullQueued: (
    destinationId: string,
    batchSize: number
  ) => Effect.Effect<ReadonlyArray<RelayEvent>, EventRelayError>
  /** Gives them back to their destination, for whoever pulls next; without ids it only asks whether the server can. */
  readonly unlock: (destinationId: string, ids: ReadonlyArray<string>) => Effect.Effect<void, EventRelayError>
  /**
   * Reads a topic, such as `users` or `users:123`, from the nth of its events on that are there just now, in the order of
   * their offsets; takes nothing. `query` is in the server's words, such as `data.cart.total == 30`; empty means all.
   *
   * Units: 1 to 1,000 events; more gives 100.
   */
  readonly pull: (request: {
    readonly topic: string
    readonly batchSize: number
    readonly offset: number
    readonly query: string
  }) => Effect.Effect<Page, EventRelayError>
  /** What was stored comes back, in any order; one that the server does not take is missing there, or fails the call. */
  readonly publish: (request: {
    readonly topic: string
    readonly durable: boolean
    readonly events: ReadonlyArray<NewEvent>
  }) => Effect.Effect<ReadonlyArray<RelayEvent>, EventRelayError>
}

export class EventRelayClient extends Context.Service<
  EventRelayClient,
  {
    /** Opens nothing yet: that is for the first call. It closes with the scope. */
    readonly channel: (connection: Connection) => Effect.Effect<Channel, never, Scope.Scope>
  }
>()("sluice/services/EventRelay") {}
