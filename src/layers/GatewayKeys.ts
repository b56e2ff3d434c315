/** API keys of gateway clients: how one is made, what is kept of it, and whether one that is shown is good. */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto"
import { Redacted, Result, Schema } from "effect"
import { Right } from "../services/GatewayAccess.ts"

/** `*` as the client of a key. */
export const everyClient = "*"
export const prefix = "slk_"

/** Not empty, on one line. */
export const isClient = (text: string): boolean => /^[^\p{Cc}\p{Zl}\p{Zp}]{1,200}$/u.test(text)

const Time = Schema.String.check(
  Schema.makeFilter((text: string) => /^\d{4}-\d\d-\d\dT/.test(text) && !Number.isNaN(Date.parse(text)))
)

/** A line of the file. */
const Line = Schema.Struct({
  id: Schema.String.check(Schema.isPattern(/^[0-9A-Za-z]{4,32}$/)),
  client: Schema.String.check(Schema.makeFilter(isClient)),
  /** Of the secret as the key holds it. Units: hexadecimal digits. */
  sha256: Schema.String.check(Schema.isPattern(/^[0-9a-f]{64}$/)),
  scopes: Schema.Array(Right),
  /** ISO times. */
  createdAt: Time,
  expiresAt: Schema.optionalKey(Time),
  revokedAt: Schema.optionalKey(Time),
  /** The id of the key that was made in its place. */
  replacedBy: Schema.optionalKey(Schema.String)
})
export type Line = typeof Line.Type

export interface Key {
  readonly line: Line
  readonly hash: Uint8Array
  /** Units: milliseconds since 1970; never by default. */
  readonly expiresAt: number
  readonly revokedAt: number
}

export type Keys = ReadonlyMap<string, Key>

// ---------------------------------------------------------------------------------------------------- file

/** Units: lines of a file. */
const linesMax = 50_000

const decodeLine = Schema.decodeUnknownResult(Schema.fromJsonString(Line))

/**
 * By id. Of several lines with the same one the last counts, and the earliest end that any of them says: two who change
 * a key at the same time cannot bring back what one of them has ended. Fails with the number of a line, not its text.
 */
export const parse = (text: string): Result.Result<Keys, string> => {
  const keys = new Map<string, Key>()
  const lines = text.split("\n")
  if (lines.length > linesMax) return Result.fail(`has more than ${linesMax} lines`)
  for (const [at, one] of lines.entries()) {
    if (one.trim() === "") continue
    const line = decodeLine(one)
    if (Result.isFailure(line)) return Result.fail(`line ${at + 1} is no key as sluice key add writes it`)
    const { id } = line.success
    keys.set(id, merged(keyOf(line.success), keys.get(id)))
  }
  return Result.succeed(keys)
}

const keyOf = (line: Line): Key => ({
  line,
  hash: Buffer.from(line.sha256, "hex"),
  expiresAt: line.expiresAt === undefined ? Number.POSITIVE_INFINITY : Date.parse(line.expiresAt),
  revokedAt: line.revokedAt === undefined ? Number.POSITIVE_INFINITY : Date.parse(line.revokedAt)
})

const merged = (last: Key, before: Key | undefined): Key => {
  if (before === undefined) return last
  const expiresAt = Math.min(last.expiresAt, before.expiresAt)
  const revokedAt = Math.min(last.revokedAt, before.revokedAt)
  const line = {
    ...last.line,
    ...(Number.isFinite(expiresAt) ? { expiresAt: iso(expiresAt) } : undefined),
    ...(Number.isFinite(revokedAt) ? { revokedAt: iso(revokedAt) } : undefined)
  }
  return { ...last, line, expiresAt, revokedAt }
}

// ---------------------------------------------------------------------------------------------------- making

export interface New {
  readonly client: string
  readonly scopes: ReadonlyArray<Right>
  /** Units: milliseconds since 1970. */
  readonly createdAt: number
  readonly expiresAt?: number | undefined
}

/** The key itself is shown once and kept nowhere. */
export const make = ({ client, createdAt, expiresAt, scopes }: New) => {
  const id = randomBytes(8).toString("hex")
  const secret = randomBytes(32).toString("base64url")
  const line: Line = {
    id,
    client,
    sha256: sha256(secret).toString("hex"),
    scopes,
    createdAt: iso(createdAt),
    ...(expiresAt === undefined ? undefined : { expiresAt: iso(expiresAt) })
  }
  return { line, key: Redacted.make(`${prefix}${id}_${secret}`) }
}

export const iso = (millis: number): string => new Date(millis).toISOString()

// A secret is 256 random bits: nobody can guess through one round of a fast hash.
const sha256 = (secret: string): Buffer => createHash("sha256").update(secret).digest()

// ---------------------------------------------------------------------------------------------------- checking

export type Verdict =
  | { readonly _tag: "Good" | "Expired" | "Revoked"; readonly line: Line }
  | { readonly _tag: "Unknown" }

const unknown: Verdict = { _tag: "Unknown" }
const shape = /^slk_([0-9A-Za-z]{4,32})_([A-Za-z0-9_-]{43})$/
/** What secrets of unknown ids are compared with, so that they take as long. */
const nobody = randomBytes(32)

export const verify = (keys: Keys, credential: string, now: number): Verdict => {
  const [, id, secret] = shape.exec(credential) ?? []
  if (id === undefined || secret === undefined) return unknown
  const key = keys.get(id)
  const isRight = timingSafeEqual(sha256(secret), key?.hash ?? nobody)
  if (key === undefined || !isRight) return unknown
  return { _tag: stateOf(key, now), line: key.line }
}

export const stateOf = ({ expiresAt, revokedAt }: Key, now: number): "Good" | "Expired" | "Revoked" =>
  revokedAt <= now ? "Revoked" : expiresAt <= now ? "Expired" : "Good"
