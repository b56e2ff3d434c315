/** Makes an event for EventRelay of a message that goes out: its texts filled, its times read, its data an object. */
import { DateTime, Option, Result } from "effect"
import * as Chain from "../services/Chain.ts"
import type { Problem } from "../services/Component.ts"
import type { NewEvent } from "../services/EventRelay.ts"
import type { Outgoing } from "../services/Publisher.ts"
import type * as Path from "./Path.ts"
import * as Placeholders from "./Placeholders.ts"
import * as Utf8Text from "./Utf8Text.ts"

/** Texts, each with placeholders such as `{{payload.user.id}}`; one that is absent stays empty, unless it says otherwise. */
export interface Texts {
  /** `users` or `users:123`. */
  readonly topic: string
  /** The event's own name; that of the business event by default. */
  readonly eventName?: string | undefined
  readonly source: string
  /** The message's key by default. */
  readonly groupKey?: string | undefined
  readonly referenceKey?: string | undefined
  readonly traceKey?: string | undefined
  readonly userKey?: string | undefined
  readonly anonymousKey?: string | undefined
  readonly prevId?: string | undefined
  /** ISO 8601, or milliseconds since 1970. */
  readonly occurredAt?: string | undefined
  readonly availableAt?: string | undefined
  readonly context?: Readonly<Record<string, string>> | undefined
  /** A JSON Schema: the same for all, without placeholders. */
  readonly dataSchema?: string | Readonly<Record<string, unknown>> | undefined
}

/** With its topic. */
export interface Made {
  readonly one: Outgoing
  readonly topic: string
  readonly event: NewEvent
}

export interface Maker {
  /** The topic where it is one for all. */
  readonly topic: string | undefined
  /** Fails: with a sentence why there can be no event of it. */
  readonly make: (one: Outgoing) => Result.Result<Made, string>
}

/** Fails: with everything that is wrong with the texts. */
export const maker = (texts: Texts): Result.Result<Maker, ReadonlyArray<Problem>> => {
  const problems: Array<Problem> = []
  const compiled = (path: Problem["path"], text: string): Placeholders.Placeholders | undefined => {
    const placeholders = Placeholders.compile(text, ["payload", "envelope", "event", "reply"])
    if (Result.isSuccess(placeholders)) return placeholders.success
    problems.push({ path, expected: placeholders.failure, found: text })
    return undefined
  }
  const named = (name: keyof typeof optional) => {
    const text = texts[name]
    return text === undefined ? undefined : compiled([name], text)
  }
  const topic = compiled(["topic"], texts.topic)
  const name = compiled(["eventName"], texts.eventName ?? "{{event}}")
  const source = compiled(["source"], texts.source)
  const keys = (Object.keys(optional) as ReadonlyArray<keyof typeof optional>).map((key) => [key, named(key)] as const)
  const context = Object.entries(texts.context ?? {}).map(
    ([key, text]) => [key, compiled(["context", key], text)] as const
  )
  const data_schema = schemaOf(texts.dataSchema, problems)
  if (topic?.isPlain === true && !isTopic(topic.text)) {
    problems.push({ path: ["topic"], expected: topicExpected, found: topic.text })
  }
  if (problems.length > 0) return Result.fail(problems)

  const make = (one: Outgoing) =>
    Result.gen(function* () {
      const from = fromOf(one)
      const filled = yield* filledOf("topic", topic!, from)
      if (!isTopic(filled)) return yield* Result.fail(`the topic ${JSON.stringify(filled)} is not ${topicExpected}`)
      const event: Record<string, unknown> = {
        ...empty,
        data_schema,
        name: yield* filledOf("eventName", name!, from),
        source: yield* filledOf("source", source!, from),
        data: yield* dataOf(one.value),
        group_key: one.key ?? "",
        context: {
          ...Object.fromEntries(
            context.flatMap(([key, text]) =>
              Result.match(text!.fill(from), {
                onFailure: () => [],
                onSuccess: (value) => [[key, value] as const]
              })
            )
          ),
          ...Chain.headersOf(one.envelope)
        }
      }
      for (const [key, text] of keys) {
        if (text === undefined) continue
        const value = Result.getOrElse(text.fill(from), () => "")
        event[optional[key]] = key === "occurredAt" || key === "availableAt" ? yield* timeOf(key, value) : value
      }
      return { one, topic: filled, event: event as unknown as NewEvent }
    })
  return Result.succeed({ topic: topic!.isPlain ? topic!.text : undefined, make })
}

/** What may be empty, with the names of event_relay.proto. */
const optional = {
  groupKey: "group_key",
  referenceKey: "reference_key",
  traceKey: "trace_key",
  userKey: "user_key",
  anonymousKey: "anonymous_key",
  prevId: "prev_id",
  occurredAt: "occurred_at",
  availableAt: "available_at"
} as const

const empty = Object.fromEntries(Object.values(optional).map((name) => [name, ""]))

/** Source: ER.Events.Topic of eventrelay/eventrelay: a name of at most 45 characters, and an identifier behind a colon. */
const isTopic = (text: string): boolean => /^[^:]{1,45}(?::.+)?$/s.test(text)
const topicExpected = "a topic such as users or users:123, with a name of 1 to 45 characters"

/** Outside of a pipeline neither the payload nor a reply is at hand. */
const fromOf = ({ detection, envelope, event, key, reply }: Outgoing): Path.From => {
  if (detection !== undefined) return { event: detection.event, detection, reply }
  const found = { envelope, payload: undefined, key }
  return { event: found, detection: { name: event, event: found }, reply }
}

const filledOf = (name: string, text: Placeholders.Placeholders, from: Path.From): Result.Result<string, string> => {
  const filled = text.fill(from)
  if (Result.isFailure(filled)) return Result.fail(`${name} ${text.text} has no text at ${filled.failure}`)
  return filled.success === "" ? Result.fail(`${name} ${text.text} is empty`) : filled
}

/** The server keeps objects only. */
const dataOf = (bytes: Uint8Array): Result.Result<string, string> => {
  const text = Utf8Text.read(bytes)
  if (text === undefined) return Result.fail("what goes out is not UTF-8 text, and an event's data is JSON")
  const data = Utf8Text.withoutMark(text)
  const value = Result.try({
    try: () => JSON.parse(data) as unknown,
    catch: (error) => `what goes out is not JSON, and an event's data is: ${(error as SyntaxError).message}`
  })
  if (Result.isFailure(value)) return Result.fail(value.failure)
  return typeof value.success === "object" && value.success !== null && !Array.isArray(value.success)
    ? Result.succeed(data)
    : Result.fail("what goes out is not a JSON object, and an event's data is")
}

const timeOf = (name: string, text: string): Result.Result<string, string> => {
  if (text === "") return Result.succeed("")
  const time = DateTime.make(/^\d+$/.test(text) ? Number(text) : text)
  return Option.match(time, {
    onNone: () => Result.fail(`${name} ${JSON.stringify(text.slice(0, 100))} is no time in ISO 8601 or milliseconds`),
    onSome: (time) => Result.succeed(DateTime.formatIso(time))
  })
}

const schemaOf = (schema: Texts["dataSchema"], problems: Array<Problem>): string => {
  if (schema === undefined) return ""
  if (typeof schema !== "string") return JSON.stringify(schema)
  const value = Result.try(() => JSON.parse(schema) as unknown)
  if (Result.isSuccess(value) && typeof value.success === "object" && value.success !== null) return schema
  problems.push({ path: ["dataSchema"], expected: "a JSON Schema, as an object or as JSON text", found: schema })
  return ""
}
