/** What the command line sends to a gateway: events and schemas. */
import { Console, Duration, Effect, Option, Redacted, Result, Schema, Stream } from "effect"
import { Argument, Flag } from "effect/cli"
import * as Fields from "../services/Fields.ts"
import { Compatibility, SchemaType, type Subject } from "../services/SchemaRegistry.ts"
import * as Gateway from "../streams/Gateway.ts"
import type { Line } from "../streams/Lines.ts"
import { oneLine } from "../streams/OneLine.ts"
import { UsageError } from "./CliJournal.ts"
import * as CliSendInput from "./CliSendInput.ts"
import { Environment } from "./Environment.ts"
import * as GatewayClient from "./GatewayClient.ts"
import * as Utf8 from "./Utf8.ts"

const gateway = {
  subject: Argument.String("client/event").pipe(Argument.withDescription("Whose event, and which")),
  url: Flag.String("url").pipe(Flag.withDescription("Where the gateway is"), Flag.withDefault("http://127.0.0.1:8080")),
  key: Flag.Redacted("key").pipe(
    Flag.withDescription("The access key; better in the environment, as SLUICE_KEY"),
    Flag.optional
  ),
  patience: Flag.String("patience").pipe(
    Flag.withDescription("How long to try again while the gateway is busy or comes back"),
    Flag.withDefault("1 minute")
  )
}

export const sendFlags = {
  ...gateway,
  file: Argument.String("file").pipe(Argument.withDescription("A file with JSON; - is standard input")),
  lines: Flag.Boolean("lines").pipe(
    Flag.withDescription("Each line is an event; so by default in .ndjson and .jsonl, and when - brings several"),
    Flag.withDefault(false)
  ),
  concurrency: Flag.Int("concurrency").pipe(
    Flag.withDescription("Events on their way at the same time; 1 keeps the order of the lines"),
    Flag.withDefault(8)
  )
}

export const registerFlags = {
  ...gateway,
  file: Argument.String("schema").pipe(Argument.withDescription("A file with the schema; - is standard input")),
  type: Flag.Literals("type", SchemaType.literals).pipe(
    Flag.withDescription("Its language; avro by default in .avsc, protobuf in .proto, otherwise json"),
    Flag.optional
  ),
  compatibility: Flag.Literals("compatibility", Compatibility.literals).pipe(
    Flag.withDescription("What each version must be to the one before; absent keeps what was said before"),
    Flag.optional
  )
}

/** The names of flags that have a value. */
export const valued: ReadonlyArray<string> = ["url", "key", "patience", "concurrency", "type", "compatibility"].map(
  (name) => `--${name}`
)

interface Place {
  readonly subject: string
  readonly url: string
  readonly key: Option.Option<Redacted.Redacted>
  readonly patience: string
  readonly file: string
}

// ---------------------------------------------------------------------------------------------------- send

/** Returns whether all was sent. */
export const send = Effect.fnUntraced(function* (
  asked: Place & { readonly lines: boolean; readonly concurrency: number },
  json: boolean
) {
  const { concurrency, file } = asked
  if (concurrency < 1 || concurrency > 256) {
    return yield* new UsageError({ reason: `--concurrency: expected a number from 1 to 256, found ${concurrency}` })
  }
  const subject = yield* gatewaySubjectOf(asked.subject)
  const client = yield* clientOf(asked, concurrency)
  const input = yield* CliSendInput.open(file, asked.lines, nameOf(subject))
  const total: Total = { sent: 0, refused: 0, mayBeTaken: false }
  const one = (line: Line): Effect.Effect<{ readonly line: Line; readonly outcome: Outcome }> => {
    const text = textOf(line)
    return Effect.map(
      Result.isFailure(text)
        ? Effect.succeed<Outcome>({ _tag: "Refused", code: undefined, reason: text.failure })
        : client.send(subject, text.success, input.keyOf(line)),
      (outcome) => ({ line, outcome })
    )
  }
  const stopped = yield* input.events.pipe(
    Stream.mapEffect(one, { concurrency }),
    Stream.tap(({ line, outcome }) => tell(json, input.isLines ? line.number : undefined, outcome, total)),
    Stream.takeUntil(({ outcome }) => outcome._tag === "Stopped"),
    Stream.runFold(
      () => false,
      (_, { outcome }) => outcome._tag === "Stopped"
    ),
    Effect.onInterrupt(() =>
      Console.error(`stopped in the middle: sent ${total.sent}, refused ${total.refused} so far`)
    )
  )
  if (stopped && !json && input.isLines && (total.sent > 0 || total.mayBeTaken)) {
    const again = file === "-" ? "" : ": send the file again"
    yield* Console.error(`from that line on, the gateway may have some and not others${again}`)
  }
  if (!json) yield* Console.log(`sent ${total.sent} to ${nameOf(subject)}, refused ${total.refused}`)
  return !stopped && total.refused === 0
}, Effect.scoped)

type Outcome = GatewayClient.Outcome<GatewayClient.Sent>

interface Total {
  sent: number
  refused: number
  /** Whether the gateway may have one that it did not confirm. */
  mayBeTaken: boolean
}

