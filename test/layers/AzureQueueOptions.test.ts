/** What a connection to a queue's account is made of, and the sentence for each option that makes none. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Redacted, Result, Schema } from "effect"
import * as AzureQueueConnection from "../../src/services/AzureQueueConnection.ts"
import type { Problem } from "../../src/services/Component.ts"
import * as AzureQueueOptions from "../../src/streams/AzureQueueOptions.ts"

const key = "c2VjcmV0LWtleQ=="
const sas = "sv=2024-01-01&ss=q&sig=c2lnbmVk%3D"
const azure = "https://myaccount.queue.core.windows.net"

const decoded = (options: object) =>
  Effect.orDie(Schema.decodeEffect(Schema.Struct(AzureQueueConnection.fields))(options, { onExcessProperty: "error" }))

/** As a config would write it: account, endpoint and credential. */
const connectionOf = Effect.fnUntraced(function* (options: object) {
  const { account, credential, endpoint } = yield* AzureQueueOptions.connectionOf(yield* decoded(options))
  const shown =
    credential._tag === "Identity"
      ? "identity"
      : credential._tag === "Key"
        ? `key ${Redacted.value(credential.key)}`
        : `sas ${Redacted.value(credential.sas)}`
  return [account, endpoint, shown]
})

/** Each as path, expected and found. */
const problemsOf = (options: object, path?: Problem["path"]) =>
  Effect.map(
    Effect.result(Effect.flatMap(decoded(options), (options) => AzureQueueOptions.connectionOf(options, path))),
    (result) => {
      const problems = Result.isFailure(result) ? result.failure.problems : []
      assert.notMatch(JSON.stringify(problems), /c2VjcmV0|c2lnbmVk/)
      return problems.map(({ expected, found, path }) => [path.join("."), expected, found])
    }
  )

