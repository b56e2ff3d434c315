/** Recognises a config of the Prefect event handler by its shape and says the same in our own words; nothing behind it knows the handler. */
import * as AzureQueueOptions from "../streams/AzureQueueOptions.ts"
import type { ConfigError, ConfigFile } from "./ConfigFile.ts"
import { free, type Part, type Place, pipelineName, type Translated, Translation } from "./Translation.ts"

type Environment = Readonly<Record<string, string | undefined>>

/** Undefined for a config that is not the handler's. `text` is the file as it is. */
export const translate = (
  file: ConfigFile,
  text: string,
  environment: Environment
): Translated | ConfigError | undefined => {
  if (!isHandlers(file.value)) return undefined
  const translation = new Translation(file, text, "the Prefect event handler")
  const root = translation.part(file.value, [], ["threads", "settings", "storage", "drain"])!
  const entra = usesEntra(translation, root)
  const pipelines: Array<readonly [string, unknown]> = []
  for (const [i, value] of threadsOf(translation, root).entries()) {
    const thread = translation.part(value, [...root.at("threads"), i])
    if (thread === undefined) continue
    const kind = kindOf(translation, thread)
    if (kind === undefined) continue
    const source = kind.source(translation, thread, environment)
    const own = pipelineName(source.name) || `thread ${i + 1}`
    const name = free(own, new Set(pipelines.map(([name]) => name)))
    if (name !== own) translation.warn(thread.path, `reads what ${own} reads: each message goes to one of them`)
    const at = ["pipelines", name]
    translation.place(at, thread.path)
    for (const [ours, theirs] of source.places) translation.place([...at, "source", ours], thread.at(theirs))
    pipelines.push([name, pipelineOf(translation, thread, at, source.options, entra)])
  }
  return translation.end({
    ...translation.passed(root, ["storage", "drain"], []),
    pipelines: Object.fromEntries(pipelines)
  })
}

const isHandlers = (value: unknown): boolean =>
  typeof value === "object" && value !== null && Object.hasOwn(value, "threads") && !Object.hasOwn(value, "pipelines")

const threadsOf = (translation: Translation, root: Part): ReadonlyArray<unknown> => {
  const { threads } = root.value
  if (Array.isArray(threads) && threads.length > 0) return threads
  const found = Array.isArray(threads) ? "none" : threads
  translation.problem(root.at("threads"), "a list of threads, at least one", found)
  return []
}

/** The handler's first generation has no settings, and its second wants them. */
const usesEntra = (translation: Translation, root: Part): boolean => {
  const settings = translation.optional(root, "settings", ["prefect_use_msal_auth"])
  const asked = settings?.value.prefect_use_msal_auth ?? false
  if (typeof asked !== "boolean") translation.problem(settings!.at("prefect_use_msal_auth"), "true or false", asked)
  return asked === true
}

// ---------------------------------------------------------------------------------------------------- sources

interface Source {
  /** What the handler calls it in its log. */
  readonly name: string
  readonly options: Readonly<Record<string, unknown>>
  /** Our options and their keys. */
  readonly places: ReadonlyArray<readonly [ours: string, theirs: string]>
}

interface Kind {
  readonly keys: ReadonlyArray<string>
  readonly source: (translation: Translation, thread: Part, environment: Environment) => Source
}

/** Options of our own that a queue may have besides. */
const azureExtras = ["visibility", "maxDequeueCount", "encoding"]

const azure: Kind = {
  keys: ["storage_account", "queue_name", ...azureExtras],
  source: (translation, thread, environment) => {
    const account = translation.requiredText(thread, "storage_account", "the name of a storage account")
    const queue = translation.requiredText(thread, "queue_name", "the name of a queue")
    const connectionString = environment.AZURE_STORAGE_CONNECTION_STRING || undefined
    const named = connectionString && AzureQueueOptions.accountOf(connectionString)
    const isMeant = named !== undefined && named === account
    if (connectionString !== undefined && !isMeant) {
      const why = named === undefined ? "cannot be read" : `is that of ${named}`
      translation.warn(thread.at("storage_account"), `AZURE_STORAGE_CONNECTION_STRING ${why}, and is not used here`)
    }
    return {
      name: `${account}/${queue}`,
      options: {
        type: "azure-queue",
        account,
        queue,
        ...(isMeant ? { connectionString } : undefined),
        ...Object.fromEntries(azureExtras.flatMap((key) => (key in thread.value ? [[key, thread.value[key]]] : [])))
      },
      places: [
        ["account", "storage_account"],
        ["queue", "queue_name"],
        ...azureExtras.map((key) => [key, key] as const)
      ]
    }
  }
}

