/** What the frames of a ZeroMQ message mean: the topic, the body, and what lies between. */
import { noHeaders } from "../services/Envelope.ts"
import type { Frames } from "../services/ZeroMq.ts"
import * as Utf8Text from "./Utf8Text.ts"

export interface Message {
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array
}

/** Whether a single frame may have its topic in front: in any case, only in front of an object or an array, or not. */
export type Split = "always" | "json" | "never"

/**
 * Several frames: the first is the topic, the last the body, those between become headers where they are UTF-8. One
 * frame: the body, and by `split` also the topic in front of it, as in `orders {"id":1}` and `orders{"id":1}`.
 */
export const read = (frames: Frames, split: Split): Message => {
  const last = frames[frames.length - 1]!
  if (frames.length === 1) return split === "never" ? { headers: noHeaders, body: last } : single(last, split)
  const headers: Record<string, string> = { topic: Utf8Text.readOrHex(frames[0]!) }
  for (let i = 1; i < frames.length - 1; i++) {
    const text = Utf8Text.read(frames[i]!)
    if (text !== undefined) headers[`frame-${i}`] = text
  }
  return { headers, body: last }
}

const space = 0x20
const brace = 0x7b
const bracket = 0x5b

/** JSON as a whole is the body; otherwise what stands before the first space, `{` or `[` is the topic, if it is text. */
const single = (frame: Uint8Array, split: Split): Message => {
  const whole = { headers: noHeaders, body: frame }
  let end = 0
  while (end < frame.length && frame[end] !== space && frame[end] !== brace && frame[end] !== bracket) end++
  // Also JSON that is an object or an array, which would have no topic.
  if (end === 0 || end === frame.length) return whole
  const topic = Utf8Text.read(frame.subarray(0, end))
  if (topic === undefined || topic.trim() === "" || isJson(frame)) return whole
  const body = frame.subarray(frame[end] === space ? end + 1 : end)
  return split === "always" || isObject(body) ? { headers: { topic }, body } : whole
}

const isObject = (body: Uint8Array): boolean => {
  if (body[0] !== brace && body[0] !== bracket) return false
  const text = Utf8Text.read(body)
  return text !== undefined && parses(text)
}

/** Of what begins with neither brace nor bracket only a text, a number or a word can be JSON. */
const isJson = (frame: Uint8Array): boolean => {
  if (!jsonStarts.has(frame[0]!)) return false
  const text = Utf8Text.read(frame)
  return text !== undefined && parses(text)
}

const jsonStarts = new Set(Array.from('"-0123456789tfn\t\n\r', (char) => char.charCodeAt(0)))

const parses = (text: string): boolean => {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}
