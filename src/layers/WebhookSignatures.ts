/** The signatures of webhooks: what a head must say for each kind, and whether they are those of the body. */

import { Buffer } from "node:buffer"
import { createHmac, createSecretKey, type KeyObject, timingSafeEqual } from "node:crypto"
import type { HttpHead, HttpRequest } from "../services/HttpHost.ts"
import type { Denial } from "../services/WebhookAuth.ts"

export type Algorithm = "sha256" | "sha1" | "sha512"

/** A way in by signature. */
export interface Signed {
  /** Undefined where the body can tell more. */
  readonly head: (head: HttpHead) => Denial | undefined
  readonly body: (request: HttpRequest) => Denial | undefined
}

/** Over what, and which signatures came: any of them by any key is enough. */
interface Claim {
  /** What is signed before the body. */
  readonly before: string
  readonly signatures: ReadonlyArray<Buffer>
}

type Read = (headers: HttpHead["headers"]) => Claim | Denial

export interface Window {
  readonly toleranceMillis: number
  readonly now: () => number
}

/** Units: signatures of one request; those that come after are not looked at. */
const signaturesMax = 16

/** Units: bytes. */
const bytesOf: Readonly<Record<Algorithm, number>> = { sha256: 32, sha1: 20, sha512: 64 }

export const keyOf = (secret: string | Uint8Array): KeyObject =>
  createSecretKey(typeof secret === "string" ? Buffer.from(secret) : secret)

/** `X-Hub-Signature-256: sha256=<hex>`. */
export const github = (keys: ReadonlyArray<KeyObject>): Signed =>
  plain(keys, { header: "x-hub-signature-256", algorithm: "sha256", encoding: "hex", prefix: "sha256=" })

export interface Plain {
  /** In lower case. */
  readonly header: string
  readonly algorithm: Algorithm
  readonly encoding: "hex" | "base64"
  readonly prefix: string
}

/** One signature over the body alone. */
export const plain = (keys: ReadonlyArray<KeyObject>, { algorithm, encoding, header, prefix }: Plain): Signed =>
  signed(keys, algorithm, (headers) => {
    const value = headers[header]
    if (value === undefined) return { reason: `the header ${header} is missing` }
    const signature = value.startsWith(prefix)
      ? decoded(value.slice(prefix.length), encoding, bytesOf[algorithm])
      : undefined
    if (signature === undefined) {
      return { reason: `the header ${header} is not ${prefix}<${algorithm} in ${encoding}>` }
    }
    return { before: "", signatures: [signature] }
  })

/** `Stripe-Signature: t=<seconds>,v1=<hex>`, several `v1` while a secret is replaced; signed are time and body. */
export const stripe = (keys: ReadonlyArray<KeyObject>, window: Window): Signed =>
  signed(keys, "sha256", ({ "stripe-signature": header }) => {
    if (header === undefined) return { reason: "the header stripe-signature is missing" }
    const parts = header.split(",")
    const times = parts.filter((part) => part.startsWith("t="))
    if (times.length !== 1) return { reason: "the header stripe-signature does not have one t=<seconds>" }
    const time = times[0]!.slice(2)
    const late = outside(time, window)
    if (late !== undefined) return late
    const signatures = some(
      parts.filter((part) => part.startsWith("v1=")),
      (part) => decoded(part.slice(3), "hex", bytesOf.sha256)
    )
    if (signatures.length === 0) return { reason: "the header stripe-signature has no v1=<sha256 in hex>" }
    return { before: `${time}.`, signatures }
  })

/** `webhook-signature: v1,<base64>`, several with spaces between them; signed are id, time and body. */
export const standardWebhooks = (keys: ReadonlyArray<KeyObject>, window: Window): Signed =>
  signed(
    keys,
    "sha256",
    ({ "webhook-id": id, "webhook-signature": header, "webhook-timestamp": time }): Claim | Denial => {
      if (id === undefined || id === "") return { reason: "the header webhook-id is missing" }
      if (time === undefined) return { reason: "the header webhook-timestamp is missing" }
      if (header === undefined) return { reason: "the header webhook-signature is missing" }
      const late = outside(time, window)
      if (late !== undefined) return late
      // Node joins repeated headers in this way.
      if (header.includes(", ")) return { reason: "the header webhook-signature came twice" }
      const signatures = some(
        header.split(" ").filter((part) => part.startsWith("v1,")),
        (part) => decoded(part.slice(3), "base64", bytesOf.sha256)
      )
      if (signatures.length === 0) return { reason: "the header webhook-signature has no v1,<sha256 in base64>" }
      return { before: `${id}.${time}.`, signatures }
    }
  )

const signed = (keys: ReadonlyArray<KeyObject>, algorithm: Algorithm, read: Read): Signed => ({
  head: ({ headers }) => {
    const claim = read(headers)
    return "reason" in claim ? claim : undefined
  },
  body: ({ body, headers }) => {
    const claim = read(headers)
    if ("reason" in claim) return claim
    // Header values are bytes that node shows as Latin-1.
    const before = Buffer.from(claim.before, "latin1")
    let holds = false
    for (const key of keys) {
      const expected = createHmac(algorithm, key).update(before).update(body).digest()
      // All are looked at, so that the time tells nothing of which was good.
      for (const signature of claim.signatures) holds = timingSafeEqual(expected, signature) || holds
    }
    return holds ? undefined : { reason: "the signature is not that of this body" }
  }
})

const outside = (time: string, { now, toleranceMillis }: Window): Denial | undefined => {
  if (!/^\d{1,12}$/.test(time)) return { reason: "the time of the signature is not in seconds since 1970" }
  if (Math.abs(now() - Number(time) * 1000) <= toleranceMillis) return undefined
  return { reason: `the time of the signature is more than ${toleranceMillis / 1000} s from now` }
}

const some = (texts: ReadonlyArray<string>, read: (text: string) => Buffer | undefined): ReadonlyArray<Buffer> =>
  texts.slice(0, signaturesMax).flatMap((text) => read(text) ?? [])

/** Undefined when it is no signature of that length, written out in full. */
const decoded = (text: string, encoding: "hex" | "base64", bytes: number): Buffer | undefined => {
  const length = encoding === "hex" ? 2 * bytes : 4 * Math.ceil(bytes / 3)
  if (text.length !== length) return undefined
  const read = Buffer.from(text, encoding)
  return read.length === bytes && read.toString(encoding) === (encoding === "hex" ? text.toLowerCase() : text)
    ? read
    : undefined
}
