/** Confirms and forgets: for pipelines whose replies nobody needs. */
import { Effect, Schema } from "effect"
import * as Component from "../services/Component.ts"
import type { Publisher } from "../services/Publisher.ts"

export const make: Publisher = { name: "none", batchMax: 500, inFlightMax: 1, publish: () => Effect.void }

export const component = Component.publisher({
  type: "none",
  summary: "Confirms and forgets.",
  options: Schema.Struct({}),
  make: () => Effect.succeed(make)
})
