/** Tokens of Microsoft Entra for a Prefect API: from a scripted token endpoint, with secrets given or kept in a vault. */
import type { IncomingMessage, ServerResponse } from "node:http"
import { afterEach, assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Redacted } from "effect"
import { vi } from "vitest"
import * as DispatcherPrefect from "../../src/layers/DispatcherPrefect.ts"
import type { Detection } from "../../src/services/Event.ts"
import { later } from "../../src/services/Ready.ts"
import * as SourceMemory from "../../src/streams/SourceMemory.ts"
import { bodyOf, serve } from "./Servers.ts"

const detection: Detection = {
  name: "e",
  event: { envelope: SourceMemory.envelopeOf({ id: "i", payload: {} }, "memory", 1, 0), payload: {}, key: "k" }
}

interface Seen {
  readonly path: string
  readonly authorization: string | undefined
  readonly identity: string | string[] | undefined
  readonly body: string
}

const json = (outgoing: ServerResponse, status: number, body: unknown): void =>
  void outgoing.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body))

const recording = Effect.fnUntraced(function* (answer: (seen: Seen, outgoing: ServerResponse, n: number) => void) {
  const seen: Array<Seen> = []
  const server = yield* serve((incoming: IncomingMessage, outgoing) => {
    bodyOf(incoming).then(
      (body) => {
        const { headers, url = "" } = incoming
        const identity = headers["x-identity-header"]
        seen.push({ path: url, authorization: headers.authorization, identity, body })
        answer(seen.at(-1)!, outgoing, seen.length)
      },
      () => {}
    )
  })
  return { ...server, seen }
})

const secret = "s3cret/+of mine"

/** A token endpoint that knows one secret, and an API that takes its newest token. */
const world = Effect.fnUntraced(function* () {
  const state = { secret, revoked: 0 }
  let issued = 0
  const authority = yield* recording(({ body }, outgoing) => {
    const form = new URLSearchParams(body)
    if (form.get("client_secret") !== state.secret) {
      const error_description = `AADSTS7000215: Invalid client secret ${form.get("client_secret")}`
      return json(outgoing, 401, { error: "invalid_client", error_description })
    }
    json(outgoing, 200, { access_token: `token-${++issued}`, token_type: "Bearer", expires_in: 3600 })
  })
  const api = yield* recording(({ authorization, path }, outgoing) => {
    if (Number(/^Bearer token-(\d+)$/.exec(authorization ?? "")?.[1] ?? 0) <= state.revoked) {
      return json(outgoing, 401, { exception_message: `Unauthorized ${authorization}` })
    }
    json(outgoing, 200, path.endsWith("create_flow_run") ? { id: "r", name: "run" } : { id: "d" })
  })
  const environment = {
    PREFECT_API_URL: `${api.url}/api`,
    PREFECT_API_KEY: "never-used",
    PREFECT_API_AUTH_STRING: "never:used",
    PREFECT_API_TENANT_ID: "my tenant",
    PREFECT_API_CLIENT_ID: "client",
    PREFECT_API_SCOPE: "api://prefect/.default",
    AZURE_AUTHORITY_HOST: `${authority.url}/`
  }
  return { api, authority, environment, state }
})

const make = (environment: Readonly<Record<string, string>>, entra: DispatcherPrefect.Options["entra"] = true) =>
  Effect.provideService(
    DispatcherPrefect.make({ deployment: "ETL/nightly", entra }),
    ConfigProvider.ConfigProvider,
    ConfigProvider.fromUnknown(environment)
  )

