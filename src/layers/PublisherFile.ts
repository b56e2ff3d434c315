/** Appends to a file, one message per line, and confirms once the bytes are with the operating system. */
import { Effect, FileSystem, Path, Schema } from "effect"
import * as Component from "../services/Component.ts"
import * as Fields from "../services/Fields.ts"
import { PublishError, type Publisher } from "../services/Publisher.ts"
import * as Lines from "./OutgoingLines.ts"

/** `shown` is the path as reasons name it. */
export const make = Effect.fnUntraced(function* (path: string, shown = path) {
  const fs = yield* FileSystem.FileSystem
  const folder = (yield* Path.Path).dirname(path)
  const publisher: Publisher = {
    name: "file",
    batchMax: 500,
    inFlightMax: 1,
    publish: (batch) =>
      fs.makeDirectory(folder, { recursive: true }).pipe(
        Effect.andThen(fs.writeFile(path, Lines.join(batch), { flag: "a" })),
        Effect.mapError(
          (cause) =>
            new PublishError({
              reason: `cannot append to ${shown}: ${cause.reason._tag}`,
              // A full disk is an outage of the file: waited out, not counted.
              presence: "busy",
              retryable: true,
              cause
            })
        )
      )
  }
  return publisher
})

export const component = Component.publisher({
  type: "file",
  summary: "A file that is appended to, one message per line (NDJSON).",
  options: Schema.Struct({ path: Fields.Text }),
  make: ({ path }, { folder, hide }) =>
    Effect.flatMap(Path.Path, (paths) => {
      const resolved = paths.resolve(folder, path)
      return make(resolved, hide(resolved))
    })
})
