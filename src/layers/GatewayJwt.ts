/** Tokens of gateway clients: JSON Web Tokens, by the keys of whoever issues them. */
import { type Clock, Effect, Result } from "effect"
import type * as Jose from "jose"
import type { Jwt } from "../services/GatewayAccess.ts"
import type { WatchedFile } from "./WatchedFile.ts"

export type Checked =
  | { readonly _tag: "Good"; readonly claims: Readonly<Record<string, unknown>> }
  | { readonly _tag: "Bad"; readonly reason: string }
  /** It cannot be told: the keys that sign tokens cannot be had. */
  | { readonly _tag: "Away" }

export interface Tokens {
  readonly check: (token: string) => Effect.Effect<Checked>
}

export interface Options extends Pick<Jwt, "issuer" | "audience"> {
  /** `shown` names the URL in a warning. */
  readonly keys: { readonly url: URL; readonly shown: string } | { readonly file: WatchedFile<Jose.JSONWebKeySet> }
  readonly clock: Clock.Clock
  readonly pipeline: string
  /** Units: milliseconds. How soon after a look an unknown key may cause another; 30 seconds by default. */
  readonly cooldownMillis?: number | undefined
  /** Units: milliseconds. How long the URL may take to answer; 5 seconds by default. */
  readonly timeoutMillis?: number | undefined
}

/** Units: seconds. By how much clocks may differ. */
const leewaySeconds = 10
/** Units: milliseconds. How long keys are used without asking again. */
const cacheMillis = 600_000
/** Units: milliseconds for which a URL that did not answer is not asked again. */
export const awayMillis = 5_000
/** Units: bytes of a key set. */
const bytesMax = 1024 * 1024
/** Only signatures that a public key checks: with a shared secret, whoever may check could also sign. */
const algorithms = [
  ...["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"],
  ...["ES256", "ES384", "ES512", "EdDSA", "Ed25519"]
]

/** The key set cannot be had. The text says why, for the log. */
class Away extends Error {}

/** Asks the URL only when the first token is to be checked. */
export const make = Effect.fnUntraced(function* (options: Options): Effect.fn.Return<Tokens> {
  const { audience, clock, issuer, keys, pipeline } = options
  const jose = yield* Effect.promise(() => import("jose"))
  const news: Array<Effect.Effect<void>> = []
  const about = `${pipeline}: the key set${"url" in keys ? ` at ${keys.shown}` : ""}`
  const source =
    "url" in keys
      ? remote(jose, keys.url, options, (problem) => {
          news.push(
            problem === undefined
              ? Effect.logInfo(`${about} is there again`)
              : Effect.logWarning(`${about} cannot be had: ${problem}; tokens it is needed for are answered 503`)
          )
        })
      : local(jose, keys.file)
  const verifying = (): Jose.JWTVerifyOptions => ({
    algorithms,
    clockTolerance: leewaySeconds,
    currentDate: new Date(clock.currentTimeMillisUnsafe()),
    // One that never ends could not be taken back.
    requiredClaims: ["exp"],
    ...(issuer === undefined ? undefined : { issuer: [issuer].flat() }),
    ...(audience === undefined ? undefined : { audience: [audience].flat() })
  })
  return {
    check: Effect.fnUntraced(function* (token: string) {
      const claims = yield* Effect.result(
        Effect.tryPromise({
          try: () => verify(jose, token, source(), verifying()),
          catch: (error) => failureOf(jose, error)
        })
      )
      for (const one of news.splice(0)) yield* one
      return Result.isSuccess(claims) ? { _tag: "Good", claims: claims.success } : claims.failure
    })
  }
})

const verify = async (
  jose: typeof Jose,
  token: string,
  key: Jose.JWTVerifyGetKey,
  options: Jose.JWTVerifyOptions
): Promise<Jose.JWTPayload> => {
  try {
    return (await jose.jwtVerify(token, key, options)).payload
  } catch (error) {
    if (!(error instanceof jose.errors.JWKSMultipleMatchingKeys)) throw error
    // The token does not say which of the keys has signed it.
    for await (const one of error) {
      try {
        return (await jose.jwtVerify(token, one, options)).payload
      } catch (other) {
        if (!(other instanceof jose.errors.JWSSignatureVerificationFailed)) throw other
      }
    }
    throw new jose.errors.JWSSignatureVerificationFailed()
  }
}

// ---------------------------------------------------------------------------------------------------- key set

