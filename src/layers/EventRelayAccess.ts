/** Who may call an EventRelay server, and how often: API keys by their type, and limits per second. */
import { Result } from "effect"
import { Base64 } from "effect/encoding"
import type { Refusal } from "./EventRelayStatus.ts"

export type KeyType = "admin" | "producer" | "consumer" | "producer_consumer"

export interface NewKey {
  readonly type: KeyType
  /** Names of the topics it may publish to; only the key of an admin needs none. */
  readonly topics?: ReadonlyArray<string>
  /** Ids of the destinations it may pull from; their topics it may read. Only the key of an admin needs none. */
  readonly destinations?: ReadonlyArray<string>
}

export interface Key extends Required<NewKey> {
  readonly id: string
  /** What its owner sends: base64 of `key:secret`. */
  readonly token: string
  readonly isRevoked: boolean
}

/** Calls of one kind within one second. */
export interface Limits {
  readonly publishDurable: number
  readonly publishEphemeral: number
  readonly createTopic: number
  readonly others: number
}

export const limitsDefault: Limits = {
  publishDurable: 10_000,
  publishEphemeral: 20_000,
  createTopic: 5,
  others: 10_000
}

export type Method =
  | "publish_events"
  | "pull_events"
  | "pull_queued_events"
  | "un_lock_queued_events"
  | "create_topic"
  | "create_destination"
  | "create_api_key"
  | "revoke_api_key"
  | "add_destinations_to_api_key"
  | "add_topics_to_api_key"

/** What a policy looks at. */
export interface Asked {
  readonly method: Method
  readonly topic: string
  readonly topicOfDestination: (destinationId: string) => string | undefined
}

const refuse = (status: Refusal["status"], words: string): Result.Result<never, Refusal> =>
  Result.fail({ status, words })

export type Access = ReturnType<typeof make>

/** `newId` gives an id and, for each key, what is random in it. */
export const make = (newId: () => string) => {
  const keys = new Map<string, Key>()
  const windows = new Map<string, { second: number; calls: number }>()
  let limits = limitsDefault

  /** Fixed seconds, as the server counts them. */
  const counted = (method: Method, durable: boolean, now: number): Result.Result<void, Refusal> => {
    const most = mostOf(limits, method, durable)
    const name = `${method} ${durable}`
    const second = Math.floor(now / 1000)
    const window = windows.get(name)
    const calls = window?.second === second ? window.calls + 1 : 1
    windows.set(name, { second, calls })
    return calls <= most
      ? Result.void
      : refuse("RESOURCE_EXHAUSTED", `Rate limit exceeded for ${method} at ${most} requests per 1.0 second(s)`)
  }

  /** The key that a header stands for. */
  const known = (authorization: string | undefined): Result.Result<Key, Refusal> => {
    const bearer = "Bearer "
    if (authorization?.startsWith(bearer) !== true) {
      return refuse("UNAUTHENTICATED", "Invalid credentials: could not find bearer token")
    }
    const token = authorization.slice(bearer.length)
    const decoded = Result.getOrUndefined(Base64.decodeString(token))
    if (decoded === undefined || decoded.split(":").length !== 2) {
      return refuse("UNAUTHENTICATED", "Invalid credentials: could not decode bearer token")
    }
    const key = [...keys.values()].find((one) => one.token === token && !one.isRevoked)
    return key === undefined ? refuse("UNAUTHENTICATED", "Invalid credentials") : Result.succeed(key)
  }

  return {
    counted,
    known,
    permitted,
    limit: (changed: Partial<Limits>): void => {
      limits = { ...limits, ...changed }
    },
    create: ({ destinations = [], topics = [], type }: NewKey): Key => {
      const id = newId()
      const token = Base64.encode(`key-${newId()}:secret-${newId()}`)
      const key: Key = { id, type, token, topics, destinations, isRevoked: false }
      keys.set(id, key)
      return key
    },
    /** False where there is none. */
    revoke: (id: string): boolean => {
      const key = keys.get(id)
      if (key !== undefined) keys.set(id, { ...key, isRevoked: true })
      return key !== undefined
    },
    /** Adds to what it is for. False where there is none. */
    associate: (id: string, more: Pick<NewKey, "topics" | "destinations">): boolean => {
      const key = keys.get(id)
      if (key === undefined) return false
      const topics = [...key.topics, ...(more.topics ?? [])]
      keys.set(id, { ...key, topics, destinations: [...key.destinations, ...(more.destinations ?? [])] })
      return true
    },
    get: (id: string): Key | undefined => keys.get(id)
  }
}

const mostOf = (limits: Limits, method: Method, durable: boolean): number => {
  if (method === "publish_events") return durable ? limits.publishDurable : limits.publishEphemeral
  return method === "create_topic" ? limits.createTopic : limits.others
}

/** What each type of key may do. */
const permitted = (key: Key, { method, topic, topicOfDestination }: Asked): Result.Result<void, Refusal> => {
  if (key.type === "admin") return Result.void
  const allowed: Readonly<Partial<Record<Method, ReadonlyArray<KeyType>>>> = {
    publish_events: ["producer", "producer_consumer"],
    pull_events: ["consumer", "producer_consumer"],
    pull_queued_events: ["consumer"],
    un_lock_queued_events: ["consumer"]
  }
  if (allowed[method]?.includes(key.type) !== true) return refuse("PERMISSION_DENIED", "Not permitted")
  if (method === "publish_events") {
    return key.topics.includes(topic)
      ? Result.void
      : refuse("PERMISSION_DENIED", `ApiKey with id=${key.id} is not associated with topic_name=${topic}`)
  }
  return key.destinations.some((id) => topicOfDestination(id) === topic)
    ? Result.void
    : refuse(
        "PERMISSION_DENIED",
        `ApiKey with id=${key.id} is not associated with topic_name=${topic} via a destination`
      )
}
