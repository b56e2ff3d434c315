/** Reads standard input, one message per line; what it has read it cannot give again. */
import { Array, Clock, Effect, Schema, Stdio, Stream } from "effect"
import * as Component from "../services/Component.ts"
import type { Delivery } from "../services/Delivery.ts"
import { type Source, SourceError } from "../services/Source.ts"
import { Cutter, envelopeOf, type Line, lines } from "./Lines.ts"

export const make: Effect.Effect<Source, never, Stdio.Stdio> = Effect.map(Stdio.Stdio, ({ stdin }) => {
  // Over all openings: what came of an open line, and whether the input has ended, which it does only once.
  const cutter = new Cutter()
  let ended = false
  const stream = lines(stdin, cutter).pipe(
    Stream.mapArrayEffect((array) =>
      Effect.map(Clock.currentTimeMillis, (now) => Array.map(array, (line) => deliveryOf(line, now)))
    ),
    Stream.mapError(
      (cause) => new SourceError({ source: "stdin", reason: `cannot read: ${cause.message}`, away: false, cause })
    ),
    Stream.onEnd(
      Effect.sync(() => {
        ended = true
      })
    )
  )
  return {
    name: "stdin",
    redelivers: false,
    answers: false,
    open: Effect.sync(() => (ended ? Stream.empty : stream))
  }
})

export const component = Component.source({
  type: "stdin",
  summary: "Standard input, one message per line; ends when the input ends.",
  options: Schema.Struct({}),
  make: () => make
})

const deliveryOf = (line: Line, now: number): Delivery => ({
  envelope: envelopeOf("stdin", line, now),
  // A line that was read is gone from the input, whatever becomes of it.
  settle: () => {}
})
