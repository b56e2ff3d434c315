/** Reads the payload as UTF-8 text. */
import { Effect, Schema } from "effect"
import { type Codec, DecodeError } from "../services/Codec.ts"
import * as Component from "../services/Component.ts"
import * as Utf8 from "./Utf8.ts"

export const make: Codec = {
  name: "text",
  decode: (envelope) => {
    const payload = Utf8.decode(envelope.payload)
    return payload === undefined
      ? Effect.fail(new DecodeError({ reason: "not UTF-8 text" }))
      : { envelope, payload, key: envelope.key }
  }
}

export const component = Component.codec({
  type: "text",
  summary: "UTF-8 text; the payload is the text.",
  options: Schema.Struct({}),
  make: () => Effect.succeed(make)
})
