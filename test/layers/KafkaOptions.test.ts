/** What a Kafka connection is made of, and the sentence for each option that makes none. */
import { NodeServices } from "@effect/platform-node"
import { assert, layer } from "@effect/vitest"
import { Effect, FileSystem, Redacted, Result, Schema } from "effect"
import type { Problem } from "../../src/services/Component.ts"
import * as KafkaConnection from "../../src/services/KafkaConnection.ts"
import * as KafkaOptions from "../../src/streams/KafkaOptions.ts"

const pem = (text: string) => `-----BEGIN CERTIFICATE-----\n${text}\n-----END CERTIFICATE-----\n`

/** As a config would write it. */
const connectionOf = Effect.fnUntraced(function* (
  options: object,
  brokers: string | ReadonlyArray<string> = "localhost",
  folder = "/nowhere"
) {
  const decoded = yield* Effect.orDie(
    Schema.decodeEffect(Schema.Struct(KafkaConnection.fields))(options, { onExcessProperty: "error" })
  )
  return yield* KafkaOptions.connectionOf(decoded, brokers, folder)
})

/** Each as path, expected and found. */
const problemsOf = (...[options, brokers, folder]: Parameters<typeof connectionOf>) =>
  Effect.map(Effect.result(connectionOf(options, brokers, folder)), (result) => {
    const problems: ReadonlyArray<Problem> = Result.isFailure(result) ? result.failure.problems : []
    return problems.map(({ expected, found, path }) => [path.join("."), expected, found])
  })

