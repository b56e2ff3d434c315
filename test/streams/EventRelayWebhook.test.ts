/** The webhooks of EventRelay, signed and headed as it does, through the webhook source and the codec of its events. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Layer } from "effect"
import * as CodecEventRelay from "../../src/layers/CodecEventRelay.ts"
import * as DeadLettersMemory from "../../src/layers/DeadLettersMemory.ts"
import * as DedupeMemory from "../../src/layers/DedupeMemory.ts"
import * as HttpHostNode from "../../src/layers/HttpHostNode.ts"
import { DeadLetters } from "../../src/services/DeadLetters.ts"
import type { Event } from "../../src/services/Event.ts"
import { HttpHost } from "../../src/services/HttpHost.ts"
import { accepted } from "../../src/services/Reply.ts"
import * as Define from "../../src/streams/Define.ts"
import type { Payload } from "../../src/streams/EventRelayEvent.ts"
import * as Pipeline from "../../src/streams/Pipeline.ts"
import * as SourceWebhook from "../../src/streams/SourceWebhook.ts"
import { ask } from "../layers/Servers.ts"
import * as WebhookKit from "../layers/WebhookKit.ts"

const layer = Layer.mergeAll(
  HttpHostNode.layer({ host: "127.0.0.1", port: 0 }),
  DeadLettersMemory.layer,
  DedupeMemory.layer()
)

/** The server's table row, as it stands in the body. */
const event = {
  id: "9c1f0a52-5f0c-4a3e-8a86-3a4e7f1d2c3b",
  name: "user.updated",
  topic_name: "users",
  topic_identifier: "123",
  data: { person: { first_name: "Bill" } },
  data_json: null,
  data_schema: null,
  source: "crm",
  group_key: "tenant",
  reference_key: null,
  trace_key: null,
  user_key: null,
  anonymous_key: null,
  context: { ip: "127.0.0.1" },
  errors: null,
  occurred_at: "2024-01-02T03:04:05Z",
  available_at: "2024-01-02T03:04:05Z",
  offset: 7,
  prev_id: null,
  verified: true,
  durable: true
}
const body = JSON.stringify({ timestamp: "2024-01-02T03:04:06Z", type: event.name, data: event })

const secret = Buffer.from("a secret of thirty-two bytes ...").toString("base64")

/** Source: lib/event_relay/destinations/webhook.ex of eventrelay/eventrelay. */
const headersOf = (key: string | Buffer, seconds: number, text = body) => ({
  "user-agent": "EventRelay (https://eventrelay.io)",
  "content-type": "application/json",
  ...WebhookKit.standard(key, event.id, seconds, text),
  "x-event-relay-event-id": event.id,
  "x-event-relay-destination-id": "0c7b",
  "x-event-relay-topic-name": "users",
  "x-event-relay-topic-identifier": "123"
})

const started = Effect.fnUntraced(function* (known: string) {
  const { port } = (yield* HttpHost).address!
  const auth = yield* WebhookKit.make({ auth: { type: "standard-webhooks", secret: known } })
  const source = yield* SourceWebhook.make({ path: "/hooks", auth, format: "standard-webhooks" })
  const ran: Array<Event> = []
  yield* Pipeline.start(
    Define.define({
      name: "hooks",
      source,
      decode: CodecEventRelay.make(),
      dispatch: [
        {
          run: ({ event }) => {
            ran.push(event)
            return accepted(null)
          }
        }
      ]
    })
  )
  for (let i = 0; i < 100; i++) yield* Effect.yieldNow
  const send = (headers: Record<string, string>, text = body) =>
    ask(`http://127.0.0.1:${port}/hooks`, { body: text, headers })
  return { ran, send, seconds: Math.floor((yield* Clock.currentTimeMillis) / 1000) }
})

describe("webhooks of EventRelay", () => {
  for (const [what, known, key] of [
    ["with whsec_, which is base64", `whsec_${secret}`, Buffer.from(secret, "base64")],
    ["as it is written", "plain words", "plain words"]
  ] as const) {
    it.live(`are let in by their signature and run once, as the pulled event would (a secret ${what})`, () =>
      Effect.gen(function* () {
        const { ran, seconds, send } = yield* started(known)
        const headers = headersOf(key, seconds)
        for (let i = 0; i < 2; i++) assert.strictEqual((yield* send(headers)).status, 200)
        const [{ envelope, key: lane, payload }, ...more] = ran as [Event, ...Array<Event>]
        assert.deepStrictEqual([envelope.id, lane, more], [event.id, "tenant", []])
        assert.deepStrictEqual(envelope.headers["x-event-relay-topic-name"], "users")
        assert.strictEqual(new TextDecoder().decode(envelope.payload), body)
        const { context, data, name, offset, reference_key, topic } = payload as Payload
        assert.deepStrictEqual([name, topic, offset, reference_key], ["user.updated", "users:123", 7, ""])
        assert.deepStrictEqual([data, context], [{ person: { first_name: "Bill" } }, { ip: "127.0.0.1" }])
      }).pipe(Effect.scoped, Effect.provide(layer))
    )
  }

  it.live("are not let in by another signature or another time, and what is no event is said to be none", () =>
    Effect.gen(function* () {
      const { ran, seconds, send } = yield* started(`whsec_${secret}`)
      const key = Buffer.from(secret, "base64")
      const refused = [
        yield* send(headersOf("another", seconds)),
        yield* send(headersOf(key, seconds - 301)),
        yield* send(headersOf(key, seconds), body.replace("Bill", "Bull"))
      ]
      assert.deepStrictEqual(
        refused.map(({ status }) => status),
        [401, 401, 401]
      )
      const none = yield* send(headersOf(key, seconds, "{}"), "{}")
      assert.deepStrictEqual([none.status, none.text], [400, '{"error":"not an event of EventRelay: name is missing"}'])
      assert.deepStrictEqual([ran, yield* (yield* DeadLetters).list({})], [[], []])
    }).pipe(Effect.scoped, Effect.provide(layer))
  )
})
