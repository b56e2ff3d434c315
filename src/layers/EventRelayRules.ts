/** What an EventRelay server answers, and why: topics, destinations with their locks, keys and limits; time is passed in. */
import { DateTime, Option, Result } from "effect"
import type { NewEvent, Page, RelayEvent } from "../services/EventRelay.ts"
import * as Access from "./EventRelayAccess.ts"
import * as Log from "./EventRelayLog.ts"
import * as Query from "./EventRelayQuery.ts"
import type { Refusal } from "./EventRelayStatus.ts"
import * as JsonSchema from "./JsonSchema.ts"

export interface Options {
  /** Whether calls need a key; they do by default. */
  readonly auth?: boolean
  /** Events in all topics together, 1,000,000 by default; more are not taken. */
  readonly eventsMax?: number
  /** Where ids come from; by default each rules' own count, the same each time. */
  readonly newId?: () => string
}

/** Whether events can be given back: as they should, not at all as in EventRelay 0.2, or to nobody who needs a key there. */
export type Unlock = "works" | "UNIMPLEMENTED" | "PERMISSION_DENIED"

/** What becomes of a publish with an event that is not taken: it is missing from the reply, or there is no reply at all. */
export type Untaken = "missing" | "fails"

export interface NewDestination {
  /** Such as `users` or `users:123`; it is made if there is none. */
  readonly topic: string
  /** Only events that match it. */
  readonly query?: string
  /** Made up by default. */
  readonly id?: string
}

/** Who calls, and when. */
export interface Caller {
  /** The header, such as `Bearer a2V5OnNlY3JldA==`. */
  readonly authorization: string | undefined
  /** Units: milliseconds since 1970. */
  readonly now: number
}

export type Answer<A> = Result.Result<A, Refusal>

/** Source: https://github.com/eventrelay/eventrelay, lib/event_relay_web/grpc and lib/event_relay/policies. */
export type Rules = ReturnType<typeof make>

const refuse = (status: Refusal["status"], words: string): Answer<never> => Result.fail({ status, words })

/** What the server says where its own code breaks. */
const broken = refuse("UNKNOWN", "Internal Server Error")

const topicNameCharsMax = 45
const pullQueuedMax = 100_000
const pullMax = 1000
const batchDefault = 100
const deadLettersMax = 10_000
const schemasKeptMax = 100

