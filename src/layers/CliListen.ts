/** What the command line shows of an event's topic while it comes, beside whoever runs. */
import { Buffer } from "node:buffer"
import { Console, Effect, Layer, Option, Schema, Stdio, Stream } from "effect"
import { Argument, Flag } from "effect/cli"
import type { KafkaError } from "../services/Kafka.ts"
import type { Subject } from "../services/SchemaRegistry.ts"
import type { TopicError } from "../services/Topics.ts"
import * as KafkaOptions from "../streams/KafkaOptions.ts"
import * as KafkaTail from "../streams/KafkaTail.ts"
import { oneLine } from "../streams/OneLine.ts"
import * as TopicTail from "../streams/TopicTail.ts"
import * as App from "./App.ts"
import * as CliGateway from "./CliGateway.ts"
import { UsageError } from "./CliJournal.ts"
import type { Loaded } from "./Config.ts"
import { ConfigError } from "./ConfigFile.ts"
import * as KafkaClientKafkaJs from "./KafkaClientKafkaJs.ts"
import * as ListenPlace from "./ListenPlace.ts"
import * as Utf8 from "./Utf8.ts"

export const flags = {
  subject: Argument.String("client.event").pipe(Argument.withDescription("Whose event, and which: its topic's name")),
  from: Flag.Literals("from", ["earliest", "latest"]).pipe(
    Flag.withDescription("Begin with what the topic holds, or with what comes next"),
    Flag.withDefault("latest" as const)
  ),
  count: Flag.Int("count").pipe(Flag.withDescription("End after so many"), Flag.optional)
}

/** The names of flags that have a value. */
export const valued: ReadonlyArray<string> = ["--from", "--count"]

export interface Asked {
  readonly subject: string
  readonly from: "earliest" | "latest"
  readonly count: Option.Option<number>
}

type Lines = Stream.Stream<Uint8Array, KafkaError | TopicError>

/** One event per line, until so many have come, nobody reads them any more, or the process is stopped. */
export const listen = Effect.fnUntraced(function* (loaded: Loaded, { count, from, subject }: Asked) {
  const max = Option.getOrUndefined(count)
  if (max !== undefined && max < 1) {
    return yield* new UsageError({ reason: `--count: expected a number from 1 on, found ${max}` })
  }
  const place = yield* placeOf(loaded, yield* CliGateway.subjectOf(subject))
  if (place.isShared) {
    yield* Console.error(oneLine(`the topic ${place.topic} may hold other events too: they are shown as well`))
  }
  const { stdout } = yield* Stdio.Stdio
  const lines: Lines = place.type === "topic" ? yield* embedded(loaded, place, from) : yield* kafka(loaded, place, from)
  yield* Console.error(oneLine(`listening to ${place.type} ${place.topic}, from ${from}`))
  yield* lines.pipe(
    Stream.take(max ?? Number.POSITIVE_INFINITY),
    Stream.mapArray((lines) => [Buffer.concat(lines)]),
    Stream.run(stdout({ endOnDone: false })),
    // Such as `| head`, which has seen enough.
    Effect.catchIf(isClosed, () => Effect.void)
  )
})

const isClosed = (error: unknown): boolean => {
  const { cause } = (error as { readonly reason?: { readonly cause?: unknown } }).reason ?? {}
  return ["EPIPE", "ECONNRESET", "ERR_STREAM_DESTROYED"].includes((cause as { code?: string } | undefined)?.code ?? "")
}

const placeOf = (loaded: Loaded, subject: Subject): Effect.Effect<ListenPlace.Place, UsageError> => {
  const found = ListenPlace.find(loaded.config.pipelines, subject)
  if (found !== undefined) return Effect.succeed(found)
  const topics = ListenPlace.topics(loaded.config.pipelines)
  const reason = `no pipeline of ${loaded.file.file} publishes ${CliGateway.nameOf(subject)} to a topic`
  const has = topics.length === 0 ? "none publishes to any" : `there are ${topics.join(", ")}`
  return Effect.fail(new UsageError({ reason: oneLine(`${reason}: ${has}`) }))
}

// ---------------------------------------------------------------------------------------------------- topics

const embedded = Effect.fnUntraced(function* (loaded: Loaded, { topic }: ListenPlace.Place, from: Asked["from"]) {
  // Made for as long as the command runs; the locks of groups are not touched.
  const store = yield* Layer.build(App.storage(loaded))
  return TopicTail.tail(topic, from).pipe(
    Stream.provideContext(store),
    Stream.flattenIterable,
    Stream.map(({ value }) => lineOf(value))
  )
})

const kafka = Effect.fnUntraced(function* (
  { file, folder }: Loaded,
  { options, path, pipeline, topic }: ListenPlace.Place,
  from: Asked["from"]
) {
  const connection = yield* KafkaOptions.shared(options, pipeline).pipe(
    Effect.flatMap(({ brokers, connection }) => KafkaOptions.connectionOf(connection, brokers, folder)),
    Effect.mapError(
      ({ problems }) =>
        new ConfigError({ findings: problems.map((one) => file.finding({ ...one, path: [...path, ...one.path] })) })
    )
  )
  const onAway = (reason: string) => Console.error(oneLine(`trying again until it comes back: ${reason}`))
  const client = yield* Layer.build(KafkaClientKafkaJs.layer)
  return KafkaTail.tail({ connection, topic, from, onAway }).pipe(
    Stream.scoped,
    Stream.provideContext(client),
    Stream.flattenIterable,
    Stream.map(({ value }) => lineOf(value))
  )
})

// ---------------------------------------------------------------------------------------------------- lines

const decodeJson = Schema.decodeUnknownResult(Schema.fromJsonString(Schema.Unknown))

/** JSON as it was published, on one line; anything else as a JSON value that holds it. */
const lineOf = (value: Uint8Array | null): Uint8Array => {
  if (value === null) return Buffer.from("null\n")
  const text = Utf8.decode(value)
  if (text === undefined) return Buffer.from(`${JSON.stringify({ base64: Buffer.from(value).toString("base64") })}\n`)
  if (decodeJson(text)._tag === "Failure") return Buffer.from(`${JSON.stringify(text)}\n`)
  // Between the parts of JSON a line break is only space; inside of texts there is none.
  return Buffer.from(`${text.replaceAll(/[\r\n]+/g, " ").trim()}\n`)
}
