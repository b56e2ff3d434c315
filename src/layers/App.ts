/** A config as a running process: storage, HTTP, pipelines under their supervisor, and replays handed in from outside. */
import { Console, Duration, Effect, FileSystem, Layer, Path, type Scope } from "effect"
import type { AzureQueueClient } from "../services/AzureQueue.ts"
import type { Needs } from "../services/Component.ts"
import { DeadLetters, type Letter, type Replayed } from "../services/DeadLetters.ts"
import type { Dedupe } from "../services/Dedupe.ts"
import type { EventRelayClient } from "../services/EventRelay.ts"
import type { GatewayAccess } from "../services/GatewayAccess.ts"
import { HttpHost, type HttpHostError } from "../services/HttpHost.ts"
import type { Inbox } from "../services/Inbox.ts"
import type { Journal } from "../services/Journal.ts"
import { KafkaClient } from "../services/Kafka.ts"
import type { Positions } from "../services/Positions.ts"
import { Runners } from "../services/Runners.ts"
import type { SchemaLanguages } from "../services/SchemaLanguage.ts"
import type { SchemaRegistry } from "../services/SchemaRegistry.ts"
import type { Topics } from "../services/Topics.ts"
import type { WebhookAuth } from "../services/WebhookAuth.ts"
import type { ZeroMq } from "../services/ZeroMq.ts"
import * as KafkaOptions from "../streams/KafkaOptions.ts"
import * as Pipeline from "../streams/Pipeline.ts"
import type { Plan } from "../streams/Plan.ts"
import * as SourceMemory from "../streams/SourceMemory.ts"
import * as AzureQueueClientSdk from "./AzureQueueClientSdk.ts"
import { UsageError } from "./CliJournal.ts"
import type { Loaded } from "./Config.ts"
import { ConfigError } from "./ConfigFile.ts"
import * as DeadLettersKafka from "./DeadLettersKafka.ts"
import * as DeadLettersRouted from "./DeadLettersRouted.ts"
import * as DeadLettersSqlite from "./DeadLettersSqlite.ts"
import * as DedupeSqlite from "./DedupeSqlite.ts"
import * as EventRelayGrpc from "./EventRelayGrpc.ts"
import * as Explain from "./Explain.ts"
import * as GatewayAccessNode from "./GatewayAccessNode.ts"
import * as HttpHostNode from "./HttpHostNode.ts"
import * as InboxMemory from "./InboxMemory.ts"
import * as InboxSqlite from "./InboxSqlite.ts"
import * as JournalSqlite from "./JournalSqlite.ts"
import * as KafkaClientKafkaJs from "./KafkaClientKafkaJs.ts"
import * as Observability from "./Observability.ts"
import * as PositionsMemory from "./PositionsMemory.ts"
import * as PositionsSqlite from "./PositionsSqlite.ts"
import * as RunnersSqlite from "./RunnersSqlite.ts"
import * as SchemaLanguagesAll from "./SchemaLanguagesAll.ts"
import * as SchemaRegistryMemory from "./SchemaRegistryMemory.ts"
import * as SchemaRegistryPostgres from "./SchemaRegistryPostgres.ts"
import * as SchemaRegistrySqlite from "./SchemaRegistrySqlite.ts"
import * as Sqlite from "./Sqlite.ts"
import * as SqliteLocks from "./SqliteLocks.ts"
import * as SqliteMigrations from "./SqliteMigrations.ts"
import * as Supervisor from "./Supervisor.ts"
import * as TopicsMemory from "./TopicsMemory.ts"
import * as TopicsSqlite from "./TopicsSqlite.ts"
import * as WebhookAuthNode from "./WebhookAuthNode.ts"
import * as Wiring from "./Wiring.ts"
import * as ZeroMqNode from "./ZeroMqNode.ts"

/** Where the store lies when the config does not say: under the working directory. */
export const storageDefault = ".sluice/sluice.db"

