/** What messages that follow from each other have in common: the id of the first cause, and how many came before. */
import { type Envelope, header, noHeaders } from "./Envelope.ts"

export const correlationHeader = "correlation-id"
/** How many pipelines a message has gone through before it came here. */
export const depthHeader = "sluice-depth"

/** Units: pipelines a message may have gone through, where nobody says otherwise. */
export const depthMaxDefault = 32
/** Units: characters. */
const correlationMax = 256

/**
 * The id that a message shares with all it follows from and all that follows from it: what it says itself, otherwise
 * its own id.
 *
 * Plain visible ASCII, so that every wire takes it and it stays the same all the way.
 */
export const correlationOf = (envelope: Envelope): string => {
  const { headers, id } = envelope
  if (headers === noHeaders) return plain(id)
  return plain(
    header(envelope, correlationHeader) ||
      header(envelope, "x-correlation-id") ||
      header(envelope, "x-request-id") ||
      id
  )
}

/** Units: pipelines it has gone through; what is not a count is none. */
export const depthOf = ({ headers }: Envelope): number => {
  const said = headers[depthHeader]
  return said !== undefined && /^\d{1,9}$/.test(said) ? Number(said) : 0
}

/** What a message that answers this one carries, where its wire has a place for it. */
export const headersOf = (envelope: Envelope): Readonly<Record<string, string>> => ({
  [correlationHeader]: correlationOf(envelope),
  [depthHeader]: `${depthOf(envelope) + 1}`
})

/** Why a message goes no further, when messages follow from each other without end. */
export const tooDeep = (envelope: Envelope, depthMax: number): string | undefined => {
  // Most have no headers at all.
  if (envelope.headers === noHeaders) return undefined
  const depth = depthOf(envelope)
  if (depth <= depthMax) return undefined
  return (
    `the chain ${correlationOf(envelope)} has gone through ${depth} pipelines, more than depthMax ${depthMax}: ` +
    "what they publish most likely leads back to themselves"
  )
}

const plain = (text: string): string =>
  (/^[!-~]*$/.test(text) ? text : encodeURIComponent(text.toWellFormed())).slice(0, correlationMax)
