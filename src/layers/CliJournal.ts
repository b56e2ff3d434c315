/** What the command line shows of the journal. */
import { Clock, Console, DateTime, Duration, Effect, Option, Result, Schema } from "effect"
import { Flag } from "effect/cli"
import * as Fields from "../services/Fields.ts"
import { type Entry, Journal, type Step } from "../services/Journal.ts"
import { oneLine } from "../streams/OneLine.ts"
import { keepsJournal, type Loaded } from "./Config.ts"

/** A flag has a value that cannot be. */
export class UsageError extends Schema.TaggedError<UsageError>()("UsageError", { reason: Schema.String }) {
  override get message(): string {
    return this.reason
  }
}

const outcomes = ["acked", "buried", "refused", "nacked"] as const

const text = (name: string, description: string) =>
  Flag.String(name).pipe(Flag.withDescription(description), Flag.optional)

export const flags = {
  pipeline: text("pipeline", "Only this pipeline"),
  id: text("id", "Only the message with this id"),
  event: text("event", "Only messages in which this event was detected and acted on"),
  outcome: text("outcome", `Only those that ended so: ${outcomes.join(", ")}`),
  since: text("since", "Only what was settled since: a duration such as 1h, or an ISO time"),
  limit: Flag.String("limit").pipe(Flag.withDescription("The newest so many"), Flag.withDefault("100"))
}

/** The names of flags that have a value. */
export const valued: ReadonlyArray<string> = Object.keys(flags).map((name) => `--${name}`)

export interface Asked {
  readonly pipeline: Option.Option<string>
  readonly id: Option.Option<string>
  readonly event: Option.Option<string>
  readonly outcome: Option.Option<string>
  readonly since: Option.Option<string>
  readonly limit: string
}

export const list = Effect.fnUntraced(function* ({ config }: Loaded, asked: Asked, json: boolean) {
  const own = Object.keys(config.pipelines)
  const named = yield* optional(asked.pipeline, (name) => oneOf("pipeline", own, name))
  const query = {
    id: Option.getOrUndefined(asked.id),
    event: Option.getOrUndefined(asked.event),
    outcome: yield* optional(asked.outcome, (name) => oneOf("outcome", outcomes, name)),
    since: yield* optional(asked.since, sinceOf),
    limit: yield* limitOf(asked.limit)
  }
  if (!Object.values(config.pipelines).some(keepsJournal)) {
    yield* Console.error("no pipeline of this config keeps a journal: set journal: true in those that should")
  }
  const journal = yield* Journal
  // Only the pipelines of this config: a store may hold those of others too.
  const found = yield* Effect.forEach(named === undefined ? own : [named], (pipeline) =>
    journal.find({ ...query, pipeline })
  )
  const entries = found
    .flat()
    .sort((a, b) => a.at - b.at)
    .slice(-query.limit)
  if (json) return yield* Console.log(JSON.stringify(entries, (_, value) => (value === undefined ? null : value)))
  if (entries.length === 0) return yield* Console.log("nothing found in the journal")
  for (const entry of entries) yield* Console.log(oneLine(lineOf(entry)))
})

// ---------------------------------------------------------------------------------------------------- what is asked

const optional = <A>(
  value: Option.Option<string>,
  read: (value: string) => Effect.Effect<A, UsageError>
): Effect.Effect<A | undefined, UsageError> => (Option.isNone(value) ? Effect.succeed(undefined) : read(value.value))

const wrong = (flag: string, expected: string, found: string): Effect.Effect<never, UsageError> =>
  Effect.fail(new UsageError({ reason: oneLine(`--${flag}: expected ${expected}, found ${JSON.stringify(found)}`) }))

const oneOf = <const A extends string>(
  flag: string,
  known: ReadonlyArray<A>,
  found: string
): Effect.Effect<A, UsageError> => {
  const one = known.find((name) => name === found)
  return one === undefined ? wrong(flag, `one of ${known.join(", ")}`, found) : Effect.succeed(one)
}

/** Such as 2026-11-21, 2026-11-21T17:00 (local time) or 2026-11-21T17:00:00+01:00. */
const isoTime = /^\d{4}-\d\d-\d\d(?<time>[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(?<zone>Z|[+-]\d\d:?\d\d)?)?$/

/** Units of what comes back: milliseconds since 1970. */
const sinceOf = (found: string): Effect.Effect<number, UsageError> => {
  const iso = isoTime.exec(found)?.groups
  if (iso !== undefined) {
    const time = iso.time === undefined ? `${found}T00:00` : found
    // Without a zone they are local, as they are printed.
    const here = { timeZone: DateTime.zoneMakeLocal(), adjustForTimeZone: true }
    const read: Option.Option<DateTime.DateTime> =
      iso.zone === undefined ? DateTime.makeZoned(time, here) : DateTime.make(time)
    if (Option.isSome(read)) return Effect.succeed(DateTime.toEpochMillis(read.value))
  }
  const duration = Schema.decodeResult(Fields.Duration)(found)
  return Result.isSuccess(duration)
    ? Effect.map(Clock.currentTimeMillis, (now) => now - Duration.toMillis(duration.success))
    : wrong("since", "a duration such as 1h, or a time such as 2026-11-21T17:00", found)
}

const limitMax = 100_000

const limitOf = (found: string): Effect.Effect<number, UsageError> => {
  const limit = /^\d{1,6}$/.test(found) ? Number(found) : 0
  return limit >= 1 && limit <= limitMax
    ? Effect.succeed(limit)
    : wrong("limit", `a number from 1 to ${limitMax}`, found)
}

// ---------------------------------------------------------------------------------------------------- what is shown

const lineOf = ({ at, id, outcome, pipeline, reason, steps }: Entry): string => {
  // A step says it already.
  const why = reason === undefined || steps.some(({ note }) => note === reason) ? "" : `: ${reason}`
  return [localIso(at), pipeline, id, `${outcome}${why}`, steps.map(stepText).join("; ")]
    .filter((part) => part !== "")
    .join("  ")
}

const stepText = ({ attempts, event, leg, note, outcome }: Step): string => {
  const tries = attempts > 1 ? ` after ${attempts} tries` : ""
  return `${event} > ${leg} ${outcome}${tries}${note === undefined ? "" : `: ${note}`}`
}

const localIso = (millis: number): string =>
  DateTime.formatIsoOffset(DateTime.setZone(DateTime.makeUnsafe(millis), DateTime.zoneMakeLocal()))
