/** How topics, destinations and keys are made at an EventRelay server: those calls of event_relay.proto, for tests. */
import { describe } from "./EventRelayProto.ts"

// The facts of https://github.com/eventrelay/eventrelay (event_relay.proto).
const text = `
syntax = "proto3";
package eventrelay;

message Topic { string id = 1; string name = 2; string group_key = 3; }
message CreateTopicRequest { string name = 1; string group_key = 2; }
message CreateTopicResponse { Topic topic = 1; }
message Destination {
  string id = 1;
  string name = 2;
  string topic_name = 3;
  string topic_identifier = 4;
  map<string, string> config = 5;
  string destination_type = 6;
  string group_key = 7;
}
message CreateDestinationRequest {
  string name = 1;
  string topic_name = 2;
  string topic_identifier = 3;
  map<string, string> config = 4;
  bool paused = 5;
  string destination_type = 6;
  string group_key = 7;
}
message CreateDestinationResponse { Destination destination = 1; }
enum ApiKeyType { PRODUCER = 0; CONSUMER = 1; }
enum ApiKeyStatus { ACTIVE = 0; REVOKED = 1; }
message ApiKey {
  string id = 1;
  string name = 2;
  string key = 3;
  string secret = 4;
  ApiKeyStatus status = 5;
  ApiKeyType type = 6;
  string group_key = 7;
  string tls_hostname = 8;
}
message CreateApiKeyRequest { ApiKeyType type = 1; string name = 2; string group_key = 3; string tls_hostname = 4; }
message CreateApiKeyResponse { ApiKey api_key = 1; }
message RevokeApiKeyRequest { string id = 1; }
message RevokeApiKeyResponse { ApiKey api_key = 1; }
message AddDestinationsToApiKeyRequest { string id = 1; repeated string destination_ids = 2; }
message AddDestinationsToApiKeyResponse { string id = 1; repeated string destination_ids = 2; }
message AddTopicsToApiKeyRequest { string id = 1; repeated string topic_names = 2; }
message AddTopicsToApiKeyResponse { string id = 1; repeated string topic_names = 2; }
`

const { method } = describe(text)

export interface Destination {
  readonly id: string
  readonly name: string
  readonly topic_name: string
  readonly topic_identifier: string
  /** Such as `api`, which is what is pulled. */
  readonly destination_type: string
  readonly group_key: string
}

export interface ApiKey {
  readonly id: string
  readonly name: string
  readonly key: string
  readonly secret: string
  /** 0 active, 1 revoked. */
  readonly status: number
  /** 0 producer, 1 consumer. */
  readonly type: number
}

export const topics = {
  CreateTopic: method("Topics")<
    { readonly name: string; readonly group_key?: string },
    { readonly topic: { readonly id: string; readonly name: string; readonly group_key?: string } }
  >("CreateTopic")
}

export const destinations = {
  CreateDestination: method("Destinations")<
    Partial<Omit<Destination, "id">> & { readonly paused?: boolean },
    { readonly destination: Destination }
  >("CreateDestination")
}

interface DestinationsOfKey {
  readonly id: string
  readonly destination_ids: ReadonlyArray<string>
}
interface TopicsOfKey {
  readonly id: string
  readonly topic_names: ReadonlyArray<string>
}

export const apiKeys = {
  CreateApiKey: method("ApiKeys")<{ readonly type: number; readonly name: string }, { readonly api_key: ApiKey }>(
    "CreateApiKey"
  ),
  RevokeApiKey: method("ApiKeys")<{ readonly id: string }, { readonly api_key: ApiKey }>("RevokeApiKey"),
  AddDestinationsToApiKey: method("ApiKeys")<DestinationsOfKey, DestinationsOfKey>("AddDestinationsToApiKey"),
  AddTopicsToApiKey: method("ApiKeys")<TopicsOfKey, TopicsOfKey>("AddTopicsToApiKey")
}
