/** Events of EventRelay: their bytes, what is read of these and of webhooks, and what is none. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Result } from "effect"
import { noHeaders } from "../../src/services/Envelope.ts"
import type { RelayEvent } from "../../src/services/EventRelay.ts"
import * as EventRelayEvent from "../../src/streams/EventRelayEvent.ts"

const event: RelayEvent = {
  id: "1f0c",
  name: "user.updated",
  topic: "users:123",
  data: '{"person": {"first_name": "Bill", "big": 1e2}}',
  source: "crm",
  group_key: "tenant",
  reference_key: "",
  trace_key: "",
  user_key: "",
  anonymous_key: "",
  occurred_at: "2024-01-02T03:04:05Z",
  context: { ip: "127.0.0.1" },
  offset: 7,
  errors: [],
  data_schema: "",
  prev_id: "",
  available_at: ""
}

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
const data = { person: { first_name: "Bill", big: 100 } }

describe("EventRelayEvent", () => {
  it("writes an event with its text of data, and reads it with the value", () => {
    const written = EventRelayEvent.bytesOf(event)
    assert.deepStrictEqual(JSON.parse(new TextDecoder().decode(written)), event)
    assert.deepStrictEqual(EventRelayEvent.read(written), Result.succeed({ ...event, data }))
    assert.deepStrictEqual(EventRelayEvent.read(written.slice()), Result.succeed({ ...event, data }))
    assert.deepStrictEqual(EventRelayEvent.payloadOf(event), Result.succeed({ ...event, data }))
  })

  it("gives each reader an event of its own", () => {
    const bytes = EventRelayEvent.bytesOf(event)
    const first = Result.getOrThrow(EventRelayEvent.read(bytes)) as { context: Record<string, string>; data: unknown }
    first.context.ip = "changed"
    ;(first.data as typeof data).person.first_name = "changed"
    assert.deepStrictEqual(EventRelayEvent.read(bytes), Result.succeed({ ...event, data }))
  })

  it("reads any JSON there is as data", () => {
    for (const text of ["null", "0", '"text"', "[1]", "true"]) {
      const written = EventRelayEvent.bytesOf({ ...event, data: text })
      const expected = Result.succeed({ ...event, data: JSON.parse(text) })
      assert.deepStrictEqual(
        [EventRelayEvent.read(written), EventRelayEvent.read(written.slice())],
        [expected, expected]
      )
    }
  })

  it("reads a webhook's body as the same event, with its other fields", () => {
    const body = {
      timestamp: "2024-01-02T03:04:06Z",
      type: "user.updated",
      data: {
        id: "1f0c",
        name: "user.updated",
        topic_name: "users",
        topic_identifier: "123",
        data: { person: { first_name: "Bill", big: 100 } },
        data_json: null,
        data_schema: { type: "object" },
        source: "crm",
        group_key: "tenant",
        reference_key: null,
        trace_key: null,
        user_key: null,
        anonymous_key: null,
        occurred_at: "2024-01-02T03:04:05Z",
        available_at: null,
        context: { ip: "127.0.0.1" },
        errors: null,
        offset: 7,
        prev_id: null,
        verified: true
      }
    }
    const read = Result.getOrThrow(EventRelayEvent.read(bytes(JSON.stringify(body))))
    const { data_json, topic_identifier, topic_name, verified, ...same } = read as unknown as Record<string, unknown>
    assert.deepStrictEqual(same, { ...event, data, data_schema: '{"type":"object"}' })
    assert.deepStrictEqual([data_json, topic_name, topic_identifier, verified], [null, "users", "123", true])
  })

  it("keeps data that is text in a webhook, where it is the value itself", () => {
    const read = EventRelayEvent.read(bytes('{"timestamp":"","data":{"name":"a","topic_name":"t","data":"{"}}'))
    const { data, topic } = Result.getOrThrow(read)
    assert.deepStrictEqual([data, topic], ["{", "t"])
  })

  it("fills up an event that somebody else wrote", () => {
    const read = EventRelayEvent.read(bytes('\ufeff{"name":"a","data":"1"}'))
    assert.deepStrictEqual(
      Result.map(read, ({ context, data, errors, group_key, id, topic }) => [
        id,
        topic,
        group_key,
        context,
        errors,
        data
      ]),
      Result.succeed(["", "", "", {}, [], 1])
    )
  })

  it("says what is no event", () => {
    const cases: ReadonlyArray<readonly [string | Uint8Array, RegExp]> = [
      [new Uint8Array([0xff]), /^not UTF-8 text$/],
      ["{", /^not JSON: /],
      ["", /^not JSON: /],
      ["[]", /^not an event of EventRelay: expected an object$/],
      ["null", /^not an event of EventRelay: expected an object$/],
      ["{}", /^not an event of EventRelay: name is missing$/],
      ['{"name":1,"data":"1"}', /^not an event of EventRelay: name is not text$/],
      ['{"name":"a","data":{}}', /^not an event of EventRelay: data is not JSON as text$/],
      ['{"name":"a","data":"{"}', /^data is not JSON: /],
      ['{"name":"a","data":""}', /^data is not JSON: /],
      ['{"timestamp":"","data":{}}', /^not an event of EventRelay: data.name is missing$/]
    ]
    for (const [body, reason] of cases) {
      const read = EventRelayEvent.read(typeof body === "string" ? bytes(body) : body)
      assert.match(Result.getOrThrow(Result.flip(read)), reason)
    }
    assert.match(
      Result.getOrThrow(Result.flip(EventRelayEvent.payloadOf({ ...event, data: "{" }))),
      /^data is not JSON/
    )
  })

  it.effect("is a codec: the envelope stays, its own key goes before the group", () =>
    Effect.gen(function* () {
      const envelope = {
        id: "x",
        source: "memory",
        key: undefined,
        headers: noHeaders,
        payload: EventRelayEvent.bytesOf(event),
        receivedAt: 0,
        attempt: 1
      }
      const decoded = EventRelayEvent.codec.decode(envelope)
      assert.deepStrictEqual(decoded, { envelope, payload: { ...event, data }, key: "tenant" })
      const keyed = { ...envelope, key: "own" }
      assert.deepStrictEqual(EventRelayEvent.codec.decode(keyed), {
        envelope: keyed,
        payload: { ...event, data },
        key: "own"
      })
      const none = { ...envelope, payload: EventRelayEvent.bytesOf({ ...event, group_key: "" }) }
      assert.propertyVal(EventRelayEvent.codec.decode(none), "key", undefined)
      const bad = EventRelayEvent.codec.decode({ ...envelope, payload: bytes("{") })
      const exit = yield* Effect.exit(bad as Effect.Effect<unknown, unknown>)
      assert.isTrue(Exit.isFailure(exit))
    })
  )
})
