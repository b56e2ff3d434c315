/** Takes out of texts what nobody should read: a server may show in its answer what it was sent. */
import { Buffer } from "node:buffer"
import { Result } from "effect"
import type { Conceal } from "./HttpAnswer.ts"

/** Units: characters. Shorter ones stand in texts by chance. */
const secretMin = 4

/** Takes secrets out of a text, also as a URL spells them. */
export const concealing = (secrets: ReadonlyArray<string>): Conceal => {
  const spellings = secrets
    .filter((secret) => secret.length >= secretMin)
    .flatMap((secret) => [secret, encodeURIComponent(secret)])
    .sort((a, b) => b.length - a.length)
  return (text) => spellings.reduce((shown, spelling) => shown.replaceAll(spelling, "<secret>"), text)
}

/** Names of headers whose values are secret, however short. */
const secretNames = /auth|cookie|credential|key|pass|secret|session|signature|token/i
/** Units: characters. A longer value may be a secret whatever its header is called. */
const plainMax = 20
const plainNames: ReadonlySet<string> = new Set(["accept", "content-type", "user-agent"])

/** What is secret in the headers that are sent, in all forms in which it could be said. */
export const secretsOf = (headers: Readonly<Record<string, string>>): ReadonlyArray<string> =>
  Object.entries(headers).flatMap(([name, value]) => {
    if (plainNames.has(name.toLowerCase()) || !(secretNames.test(name) || value.length > plainMax)) return []
    const [, scheme, credentials] = /^(\S+)\s+(.+)$/.exec(value) ?? []
    if (credentials === undefined) return [value]
    if (scheme!.toLowerCase() !== "basic") return [value, credentials]
    const pair = Result.getOrElse(
      Result.try(() => Buffer.from(credentials, "base64").toString()),
      () => ""
    )
    return [value, credentials, pair, pair.slice(pair.indexOf(":") + 1)]
  })
