/** The config as a schema: what a file may say, and the decoding of one into typed options. */
import { Duration, Effect, Exit, FileSystem, Path, Redacted, Schema } from "effect"
import * as AzureQueueConnection from "../services/AzureQueueConnection.ts"
import type { Component, Problem } from "../services/Component.ts"
import * as Fields from "../services/Fields.ts"
import * as KafkaConnection from "../services/KafkaConnection.ts"
import { bufferMessages } from "../streams/Define.ts"
import * as DefineBatchers from "../streams/DefineBatchers.ts"
import * as Rate from "../streams/Rate.ts"
import * as Catalog from "./Catalog.ts"
import { ConfigError, type ConfigFile, type Finding, parse, type Unset } from "./ConfigFile.ts"
import { field, problemsOf } from "./ConfigProblems.ts"
import * as DetectorRules from "./DetectorRules.ts"
import * as Eventor from "./Eventor.ts"
import { isLoopback } from "./GatewayAccessNode.ts"
import * as PostgresUrl from "./PostgresUrl.ts"
import * as PrefectHandler from "./PrefectHandler.ts"
import * as Utf8 from "./Utf8.ts"

/** A component's options, with the fields that every component of its place has besides. */
const anyOf = <Common extends Schema.Struct.Fields>(
  components: ReadonlyArray<Component<string, any, unknown>>,
  common: Common
) =>
  Schema.Union(
    components.map(({ options, summary, type }) =>
      Schema.Struct({ type: Schema.Literal(type), ...common, ...options.fields }).annotate({ description: summary })
    )
  ) as unknown as Schema.Codec<
    Schema.Struct.Type<Common> & { readonly type: string; readonly [option: string]: unknown },
    any
  >

const Names = Schema.Union([Fields.Text, Schema.NonEmptyArray(Fields.Text)])
const Kind = Schema.Literals(["accepted", "refused"])
const MessagePolicy = Schema.Literals(["bury", "drop", "halt"])

const DeadLetters = Schema.Union([
  Schema.Struct({ type: Schema.Literal("store") }).annotate({ description: "The embedded store." }),
  Schema.Struct({
    type: Schema.Literal("kafka"),
    topic: Fields.Text,
    /** Absent: those of the pipeline's own Kafka source. */
    brokers: Schema.optionalKey(KafkaConnection.Brokers),
    ...KafkaConnection.fields
  }).annotate({ description: "A Kafka topic; without brokers, in the cluster of the pipeline's own Kafka source." }),
  Schema.Struct({
    type: Schema.Literal("azure-queue"),
    queue: Fields.Text,
    /** Absent: the account of the pipeline's own Azure queue. */
    ...AzureQueueConnection.fields
  }).annotate({ description: "The embedded store, and in an Azure queue a copy of each message as it came." })
])

const Batcher = Schema.Struct({
  size: Fields.orElse(Fields.int(1, DefineBatchers.sizeMax), DefineBatchers.sizeDefault),
  /** How long the oldest message of a batch waits for company. */
  age: Fields.orElse(Fields.Duration, DefineBatchers.ageDefault),
  /** Of the payloads as they came; absent: no bound. */
  bytes: Schema.optionalKey(Fields.Bytes),
  /** A path; a batch holds one value of it. */
  key: Schema.optionalKey(Fields.Text),
  /** Batches at the same time, apart from the pipeline's; absent: 1, and for `batch` the pipeline's own. */
  concurrency: Schema.optionalKey(Fields.int(1, DefineBatchers.concurrencyMax))
})

/** The name of a batcher, or the path of its name with one for messages that name none. */
const BatcherOf = Schema.Union([
  Fields.Text,
  Schema.Struct({ by: Fields.Text, default: Schema.optionalKey(Fields.Text) })
])

const Log = Schema.Struct({
  level: Schema.Literals(["debug", "info", "warn", "error"]),
  /** Lines of each message, at debug level, in the words of eventor. */
  lines: Schema.optionalKey(Schema.Literal("eventor"))
})

