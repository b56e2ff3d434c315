/** What is to be sent: one event, or one per line, with names by which a second run is known again. */
import { Buffer } from "node:buffer"
import { createHash, randomUUID } from "node:crypto"
import { Effect, FileSystem, type PlatformError, Pull, Schema, type Scope, Stdio, Stream } from "effect"
import * as Lines from "../streams/Lines.ts"
import { UsageError } from "./CliJournal.ts"
import * as Utf8 from "./Utf8.ts"

export class InputError extends Schema.TaggedError<InputError>()("InputError", {
  file: Schema.String,
  reason: Schema.String
}) {
  override get message(): string {
    return `${this.file}: cannot be read: ${this.reason}`
  }
}

export interface Input {
  readonly isLines: boolean
  /** Lines of nothing but space are left out. */
  readonly events: Stream.Stream<Lines.Line, InputError>
  /** The same in another run for the same line of the same file; otherwise used only once. */
  readonly keyOf: (line: Lines.Line) => string
}

/** Units: bytes of one event or schema. */
export const eventMax = Lines.lineMaxDefault

type Chunks = Stream.Stream<Uint8Array, InputError>

/** `about` is part of the names. */
export const open = Effect.fnUntraced(function* (file: string, asLines: boolean, about: string) {
  const { chunks, isFile } = yield* source(file)
  const run = isFile ? yield* digest(chunks, about) : randomUUID()
  const keyOf = ({ number }: Lines.Line): string => `${run}-${number}`
  const isLines = asLines || /\.(ndjson|jsonl)$/i.test(file)
  if (isLines) return { isLines, keyOf, events: linesOf(chunks) } satisfies Input
  const found = yield* document(chunks, !isFile)
  if (found._tag === "Lines") return { isLines: true, keyOf, events: linesOf(found.chunks) } satisfies Input
  if (found._tag === "TooLarge") return yield* tooLarge(file)
  const line: Lines.Line = { bytes: found.bytes, number: 1, cut: false }
  return { isLines: false, keyOf, events: Stream.succeed(line) } satisfies Input
})

/** All of a file or of standard input. */
export const whole = Effect.fnUntraced(function* (file: string) {
  const { chunks } = yield* source(file)
  const found = yield* document(chunks, false)
  return found._tag === "Whole" ? found.bytes : yield* tooLarge(file)
}, Effect.scoped)

const tooLarge = (file: string): UsageError =>
  new UsageError({ reason: `${file}: more than ${eventMax} bytes; if each line is an event, say --lines` })

const source = Effect.fnUntraced(function* (file: string) {
  const failed = (error: PlatformError.PlatformError): InputError =>
    new InputError({ file: file === "-" ? "standard input" : file, reason: error.reason._tag })
  if (file === "-") {
    const { stdin } = yield* Stdio.Stdio
    return { isFile: false, chunks: Stream.mapError(stdin, failed) }
  }
  const fs = yield* FileSystem.FileSystem
  const { type } = yield* Effect.mapError(fs.stat(file), ({ reason }) =>
    reason._tag === "NotFound"
      ? new UsageError({ reason: `${file}: there is no such file` })
      : new InputError({ file, reason: reason._tag })
  )
  if (type === "Directory") return yield* new UsageError({ reason: `${file}: it is a folder` })
  // A pipe gives what it has only once.
  return { isFile: type === "File", chunks: Stream.mapError(fs.stream(file), failed) }
})

const digest = (chunks: Chunks, about: string): Effect.Effect<string, InputError> =>
  Stream.runFold(
    chunks,
    () => createHash("sha256").update(`${about}\n`),
    (hash, chunk) => hash.update(chunk)
  ).pipe(Effect.map((hash) => hash.digest("hex").slice(0, 40)))

const linesOf = (chunks: Chunks): Stream.Stream<Lines.Line, InputError> =>
  Stream.filter(Lines.lines(chunks), ({ bytes }) => bytes.some((byte) => !isSpace(byte)))

const isSpace = (byte: number): boolean => byte === 0x20 || (byte >= 0x09 && byte <= 0x0d)

type Document =
  | { readonly _tag: "Whole"; readonly bytes: Uint8Array }
  | { readonly _tag: "Lines"; readonly chunks: Chunks }
  | { readonly _tag: "TooLarge" }

/**
 * Reads on until it is known what it is: the end, or, where there may be lines, a first line that is an event by itself
 * with more behind it. JSON that is written over several lines has no such first line.
 */
const document = Effect.fnUntraced(function* (
  chunks: Chunks,
  mayBeLines: boolean
): Effect.fn.Return<Document, InputError, Scope.Scope> {
  const pull = yield* Stream.toPull(chunks)
  const parts: Array<Uint8Array> = []
  let length = 0
  let isLooked = !mayBeLines
  const rest = Stream.concat(
    Stream.suspend(() => Stream.fromIterable(parts)),
    Stream.fromPull(Effect.succeed(pull))
  )
  for (;;) {
    const more = yield* Pull.catchDone(pull, () => Effect.succeed(undefined))
    if (more === undefined) break
    for (const part of more) {
      parts.push(part)
      length += part.length
    }
    if (!isLooked) {
      const looked = firstLine(joined(parts, length))
      if (looked === "event") return { _tag: "Lines", chunks: rest }
      isLooked = looked === "other"
    }
    if (length > eventMax) return mayBeLines ? { _tag: "Lines", chunks: rest } : { _tag: "TooLarge" }
  }
  const bytes = joined(parts, length)
  // Lines of which the first is broken: what is wrong is said of each.
  const isBroken = mayBeLines && !isJson(bytes) && isSeveral(bytes)
  return isBroken ? { _tag: "Lines", chunks: Stream.succeed(bytes) } : { _tag: "Whole", bytes }
})

const joined = (parts: Array<Uint8Array>, length: number): Uint8Array => {
  if (parts.length > 1) parts.splice(0, parts.length, Buffer.concat(parts, length))
  return parts[0] ?? new Uint8Array(0)
}

/** Undefined while it is not known: without an end of the line, or anything behind it. */
const firstLine = (bytes: Uint8Array): "event" | "other" | undefined => {
  const start = bytes.findIndex((byte) => !isSpace(byte))
  const end = start === -1 ? -1 : bytes.indexOf(0x0a, start)
  if (end === -1 || !bytes.subarray(end).some((byte) => !isSpace(byte))) return undefined
  return isJson(bytes.subarray(start, end)) ? "event" : "other"
}

const isJson = (bytes: Uint8Array): boolean => {
  try {
    JSON.parse(Utf8.decode(bytes) ?? "")
    return true
  } catch {
    return false
  }
}

/** Whether some line of several is an event by itself. */
const isSeveral = (bytes: Uint8Array): boolean => {
  const cutter = new Lines.Cutter()
  const lines = [...cutter.push(bytes), ...cutter.end()]
  return lines.length > 1 && lines.some(({ bytes }) => isJson(bytes))
}
