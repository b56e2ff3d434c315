/** Writes the file of a gateway's keys: only ever by adding lines, which no reader and no other writer can stumble over. */
import { closeSync, existsSync, fstatSync, fsyncSync, ftruncateSync, openSync, readSync, writeSync } from "node:fs"
import { Effect, Result, Schema } from "effect"
import * as GatewayKeys from "./GatewayKeys.ts"
import { WatchedFile } from "./WatchedFile.ts"

/** The file of keys cannot be read or written. */
export class KeyFileError extends Schema.TaggedError<KeyFileError>()("KeyFileError", {
  reason: Schema.String,
  cause: Schema.optionalKey(Schema.Defect())
}) {
  override get message(): string {
    return this.reason
  }
}

/** No keys where there is no file and `orNone` is set. */
export const read = (
  path: string,
  options: { readonly orNone?: boolean } = {}
): Effect.Effect<GatewayKeys.Keys, KeyFileError> =>
  Effect.suspend(() => {
    if (options.orNone === true && !existsSync(path)) return Effect.succeed(new Map())
    const file = WatchedFile.open(path, GatewayKeys.parse, 0)
    return Result.isSuccess(file)
      ? Effect.succeed(file.success.value)
      : Effect.fail(new KeyFileError({ reason: `${path}: ${file.failure}` }))
  })

/** Adds all lines or none, and returns once they are on the disk. A new file can be read by its owner only. */
export const append = (path: string, lines: ReadonlyArray<GatewayKeys.Line>): Effect.Effect<void, KeyFileError> =>
  Effect.try({
    try: () => {
      const file = openSync(path, "a+", 0o600)
      try {
        write(file, lines.map((line) => `${JSON.stringify(line)}\n`).join(""))
      } finally {
        closeSync(file)
      }
    },
    catch: (cause) => {
      const { code = "the disk may be full" } = cause as NodeJS.ErrnoException
      return new KeyFileError({ reason: `${path}: cannot be written (${code})`, cause })
    }
  })

/** One call of the system, at whatever is the end then: nothing of another writer is lost or torn. */
const write = (file: number, text: string): void => {
  const { size } = fstatSync(file)
  const last = Buffer.alloc(1)
  const isWhole = size === 0 || (readSync(file, last, 0, 1, size - 1) === 1 && last[0] === 0x0a)
  const bytes = Buffer.from(isWhole ? text : `\n${text}`)
  const written = writeSync(file, bytes)
  if (written < bytes.length) {
    // What was torn would make the file unreadable, unless somebody else has gone on behind it.
    if (fstatSync(file).size === size + written) ftruncateSync(file, size)
    throw new Error(`${written} of ${bytes.length} bytes could be written`)
  }
  fsyncSync(file)
}
