/** Configs of the Prefect event handler: what each of their words becomes, and the sentences for wrong ones. */
import { assert, describe, it } from "@effect/vitest"
import { ConfigError, parse } from "../../src/layers/ConfigFile.ts"
import * as PrefectHandler from "../../src/layers/PrefectHandler.ts"

type Environment = Readonly<Record<string, string>>

const translate = (config: unknown, environment: Environment = {}) => {
  const text = typeof config === "string" ? config : JSON.stringify(config, null, 2)
  const file = parse("x.json", text, environment)
  if (file instanceof ConfigError) throw file
  return PrefectHandler.translate(file, text, environment)
}

/** The pipelines, as plain values whose shape each test knows. */
const pipelines = (config: unknown, environment: Environment = {}): Record<string, any> => {
  const result = translate(config, environment)
  if (result instanceof ConfigError) throw result
  if (result === undefined) throw new Error("not taken for the handler's")
  return (result.value as { pipelines: Record<string, any> }).pipelines
}

/** What a user reads: the lines of the error, or of the warnings. */
const said = (config: unknown): ReadonlyArray<string> => {
  const result = translate(config)
  if (result instanceof ConfigError) return result.message.split("\n")
  return new ConfigError({ findings: result?.warnings ?? [] }).message.split("\n").filter((line) => line !== "")
}

/** The example of the handler's own document. */
const example = {
  threads: [
    {
      publisher_type: "AzureStorageQueue",
      storage_account: "storage-account-name",
      queue_name: "test",
      message_flow_actions: { SampleMsg: "Flow Name/deployment-name" }
    }
  ]
}

const only = (thread: object, environment?: Environment) =>
  Object.values(pipelines({ threads: [thread] }, environment))[0]

