/** A reply as dead letters keep it: bytes as bytes, and all else as JSON. */
import { Formatter, Result } from "effect"
import { Base64 } from "effect/encoding"
import type { Reply } from "../services/Reply.ts"

/** The reply without its bytes, which JSON can hold, and the bytes apart. */
export const split = (
  reply: Reply | undefined
): { readonly rest: Reply | undefined; readonly bytes: Uint8Array | null } => {
  if (reply === undefined) return { rest: undefined, bytes: null }
  const { payload } = reply
  if (payload instanceof Uint8Array) return { rest: { ...reply, payload: undefined }, bytes: payload }
  return { rest: { ...reply, payload: expressible(payload) }, bytes: null }
}

export const join = (rest: Reply | undefined, bytes: Uint8Array | null): Reply | undefined =>
  rest && { ...rest, payload: bytes ?? rest.payload }

/** For stores that have only text: the bytes stand beside the payload, so that no payload is mistaken for them. */
export const toText = (reply: Reply): string => {
  const { bytes, rest } = split(reply)
  return JSON.stringify(bytes === null ? rest : { ...rest, payloadBase64: Base64.encode(bytes) })
}

/** Undefined when the text is none that `toText` has written. */
export const fromText = (text: string): Reply | undefined => {
  const read = Result.getOrUndefined(Result.try(() => JSON.parse(text)))
  if (typeof read !== "object" || read === null) return undefined
  const { payloadBase64, ...rest } = read
  return join(rest, typeof payloadBase64 === "string" ? fromBase64(payloadBase64) : null)
}

export const toBase64 = (bytes: Uint8Array): string => Base64.encode(bytes)

export const fromBase64 = (text: string): Uint8Array => Result.getOrElse(Base64.decode(text), () => new Uint8Array())

/** A reply of our own code may hold what JSON cannot (a cycle, a bigint); that must not keep its message from its grave. */
const expressible = (payload: unknown): unknown =>
  Result.isSuccess(Result.try(() => JSON.stringify(payload))) ? payload : Formatter.format(payload)
