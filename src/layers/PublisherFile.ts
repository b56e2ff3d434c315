/** Appends to a file, one message per line, and confirms once the bytes are with the operating system. */
import { Effect, FileSystem, Path, Schema } from "effect"
import * as Component from "../services/Component.ts"
import * as Fields from "../services/Fields.ts"
import { PublishError, type Publisher } from "../services/Publisher.ts"
import * as Lines from "./OutgoingLines.ts"

export const make = Effect.fnUntraced(function* (path: string) {
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
              reason: `cannot append to ${path}: ${cause.message}`,
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
  make: ({ path }, { folder }) => Effect.flatMap(Path.Path, (paths) => make(paths.resolve(folder, path)))
})
