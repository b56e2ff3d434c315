/** An envelope with the right to settle it: the one contract between a source and the road. */
import type { Explanation } from "./Detector.ts"
import type { Envelope } from "./Envelope.ts"
import type { Ready } from "./Ready.ts"
import type { Reply } from "./Reply.ts"

/** For a source that answers: what its legs replied, in the order of detection. */
export interface Answers {
  readonly replies: ReadonlyArray<Reply>
  /** What each rule or module said, for a source that explains. */
  readonly explained?: ReadonlyArray<Explanation>
}

/** How a delivery ended. A source that answers someone builds its answer from this. */
export type Settlement =
  /** Every leg is confirmed, or nothing was detected, or it was a duplicate or dropped by policy. */
  | ({ readonly _tag: "Acked" } & Answers)
  /** At least one leg lies in the dead letters; the source may forget it. */
  | ({ readonly _tag: "Buried"; readonly reason: string } & Answers)
  /** It cannot be decoded and its sender is told so: nothing was buried, the source may forget it. */
  | { readonly _tag: "Refused"; readonly reason: string }
  /** Give it again. */
  | { readonly _tag: "Nacked"; readonly reason: string }

export const acked: Settlement = { _tag: "Acked", replies: [] }

export interface Delivery {
  readonly envelope: Envelope
  /**
   * Ends this delivery. `streams/Settlement.ts` calls it, exactly once, and nobody else.
   *
   * A source that only notes the settlement returns nothing; what it still has to do (commit, delete) it does by itself
   * and fails its stream when that cannot be done.
   */
  readonly settle: (settlement: Settlement) => Ready<void>
  /** The source has lost it to somebody else: it goes no further, and its settlement counts for nothing. */
  readonly gone?: boolean
  /** Set on a replay: run only this part of the road. */
  readonly resume?: Resume | undefined
}

/** What a held delivery weighs, as measured: about three times its payload, which is held as it came and decoded. Units: bytes. */
export const weightOf = ({ envelope }: Delivery): number => 3 * envelope.payload.length

/** Where a replayed dead letter goes on. */
export interface Resume {
  readonly letter: string
  readonly stage: Stage
  readonly event: string | undefined
  readonly leg: string | undefined
  /** The reply whose publish was buried. */
  readonly reply: Reply | undefined
  readonly attempts: number
}

/** The part of the road a delivery was on. */
export type Stage = "decode" | "key" | "detect" | "dispatch" | "publish" | "shutdown"
