/** Publishes each message as an event to a topic of EventRelay. */
import { Effect, Result, Schema, type Scope } from "effect"
import * as Component from "../services/Component.ts"
import { EventRelayClient, type EventRelayError } from "../services/EventRelay.ts"
import * as EventRelayConnection from "../services/EventRelayConnection.ts"
import * as Fields from "../services/Fields.ts"
import { type Outgoing, PublishError, type Publisher } from "../services/Publisher.ts"
import * as EventRelayNew from "../streams/EventRelayNew.ts"
import * as EventRelayOptions from "../streams/EventRelayOptions.ts"
import * as EventRelayStored from "../streams/EventRelayStored.ts"

export interface Options extends EventRelayNew.Texts {
  readonly connection: EventRelayConnection.Connection
  /** Whether the server stores it, besides telling those who listen just now; true by default. */
  readonly durable?: boolean | undefined
}

/** Units: events of one `publish`, in one call or several. */
const batchMax = 100
/** Units: calls of `publish` under way. */
const inFlightMax = 4
/** Units: bytes of data in one call; servers of gRPC take 4 MiB unless told otherwise. */
const callBytesMax = 3 * 1024 * 1024

type Made = EventRelayNew.Made

export const make: (
  options: Options
) => Effect.Effect<Publisher, Component.OptionsError, EventRelayClient | Scope.Scope> = Effect.fnUntraced(function* ({
  connection,
  durable = true,
  ...texts
}: Options) {
  const maker = EventRelayNew.maker(texts)
  if (Result.isFailure(maker)) return yield* new Component.OptionsError({ problems: maker.failure })
  const client = yield* EventRelayClient
  const channel = yield* client.channel(connection)
  const { make, topic: fixed } = maker.success
  /** Something of their call was at fault, or nobody knows: they go by themselves from then on. */
  const suspects = new WeakSet<Outgoing>()

  const ask = (topic: string, events: ReadonlyArray<Made>) =>
    channel.publish({ topic, durable, events: events.map(({ event }) => event) })

  const send = Effect.fnUntraced(function* (calls: Array<ReadonlyArray<Made>>): Effect.fn.Return<void, PublishError> {
    const confirmed: Array<Outgoing> = []
    const partOf = (failed: ReadonlyArray<Made>) => ({ failed: failed.map(({ one }) => one), confirmed })
    for (let call = calls.shift(); call !== undefined; call = calls.shift()) {
      const { topic } = call[0]!
      const asked = yield* Effect.result(ask(topic, call))
      if (Result.isFailure(asked)) {
        const { trouble } = asked.failure
        const isOurs = trouble === "unfit" || trouble === "failed"
        if (call.length > 1 && (isOurs || trouble === "away")) for (const { one } of call) suspects.add(one)
        if (call.length === 1 || !isOurs) return yield* publishError(topic, fixed, asked.failure, partOf(call))
        calls.unshift(...call.map((made) => [made]))
        continue
      }
      const missing = EventRelayStored.missing(call, asked.success)
      if (missing === undefined) {
        for (const { one } of call) suspects.add(one)
        calls.unshift(...call.map((made) => [made]))
        continue
      }
      for (const made of call) if (!missing.events.includes(made)) confirmed.push(made.one)
      if (missing.events.length > 0) return yield* refusal(topic, missing.reason, partOf(missing.events))
    }
  })

  const publisher: Publisher = {
    name: `eventrelay:${texts.topic}`,
    batchMax,
    inFlightMax,
    publish: (batch) => {
      const made: Array<Made> = []
      for (const one of batch) {
        const event = make(one)
        if (Result.isFailure(event)) return Effect.fail(refusal(texts.topic, event.failure, partAlone(one)))
        made.push(event.success)
      }
      return send(callsOf(made, suspects))
    },
    // No event is stored: it only tells whether the server takes them.
    probe:
      fixed === undefined
        ? undefined
        : Effect.mapBoth(ask(fixed, []), {
            onFailure: (error) => publishError(fixed, fixed, error),
            onSuccess: () => undefined
          })
  }
  return publisher
})

/** Texts that may hold placeholders. */
const text = Schema.optionalKey(Fields.Text)

