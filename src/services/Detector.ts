/** Decides which named business events an event shows. */
import { Schema } from "effect"
import type { Detection, Event } from "./Event.ts"
import type { Ready } from "./Ready.ts"

/** The detector broke: it counts as not matched, the others go on. */
export class DetectError extends Schema.TaggedError<DetectError>()("DetectError", {
  detector: Schema.String,
  reason: Schema.String
}) {
  override get message(): string {
    return `${this.detector}: ${this.reason}`
  }
}

/** One rule, whether it matched, and the first condition that did not hold. */
export interface Explanation {
  readonly event: string
  readonly matched: boolean
  readonly why: string | undefined
}

export interface Detector {
  readonly name: string
  /** Return an effect only to fail or to wait. */
  readonly detect: (event: Event) => Ready<ReadonlyArray<Detection>, DetectError>
  /** The names it can find, where they are known; undefined when they come from the data. */
  readonly events: ReadonlyArray<string> | undefined
  readonly explain?: ((event: Event) => ReadonlyArray<Explanation>) | undefined
}
