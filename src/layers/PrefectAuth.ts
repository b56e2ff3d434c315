/** Decides with which credentials a Prefect API is asked: Entra tokens, a Basic auth string, an API key, or none. */
import { Buffer } from "node:buffer"
import { Effect, Redacted, type Scope } from "effect"
import { OptionsError, type Problem } from "../services/Component.ts"
import type { Conceal } from "./HttpAnswer.ts"
import type * as HttpOauth2 from "./HttpOauth2.ts"
import * as PrefectEntra from "./PrefectEntra.ts"
import { variable } from "./PrefectSecrets.ts"

export interface Options {
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  /** Sent as a bearer token; `PREFECT_API_KEY` by default. */
  readonly apiKey?: Redacted.Redacted<string> | undefined
  /** `user:password`, sent as Basic authorization; `PREFECT_API_AUTH_STRING` by default. It wins over the key. */
  readonly authString?: Redacted.Redacted<string> | undefined
  /** Tokens of Microsoft Entra; they win over both. */
  readonly entra?: boolean | PrefectEntra.Options | undefined
  readonly hide: Conceal
}

export interface PrefectAuth {
  readonly headers: Readonly<Record<string, string>>
  readonly tokens: HttpOauth2.Tokens | undefined
  /** Takes the credentials out of a text. */
  readonly conceal: Conceal
}

/** What is set in the options wins over the environment, which is looked at only where the options are silent. */
export const make = Effect.fnUntraced(function* (
  options: Options
): Effect.fn.Return<PrefectAuth, OptionsError, Scope.Scope> {
  const { headers, hide } = options
  const own = hasOwn(options)
  const asked = (["entra", "authString", "apiKey"] as const).filter((name) => isSet(options[name]))
  if (own && asked.length > 0) {
    const expected = "no other credentials besides authorization in the headers or in the URL"
    const problems = asked.map((name): Problem => ({ path: [name], expected, found: "both" }))
    return yield* new OptionsError({ problems })
  }
  if (own) return plain(headers)
  if (isSet(options.entra)) {
    const entra = yield* PrefectEntra.make(options.entra === true ? {} : (options.entra as PrefectEntra.Options), hide)
    return { headers, ...entra }
  }
  const silent = asked.length === 0
  const authString = valueOf(options.authString) ?? (silent ? yield* variable("PREFECT_API_AUTH_STRING") : undefined)
  const apiKey = valueOf(options.apiKey) ?? (silent ? yield* variable("PREFECT_API_KEY") : undefined)
  if (authString !== undefined) {
    return plain({ ...headers, authorization: `Basic ${Buffer.from(authString).toString("base64")}` })
  }
  if (apiKey === undefined) return plain(headers)
  if (!/^[\x20-\x7e]+$/.test(apiKey)) {
    const problem = { path: ["apiKey"], expected: "a key without line breaks and other than ASCII", found: "another" }
    return yield* new OptionsError({ problems: [problem] })
  }
  return plain({ ...headers, authorization: `Bearer ${apiKey}` })
})

/** What is in the headers is taken out of the server's words by who sends them. */
const plain = (headers: Options["headers"]): PrefectAuth => ({ headers, tokens: undefined, conceal: (text) => text })

const isSet = (value: unknown): boolean => value !== undefined && value !== false

const valueOf = (secret: Redacted.Redacted<string> | undefined): string | undefined =>
  secret === undefined ? undefined : Redacted.value(secret).trim() || undefined

const hasOwn = ({ headers, url }: Options): boolean => {
  const { password = "", username = "" } = URL.parse(url) ?? {}
  return (
    username !== "" || password !== "" || Object.keys(headers).some((name) => name.toLowerCase() === "authorization")
  )
}