const Pipeline = Schema.Struct({
  source: anyOf(Catalog.sources, {}),
  decode: Schema.optionalKey(anyOf(Catalog.codecs, {})),
  key: Schema.optionalKey(Fields.Text),
  order: Fields.orElse(Schema.Literals(["key", "partition", "none"]), "key"),
  /** Kafka to Kafka: positions are committed in one transaction with what is published. */
  exactlyOnce: Fields.orElse(Fields.Boolean, false),
  unkeyed: Fields.orElse(Schema.Literals(["none", "partition"]), "none"),
  concurrency: Fields.orElse(Fields.int(1, 100_000), 64),
  /** At most so many are let in per interval. */
  rate: Schema.optionalKey(Rate.Options),
  buffer: Schema.optionalKey(
    Schema.Struct({
      messages: Fields.orElse(Fields.int(1), bufferMessages),
      bytes: Fields.orElse(Fields.Bytes, 64 * 1024 * 1024)
    })
  ),
  detect: Schema.optionalKey(Schema.Union([Schema.Array(DetectorRules.Rule), anyOf(Catalog.detectors, {})])),
  dispatch: Fields.orElse(
    Schema.Array(
      anyOf(Catalog.dispatchers, {
        on: Schema.optionalKey(Names),
        name: Schema.optionalKey(Fields.Text),
        batcher: Schema.optionalKey(BatcherOf)
      })
    ),
    []
  ),
  publish: Fields.orElse(
    Schema.Array(
      anyOf(Catalog.publishers, {
        when: Schema.optionalKey(Schema.Union([Kind, Schema.NonEmptyArray(Kind)])),
        key: Schema.optionalKey(Fields.Text),
        value: Schema.optionalKey(Fields.Text),
        name: Schema.optionalKey(Fields.Text)
      })
    ),
    []
  ),
  retry: Schema.optionalKey(
    Schema.Struct({
      attempts: Fields.orElse(Fields.int(1), 8),
      backoff: Fields.orElse(Fields.Duration, Duration.millis(200)),
      max: Fields.orElse(Fields.Duration, Duration.minutes(1))
    })
  ),
  failures: Schema.optionalKey(
    Schema.Struct({ decode: Schema.optionalKey(MessagePolicy), key: Schema.optionalKey(MessagePolicy) })
  ),
  deadLetters: Schema.optionalKey(DeadLetters),
  batch: Schema.optionalKey(Batcher),
  batchers: Schema.optionalKey(Schema.Record(Schema.String, Batcher)),
  dedupe: Schema.optionalKey(
    Schema.Union([
      Fields.Boolean,
      Schema.Struct({ id: Schema.optionalKey(Fields.Text), lease: Fields.orElse(Fields.Duration, Duration.minutes(5)) })
    ])
  ),
  /** Keep in the store for a while what became of each message. */
  /** How many pipelines a message may have come through, where each follows from the one before; 32 by default. */
  depthMax: Schema.optionalKey(Fields.int(1, 1_000_000)),
  /** Absent: only of a pipeline with event modules. */
  journal: Schema.optionalKey(Fields.Boolean),
  log: Schema.optionalKey(Log)
})
export type Pipeline = typeof Pipeline.Type

const Http = Schema.Struct({
  host: Fields.orElse(Fields.Text, "127.0.0.1"),
  port: Fields.orElse(Fields.int(0, 65_535), 8080),
  bodyMax: Fields.orElse(Fields.Bytes, 1024 * 1024),
  /** Whether to serve `/api/v1/explain/<id>`; absent: only where no other machine can reach the server. */
  explain: Schema.optionalKey(Fields.Boolean),
  /** Whether to serve `/api/v1/pipelines`, which shows and tunes them: to this machine alone, or to who has the key. */
  admin: Schema.optionalKey(Schema.Union([Fields.Boolean, Schema.Struct({ key: Fields.Secret })])),
  /** A path that answers each POST with what it was sent, for trying things out. */
  echo: Schema.optionalKey(Fields.Text)
})

export const Config = Schema.Struct({
  http: Schema.optionalKey(Http),
  storage: Schema.optionalKey(
    Schema.Struct({
      sqlite: Schema.optionalKey(Fields.Text),
      postgres: Schema.optionalKey(Schema.Struct({ url: Fields.Secret })),
      retention: Schema.optionalKey(
        Schema.Struct({
          age: Fields.orElse(Fields.Duration, Duration.days(7)),
          bytes: Fields.orElse(Fields.Bytes, 1024 * 1024 * 1024)
        })
      )
    })
  ),
  /** How long a stop may take until the rest is given back. */
  drain: Fields.orElse(Fields.Duration, Duration.seconds(30)),
  /** A pipeline that fails more often than this ends the process. */
  restarts: Schema.optionalKey(
    Schema.Struct({ max: Fields.orElse(Fields.int(0), 5), within: Fields.orElse(Fields.Duration, Duration.minutes(1)) })
  ),
  /** Printed once all pipelines have started: what to try next. */
  hint: Schema.optionalKey(Schema.String),
  pipelines: Schema.Record(Schema.String, Pipeline)
}).annotate({ title: "Sluice config" })
export type Config = typeof Config.Type

