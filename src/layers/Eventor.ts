/** Recognises a config of eventor by its shape and says the same in our own words; nothing behind it knows eventor. */
import { type ConfigError, type ConfigFile, nearest } from "./ConfigFile.ts"
import * as EventorKafka from "./EventorKafka.ts"
import { free, type Part, type Place, pipelineName, type Translated, Translation } from "./Translation.ts"

/** Undefined for a config that is not eventor's. `text` is the file as it is. */
export const translate = (file: ConfigFile, text: string): Translated | ConfigError | undefined => {
  const entries = file.value
  if (!Array.isArray(entries) || !entries.some(isEntry)) return undefined
  const translation = new Translation(file, text, "eventor")
  const pipelines: Array<readonly [string, unknown]> = []
  for (const [i, value] of entries.entries()) {
    const entry = translation.part(value, [i], entryKeys)
    if (entry === undefined) continue
    const name = nameOf(translation, entry, i, new Set(pipelines.map(([name]) => name)))
    pipelines.push([name, pipelineOf(translation, entry, ["pipelines", name])])
  }
  return translation.end({ pipelines: Object.fromEntries(pipelines) })
}

const parts = ["eventListener", "eventHandler", "eventResultProcessor"]
const entryKeys = ["name", "logLevel", "loglevel", ...parts, "concurrency", "deadLetters"]

/** Also one whose only part is misspelt: no other config is a list. */
const isEntry = (value: unknown): boolean =>
  typeof value === "object" &&
  value !== null &&
  Object.keys(value).some((key) => parts.some((part) => part.toLowerCase() === key.toLowerCase()))

// ---------------------------------------------------------------------------------------------------- an entry

const nameOf = (translation: Translation, entry: Part, i: number, taken: ReadonlySet<string>): string => {
  const written = translation.text(entry, "name")
  if (written === undefined || written === "") return free(`eventor.${i + 1}`, taken)
  const possible = pipelineName(written)
  const name = free(possible === "" ? `eventor.${i + 1}` : possible, taken)
  if (name !== written) translation.warn(entry.at("name"), `this pipeline is called ${JSON.stringify(name)}`)
  return name
}

const pipelineOf = (translation: Translation, entry: Part, at: Place): unknown => {
  translation.place(at, entry.path)
  const listener = translation.required(
    entry,
    "eventListener",
    "a map with type, topic and consumerConfig",
    listenerKeys
  )
  const handler = translation.required(entry, "eventHandler", "a map with type, method, url and headers", handlerKeys)
  const processor = translation.optional(entry, "eventResultProcessor", processorKeys)
  return {
    log: { level: levelOf(translation, entry), lines: "eventor" },
    source: listener && sourceOf(translation, listener, [...at, "source"]),
    decode: { type: readsPayload(listener) || readsPayload(processor) ? "json" : "bytes" },
    unkeyed: "partition",
    ...translation.passed(listener, ["key"], at),
    ...translation.passed(entry, ["concurrency", "deadLetters"], at),
    dispatch: [handler && dispatchOf(translation, handler, [...at, "dispatch", 0])],
    ...translation.passed(handler, ["retry"], at),
    publish: processor === undefined ? [] : publishOf(translation, processor, [...at, "publish"])
  }
}

const levels = ["debug", "info", "warn", "error"]

/** The document says `logLevel`, the code reads `loglevel`. */
const levelOf = (translation: Translation, entry: Part): string => {
  const key = ["loglevel", "logLevel"].find((key) => translation.text(entry, key) !== undefined)
  if (key === undefined) return "debug"
  const written = translation.text(entry, key)!
  const level = /^[0-3]$/.test(written) ? levels[Number(written)] : undefined
  if (level !== undefined) return level
  return translation.problem(entry.at(key), "0 (debug), 1 (info), 2 (warn) or 3 (error)", written) ?? "debug"
}

// ---------------------------------------------------------------------------------------------------- Kafka

const listenerKeys = ["type", "topic", "consumerConfig", "key"]

/** A key within the payload needs it read; otherwise nothing can be wrong with a message. */
const readsPayload = (part: Part | undefined): boolean => /^payload(?:\.|$)/.test(String(part?.value.key))

const sourceOf = (translation: Translation, listener: Part, at: Place): unknown => {
  translation.place(at, listener.path)
  typeOf(translation, listener, "kafka", at)
  translation.place([...at, "topic"], listener.at("topic"))
  return {
    type: "kafka",
    // A name that begins with ^ is an expression for librdkafka, as it is for us.
    topic: translation.requiredText(listener, "topic", "the name of a topic"),
    ...kafkaOf(translation, listener, "consumer", at)
  }
}

const topicOf = (translation: Translation, part: Part, at: Place): string | undefined => {
  translation.place([...at, "topic"], part.at("topic"))
  const expected = "the name of a topic"
  const topic = translation.requiredText(part, "topic", expected)
  if (topic?.startsWith("^") !== true) return topic
  return translation.problem(part.at("topic"), `${expected}: expressions are not supported`, topic)
}

const typeOf = (translation: Translation, part: Part, type: string, at: Place): void => {
  translation.place([...at, "type"], part.at("type"))
  const written = translation.text(part, "type")
  if (written !== undefined && written !== "" && written !== type) {
    translation.problem(part.at("type"), `${type}, the only type there is`, written)
  }
}

