/** Who may send to a webhook: each way in, what is open and what says so, and secrets that show nowhere. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Result } from "effect"
import { OptionsError } from "../../src/services/Component.ts"
import { logged } from "./GatewayKit.ts"
import { make, outcome, request } from "./WebhookKit.ts"

const passphrase = { type: "passphrase", passphrase: "open sesame" }

/** What is wrong with the options, as its path and words. */
const wrong = (options: unknown, host?: string | undefined) =>
  Effect.map(Effect.result(make(options, { host })), (result) => {
    if (Result.isSuccess(result)) return ["nothing"]
    assert.instanceOf(result.failure, OptionsError)
    return (result.failure as OptionsError).problems.map(
      ({ expected, found, path }) => `${path.join(".")}: ${expected}, found ${String(found)}`
    )
  })

describe("a passphrase", () => {
  it.effect("lets in by its header or by the query", () =>
    Effect.gen(function* () {
      const auth = yield* make({ auth: passphrase })
      assert.strictEqual(outcome(auth, { headers: { passphrase: "open sesame" } }), "in")
      assert.strictEqual(outcome(auth, { query: "a=1&passphrase=open%20sesame" }), "in")
      assert.strictEqual(outcome(auth), "head: the passphrase is missing")
      for (const given of ["open sesam", "open sesame!", "Open sesame", "", "open sesame, open sesame"]) {
        assert.strictEqual(
          outcome(auth, { headers: { passphrase: given } }),
          "head: the passphrase is not right",
          given
        )
      }
      assert.strictEqual(outcome(auth, { query: "passphrase=x" }), "head: the passphrase is not right")
      assert.strictEqual(outcome(auth, { query: "Passphrase=open%20sesame" }), "head: the passphrase is missing")
    })
  )

  it.effect("counts in the header where there is one, and only once in the query", () =>
    Effect.gen(function* () {
      const auth = yield* make({ auth: passphrase })
      const query = "passphrase=open%20sesame"
      assert.strictEqual(outcome(auth, { headers: { passphrase: "x" }, query }), "head: the passphrase is not right")
      assert.strictEqual(outcome(auth, { query: `${query}&${query}` }), "head: the query has more than one passphrase")
    })
  )

  it.effect("has names of its own, and its header is kept by nobody", () =>
    Effect.gen(function* () {
      const auth = yield* make({ auth: { ...passphrase, header: "X-Word", query: "word" } })
      assert.strictEqual(outcome(auth, { headers: { "x-word": "open sesame" } }), "in")
      assert.strictEqual(outcome(auth, { query: "word=open+sesame" }), "in")
      assert.strictEqual(outcome(auth, { headers: { passphrase: "open sesame" } }), "head: the passphrase is missing")
      assert.includeMembers([...auth.secretHeaders], ["authorization", "cookie", "passphrase", "x-word"])
    })
  )

  it.effect("is the same in UTF-8 and in Latin-1, and no other text is cut down to it", () =>
    Effect.gen(function* () {
      const auth = yield* make({ auth: { ...passphrase, passphrase: "Schlüssel" } })
      const asBytes = Buffer.from("Schlüssel").toString("latin1")
      for (const value of ["Schlüssel", asBytes])
        assert.strictEqual(outcome(auth, { headers: { passphrase: value } }), "in")
      assert.strictEqual(outcome(auth, { query: "passphrase=Schl%C3%BCssel" }), "in")
      const plain = yield* make({ auth: { ...passphrase, passphrase: "abc" } })
      // U+0161 is cut to `a` by an encoding that keeps one byte of each character.
      assert.strictEqual(outcome(plain, { headers: { passphrase: "\u0161bc" } }), "head: the passphrase is not right")
      assert.strictEqual(
        outcome(auth, { headers: { passphrase: "Schlu\u0308ssel" } }),
        "head: the passphrase is not right"
      )
    })
  )
})

describe("Basic, Bearer and a header", () => {
  it.effect("let in who has the credential, and say what is wanted", () =>
    Effect.gen(function* () {
      const basic = yield* make({ auth: { type: "basic", user: "ana", password: "p:w" } })
      const of = (pair: string) => ({ headers: { authorization: `bAsic ${Buffer.from(pair).toString("base64")}` } })
      assert.strictEqual(outcome(basic, of("ana:p:w")), "in")
      for (const pair of ["ana:p:x", "an:ap:w", "ana", "ana:p:w:", ""])
        assert.match(outcome(basic, of(pair)), /^head: /, pair)
      assert.strictEqual(basic.head(request())?.challenge, 'Basic realm="sluice", charset="UTF-8"')
      assert.strictEqual(outcome(basic), "head: the user or the password is missing")

      const bearer = yield* make({ auth: { type: "bearer", token: "t0ken" } })
      assert.strictEqual(outcome(bearer, { headers: { authorization: "Bearer t0ken" } }), "in")
      for (const value of ["t0ken", "Bearer t0ke", "Bearer t0ken x", "Basic t0ken", "Bearer  "]) {
        assert.match(outcome(bearer, { headers: { authorization: value } }), /^head: the token is /, value)
      }
      assert.strictEqual(bearer.head(request())?.challenge, 'Bearer realm="sluice"')

      const header = yield* make({ auth: { type: "header", name: "X-From-Hasura", value: "v1" } })
      assert.strictEqual(outcome(header, { headers: { "x-from-hasura": "v1" } }), "in")
      assert.strictEqual(
        outcome(header, { headers: { "x-from-hasura": "v1, v1" } }),
        "head: the header x-from-hasura is not right"
      )
      assert.strictEqual(outcome(header), "head: the header x-from-hasura is missing")
      assert.include(header.secretHeaders, "x-from-hasura")
    })
  )

  it.effect("of several ways in any is enough, and a refusal says what all of them miss", () =>
    Effect.gen(function* () {
      const auth = yield* make({
        auth: [passphrase, { type: "bearer", token: "t" }, { type: "basic", user: "u", password: "p" }]
      })
      assert.strictEqual(outcome(auth, { headers: { passphrase: "open sesame" } }), "in")
      assert.strictEqual(outcome(auth, { headers: { authorization: "Bearer t" } }), "in")
      assert.deepStrictEqual(auth.head(request()), {
        reason: "the passphrase is missing; the token is missing; the user or the password is missing",
        challenge: 'Bearer realm="sluice", Basic realm="sluice", charset="UTF-8"'
      })
    })
  )

  it.effect("a signature that is good is enough beside a word that is not, and the other way round", () =>
    Effect.gen(function* () {
      const auth = yield* make({ auth: [passphrase, { type: "github", secret: "s" }] })
      const bad = { "x-hub-signature-256": `sha256=${"0".repeat(64)}` }
      assert.strictEqual(outcome(auth, { headers: { passphrase: "open sesame" } }), "in")
      assert.strictEqual(outcome(auth, { headers: { passphrase: "open sesame", ...bad } }), "in")
      assert.match(outcome(auth, { headers: bad }), /^body: .*the signature is not that of this body$/)
      assert.match(outcome(auth, { headers: { passphrase: "x" } }), /^head: /)
    })
  )
})

