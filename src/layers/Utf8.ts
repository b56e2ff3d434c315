/** Reads bytes as UTF-8 text, or finds that they are not. */
import { Buffer, isUtf8 } from "node:buffer"

/** Works on any bytes, not only on a Buffer, and so spares wrapping them in one. */
const { utf8Slice } = Buffer.prototype

/** Undefined when the bytes are not UTF-8. A byte order mark is dropped. */
export const decode = (bytes: Uint8Array): string | undefined => {
  const text = utf8Slice.call(bytes, 0, bytes.length)
  // Bytes that are not UTF-8 become this character; looking for it costs less than checking the bytes first.
  if (text.includes("\ufffd") && !isUtf8(bytes)) return undefined
  return text.charCodeAt(0) === 0xfeff ? text.slice(1) : text
}
