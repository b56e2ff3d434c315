/** What the text of an Azure queue's message is as bytes, and what the bytes were as text. */
import { Result } from "effect"
import { Base64 } from "effect/encoding"
import type { Envelope } from "../services/Envelope.ts"
import { strangerIn } from "./AzureQueueText.ts"
import * as Utf8Text from "./Utf8Text.ts"

/**
 * none: the text is the payload · base64: the payload stands in it as base64 · auto: base64 only where the text is no
 * JSON and what it stands for is.
 */
export type Encoding = "auto" | "none" | "base64"

export interface Decoded {
  readonly payload: Uint8Array
  readonly isBase64: boolean
  /** Why it is not what the encoding says; the payload is the text then. */
  readonly broken: string | undefined
}

/** Says in an envelope's headers that its payload stood in the queue as base64. */
export const encodingHeader = "azure-queue-encoding"

export const decode = (text: string, encoding: Encoding): Decoded => {
  const asText = (broken?: string): Decoded => ({ payload: utf8.encode(text), isBase64: false, broken })
  if (encoding === "none" || (encoding === "auto" && isJson(text))) return asText()
  const payload = canonical(text)
  if (encoding === "base64") {
    return payload === undefined ? asText("the text is not base64") : { payload, isBase64: true, broken: undefined }
  }
  const isMeant = payload !== undefined && payload.length > 0 && isJson(Utf8Text.read(payload))
  return isMeant ? { payload, isBase64: true, broken: undefined } : asText()
}

/** The text as it lay in the queue, for one that came from a queue; bytes that are no text become base64. */
export const textOf = ({ headers, payload }: Envelope): string => {
  const text = headers[encodingHeader] === "base64" ? undefined : Utf8Text.read(payload)
  return text === undefined || strangerIn(text) !== undefined ? Base64.encode(payload) : text
}

const utf8 = new TextEncoder()
const isJson = (text: string | undefined): boolean =>
  text !== undefined && Result.isSuccess(Result.try(() => JSON.parse(Utf8Text.withoutMark(text))))

/** Only what is written exactly as we would write it, so that the text can be made of the bytes again. */
const canonical = (text: string): Uint8Array | undefined => {
  const bytes = Result.getOrUndefined(Base64.decode(text))
  return bytes !== undefined && Base64.encode(bytes) === text ? bytes : undefined
}
