/** How an EventRelay server answers those who make topics, destinations and keys over gRPC. */
import { Result } from "effect"
import { Base64 } from "effect/encoding"
import type { Key } from "./EventRelayAccess.ts"
import type { ApiKey, Destination } from "./EventRelayAdminProto.ts"
import { type Answer, type Caller, type Rules, refuse } from "./EventRelayRules.ts"

const types = ["producer", "consumer"] as const

/** Each call by its name. */
export const make = (rules: Rules) => {
  const { access } = rules
  const known = (id: string): Answer<Key> => {
    const key = access.get(id)
    return key === undefined ? refuse("NOT_FOUND", "ApiKey not found") : Result.succeed(key)
  }
  return {
    CreateTopic: ({ name }: { readonly name: string }, caller: Caller) =>
      Result.flatMap(rules.administered("create_topic", caller), () =>
        Result.map(rules.createTopic(name), (made) => ({ topic: { id: made, name: made, group_key: "" } }))
      ),

    CreateDestination: (asked: Partial<Omit<Destination, "id">>, caller: Caller) =>
      Result.flatMap(rules.administered("create_destination", caller), () => {
        const { destination_type = "", name = "", topic_identifier = "", topic_name = "" } = asked
        if (name === "") return refuse("INVALID_ARGUMENT", "name: can't be blank")
        if (!rules.hasTopic(topic_name)) return refuse("INVALID_ARGUMENT", "topic: does not exist")
        const topic = topic_identifier === "" ? topic_name : `${topic_name}:${topic_identifier}`
        return Result.match(rules.createDestination({ topic }), {
          onFailure: (words) => refuse("INVALID_ARGUMENT", words),
          onSuccess: (id) =>
            Result.succeed({
              destination: { id, name, topic_name, topic_identifier, destination_type, group_key: "" }
            })
        })
      }),

    CreateApiKey: ({ name, type }: { readonly name: string; readonly type: number }, caller: Caller) =>
      Result.map(rules.administered("create_api_key", caller), () => ({
        api_key: apiKey(access.create({ type: types[type] ?? "producer" }), name)
      })),

    RevokeApiKey: ({ id }: { readonly id: string }, caller: Caller) =>
      Result.flatMap(rules.administered("revoke_api_key", caller), () =>
        Result.flatMap(known(id), (key) => {
          if (key.isRevoked) return refuse("FAILED_PRECONDITION", "ApiKey is already revoked")
          access.revoke(id)
          return Result.succeed({ api_key: apiKey({ ...key, isRevoked: true }, "") })
        })
      ),

    AddDestinationsToApiKey: (
      asked: { readonly id: string; readonly destination_ids: ReadonlyArray<string> },
      caller: Caller
    ) =>
      Result.flatMap(rules.administered("add_destinations_to_api_key", caller), () =>
        Result.map(known(asked.id), ({ id }) => {
          access.associate(id, { destinations: asked.destination_ids })
          return asked
        })
      ),

    AddTopicsToApiKey: (asked: { readonly id: string; readonly topic_names: ReadonlyArray<string> }, caller: Caller) =>
      Result.flatMap(rules.administered("add_topics_to_api_key", caller), () =>
        Result.map(known(asked.id), ({ id }) => {
          access.associate(id, { topics: asked.topic_names })
          return asked
        })
      )
  }
}

const apiKey = ({ id, isRevoked, token, type }: Key, name: string): ApiKey => {
  const [key = "", secret = ""] = Result.getOrElse(Base64.decodeString(token), () => "").split(":")
  return { id, name, key, secret, status: isRevoked ? 1 : 0, type: type === "consumer" ? 1 : 0 }
}
