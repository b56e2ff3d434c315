/** A webhook in a config: what starts, and the sentences for what is wrong. */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, FileSystem, Result } from "effect"
import * as App from "../../src/layers/App.ts"
import * as Config from "../../src/layers/Config.ts"
import { ConfigError } from "../../src/layers/ConfigFile.ts"
import * as Wiring from "../../src/layers/Wiring.ts"

/** What a user reads for this config. */
const said = (text: string, environment: Readonly<Record<string, string>> = {}) =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const file = `${yield* fs.makeTempDirectoryScoped()}/x.yaml`
    yield* fs.writeFileString(file, text)
    const checked = Effect.flatMap(Config.load(file, environment), (loaded) =>
      Wiring.plans(loaded).pipe(Effect.scoped, Effect.provide(App.dry(loaded)))
    )
    const result = yield* Effect.result(checked)
    if (Result.isSuccess(result)) return "ok"
    assert.instanceOf(result.failure, ConfigError)
    return result.failure.message.replaceAll(`${file}:`, "").replaceAll("pipelines.a.source", "source")
  }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))

const webhook = (more: string, host = "0.0.0.0") =>
  `http: { host: ${host}, port: 1 }\npipelines:\n  a:\n    source: { type: webhook, path: /x, ${more} }\n`

describe("a webhook in a config", () => {
  it.effect("says what is wrong, and shows no secret", () =>
    Effect.gen(function* () {
      const ways = "a map with the type passphrase, basic, bearer, header, standard-webhooks, github, stripe or hmac"
      const cases: ReadonlyArray<readonly [string, string]> = [
        [
          "auth: { type: github, secret: 1234 }",
          "4:70: source.auth.secret: expected text, in quotes where it could be read as something else; what came is not shown"
        ],
        ["auth: { type: gthub, secret: hush }", `4:40: source.auth: expected ${ways}, found a map`],
        [
          "auth: [{ type: passphrase, passphrase: hush }, { type: bearer, token: '' }]",
          '4:110: source.auth.1.token: expected a secret that is not empty, found ""'
        ],
        [
          "auth: { type: passphrase, passphrase: ${EVENT_PASSPHRASE} }",
          "4:40: source.auth.passphrase: expected a value, since it is required, found nothing"
        ],
        ["auth: []", "4:40: source.auth.0: expected a value, since it is required, found nothing"],
        [
          "auth: { type: passphrase, pasphrase: hush }",
          [
            '4:66: source.auth.pasphrase: expected one of type, passphrase, header, query, found "pasphrase" (did you mean passphrase?)',
            "4:40: source.auth.passphrase: expected a value, since it is required, found nothing"
          ].join("\n")
        ],
        [
          "auth: { type: stripe, secret: hush, tolerance: soon }",
          '4:87: source.auth.tolerance: expected a duration such as 10 seconds, 200 millis or 5m, found "soon"'
        ],
        [
          "auth: { type: standard-webhooks, secret: 'whsec_hush!' }",
          '4:81: source.auth.secret: expected whsec_ and base64 behind it; what came is not shown, found "other text"'
        ],
        [
          "bodyMax: 1 MiB",
          "4:5: source.auth: expected how senders are known, since others can reach 0.0.0.0; or open: true, if everybody may send to this webhook, found nothing"
        ],
        [
          "auth: { type: bearer, token: hush }, answer: v0",
          "4:5: source.format: expected format: hasura beside answer: v0, found nothing"
        ],
        [
          "auth: { type: bearer, token: hush }, format: hasura, answer: v3",
          '4:101: source.answer: expected status or v0 or v2, found "v3"'
        ]
      ]
      for (const [more, expected] of cases) {
        const words = yield* said(webhook(more), { EVENT_PASSPHRASE: "" })
        assert.strictEqual(words, expected, more)
        assert.notInclude(words, "hush")
      }
    })
  )

  it.effect("starts with secrets from the environment, and open where that is said", () =>
    Effect.gen(function* () {
      const compatible = [
        "auth: { type: passphrase, passphrase: ${EVENT_PASSPHRASE} }",
        "format: hasura",
        "answer: ${HASURA_SHAPE:-v0}"
      ].join(", ")
      assert.strictEqual(yield* said(webhook(compatible), { EVENT_PASSPHRASE: "open sesame" }), "ok")
      assert.strictEqual(yield* said(webhook("open: true")), "ok")
      assert.strictEqual(yield* said(webhook("bodyMax: 1 MiB", "127.0.0.1")), "ok")
      assert.strictEqual(
        yield* said(`${webhook("auth: { type: github, secrets: [a, b] }")}    decode: { type: hasura }\n`),
        "ok"
      )
    })
  )

  it.effect("needs an HTTP server", () =>
    Effect.gen(function* () {
      const words = yield* said("pipelines:\n  a:\n    source: { type: webhook, path: /x }\n")
      assert.include(words, "the config has no http: section")
    })
  )
})
