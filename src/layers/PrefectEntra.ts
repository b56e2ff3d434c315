/** Gets the tokens of Microsoft Entra for a Prefect API behind it: by client credentials, given or kept in a key vault. */
import { Effect, Exit, Redacted, Result, Scope, Semaphore } from "effect"
import { OptionsError, type Problem } from "../services/Component.ts"
import type { Conceal, Failure } from "./HttpAnswer.ts"
import * as HttpEndpoint from "./HttpEndpoint.ts"
import type * as HttpOauth2 from "./HttpOauth2.ts"
import { concealing, variable } from "./PrefectSecrets.ts"
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

/** Nothing is asked for before the first token is wanted, the vault not at all where no variable names a secret of it. */
export const make = Effect.fnUntraced(function* (
  options: Options,
  hide: Conceal
): Effect.fn.Return<Entra, OptionsError, Scope.Scope> {
  const settings = yield* settingsOf(options)
  const authority = ((yield* variable("AZURE_AUTHORITY_HOST")) ?? authorityDefault).replace(/\/+$/, "")
  const url = URL.parse(/^https?:\/\//.test(authority) ? authority : `https://${authority}`)
  if (url === null) {
    const problem = { path: ["entra"], expected: "a URL in AZURE_AUTHORITY_HOST", found: authority }
    return yield* new OptionsError({ problems: [problem] })
  }
  const tokensOf = (values: Values) => HttpEndpoint.tokensOf(oauth2Of(url, values), undefined, hide)
  const plain = plainOf(settings)
  if (plain !== undefined) {
    return { tokens: patient(yield* tokensOf(plain)), conceal: concealing([plain.clientSecret]) }
  }
  const read = yield* PrefectVault.make(hide)
  const secrets = new Set<string>()
  const values = Effect.map(
    Effect.forEach(names, (name) => {
      const setting = settings[name]
      return "value" in setting ? Effect.succeed(setting.value) : read(setting.secret)
    }),
    (found) => Object.fromEntries(names.map((name, i) => [name, found[i]!])) as Values
  )
  const made = values.pipe(
    Effect.tap(({ clientSecret }) => Effect.sync(() => secrets.add(clientSecret))),
    Effect.flatMap((values) => Effect.orDie(tokensOf(values)))
  )
  return {
    tokens: patient(yield* renewable(made)),
    conceal: (text) => concealing([...secrets])(text)
  }
})

const oauth2Of = (authority: URL, { clientId, clientSecret, scope, tenantId }: Values): HttpOauth2.Options => ({
  // Source: https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
  tokenUrl: `${authority.href.replace(/\/+$/, "")}/${encodeURIComponent(tenantId)}/oauth2/v2.0/token`,
  clientId,
  clientSecret: Redacted.make(clientSecret),
  scope,
  auth: "body"
})

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
  return settings as Readonly<Record<Field, Setting>>
})

const plainOf = (settings: Readonly<Record<Field, Setting>>): Values | undefined => {
  const entries = names.map((name) => [name, settings[name]] as const)
  if (entries.some(([, setting]) => "secret" in setting)) return undefined
  return Object.fromEntries(entries.map(([name, setting]) => [name, (setting as { value: string }).value])) as Values
}

/** A secret that is refused today may be put right tomorrow: no message is at fault for it. */
const patient = ({ instead, token }: HttpOauth2.Tokens): HttpOauth2.Tokens => {
  const waited = Effect.mapError(
    (failure: Failure): Failure => (failure.retryable ? failure : { ...failure, presence: "busy", retryable: true })
  )
  return { token: waited(token), instead: (rejected) => waited(instead(rejected)) }
}

/** Makes the tokens when the first is wanted, and anew after a refusal, since the vault may hold another secret by then. */
const renewable = Effect.fnUntraced(function* (make: Effect.Effect<HttpOauth2.Tokens, Failure, Scope.Scope>) {
  const parent = yield* Effect.scope
  const alone = Semaphore.makeUnsafe(1)
  let made: { readonly tokens: HttpOauth2.Tokens; readonly scope: Scope.Closeable } | undefined
  const get = alone.withPermits(1)(
    Effect.suspend(() => {
      if (made !== undefined) return Effect.succeed(made.tokens)
      return Effect.uninterruptibleMask((restore) =>
        Effect.flatMap(Scope.fork(parent), (scope) =>
          restore(Scope.provide(make, scope)).pipe(
            Effect.onError((cause) => Scope.close(scope, Exit.failCause(cause))),
            Effect.map((tokens) => {
              made = { tokens, scope }
              return tokens
            })
          )
        )
      )
    })
  )
  const forget = (tokens: HttpOauth2.Tokens) =>
    Effect.suspend(() => {
      if (made?.tokens !== tokens) return Effect.void
      const { scope } = made
      made = undefined
      return Scope.close(scope, Exit.void)
    })
  const using = (use: (tokens: HttpOauth2.Tokens) => Effect.Effect<HttpOauth2.Token, Failure>) =>
    Effect.flatMap(get, (tokens) =>
      Effect.flatMap(Effect.result(use(tokens)), (result) =>
        Result.isFailure(result) && !result.failure.retryable
          ? Effect.andThen(forget(tokens), Effect.fail(result.failure))
          : Effect.fromResult(result)
      )
    )
  return {
    token: using(({ token }) => token),
    instead: (rejected: HttpOauth2.Token) => using(({ instead }) => instead(rejected))
  }
})
