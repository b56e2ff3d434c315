/** A decoded envelope, and the named business events found in it. */
import type { Envelope } from "./Envelope.ts"

export interface Event {
  readonly envelope: Envelope
  readonly payload: unknown
  /** Orders the lanes: what the pipeline's `key` read (the road sets it), otherwise the record's own key. */
  key: string | undefined
}

export interface Detection {
  /** The business event, such as `order.paid`. */
  readonly name: string
  readonly event: Event
}