describe("PrefectHandler", () => {
  it("makes the document's example a pipeline of queue, field and Prefect", () => {
    const made = pipelines(example)
    assert.deepStrictEqual(Object.keys(made), ["storage-account-name/test"])
    const { decode, ...rest } = made["storage-account-name/test"]
    assert.strictEqual(decode.type, "json")
    assert.deepStrictEqual(rest, {
      source: { type: "azure-queue", account: "storage-account-name", queue: "test" },
      detect: { type: "field", path: "payload.message_type", otherwise: "message" },
      dispatch: [
        {
          type: "prefect",
          deployment: {
            SampleMsg: "Flow Name/deployment-name",
            "*": "{{payload.flow_name}}/{{payload.deployment_name}}"
          },
          parameters: "payload.payload"
        }
      ],
      journal: true
    })
  })

  it("leaves other configs alone", () => {
    assert.isUndefined(translate({ pipelines: { a: { source: { type: "stdin" } } } }))
    assert.isUndefined(translate("- eventListener: {}"))
    assert.isUndefined(translate("hello"))
  })

  it("reads both generations of settings", () => {
    const entra = (settings: unknown) => Object.values(pipelines({ ...example, settings }))[0].dispatch[0].entra
    assert.isTrue(entra({ prefect_use_msal_auth: true }))
    assert.isUndefined(entra({ prefect_use_msal_auth: false }))
    assert.isUndefined(entra({}))
    assert.isUndefined(entra(null))
  })

  it("uses the connection string of the environment for its own account, and for no other", () => {
    const connectionString =
      "DefaultEndpointsProtocol=https;AccountName=mine;AccountKey=a2V5;EndpointSuffix=core.windows.net"
    const environment = { AZURE_STORAGE_CONNECTION_STRING: connectionString }
    const thread = (storage_account: string) => ({
      publisher_type: "AzureStorageQueue",
      storage_account,
      queue_name: "q"
    })
    assert.deepStrictEqual(only({ ...thread("mine") }, environment).source, {
      type: "azure-queue",
      account: "mine",
      queue: "q",
      connectionString
    })
    assert.deepStrictEqual(only({ ...thread("other") }, environment).source, {
      type: "azure-queue",
      account: "other",
      queue: "q"
    })
    const emulator = { AZURE_STORAGE_CONNECTION_STRING: "UseDevelopmentStorage=true" }
    assert.property(only({ ...thread("devstoreaccount1") }, emulator).source, "connectionString")
  })

  it("says why the connection string of the environment is not used", () => {
    const warnings = (AZURE_STORAGE_CONNECTION_STRING: string) => {
      const result = translate(example, { AZURE_STORAGE_CONNECTION_STRING })
      if (result instanceof ConfigError || result === undefined) throw new Error("not translated")
      return result.warnings.map(({ message }) => message)
    }
    assert.deepStrictEqual(warnings("nonsense"), [
      "AZURE_STORAGE_CONNECTION_STRING cannot be read, and is not used here"
    ])
    assert.deepStrictEqual(warnings("AccountName=other;AccountKey=a2V5;EndpointSuffix=core.windows.net"), [
      "AZURE_STORAGE_CONNECTION_STRING is that of other, and is not used here"
    ])
  })

  it("knows the other types of threads, each its own pipeline with a name of its own", () => {
    const threads = [
      { publisher_type: "StdInput", message_flow_actions: { A: "F/d" } },
      { publisher_type: "Zmq", tcp_uri: "tcp://127.0.0.1:5555", topic: "orders" },
      { publisher_type: "Kafka", bootstrap_servers: "a:1,b:2", topic: "t", group_id: "g" },
      ...example.threads,
      ...example.threads
    ]
    const made = pipelines({ threads, settings: {} })
    assert.deepStrictEqual(Object.keys(made), [
      "Stdin",
      "ZMQ tcp-//127.0.0.1-5555",
      "Kafka t",
      "storage-account-name/test",
      "storage-account-name/test.2"
    ])
    assert.deepStrictEqual(
      Object.values(made)
        .slice(0, 3)
        .map(({ source }) => source),
      [
        { type: "stdin" },
        { type: "zeromq", socket: "sub", connect: "tcp://127.0.0.1:5555", topics: ["orders"] },
        { type: "kafka", brokers: "a:1,b:2", topic: "t", group: "g" }
      ]
    )
  })

  it("takes an action that names no deployment for a mistake of that type alone", () => {
    const actions = { Good: "F/d", Bad: "F", Deep: "a/b/c", Empty: "/d", Number: 5 }
    const config = { threads: [{ publisher_type: "StdInput", message_flow_actions: actions }] }
    assert.deepStrictEqual(Object.keys(Object.values(pipelines(config))[0].dispatch[0].deployment), ["Good", "*"])
    assert.deepStrictEqual(
      said(config).map((line) => line.slice(line.indexOf(" ") + 1)),
      [
        'threads.0.message_flow_actions.Bad: expected Flow Name/deployment-name, found "F": messages of this type are buried',
        'threads.0.message_flow_actions.Deep: expected Flow Name/deployment-name, found "a/b/c": messages of this type are buried',
        'threads.0.message_flow_actions.Empty: expected Flow Name/deployment-name, found "/d": messages of this type are buried',
        "threads.0.message_flow_actions.Number: expected Flow Name/deployment-name, found 5: messages of this type are buried"
      ]
    )
  })

  it("says what is wrong, where it stands", () => {
    assert.deepStrictEqual(said('{\n  "threads": []\n}'), [
      'x.json:2:3: threads: expected a list of threads, at least one, found "none"'
    ])
    assert.deepStrictEqual(said('{"threads": [\n{"publisher_type": "AzureStorageQeue"}]}'), [
      'x.json:2:20: threads.0.publisher_type: expected one of AzureStorageQueue, StdInput, Zmq, Kafka, found "AzureStorageQeue" (did you mean AzureStorageQueue?)'
    ])
    assert.deepStrictEqual(said('{"threads": [\n{"publisher_type": "AzureStorageQueue", "queue_name": 5}]}'), [
      "x.json:2:1: threads.0.storage_account: expected the name of a storage account, found nothing"
    ])
    assert.deepStrictEqual(said({ ...example, settings: { prefect_use_msal_auth: "yes" } }).length, 1)
  })

  it("ignores keys that the handler ignores, and says so", () => {
    const config = { ...example, threads: [{ ...example.threads[0], queue_nam: "x" }] }
    assert.match(
      said(config)[0]!,
      /threads\.0\.queue_nam: is no key of the Prefect event handler, and has no effect \(did you mean queue_name\?\)/
    )
  })
})