export const make = ({ auth = true, eventsMax = 1_000_000, newId = countedIds() }: Options = {}) => {
  const topics = new Map<string, Log.Topic>()
  const destinations = new Map<string, Log.Destination>()
  const access = Access.make(newId)
  const deadLetters: Array<RelayEvent> = []
  const schemaOf = schemas()
  let events = 0
  let unlocking: Unlock = "works"
  let untaken: Untaken = "missing"

  const createTopic = (name: string): Answer<string> => {
    const normal = name.replaceAll(/[^A-Za-z0-9]/g, "_").toLowerCase()
    if (normal === "" || normal.length > topicNameCharsMax) {
      return refuse("INVALID_ARGUMENT", `the name of a topic has 1 to ${topicNameCharsMax} letters, found ${name}`)
    }
    if (topics.has(normal)) return refuse("ALREADY_EXISTS", "Topic already exists")
    topics.set(normal, { name: normal, log: [] })
    return Result.succeed(normal)
  }

  const ensureTopic = (name: string): Log.Topic => {
    if (!topics.has(name)) topics.set(name, { name, log: [] })
    return topics.get(name)!
  }

  const topicOfDestination = (id: string): string | undefined => destinations.get(id)?.topic.name

  /** Limits come first, then keys, then what they allow; an unknown destination breaks the server's own code. */
  const granted = (
    method: Access.Method,
    { authorization, now }: Caller,
    asked: { readonly topic: string } | { readonly destinationId: string },
    durable = true
  ): Answer<void> => {
    const counted = access.counted(method, durable, now)
    if (!auth || Result.isFailure(counted)) return counted
    return Result.flatMap(access.known(authorization), (key) => {
      const topic = "topic" in asked ? asked.topic : topicOfDestination(asked.destinationId)
      if (key.type !== "admin" && topic === undefined) return broken
      return access.permitted(key, { method, topic: topic ?? "", topicOfDestination })
    })
  }

  const destinationOf = (id: string): Answer<Log.Destination> => {
    const found = destinations.get(id)
    return found === undefined ? broken : Result.succeed(found)
  }

  /** Stores one or says why not. */
  const store = (name: string, identifier: string, given: NewEvent, now: number): Result.Result<RelayEvent, string> => {
    const topic = topics.get(name)
    if (topic === undefined) return Result.fail(`there is no topic ${name}`)
    if (events >= eventsMax) return Result.fail(`no more than ${eventsMax} events are kept`)
    const [occurredAt, availableAt] = [secondOf(given.occurred_at, now), secondOf(given.available_at, now)]
    if (occurredAt === undefined || availableAt === undefined) return Result.fail("occurred_at, available_at: no time")
    const wrong = unfitness(given, schemaOf)
    if (wrong !== undefined) return Result.fail(wrong)
    const event: RelayEvent = {
      ...toldOf(given),
      id: newId(),
      topic: fullName(name, identifier),
      offset: topic.log.length + 1,
      errors: [],
      occurred_at: isoOf(occurredAt),
      available_at: isoOf(availableAt)
    }
    topic.log.push({ event, identifier, availableAt })
    events++
    return Result.succeed(event)
  }

  const publish = (
    request: { readonly topic: string; readonly durable: boolean; readonly events: ReadonlyArray<NewEvent> },
    caller: Caller
  ): Answer<ReadonlyArray<RelayEvent>> => {
    const [name, identifier] = partsOf(request.topic)
    return Result.flatMap(granted("publish_events", caller, { topic: name }, request.durable), () => {
      if (name === "") return refuse("INVALID_ARGUMENT", "A topic must be provided to publish_events")
      const topic = fullName(name, identifier)
      const taken: Array<RelayEvent> = []
      let failed = 0
      for (const given of request.events) {
        const told = { ...toldOf(given), id: "", topic, offset: 0, errors: [] }
        const stored: Result.Result<RelayEvent, string> = request.durable
          ? store(name, identifier, given, caller.now)
          : Result.succeed(told)
        if (Result.isSuccess(stored)) taken.push(stored.success)
        else {
          failed++
          if (deadLetters.length === deadLettersMax) deadLetters.shift()
          deadLetters.push({ ...told, errors: [stored.failure] })
        }
      }
      return failed > 0 && untaken === "fails" ? broken : Result.succeed(taken.reverse())
    })
  }

  const pull = (
    request: {
      readonly topic: string
      readonly batchSize: number
      readonly offset: number
      readonly query: string
    },
    caller: Caller
  ): Answer<Page> => {
    const [name, identifier] = partsOf(request.topic)
    return Result.flatMap(granted("pull_events", caller, { topic: name }), () => {
      const topic = topics.get(name)
      if (topic === undefined || request.batchSize < 0 || request.offset < 0) return broken
      return Result.match(Query.read(request.query), {
        onFailure: (words) => refuse("INVALID_ARGUMENT", words),
        onSuccess: (matches) => {
          const all = Log.readable(topic, identifier, matches, caller.now)
          const size = pageSize(request.batchSize)
          const next = request.offset + size
          const events = all.slice(request.offset, next).map((event) => ({ ...event, topic: request.topic }))
          return Result.succeed({ events, totalCount: all.length, nextOffset: next > all.length ? 0 : next })
        }
      })
    })
  }

  const pullQueued = (destinationId: string, batchSize: number, caller: Caller): Answer<ReadonlyArray<RelayEvent>> =>
    Result.flatMap(granted("pull_queued_events", caller, { destinationId }), () =>
      Result.flatMap(destinationOf(destinationId), (destination) => {
        if (batchSize < 0) return broken
        const most = batchSize === 0 ? batchDefault : Math.min(batchSize, pullQueuedMax)
        const topic = fullName(destination.topic.name, destination.identifier)
        const taken = Log.take(destination, most, caller.now)
        return Result.succeed(taken.map((event) => (event.topic === topic ? event : { ...event, topic })))
      })
    )

  const unlock = (
    destinationId: string,
    ids: ReadonlyArray<string>,
    caller: Caller
  ): Answer<ReadonlyArray<RelayEvent>> =>
    Result.flatMap(granted("un_lock_queued_events", caller, { destinationId }), () => {
      if (unlocking === "PERMISSION_DENIED") return refuse(unlocking, "Not permitted")
      if (unlocking === "UNIMPLEMENTED") return refuse(unlocking, "Operation is not implemented or supported")
      return Result.map(destinationOf(destinationId), (destination) => Log.giveBack(destination, ids))
    })

  return {
    publish,
    pull,
    pullQueued,
    unlock,

    // What somebody does at the server itself.
    access,
    createTopic,
    /** Fails: with a sentence, where the query cannot be read. */
    createDestination: ({ id = newId(), query = "", topic }: NewDestination): Result.Result<string, string> =>
      Result.map(Query.read(query), (matches) => {
        const [name, identifier] = partsOf(topic)
        const lists = { next: 0, open: new Set<number>(), locked: new Map<string, number>() }
        destinations.set(id, { id, topic: ensureTopic(name), identifier, query, matches, ...lists })
        return id
      }),
    /** As a publish does, without a key; makes the topic if there is none. Fails: with a sentence. */
    put: (topic: string, event: NewEvent, now: number): Result.Result<RelayEvent, string> => {
      const [name, identifier] = partsOf(topic)
      ensureTopic(name)
      return store(name, identifier, event, now)
    },
    setUnlock: (how: Unlock): void => {
      unlocking = how
    },
    setUntaken: (how: Untaken): void => {
      untaken = how
    },
    /** Ids of what is locked for it, in the order of their offsets; undefined where there is no such destination. */
    out: (destinationId: string): ReadonlyArray<string> | undefined => {
      const locked = destinations.get(destinationId)?.locked
      return locked === undefined ? undefined : [...locked].sort(([, a], [, b]) => a - b).map(([id]) => id)
    },
    /** All of a topic, available or not; undefined where there is no such topic. */
    stored: (topic: string): ReadonlyArray<RelayEvent> | undefined => topics.get(topic)?.log.map(({ event }) => event),
    /** What was published and not taken, with its errors. */
    untakenEvents: (): ReadonlyArray<RelayEvent> => [...deadLetters],
    topics,
    destinations
  }
}

