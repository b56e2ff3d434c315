/** Reads a file, one message per line; after a failure it gives again what was not settled, and only that. */
import { Array, Clock, Effect, FileSystem, Path, Schema, Stream } from "effect"
import * as Component from "../services/Component.ts"
import type { Delivery } from "../services/Delivery.ts"
import { type Source, SourceError } from "../services/Source.ts"
import { envelopeOf, type Line, lines } from "./Lines.ts"
import { Offsets } from "./Offsets.ts"

/** `shown` is the path as logs and letters name it. */
export const make = Effect.fnUntraced(function* (path: string, shown = path) {
  const fs = yield* FileSystem.FileSystem
  const name = `file:${shown}`
  // Line numbers, over all openings of this source.
  const settled = new Offsets({ watermark: 1, settled: [] })
  const source: Source = {
    name,
    redelivers: true,
    answers: false,
    open: Effect.sync(() => {
      const before = new Offsets(settled.snapshot())
      return lines(fs.stream(path)).pipe(
        Stream.filter(({ number }) => before.see(number)),
        Stream.mapArrayEffect((array) =>
          Effect.map(Clock.currentTimeMillis, (now) => Array.map(array, (line) => deliveryOf(name, settled, line, now)))
        ),
        Stream.mapError(
          (cause) => new SourceError({ source: name, reason: `cannot read: ${cause.reason._tag}`, away: false, cause })
        )
      )
    })
  }
  return source
})

export const component = Component.source({
  type: "file",
  summary: "A file, one message per line (NDJSON); ends at its end.",
  options: Schema.Struct({ path: Schema.NonEmptyString }),
  make: ({ path }, { folder, hide }) =>
    Effect.flatMap(Path.Path, (paths) => {
      const resolved = paths.resolve(folder, path)
      return make(resolved, hide(resolved))
    })
})

const deliveryOf = (source: string, settled: Offsets, line: Line, now: number): Delivery => {
  settled.see(line.number)
  return {
    envelope: envelopeOf(source, line, now),
    settle: ({ _tag }) => {
      if (_tag !== "Nacked") settled.settle(line.number)
    }
  }
}
