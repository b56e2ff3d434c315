/** Gets the tokens of Microsoft Entra for a Prefect API behind it: by client credentials, given or kept in a key vault. */
import { Effect, Redacted, type Scope } from "effect"
import { OptionsError, type Problem } from "../services/Component.ts"
import type { Conceal, Failure } from "./HttpAnswer.ts"
import * as HttpEndpoint from "./HttpEndpoint.ts"
import * as HttpOauth2 from "./HttpOauth2.ts"
import { variable } from "./PrefectSecrets.ts"
import * as PrefectVault from "./PrefectVault.ts"

/** Each from a variable by default: `PREFECT_API_TENANT_ID` and so on, or `PREFECT_API_TENANT_ID_KV` with a secret's name. */
export interface Options {
  readonly tenantId?: string | undefined
  readonly clientId?: string | undefined
  readonly clientSecret?: Redacted.Redacted<string> | undefined
  /** Such as `api://prefect/.default`. */
  readonly scope?: string | undefined
}

export interface Entra {
  readonly tokens: HttpOauth2.Tokens
  readonly conceal: Conceal
}

const variables = {
  tenantId: "PREFECT_API_TENANT_ID",
  clientId: "PREFECT_API_CLIENT_ID",
  clientSecret: "PREFECT_API_CLIENT_SECRET",
  scope: "PREFECT_API_SCOPE"
} as const
type Field = keyof typeof variables
const names = Object.keys(variables) as ReadonlyArray<Field>

const authorityDefault = "https://login.microsoftonline.com"

type Values = Readonly<Record<Field, string>>

/** A value, or the name of the vault's secret that holds it. */
type Setting = { readonly value: string } | { readonly secret: string }
type Settings = Readonly<Record<Field, Setting>>

/** Nothing is asked for before the first token is wanted, the vault not at all where no variable names a secret of it. */
export const make = Effect.fnUntraced(function* (
  options: Options,
  hide: Conceal
): Effect.fn.Return<Entra, OptionsError, Scope.Scope> {
  const settings = yield* settingsOf(options)
  const isVaulted = names.some((name) => "secret" in settings[name])
  const read: PrefectVault.Read = isVaulted ? yield* PrefectVault.make(hide) : (name) => Effect.succeed(name)
  let conceal: Conceal = (text) => text
  const endpoint = yield* endpointOf(hide, (text) => conceal(text))
  const authority = endpoint.url.href.replace(/\/+$/, "")

  const granted = (values: Values) => {
    const url = new URL(`${authority}/${encodeURIComponent(values.tenantId)}/oauth2/v2.0/token`)
    const oauth2 = oauth2Of(url, values)
    conceal = HttpOauth2.concealed(oauth2)
    return HttpOauth2.grant(oauth2, `POST ${hide(url.href)}`, (body, headers) =>
      endpoint.ask({ method: "POST", url, body, headers })
    )
  }
  let known: Values | undefined
  const values = Effect.suspend(() => (known === undefined ? valuesOf(settings, read) : Effect.succeed(known)))
  const tokens = yield* HttpOauth2.keep(
    values.pipe(
      Effect.flatMap((found) => {
        known = found
        return granted(found)
      }),
      Effect.mapError((failure): Failure => {
        if (failure.retryable) return failure
        // What is refused today may be put right tomorrow, in the vault or at the authority: no message is at fault.
        known = undefined
        return { ...failure, presence: "busy", retryable: true }
      })
    )
  )
  return { tokens, conceal: (text) => conceal(text) }
})

/** Where the tokens come from. */
const endpointOf = Effect.fnUntraced(function* (hide: Conceal, conceal: Conceal) {
  const given = (yield* variable("AZURE_AUTHORITY_HOST")) ?? authorityDefault
  const url = /^https?:\/\//.test(given) ? given : `https://${given}`
  return yield* Effect.mapError(
    HttpEndpoint.make({ url, connections: 1, hide, conceal: (text) => conceal(hide(text)) }),
    () =>
      new OptionsError({
        problems: [{ path: ["entra"], expected: "a URL in AZURE_AUTHORITY_HOST", found: hide(given) }]
      })
  )
})

/** Source: https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow */
const oauth2Of = (url: URL, { clientId, clientSecret, scope }: Values): HttpOauth2.Options => ({
  tokenUrl: url.href,
  clientId,
  clientSecret: Redacted.make(clientSecret),
  scope,
  auth: "body"
})

const valuesOf = (settings: Settings, read: PrefectVault.Read): Effect.Effect<Values, Failure> =>
  Effect.map(
    Effect.forEach(names, (name) => {
      const setting = settings[name]
      return "value" in setting ? Effect.succeed(setting.value) : read(setting.secret)
    }),
    (found) => Object.fromEntries(names.map((name, i) => [name, found[i]!])) as Values
  )

/** Fails: with the names of the variables that are missing. */
const settingsOf = Effect.fnUntraced(function* (options: Options) {
  const settings: Partial<Record<Field, Setting>> = {}
  const problems: Array<Problem> = []
  for (const name of names) {
    const given = options[name]
    const value = (Redacted.isRedacted(given) ? Redacted.value(given) : given) || (yield* variable(variables[name]))
    const secret = value === undefined ? yield* variable(`${variables[name]}_KV`) : undefined
    if (value !== undefined) settings[name] = { value }
    else if (secret !== undefined) settings[name] = { secret }
    else {
      const expected = `text here, or ${variables[name]} or ${variables[name]}_KV in the environment`
      problems.push({ path: ["entra", name], expected, found: undefined })
    }
  }
  if (problems.length > 0) return yield* new OptionsError({ problems })
  return settings as Settings
})