/** Starts everything a config asks for; it stops with the scope. */
export const start = Effect.fnUntraced(function* (loaded: Loaded) {
  for (const one of loaded.warnings) yield* Effect.logWarning(new ConfigError({ findings: [one] }).message)
  const plans = yield* Wiring.plans(loaded)
  const runners = yield* Runners
  const { drain, restarts } = loaded.config
  const supervisor = yield* Supervisor.start(plans, {
    drainMillis: Duration.toMillis(drain),
    restartsMax: restarts?.max ?? 5,
    windowMillis: Duration.toMillis(restarts?.within ?? Duration.minutes(1))
  })
  yield* Observability.routes(supervisor)
  yield* Explain.route(loaded.config.http?.explain)
  yield* echo(loaded)
  yield* runners.register(plans.map(({ name }) => name))
  for (const one of supervisor.pipelines) yield* runners.serve(one.name, (ids) => replayIn(one, ids))
  const { address } = yield* HttpHost
  if (address !== undefined) yield* Effect.logInfo(`listening on http://${address.host}:${address.port}`)
  if (loaded.config.hint !== undefined) yield* Console.error(loaded.config.hint)
  return supervisor
})

const echo = Effect.fnUntraced(function* ({ config }: Loaded) {
  const path = config.http?.echo
  if (path === undefined) return
  const host = yield* HttpHost
  yield* host.route({
    method: "POST",
    path,
    handle: ({ body, headers }) => ({
      status: 200,
      headers: { "content-type": headers["content-type"] ?? "application/octet-stream" },
      body
    })
  })
})

/** Runs letters in this process: for the command line, when no process runs their pipeline. */
export const replayHere = Effect.fnUntraced(function* (
  plan: Plan,
  letters: ReadonlyArray<Letter>
): Effect.fn.Return<ReadonlyArray<Replayed>, never, DeadLetters> {
  const nothing = yield* SourceMemory.make()
  return yield* Effect.scoped(
    Effect.flatMap(Pipeline.start({ ...plan, source: nothing }), (handle) => handle.replay(letters))
  )
})

/** The letters of a request, through the lanes of the running pipeline. */
const replayIn = Effect.fnUntraced(function* ({ handle, name }: Supervisor.Supervised, ids: ReadonlyArray<string>) {
  const deadLetters = yield* DeadLetters
  if (handle === undefined) return ids.map((id) => givenBack(id, `${name} is not running just now`))
  const letters = yield* Effect.result(deadLetters.list({ pipeline: name, ids }))
  if (letters._tag === "Failure") return ids.map((id) => givenBack(id, letters.failure.message))
  return yield* handle.replay(letters.success)
})

const givenBack = (id: string, reason: string): Replayed => ({ id, outcome: "nacked", reason })

const storeAt = (filename: string) => SqliteMigrations.layer.pipe(Layer.provideMerge(Sqlite.layer({ filename })))

/** The store of a config, and the clients of what it may connect to. */
export const storage = (loaded: Loaded) =>
  Layer.unwrap(
    Effect.map(Path.Path, (path) => {
      const { storage } = loaded.config
      const filename = path.resolve(storage?.sqlite ?? storageDefault)
      const sqlite = storeAt(filename)
      const locks = SqliteLocks.layer({ filename })
      const retention = storage?.retention
      return Layer.mergeAll(
        deadLetters(loaded),
        DedupeSqlite.layer(),
        GatewayAccessNode.layer,
        InboxSqlite.layer,
        JournalSqlite.layer(),
        PositionsSqlite.layer,
        RunnersSqlite.layer,
        storage?.postgres === undefined ? SchemaRegistrySqlite.layer : SchemaRegistryPostgres.layer(storage.postgres),
        SchemaLanguagesAll.layer(),
        WebhookAuthNode.layer,
        ZeroMqNode.layer,
        TopicsSqlite.layer(
          retention && { retentionMillis: Duration.toMillis(retention.age), retentionBytes: retention.bytes }
        )
      ).pipe(
        Layer.provide(locks),
        Layer.provide(sqlite),
        Layer.provideMerge(Layer.mergeAll(KafkaClientKafkaJs.layer, AzureQueueClientSdk.layer, EventRelayGrpc.layer))
      )
    })
  )

