/** Reads secrets from an Azure key vault, as the identity this process runs under. */
import { Effect, Redacted, type Scope } from "effect"
import { OptionsError } from "../services/Component.ts"
import * as Path from "../streams/Path.ts"
import { words } from "../streams/Runner.ts"
import { blameless, type Conceal, type Failure } from "./HttpAnswer.ts"
import * as HttpEndpoint from "./HttpEndpoint.ts"
import type * as HttpOauth2 from "./HttpOauth2.ts"
import { variable } from "./PrefectSecrets.ts"

/** The value of a secret by its name. */
export type Read = (name: string) => Effect.Effect<string, Failure>

const scope = "https://vault.azure.net/.default"
const version = "7.4"
/** Units: calls. */
const connections = 2
const tokenWithin = "1 minute"

/** Fails: where `AZURE_KEY_VAULT_URI` names no vault. */
export const make = Effect.fnUntraced(function* (hide: Conceal): Effect.fn.Return<Read, OptionsError, Scope.Scope> {
  const url = yield* variable("AZURE_KEY_VAULT_URI")
  if (url === undefined) {
    const expected = "the vault's URL in AZURE_KEY_VAULT_URI, since a variable that ends in _KV names a secret of it"
    return yield* new OptionsError({ problems: [{ path: ["entra"], expected, found: undefined }] })
  }
  const endpoint = yield* HttpEndpoint.make({ url, connections, hide, tokens: ownTokens() }).pipe(
    Effect.mapError(
      () =>
        new OptionsError({
          problems: [{ path: ["entra"], expected: "a URL in AZURE_KEY_VAULT_URI", found: hide(url) }]
        })
    )
  )
  const { origin, pathname } = endpoint.url
  return (name) => {
    const path = `${pathname.replace(/\/+$/, "")}/secrets/${encodeURIComponent(name)}?api-version=${version}`
    const about = `the secret \`${name}\` of the key vault`
    return Effect.flatMap(endpoint.ask({ about, method: "GET", url: new URL(origin + path) }), (reply) => {
      if (reply.kind === "refused") return blameless(reply.reason ?? about)
      const value = Path.follow(Path.parsed(reply.payload), ["value"])
      return typeof value === "string" && value !== ""
        ? Effect.succeed(value)
        : blameless(`${about} has no value: is this the URL of a key vault?`)
    })
  }
})

/** Of the environment, the machine's managed identity, or who is logged in; it keeps its tokens itself. */
const ownTokens = (): HttpOauth2.Tokens => {
  let credential: Promise<{ getToken: (scope: string) => Promise<{ readonly token: string }> }> | undefined
  const token = Effect.tryPromise({
    try: async () => {
      // Loaded only when it is wanted: it is large, and few need it.
      credential ??= import("@azure/identity").then(({ DefaultAzureCredential }) => new DefaultAzureCredential())
      return Redacted.make(`Bearer ${(await (await credential).getToken(scope)).token}`)
    },
    catch: (error) => `no token for the key vault: ${words(error)}`
  }).pipe(
    Effect.timeoutOrElse({
      duration: tokenWithin,
      orElse: () => Effect.fail(`no token for the key vault within ${tokenWithin}`)
    }),
    Effect.catch(blameless)
  )
  return { token, instead: () => token }
}
