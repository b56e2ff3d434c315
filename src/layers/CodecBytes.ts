/** Passes the payload through as it came. */
import { Effect, Schema } from "effect"
import type { Codec } from "../services/Codec.ts"
import * as Component from "../services/Component.ts"

export const make: Codec = {
  name: "bytes",
  decode: (envelope) => ({ envelope, payload: envelope.payload, key: envelope.key })
}

export const component = Component.codec({
  type: "bytes",
  summary: "Bytes as they came; nothing can be wrong with them.",
  options: Schema.Struct({}),
  make: () => Effect.succeed(make)
})
