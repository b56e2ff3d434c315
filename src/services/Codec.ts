/** Reads an envelope's bytes as an event. */
import { Schema } from "effect"
import type { Envelope } from "./Envelope.ts"
import type { Event } from "./Event.ts"
import type { Ready } from "./Ready.ts"

/** The payload is not what the codec reads. */
export class DecodeError extends Schema.TaggedError<DecodeError>()("DecodeError", {
  reason: Schema.String
}) {
  override get message(): string {
    return this.reason
  }
}

export interface Codec {
  readonly name: string
  /** Return an effect only to fail or to wait. */
  readonly decode: (envelope: Envelope) => Ready<Event, DecodeError>
}