/** The journal in the store of the working directory, for who names no config. Fails: `UsageError` when there is none. */
export const journalHere = Layer.unwrap(
  Effect.gen(function* () {
    const filename = (yield* Path.Path).resolve(storageDefault)
    const fs = yield* FileSystem.FileSystem
    if (!(yield* Effect.orElseSucceed(fs.exists(filename), () => false))) {
      return yield* new UsageError({ reason: `there is no ${storageDefault} here: name the config, then the id` })
    }
    return JournalSqlite.layer().pipe(Layer.provide(storeAt(filename)))
  })
)

/** Each pipeline's dead letters where its config wants them, and all others in the store. */
export const deadLetters = (loaded: Loaded) =>
  Layer.effect(
    DeadLetters,
    Effect.gen(function* () {
      const store = yield* DeadLettersSqlite.make()
      const routes = yield* deadLetterRoutes(loaded)
      return routes.size === 0 ? store : DeadLettersRouted.make(store, routes)
    })
  )

/** By pipeline; pipelines with the same topic share it. Fails: `ConfigError`. */
const deadLetterRoutes = Effect.fnUntraced(function* ({ config, file, folder }: Loaded) {
  const topics = new Map<string, DeadLetters["Service"]>()
  const routes = new Map<string, DeadLetters["Service"]>()
  for (const [name, { deadLetters, source }] of Object.entries(config.pipelines)) {
    if (deadLetters?.type !== "kafka") continue
    const connection = yield* KafkaOptions.shared(deadLetters, { source }).pipe(
      Effect.flatMap(({ brokers, connection }) => KafkaOptions.connectionOf(connection, brokers, folder)),
      Effect.mapError(({ problems }) => {
        const at = ["pipelines", name, "deadLetters"]
        return new ConfigError({
          findings: problems.map((one) => file.finding({ ...one, path: [...at, ...one.path] }))
        })
      })
    )
    const { topic } = deadLetters
    const client = yield* KafkaClient
    const place = JSON.stringify([topic, [...connection.brokers].sort()])
    const known = topics.get(place) ?? (yield* DeadLettersKafka.make({ client, connection, topic }))
    topics.set(place, known)
    routes.set(name, known)
  }
  return routes
})

/** The HTTP server of a config, or none. */
export const http = ({ config }: Loaded): Layer.Layer<HttpHost, HttpHostError> =>
  config.http === undefined ? HttpHostNode.layerNone : HttpHostNode.layer(config.http)

/** Stand-ins that open nothing: enough to make every component of a config and see what is wrong with it. */
export const dry = ({
  config
}: Loaded): Layer.Layer<
  | AzureQueueClient
  | EventRelayClient
  | GatewayAccess
  | HttpHost
  | Inbox
  | KafkaClient
  | Positions
  | SchemaLanguages
  | SchemaRegistry
  | Topics
  | WebhookAuth
  | ZeroMq
> =>
  Layer.mergeAll(
    config.http === undefined ? HttpHostNode.layerNone : HttpHostNode.layerCheckAt(config.http.host),
    AzureQueueClientSdk.layer,
    EventRelayGrpc.layer,
    GatewayAccessNode.layer,
    InboxMemory.layer,
    KafkaClientKafkaJs.layer,
    PositionsMemory.layer,
    SchemaLanguagesAll.layer(),
    SchemaRegistryMemory.layer,
    TopicsMemory.layer,
    WebhookAuthNode.layer,
    ZeroMqNode.layer
  )

export type Services = DeadLetters | Dedupe | Journal | Runners | SchemaRegistry | Exclude<Needs, Scope.Scope>