const stdin: Kind = {
  keys: [],
  source: () => ({ name: "Stdin", options: { type: "stdin" }, places: [["type", "publisher_type"]] })
}

const zmq: Kind = {
  keys: ["tcp_uri", "topic"],
  source: (translation, thread) => {
    const connect = translation.requiredText(thread, "tcp_uri", "an address such as tcp://127.0.0.1:5555")
    const topic = translation.text(thread, "topic") ?? ""
    return {
      name: `ZMQ ${connect}`,
      options: { type: "zeromq", socket: "sub", connect, topics: [topic] },
      places: [
        ["connect", "tcp_uri"],
        ["topics", "topic"]
      ]
    }
  }
}

/** On the handler's roadmap, without a shape of its own: written like the others. */
const kafka: Kind = {
  keys: ["bootstrap_servers", "topic", "group_id", "from", "sasl", "tls"],
  source: (translation, thread) => {
    const { bootstrap_servers: brokers, from, group_id: group, sasl, tls } = thread.value
    if (brokers === undefined) {
      translation.problem(thread.at("bootstrap_servers"), "broker addresses such as localhost:9092", undefined)
    }
    const topic = translation.requiredText(thread, "topic", "the name of a topic")
    const options = { type: "kafka", brokers, topic, group, from, sasl, tls }
    return {
      name: `Kafka ${topic}`,
      options: Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)),
      places: [
        ["brokers", "bootstrap_servers"],
        ["topic", "topic"],
        ["group", "group_id"],
        ["from", "from"],
        ["sasl", "sasl"],
        ["tls", "tls"]
      ]
    }
  }
}

const kinds: ReadonlyMap<string, Kind> = new Map([
  ["AzureStorageQueue", azure],
  ["StdInput", stdin],
  ["Zmq", zmq],
  ["Kafka", kafka]
])

/** Options of ours that a thread may have besides. */
const extras = ["concurrency", "retry", "deadLetters"]

const kindOf = (translation: Translation, thread: Part): Kind | undefined => {
  const names = [...kinds.keys()]
  const written = thread.value.publisher_type
  const kind = typeof written === "string" ? kinds.get(written) : undefined
  if (kind === undefined) {
    return translation.problem(thread.at("publisher_type"), `one of ${names.join(", ")}`, written, names)
  }
  translation.part(thread.value, thread.path, ["publisher_type", "message_flow_actions", ...kind.keys, ...extras])
  return kind
}

// ---------------------------------------------------------------------------------------------------- pipeline

const pipelineOf = (translation: Translation, thread: Part, at: Place, source: object, entra: boolean): unknown => ({
  source,
  decode: { type: "json", schema: messageSchema },
  detect: { type: "field", path: "payload.message_type", otherwise: "message" },
  dispatch: [
    {
      type: "prefect",
      deployment: { ...actionsOf(translation, thread), "*": "{{payload.flow_name}}/{{payload.deployment_name}}" },
      parameters: "payload.payload",
      ...(entra ? { entra } : undefined)
    }
  ],
  journal: true,
  ...translation.passed(thread, extras, at)
})

/** A message names its type, in the first generation, or flow and deployment, in the second. */
const messageSchema = {
  type: "object",
  anyOf: [
    { required: ["message_type"], properties: { message_type: { type: "string", minLength: 1 } } },
    {
      required: ["flow_name", "deployment_name"],
      properties: { flow_name: { type: "string" }, deployment_name: { type: "string" } }
    }
  ]
}

/** The handler looks at an entry only when a message asks for it, so a wrong one must not keep the others from running. */
const actionsOf = (translation: Translation, thread: Part): Readonly<Record<string, string>> => {
  const actions = translation.optional(thread, "message_flow_actions")
  if (actions === undefined) return {}
  return Object.fromEntries(
    Object.keys(actions.value).flatMap((type): ReadonlyArray<readonly [string, string]> => {
      const written = actions.value[type]
      const parts = typeof written === "string" ? written.split("/") : []
      if (parts.length === 2 && parts.every((part) => part.trim() !== "")) return [[type, written as string]]
      const found = JSON.stringify(written)
      translation.warn(
        actions.at(type),
        `expected Flow Name/deployment-name, found ${found}: messages of this type are buried`
      )
      return []
    })
  )
}
