/** Tokens for a gateway, by key sets that real servers and files hold: who gets in, who forges, and what an outage does. */
import { createHmac, generateKeyPairSync } from "node:crypto"
import { writeFileSync } from "node:fs"
import type { IncomingMessage, ServerResponse } from "node:http"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Redacted } from "effect"
import { TestClock } from "effect/testing"
import * as Jose from "jose"
import * as GatewayJwt from "../../src/layers/GatewayJwt.ts"
import * as GatewayKeyFile from "../../src/layers/GatewayKeyFile.ts"
import * as GatewayKeys from "../../src/layers/GatewayKeys.ts"
import type { Options } from "../../src/services/GatewayAccess.ts"
import { bearer, check, folder, logged, make, outcome } from "./GatewayKit.ts"
import { serve } from "./Servers.ts"

interface Signer {
  readonly kid: string
  readonly alg: string
  readonly privateKey: Jose.CryptoKey
  readonly jwk: Jose.JWK
}

const signer = (kid: string, alg = "ES256"): Effect.Effect<Signer> =>
  Effect.promise(async () => {
    const { privateKey, publicKey } = await Jose.generateKeyPair(alg, { extractable: true })
    return { kid, alg, privateKey, jwk: { ...(await Jose.exportJWK(publicKey)), kid, alg, use: "sig" } }
  })

/** Units of times: seconds since 1970, where the clock of a test begins. */
const claimsOf = (more: Readonly<Record<string, unknown>> = {}): Jose.JWTPayload => ({
  iss: "https://idp.example",
  aud: "sluice",
  sub: "acme",
  scope: "openid send read",
  exp: 600,
  ...more
})

const signed = ({ alg, kid, privateKey }: Signer, claims: Jose.JWTPayload = claimsOf(), header: object = {}) =>
  Effect.promise(() => new Jose.SignJWT(claims).setProtectedHeader({ alg, kid, ...header }).sign(privateKey))

const base64 = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url")

/** A server of key sets that can change its answer, and counts how often it was asked. */
const issuer = Effect.fnUntraced(function* (...signers: ReadonlyArray<Signer>) {
  const state = {
    asked: 0,
    answer: (_: IncomingMessage, outgoing: ServerResponse): void =>
      void outgoing.end(JSON.stringify({ keys: signers.map(({ jwk }) => jwk) }))
  }
  const { url } = yield* serve((incoming, outgoing) => {
    state.asked++
    state.answer(incoming, outgoing)
  })
  return { state, url: `${url}/keys?hush=1` }
})

const options = (jwks: string, more: object = {}): Options => ({
  access: {
    jwt: { jwks, issuer: "https://idp.example", audience: "sluice", clientClaim: "sub", scopeClaim: "scope", ...more }
  }
})

const gateway = Effect.fnUntraced(function* (more: object = {}, alg = "ES256") {
  const one = yield* signer("one", alg)
  const { state, url } = yield* issuer(one)
  return { one, state, url, access: yield* make(options(url, more)) }
})

