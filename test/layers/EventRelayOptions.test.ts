/** What a connection to EventRelay is made of, and the sentence for each option that makes none. */
import { NodeServices } from "@effect/platform-node"
import { assert, layer } from "@effect/vitest"
import { Effect, FileSystem, Redacted, Result, Schema } from "effect"
import type { Problem } from "../../src/services/Component.ts"
import * as EventRelayConnection from "../../src/services/EventRelayConnection.ts"
import * as EventRelayOptions from "../../src/streams/EventRelayOptions.ts"

const pem = (text: string) => `-----BEGIN CERTIFICATE-----\n${text}\n-----END CERTIFICATE-----\n`
const base64 = (text: string) => Buffer.from(text).toString("base64")

/** As a config would write it. */
const connectionOf = Effect.fnUntraced(function* (options: object, folder = "/nowhere") {
  const decoded = yield* Effect.orDie(
    Schema.decodeEffect(Schema.Struct(EventRelayConnection.fields))(
      { host: "localhost", ...options },
      {
        onExcessProperty: "error"
      }
    )
  )
  return yield* EventRelayOptions.connectionOf(decoded, folder)
})

/** Each as path, expected and found. */
const problemsOf = (...[options, folder]: Parameters<typeof connectionOf>) =>
  Effect.map(Effect.result(connectionOf(options, folder)), (result) => {
    const problems: ReadonlyArray<Problem> = Result.isFailure(result) ? result.failure.problems : []
    return problems.map(({ expected, found, path }) => [path.join("."), expected, found])
  })

const value = (secret: Redacted.Redacted<string> | undefined) => secret && Redacted.value(secret)

layer(NodeServices.layer)("EventRelayOptions", (it) => {
  it.effect("has the server's own port, and times", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* connectionOf({}), {
        host: "localhost",
        port: 50_051,
        token: undefined,
        tls: undefined,
        callMillis: 30_000,
        keepaliveMillis: 30_000
      })
      const { callMillis, keepaliveMillis, port } = yield* connectionOf({ port: "1", timeout: "5s", keepalive: "1m" })
      assert.deepStrictEqual([port, callMillis, keepaliveMillis], [1, 5_000, 60_000])
    })
  )

  it.effect("takes names and addresses for hosts, and nothing else", () =>
    Effect.gen(function* () {
      for (const host of ["relay.example.com", "my_relay-1", "127.0.0.1", "::1", "fe80::1:2"]) {
        assert.strictEqual((yield* connectionOf({ host })).host, host)
      }
      assert.strictEqual((yield* connectionOf({ host: "[::1]" })).host, "::1")
      const expected = "a host's name or address, such as localhost"
      for (const [host, found] of [
        ["localhost:50051", "localhost:50051"],
        ["http://u:p@relay", "http://relay"],
        ["a b", "a b"],
        ["relay?x=hush", "relay"]
      ]) {
        assert.deepStrictEqual(yield* problemsOf({ host }), [["host", expected, found]])
      }
    })
  )

  it.effect("takes a token as the server reads it, and shows none", () =>
    Effect.gen(function* () {
      const token = base64("key:secret:of words")
      const connection = yield* connectionOf({ token: ` ${token}\n` })
      assert.strictEqual(value(connection.token), token)
      assert.notInclude(JSON.stringify(connection), token)
      assert.isUndefined((yield* connectionOf({ token: "" })).token)
      const problem = ["token", "base64 of an API key's key:secret", "other text"]
      const others = [
        "key:secret",
        base64("no colon"),
        base64(":secret"),
        base64("key:"),
        base64("key:secr").replace("=", "")
      ]
      for (const token of others) assert.deepStrictEqual(yield* problemsOf({ token }), [problem])
    })
  )

  it.effect("takes PEM text as it is, and reads files from the config's folder", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const folder = yield* fs.makeTempDirectoryScoped()
      yield* fs.writeFileString(`${folder}/ca.pem`, pem("ca"))
      const written = { ca: "ca.pem", cert: pem("cert"), key: pem("key"), serverName: "relay" }
      const { tls } = yield* connectionOf({ tls: written }, folder)
      assert.deepStrictEqual(
        [value(tls?.ca), value(tls?.cert), value(tls?.key), tls?.serverName],
        [pem("ca"), pem("cert"), pem("key"), "relay"]
      )
      assert.notInclude(JSON.stringify(tls), "BEGIN")
    })
  )

  it.effect("wants all of ca, cert and key or none, where empty is none", () =>
    Effect.gen(function* () {
      assert.isUndefined((yield* connectionOf({ tls: {} })).tls)
      assert.isUndefined((yield* connectionOf({ tls: { ca: "", cert: "", key: "" } })).tls)
      const missing = (have: string) => `a value, since there is ${have}: TLS needs ca, cert and key`
      assert.deepStrictEqual(yield* problemsOf({ tls: { ca: pem("ca") } }), [
        ["tls.cert", missing("ca"), undefined],
        ["tls.key", missing("ca"), undefined]
      ])
      assert.deepStrictEqual(yield* problemsOf({ tls: { cert: pem("c"), key: pem("k"), ca: "" } }), [
        ["tls.ca", missing("cert and key"), undefined]
      ])
      assert.deepStrictEqual(yield* problemsOf({ tls: { serverName: "x" } }), [
        ["tls", "ca, cert and key besides serverName", "none of them"]
      ])
    })
  )

  it.effect("says which file is none, and shows no key", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const folder = yield* fs.makeTempDirectoryScoped()
      yield* fs.writeFileString(`${folder}/text.pem`, "no certificate")
      const tls = { ca: "none.pem", cert: "text.pem", key: "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC" }
      assert.deepStrictEqual(yield* problemsOf({ tls }, folder), [
        ["tls.ca", "a file that can be read (NotFound)", "none.pem"],
        ["tls.cert", "a file of PEM text", "text.pem"],
        ["tls.key", "a file that can be read (NotFound)", "text that is no PEM"]
      ])
    })
  )

  it.effect("reaches the server of the pipeline's own source where there is no host", () =>
    Effect.gen(function* () {
      const { keepalive, port, timeout } = yield* Schema.decodeEffect(Schema.Struct(EventRelayConnection.fields))({
        host: "x"
      })
      const own = { type: "eventrelay", host: "relay", port: 1, token: Redacted.make("a"), tls: { serverName: "s" } }
      const shared = (more: object, source: { readonly type: string } = own) =>
        EventRelayOptions.shared({ keepalive, port, timeout, ...more }, { source })
      const { host, port: of, tls, token } = yield* shared({})
      assert.deepStrictEqual([host, of, value(token), tls], ["relay", 1, "a", { serverName: "s" }])
      assert.strictEqual(value((yield* shared({ token: Redacted.make("b") })).token), "b")
      const other = yield* shared({ host: "other" })
      assert.deepStrictEqual([other.host, other.port, other.token], ["other", 50_051, undefined])
      const { problems } = yield* Effect.flip(shared({}, { type: "stdin" }))
      assert.strictEqual(problems[0]!.expected, "a host, since the pipeline's source is not eventrelay")
    })
  )
})
