/** Reads bytes as UTF-8 text as it is written, with its byte order mark; finds that they are none. */
import { Result } from "effect"

const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

/** Undefined when the bytes are not UTF-8. */
export const read = (bytes: Uint8Array): string | undefined =>
  Result.getOrUndefined(Result.try(() => strict.decode(bytes)))

export const withoutMark = (text: string): string => (text.startsWith("\ufeff") ? text.slice(1) : text)

export const withoutMarkBytes = (bytes: Uint8Array): Uint8Array =>
  bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? bytes.subarray(3) : bytes

export const hexPrefix = "hex:"

/** Bytes that are no text get a text of their own, so that two of them are never taken for one. */
export const readOrHex = (bytes: Uint8Array): string =>
  read(bytes) ?? hexPrefix + Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")
