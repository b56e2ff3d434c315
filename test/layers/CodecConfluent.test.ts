/** Records in Confluent's wire format, made with the vendors' own encoders, by schemas from a registry over real HTTP. */
import type { ServerResponse } from "node:http"
import { assert, describe, it } from "@effect/vitest"
import avro from "avsc"
import { Effect, Fiber, Logger, Redacted } from "effect"
import protobuf from "protobufjs"
import * as CodecConfluent from "../../src/layers/CodecConfluent.ts"
import * as ConfluentClient from "../../src/layers/ConfluentClient.ts"
import * as SchemaLanguagesAll from "../../src/layers/SchemaLanguagesAll.ts"
import type { Codec } from "../../src/services/Codec.ts"
import { isLater, later } from "../../src/services/Ready.ts"
import * as SourceMemory from "../../src/streams/SourceMemory.ts"
import { serve } from "./Servers.ts"

interface Asked {
  readonly method: string
  readonly url: string
  readonly authorization: string | undefined
  readonly accept: string | undefined
  readonly other: string | undefined
}

type Answers = Readonly<Record<string, unknown>>

/** A registry with these schemas; `before` may answer in its place, by returning true. */
const registry = Effect.fnUntraced(function* (
  schemas: Answers,
  options: Partial<CodecConfluent.Options> = {},
  before: (outgoing: ServerResponse, n: number) => boolean = () => false
) {
  const asked: Array<Asked> = []
  const { url } = yield* serve(({ headers, method, url }, outgoing) => {
    const { accept, authorization } = headers
    asked.push({ method: method!, url: url!, authorization, accept, other: headers["x-tenant"] as string | undefined })
    if (before(outgoing, asked.length)) return
    const [, id] = /^\/base\/schemas\/ids\/(\d+)$/.exec(url!) ?? []
    const found = id === undefined ? { error_code: 404, message: "HTTP 404 Not Found" } : schemas[id]
    const body = found ?? { error_code: 40403, message: `Schema ${id} not found` }
    outgoing.writeHead("error_code" in (body as object) ? 404 : 200, { "content-type": accept!.split(",")[0]! })
    outgoing.end(JSON.stringify(body))
  })
  const codec = yield* CodecConfluent.make({ url: `${url}/base/`, ...options }).pipe(
    Effect.provide(SchemaLanguagesAll.layer())
  )
  return { asked, codec, url }
})

const framed = (id: number, ...parts: ReadonlyArray<Uint8Array | ReadonlyArray<number>>): Buffer => {
  const head = Buffer.alloc(5)
  head.writeUInt32BE(id, 1)
  return Buffer.concat([head, ...parts.map((part) => Buffer.from(part))])
}

const envelopeOf = (payload: Uint8Array) => SourceMemory.envelopeOf({ key: "k", payload }, "kafka", 1, 0)
const decode = (codec: Codec, payload: Uint8Array) => later(codec.decode(envelopeOf(payload)))
const payloadOf = (codec: Codec, payload: Uint8Array) => Effect.map(decode(codec, payload), (event) => event.payload)
const refused = (codec: Codec, payload: Uint8Array) =>
  Effect.map(Effect.flip(decode(codec, payload)), ({ message }) => message)

const order = {
  type: "record",
  name: "Order",
  fields: [
    { name: "id", type: "string" },
    { name: "total", type: "long" },
    { name: "note", type: ["null", "string"], default: null }
  ]
} as const
const Order = avro.Type.forSchema(order as never)

const proto = `// @message Other
syntax = "proto3";
package shop;
import "google/protobuf/timestamp.proto";
enum Kind { NONE = 0; }
message Order {
  string order_id = 1;
  map<string, int32> counts = 2;
  message Line { string sku = 1; message Part { int32 n = 1; } }
  message Note { string text = 1; }
}
message Other { int32 a = 1; google.protobuf.Timestamp at = 2; }
`
const file = protobuf.parse(proto, { keepCase: true }).root
file.addJSON(protobuf.common.get("google/protobuf/timestamp.proto")!.nested!)
const message = (name: string, value: object): Uint8Array => {
  const type = file.lookupType(name)
  return type.encode(type.fromObject(value)).finish()
}

