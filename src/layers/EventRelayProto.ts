/** EventRelay's protocol: the service `eventrelay.Events` of event_relay.proto, for clients and servers of gRPC. */
import { Buffer } from "node:buffer"
import protobuf from "protobufjs"
import type { NewEvent, RelayEvent } from "../services/EventRelay.ts"

// The facts of https://github.com/eventrelay/eventrelay (event_relay.proto), of which only this service is spoken to.
const text = `
syntax = "proto3";
package eventrelay;

message NewEvent {
  string name = 1;
  string data = 2;
  string source = 3;
  string group_key = 4;
  string reference_key = 5;
  string trace_key = 6;
  string user_key = 7;
  string anonymous_key = 8;
  string occurred_at = 9;
  map<string, string> context = 10;
  string data_schema = 11;
  string prev_id = 12;
  string available_at = 13;
}
message Event {
  string id = 1;
  string name = 2;
  string topic = 3;
  string data = 4;
  string source = 5;
  string group_key = 6;
  string reference_key = 7;
  string trace_key = 8;
  string user_key = 9;
  string anonymous_key = 10;
  string occurred_at = 11;
  map<string, string> context = 12;
  int32 offset = 13;
  repeated string errors = 14;
  string data_schema = 15;
  string prev_id = 16;
  string available_at = 17;
}
message PublishEventsRequest { string topic = 1; repeated NewEvent events = 2; bool durable = 3; }
message PublishEventsResponse { repeated Event events = 1; }
message PullEventsRequest { string topic = 1; int32 batch_size = 2; int32 offset = 3; string query = 4; }
message PullEventsResponse {
  repeated Event events = 1;
  int32 total_count = 2;
  int32 next_offset = 3;
  int32 previous_offset = 4;
  int32 total_batches = 5;
}
message PullQueuedEventsRequest { string destination_id = 1; int32 batch_size = 2; }
message PullQueuedEventsResponse { repeated Event events = 1; }
message UnLockQueuedEventsRequest { string destination_id = 1; repeated string event_ids = 2; }
message UnLockQueuedEventsResponse { repeated Event events = 1; }
`

/** Fields that are not there are empty, as proto3 has it. */
const whole = { defaults: true, arrays: true, objects: true, longs: Number } as const

/** What a text in protobuf's language describes, of the package `eventrelay`. */
export const describe = (proto: string) => {
  const { root } = protobuf.parse(proto, { keepCase: true })
  const codec = <A extends object>(name: string) => {
    const type = root.lookupType(`eventrelay.${name}`)
    return {
      // What was copied is no part of a larger buffer that would live on with it.
      encode: (value: A): Buffer => Buffer.from(type.encode(value as { [field: string]: unknown }).finish()),
      decode: (bytes: Uint8Array): A => type.toObject(type.decode(bytes), whole) as A
    }
  }
  /** One call as gRPC's library wants it described. */
  const method =
    (service: string) =>
    <Request extends object, Response extends object>(name: string) => {
      const request = codec<Request>(`${name}Request`)
      const response = codec<Response>(`${name}Response`)
      return {
        path: `/eventrelay.${service}/${name}`,
        requestStream: false,
        responseStream: false,
        requestSerialize: request.encode,
        requestDeserialize: request.decode,
        responseSerialize: response.encode,
        responseDeserialize: response.decode
      } as const
    }
  return { codec, method }
}

const described = describe(text)
const method = described.method("Events")

interface Events {
  readonly events: ReadonlyArray<RelayEvent>
}

export const events = {
  PublishEvents: method<
    { readonly topic: string; readonly events: ReadonlyArray<Partial<NewEvent>>; readonly durable: boolean },
    Events
  >("PublishEvents"),
  PullEvents: method<
    { readonly topic: string; readonly batch_size: number; readonly offset: number; readonly query: string },
    Events & {
      readonly total_count: number
      readonly next_offset: number
      readonly previous_offset: number
      readonly total_batches: number
    }
  >("PullEvents"),
  PullQueuedEvents: method<{ readonly destination_id: string; readonly batch_size: number }, Events>(
    "PullQueuedEvents"
  ),
  UnLockQueuedEvents: method<{ readonly destination_id: string; readonly event_ids: ReadonlyArray<string> }, Events>(
    "UnLockQueuedEvents"
  )
}

/** A whole reply as bytes, to be kept and read again. */
export const kept = described.codec<Events>("PullQueuedEventsResponse")
