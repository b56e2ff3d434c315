/** The predecessor's clients: its four routes, answer by answer. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as FlaskJson from "../../src/streams/FlaskJson.ts"
import { ask } from "../layers/Servers.ts"
import { forms, get, layer, send, started } from "./GatewayRunning.ts"

const failed = (msg: string) => [400, `{"code":"FAILED","msg":"${msg}"}\n`] as const
const done = (msg: string) => [200, `{"code":"SUCCEEDED","msg":"${msg}"}\n`] as const

describe("the predecessor's routes", () => {
  for (const [name, form] of Object.entries(forms)) {
    it.live(`answer quick_test.py to the byte: ${name}`, () =>
      Effect.gen(function* () {
        const { published, url } = yield* started()
        const told = Effect.fnUntraced(function* (route: string, field?: string, text?: string) {
          const at = `${url}/SpongeBob${route}`
          const answer = field === undefined ? yield* get(at) : yield* send(at, ...form(field, text!))
          assert.strictEqual(answer.headers.get("content-type"), "application/json")
          return [answer.status, answer.text] as const
        })
        const event = '{"fruit": "äpple", "n": 1.0, "id": 12345678901234567890}'
        const schema = '{"type": "object", "required": ["fruit"], "properties": {"n": {"minimum": 1.0}}}'
        assert.deepStrictEqual(yield* told("/Fruits/send_event", "event", event), failed("failed to send event"))
        assert.deepStrictEqual(yield* told("/Fruits/schema"), failed("event not registered"))
        assert.deepStrictEqual(yield* told("/Fruits/register_event", "event_schema", schema), done("event registered"))
        assert.deepStrictEqual(
          yield* told("/Fruits/register_event", "event_schema", schema),
          failed("failed to register event")
        )
        assert.deepStrictEqual(yield* told("/Fruits/send_event", "event", event), done("event sent"))
        assert.deepStrictEqual(
          yield* told("/Fruits/send_event", "event", '{"color": "red"}'),
          failed("failed to send event")
        )
        assert.deepStrictEqual(yield* told("/Fruits/schema"), [
          200,
          '{"code":"SUCCEEDED","msg":"schema recovered","schema":{"properties":{"n":{"minimum":1.0}},"required":["fruit"],"type":"object"}}\n'
        ])
        assert.deepStrictEqual(yield* told("/Colors/register_event", "event_schema", "true"), done("event registered"))
        assert.deepStrictEqual(yield* told("/Colors/send_event", "event", '"red"'), done("event sent"))
        assert.deepStrictEqual(yield* told("/list_events"), [
          200,
          '{"code":"SUCCEEDED","events":[["SpongeBob","Colors"],["SpongeBob","Fruits"]],"msg":"schema recovered"}\n'
        ])
        assert.strictEqual(
          (yield* get(`${url}/Patrick/list_events`)).text,
          '{"code":"SUCCEEDED","events":[],"msg":"schema recovered"}\n'
        )
        // As the client wrote it: no digit is lost.
        assert.deepStrictEqual(
          published.map(({ text, to }) => [to, text]),
          [
            ["SpongeBob.Fruits", event],
            ["SpongeBob.Colors", '"red"']
          ]
        )
        assert.deepInclude(published[0]!.one.envelope.headers, {
          client: "SpongeBob",
          event: "Fruits",
          version: "1",
          "content-type": "application/json"
        })
        assert.isUndefined(published[0]!.one.key)
      }).pipe(Effect.provide(layer))
    )
  }

  it.live("refuse what was refused, in the old words", () =>
    Effect.gen(function* () {
      const { control, published, url } = yield* started()
      const at = `${url}/c/e`
      for (const [route, field] of [
        ["register_event", "event_schema"],
        ["send_event", "event"]
      ] as const) {
        const absent = failed(`'${field}' key not in data`)
        const broken = failed(`'${field}' is not a valid json`)
        const cases: ReadonlyArray<readonly [string, string, readonly [number, string]]> = [
          ...Object.values(forms).flatMap((form) =>
            ["{}", "[]", "0", "-0.0", "false", "null", '""', "{", "nonsense"].map(
              (text) => [...form(field, text), broken] as const
            )
          ),
          [...forms.urlencoded!(field, ""), absent],
          [...forms.multipart!(field, ""), absent],
          [...forms.json!("x", "1"), absent],
          ["application/json", "", absent],
          ["application/json", "[1]", absent],
          ["application/json", '"event"', absent],
          ["application/json", "\u0000", broken],
          ["text/plain", `${field}=1`, absent],
          ["application/x-www-form-urlencoded", "", absent],
          ["application/x-www-form-urlencoded", `x${field}=1&${field}x=1`, absent],
          ["application/x-www-form-urlencoded", field, absent],
          ["multipart/form-data", "--b", absent],
          ["multipart/form-data; boundary=b", `--b\r\n\r\n\r\n--b\r\nnothing`, absent]
        ]
        for (const [contentType, body, expected] of cases) {
          const answer = yield* send(`${at}/${route}`, contentType, body)
          assert.deepStrictEqual([answer.status, answer.text], [...expected], `${contentType} ${body}`)
        }
        const bytes = yield* send(`${at}/${route}`, "application/json", Uint8Array.of(0x7b, 0xff))
        assert.deepStrictEqual([bytes.status, bytes.text], [...broken])
      }
      for (const schema of ['{"type":"random_type"}', "[1]", '"text"', "7", '{"$ref":"http://127.0.0.1/s"}']) {
        const answer = yield* send(`${at}/register_event`, ...forms.json!("event_schema", schema))
        assert.deepStrictEqual([answer.status, answer.text], [...failed("failed to register event")], schema)
      }
      for (const name of ["a.b/e", "c/e%20e", "x%2e%2e/e", "c/%F0%9F%8D%8E", `c/${"x".repeat(248)}`, "c%2Fd/e"]) {
        const register = yield* send(`${url}/${name}/register_event`, ...forms.json!("event_schema", "true"))
        assert.deepStrictEqual([register.status, register.text], [...failed("failed to register event")], name)
        const sent = yield* send(`${url}/${name}/send_event`, ...forms.json!("event", "1"))
        assert.deepStrictEqual([sent.status, sent.text], [...failed("failed to send event")])
        const schema = yield* get(`${url}/${name}/schema`)
        assert.deepStrictEqual([schema.status, schema.text], [...failed("event not registered")])
      }
      assert.deepStrictEqual([control.stored, published], [[], []])
    }).pipe(Effect.provide(layer))
  )

  it.live("answer other routes, methods and sizes with a reason", () =>
    Effect.gen(function* () {
      const { url } = yield* started({ bodyMax: 100 })
      for (const [method, path, status] of [
        ["GET", "/", 404],
        ["POST", "/c/e", 404],
        ["GET", "/c/e/send_event", 405],
        ["POST", "/c/e/schema", 405],
        ["DELETE", "/c/list_events", 405],
        ["POST", "/c/e/%E0%A4%A/send_event", 404],
        ["POST", "/%E0%A4%A/e/send_event", 404]
      ] as const) {
        const answer = yield* ask(`${url}${path}`, { method })
        assert.strictEqual(answer.status, status, path)
        assert.isNotEmpty((answer.json() as { readonly error: string }).error)
      }
      const large = yield* send(`${url}/c/e/send_event`, ...forms.json!("event", `"${"x".repeat(100)}"`))
      assert.strictEqual(large.status, 413)
    }).pipe(Effect.provide(layer))
  )

  it.live("answer 503 and the old words when the registry is away", () =>
    Effect.gen(function* () {
      const { control, url } = yield* started()
      control.away = true
      const answers = [
        yield* send(`${url}/c/e/register_event`, ...forms.json!("event_schema", "true")),
        yield* send(`${url}/c/e/send_event`, ...forms.json!("event", "1")),
        yield* get(`${url}/c/e/schema`)
      ]
      for (const { headers, status } of answers)
        assert.deepStrictEqual([status, headers.get("retry-after")], [503, "1"])
      assert.deepStrictEqual(
        answers.map(({ text }) => text),
        ["failed to register event", "failed to send event", "event not registered"].map((msg) => failed(msg)[1])
      )
    }).pipe(Effect.provide(layer))
  )

  it.live("take a client called api, beside the new routes", () =>
    Effect.gen(function* () {
      const { published, url } = yield* started()
      yield* send(`${url}/api/v1/register_event`, ...forms.json!("event_schema", "true"))
      assert.strictEqual((yield* send(`${url}/api/v1/send_event`, ...forms.json!("event", "1"))).status, 200)
      assert.strictEqual((yield* get(`${url}/api/v1/schema`)).status, 200)
      assert.strictEqual((yield* get(`${url}/api/list_events`)).status, 200)
      assert.deepStrictEqual(
        published.map(({ to }) => to),
        ["api.v1"]
      )
    }).pipe(Effect.provide(layer))
  )
})

describe("FlaskJson", () => {
  it("writes what Python's json.dumps wrote", () => {
    // Made with Python 3: json.dumps(json.loads(text), sort_keys=True, separators=(",", ":")).
    const cases: ReadonlyArray<readonly [string, string]> = [
      ["1.0", "1.0"],
      ["-0", "0"],
      ["-0.0", "-0.0"],
      ["100000000000000000000000", "100000000000000000000000"],
      ["1e5", "100000.0"],
      ["1E15", "1000000000000000.0"],
      ["1e16", "1e+16"],
      ["123456789012345678.5", "1.2345678901234568e+17"],
      ["0.0001", "0.0001"],
      ["0.00001", "1e-05"],
      ["1.5e-7", "1.5e-07"],
      ["1e400", "Infinity"],
      ["2.50", "2.5"],
      ['"é\\u007f\\n\\/😀"', '"\\u00e9\\u007f\\n/\\ud83d\\ude00"'],
      ['{"b":[1,{"z":null,"a":true}],"a":{},"10":1,"9":2}', '{"10":1,"9":2,"a":{},"b":[1,{"a":true,"z":null}]}'],
      ['{"\ue000":1,"😀":2}', '{"\\ue000":1,"\\ud83d\\ude00":2}'],
      ['{"__proto__":1}', '{"__proto__":1}']
    ]
    for (const [text, written] of cases) assert.strictEqual(FlaskJson.rewrite(text), written, text)
  })
})
