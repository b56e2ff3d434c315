/** Why there is no connection to an EventRelay server, in words that say whose certificate it is about. */
import { X509Certificate } from "node:crypto"
import { Redacted, Result } from "effect"
import type { Connection } from "../services/EventRelayConnection.ts"

/** OpenSSL's own words are the last of what it puts around them. */
export const plainWords = (text: string): string => text.replace(openSsl, "$1").trim()

/** What stays so until somebody changes a certificate, a key or the config; undefined for everything else. */
export const denial = (said: string, { tls }: Connection, now: number): string | undefined => {
  if (tls === undefined) return undefined
  const words = plainWords(said)
  if (/certificate has expired/i.test(words)) return "the server's certificate has expired"
  if (/certificate is not yet valid/i.test(words)) return "the server's certificate is not valid yet"
  if (/altname/i.test(words))
    return `the server's certificate is for another name, which tls.serverName can say: ${words}`
  if (/self.signed|unable to (?:get|verify)|invalid ca/i.test(words)) {
    return `the server's certificate is not signed by tls.ca: ${words}`
  }
  const alert = /alert ((?:[a-z]+ )*certificate(?: [a-z]+)*?|unknown ca|access denied)(?: alert number|\W*$| \()/i.exec(
    words
  )?.[1]
  if (alert !== undefined) return `the server does not accept our certificate: ${alert}`
  if (/wrong version number|packet length too long/i.test(words)) return `the server does not speak TLS there: ${words}`
  // It has ended the connection without a word, and there is a reason for it.
  return dropped.test(said) ? outdated(tls, now) : undefined
}

/** What may pass. */
export const unconnected = (said: string, { tls }: Connection): string => {
  if (!dropped.test(said)) return plainWords(said)
  return tls === undefined
    ? "the server ended the connection at once: it may want TLS"
    : "the server ended the connection once it had our certificate: it may not accept it"
}

const openSsl = /(?:\b[0-9A-F]+:)?error:[0-9A-F]+:[^:]*:[^:]*:([^:]+)(?::\S*)*/

/** The vendor's words for a connection that was gone before the server had said anything. */
const dropped = /^Failed to connect/

const outdated = ({ cert }: NonNullable<Connection["tls"]>, now: number): string | undefined => {
  const read = Result.try(() => new X509Certificate(Redacted.value(cert)))
  if (Result.isFailure(read)) return undefined
  const { validFrom, validTo } = read.success
  if (Date.parse(validTo) < now) return `our certificate has expired: it was valid until ${validTo}`
  if (Date.parse(validFrom) > now) return `our certificate is not valid yet: it will be from ${validFrom} on`
  return undefined
}