layer(NodeServices.layer)("KafkaOptions", (it) => {
  it.effect("reads brokers as a list or as text, and gives each a port", () =>
    Effect.gen(function* () {
      const { brokers, ...rest } = yield* connectionOf({}, "a, b:9093 ,10.0.0.1:1")
      assert.deepStrictEqual(brokers, ["a:9092", "b:9093", "10.0.0.1:1"])
      assert.deepStrictEqual((yield* connectionOf({}, [" a ", "b:65535"])).brokers, ["a:9092", "b:65535"])
      assert.deepStrictEqual(rest, {
        clientId: "sluice",
        tls: undefined,
        sasl: undefined,
        connectMillis: 10_000,
        requestMillis: 30_000,
        metadataMillis: 300_000
      })
    })
  )

  it.effect("says which broker is none", () =>
    Effect.gen(function* () {
      const expected = "a broker such as localhost:9092"
      assert.deepStrictEqual(yield* problemsOf({}, ["a", "b:", "c:65536", "http://d:1"]), [
        ["brokers.1", expected, "b:"],
        ["brokers.2", expected, "c:65536"],
        ["brokers.3", expected, "http://d:1"]
      ])
      assert.deepStrictEqual(yield* problemsOf({}, "a,,b"), [["brokers", expected, ""]])
    })
  )

  it.effect("takes PEM text as it is, and reads files from the config's folder", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const folder = yield* fs.makeTempDirectoryScoped()
      yield* fs.writeFileString(`${folder}/ca.pem`, pem("ca"))
      yield* fs.writeFile(`${folder}/client.pfx`, new Uint8Array([1, 2, 3]))
      const { tls } = yield* connectionOf(
        {
          tls: { ca: "ca.pem", cert: pem("cert"), key: pem("key"), pfx: "client.pfx", passphrase: "p", verify: false }
        },
        "localhost",
        folder
      )
      const value = <A>(secret: Redacted.Redacted<A> | undefined) => secret && Redacted.value(secret)
      assert.strictEqual(value(tls?.ca), pem("ca"))
      assert.strictEqual(value(tls?.cert), pem("cert"))
      assert.strictEqual(value(tls?.key), pem("key"))
      assert.deepStrictEqual([...(value(tls?.pfx) ?? [])], [1, 2, 3])
      assert.strictEqual(value(tls?.passphrase), "p")
      assert.deepStrictEqual([tls?.verify, tls?.verifyHost], [false, true])
      assert.notInclude(JSON.stringify(tls), "BEGIN")
    })
  )

  it.effect("checks certificates when TLS is only switched on, and leaves it out when it is switched off", () =>
    Effect.gen(function* () {
      const { tls } = yield* connectionOf({ tls: true })
      assert.deepStrictEqual([tls?.ca, tls?.verify, tls?.verifyHost], [undefined, true, true])
      assert.strictEqual((yield* connectionOf({ tls: false })).tls, undefined)
    })
  )

  it.effect("says which file cannot be read, or holds no PEM", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const folder = yield* fs.makeTempDirectoryScoped()
      yield* fs.writeFileString(`${folder}/store.jks`, "binary")
      const tls = { ca: "ca.pem", cert: "store.jks", key: "/nowhere/client-key", pfx: "client.pfx" }
      const missing = "a file that can be read (NotFound)"
      assert.deepStrictEqual(yield* problemsOf({ tls }, "localhost", folder), [
        ["tls.pfx", missing, "client.pfx"],
        ["tls.ca", missing, "ca.pem"],
        ["tls.cert", "a file of PEM text", "store.jks"],
        ["tls.key", missing, "/nowhere/client-key"]
      ])
    })
  )

  it.effect("shows nothing of a key that was written without its PEM frame", () =>
    Effect.gen(function* () {
      const key = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg"
      assert.deepStrictEqual(yield* problemsOf({ tls: { cert: pem("cert"), key } }), [
        ["tls.key", "a file that can be read (NotFound)", "text that is no PEM"]
      ])
    })
  )

  it.effect("wants a key with a certificate, and something a passphrase opens", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* problemsOf({ tls: { cert: pem("cert") } }), [
        ["tls.key", "a value, since there is a cert", undefined]
      ])
      assert.deepStrictEqual(yield* problemsOf({ tls: { key: pem("key") } }), [
        ["tls.cert", "a value, since there is a key", undefined]
      ])
      assert.deepStrictEqual(yield* problemsOf({ tls: { passphrase: "p" } }), [
        ["tls.passphrase", "a key or a pfx that it opens", "neither"]
      ])
    })
  )

  it.effect("wants a token, or all it takes to get one", () =>
    Effect.gen(function* () {
      const expected = "a value, since there is no token"
      const bearer = (sasl: object) => problemsOf({ sasl: { mechanism: "oauthbearer", ...sasl } })
      const endpoint = { tokenUrl: "http://localhost/token", clientId: "me", clientSecret: "s" }
      assert.deepStrictEqual(yield* bearer({}), [
        ["sasl.tokenUrl", expected, undefined],
        ["sasl.clientId", expected, undefined],
        ["sasl.clientSecret", expected, undefined]
      ])
      assert.deepStrictEqual(yield* bearer({ ...endpoint, token: "t" }), [
        ["sasl.tokenUrl", "either a token or where to get one", "both"]
      ])
      assert.deepStrictEqual(yield* bearer({ token: "two words" }), [
        ["sasl.token", "a token, which is letters, digits and signs without spaces", "other text"]
      ])
      assert.deepStrictEqual(yield* bearer({ token: "t" }), [])
      assert.deepStrictEqual(yield* bearer(endpoint), [])
    })
  )

  it.effect("tells all that is wrong at once", () =>
    Effect.gen(function* () {
      const problems = yield* problemsOf(
        { sasl: { mechanism: "oauthbearer", token: "" }, tls: { key: pem("key") } },
        "a b"
      )
      assert.deepStrictEqual(
        problems.map(([path]) => path),
        ["brokers", "sasl.token", "tls.cert"]
      )
    })
  )

  it.effect("takes TLS and SASL of the pipeline's own source when there are no brokers", () =>
    Effect.gen(function* () {
      const source = { type: "kafka", brokers: "a", tls: true, sasl: { mechanism: "oauthbearer", token: "t" } } as const
      const options = yield* Effect.orDie(Schema.decodeEffect(Schema.Struct(KafkaConnection.fields))({}))
      const { brokers, connection } = yield* KafkaOptions.shared(options, { source })
      assert.strictEqual(brokers, "a")
      assert.strictEqual(connection.tls, true)
      // The very same, so that one token serves all.
      assert.strictEqual(connection.sasl as unknown, source.sasl)
      const own = yield* KafkaOptions.shared({ ...options, brokers: "b", tls: false }, { source })
      assert.deepStrictEqual([own.brokers, own.connection.tls, own.connection.sasl], ["b", false, undefined])
      const none = yield* Effect.flip(KafkaOptions.shared(options, { source: { type: "stdin" } }))
      assert.deepStrictEqual(none.problems, [
        { path: ["brokers"], expected: "the brokers, since the pipeline's source is not kafka", found: undefined }
      ])
    })
  )
})
