/** The routes of /api/v1 on a real HTTP server. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { PublishError } from "../../src/services/Publisher.ts"
import type { Asked } from "../layers/Servers.ts"
import { get, layer, send, started } from "./GatewayRunning.ts"

type Json = Readonly<Record<string, any>>

const at = "/api/v1/clients/shop/events/order.paid"
const json = "application/json"
const schema = '{"type":"object","required":["id"],"properties":{"id":{"maximum":10.0},"to":{"type":"string"}}}'

const told = ({ headers, json, status }: Asked): readonly [number, string, Json] => [
  status,
  headers.get("content-type")!,
  json() as Json
]

const registered = Effect.fnUntraced(function* (options: Parameters<typeof started>[0] = {}) {
  const running = yield* started(options)
  yield* send(`${running.url}${at}/versions`, json, `{"schema":${schema}}`)
  return running
})

const problems = "application/problem+json"

describe("/api/v1", () => {
  it.live("refuses a name that is another's up to . and _, and says so without naming the other", () =>
    Effect.gen(function* () {
      const { url } = yield* started()
      const versions = (client: string, event: string) => `${url}/api/v1/clients/${client}/events/${event}/versions`
      assert.strictEqual((yield* send(versions("u_v", "w"), json, '{"schema":true}')).status, 201)
      const [status, type, body] = told(yield* send(versions("u", "v.w"), json, '{"schema":true}'))
      assert.deepStrictEqual([status, type, body.code], [409, problems, "name-taken"])
      assert.strictEqual(
        body.detail,
        "the name u.v.w is taken: another event has it up to . and _, which count as the same in a topic's name"
      )
      assert.strictEqual((yield* send(`${url}/u/v.w/register_event`, json, '{"event_schema":{"a":1}}')).status, 400)
      assert.strictEqual((yield* send(versions("u_v", "w"), json, '{"schema":{}}')).status, 201)
    }).pipe(Effect.provide(layer))
  )

  it.live("registers versions by a rule, lists, gives and deprecates them", () =>
    Effect.gen(function* () {
      const { url } = yield* started()
      const versions = `${url}${at}/versions`
      const first = {
        client: "shop",
        event: "order.paid",
        version: 1,
        type: "json",
        compatibility: "backward",
        deprecated: false,
        registeredAt: "1970-01-01T00:00:00.000Z"
      }
      const [status, , body] = told(yield* send(versions, json, `{"compatibility":"backward","schema":${schema}}`))
      assert.deepStrictEqual([status, body], [201, { ...first, schema: JSON.parse(schema) }])
      const again = yield* send(versions, json, JSON.stringify({ schema }))
      assert.strictEqual(again.status, 200)
      // The schema as it was registered, to the last digit.
      assert.include(again.text, `"schema":${schema}}`)
      const [conflict, type, why] = told(yield* send(versions, json, '{"schema":{"required":["id","name"]}}'))
      assert.deepStrictEqual(
        [conflict, type, why.code, why.reasons],
        [409, problems, "schema-conflict", ["name is required now"]]
      )
      assert.strictEqual((yield* send(versions, json, '{"schema":true,"compatibility":"none"}')).status, 201)
      const second = { ...first, version: 2, compatibility: "none" }
      assert.deepStrictEqual(told(yield* get(versions))[2], { versions: [first, second] })
      assert.deepStrictEqual(told(yield* get(`${url}/api/v1/clients/shop/events`))[2], { events: [second] })
      assert.deepStrictEqual(told(yield* get(`${url}/api/v1/clients/shops/events`))[2], { events: [] })
      assert.deepStrictEqual(told(yield* get(`${versions}/latest`))[2], { ...second, schema: true })
      const deprecated = yield* send(`${versions}/1/deprecate`, json, "")
      assert.deepStrictEqual(told(deprecated)[2], { ...first, deprecated: true, schema: JSON.parse(schema) })
      const old = yield* send(`${url}${at}?version=1`, json, '{"id":1}')
      assert.deepStrictEqual(
        [old.status, old.headers.get("warning")],
        [200, '299 - "version 1 of shop.order.paid is deprecated"']
      )
      assert.isNull((yield* send(`${url}${at}`, json, "7")).headers.get("warning"))
      const [, , back] = told(yield* send(`${versions}/1/deprecate`, json, '{"deprecated":false}'))
      assert.isFalse(back.deprecated)
    }).pipe(Effect.provide(layer))
  )

  it.live("says what is wrong with a request, by code and sentence", () =>
    Effect.gen(function* () {
      const { control, published, url } = yield* registered()
      const cases: ReadonlyArray<readonly [string, string | undefined, number, string]> = [
        [`${at}/versions`, "{", 400, "request-invalid"],
        [`${at}/versions`, "[]", 400, "request-invalid"],
        [`${at}/versions`, "{}", 400, "request-invalid"],
        [`${at}/versions`, '{"schema":{},"compatability":"full"}', 400, "request-invalid"],
        [`${at}/versions`, '{"schema":{},"compatibility":"both"}', 400, "request-invalid"],
        [`${at}/versions`, '{"schema":{},"type":"xml"}', 400, "request-invalid"],
        [`${at}/versions`, '{"schema":{},"type":"protobuf"}', 400, "request-invalid"],
        [`${at}/versions`, '{"schema":{"type":"random_type"}}', 422, "schema-invalid"],
        [`${at}/versions`, '{"schema":{"pattern":"("}}', 422, "schema-invalid"],
        [`${at}/versions/0`, undefined, 400, "request-invalid"],
        [`${at}/versions/1e3`, undefined, 400, "request-invalid"],
        [`${at}/versions/2`, undefined, 404, "not-registered"],
        [`${at}/versions/2/deprecate`, "", 404, "not-registered"],
        [`${at}/versions/1/deprecate`, '{"deprecated":1}', 400, "request-invalid"],
        ["/api/v1/clients/a.b/events", undefined, 400, "name-invalid"],
        ["/api/v1/clients/a.b/events/c/versions", undefined, 400, "name-invalid"],
        ["/api/v1/clients/shop/events/a%20b", "1", 400, "name-invalid"],
        ["/api/v1/clients/shops/events/order.paid", '{"id":1}', 404, "not-registered"],
        [`${at}?version=2`, '{"id":1}', 404, "not-registered"],
        [`${at}?version=x`, '{"id":1}', 400, "request-invalid"],
        [at, "{", 400, "request-invalid"],
        [at, "", 400, "request-invalid"],
        [at, "{}", 422, "event-invalid"],
        [`${at}/batch`, "{}", 400, "request-invalid"],
        [`${at}/validate`, "{", 400, "request-invalid"],
        ["/api/v1/clients/shop/events/none/validate", "{}", 404, "not-registered"],
        ["/api/v1/cloudevents", "{}", 400, "request-invalid"]
      ]
      for (const [path, body, status, code] of cases) {
        const answer = yield* body === undefined ? get(`${url}${path}`) : send(`${url}${path}`, json, body)
        const [found, type, problem] = told(answer)
        assert.deepStrictEqual(
          [found, type, problem.code, problem.status],
          [status, problems, code, status],
          `${path} ${body}`
        )
        assert.isNotEmpty(problem.detail)
      }
      const bytes = told(yield* send(`${url}${at}`, "application/octet-stream", "x"))
      assert.deepStrictEqual([bytes[0], bytes[2].code], [415, "event-unreadable"])
      control.away = true
      const away = yield* send(`${url}${at}/versions`, json, '{"schema":{}}')
      assert.deepStrictEqual([away.status, away.headers.get("retry-after")], [503, "1"])
      assert.notInclude(away.text, "secret")
      assert.deepStrictEqual([control.stored.length, published], [1, []])
    }).pipe(Effect.provide(layer))
  )

  it.live("gives every violation with its path, and sends nothing, on a dry run", () =>
    Effect.gen(function* () {
      const { published, url } = yield* registered()
      const bad = told(yield* send(`${url}${at}/validate`, json, '{"id":11,"to":[]}'))
      assert.deepStrictEqual(bad, [
        200,
        json,
        {
          valid: false,
          version: 1,
          violations: [
            { path: "payload.id", message: "must be <= 10" },
            { path: "payload.to", message: "must be string" }
          ]
        }
      ])
      const good = told(yield* send(`${url}${at}/validate`, json, '{"id":1}'))
      assert.deepStrictEqual(good[2], { valid: true, version: 1, violations: [] })
      assert.deepStrictEqual(published, [])
    }).pipe(Effect.provide(layer))
  )

  it.live("sends a batch, and tells each item what became of it", () =>
    Effect.gen(function* () {
      const { published, url } = yield* registered({ batchMax: 4 })
      const mixed = told(yield* send(`${url}${at}/batch`, json, ' [ {"id": 1.0} ,{"id":11}, {"id":2}, "]" ] '))
      assert.strictEqual(mixed[0], 207)
      const { results } = mixed[2] as { readonly results: ReadonlyArray<Json> }
      assert.deepStrictEqual(
        results.map(({ code, status }) => [status, code]),
        [
          [200, undefined],
          [422, "event-invalid"],
          [200, undefined],
          [422, "event-invalid"]
        ]
      )
      assert.deepStrictEqual(results[1]!.violations, [{ path: "payload.id", message: "must be <= 10" }])
      assert.deepStrictEqual(
        published.map(({ text }) => text),
        ['{"id": 1.0}', '{"id":2}']
      )
      assert.strictEqual(results[0]!.id, published[0]!.one.envelope.id)
      assert.strictEqual((yield* send(`${url}${at}/batch`, json, '[{"id":3}]')).status, 200)
      assert.strictEqual((yield* send(`${url}${at}/batch`, json, "[1,2]")).status, 422)
      assert.strictEqual((yield* send(`${url}${at}/batch`, json, "[]")).status, 400)
      assert.strictEqual((yield* send(`${url}${at}/batch`, json, "[1,2,3,4,5]")).status, 400)
    }).pipe(Effect.provide(layer))
  )

  it.live("publishes once what comes again under its key, and keeps the keys of clients and events apart", () =>
    Effect.gen(function* () {
      const { published, url } = yield* registered()
      const other = "/api/v1/clients/other/events/order.paid"
      yield* send(`${url}${other}/versions`, json, '{"schema":true}')
      const key = { "idempotency-key": "k-1" }
      const both = yield* Effect.all(
        [send(`${url}${at}`, json, '{"id":1}', key), send(`${url}${at}`, json, '{"id":1}', key)],
        { concurrency: 2 }
      )
      const third = yield* send(`${url}${at}`, json, '{"id":1}', key)
      assert.deepStrictEqual(
        [...new Set([...both, third].map(({ status, text }) => `${status} ${text}`))],
        ['200 {"id":"shop.order.paid/k-1","client":"shop","event":"order.paid","version":1}']
      )
      assert.strictEqual(published.length, 1)
      assert.strictEqual((yield* send(`${url}${other}`, json, "1", key)).status, 200)
      assert.deepStrictEqual(
        published.map(({ to }) => to),
        ["shop.order.paid", "other.order.paid"]
      )
      for (const _ of [1, 2]) yield* send(`${url}${at}/batch`, json, '[{"id":1},{"id":2}]', { "idempotency-key": "b" })
      assert.strictEqual(published.length, 4)
      for (const _ of [1, 2]) {
        const form = "application/x-www-form-urlencoded"
        yield* send(`${url}/shop/order.paid/send_event`, form, "event=%7B%22id%22%3A1%7D", { "idempotency-key": "old" })
      }
      assert.strictEqual(published.length, 5)
      // What was refused has used no key.
      assert.strictEqual((yield* send(`${url}${at}`, json, "{}", { "idempotency-key": "k-2" })).status, 422)
      assert.strictEqual((yield* send(`${url}${at}`, json, '{"id":1}', { "idempotency-key": "k-2" })).status, 200)
      assert.strictEqual(published.length, 6)
      const long = told(yield* send(`${url}${at}`, json, '{"id":1}', { "idempotency-key": "k".repeat(1025) }))
      assert.deepStrictEqual([long[0], long[2].code], [422, "event-refused"])
    }).pipe(Effect.provide(layer))
  )

  it.live("says that the stream refused an event, and takes it again under the same key", () =>
    Effect.gen(function* () {
      let refusing = true
      const refusal = new PublishError({ reason: "kafka-7: too large", presence: "answered", retryable: false })
      const { published, url } = yield* registered({
        publish: () => (refusing ? Effect.fail(refusal) : Effect.void)
      })
      const key = { "idempotency-key": "k" }
      const answer = told(yield* send(`${url}${at}`, json, '{"id":1}', key))
      assert.deepStrictEqual([answer[0], answer[2].code], [502, "not-published"])
      assert.notInclude(JSON.stringify(answer), "kafka-7")
      const old = yield* send(`${url}/shop/order.paid/send_event`, json, '{"event":{"id":1}}')
      assert.deepStrictEqual([old.status, old.text], [400, '{"code":"FAILED","msg":"failed to send event"}\n'])
      refusing = false
      assert.strictEqual((yield* send(`${url}${at}`, json, '{"id":1}', key)).status, 200)
      assert.strictEqual(published.length, 1)
    }).pipe(Effect.provide(layer))
  )

  it.live("takes no two CloudEvents, keys and items of batches for one", () =>
    Effect.gen(function* () {
      const { published, url } = yield* registered()
      const cloud = (source: string, id: string, n: number) =>
        send(
          `${url}/api/v1/cloudevents`,
          "application/cloudevents+json",
          JSON.stringify({ specversion: "1.0", type: "shop.order.paid", source, id, data: { id: n } })
        )
      yield* cloud("/a", "b/c", 1)
      yield* cloud("/a/b", "c", 2)
      yield* cloud("/a", "b/c", 3)
      assert.strictEqual(published.length, 2)
      const own = `${url}/api/v1/clients/shop/events/order.paid`
      const keyed = (path: string, key: string, body: string) =>
        send(`${own}${path}`, "application/json", body, { "idempotency-key": key })
      yield* keyed("/batch", "k", '[{"id":4},{"id":5}]')
      yield* keyed("", "k#1", '{"id":6}')
      yield* keyed("", "ce:/a#b/c", '{"id":7}')
      assert.strictEqual(published.length, 6)
    }).pipe(Effect.provide(layer))
  )

  it.live("takes CloudEvents, structured, binary and as a batch", () =>
    Effect.gen(function* () {
      const { published, url } = yield* registered()
      const to = `${url}/api/v1/cloudevents`
      const event = (id: string, more: object = { data: { id: 1 } }) =>
        JSON.stringify({ specversion: "1.0", id, source: "/s", type: "shop.order.paid", ...more })
      const structured = "application/cloudevents+json; charset=utf-8"
      const first = yield* send(to, structured, event("1").replace('{"id":1}', '{"id": 1.0}'))
      assert.deepStrictEqual(told(first)[2].id, "shop.order.paid/ce:%2Fs#1")
      const trace = { traceparent: "00-1-2-03", authorization: "Bearer secret", cookie: "a=b" }
      const binary = {
        "ce-specversion": "1.0",
        "ce-id": "a%20b",
        "ce-source": "/s",
        "ce-type": "shop.order.paid",
        "ce-partitionkey": "p"
      }
      assert.strictEqual((yield* send(to, json, '{"id": 2}', { ...binary, ...trace })).status, 200)
      const base64 = { datacontenttype: json, data_base64: btoa('{"id": 3}') }
      assert.strictEqual((yield* send(to, structured, event("3", base64))).status, 200)
      assert.deepStrictEqual(
        published.map(({ text }) => text),
        ['{"id": 1.0}', '{"id": 2}', '{"id": 3}']
      )
      const { envelope, key } = published[1]!.one
      assert.strictEqual(key, "p")
      assert.deepStrictEqual(envelope.headers, {
        traceparent: "00-1-2-03",
        "ce-specversion": "1.0",
        "ce-id": "a b",
        "ce-source": "/s",
        "ce-type": "shop.order.paid",
        "ce-partitionkey": "p",
        client: "shop",
        event: "order.paid",
        version: "1",
        "content-type": json
      })
      const batch = "application/cloudevents-batch+json"
      const many = told(yield* send(to, batch, `[${event("1")},${event("5")},{"id":1},${event("6", { data: {} })}]`))
      const statuses = (many[2].results as ReadonlyArray<Json>).map(({ status }) => status)
      assert.deepStrictEqual([many[0], statuses], [207, [200, 200, 400, 422]])
      // The first had come before.
      assert.strictEqual(published.length, 4)
      assert.deepStrictEqual(told(yield* send(to, batch, "[]"))[2], { results: [] })
      const bad = [
        event("1", { specversion: "0.3" }),
        event(""),
        event("1", { type: "shop" }),
        event("1", { Upper: "x" }),
        event("1", { extension: {} }),
        event("1", { data_base64: "?" }),
        event("1", { datacontenttype: 1 }),
        "[]"
      ]
      for (const one of bad) assert.strictEqual((yield* send(to, structured, one)).status, 400, one)
    }).pipe(Effect.provide(layer))
  )

  it.live("takes a language's own bytes, and gives the pipeline what they say", () =>
    Effect.gen(function* () {
      const { published, source, url } = yield* started()
      yield* send(`${url}${at}/versions`, json, '{"type":"avro","schema":"\\"int\\""}')
      const sent = yield* send(`${url}${at}`, "avro/binary", Uint8Array.of(7))
      assert.strictEqual(sent.status, 200)
      const { envelope } = published[0]!.one
      assert.deepStrictEqual([[...envelope.payload], envelope.headers["content-type"]], [[7], "avro/binary"])
      // A replayed letter is read anew, from what was kept of it.
      const replayed = { ...envelope, headers: { "content-type": json }, payload: new TextEncoder().encode('{"a":1}') }
      assert.deepStrictEqual((yield* Effect.sync(() => source.codec!.decode(replayed))) as unknown, {
        envelope: replayed,
        payload: { a: 1 },
        key: undefined
      })
      assert.strictEqual((yield* send(`${url}${at}`, "avro/binary", Uint8Array.of(1, 2))).status, 415)
      assert.strictEqual((yield* send(`${url}${at}`, "avro/binary", Uint8Array.of(200))).status, 422)
    }).pipe(Effect.provide(layer))
  )

  it.live("describes every route it answers, and is read without anything from outside", () =>
    Effect.gen(function* () {
      const { url } = yield* started({ prefix: "/gateway" })
      const document = (yield* get(`${url}/api/v1/openapi.json`)).json() as Json
      assert.strictEqual(document.openapi, "3.1.0")
      const names = new Set(Object.keys(document.components.schemas))
      for (const [, name] of JSON.stringify(document).matchAll(/#\/components\/schemas\/(\w+)/g)) {
        assert.isTrue(names.has(name!), name)
      }
      const operations = Object.entries(document.paths as Json).flatMap(([path, methods]) =>
        Object.keys(methods as Json).map((method) => [path, method] as const)
      )
      assert.strictEqual(operations.length, 9)
      const page = yield* get(`${url}/api/v1/docs`)
      assert.match(page.headers.get("content-type")!, /^text\/html/)
      assert.notMatch(page.text, /https?:|<script|src=/)
      for (const [path, method] of operations) {
        assert.include(page.text, path)
        const filled = path
          .replace("/gateway", "")
          .replace(/\{client\}|\{event\}/g, "x")
          .replace("{version}", "1")
        const answer = yield* method === "get" ? get(`${url}${filled}`) : send(`${url}${filled}`, json, "{}")
        // Every answer, problems too, is one that is described.
        const described = Object.keys(document.paths[path][method].responses as Json)
        assert.include(described, `${answer.status}`, path)
      }
      assert.strictEqual((yield* get(url.replace("/gateway", "/api/v1/docs"))).status, 404)
    }).pipe(Effect.provide(layer))
  )
})