/** The name, and what stands behind the first colon. */
const partsOf = (topic: string): readonly [string, string] => {
  const [name = "", identifier = ""] = topic.split(":").filter((part) => part !== "")
  return [name, identifier]
}

const fullName = (name: string, identifier: string): string => (identifier === "" ? name : `${name}:${identifier}`)

/** Version 4 in form, and counted. */
const countedIds = () => {
  let count = 0
  return () => `00000000-0000-4000-8000-${(++count).toString(16).padStart(12, "0")}`
}

/** Units: events. What is asked for as too many gives as few as what is not asked for at all. */
export const pageSize = (batchSize: number): number =>
  batchSize === 0 || batchSize > pullMax ? batchDefault : batchSize

/** Those fields alone, and none of them absent. */
export const toldOf = (given: Partial<NewEvent>): NewEvent => ({
  name: given.name ?? "",
  data: given.data ?? "",
  source: given.source ?? "",
  group_key: given.group_key ?? "",
  reference_key: given.reference_key ?? "",
  trace_key: given.trace_key ?? "",
  user_key: given.user_key ?? "",
  anonymous_key: given.anonymous_key ?? "",
  occurred_at: given.occurred_at ?? "",
  context: given.context ?? {},
  data_schema: given.data_schema ?? "",
  prev_id: given.prev_id ?? "",
  available_at: given.available_at ?? ""
})

/** Times are kept to the second; empty means now, undefined that it is none. */
const secondOf = (text: string, now: number): number | undefined => {
  const millis = text === "" ? now : Option.getOrUndefined(DateTime.make(text))?.epochMilliseconds
  return millis === undefined ? undefined : Math.floor(millis / 1000) * 1000
}

const isoOf = (millis: number): string => DateTime.formatIso(DateTime.makeUnsafe(millis)).replace(".000Z", "Z")

type SchemaOf = (text: string) => Result.Result<JsonSchema.Check, string>

const schemas = (): SchemaOf => {
  const kept = new Map<string, Result.Result<JsonSchema.Check, string>>()
  return (text) => {
    const known = kept.get(text)
    if (known !== undefined) return known
    const made = Result.flatMap(json(text), (schema) => JsonSchema.compile(schema, JsonSchema.defaults))
    if (kept.size >= schemasKeptMax) kept.clear()
    kept.set(text, made)
    return made
  }
}

const json = (text: string): Result.Result<unknown, string> =>
  Result.try({ try: () => JSON.parse(text) as unknown, catch: () => "is invalid JSON" })

/** Why the server does not take it. */
const unfitness = (given: NewEvent, schemaOf: SchemaOf): string | undefined => {
  if (given.name === "" || given.source === "") return `${given.name === "" ? "name" : "source"} can't be blank`
  const data = json(given.data)
  if (Result.isFailure(data)) return `data ${data.failure}`
  if (typeof data.success !== "object" || data.success === null || Array.isArray(data.success)) return "data is invalid"
  if (given.prev_id !== "" && !/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(given.prev_id)) {
    return "prev_id is invalid"
  }
  if (given.data_schema === "") return undefined
  const check = schemaOf(given.data_schema)
  if (Result.isFailure(check)) return `data_schema ${check.failure}`
  const violations = check.success(data.success)
  return violations.length === 0
    ? undefined
    : `data does not validate against the schema because of errors: ${violations.map(({ message }) => message).join(", ")}`
}
