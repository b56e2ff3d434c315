/** Lets senders of a webhook in by secrets and signatures, compared in constant time; or all, where that is said. */

import { Buffer } from "node:buffer"
import { createHash, type KeyObject, timingSafeEqual } from "node:crypto"
import { Clock, Duration, Effect, Layer, Redacted } from "effect"
import { OptionsError, type Problem } from "../services/Component.ts"
import type { HttpHead } from "../services/HttpHost.ts"
import {
  type Auth,
  type Denial,
  type Options,
  type Way,
  WebhookAuth,
  type Where,
  waysOf
} from "../services/WebhookAuth.ts"
import { isLoopback } from "./GatewayAccessNode.ts"
import * as Signatures from "./WebhookSignatures.ts"

export const make: WebhookAuth["Service"]["make"] = Effect.fnUntraced(function* (options: Options, where: Where) {
  const clock = yield* Clock.Clock
  const now = () => clock.currentTimeMillisUnsafe()
  const ways = waysOf(options)
  const problems = [...opennessProblems(options, where)]
  const checks = ways.map((way, i) => {
    const path = Array.isArray(options.auth) ? ["auth", i] : ["auth"]
    return checkOf(way, now, (at, expected, found) => problems.push({ path: [...path, ...at], expected, found }))
  })
  if (problems.length > 0) return yield* new OptionsError({ problems })
  for (const warning of warningsOf(options, where)) yield* Effect.logWarning(`${where.pipeline}: ${warning}`)
  const secretHeaders = [...new Set([...commonSecrets, ...ways.flatMap(secretHeadersOf)])]
  return { ...(checks.length === 0 ? everybody : anyOf(checks)), secretHeaders }
})

export const layer: Layer.Layer<WebhookAuth> = Layer.succeed(WebhookAuth, { make })

// ---------------------------------------------------------------------------------------------------- openness

const opennessProblems = (options: Options, { host }: Where): ReadonlyArray<Problem> => {
  const { auth, open } = options
  if (auth !== undefined) {
    return open === true ? [{ path: ["open"], expected: "either open: true, or auth", found: "both" }] : []
  }
  if (open === true) return []
  if (open === false) return [{ path: ["open"], expected: "auth beside open: false", found: "none" }]
  if (host !== undefined && isLoopback(host)) return []
  const others = host === undefined ? "it is not known where the server listens" : `others can reach ${host}`
  const expected = `how senders are known, since ${others}; or open: true, if everybody may send to this webhook`
  return [{ path: ["auth"], expected, found: auth }]
}

const warningsOf = ({ auth, open }: Options, { host }: Where): ReadonlyArray<string> => {
  if (open === true)
    return [`everybody who can reach ${host ?? "it"} may send to the webhook, since it says open: true`]
  return auth === undefined ? ["everybody on this machine may send to the webhook, since it has no auth"] : []
}

// ---------------------------------------------------------------------------------------------------- ways in

/** One way in: told by the head alone, or by the body too. */
interface Check {
  readonly head: (head: HttpHead) => Denial | undefined
  readonly body?: Signatures.Signed["body"]
}

const everybody: Pick<Auth, "head" | "body"> = { head: () => undefined, body: () => undefined }

const anyOf = (checks: ReadonlyArray<Check>): Pick<Auth, "head" | "body"> => ({
  head: (head) => first(checks, (check) => check.head(head)),
  body: checks.every(({ body }) => body === undefined)
    ? everybody.body
    : (request) => first(checks, (check) => check.head(request) ?? check.body?.(request))
})

/** Undefined once one lets it in; otherwise what all of them say. */
const first = (checks: ReadonlyArray<Check>, deny: (check: Check) => Denial | undefined): Denial | undefined => {
  const denials: Array<Denial> = []
  for (const check of checks) {
    const denial = deny(check)
    if (denial === undefined) return undefined
    denials.push(denial)
  }
  const challenges = [...new Set(denials.flatMap(({ challenge }) => challenge ?? []))]
  return {
    reason: [...new Set(denials.map(({ reason }) => reason))].join("; "),
    ...(challenges.length > 0 && { challenge: challenges.join(", ") })
  }
}

type Wrong = (path: ReadonlyArray<string | number>, expected: string, found: unknown) => void

const checkOf = (way: Way, now: () => number, wrong: Wrong): Check => {
  switch (way.type) {
    case "passphrase":
      return passphrase(way, wrong)
    case "basic": {
      if (way.user.includes(":")) wrong(["user"], "a user without a colon", way.user)
      return basic(`${way.user}:${textOf(way.password, ["password"], wrong)}`)
    }
    case "bearer":
      return bearer(textOf(way.token, ["token"], wrong))
    case "header": {
      const name = headerName(way.name, ["name"], wrong)
      const is = same(textOf(way.value, ["value"], wrong))
      return { head: ({ headers }) => (is(headers[name]) ? undefined : refusal(headers[name], `the header ${name}`)) }
    }
    case "standard-webhooks":
      return Signatures.standardWebhooks(keysOf(way, wrong, standardKey), windowOf(way, now))
    case "github":
      return Signatures.github(keysOf(way, wrong))
    case "stripe":
      return Signatures.stripe(keysOf(way, wrong), windowOf(way, now))
    case "hmac": {
      const { algorithm, encoding, prefix = "" } = way
      const header = headerName(way.header, ["header"], wrong)
      return Signatures.plain(keysOf(way, wrong), { header, algorithm, encoding, prefix })
    }
  }
}

