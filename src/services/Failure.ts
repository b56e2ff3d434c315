/** What is done about a failure: the policy per error, and what a target's failure says about the target. */
import { Schema } from "effect"

/** retry: the leg alone, with backoff · bury: dead letter, then ack · drop: ack and log · halt: nack and stop. */
export const Policy = Schema.Literals(["retry", "bury", "drop", "halt"])
export type Policy = typeof Policy.Type

/** A policy for each error by its tag: a pipeline with an error that is not mapped does not type-check. */
export type Policies<E> = { readonly [Tag in TagOf<E>]: Policy }

type TagOf<E> = E extends { readonly _tag: infer Tag extends string } ? Tag : never

/**
 * Whether the target is there at all.
 *
 * answered: it took the request and gave an answer · unreachable: refused, name not found, no route: it never saw the
 * message · reset: the connection broke under way, by the target's fault or the message's · busy: 429 or 503.
 */
export const Presence = Schema.Literals(["answered", "unreachable", "reset", "busy"])
export type Presence = typeof Presence.Type

/** What every failure of a target says. */
export const targetFields = {
  /** One sentence: what failed, with the other side's words. */
  reason: Schema.String,
  presence: Presence,
  /** False when trying again cannot help. */
  retryable: Schema.Boolean,
  /** Units: milliseconds. The target's own wish, from `Retry-After`. */
  retryAfterMillis: Schema.optionalKey(Schema.Finite),
  cause: Schema.optionalKey(Schema.Defect())
}
