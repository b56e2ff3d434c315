/** Messages as lines: a line break inside one would make two of it, so such a message is written as a JSON text. */
import { Buffer } from "node:buffer"
import type { Outgoing } from "../services/Publisher.ts"
import * as Utf8 from "./Utf8.ts"

const newline = Buffer.from("\n")

export const join = (batch: ReadonlyArray<Outgoing>): Uint8Array =>
  Buffer.concat(batch.flatMap(({ value }) => [line(value), newline]))

const line = (value: Uint8Array): Uint8Array => {
  if (!value.includes(0x0a) && !value.includes(0x0d)) return value
  const text = Utf8.decode(value) ?? Buffer.from(value).toString("latin1")
  return Buffer.from(compact(text))
}

/** JSON that was written over several lines goes on one. */
const compact = (text: string): string => {
  try {
    return JSON.stringify(JSON.parse(text))
  } catch {
    return JSON.stringify(text)
  }
}
