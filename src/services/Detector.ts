/** Decides which named business events an event shows. */
import { Schema } from "effect"
import type { Dispatcher } from "./Dispatcher.ts"
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

/** What one rule or module said of an event. */
export interface Explanation {
  readonly event: string
  readonly verdict: "yes" | "no" | "broke"
  /** The first condition that did not hold, or how it broke. */
  readonly why: string | undefined
}

export interface Detector {
  readonly name: string
  /** Return an effect only to fail or to wait. */
  readonly detect: (event: Event) => Ready<ReadonlyArray<Detection>, DetectError>
  /** The names it can find, where they are known; undefined when they come from the data. */
  readonly events: ReadonlyArray<string> | undefined
  /** Asked after `detect`, about the very same event. */
  readonly explain?: ((event: Event) => ReadonlyArray<Explanation>) | undefined
  /** Files it cannot use, and why: it works without them, but `check` fails. */
  readonly problems?: ReadonlyArray<{ readonly file: string; readonly reason: string }> | undefined
  /** Acts on what it found: one more leg of the pipeline, for the events it can find. */
  readonly acts?: Dispatcher | undefined
}