const passphrase = (way: Extract<Way, { readonly type: "passphrase" }>, wrong: Wrong): Check => {
  const header = headerName(way.header, ["header"], wrong)
  const is = same(textOf(way.passphrase, ["passphrase"], wrong))
  const inQuery = sameText(Redacted.value(way.passphrase))
  return {
    head: ({ headers, query }) => {
      const given = headers[header]
      if (given !== undefined) return is(given) ? undefined : refusal(given, "the passphrase")
      const [found, ...more] = query.getAll(way.query)
      if (more.length > 0) return { reason: "the query has more than one passphrase" }
      return found !== undefined && inQuery(found) ? undefined : refusal(found, "the passphrase")
    }
  }
}

const basic = (pair: string): Check => {
  const is = sameBytes(Buffer.from(pair))
  return {
    head: ({ headers }) => {
      const credential = /^basic +([A-Za-z0-9+/]{1,8192}={0,2})$/i.exec(headers.authorization ?? "")?.[1]
      if (credential !== undefined && is(Buffer.from(credential, "base64"))) return undefined
      return { ...refusal(credential, "the user or the password"), challenge: 'Basic realm="sluice", charset="UTF-8"' }
    }
  }
}

const bearer = (token: string): Check => {
  const is = same(token)
  return {
    head: ({ headers }) => {
      const credential = /^bearer +(\S{1,8192})$/i.exec(headers.authorization ?? "")?.[1]
      if (is(credential)) return undefined
      return { ...refusal(credential, "the token"), challenge: 'Bearer realm="sluice"' }
    }
  }
}

const refusal = (found: string | undefined, what: string): Denial => ({
  reason: `${what} is ${found === undefined ? "missing" : "not right"}`
})

// ---------------------------------------------------------------------------------------------------- secrets

/** Compares by digests, which tell neither where a difference is nor how long the secret is. */
const sameBytes = (secret: Uint8Array): ((found: Uint8Array) => boolean) => {
  const digest = sha256(secret)
  return (found) => timingSafeEqual(digest, sha256(found))
}

const sameText = (secret: string): ((found: string) => boolean) => {
  const is = sameBytes(Buffer.from(secret))
  return (found) => is(Buffer.from(found))
}

/** The value of a header: node shows its bytes as Latin-1, and senders write text as UTF-8 or as Latin-1. */
const same = (secret: string): ((found: string | undefined) => boolean) => {
  const is = sameBytes(Buffer.from(secret))
  return (found) => {
    if (found === undefined) return false
    const asLatin1 = is(Buffer.from(found))
    return (!isAscii.test(found) && isLatin1.test(found) && is(Buffer.from(found, "latin1"))) || asLatin1
  }
}

const isAscii = /^[\0-\x7f]*$/
const isLatin1 = /^[\0-\xff]*$/

const sha256 = (bytes: Uint8Array): Buffer => createHash("sha256").update(bytes).digest()

type Signing = Extract<Way, { readonly secrets?: unknown }>

const keysOf = (
  { secret, secrets }: Signing,
  wrong: Wrong,
  keyOf: (text: string) => KeyObject | undefined = Signatures.keyOf
): ReadonlyArray<KeyObject> => {
  if ((secret === undefined) === (secrets === undefined)) {
    wrong(["secret"], "either secret or secrets", secret === undefined ? "neither" : "both")
    return []
  }
  const named: ReadonlyArray<readonly [ReadonlyArray<string | number>, Redacted.Redacted<string>]> =
    secret === undefined ? secrets!.map((one, i) => [["secrets", i], one]) : [[["secret"], secret]]
  return named.flatMap(([path, one]) => {
    const text = textOf(one, path, wrong)
    if (text === "") return []
    const key = keyOf(text)
    if (key === undefined) wrong(path, "whsec_ and base64 behind it; what came is not shown", "other text")
    return key ?? []
  })
}

/** Reference libraries take base64 without `whsec_` too; a secret that others give as text would be cut short by that. */
const standardKey = (text: string): KeyObject | undefined => {
  if (!text.startsWith("whsec_")) return Signatures.keyOf(text)
  const base64 = text.slice("whsec_".length)
  const bytes = Buffer.from(base64, "base64")
  const isWhole = bytes.length > 0 && bytes.toString("base64").replace(/=+$/, "") === base64.replace(/=+$/, "")
  return isWhole ? Signatures.keyOf(bytes) : undefined
}

const textOf = (secret: Redacted.Redacted<string>, path: ReadonlyArray<string | number>, wrong: Wrong): string => {
  const text = Redacted.value(secret)
  if (text === "") wrong(path, "a secret that is not empty", "")
  return text
}

const windowOf = ({ tolerance }: { readonly tolerance: Duration.Duration }, now: () => number): Signatures.Window => ({
  toleranceMillis: Duration.toMillis(tolerance),
  now
})

/** Source: https://www.rfc-editor.org/rfc/rfc9110#section-5.6.2 */
const headerName = (name: string, path: ReadonlyArray<string | number>, wrong: Wrong): string => {
  if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name)) wrong(path, "the name of a header", name)
  return name.toLowerCase()
}

/** Whatever lets senders in, a proxy may have added these. */
const commonSecrets = ["authorization", "cookie", "proxy-authorization", "passphrase"]

const secretHeadersOf = (way: Way): ReadonlyArray<string> =>
  way.type === "passphrase" ? [way.header.toLowerCase()] : way.type === "header" ? [way.name.toLowerCase()] : []
