/** What is read of a webhook before it is taken, and of a copy of it later. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Result, Schema } from "effect"
import { DecodeError } from "../../src/services/Codec.ts"
import type { Envelope } from "../../src/services/Envelope.ts"
import { later } from "../../src/services/Ready.ts"
import { fields, waysOf } from "../../src/services/WebhookAuth.ts"
import { format, type Name, nameOf, Received } from "../../src/streams/WebhookFormats.ts"
import { type Asking, request } from "../layers/WebhookKit.ts"
import * as payloads from "./HasuraPayloads.ts"

const ways = (auth: unknown) => waysOf(Schema.decodeUnknownSync(Schema.Struct(fields))({ auth }))

/** The envelope that a source makes of a request. */
const taken = (name: Name, asking: Asking) => {
  const asked = request(asking)
  const read = Result.getOrThrow(format(name).read(asked))
  return new Received("test", read, { headers: asked.headers, payload: asked.body, receivedAt: 5 })
}

describe("WebhookFormats", () => {
  it("are those of the first way in that says one, else plain", () => {
    const bearer = { type: "bearer", token: "t" }
    assert.strictEqual(nameOf([]), "plain")
    assert.strictEqual(nameOf(ways(bearer)), "plain")
    assert.strictEqual(nameOf(ways([bearer, { type: "stripe", secret: "s" }])), "stripe")
    assert.strictEqual(nameOf(ways({ type: "standard-webhooks", secret: "s" })), "standard-webhooks")
    assert.strictEqual(nameOf(ways({ type: "github", secret: "s" })), "github")
  })

  it.effect("read a body once, and that of a copy again", () =>
    Effect.gen(function* () {
      const envelope = taken("hasura", { body: JSON.stringify(payloads.update) })
      const { decode } = format("hasura").codec!
      const first = yield* later(decode(envelope))
      const second = yield* later(decode(envelope))
      assert.strictEqual(first.payload, second.payload)
      const copy: Envelope = { ...envelope }
      assert.deepStrictEqual(Object.keys(copy).sort(), [
        "attempt",
        "headers",
        "id",
        "key",
        "payload",
        "receivedAt",
        "source"
      ])
      const again = yield* later(decode(copy))
      assert.deepStrictEqual(again.payload, payloads.update)
      const broken = yield* Effect.flip(later(decode({ ...copy, payload: Buffer.from("{") })))
      assert.instanceOf(broken, DecodeError)
    })
  )

  it("tell apart what has an id of its sender, and what is a copy of one", () => {
    const known = taken("plain", { headers: { "idempotency-key": "k" } })
    const nameless = taken("plain", {})
    assert.isTrue(Received.repeats(known))
    assert.isFalse(Received.repeats(nameless))
    assert.match(nameless.id, /^[0-9a-f-]{36}$/)
    // A codec that reads the id from the body makes an envelope of its own.
    assert.isTrue(Received.repeats({ ...nameless, id: "/a/1" }))
  })

  it("refuse ids that are too long to be remembered", () => {
    for (const [name, asking] of [
      ["plain", { headers: { "idempotency-key": "x".repeat(1025) } }],
      ["standard-webhooks", { headers: { "webhook-id": "x".repeat(1025) } }],
      ["github", { headers: { "x-github-delivery": "x".repeat(1025) }, body: "{}" }],
      ["stripe", { body: JSON.stringify({ id: "x".repeat(1025) }) }]
    ] as const) {
      const read = format(name).read(request(asking))
      assert.isTrue(Result.isFailure(read) && read.failure.reason === "its id has more than 1024 characters", name)
    }
    assert.strictEqual(taken("plain", { headers: { "idempotency-key": "x".repeat(1024) } }).id.length, 1024)
  })
})