describe("DispatcherPrefect with Entra", () => {
  afterEach(() => {
    vi.unstubAllEnvs()
  })

  it.live("asks with a token that it gets by client credentials, and with a new one when that is revoked", () =>
    Effect.gen(function* () {
      const { api, authority, environment, state } = yield* world()
      const dispatcher = yield* make(environment, { clientSecret: Redacted.make(secret), clientId: "mine" })
      assert.lengthOf(authority.seen, 0)
      for (let i = 0; i < 2; i++) {
        assert.strictEqual((yield* later(dispatcher.dispatch(detection))).kind, "accepted")
      }
      assert.lengthOf(authority.seen, 1)
      const [{ body, path }] = authority.seen as [Seen]
      assert.strictEqual(path, "/my%20tenant/oauth2/v2.0/token")
      assert.deepStrictEqual(Object.fromEntries(new URLSearchParams(body)), {
        grant_type: "client_credentials",
        client_id: "mine",
        client_secret: secret,
        scope: "api://prefect/.default"
      })
      for (const { authorization } of api.seen) assert.strictEqual(authorization, "Bearer token-1")
      state.revoked = 1
      assert.strictEqual((yield* later(dispatcher.dispatch(detection))).kind, "accepted")
      assert.strictEqual(api.seen.at(-1)!.authorization, "Bearer token-2")
      state.revoked = 99
      const error = yield* Effect.flip(later(dispatcher.dispatch(detection)))
      assert.deepStrictEqual([error.presence, error.retryable], ["busy", true])
      assert.match(error.reason, /answered 401 Unauthorized: Unauthorized Bearer <token>$/)
    })
  )

  it.live("blames no message for a secret that is refused, and shows it to nobody", () =>
    Effect.gen(function* () {
      const { environment, state } = yield* world()
      const dispatcher = yield* make({ ...environment, PREFECT_API_CLIENT_SECRET: "another s3cret" })
      const error = yield* Effect.flip(later(dispatcher.dispatch(detection)))
      assert.deepStrictEqual([error.presence, error.retryable], ["busy", true])
      assert.match(error.reason, /^no token: POST .*\/token answered 401: invalid_client: .*<secret>$/)
      assert.notInclude(JSON.stringify(error), "s3cret")
      state.secret = "another s3cret"
      assert.strictEqual((yield* later(dispatcher.dispatch(detection))).kind, "accepted")
    })
  )

  it.live("reads secrets from the key vault as the identity it runs under, and again when they are refused", () =>
    Effect.gen(function* () {
      for (const name of ["AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN_FILE"]) {
        vi.stubEnv(name, undefined)
      }
      const { authority, environment, state } = yield* world()
      const kept: Record<string, string> = { "prefect-secret": "an old s3cret", "prefect-scope": "api://kept/.default" }
      const identity = yield* recording((_, outgoing) =>
        json(outgoing, 200, {
          access_token: "vault-token",
          expires_on: `${Math.floor(Date.now() / 1000) + 7200}`,
          resource: "https://vault.azure.net",
          token_type: "Bearer"
        })
      )
      const vault = yield* recording(({ path }, outgoing) => {
        const value = kept[/^\/secrets\/([^?]+)\?api-version=/.exec(path)?.[1] ?? ""]
        if (value === undefined) json(outgoing, 404, { error: { code: "SecretNotFound", message: "not found" } })
        else json(outgoing, 200, { value, id: path })
      })
      vi.stubEnv("IDENTITY_ENDPOINT", `${identity.url}/msi/token`)
      vi.stubEnv("IDENTITY_HEADER", "identity-header")
      const { PREFECT_API_SCOPE: _, ...plain } = environment
      const dispatcher = yield* make({
        ...plain,
        PREFECT_API_CLIENT_SECRET_KV: "prefect-secret",
        PREFECT_API_SCOPE_KV: "prefect-scope",
        AZURE_KEY_VAULT_URI: `${vault.url}/`
      })
      assert.deepStrictEqual([vault.seen.length, identity.seen.length], [0, 0])
      const error = yield* Effect.flip(later(dispatcher.dispatch(detection)))
      assert.deepStrictEqual([error.presence, error.retryable], ["busy", true])
      assert.match(error.reason, /^no token: .* answered 401: invalid_client/)
      assert.notInclude(error.reason, "s3cret")
      kept["prefect-secret"] = state.secret
      for (let i = 0; i < 3; i++) {
        assert.strictEqual((yield* later(dispatcher.dispatch(detection))).kind, "accepted")
      }
      assert.lengthOf(vault.seen, 4)
      for (const { authorization } of vault.seen) assert.strictEqual(authorization, "Bearer vault-token")
      assert.isTrue(identity.seen.every((one) => one.identity === "identity-header"))
      assert.include(decodeURIComponent(identity.seen[0]!.path), "resource=https://vault.azure.net")
      assert.strictEqual(new URLSearchParams(authority.seen.at(-1)!.body).get("scope"), "api://kept/.default")
      const lost = yield* make({
        ...environment,
        PREFECT_API_CLIENT_SECRET_KV: "no-such",
        AZURE_KEY_VAULT_URI: vault.url
      })
      const missing = yield* Effect.flip(later(lost.dispatch(detection)))
      assert.deepStrictEqual([missing.presence, missing.retryable], ["busy", true])
      assert.match(missing.reason, /^the secret `no-such` of the key vault: GET .*\/secrets\/no-such answered 404/)
    })
  )
})
