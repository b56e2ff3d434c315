/** One message as data: what a source received, before anyone has read it. */

export interface Envelope {
  /** The source's own id, stable over redelivery, where it has one; otherwise random per arrival. */
  readonly id: string
  /** The source as it is named in letters and logs, such as `stdin` or `topic:orders`. */
  readonly source: string
  /** The record's own key, where the source has one. */
  readonly key: string | undefined
  readonly headers: Readonly<Record<string, string>>
  readonly payload: Uint8Array
  /** Units: milliseconds since 1970. */
  readonly receivedAt: number
  /** Which delivery of this envelope this is, from 1. */
  readonly attempt: number
  /** The ordered part of the source it came from, such as a Kafka partition. */
  readonly partition?: string | undefined
  /** Why the source could not take it whole; it is buried like one that cannot be decoded. */
  readonly broken?: string | undefined
  /** Its place in that part, such as an offset. */
  readonly position?: number | undefined
  /** The record's own key where it is not UTF-8 text; `key` is then a text form of it. */
  readonly keyBytes?: Uint8Array
  /** The record had no value (null, not empty): `payload` is empty then. */
  readonly tombstone?: true
  /** The record's own timestamp. Units: milliseconds since 1970. */
  readonly producedAt?: number
}

/** Shared by all envelopes without headers, so that a hot source allocates none. */
export const noHeaders: Readonly<Record<string, string>> = Object.freeze({})

const utf8 = new TextDecoder()

/** The payload as text, or one header read whatever the case of its name. */
export const text = (envelope: Envelope): string => utf8.decode(envelope.payload)

export const header = (envelope: Envelope, name: string): string | undefined => {
  const wanted = name.toLowerCase()
  if (Object.hasOwn(envelope.headers, wanted)) return envelope.headers[wanted]
  for (const key of Object.keys(envelope.headers)) if (key.toLowerCase() === wanted) return envelope.headers[key]
  return undefined
}