export const component = Component.publisher({
  type: "eventrelay",
  summary: "An event in a topic of EventRelay for each message; it counts as published once the server has it.",
  options: Schema.Struct({
    ...EventRelayConnection.fields,
    /** Absent: the server of the pipeline's own eventrelay source. */
    host: Schema.optionalKey(Fields.Text),
    /** Such as users, users:123 or users:{{payload.user.id}}. */
    topic: Fields.Text,
    /** false only tells those who listen just now, and stores nothing. */
    durable: Fields.orElse(Fields.Boolean, true),
    /** Absent: that of the business event. */
    eventName: text,
    /** Absent: the pipeline's name. */
    source: text,
    /** Absent: the message's key. */
    groupKey: text,
    referenceKey: text,
    traceKey: text,
    userKey: text,
    anonymousKey: text,
    /** The id of the event that this one follows from. */
    prevId: text,
    /** ISO 8601 or milliseconds since 1970; absent: when the server has it. */
    occurredAt: text,
    /** Until then nobody can pull it. */
    availableAt: text,
    /** Besides correlation-id and sluice-depth. */
    context: Schema.optionalKey(Fields.Headers),
    /** A JSON Schema that the server holds the data against: JSON text, or the schema itself. */
    dataSchema: Schema.optionalKey(Schema.Union([Schema.NonEmptyString, Schema.Record(Schema.String, Schema.Any)]))
  }),
  make: ({ host, keepalive, port, source, timeout, tls, token, ...texts }, site) =>
    Effect.gen(function* () {
      const own = { keepalive, port, timeout, ...(tls && { tls }), ...(token && { token }), ...(host && { host }) }
      const reached = yield* EventRelayOptions.shared(own, site)
      const connection = yield* EventRelayOptions.connectionOf(reached, site.folder)
      return yield* make({ ...texts, source: source ?? site.pipeline, connection })
    })
})

/**
 * Calls one after the other, each for one topic. The server stores what is in one call at the same time: those of one
 * key are in different ones, in their order.
 */
const callsOf = (all: ReadonlyArray<Made>, suspects: WeakSet<Outgoing>): Array<ReadonlyArray<Made>> => {
  const calls: Array<{ readonly events: Array<Made>; readonly topic: string; bytes: number }> = []
  /** The call after the last that has one of this key. */
  const next = new Map<string, number>()
  for (const made of all) {
    const { detection, key = detection?.event.key, value } = made.one
    const alone = suspects.has(made.one)
    let at = key === undefined ? 0 : (next.get(key) ?? 0)
    while (
      at < calls.length &&
      (alone || calls[at]!.topic !== made.topic || calls[at]!.bytes + value.length > callBytesMax)
    )
      at++
    if (key !== undefined) next.set(key, at + 1)
    // What is alone leaves no room for others.
    const bytes = alone ? callBytesMax + 1 : value.length
    const call = calls[at]
    if (call === undefined) calls.push({ events: [made], topic: made.topic, bytes })
    else {
      call.events.push(made)
      call.bytes += bytes
    }
  }
  return calls.map(({ events }) => events)
}

type Part = NonNullable<PublishError["part"]>

const partAlone = (one: Outgoing): Part => ({ failed: [one], confirmed: [] })

const refusal = (topic: string, reason: string, part: Part): PublishError =>
  new PublishError({ reason: `EventRelay topic ${topic}: ${reason}`, presence: "answered", retryable: false, part })

/** A key that has no right to the only topic there is waits for the right, like a server that is away. */
const publishError = (
  topic: string,
  fixed: string | undefined,
  { reason, status, trouble }: EventRelayError,
  part?: Part
): PublishError =>
  new PublishError({
    reason: `EventRelay topic ${topic}: ${reason}`,
    presence: presenceOf(trouble, status, fixed !== undefined),
    retryable: trouble !== "unfit" && trouble !== "unsupported",
    ...(part === undefined ? undefined : { part })
  })

const presenceOf = (
  trouble: EventRelayError["trouble"],
  status: string,
  isFixed: boolean
): PublishError["presence"] => {
  if (trouble === "denied") return isFixed || status !== "PERMISSION_DENIED" ? "unreachable" : "answered"
  if (trouble !== "away") return "answered"
  return status === "RESOURCE_EXHAUSTED" ? "busy" : "reset"
}
