/** The servers that EventRelaySuite runs against, as it needs them: in memory, in a process of their own, or any that speaks gRPC. */
import type { MethodDefinition, ServiceError } from "@grpc/grpc-js"
import { Effect, Redacted, Schedule } from "effect"
import type { Limits, NewKey } from "../../src/layers/EventRelayAccess.ts"
import { apiKeys, destinations, topics } from "../../src/layers/EventRelayAdminProto.ts"
import { events } from "../../src/layers/EventRelayProto.ts"
import type { NewDestination } from "../../src/layers/EventRelayRules.ts"
import { codes } from "../../src/layers/EventRelayStatus.ts"
import type { Connection, Tls } from "../../src/services/EventRelayConnection.ts"
import type { EventRelay } from "../services/EventRelay.ts"
import * as EventRelayBare from "../services/EventRelayBare.ts"

/** A server as the suite needs it. */
export interface Kit {
  /** With the key of an admin, or one that may do all of this. */
  readonly connection: Connection
  readonly connectionWith: (key: { readonly token: string } | undefined) => Connection
  readonly createDestination: (destination: NewDestination) => Effect.Effect<string>
  /** Absent where the suite can make no keys: then what needs one is skipped. */
  readonly createKey?: (key: NewKey) => Effect.Effect<{ readonly id: string; readonly token: string }>
  readonly revokeKey?: (id: string) => Effect.Effect<void>
  /** Absent where limits cannot be set. */
  readonly limit?: (limits: Partial<Limits>) => Effect.Effect<void>
}

let names = 0
/** A name no other test uses, also against a server that keeps its topics. */
export const fresh = (name = "topic"): string => `${name}_${process.pid}_${Date.now().toString(36)}_${++names}`

/** A server in a process of its own as the suite needs it. */
export const kitOf = (relay: EventRelay, tls?: Tls): Kit => ({
  connection: relay.connection(tls),
  connectionWith: (key) => ({
    ...relay.connection(tls),
    token: key === undefined ? undefined : Redacted.make(key.token)
  }),
  createDestination: (destination) => Effect.promise(() => relay.do("createDestination", destination)),
  createKey: (key) => Effect.promise(() => relay.do("createKey", key)),
  revokeKey: (id) => Effect.promise(() => relay.do("revokeKey", id)),
  limit: (limits) => Effect.promise(() => relay.do("limit", limits))
})

/** Any server, which is told what to make by gRPC, with the key of an admin. */
export const kitOverGrpc = (connection: Connection): Kit => {
  const { call } = EventRelayBare.connect(connection)
  const made = <Request, Response>(method: MethodDefinition<Request, Response>, request: Request) =>
    Effect.tryPromise({ try: () => call(method, request), catch: (error) => error as ServiceError }).pipe(
      // No more than five topics are made in a second.
      Effect.retry({ while: ({ code }) => code === 8, schedule: Schedule.spaced("300 millis"), times: 20 })
    )
  const { ALREADY_EXISTS } = codes
  return {
    connection,
    connectionWith: (key) => ({ ...connection, token: key === undefined ? undefined : Redacted.make(key.token) }),
    createDestination: ({ topic }) =>
      Effect.gen(function* () {
        const [name = "", identifier = ""] = topic.split(":")
        yield* made(topics.CreateTopic, { name, group_key: "" }).pipe(
          Effect.catchIf(
            ({ code }) => code === ALREADY_EXISTS,
            () => Effect.void
          )
        )
        const { destination } = yield* made(destinations.CreateDestination, {
          name: fresh("destination"),
          topic_name: name,
          topic_identifier: identifier,
          destination_type: "api"
        })
        return destination.id
      }).pipe(Effect.orDie),
    createKey: ({ destinations = [], topics = [], type }) =>
      Effect.gen(function* () {
        const { api_key } = yield* made(apiKeys.CreateApiKey, { type: type === "consumer" ? 1 : 0, name: fresh("key") })
        const { id, key, secret } = api_key
        if (topics.length > 0) yield* made(apiKeys.AddTopicsToApiKey, { id, topic_names: topics })
        if (destinations.length > 0) {
          yield* made(apiKeys.AddDestinationsToApiKey, { id, destination_ids: destinations })
        }
        return { id, token: btoa(`${key}:${secret}`) }
      }).pipe(Effect.orDie),
    revokeKey: (id) => Effect.asVoid(Effect.orDie(made(apiKeys.RevokeApiKey, { id })))
  }
}

/** Whether the server can take back what it gave. */
export const unlocks = async ({ connection, createDestination }: Kit): Promise<boolean> => {
  const { call, close } = EventRelayBare.connect(connection)
  const destination_id = await Effect.runPromise(createDestination({ topic: fresh() }))
  return call(events.UnLockQueuedEvents, { destination_id, event_ids: [] })
    .then(
      () => true,
      () => false
    )
    .finally(close)
}