describe("a webhook without auth", () => {
  it.effect("starts on loopback only, with a warning, or where it says open", () =>
    Effect.gen(function* () {
      const { layer, lines } = logged()
      yield* Effect.provide(
        Effect.gen(function* () {
          assert.strictEqual(outcome(yield* make({})), "in")
          assert.strictEqual(outcome(yield* make({ open: true }, { host: "0.0.0.0" })), "in")
        }),
        layer
      )
      assert.lengthOf(lines, 2)
      assert.include(lines[0], "hooks: everybody on this machine may send to the webhook, since it has no auth")
      assert.include(
        lines[1],
        "hooks: everybody who can reach 0.0.0.0 may send to the webhook, since it says open: true"
      )
      assert.deepStrictEqual(yield* wrong({}, "0.0.0.0"), [
        "auth: how senders are known, since others can reach 0.0.0.0; or open: true, if everybody may send to this webhook, found undefined"
      ])
      assert.deepStrictEqual(yield* wrong({}), [
        "auth: how senders are known, since it is not known where the server listens; or open: true, if everybody may send to this webhook, found undefined"
      ])
      assert.deepStrictEqual(yield* wrong({ auth: passphrase, open: true }, "127.0.0.1"), [
        "open: either open: true, or auth, found both"
      ])
      assert.deepStrictEqual(yield* wrong({ open: false }, "127.0.0.1"), ["open: auth beside open: false, found none"])
    })
  )
})

describe("options of auth", () => {
  it.effect("with an empty secret or a name that is none are refused, and show no secret", () =>
    Effect.gen(function* () {
      const cases: ReadonlyArray<readonly [unknown, string]> = [
        [{ ...passphrase, passphrase: "" }, "auth.passphrase: a secret that is not empty, found "],
        [{ type: "bearer", token: "" }, "auth.token: a secret that is not empty, found "],
        [{ type: "basic", user: "u", password: "" }, "auth.password: a secret that is not empty, found "],
        [{ type: "basic", user: "a:b", password: "hush" }, "auth.user: a user without a colon, found a:b"],
        [{ type: "header", name: "x", value: "" }, "auth.value: a secret that is not empty, found "],
        [{ type: "header", name: "x y", value: "hush" }, "auth.name: the name of a header, found x y"],
        [{ type: "github", secret: "" }, "auth.secret: a secret that is not empty, found "],
        [{ type: "github" }, "auth.secret: either secret or secrets, found neither"],
        [{ type: "stripe", secret: "hush", secrets: ["hush"] }, "auth.secret: either secret or secrets, found both"],
        [{ type: "stripe", secrets: ["hush", ""] }, "auth.secrets.1: a secret that is not empty, found "],
        [
          { type: "standard-webhooks", secret: "whsec_hush!" },
          "auth.secret: whsec_ and base64 behind it; what came is not shown, found other text"
        ],
        [
          { type: "standard-webhooks", secret: "whsec_" },
          "auth.secret: whsec_ and base64 behind it; what came is not shown, found other text"
        ]
      ]
      for (const [auth, expected] of cases) {
        const said = yield* wrong({ auth }, "127.0.0.1")
        assert.deepStrictEqual(said, [expected])
        assert.notInclude(said.join(), "hush")
      }
      assert.deepStrictEqual(yield* wrong({ auth: [passphrase, { type: "github", secret: "" }] }, "127.0.0.1"), [
        "auth.1.secret: a secret that is not empty, found "
      ])
    })
  )

  it.effect("hold their secrets where no print of them reaches", () =>
    Effect.gen(function* () {
      const secrets = ["hush-a", "hush-b", "hush-c"]
      const auth = yield* make({
        auth: [
          { type: "passphrase", passphrase: secrets[0] },
          { type: "github", secret: secrets[1] },
          { type: "bearer", token: secrets[2] }
        ]
      })
      const asking = {
        headers: { passphrase: "guess-1", authorization: "Bearer guess-2", "x-hub-signature-256": "guess-3" }
      }
      const shown = JSON.stringify([auth, auth.head(request(asking)), auth.body(request(asking))])
      for (const secret of [...secrets, "guess-"]) assert.notInclude(shown, secret)
    })
  )
})
