/** What is asked of an Azure Storage queue: to lend out messages for a while, to lend them on, to forget them, to take new ones. */
import { Context, type Effect, Schema } from "effect"
import type { Connection } from "./AzureQueueConnection.ts"

/**
 * away: the account cannot be reached just now, or asks to come later · missing: there is no such queue · lost: the
 * message is gone, or another receiver has it · unfit: the queue takes no such message, by its size or form · refused:
 * trying again cannot help until somebody changes a key, a permission or a setting.
 */
export const Trouble = Schema.Literals(["away", "missing", "lost", "unfit", "refused"])
export type Trouble = typeof Trouble.Type

/** A request to a queue was not granted. */
export class AzureQueueError extends Schema.TaggedError<AzureQueueError>()("AzureQueueError", {
  trouble: Trouble,
  /** One sentence with the service's words (its error code among them), and no secret. */
  reason: Schema.String,
  /** Units: milliseconds. The service's own wish, from `Retry-After`. */
  retryAfterMillis: Schema.optionalKey(Schema.Finite),
  cause: Schema.optionalKey(Schema.Defect())
}) {
  override get message(): string {
    return this.reason
  }
}

/** The right to a message that was received: only the newest receipt counts. */
export interface Loan {
  readonly id: string
  readonly receipt: string
}

export interface Received extends Loan {
  /** As it lies in the queue, not decoded. */
  readonly text: string
  /** How often it has been received, this time included. */
  readonly dequeueCount: number
  /** Units: milliseconds since 1970. */
  readonly insertedAt: number
}

export interface SendOptions {
  /** Until it can be received. Units: whole seconds, at most 7 days; 0 by default. */
  readonly delaySeconds?: number | undefined
  /** Until it is forgotten; 7 days by default. Units: whole seconds. */
  readonly ttlSeconds?: number | "never" | undefined
}

/**
 * One queue. Nothing is tried twice in here: who calls knows what a second try means.
 *
 * Source: https://learn.microsoft.com/rest/api/storageservices/queue-service-rest-api
 */
export interface AzureQueue {
  /** Such as `account/queue`. */
  readonly name: string
  /**
   * Lends out what is visible, oldest first as far as the service can; nobody else gets it for so long.
   *
   * Units: 1 to 32 messages; 1 second to 7 days. An empty queue gives an empty array at once.
   */
  readonly receive: (
    count: number,
    visibilitySeconds: number
  ) => Effect.Effect<ReadonlyArray<Received>, AzureQueueError>
  /** Lends it on for so long from now, 0 gives it back; the receipt that counts from here on comes back. */
  readonly renew: (loan: Loan, visibilitySeconds: number) => Effect.Effect<string, AzureQueueError>
  readonly remove: (loan: Loan) => Effect.Effect<void, AzureQueueError>
  /** Units: at most 64 KiB of UTF-8 text without characters that XML has not. */
  readonly send: (text: string, options?: SendOptions) => Effect.Effect<void, AzureQueueError>
  /** Makes the queue; one that is there already is fine. */
  readonly create: Effect.Effect<void, AzureQueueError>
}

export class AzureQueueClient extends Context.Service<
  AzureQueueClient,
  {
    /** Opens no connection: that is for the first request. */
    readonly queue: (connection: Connection, name: string) => Effect.Effect<AzureQueue>
  }
>()("sluice/services/AzureQueueClient") {}
