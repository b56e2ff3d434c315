/** What every request of the gateway must be: its query, its charset and compression, and the attributes of CloudEvents. */
import { gzipSync } from "node:zlib"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { forms, get, layer, send, started } from "./GatewayRunning.ts"

const json = "application/json"
const at = "/api/v1/clients/shop/events/paid"
const cloud = "/api/v1/cloudevents"
const structured = "application/cloudevents+json"

const running = Effect.gen(function* () {
  const gateway = yield* started()
  assert.strictEqual((yield* send(`${gateway.url}${at}/versions`, json, '{"schema":true}')).status, 201)
  return gateway
})

const problem = (answer: { readonly json: () => unknown }) =>
  answer.json() as { readonly code: string; readonly detail: string }

describe("the query of a request", () => {
  it.live("is refused where a parameter is unknown or comes twice, on every route", () =>
    Effect.gen(function* () {
      const { published, url } = yield* running
      const cases: ReadonlyArray<readonly [string, string | undefined, string]> = [
        [`${at}?version=1&version=2`, "1", "the query has version more than once"],
        [`${at}?version=1&version=1`, "1", "the query has version more than once"],
        [`${at}?versoin=1`, "1", 'the query has no parameter "versoin": there is version'],
        [`${at}/batch?version=1&dry=true`, "[1]", 'the query has no parameter "dry": there is version'],
        [`${at}/validate?Version=1`, "1", 'the query has no parameter "Version": there is version'],
        [`${at}/versions?version=1`, undefined, 'the query has no parameter "version": there are none here'],
        [
          `${at}/versions?compatibility=full`,
          '{"schema":true}',
          'the query has no parameter "compatibility": there are none here'
        ],
        [`${cloud}?version=1`, "{}", 'the query has no parameter "version": there are none here']
      ]
      for (const [path, body, detail] of cases) {
        const answer = yield* body === undefined ? get(`${url}${path}`) : send(`${url}${path}`, json, body)
        assert.deepStrictEqual(
          [answer.status, problem(answer).code, problem(answer).detail],
          [400, "request-invalid", detail],
          path
        )
      }
      for (const good of ["", "?", "?version=latest", "?version=1"]) {
        assert.strictEqual((yield* send(`${url}${at}${good}`, json, "1")).status, 200, good)
      }
      assert.strictEqual(published.length, 4)
    }).pipe(Effect.provide(layer))
  )
})

describe("the content of a request", () => {
  it.live("is refused with 415 in another charset than UTF-8, where it is text", () =>
    Effect.gen(function* () {
      const { published, url } = yield* running
      const latin = Buffer.from('{"name":"é"}', "latin1")
      for (const charset of ["latin1", '"ISO-8859-1"', "utf-16", "utf-7", ""]) {
        const type = `${json}; charset=${charset}`
        for (const [path, contentType] of [
          [at, type],
          [`${at}/batch`, `text/plain;charset=${charset}`],
          [`${at}/validate`, type],
          [`${at}/versions`, type],
          [`${at}/versions/1/deprecate`, type],
          [cloud, `${structured}; charset=${charset}`]
        ] as const) {
          const answer = yield* send(`${url}${path}`, contentType, latin)
          const { code, detail } = problem(answer)
          assert.deepStrictEqual([answer.status, code], [415, "content-unsupported"], `${path} ${contentType}`)
          assert.strictEqual(detail, `text is read as utf-8, not as charset "${charset.replaceAll('"', "")}"`)
          assert.isNull(answer.headers.get("accept-encoding"))
        }
      }
      for (const charset of ["utf-8", '"UTF-8"', "utf8", "us-ascii"]) {
        const answer = yield* send(`${url}${at}`, `${json}; charset=${charset}`, '{"name":"é"}')
        assert.strictEqual(answer.status, 200, charset)
      }
      assert.deepStrictEqual(new Set(published.map(({ text }) => text)), new Set(['{"name":"é"}']))
    }).pipe(Effect.provide(layer))
  )

  it.live("is refused with 415 when it is compressed, and told that it is read as it is", () =>
    Effect.gen(function* () {
      const { published, url } = yield* running
      const body = gzipSync('{"schema":true}')
      for (const path of [at, `${at}/batch`, `${at}/validate`, `${at}/versions`, cloud]) {
        for (const coding of ["gzip", "GZIP", "identity, br"]) {
          const answer = yield* send(`${url}${path}`, json, body, { "content-encoding": coding })
          const { code, detail } = problem(answer)
          assert.deepStrictEqual(
            [answer.status, code, answer.headers.get("accept-encoding")],
            [415, "content-unsupported", "identity"],
            path
          )
          assert.strictEqual(detail, `a body is read as it is, not with content-encoding "${coding}"`)
        }
      }
      assert.strictEqual((yield* send(`${url}${at}`, json, "1", { "content-encoding": "Identity" })).status, 200)
      assert.strictEqual(published.length, 1)
    }).pipe(Effect.provide(layer))
  )

  it.live("is refused on the predecessor's routes in their words; forms of ASCII are taken as they were", () =>
    Effect.gen(function* () {
      const { published, url } = yield* running
      for (const [route, field, words] of [
        ["register_event", "event_schema", "failed to register event"],
        ["send_event", "event", "failed to send event"]
      ] as const) {
        const refused = [400, `{"code":"FAILED","msg":"${words}"}\n`]
        const to = `${url}/shop/old/${route}`
        const form = "application/x-www-form-urlencoded; charset=ISO-8859-1"
        for (const [type, body, headers] of [
          ["application/json; charset=latin1", Buffer.from(`{"${field}":{"title":"é"}}`, "latin1"), {}],
          ["application/json; charset=utf-16", `{"${field}":{"title":"e"}}`, {}],
          [form, `${field}=%7B%22title%22%3A%22%E9%22%7D`, {}],
          [form, `${field}=%7B%22title%22%3A%22%C3%A9%22%7D`, {}],
          [json, gzipSync(`{"${field}":{"title":"e"}}`), { "content-encoding": "gzip" }],
          [...forms.multipart!(field, '{"title":"e"}'), { "content-encoding": "gzip" }]
        ] as const) {
          const answer = yield* send(to, type, body, headers)
          assert.deepStrictEqual([answer.status, answer.text], refused, type)
        }
        const ascii = yield* send(to, form, `${field}=%7B%22title%22%3A%22e%22%7D`)
        assert.strictEqual(ascii.status, 200)
      }
      assert.deepStrictEqual(
        published.map(({ text }) => text),
        ['{"title":"e"}']
      )
    }).pipe(Effect.provide(layer))
  )
})

