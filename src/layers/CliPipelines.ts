/** What the command line asks of a running process: how its pipelines are, and that one goes faster, slower or not at all. */
import { Console, Duration, Effect, Exit, Option, Redacted, Result, Schema } from "effect"
import { Argument, Flag } from "effect/cli"
import * as Fields from "../services/Fields.ts"
import { oneLine } from "../streams/OneLine.ts"
import * as Rate from "../streams/Rate.ts"
import * as Admin from "./Admin.ts"
import { UsageError } from "./CliJournal.ts"
import type { Loaded } from "./Config.ts"
import * as HttpEndpoint from "./HttpEndpoint.ts"

/** The running process did not do it, or is not there. */
export class AdminError extends Schema.TaggedError<AdminError>()("AdminError", { reason: Schema.String }) {
  override get message(): string {
    return this.reason
  }
}

const url = Flag.String("url").pipe(
  Flag.withDescription("Where the process listens; absent: as its config says"),
  Flag.optional
)
const is = (name: string, description: string) =>
  Flag.Boolean(name).pipe(Flag.withDescription(description), Flag.withDefault(false))

export const listFlags = { url }

export const tuneFlags = {
  config: Argument.String("config").pipe(Argument.withDescription("The config file of the running process")),
  pipeline: Argument.String("pipeline").pipe(Argument.withDescription("Its name in the config")),
  rate: Flag.String("rate").pipe(
    Flag.withDescription("Let in so many per interval, such as 10/1s; 10 is per second; none lifts the limit"),
    Flag.optional
  ),
  concurrency: Flag.Int("concurrency").pipe(Flag.withDescription("Legs at work at the same time"), Flag.optional),
  pause: is("pause", "Let nothing in any more; what is held is worked"),
  resume: is("resume", "Go on"),
  url
}

/** The names of flags that have a value. */
export const valued: ReadonlyArray<string> = ["--url", "--rate", "--concurrency"]

/** Units: milliseconds; bytes of an answer. */
const answerMillis = 10_000
const answerMax = 16 * 1024 * 1024

const Shown = Schema.Struct({
  name: Schema.String,
  state: Schema.String,
  rate: Schema.NullOr(Schema.Struct({ messages: Schema.Finite, per: Schema.String })),
  concurrency: Schema.Finite,
  acked: Schema.Finite,
  buried: Schema.Finite,
  held: Schema.Finite,
  working: Schema.Finite,
  waiting: Schema.Boolean,
  away: Schema.Array(Schema.String)
})
type Shown = typeof Shown.Type

/** Prints how each pipeline is. */
export const list = Effect.fnUntraced(function* (loaded: Loaded, place: Option.Option<string>, json: boolean) {
  const { text, value } = yield* asked(loaded, place, Schema.Struct({ pipelines: Schema.Array(Shown) }), {
    method: "GET",
    path: ""
  })
  if (json) return yield* Console.log(text)
  for (const one of value.pipelines) yield* Console.log(oneLine(lineOf(one)))
}, Effect.scoped)

/** Changes one pipeline and prints how it is then. */
export const tune = Effect.fnUntraced(function* (
  loaded: Loaded,
  wanted: {
    readonly pipeline: string
    readonly rate: Option.Option<string>
    readonly concurrency: Option.Option<number>
    readonly pause: boolean
    readonly resume: boolean
    readonly url: Option.Option<string>
  },
  json: boolean
) {
  const { pause, pipeline, resume } = wanted
  const known = Object.keys(loaded.config.pipelines)
  if (!known.includes(pipeline)) return yield* wrong(`expected a pipeline: one of ${known.join(", ")}`, pipeline)
  if (pause && resume) return yield* wrong("expected --pause or --resume, not both")
  const rate = Option.isNone(wanted.rate) ? undefined : yield* rateOf(wanted.rate.value)
  const concurrency = Option.getOrUndefined(wanted.concurrency)
  if (concurrency !== undefined && Result.isFailure(Schema.decodeResult(Admin.Concurrency)(concurrency))) {
    return yield* wrong("--concurrency: expected a whole number from 1 to 100000", concurrency)
  }
  if (rate === undefined && concurrency === undefined && !pause && !resume) {
    return yield* wrong("expected what to change: --rate, --concurrency, --pause or --resume")
  }
  const { text, value } = yield* asked(loaded, wanted.url, Shown, {
    method: "PATCH",
    path: `/${encodeURIComponent(pipeline)}`,
    body: JSON.stringify({ rate, concurrency, paused: pause ? true : resume ? false : undefined })
  })
  yield* Console.log(json ? text : oneLine(lineOf(value)))
}, Effect.scoped)

