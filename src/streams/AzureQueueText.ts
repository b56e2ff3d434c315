/** What an Azure queue takes as a message: its size, and the characters XML has. */

/** Units: bytes of UTF-8. Source: https://learn.microsoft.com/rest/api/storageservices/put-message */
export const textBytesMax = 64 * 1024

/** Units: bytes of a payload that fits when it is sent as base64. */
export const base64BytesMax = (textBytesMax / 4) * 3

/** A queue's limit of visibility timeouts and delays. Units: seconds. */
export const visibilitySecondsMax = 7 * 24 * 3600

/** How long a message is kept where nobody says. Units: seconds. */
export const ttlSecondsDefault = 7 * 24 * 3600

/** Source: https://www.w3.org/TR/xml/#charsets. A half of a surrogate pair is none either. */
const noXml = /[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/u

/** The first character that XML has not, such as `U+0001`. */
export const strangerIn = (text: string): string | undefined => {
  const found = noXml.exec(text)
  if (found === null) return undefined
  return `U+${found[0].codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0")}`
}

/** Units: bytes of UTF-8. */
export const bytesOf = (text: string): number => new TextEncoder().encode(text).length

/** Why a queue does not take it, in the words of the service's error; undefined when it does. */
export const unfitness = (text: string): string | undefined => {
  const stranger = strangerIn(text)
  if (stranger !== undefined) return `the text has a character that XML has not: ${stranger} (InvalidXmlDocument)`
  const bytes = bytesOf(text)
  if (bytes <= textBytesMax) return undefined
  return `the text has ${bytes} bytes, and a message at most ${textBytesMax} (RequestBodyTooLarge)`
}