describe("a CloudEvent", () => {
  const event = (more: object) =>
    JSON.stringify({ specversion: "1.0", id: "1", source: "/s", type: "shop.paid", ...more })

  const bad: ReadonlyArray<readonly [object, string]> = [
    [{ specversion: "0.3" }, 'specversion is "0.3", not "1.0"'],
    [{ specversion: 1 }, 'specversion is 1, not "1.0"'],
    [{ specversion: undefined }, 'specversion is missing, not "1.0"'],
    [{ id: "" }, 'id is "", not text that is not empty'],
    [{ id: undefined }, "id is missing"],
    [{ id: null }, "id is missing"],
    [{ id: 7 }, "id is no text"],
    [{ id: "a\nb" }, "id has a character that no attribute may have, such as a line break"],
    [{ id: "\ud800" }, "id has a character that no attribute may have, such as a line break"],
    [{ source: "" }, 'source is "", not a URI reference (RFC 3986)'],
    [{ source: "my shop" }, 'source is "my shop", not a URI reference (RFC 3986)'],
    [{ source: "/%zz" }, 'source is "/%zz", not a URI reference (RFC 3986)'],
    [{ type: "" }, 'type is "", not text that is not empty'],
    [{ type: "shop" }, "type is not <client>.<event>"],
    [{ time: "yesterday" }, 'time is "yesterday", not a time such as 2026-01-31T12:00:00Z (RFC 3339)'],
    [{ time: "" }, 'time is "", not a time such as 2026-01-31T12:00:00Z (RFC 3339)'],
    [{ time: 1 }, "time is no text"],
    ...[
      "2026-02-29T00:00:00Z",
      "2026-13-01T00:00:00Z",
      "2026-01-01T24:00:00Z",
      "2026-01-01",
      "2026-01-01T00:00:00",
      "2026-01-01T00:00:00+24:00"
    ].map((time) => [{ time }, `time is "${time}", not a time such as 2026-01-31T12:00:00Z (RFC 3339)`] as const),
    [{ partitionkey: "" }, 'partitionkey is "", not text that is not empty'],
    [{ partitionkey: 7 }, "partitionkey is no text"],
    [{ subject: "" }, 'subject is "", not text that is not empty'],
    [{ dataschema: "/only/a/path" }, 'dataschema is "/only/a/path", not a URI (RFC 3986)'],
    [{ dataschema: "" }, 'dataschema is "", not a URI (RFC 3986)'],
    [{ datacontenttype: "json" }, 'datacontenttype is "json", not a media type such as application/json'],
    [{ datacontenttype: "a/b; c" }, 'datacontenttype is "a/b; c", not a media type such as application/json'],
    [{ datacontenttype: "" }, 'datacontenttype is "", not a media type such as application/json'],
    [{ datacontenttype: 1 }, "datacontenttype is no text"],
    [
      { datacontenttype: "application/json; charset=latin1", data: {} },
      'datacontenttype: text is read as utf-8, not as charset "latin1"'
    ],
    [
      { datacontenttype: "text/plain; charset=latin1", data: "é" },
      'datacontenttype: text is read as utf-8, not as charset "latin1"'
    ],
    [{ Upper: "x" }, '"Upper" is no name of an attribute: those have 1 to 64 of the letters a to z and digits'],
    [{ with_line: "x" }, '"with_line" is no name of an attribute: those have 1 to 64 of the letters a to z and digits'],
    [{ extension: {} }, "extension is no text, 32-bit whole number or boolean"],
    [{ extension: 1.5 }, "extension is no text, 32-bit whole number or boolean"],
    [{ extension: 2 ** 31 }, "extension is no text, 32-bit whole number or boolean"],
    [{ data: {}, data_base64: "e30=" }, "data and data_base64 are both there"],
    [{ data_base64: 1 }, "data_base64 is no text"],
    ...["?", "e30", "e3==0", "e30=\u00e9"].map(
      (base64) => [{ data_base64: base64 }, "data_base64 is no base64"] as const
    )
  ]

  it.live("is refused with the attribute that is against the specification", () =>
    Effect.gen(function* () {
      const { published, url } = yield* running
      for (const [more, reason] of bad) {
        const answer = yield* send(`${url}${cloud}`, structured, event(more))
        assert.deepStrictEqual([answer.status, problem(answer).detail], [400, `not a CloudEvent: ${reason}`])
      }
      const all = yield* send(
        `${url}${cloud}`,
        "application/cloudevents-batch+json",
        `[${bad.map(([more]) => event(more)).join(",")}]`
      )
      const { results } = all.json() as { readonly results: ReadonlyArray<{ readonly detail: string }> }
      assert.deepStrictEqual(
        results.map(({ detail }) => detail),
        bad.map(([, reason]) => `not a CloudEvent: ${reason}`)
      )
      const xml = yield* send(`${url}${cloud}`, "application/cloudevents+xml", "<event/>")
      assert.strictEqual(problem(xml).detail, "not a CloudEvent: its format is xml, and only json is read")
      assert.deepStrictEqual(published, [])
    }).pipe(Effect.provide(layer))
  )

  it.live("is refused for its headers too, where it is binary", () =>
    Effect.gen(function* () {
      const { published, url } = yield* running
      const good = { "ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "shop.paid" }
      for (const [header, value, reason] of [
        ["ce-time", "now", 'time is "now", not a time such as 2026-01-31T12:00:00Z (RFC 3339)'],
        ["ce-partitionkey", "", 'partitionkey is "", not text that is not empty'],
        ["ce-id", "", 'id is "", not text that is not empty'],
        ["ce-data", "1", "data is not the name of an attribute"],
        [
          "ce-my-name",
          "1",
          '"my-name" is no name of an attribute: those have 1 to 64 of the letters a to z and digits'
        ],
        ["ce-subject", "a%0Ab", "subject has a character that no attribute may have, such as a line break"]
      ] as const) {
        const answer = yield* send(`${url}${cloud}`, json, "1", { ...good, [header]: value })
        assert.deepStrictEqual([answer.status, problem(answer).detail], [400, `not a CloudEvent: ${reason}`], header)
      }
      const type = yield* send(`${url}${cloud}`, "json", "1", good)
      assert.strictEqual(
        problem(type).detail,
        'not a CloudEvent: datacontenttype is "json", not a media type such as application/json'
      )
      assert.deepStrictEqual(published, [])
    }).pipe(Effect.provide(layer))
  )

  it.live("is taken with all that the specification allows", () =>
    Effect.gen(function* () {
      const { published, url } = yield* running
      const good: ReadonlyArray<object> = [
        { time: "2024-02-29t23:59:60.123456789z" },
        { time: "2026-01-31T12:00:00-23:59" },
        { time: null, subject: null, partitionkey: null, datacontenttype: null, data: {} },
        { source: "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66" },
        { source: "mailto:cncf-wg-serverless@lists.cncf.io" },
        { source: "https://user@[::1]:80/a%20b?c=d#e" },
        { dataschema: "https://schemas.example/paid.json#1" },
        { datacontenttype: 'application/json ; charset="utf-8";; v=1', data: {} },
        { extension: -(2 ** 31), other1: true, empty: "" },
        { data: null, data_base64: "MQ==" },
        { data_base64: "MQ==" },
        { datacontenttype: "application/vnd.a+json", data: 1 }
      ]
      for (const [i, more] of good.entries()) {
        const answer = yield* send(`${url}${cloud}`, structured, event({ id: `${i}`, ...more }))
        assert.strictEqual(answer.status, 200, JSON.stringify(more) + answer.text)
      }
      assert.strictEqual(published.length, good.length)
      // Not long to tell, whatever it is.
      const began = performance.now()
      const spaces = `a/b${"; ".repeat(50_000)}!`
      assert.strictEqual((yield* send(`${url}${cloud}`, structured, event({ datacontenttype: spaces }))).status, 400)
      assert.isBelow(performance.now() - began, 1000)
    }).pipe(Effect.provide(layer))
  )
})
