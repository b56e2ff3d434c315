/** Cuts a stream of bytes into lines, in arrays as the bytes came; a line beyond the limit is cut there and marked. */
import { Array, Effect, Stream } from "effect"
import * as Envelope from "../services/Envelope.ts"

export interface Line {
  readonly bytes: Uint8Array
  /** From 1. */
  readonly number: number
  /** Only the beginning of it is here. */
  readonly cut: boolean
}

/** Units: bytes. A longer line is cut there and the rest of it skipped. */
export const lineMaxDefault = 16 * 1024 * 1024

/** Empty lines are counted, but not given. A cutter that is handed in keeps an open line over several streams. */
export const lines = <E, R>(
  chunks: Stream.Stream<Uint8Array, E, R>,
  cutter: Cutter = new Cutter()
): Stream.Stream<Line, E, R> =>
  Stream.concat(
    Stream.map(chunks, (chunk) => cutter.push(chunk)),
    Stream.fromEffect(Effect.sync(() => cutter.end()))
  ).pipe(Stream.filter(Array.isReadonlyArrayNonEmpty), Stream.flattenArray)

/** A line as an envelope: a new id per arrival, its number as its place. */
export const envelopeOf = (source: string, { bytes, cut, number }: Line, receivedAt: number): Envelope.Envelope => ({
  id: crypto.randomUUID(),
  source,
  key: undefined,
  headers: Envelope.noHeaders,
  payload: bytes,
  receivedAt,
  attempt: 1,
  broken: cut ? `the line is longer than ${lineMaxDefault} bytes; only its beginning is kept` : undefined,
  position: number
})

const newline = 0x0a
const carriageReturn = 0x0d

type Lines = Line[]

export class Cutter {
  private parts: Uint8Array[] = []
  private length = 0
  private number = 0

  push(chunk: Uint8Array): ReadonlyArray<Line> {
    const found: Lines = []
    let from = 0
    for (let to = chunk.indexOf(newline); to >= 0; to = chunk.indexOf(newline, from)) {
      this.add(chunk.subarray(from, to))
      this.finish(found)
      from = to + 1
    }
    this.add(chunk.subarray(from))
    return found
  }

  end(): ReadonlyArray<Line> {
    const found: Lines = []
    if (this.length > 0) this.finish(found)
    return found
  }

  private add(bytes: Uint8Array): void {
    if (bytes.length === 0) return
    const room = lineMaxDefault - this.length
    if (room > 0) this.parts.push(bytes.length > room ? bytes.subarray(0, room) : bytes)
    this.length += bytes.length
  }

  private finish(found: Lines): void {
    this.number++
    const whole = this.parts.length === 1 ? this.parts[0]! : joined(this.parts)
    const bytes = whole.at(-1) === carriageReturn ? whole.subarray(0, -1) : whole
    if (bytes.length > 0) found.push({ bytes, number: this.number, cut: this.length > lineMaxDefault })
    this.parts = []
    this.length = 0
  }
}

const joined = (parts: ReadonlyArray<Uint8Array>): Uint8Array => {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}