const lineOf = ({ acked, away, buried, concurrency, held, name, rate, state, waiting, working }: Shown): string =>
  [
    name,
    waiting && state === "running" ? "running, source held back" : state,
    `acked ${acked}, buried ${buried}, held ${held}, working ${working} of ${concurrency}`,
    rate === null ? "no rate" : `rate ${rate.messages} per ${rate.per}`,
    ...(away.length === 0 ? [] : [`away: ${away.join(", ")}`])
  ].join("  ")

// ---------------------------------------------------------------------------------------------------- what is asked

const wrong = (expected: string, found?: string | number): Effect.Effect<never, UsageError> =>
  Effect.fail(
    new UsageError({ reason: oneLine(found === undefined ? expected : `${expected}, found ${JSON.stringify(found)}`) })
  )

/** As the body of a request has it. */
const rateOf = (found: string): Effect.Effect<{ messages: number; per: string } | null, UsageError> => {
  if (found === "none") return Effect.succeed(null)
  const [, messages, per = "1 second"] = /^(\d{1,10})(?:\s*\/\s*(.+))?$/.exec(found.trim()) ?? []
  const duration = Schema.decodeResult(Fields.Wait)(per)
  const limit =
    messages === undefined || Result.isFailure(duration)
      ? undefined
      : Rate.limitOf({ messages: Number(messages), per: duration.success })
  return limit === undefined || limit instanceof Rate.RateError
    ? wrong("--rate: expected a rate such as 10/1s, 500 (per second) or none", found)
    : Effect.succeed({ messages: limit.messages, per: `${limit.perMillis} millis` })
}

const asked = Effect.fnUntraced(function* <A>(
  loaded: Loaded,
  place: Option.Option<string>,
  schema: Schema.Codec<A, any>,
  { body, method, path }: { readonly method: string; readonly path: string; readonly body?: string }
) {
  const { http } = loaded.config
  const base = Option.isSome(place) ? place.value : yield* listening(http)
  const headers: Record<string, string> = body === undefined ? {} : { "content-type": "application/json" }
  if (typeof http?.admin === "object") headers.authorization = `Bearer ${Redacted.value(http.admin.key)}`
  const endpoint = yield* HttpEndpoint.make({
    url: `${base.replace(/\/+$/, "")}${Admin.path}${path}`,
    headers,
    timeout: Duration.millis(answerMillis),
    responseMax: answerMax,
    connections: 1,
    words: wordsOf
  }).pipe(
    Effect.mapError(({ problems: [problem] }) => {
      const reason = oneLine(`--url: expected ${problem?.expected}, found ${JSON.stringify(base)}`)
      return new UsageError({ reason })
    })
  )
  const reply = yield* Effect.mapError(
    endpoint.ask({ method, body }),
    ({ reason }) => new AdminError({ reason: oneLine(`${reason}: is the process running there?`) })
  )
  const text = new TextDecoder().decode(reply.payload as Uint8Array)
  const read = Schema.decodeUnknownExit(Schema.fromJsonString(schema))(text)
  if (reply.kind === "accepted" && Exit.isSuccess(read)) return { text, value: read.value }
  const said = wordsOf(text) ?? "that is no answer of such a process: has its config http: { admin: true }?"
  return yield* new AdminError({ reason: oneLine(`${method} ${base} answered ${reply.status}: ${said}`) })
})

const listening = (http: Loaded["config"]["http"]): Effect.Effect<string, UsageError> => {
  if (http === undefined || http.admin === undefined || http.admin === false) {
    return wrong("the config has no http: { admin: true }, so its process cannot be asked")
  }
  if (http.port === 0) return wrong("the config takes a free port: say with --url where the process listens")
  const host = http.host === "0.0.0.0" ? "127.0.0.1" : http.host === "::" ? "::1" : http.host
  return Effect.succeed(`http://${host.includes(":") && !host.startsWith("[") ? `[${host}]` : host}:${http.port}`)
}

const Problem = Schema.Struct({ detail: Schema.String })

/** The process's own sentence; undefined when somebody else has answered. */
const wordsOf = (text: string): string | undefined => {
  const read = Schema.decodeUnknownExit(Schema.fromJsonString(Problem))(text)
  return Exit.isSuccess(read) ? read.value.detail : undefined
}
