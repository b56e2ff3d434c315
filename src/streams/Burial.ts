/** Buries what could not be done: one letter per leg, with all that a replay needs. */
import { Effect, Result } from "effect"
import type { DeadLetters, DeadLettersError, Letter } from "../services/DeadLetters.ts"
import type { Stage } from "../services/Delivery.ts"
import type { Reply } from "../services/Reply.ts"
import type { Work } from "./Work.ts"

export interface Cause {
  readonly stage: Stage
  readonly event?: string | undefined
  readonly leg?: string | undefined
  readonly reason: string
  readonly attempts: number
  readonly reply?: Reply | undefined
}

/**
 * A letter for the part that failed. A replayed letter that is buried again keeps its id and counts on; when its replay
 * ran the whole road, a second leg that fails gets a letter of its own.
 */
export const letterOf = (pipeline: string, work: Work, cause: Cause, now: number): Letter => {
  const reply = cause.reply !== undefined && canBeKept(cause.reply) ? cause.reply : undefined
  const resume = work.buriedFor === undefined ? work.delivery.resume : undefined
  return {
    id: resume?.letter ?? crypto.randomUUID(),
    pipeline,
    event: cause.event,
    leg: cause.stage === "publish" && reply === undefined ? undefined : cause.leg,
    // Without its reply a publish cannot be taken up again: the replay starts at the dispatch.
    stage: cause.stage === "publish" && reply === undefined ? "dispatch" : cause.stage,
    reason: cause.reason,
    attempts: cause.attempts + (resume?.attempts ?? 0),
    at: now,
    sequence: work.sequence,
    envelope: work.delivery.envelope,
    reply
  }
}

/** Bytes, or a value that JSON can express: a job may answer with anything. */
const canBeKept = ({ payload }: Reply): boolean =>
  payload instanceof Uint8Array || Result.isSuccess(Result.try(() => JSON.stringify(payload)))

export const bury = (deadLetters: DeadLetters["Service"], letter: Letter): Effect.Effect<void, DeadLettersError> =>
  Effect.andThen(
    deadLetters.bury(letter),
    Effect.logWarning(
      `${letter.pipeline}: buried ${letter.envelope.id}${letter.event === undefined ? "" : ` (${letter.event})`}: ${letter.reason}`
    ).pipe(Effect.annotateLogs({ pipeline: letter.pipeline, letter: letter.id, id: letter.envelope.id }))
  )