const kafkaOf = (translation: Translation, part: Part, role: "consumer" | "producer", at: Place): object => {
  const key = `${role}Config`
  const needed = role === "consumer" ? ["bootstrap.servers", "group.id"] : ["bootstrap.servers"]
  const config = translation.required(part, key, `a map with ${needed.join(" and ")}`)
  if (config === undefined) return {}
  const properties = Object.keys(config.value).flatMap((name) => {
    const value = translation.text(config, name)
    return value === undefined ? [] : [{ name, value, path: config.at(name) }]
  })
  const { options, places, problems, remarks } = EventorKafka.read(role, properties, config.path)
  for (const { option, path } of places) translation.place([...at, ...option], path)
  for (const { message, path } of remarks) translation.warn(path, message)
  translation.problems.push(...problems)
  const wrong = problems.map(({ path }) => path.at(-1))
  for (const [name, option, expected] of [
    ["bootstrap.servers", "brokers", "broker addresses such as localhost:9092"],
    ["group.id", "group", "the name of a group"]
  ] as const) {
    if (!needed.includes(name) || options[option] !== undefined) continue
    if (!wrong.includes(name) && !wrong.includes("metadata.broker.list")) {
      translation.problem(config.at(name), expected, undefined)
    }
  }
  return options
}

const processorKeys = ["type", "topic", "when", "producerConfig", "key"]
const kinds = new Map([
  ["onSuccess", "accepted"],
  ["onError", "refused"]
])

const publishOf = (translation: Translation, processor: Part, at: Place): ReadonlyArray<unknown> => {
  const when = whenOf(translation, processor)
  const first = [...at, 0]
  translation.place(first, processor.path)
  typeOf(translation, processor, "kafka", first)
  const topic = topicOf(translation, processor, first)
  const kafka = kafkaOf(translation, processor, "producer", first)
  const key = { headers: [], key: "none", ...translation.passed(processor, ["key"], first) }
  return when.length === 0 ? [] : [{ type: "kafka", topic, ...kafka, ...key, when }]
}

/** Other words are ignored, as eventor does it: a list of nothing else never publishes. */
const whenOf = (translation: Translation, processor: Part): ReadonlyArray<string> => {
  const written = processor.value.when ?? []
  const path = processor.at("when")
  if (!Array.isArray(written)) {
    translation.problem(path, "a list of onSuccess and onError", written)
    return []
  }
  if (written.length === 0) return ["accepted", "refused"]
  for (const [i, word] of written.entries()) {
    if (kinds.has(String(word))) continue
    const near = nearest(String(word), [...kinds.keys()])
    const meant = near === undefined ? "" : ` (did you mean ${near}?)`
    translation.warn(
      [...path, i],
      `${JSON.stringify(word)} is neither onSuccess nor onError, and has no effect${meant}`
    )
  }
  return [...kinds].flatMap(([word, kind]) => (written.includes(word) ? [kind] : []))
}

// ---------------------------------------------------------------------------------------------------- HTTP

const handlerKeys = ["type", "method", "url", "headers", "retry", "timeout", "oauth2"]
const methods = ["POST", "PUT", "PATCH", "DELETE", "GET", "HEAD"]
/** Our dispatcher sends no body with these unless it is told to; eventor always does. */
const bodiless = ["DELETE", "GET", "HEAD"]
/** Units: bytes. Eventor has no limit at all. */
const responseMax = 8 * 1024 * 1024

const dispatchOf = (translation: Translation, handler: Part, at: Place): unknown => {
  translation.place(at, handler.path)
  typeOf(translation, handler, "http", at)
  translation.place([...at, "url"], handler.at("url"))
  translation.place([...at, "method"], handler.at("method"))
  const method = translation.text(handler, "method") || "GET"
  if (!methods.includes(method)) {
    translation.problem(handler.at("method"), `one of ${methods.join(", ")}`, method, methods)
  }
  return {
    type: "http",
    method,
    url: translation.requiredText(handler, "url", "a URL such as http://localhost:9000/path"),
    headers: headersOf(translation, handler, [...at, "headers"]),
    ...(bodiless.includes(method) ? { body: "envelope.payload" } : undefined),
    timeout: "5 minutes",
    redirects: 10,
    responseMax,
    retryOn: ["5xx"],
    acceptRedirects: true,
    spent: "refuse",
    ...translation.passed(handler, ["timeout", "oauth2"], at)
  }
}

/** Headers of the connection: Go sets them by itself, and so do we. */
const ofTheConnection = words("connection content-length expect host keep-alive te trailer transfer-encoding upgrade")

/** Exactly `Content-Type` counts: in any other case it is overwritten by eventor's default. */
const headersOf = (translation: Translation, handler: Part, at: Place): Readonly<Record<string, string>> => {
  const headers: Array<readonly [string, string]> = [["Content-Type", "application/text"]]
  const written = translation.optional(handler, "headers")
  if (written === undefined) return Object.fromEntries(headers)
  translation.place(at, written.path, true)
  for (const name of Object.keys(written.value)) {
    const value = translation.text(written, name) ?? ""
    const lower = name.toLowerCase()
    if (lower === "content-type" && name !== "Content-Type") {
      translation.warn(written.at(name), "has no effect: only Content-Type counts, written like this")
    } else if (ofTheConnection.has(lower)) {
      translation.warn(written.at(name), "has no effect: it is set for each request")
    } else headers.push([name, name === "Content-Type" && value === "" ? "application/text" : value])
  }
  return Object.fromEntries(headers)
}

function words(text: string): ReadonlySet<string> {
  return new Set(text.split(" "))
}