/** The schema as editors read it. */
export const jsonSchema = () => {
  const { definitions, schema } = Schema.toJsonSchemaDocument(Config, { onExcessProperty: "error" })
  return { $schema: "https://json-schema.org/draft/2020-12/schema", ...schema, $defs: definitions }
}

/** Whether what became of each message is noted. */
export const keepsJournal = ({ detect, journal }: Pipeline): boolean =>
  journal ?? (detect !== undefined && "type" in detect && detect.type === "modules")

/** A config with the file it came from, for what is found wrong later on. */
export interface Loaded {
  readonly config: Config
  readonly file: ConfigFile
  readonly folder: string
  /** What works, but not as it is written. */
  readonly warnings: ReadonlyArray<Finding>
}

/** Reads, expands, decodes and checks a config file. Fails: `ConfigError`, with all that is wrong. */
export const load = Effect.fnUntraced(function* (
  file: string,
  environment: Readonly<Record<string, string | undefined>>,
  whenUnset?: Unset
): Effect.fn.Return<Loaded, ConfigError, FileSystem.FileSystem | Path.Path> {
  const fs = yield* FileSystem.FileSystem
  const paths = yield* Path.Path
  const bytes = yield* Effect.mapError(fs.readFile(file), (error) => unreadable(file, error.reason._tag))
  const text = Utf8.decode(bytes)
  if (text === undefined) return yield* unreadable(file, "it is not UTF-8 text")
  const parsed = parse(file, text, environment, whenUnset)
  if (parsed instanceof ConfigError) return yield* parsed
  const translated = Eventor.translate(parsed, text) ?? PrefectHandler.translate(parsed, text, environment)
  const known = translated ?? { ...parsed, warnings: [] }
  if (known instanceof ConfigError) return yield* known
  const decoded = decode(known)
  if (decoded instanceof ConfigError) return yield* decoded
  return { config: decoded, file: known, folder: paths.dirname(paths.resolve(file)), warnings: known.warnings }
})

const unreadable = (file: string, reason: string): ConfigError =>
  new ConfigError({
    findings: [
      {
        file,
        line: 1,
        column: 1,
        path: "",
        message: reason === "NotFound" ? "there is no such file" : `cannot be read: ${reason}`
      }
    ]
  })

const decodeExit = Schema.decodeUnknownExit(Config)

export const decode = (file: ConfigFile): Config | ConfigError => {
  const types = [...unknownTypes(file.value)]
  if (types.length > 0) return new ConfigError({ findings: types.map(file.finding) })
  const exit = decodeExit(file.value, { errors: "all", onExcessProperty: "error" })
  if (Exit.isSuccess(exit)) {
    const problems = [...rulesBetweenFields(exit.value)]
    return problems.length === 0 ? exit.value : new ConfigError({ findings: problems.map(file.finding) })
  }
  const failure = exit.cause.reasons[0]
  const problems = failure?._tag === "Fail" ? problemsOf(failure.error.issue, [], file.value) : []
  return new ConfigError({ findings: unique(problems.map(file.finding)) })
}

/** Paths that the process answers itself. */
const reserved = ["/livez", "/readyz", "/metrics"]

