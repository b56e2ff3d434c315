/** Reads events of EventRelay, as the source of that name takes them and as its webhooks bring them, with `data` as a value. */
import { Effect, Schema } from "effect"
import type { Codec } from "../services/Codec.ts"
import * as Component from "../services/Component.ts"
import * as EventRelayEvent from "../streams/EventRelayEvent.ts"

export const make = (): Codec => EventRelayEvent.codec

export const component = Component.codec({
  type: "eventrelay",
  summary:
    "Events of EventRelay, pulled or by webhook: payload.name, payload.context.ip, payload.data.total and so on.",
  options: Schema.Struct({}),
  make: () => Effect.succeed(make())
})