const jsonSchema = { type: "object", properties: { n: { type: "integer" } }, required: ["n"] }
const json = { schemaType: "JSON", schema: JSON.stringify(jsonSchema) }
const avroSchema = { schema: JSON.stringify(order) }
const protoSchema = { schemaType: "PROTOBUF", schema: proto }

describe("CodecConfluent", () => {
  it.effect("reads Avro, JSON and Protobuf, and asks once for each id, with its credentials and headers", () =>
    Effect.gen(function* () {
      const { asked, codec } = yield* registry(
        { 1: avroSchema, 2: json, 4000000000: { ...protoSchema, references: [] } },
        { username: "app", password: Redacted.make("pass:word"), headers: { "x-tenant": "t" } }
      )
      const avroRecord = framed(1, Order.toBuffer({ id: "a", total: 12, note: "n" }))
      const jsonRecord = framed(2, Buffer.from('{"n":1}'))
      const protoRecord = framed(4_000_000_000, [0], message("shop.Order", { order_id: "o", counts: { x: 1 } }))
      const first = yield* decode(codec, avroRecord)
      assert.strictEqual(first.key, "k")
      assert.deepStrictEqual(first.envelope.payload, avroRecord)
      const wanted = [{ id: "a", total: 12, note: { string: "n" } }, { n: 1 }, { orderId: "o", counts: { x: 1 } }]
      for (let round = 0; round < 2; round++) {
        const payloads = yield* Effect.forEach([avroRecord, jsonRecord, protoRecord], (one) => payloadOf(codec, one))
        assert.deepStrictEqual(payloads, wanted)
      }
      // What is known needs no waiting.
      assert.isFalse(isLater(codec.decode(envelopeOf(avroRecord))))
      assert.deepStrictEqual(
        asked.map(({ method, url }) => `${method} ${url}`),
        ["GET /base/schemas/ids/1", "GET /base/schemas/ids/2", "GET /base/schemas/ids/4000000000"]
      )
      for (const { accept, authorization, other } of asked) {
        assert.strictEqual(authorization, `Basic ${Buffer.from("app:pass:word").toString("base64")}`)
        assert.include(accept, "application/vnd.schemaregistry.v1+json")
        assert.strictEqual(other, "t")
      }
    })
  )

  it.effect("reads a record without a value as null, without asking", () =>
    Effect.gen(function* () {
      const { asked, codec } = yield* registry({})
      const event = yield* later(codec.decode({ ...envelopeOf(new Uint8Array(0)), tombstone: true }))
      assert.isNull(event.payload)
      assert.deepStrictEqual(asked, [])
    })
  )

  it.effect("finds the message that the indexes of a Protobuf record name, whatever the file's comments say", () =>
    Effect.gen(function* () {
      const { asked, codec } = yield* registry({ 7: protoSchema })
      const records: ReadonlyArray<readonly [ReadonlyArray<number>, Uint8Array, unknown]> = [
        [[2, 0], message("shop.Order", { order_id: "o" }), { orderId: "o" }],
        [[2, 2], message("shop.Other", { a: 5, at: { seconds: 1 } }), { a: 5, at: "1970-01-01T00:00:01Z" }],
        [[4, 0, 0], message("shop.Order.Line", { sku: "s" }), { sku: "s" }],
        [[4, 0, 2], message("shop.Order.Note", { text: "t" }), { text: "t" }],
        [[6, 0, 0, 0], message("shop.Order.Line.Part", { n: 3 }), { n: 3 }]
      ]
      for (let round = 0; round < 2; round++) {
        for (const [indexes, body, wanted] of records) {
          assert.deepStrictEqual(yield* payloadOf(codec, framed(7, indexes, body)), wanted)
        }
      }
      assert.strictEqual(
        yield* refused(codec, framed(7, [2, 4])),
        "schema 7 cannot be used: the file has no message at the place 2"
      )
      assert.strictEqual(
        yield* refused(codec, framed(7, [4, 2, 0])),
        "schema 7 cannot be used: the file has no message at the place 1, 0"
      )
      // Cut off, negative, too many, and longer than a number may be.
      for (const indexes of [[], [2], [1, 0], [2, 1], [0x80, 0x01], [0xff, 0xff, 0xff, 0xff, 0xff, 0x01]]) {
        assert.strictEqual(
          yield* refused(codec, framed(7, indexes)),
          "schema 7: behind it there are no message indexes, as Protobuf has them",
          indexes.join()
        )
      }
      assert.strictEqual(asked.length, 1)
    })
  )

  it.effect("refuses what is not in the wire format, and what its schema does not allow", () =>
    Effect.gen(function* () {
      const { asked, codec } = yield* registry({
        1: avroSchema,
        2: json,
        3: { ...avroSchema, references: [{ name: "x", subject: "x", version: 1 }] },
        4: { schemaType: "XML", schema: "<a/>" },
        5: { schema: "{" },
        6: { schemaType: "PROTOBUF", schema: 'syntax = "proto2"; message A {}' }
      })
      const no = (payload: Uint8Array) => refused(codec, payload)
      const wire = "not in Confluent's wire format"
      assert.strictEqual(
        yield* no(Buffer.from('{"n":1}')),
        `${wire}: it begins with 0x7b instead of the magic byte 0x00`
      )
      assert.strictEqual(yield* no(Buffer.alloc(4)), `${wire}: 4 bytes are too few for the magic byte and a schema id`)
      assert.strictEqual(yield* no(Buffer.alloc(0)), `${wire}: 0 bytes are too few for the magic byte and a schema id`)
      assert.deepStrictEqual(asked, [])
      assert.match(yield* no(framed(9, [1])), /^schema 9: GET http:\S+\/9 answered 404 Not Found: Schema 9 not found$/)
      assert.strictEqual(yield* no(framed(3, [1])), "schema 3 has references to other schemas, which are not followed")
      assert.strictEqual(yield* no(framed(4, [1])), "schema 4 is of the type XML: known are AVRO, JSON, PROTOBUF")
      assert.match(yield* no(framed(5, [1])), /^schema 5 cannot be used: not JSON: /)
      assert.match(yield* no(framed(6, [0])), /^schema 6 cannot be used: not a \.proto file .*proto3/)
      assert.match(yield* no(framed(1, [200])), /^schema 1: not Avro/i)
      assert.match(yield* no(framed(1, Order.toBuffer({ id: "a", total: 1, note: null }), [0])), /^schema 1: /)
      assert.match(yield* no(framed(2, Buffer.from("{"))), /^schema 2: not JSON: /)
      assert.match(yield* no(framed(2, [0xff])), /^schema 2: not UTF-8 text$/)
      assert.match(yield* no(framed(2, Buffer.from('{"n":"x"}'))), /^schema 2: payload\.n /)
    })
  )

  it.effect("keeps no more schemas than it may, those that were used last", () =>
    Effect.gen(function* () {
      const { asked, codec } = yield* registry({ 1: json, 2: json, 3: json }, { schemasMax: 2 })
      for (const id of [1, 2, 1, 3, 1, 2]) yield* decode(codec, framed(id, Buffer.from('{"n":1}')))
      assert.deepStrictEqual(
        asked.map(({ url }) => Number(url.slice(-1))),
        [1, 2, 3, 2]
      )
      const bytes = Buffer.byteLength(json.schema)
      const small = yield* registry({ 1: json, 2: json }, { textBytesMax: bytes })
      for (const id of [1, 1, 2, 2, 1]) yield* decode(small.codec, framed(id, Buffer.from('{"n":1}')))
      assert.strictEqual(small.asked.length, 3)
    })
  )

  it.live("waits while the registry is away, asks once at a time for all that wait, and goes on", () =>
    Effect.gen(function* () {
      let open = 0
      let most = 0
      const { asked, codec } = yield* registry({ 1: json }, { timeout: "500 millis" }, (outgoing, n) => {
        most = Math.max(most, ++open)
        outgoing.once("close", () => open--)
        if (n === 1) outgoing.writeHead(500).end('{"error_code":50001,"message":"Error in the backend data store"}')
        else if (n === 2) outgoing.destroy()
        // The fourth is never answered.
        else if (n === 3) outgoing.writeHead(503).end()
        return n <= 4
      })
      const record = framed(1, Buffer.from('{"n":1}'))
      const all = yield* Effect.forEach([1, 2, 3], () => payloadOf(codec, record), { concurrency: 3 })
      assert.deepStrictEqual(all, [{ n: 1 }, { n: 1 }, { n: 1 }])
      assert.strictEqual(most, 1)
      assert.isAtLeast(asked.length, 5)
    })
  )

  it.live("waits as long as the registry asks for", () =>
    Effect.gen(function* () {
      let at = 0
      const { asked, codec } = yield* registry({ 1: json }, {}, (outgoing, n) => {
        if (n === 1) {
          at = performance.now()
          outgoing.writeHead(429, { "retry-after": "1" }).end()
        }
        return n === 1
      })
      yield* decode(codec, framed(1, Buffer.from('{"n":1}')))
      assert.isAtLeast(performance.now() - at, 990)
      assert.strictEqual(asked.length, 2)
    })
  )

  it.live("holds the record back while no record is at fault, and conceals the password in the registry's words", () =>
    Effect.forEach(
      [
        // Credentials that are refused or not enough, a wrong URL, a redirect to a login, and something else.
        [401, '{"error_code":40101,"message":"Unauthorized: pass-word"}'],
        [403, '{"error_code":40301,"message":"pass-word may not"}'],
        [404, '{"error_code":404,"message":"HTTP 404 Not Found"}'],
        [302, ""],
        [200, "<html>pass-word</html>"]
      ] as const,
      Effect.fnUntraced(function* ([status, body]) {
        const lines: Array<string> = []
        const logger = Logger.make(({ message }) => void lines.push(String(message)))
        let right = false
        const options = { username: "app", password: Redacted.make("pass-word"), name: "orders: schema registry" }
        const { codec } = yield* registry({ 1: json }, options, (outgoing) => {
          if (!right) outgoing.writeHead(status).end(body)
          return !right
        })
        const fiber = yield* decode(codec, framed(1, Buffer.from('{"n":1}'))).pipe(
          Effect.provide(Logger.layer([logger])),
          Effect.forkChild
        )
        yield* Effect.sleep("100 millis").pipe(Effect.repeat({ until: () => lines.length > 0 }))
        assert.isUndefined(fiber.pollUnsafe())
        right = true
        assert.deepStrictEqual((yield* Fiber.join(fiber)).payload, { n: 1 })
        assert.match(lines[0]!, /^orders: schema registry: outage: schema 1: /)
        assert.match(lines[1]!, /^orders: schema registry: outage over after /)
        assert.notInclude(lines.join(), "pass-word")
      }),
      { concurrency: 5 }
    )
  )

  it.effect("says what is wrong with its options", () =>
    Effect.gen(function* () {
      const wrong = (options: Partial<ConfluentClient.Options>) =>
        Effect.map(Effect.flip(ConfluentClient.make({ url: "http://127.0.0.1:1", ...options })), ({ problems }) =>
          problems.map(({ expected, path }) => `${path.join(".")}: ${expected}`)
        )
      const either = "username: either username or an authorization of its own, in the headers or in the URL"
      assert.deepStrictEqual(yield* wrong({ password: Redacted.make("x") }), [
        "username: a username, since there is a password"
      ])
      assert.deepStrictEqual(yield* wrong({ username: "a", headers: { Authorization: "x" } }), [either])
      assert.deepStrictEqual(yield* wrong({ username: "a", url: "http://b:c@127.0.0.1:1" }), [either])
    }).pipe(Effect.scoped)
  )
})