describe("AzureQueueOptions", () => {
  it.effect("takes an account with a key, a SAS or neither", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* connectionOf({ account: "myaccount" }), ["myaccount", azure, "identity"])
      assert.deepStrictEqual(yield* connectionOf({ account: "myaccount", accountKey: ` ${key}\n` }), [
        "myaccount",
        azure,
        `key ${key}`
      ])
      for (const written of [sas, `?${sas}`, `${azure}/orders?${sas}`, ` ?${sas} `]) {
        const made = yield* connectionOf({ account: "myaccount", sas: written })
        assert.deepStrictEqual(made, ["myaccount", azure, `sas ${sas}`])
      }
      const { requestMillis } = yield* AzureQueueOptions.connectionOf(yield* decoded({ account: "myaccount" }))
      assert.strictEqual(requestMillis, 30_000)
    })
  )

  it.effect("finds the account in the endpoint, by its host or by its path", () =>
    Effect.gen(function* () {
      const cases: ReadonlyArray<readonly [endpoint: string, account: string, reached: string]> = [
        [`${azure}/`, "myaccount", azure],
        ["https://mine.privatelink.queue.core.windows.net", "mine", "https://mine.privatelink.queue.core.windows.net"],
        ["https://mine.z01.queue.storage.azure.net", "mine", "https://mine.z01.queue.storage.azure.net"],
        ["https://mine-secondary.queue.core.windows.net", "mine", "https://mine-secondary.queue.core.windows.net"],
        ["http://127.0.0.1:10001/dev/", "dev", "http://127.0.0.1:10001/dev"],
        ["http://[::1]:10001/dev", "dev", "http://[::1]:10001/dev"],
        ["http://azurite:10001/dev", "dev", "http://azurite:10001/dev"]
      ]
      for (const [endpoint, account, reached] of cases) {
        assert.deepStrictEqual(yield* connectionOf({ endpoint, accountKey: key }), [account, reached, `key ${key}`])
      }
      const local = { account: "dev", endpoint: "http://localhost:10001", accountKey: key }
      assert.deepStrictEqual(yield* connectionOf(local), ["dev", "http://localhost:10001/dev", `key ${key}`])
      const custom = { account: "dev", endpoint: "https://queues.example.com" }
      assert.deepStrictEqual(yield* connectionOf(custom), ["dev", "https://queues.example.com", "identity"])
    })
  )

  it.effect("reads a connection string as the portal gives it, and as people write it", () =>
    Effect.gen(function* () {
      const withKey = ["myaccount", azure, `key ${key}`]
      const strings: ReadonlyArray<readonly [string, ReadonlyArray<string>]> = [
        [
          `DefaultEndpointsProtocol=https;AccountName=myaccount;AccountKey=${key};EndpointSuffix=core.windows.net`,
          withKey
        ],
        [` accountname = myaccount ;\n accountkey = ${key} ; `, withKey],
        [`BlobEndpoint=https://x/;AccountName=myaccount;AccountKey=${key};QueueEndpoint=${azure}/;`, withKey],
        [
          `AccountName=mine;AccountKey=${key};DefaultEndpointsProtocol=http;EndpointSuffix=.core.chinacloudapi.cn`,
          ["mine", "http://mine.queue.core.chinacloudapi.cn", `key ${key}`]
        ],
        [`QueueEndpoint=${azure};SharedAccessSignature=${sas}`, ["myaccount", azure, `sas ${sas}`]],
        [`AccountName=myaccount;SharedAccessSignature=?${sas}`, ["myaccount", azure, `sas ${sas}`]]
      ]
      for (const [connectionString, made] of strings) {
        assert.deepStrictEqual(yield* connectionOf({ connectionString }), made)
        assert.strictEqual(AzureQueueOptions.accountOf(connectionString), made[0])
      }
      assert.deepStrictEqual(yield* connectionOf({ connectionString: strings[0]![0], account: "myaccount" }), withKey)
      assert.strictEqual(AzureQueueOptions.accountOf("nothing"), undefined)
    })
  )

  it.effect("knows Azurite's own account", () =>
    Effect.gen(function* () {
      const [account, endpoint, credential] = yield* connectionOf({ connectionString: "UseDevelopmentStorage=true" })
      assert.deepStrictEqual([account, endpoint], ["devstoreaccount1", "http://127.0.0.1:10001/devstoreaccount1"])
      assert.match(credential!, /^key Eby8vdM0/)
      const proxied = "UseDevelopmentStorage=true;DevelopmentStorageProxyUri=http://azurite/;"
      assert.strictEqual(
        (yield* connectionOf({ connectionString: proxied }))[1],
        "http://azurite:10001/devstoreaccount1"
      )
    })
  )

  it.effect("says what a connection string lacks, or has too much of, without its secrets", () =>
    Effect.gen(function* () {
      const cases: ReadonlyArray<readonly [string, expected: string, found: string]> = [
        [
          key,
          "a connection string such as AccountName=...;AccountKey=... or QueueEndpoint=...;SharedAccessSignature=...",
          "text that is none"
        ],
        [`AccountKey=${key}`, "one with AccountName or QueueEndpoint", "neither"],
        ["AccountName=myaccount", "one with AccountKey or SharedAccessSignature", "neither"],
        [
          `AccountName=myaccount;AccountKey=${key};SharedAccessSignature=${sas}`,
          "one with either AccountKey or SharedAccessSignature",
          "both"
        ],
        [`QueueEndpoint=${azure};AccountKey=${key}`, "one with AccountName besides AccountKey", "none"],
        [
          `AccountName=myaccount;AccountKey=${key}!`,
          "one whose AccountKey is an account key, which is base64",
          "other text"
        ],
        [
          "AccountName=myaccount;SharedAccessSignature=c2lnbmVk",
          "one whose SharedAccessSignature is a shared access signature such as sv=...&sig=...",
          "other text"
        ],
        [
          `AccountName=My_Account;AccountKey=${key}`,
          "one whose AccountName is the name of a storage account: 3 to 24 lower-case letters and digits",
          "other"
        ],
        [`AccountName=mine;AccountKey=${key};QueueEndpoint=x`, "one whose QueueEndpoint is a URL", "other text"],
        [
          `AccountName=mine;AccountKey=${key};DefaultEndpointsProtocol=ftp`,
          "one whose DefaultEndpointsProtocol is https or http",
          "another"
        ]
      ]
      for (const [connectionString, expected, found] of cases) {
        assert.deepStrictEqual(yield* problemsOf({ connectionString }), [["connectionString", expected, found]])
      }
    })
  )

  it.effect("tells all that is wrong at once, where it stands", () =>
    Effect.gen(function* () {
      const connectionString = `AccountName=myaccount;AccountKey=${key}`
      assert.deepStrictEqual(
        yield* problemsOf({ connectionString, account: "other", accountKey: key, sas, endpoint: azure }, ["a", 0]),
        [
          ["a.0.accountKey", "either a connectionString or accountKey", "both"],
          ["a.0.sas", "either a connectionString or sas", "both"],
          ["a.0.endpoint", "either a connectionString or endpoint", "both"],
          ["a.0.account", "myaccount, the account of the connectionString, or none", "other"]
        ]
      )
      assert.deepStrictEqual(
        yield* problemsOf({ account: "My_Account", accountKey: "x", sas, requestTimeout: "0 s" }),
        [
          ["sas", "either an accountKey or a sas", "both"],
          ["accountKey", "an account key, which is base64", "other text"],
          ["account", "the name of a storage account: 3 to 24 lower-case letters and digits", "My_Account"],
          ["requestTimeout", "at least a millisecond", "0 ms"]
        ]
      )
    })
  )

  it.effect("wants an account from somewhere, and only one", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* problemsOf({}), [
        ["account", "an account, a connectionString or an endpoint", undefined]
      ])
      const noAccount = "the account's name, since the endpoint does not tell it"
      for (const endpoint of ["https://queues.example.com", "http://localhost:10001"]) {
        assert.deepStrictEqual(yield* problemsOf({ endpoint, sas }), [["account", noAccount, undefined]])
      }
      assert.deepStrictEqual(yield* problemsOf({ account: "other", endpoint: azure }), [
        ["account", "myaccount, the account of the endpoint, or none", "other"]
      ])
      assert.deepStrictEqual(yield* problemsOf({ endpoint: `https://me:c2VjcmV0@x.queue.y?${sas}` }), [
        [
          "endpoint",
          "a URL without user, question mark or #, such as https://myaccount.queue.core.windows.net",
          "https://x.queue.y"
        ]
      ])
    })
  )

  it.effect("wants https where tokens are sent, since nothing else is safe for them", () =>
    Effect.gen(function* () {
      const expected = "https, since DefaultAzureCredential sends no token over http; or an accountKey or a sas"
      assert.deepStrictEqual(yield* problemsOf({ endpoint: "http://127.0.0.1:10001/dev" }), [
        ["endpoint", expected, "http://127.0.0.1:10001/dev"]
      ])
      assert.deepStrictEqual(yield* problemsOf({ endpoint: "http://127.0.0.1:10001/dev", sas }), [])
    })
  )

  it.effect("takes the account of the pipeline's own source where none is named", () =>
    Effect.gen(function* () {
      const source = { type: "azure-queue", ...(yield* decoded({ account: "myaccount", accountKey: key })) }
      const none = yield* decoded({})
      const taken = yield* AzureQueueOptions.shared(none, { source })
      assert.deepStrictEqual([taken.account, taken.accountKey], ["myaccount", source.accountKey])
      const own = yield* AzureQueueOptions.shared(yield* decoded({ sas }), { source })
      assert.deepStrictEqual([own.account, own.accountKey, Redacted.value(own.sas!)], ["myaccount", undefined, sas])
      const named = yield* decoded({ account: "other" })
      assert.strictEqual(yield* AzureQueueOptions.shared(named, { source }), named)
      const { problems } = yield* Effect.flip(AzureQueueOptions.shared(none, { source: { type: "stdin" } }))
      assert.deepStrictEqual(problems, [
        {
          path: ["account"],
          expected: "an account, a connectionString or an endpoint, since the pipeline's source is not azure-queue",
          found: undefined
        }
      ])
    })
  )

  it("knows the name of a queue", () => {
    const right = ["abc", "orders-poison", "0-1", "a".repeat(63)]
    const wrong = ["", "ab", "a".repeat(64), "Orders", "a--b", "-ab", "ab-", "a_b", "a.b", "ab\n"]
    assert.deepStrictEqual([...right, ...wrong].filter(AzureQueueOptions.isQueue), right)
  })
})