describe("tokens", () => {
  it.effect("let their client do what their scopes say, by every kind of signature", () =>
    Effect.gen(function* () {
      for (const alg of ["ES256", "RS256", "PS384", "EdDSA"]) {
        const { access, one, state } = yield* gateway({}, alg)
        const headers = bearer(yield* signed(one))
        assert.strictEqual(yield* outcome(access, headers), "in", alg)
        assert.strictEqual(yield* outcome(access, headers, "acme", "read"), "in")
        assert.strictEqual(
          yield* outcome(access, headers, "acme", "register"),
          "403 the token does not have the scope register"
        )
        assert.strictEqual(yield* outcome(access, headers, "other"), "403 the token is for another client")
        assert.strictEqual(state.asked, 1)
      }
    })
  )

  it.effect("name client and scopes in the claims that the options say", () =>
    Effect.gen(function* () {
      const { access, one } = yield* gateway({ clientClaim: "https://x/client", scopeClaim: "roles" })
      const of = (claims: object) => Effect.map(signed(one, claimsOf({ scope: "send", ...claims })), bearer)
      const in_ = yield* of({ "https://x/client": "shop", roles: ["send", 7] })
      assert.strictEqual(yield* outcome(access, in_, "shop"), "in")
      assert.strictEqual(yield* outcome(access, in_, "acme"), "403 the token is for another client")
      assert.strictEqual(
        yield* outcome(access, yield* of({ "https://x/client": "*", roles: "read send" }), "any"),
        "in"
      )
      for (const claims of [
        { roles: ["send"] },
        { "https://x/client": "", roles: ["send"] },
        { "https://x/client": ["shop"], roles: ["send"] },
        { "https://x/client": 7, roles: ["send"] },
        { "https://x/client": "shop" },
        { "https://x/client": "shop", roles: "sending" },
        { "https://x/client": "shop", roles: { send: true } }
      ]) {
        assert.match(yield* outcome(access, yield* of(claims), "shop"), /^403/, JSON.stringify(claims))
      }
    })
  )

  it.effect("are good from their beginning to their end, give or take ten seconds, by the clock", () =>
    Effect.gen(function* () {
      const { access, one } = yield* gateway()
      const headers = bearer(yield* signed(one, claimsOf({ nbf: 100, exp: 200 })))
      const at = (seconds: number) => Effect.andThen(TestClock.setTime(seconds * 1000), outcome(access, headers))
      assert.strictEqual(yield* at(89), "401 the token is not valid yet")
      assert.strictEqual(yield* at(90), "in")
      assert.strictEqual(yield* at(209), "in")
      assert.strictEqual(yield* at(210), "401 the token has expired")
      const endless = bearer(yield* signed(one, claimsOf({ exp: undefined })))
      assert.strictEqual(yield* outcome(access, endless), "401 the token has no end (exp)")
    })
  )

  it.effect("of others are refused: issuer, audience, key, and every forgery, in words without them", () =>
    Effect.gen(function* () {
      const { access, one, url } = yield* gateway({}, "RS256")
      const mallory = yield* signer("one", "RS256")
      const other = yield* signer("other", "RS256")
      const payload = base64(claimsOf())
      const pem = yield* Effect.promise(async () =>
        Jose.exportSPKI((await Jose.importJWK(one.jwk, "RS256")) as Jose.CryptoKey)
      )
      const hmac = (secret: string | Buffer, alg: "HS256" | "RS256" = "HS256") => {
        const text = `${base64({ alg, kid: "one" })}.${payload}`
        return `${text}.${createHmac("sha256", secret).update(text).digest("base64url")}`
      }
      const good = yield* signed(one)
      const [head = "", body = "", signature = ""] = good.split(".")
      const forged: Readonly<Record<string, string>> = {
        "another issuer": yield* signed(one, claimsOf({ iss: "https://evil.example" })),
        "no issuer": yield* signed(one, claimsOf({ iss: undefined })),
        "another audience": yield* signed(one, claimsOf({ aud: ["other", "sluice2"] })),
        "another's key under the same name": yield* signed(mallory),
        "an unknown key": yield* signed(other),
        "a key the token brings along": yield* signed(mallory, claimsOf(), { jwk: mallory.jwk }),
        "a key set the token names": yield* signed(mallory, claimsOf(), { jku: url }),
        none: `${base64({ alg: "none" })}.${payload}.`,
        "None, named": `${base64({ alg: "None", kid: "one" })}.${payload}.`,
        "none, signed": `${base64({ alg: "none", kid: "one" })}.${payload}.${signature}`,
        "HMAC with the public key as PEM": hmac(pem),
        "HMAC with the modulus": hmac(Buffer.from(one.jwk.n ?? "", "base64url")),
        "HMAC with the key as JSON": hmac(JSON.stringify(one.jwk)),
        "HMAC that calls itself RSA": hmac(pem, "RS256"),
        "HMAC with nothing": hmac(""),
        "other claims under a good signature": `${head}.${base64(claimsOf({ sub: "*" }))}.${signature}`,
        "no signature": `${head}.${body}.`,
        "two parts": `${head}.${body}`,
        "five parts": `${good}.a.b`,
        "a critical extension": `${base64({ alg: "RS256", kid: "one", crit: ["b64"], b64: false })}.${body}.${signature}`,
        "claims that are no object": `${head}.${base64("x")}.${signature}`,
        garbage: "....",
        "a header that is no JSON": `${Buffer.from("{").toString("base64url")}.${body}.${signature}`,
        "a deep header": `${Buffer.from(`${"[".repeat(2_000)}${"]".repeat(2_000)}`).toString("base64url")}.${body}.x`,
        "a long header": `${base64({ alg: "RS256", kid: "k".repeat(1_000_000) })}.${body}.${signature}`
      }
      for (const [what, token] of Object.entries(forged)) {
        const denial = yield* check(access, bearer(token))
        assert.strictEqual(denial?.status, 401, what)
        assert.strictEqual(denial?.challenge, 'Bearer realm="sluice", error="invalid_token"')
        for (const part of token.split(".").filter((part) => part.length > 8)) {
          assert.notInclude(JSON.stringify(denial), part)
        }
      }
      assert.strictEqual(yield* outcome(access, bearer(good)), "in")
      assert.strictEqual(yield* outcome(access, { "x-api-key": good }), "401 the key is not valid")
      assert.strictEqual(yield* outcome(access, {}), "401 a token is needed")
    })
  )

  it.effect("work beside keys, and who they are stands in the audit log, but nothing of them", () => {
    const { layer, lines } = logged()
    return Effect.gen(function* () {
      const path = yield* folder
      const one = yield* signer("one")
      const { url } = yield* issuer(one)
      const { key, line } = GatewayKeys.make({ client: "acme", scopes: ["register"], createdAt: 0 })
      yield* GatewayKeyFile.append(join(path, "keys"), [line])
      const access = yield* make(
        { access: { ...options(url).access, keys: "keys" } },
        { folder: path, host: "0.0.0.0" }
      )
      const token = yield* signed(one, claimsOf({ scope: "register", sub: "acme" }))
      for (const headers of [bearer(Redacted.value(key)), bearer(token)]) {
        assert.strictEqual(yield* outcome(access, headers, "acme", "register"), "in")
        yield* access.audit({ headers, client: "acme", event: "e", outcome: "registered", remote: "192.0.2.7" })
      }
      assert.deepStrictEqual(
        lines.map((one) => JSON.parse(one).annotations.who),
        [`key ${line.id}`, "token of acme"]
      )
      for (const part of token.split(".")) assert.notInclude(lines.join(""), part)
    }).pipe(Effect.provide(layer))
  })
})