/** What no single field can know. */
const rulesBetweenFields = function* ({ http, pipelines, storage }: Config): Generator<Problem> {
  if (Object.keys(pipelines).length === 0) {
    yield { path: ["pipelines"], expected: "at least one pipeline", found: {} }
  }
  const readers = Object.entries(pipelines).filter(([, { source }]) => source.type === "stdin")
  for (const [name] of readers.slice(1)) {
    const expected = `one pipeline that reads stdin (${readers[0]![0]} does)`
    yield { path: ["pipelines", name, "source", "type"], expected, found: "stdin again" }
  }
  for (const [name, { deadLetters, dispatch, publish, source }] of Object.entries(pipelines)) {
    if (deadLetters?.type === "kafka" && deadLetters.brokers === undefined && source.type !== "kafka") {
      const path = ["pipelines", name, "deadLetters", "brokers"]
      yield { path, expected: "the brokers, since the pipeline's source is not kafka", found: undefined }
    }
    if (!/^[\p{L}\p{N}_][\p{L}\p{N} ._/-]*$/u.test(name)) {
      yield { path: ["pipelines", name], expected: "a name of letters, digits, spaces and . _ / -", found: name }
    }
    const takes = publish.some(({ when }) => when === undefined || [when].flat().includes("accepted"))
    if (source.type === "gateway" && dispatch.length === 0 && !takes) {
      const expected = "a publisher that takes accepted events: without one they would be confirmed and be nowhere"
      yield { path: ["pipelines", name, "publish"], expected, found: publish.length === 0 ? undefined : "others" }
    }
    if (source.type === "http" && reserved.includes(String(source.path))) {
      yield {
        path: ["pipelines", name, "source", "path"],
        expected: "a path that is not sluice's own",
        found: source.path
      }
    }
  }
  const admin = http?.admin
  if (http !== undefined && admin === true && !isLoopback(http.host)) {
    const expected = `a key, such as { key: "\${ADMIN_KEY}" }, since others can reach ${http.host}`
    yield { path: ["http", "admin"], expected, found: true }
  }
  if (typeof admin === "object" && !/^\S+$/.test(Redacted.value(admin.key))) {
    yield {
      path: ["http", "admin", "key"],
      expected: "text without spaces; what came is not shown",
      found: "other text"
    }
  }
  if (http?.echo !== undefined && reserved.includes(http.echo)) {
    yield { path: ["http", "echo"], expected: "a path that is not sluice's own", found: http.echo }
  }
  if (storage?.postgres !== undefined && PostgresUrl.placeOf(Redacted.value(storage.postgres.url)) === undefined) {
    yield { path: ["storage", "postgres", "url"], expected: PostgresUrl.expected, found: "another text" }
  }
  if (storage?.postgres !== undefined && storage.sqlite === undefined && Object.keys(pipelines).length > 0) {
    const expected = "storage.sqlite besides it: Postgres keeps schemas only, not topics, dead letters or dedupe ids"
    yield { path: ["storage", "postgres"], expected, found: "only postgres" }
  }
}

/** Components whose type the catalog does not know: said first, since nothing else about them can be judged. */
const unknownTypes = function* (value: unknown): Generator<Problem> {
  const pipelines = field(value, "pipelines")
  if (typeof pipelines !== "object" || pipelines === null || Array.isArray(pipelines)) return
  for (const [name, pipeline] of Object.entries(pipelines)) {
    const at = ["pipelines", name]
    yield* unknownType([...at, "source"], field(pipeline, "source"), Catalog.sources)
    yield* unknownType([...at, "decode"], field(pipeline, "decode"), Catalog.codecs)
    yield* unknownType([...at, "deadLetters"], field(pipeline, "deadLetters"), deadLetterTypes)
    const detect = field(pipeline, "detect")
    if (!Array.isArray(detect)) yield* unknownType([...at, "detect"], detect, Catalog.detectors)
    for (const [place, components] of [
      ["dispatch", Catalog.dispatchers],
      ["publish", Catalog.publishers]
    ] as const) {
      const list = field(pipeline, place)
      if (!Array.isArray(list)) continue
      for (const [i, one] of list.entries()) yield* unknownType([...at, place, i], one, components)
    }
  }
}

const deadLetterTypes = [{ type: "store" }, { type: "kafka" }, { type: "azure-queue" }]

const unknownType = function* (
  path: ReadonlyArray<string | number>,
  value: unknown,
  components: ReadonlyArray<{ readonly type: string }>
): Generator<Problem> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return
  const type = field(value, "type")
  const known = components.map(({ type }) => type)
  if (typeof type === "string" && known.includes(type)) return
  yield { path: [...path, "type"], expected: `one of ${known.join(", ")}`, found: type, words: known }
}

const unique = (findings: ReadonlyArray<Finding>): ReadonlyArray<Finding> => [
  ...new Map(findings.map((finding) => [`${finding.path} ${finding.message}`, finding])).values()
]