const tell = (json: boolean, line: number | undefined, outcome: Outcome, total: Total): Effect.Effect<void> => {
  const place = line === undefined ? undefined : { line }
  const at = line === undefined ? "" : `line ${line}: `
  switch (outcome._tag) {
    case "Done":
      total.sent++
      return json ? Console.log(JSON.stringify({ ...place, outcome: "sent", ...outcome.answer })) : Effect.void
    case "Refused": {
      total.refused++
      const { code, reason } = outcome
      return json
        ? Console.log(JSON.stringify({ ...place, outcome: "refused", code: code ?? null, reason }))
        : Console.error(oneLine(`${at}refused: ${reason}`))
    }
    case "Stopped": {
      const { mayBeTaken, reason } = outcome
      total.mayBeTaken = mayBeTaken
      return json
        ? Console.log(JSON.stringify({ ...place, outcome: "stopped", reason }))
        : Console.error(oneLine(`${at}stopped: ${reason}`))
    }
  }
}

/** The event as the gateway is to read it. Fails: with why it is none. */
const textOf = ({ bytes, cut }: Line): Result.Result<string, string> => {
  if (cut) return Result.fail(`longer than ${CliSendInput.eventMax} bytes`)
  const text = Utf8.decode(bytes)
  if (text === undefined) return Result.fail("it is not UTF-8 text")
  if (text.trim() === "") return Result.fail("it is not JSON, but empty")
  return Result.mapError(parsed(text), (reason) => `it is not JSON: ${reason}`).pipe(Result.map(() => text))
}

const parsed = (text: string): Result.Result<unknown, string> =>
  Result.try({ try: () => JSON.parse(text) as unknown, catch: (thrown) => (thrown as Error).message })

// ---------------------------------------------------------------------------------------------------- register

/** Returns whether it is registered. */
export const register = Effect.fnUntraced(function* (
  asked: Place & {
    readonly type: Option.Option<SchemaType>
    readonly compatibility: Option.Option<Compatibility>
  },
  json: boolean
) {
  const subject = yield* gatewaySubjectOf(asked.subject)
  const client = yield* clientOf(asked, 1)
  const type = Option.getOrElse(asked.type, () => typeOf(asked.file))
  const bytes = yield* CliSendInput.whole(asked.file)
  const schema = Utf8.decode(bytes)
  if (schema === undefined) return yield* new UsageError({ reason: `${asked.file}: it is not UTF-8 text` })
  const read = type === "protobuf" ? Result.succeed(undefined) : parsed(schema)
  const outcome: GatewayClient.Outcome<GatewayClient.Registered> = Result.isFailure(read)
    ? { _tag: "Refused", code: undefined, reason: `it is not JSON: ${read.failure}` }
    : yield* client.register(subject, { type, schema, compatibility: Option.getOrUndefined(asked.compatibility) })
  if (outcome._tag !== "Done") {
    const { reason } = outcome
    const word = outcome._tag.toLowerCase()
    const code = outcome._tag === "Refused" ? { code: outcome.code ?? null } : undefined
    yield* json
      ? Console.log(JSON.stringify({ outcome: word, ...code, reason }))
      : Console.error(oneLine(`${word}: ${reason}`))
    return false
  }
  const { isNew, version } = outcome.answer
  const named = `${nameOf(subject)} version ${version}`
  yield* Console.log(
    json
      ? JSON.stringify({ outcome: isNew ? "registered" : "unchanged", version })
      : isNew
        ? `registered ${named}`
        : `${named} is registered already`
  )
  return true
}, Effect.scoped)

const typeOf = (file: string): SchemaType =>
  /\.avsc$/i.test(file) ? "avro" : /\.proto$/i.test(file) ? "protobuf" : "json"

// ---------------------------------------------------------------------------------------------------- what is asked

/** `<client>/<event>`, or with a dot as topics have it. */
export const subjectOf = (text: string): Effect.Effect<Subject, UsageError> => {
  const [, client, event] = /^([^./\s]+)[./]([^/\s]+)$/.exec(text) ?? []
  return client === undefined || event === undefined
    ? Effect.fail(
        new UsageError({
          reason: oneLine(`expected a client and an event, such as SpongeBob/Fruits, found ${JSON.stringify(text)}`)
        })
      )
    : Effect.succeed({ client, event })
}

/** Names that a gateway has. */
const gatewaySubjectOf = Effect.fnUntraced(function* (text: string) {
  const subject = yield* subjectOf(text)
  const problem = Gateway.nameProblem(subject)
  if (problem === undefined) return subject
  return yield* new UsageError({ reason: oneLine(`${problem}, found ${JSON.stringify(text)}`) })
})

/** The name of the event's topic. */
export const nameOf = ({ client, event }: Subject): string => `${client}.${event}`

const clientOf = Effect.fnUntraced(function* ({ key, patience, url }: Place, connections: number) {
  const { SLUICE_KEY } = yield* Environment
  const time = Schema.decodeResult(Fields.Duration)(patience)
  if (Result.isFailure(time)) {
    const reason = oneLine(`--patience: expected a duration such as 1 minute, found ${JSON.stringify(patience)}`)
    return yield* new UsageError({ reason })
  }
  const known = SLUICE_KEY === undefined || SLUICE_KEY === "" ? undefined : Redacted.make(SLUICE_KEY)
  const options = { url, key: Option.getOrElse(key, () => known), connections }
  return yield* GatewayClient.make({ ...options, patienceMillis: Duration.toMillis(time.success) }).pipe(
    Effect.mapError(({ problems: [problem] }) => {
      const flag = problem?.path[0] === "url" ? "--url" : "--key"
      const found = flag === "--url" ? `, found ${JSON.stringify(url)}` : ""
      return new UsageError({ reason: oneLine(`${flag}: expected ${problem?.expected}${found}`) })
    })
  )
})