describe("key sets", () => {
  it.effect("are asked for once by all who come at the same time, and again for a key that is new", () =>
    Effect.gen(function* () {
      const one = yield* signer("one")
      const two = yield* signer("two")
      const { state, url } = yield* issuer(one)
      const clock = yield* Clock.Clock
      const keys = { url: new URL(url), shown: url }
      const tokens = yield* GatewayJwt.make({ keys, clock, pipeline: "orders", cooldownMillis: 0 })
      const [first, second] = [yield* signed(one), yield* signed(two)]
      const all = yield* Effect.all(
        Array.from({ length: 50 }, () => tokens.check(first)),
        { concurrency: 50 }
      )
      assert.isTrue(all.every(({ _tag }) => _tag === "Good"))
      assert.strictEqual(state.asked, 1)
      assert.strictEqual((yield* tokens.check(second))._tag, "Bad")
      state.answer = (_, outgoing) => void outgoing.end(JSON.stringify({ keys: [one.jwk, two.jwk] }))
      assert.strictEqual((yield* tokens.check(second))._tag, "Good")
      assert.strictEqual((yield* tokens.check(first))._tag, "Good")
      assert.strictEqual(state.asked, 3)
    })
  )

  it.effect("are not asked for again and again by tokens that name keys at random", () =>
    Effect.gen(function* () {
      const { access, one, state } = yield* gateway()
      const mallory = yield* signer("one")
      assert.strictEqual(yield* outcome(access, bearer(yield* signed(one))), "in")
      for (let i = 0; i < 200; i++) {
        const token = yield* signed({ ...mallory, kid: `random-${i}` })
        assert.strictEqual(yield* outcome(access, bearer(token)), "401 the token is not valid")
      }
      assert.strictEqual(state.asked, 1)
    })
  )

  it.effect("find the key of a token that does not name it", () =>
    Effect.gen(function* () {
      const signers = [yield* signer("one"), yield* signer("two"), yield* signer("three")]
      const { url } = yield* issuer(...signers)
      const access = yield* make(options(url))
      for (const one of signers) {
        const token = yield* signed(one, claimsOf(), { kid: undefined })
        assert.strictEqual(yield* outcome(access, bearer(token)), "in")
      }
      const late = yield* signed(signers[1]!, claimsOf({ exp: -60 }), { kid: undefined })
      assert.strictEqual(yield* outcome(access, bearer(late)), "401 the token has expired")
      const stranger = yield* signed(yield* signer("x"), claimsOf(), { kid: undefined })
      assert.strictEqual(yield* outcome(access, bearer(stranger)), "401 the token is not valid")
    })
  )

  it.effect("that cannot be had let nobody in: 503 until they are back, one warning, one look in five seconds", () => {
    const { layer, lines } = logged()
    return Effect.gen(function* () {
      const one = yield* signer("one")
      const good = yield* signed(one)
      const answers: Readonly<Record<string, (incoming: IncomingMessage, outgoing: ServerResponse) => void>> = {
        "it cannot be reached": (incoming) => void incoming.socket.destroy(),
        "it answered 500": (_, outgoing) => void outgoing.writeHead(500).end("hush"),
        "it answered 302": (_, outgoing) => void outgoing.writeHead(302, { location: "/elsewhere" }).end(),
        "its answer is no JSON Web Key Set": (_, outgoing) => void outgoing.end('{"keys":[1]}'),
        "its answer holds private keys": (_, outgoing) =>
          void outgoing.end(JSON.stringify({ keys: [{ kty: "oct", k: "aHVzaA", kid: "one" }] })),
        "it answered with more than 1048576 bytes": (_, outgoing) => void outgoing.end(" ".repeat(2_000_000))
      }
      for (const [reason, answer] of Object.entries(answers)) {
        lines.length = 0
        const { state, url } = yield* issuer(one)
        const back = state.answer
        state.answer = answer
        const access = yield* make(options(url))
        for (let i = 0; i < 20; i++) {
          assert.deepStrictEqual(yield* check(access, bearer(good)), {
            status: 503,
            reason: "tokens cannot be checked just now",
            retryAfterSeconds: 5
          })
        }
        assert.strictEqual(state.asked, 1, reason)
        yield* TestClock.adjust("5 seconds")
        assert.strictEqual((yield* check(access, bearer(good)))?.status, 503)
        assert.strictEqual(state.asked, 2)
        state.answer = back
        assert.strictEqual((yield* check(access, bearer(good)))?.status, 503)
        yield* TestClock.adjust("5 seconds")
        assert.strictEqual(yield* outcome(access, bearer(good)), "in")
        const told = lines.map((line) => JSON.parse(line) as { readonly level: string; readonly message: string })
        assert.deepStrictEqual(
          told.map(({ level }) => level),
          ["WARN", "INFO"],
          lines.join("\n")
        )
        assert.include(told[0]?.message, `cannot be had: ${reason}`)
        assert.notInclude(lines.join(""), "hush")
      }
    }).pipe(Effect.provide(layer))
  })

  it.effect("that hang are given up", () =>
    Effect.gen(function* () {
      const one = yield* signer("one")
      const { state, url } = yield* issuer(one)
      state.answer = () => {}
      const keys = { url: new URL(url), shown: url }
      const clock = yield* Clock.Clock
      const tokens = yield* GatewayJwt.make({ keys, clock, pipeline: "orders", timeoutMillis: 200 })
      assert.strictEqual((yield* tokens.check(yield* signed(one)))._tag, "Away")
    })
  )

  it.effect("come from files too, which may change", () => {
    const { layer, lines } = logged()
    return Effect.gen(function* () {
      const path = yield* folder
      const file = join(path, "jwks.json")
      const [one, two] = [yield* signer("one"), yield* signer("two")]
      const write = (...jwks: ReadonlyArray<object>) => writeFileSync(file, JSON.stringify({ keys: jwks }))
      write(one.jwk)
      const access = yield* make(options("jwks.json"), { folder: path })
      const [first, second] = [bearer(yield* signed(one)), bearer(yield* signed(two))]
      assert.strictEqual(yield* outcome(access, first), "in")
      assert.strictEqual(yield* outcome(access, second), "401 the token is not valid")
      write(two.jwk)
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(yield* outcome(access, first), "401 the token is not valid")
      assert.strictEqual(yield* outcome(access, second), "in")
      writeFileSync(file, "[]")
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(yield* outcome(access, second), "in")
      assert.lengthOf(lines, 1)
      assert.include(lines[0], "jwks.json: is no JSON Web Key Set; what was read before still holds")
    }).pipe(Effect.provide(layer))
  })

  it.effect("are checked at the start: no file, no set, private keys, and URLs that cannot be", () =>
    Effect.gen(function* () {
      const path = yield* folder
      const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" })
      writeFileSync(join(path, "private.json"), JSON.stringify({ keys: [privateKey.export({ format: "jwk" })] }))
      writeFileSync(join(path, "secret.json"), JSON.stringify({ keys: [{ kty: "oct", k: "aHVzaA" }] }))
      writeFileSync(join(path, "none.json"), "{}")
      for (const [jwks, words] of [
        ["missing.json", "there is no such file"],
        ["none.json", "is no JSON Web Key Set"],
        ["private.json", "holds private keys"],
        ["secret.json", "holds private keys"],
        ["ftp://example.com/keys", "a URL that begins with https://"],
        ["https://user:hush@example.com/keys", "a URL without user and password"]
      ] as const) {
        const { problems } = yield* Effect.flip(make(options(jwks), { folder: path }))
        assert.deepStrictEqual(
          problems.map(({ path }) => path),
          [["access", "jwt", "jwks"]]
        )
        assert.include(problems[0]?.expected, words)
        assert.notInclude(JSON.stringify(problems), "hush")
      }
    })
  )

  it.effect("are warned of where anybody could put keys into them, or tokens for others are taken", () => {
    const { layer, lines } = logged()
    return Effect.gen(function* () {
      yield* make(options("http://idp.example/keys"))
      yield* make(options("http://127.0.0.1:9/keys"))
      const { audience: _, ...jwt } = options("https://idp.example/keys").access!.jwt!
      yield* make({ access: { jwt } })
      assert.lengthOf(lines, 2)
      assert.match(lines[0]!, /a URL without TLS/)
      assert.match(lines[1]!, /has no audience/)
    }).pipe(Effect.provide(layer))
  })
})
