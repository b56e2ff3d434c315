/** What Hasura sends to a webhook: event triggers, cron triggers and one-off scheduled events, read by their schemas. */
import { Effect, Exit, Result, Schema, SchemaIssue } from "effect"
import { type Codec, DecodeError } from "../services/Codec.ts"
import * as Component from "../services/Component.ts"
import type { Envelope } from "../services/Envelope.ts"
import * as JsonBody from "./WebhookJson.ts"

/** A row of the table by its columns. */
const Row = Schema.Record(Schema.String, Schema.Unknown)

const nothing = Schema.Null

const eventOf = <Op extends string, Old extends Schema.Constraint, New extends Schema.Constraint>(
  op: Op,
  old: Old,
  current: New
) =>
  Schema.Struct({
    /** The same on every retry. */
    id: Schema.NonEmptyString,
    created_at: Schema.String,
    table: Schema.Struct({ schema: Schema.String, name: Schema.String }),
    trigger: Schema.Struct({ name: Schema.String }),
    event: Schema.Struct({
      op: Schema.Literal(op),
      data: Schema.Struct({ old, new: current }),
      /** Absent or null where the change was made without a session; only Postgres has them. */
      session_variables: Schema.optionalKey(Schema.NullOr(Schema.Record(Schema.String, Schema.String))),
      trace_context: Schema.optionalKey(
        Schema.NullOr(
          Schema.Struct({
            trace_id: Schema.optionalKey(Schema.String),
            span_id: Schema.optionalKey(Schema.String)
          })
        )
      )
    }),
    /** Absent before version 2. `current_retry` starts at 0. */
    delivery_info: Schema.optionalKey(
      Schema.NullOr(Schema.Struct({ max_retries: Schema.Finite, current_retry: Schema.Finite }))
    )
  })

export const Insert = eventOf("INSERT", nothing, Row)
/** MSSQL has no old row where the primary key was changed. */
export const Update = eventOf("UPDATE", Schema.NullOr(Row), Row)
export const Delete = eventOf("DELETE", Row, nothing)
/** Started by hand, from the console. */
export const Manual = eventOf("MANUAL", nothing, Row)

/**
 * A change of a row.
 *
 * Source: https://hasura.io/docs/latest/event-triggers/payload/
 */
export type EventTrigger = typeof Insert.Type | typeof Update.Type | typeof Delete.Type | typeof Manual.Type

/** A cron trigger, which has a `name`, or a one-off scheduled event, which has none. */
export const Scheduled = Schema.Struct({
  id: Schema.NonEmptyString,
  scheduled_time: Schema.String,
  /** Of the cron trigger. */
  name: Schema.optionalKey(Schema.NullOr(Schema.NonEmptyString)),
  payload: Schema.optionalKey(Schema.Unknown),
  comment: Schema.optionalKey(Schema.NullOr(Schema.String)),
  created_at: Schema.optionalKey(Schema.NullOr(Schema.String))
})
export type Scheduled = typeof Scheduled.Type

export type Payload = EventTrigger | Scheduled

export const isScheduled = (payload: Payload): payload is Scheduled => !("event" in payload)

/** Of none of the operations: says what is wrong with the rest, and names them all. */
const Unknown = Schema.Struct({
  event: Schema.Struct({
    op: Schema.Literals(["INSERT", "UPDATE", "DELETE", "MANUAL"]),
    data: Schema.Struct({ old: Schema.NullOr(Row), new: Schema.NullOr(Row) })
  })
})

/**
 * Reads a payload: what comes back is the very value, with keys that nobody knows yet.
 *
 * Fails: `DecodeError` that names each path, what was expected there, and the kind of what came.
 */
export const decode = (value: unknown): Result.Result<Payload, DecodeError> => {
  const { is, problems } = readerOf(value)
  return is(value) ? Result.succeed(value as Payload) : Result.fail(problems(value))
}

interface Reader {
  readonly is: (value: unknown) => boolean
  readonly problems: (value: unknown) => DecodeError
}

const reader = (schema: Schema.Codec<any>): Reader => {
  const decode = Schema.decodeUnknownExit(schema)
  return {
    is: Schema.is(schema),
    problems: (value) => {
      const exit = decode(value, { errors: "all" })
      const reason = Exit.isFailure(exit) ? exit.cause.reasons[0] : undefined
      const issue = reason?._tag === "Fail" ? reason.error.issue : undefined
      return new DecodeError({ reason: issue === undefined ? "not a payload of Hasura" : wordsOf(issue, value) })
    }
  }
}

const format = SchemaIssue.makeFormatterStandardSchemaV1()

/** Units: problems that a reason names. */
const problemsMax = 5

const wordsOf = (issue: SchemaIssue.Issue, value: unknown): string => {
  const { issues } = format(issue)
  const words = issues.slice(0, problemsMax).map(({ message, path = [] }) => {
    const steps = path.map(String)
    const found = steps.reduce((at: unknown, step) => fieldOf(at, step), value)
    const said = found === undefined ? "is missing" : `${message.replace(/^E/, "e")}, not ${kindOf(found)}`
    return `${["payload", ...steps].join(".")}: ${said}`
  })
  if (issues.length > problemsMax) words.push(`and ${issues.length - problemsMax} more`)
  return words.join("; ")
}

const kindOf = (value: unknown): string =>
  value === null
    ? "null"
    : Array.isArray(value)
      ? "an array"
      : value === ""
        ? "empty text"
        : `a value of type ${typeof value}`

const fieldOf = (value: unknown, name: string): unknown =>
  typeof value === "object" && value !== null && Object.hasOwn(value, name)
    ? (value as Readonly<Record<string, unknown>>)[name]
    : undefined

const events = new Map<unknown, Reader>([
  ["INSERT", reader(Insert)],
  ["UPDATE", reader(Update)],
  ["DELETE", reader(Delete)],
  ["MANUAL", reader(Manual)]
])
const unknown = reader(Unknown)
const scheduled = reader(Scheduled)

const readerOf = (value: unknown): Reader => {
  const event = fieldOf(value, "event")
  if (event === undefined && fieldOf(value, "scheduled_time") !== undefined) return scheduled
  return events.get(fieldOf(event, "op")) ?? unknown
}

/** The id of whatever it is, where it has one. */
export const idOf = (value: unknown): string | undefined => {
  const id = fieldOf(value, "id")
  return typeof id === "string" && id !== "" ? id : undefined
}

/** Whether it is as much of an event as the older detectors ask for: an operation and the data of a row. */
export const isLoosely = (value: unknown): boolean => {
  const event = fieldOf(value, "event")
  const data = fieldOf(event, "data")
  return typeof fieldOf(event, "op") === "string" && typeof data === "object" && data !== null
}

/** Reads the payload of an envelope as one of Hasura; the event's payload is the JSON as it came. */
export const codec: Codec = {
  name: "hasura",
  decode: (envelope: Envelope) => {
    const read = Result.flatMap(JsonBody.parse(envelope.payload), (value) =>
      Result.mapError(decode(value), ({ reason }) => reason)
    )
    return Result.isSuccess(read)
      ? { envelope, payload: read.success, key: envelope.key }
      : Effect.fail(new DecodeError({ reason: read.failure }))
  }
}

export const component = Component.codec({
  type: "hasura",
  summary:
    "What Hasura sends: event triggers (INSERT, UPDATE, DELETE, MANUAL), cron triggers and one-off scheduled events.",
  options: Schema.Struct({}),
  make: () => Effect.succeed(codec)
})