const local = (jose: typeof Jose, file: WatchedFile<Jose.JSONWebKeySet>): (() => Jose.JWTVerifyGetKey) => {
  let made: { readonly of: Jose.JSONWebKeySet; readonly set: Jose.JWTVerifyGetKey } | undefined
  return () => {
    if (made?.of !== file.value) made = { of: file.value, set: jose.createLocalJWKSet(file.value) }
    return made.set
  }
}

type Tell = (problem: string | undefined) => void

const remote = (
  jose: typeof Jose,
  url: URL,
  { clock, cooldownMillis = 30_000, timeoutMillis = 5_000 }: Options,
  tell: Tell
): (() => Jose.JWTVerifyGetKey) => {
  const set = jose.createRemoteJWKSet(url, {
    timeoutDuration: timeoutMillis,
    cooldownDuration: cooldownMillis,
    cacheMaxAge: cacheMillis,
    [jose.customFetch]: sparing(clock, tell)
  })
  return () => set
}

/** Asks a URL that does not answer once in a while only, however many tokens wait to be checked. */
const sparing = (clock: Clock.Clock, tell: Tell): Jose.FetchImplementation => {
  let failed: { readonly at: number; readonly error: Away } | undefined
  return async (url, init) => {
    const now = clock.currentTimeMillisUnsafe()
    if (failed !== undefined && now >= failed.at && now - failed.at < awayMillis) throw failed.error
    try {
      const text = await fetched(url, init)
      if (failed !== undefined) tell(undefined)
      failed = undefined
      return new Response(text)
    } catch (thrown) {
      const error = awayOf(thrown)
      if (failed === undefined) tell(error.message)
      failed = { at: clock.currentTimeMillisUnsafe(), error }
      throw error
    }
  }
}

const fetched = async (url: string, init: Parameters<Jose.FetchImplementation>[1]): Promise<string> => {
  const response = await fetch(url, init)
  if (response.status !== 200) {
    await response.body?.cancel()
    throw new Away(`it answered ${response.status}`)
  }
  const parts: Array<Uint8Array> = []
  let bytes = 0
  for await (const part of response.body ?? []) {
    bytes += part.length
    if (bytes > bytesMax) throw new Away(`it answered with more than ${bytesMax} bytes`)
    parts.push(part)
  }
  const text = Buffer.concat(parts).toString()
  const problem = problemOf(text)
  if (problem !== undefined) throw new Away(`its answer ${problem}`)
  return text
}

const awayOf = (error: unknown): Away => {
  if (error instanceof Away) return error
  if ((error as Error).name === "TimeoutError") return new Away("it did not answer in time")
  const { code } = ((error as Error).cause ?? {}) as { readonly code?: string }
  return new Away(`it cannot be reached${code === undefined ? "" : ` (${code})`}`)
}

// ---------------------------------------------------------------------------------------------------- words

/** What keeps a text from being a set of public keys. */
const problemOf = (text: string): string | undefined => {
  const read = Result.try(() => JSON.parse(text) as unknown)
  const keys = Result.isSuccess(read) && (read.success as { readonly keys?: unknown } | null)?.keys
  const isKey = (key: unknown): key is Readonly<Record<string, unknown>> =>
    typeof key === "object" && key !== null && typeof (key as Jose.JWK).kty === "string"
  if (!Array.isArray(keys) || !keys.every(isKey)) return "is no JSON Web Key Set"
  return keys.some((key) => "d" in key || "k" in key || "priv" in key)
    ? "holds private keys, where only public ones may be"
    : undefined
}

/** For a file. */
export const parse = (text: string): Result.Result<Jose.JSONWebKeySet, string> => {
  const problem = problemOf(text)
  return problem === undefined ? Result.succeed(JSON.parse(text) as Jose.JSONWebKeySet) : Result.fail(problem)
}

/** In words that hold nothing of the token. */
const failureOf = (jose: typeof Jose, error: unknown): Exclude<Checked, { readonly _tag: "Good" }> => {
  const { errors } = jose
  if (error instanceof Away || error instanceof errors.JWKSTimeout || error instanceof errors.JWKSInvalid) {
    return { _tag: "Away" }
  }
  const bad = (reason: string) => ({ _tag: "Bad", reason }) as const
  if (error instanceof errors.JWTExpired) return bad("the token has expired")
  if (!(error instanceof errors.JWTClaimValidationFailed)) return bad("the token is not valid")
  const { claim, reason } = error
  if (claim === "exp" && reason === "missing") return bad("the token has no end (exp)")
  if (claim === "nbf") return bad("the token is not valid yet")
  return bad(["iss", "aud"].includes(claim) ? `the token is not for this gateway (${claim})` : "the token is not valid")
}
