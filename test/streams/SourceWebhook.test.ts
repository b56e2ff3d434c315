/** Webhooks over the real HTTP server, through a real pipeline: who gets in, what is run, and what is answered. */
import { request as httpRequest } from "node:http"
import { createRequire } from "node:module"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer, Metric } from "effect"
import { PrometheusMetrics } from "effect/observability"
import * as CodecJson from "../../src/layers/CodecJson.ts"
import * as DeadLettersMemory from "../../src/layers/DeadLettersMemory.ts"
import * as DedupeMemory from "../../src/layers/DedupeMemory.ts"
import * as HttpHostNode from "../../src/layers/HttpHostNode.ts"
import { DeadLetters } from "../../src/services/DeadLetters.ts"
import { DispatchError } from "../../src/services/Dispatcher.ts"
import { text } from "../../src/services/Envelope.ts"
import type { Detection } from "../../src/services/Event.ts"
import { HttpHost } from "../../src/services/HttpHost.ts"
import type { Ready } from "../../src/services/Ready.ts"
import { accepted, type Reply, refused } from "../../src/services/Reply.ts"
import * as Define from "../../src/streams/Define.ts"
import * as Pipeline from "../../src/streams/Pipeline.ts"
import * as SourceWebhook from "../../src/streams/SourceWebhook.ts"
import { ask, raw } from "../layers/Servers.ts"
import { github, make, standard, stripe } from "../layers/WebhookKit.ts"
import * as payloads from "./HasuraPayloads.ts"

const layer = Layer.mergeAll(
  HttpHostNode.layer({ host: "127.0.0.1", port: 0 }),
  DeadLettersMemory.layer,
  DedupeMemory.layer()
)

type Run = (detection: Detection) => Ready<Reply, DispatchError>

interface Started extends Omit<SourceWebhook.Options, "auth" | "path" | "pipeline"> {
  readonly auth?: unknown
  readonly run?: Run
}

/** A pipeline that remembers what it ran. */
const started = Effect.fnUntraced(function* ({ auth, run = () => accepted(null), ...options }: Started = {}) {
  const { port } = (yield* HttpHost).address!
  const guard = auth === undefined ? undefined : yield* make({ auth })
  const source = yield* SourceWebhook.make({ pipeline: "hooks", path: "/hooks", ...options, auth: guard })
  const ran: Array<Detection["event"]> = []
  const handle = yield* Pipeline.start(
    Define.define({
      name: "hooks",
      source,
      decode: source.codec ?? CodecJson.make(),
      retry: { attempts: 1 },
      dispatch: [
        {
          run: (detection) => {
            ran.push(detection.event)
            return run(detection)
          }
        }
      ]
    })
  )
  const url = `http://127.0.0.1:${port}/hooks`
  const send = (body: string | Uint8Array<ArrayBuffer>, headers: Record<string, string> = {}, query = "") =>
    ask(`${url}${query}`, { body, headers: { "content-type": "application/json", ...headers } })
  // Its intake opens with a turn of the event loop.
  for (let i = 0; i < 100; i++) yield* Effect.yieldNow
  return { handle, port, ran, send, url }
})

/** The payloads of GitHub's documentation. */
const examples = createRequire(import.meta.url)("@octokit/webhooks-examples") as ReadonlyArray<{
  readonly examples: ReadonlyArray<unknown>
}>

const insert = JSON.stringify(payloads.insert)
const passphrase = { type: "passphrase", passphrase: "open sesame" }
const word = { passphrase: "open sesame" }

const letters = Effect.flatMap(DeadLetters, (_) => _.list({}))

describe("a webhook of Hasura", () => {
  it.live("runs each documented payload as it came, and answers 200 with its id", () =>
    Effect.gen(function* () {
      const { ran, send } = yield* started({ auth: passphrase, format: "hasura" })
      for (const [name, payload] of Object.entries(payloads.all)) {
        const sent = { ...payload, id: name, some_day: true }
        const answer = yield* send(JSON.stringify(sent), word)
        assert.strictEqual(answer.status, 200, name)
        assert.deepStrictEqual(answer.json(), { id: name })
        assert.deepStrictEqual(ran.at(-1)?.payload, sent)
        assert.strictEqual(ran.at(-1)?.envelope.id, name)
        assert.strictEqual(ran.at(-1)?.envelope.source, "webhook:/hooks")
      }
    }).pipe(Effect.provide(layer))
  )

  it.live("runs a retry of what is settled no second time, and answers it 200", () =>
    Effect.gen(function* () {
      const { handle, ran, send } = yield* started({ auth: passphrase, format: "hasura" })
      for (let current_retry = 0; current_retry < 3; current_retry++) {
        const retried = { ...payloads.insert, delivery_info: { max_retries: 3, current_retry } }
        const answer = yield* send(JSON.stringify(retried), word)
        assert.deepStrictEqual([answer.status, answer.json()], [200, { id: payloads.insert.id }])
      }
      assert.lengthOf(ran, 1)
      assert.strictEqual((yield* handle.status).acked, 3)
    }).pipe(Effect.provide(layer))
  )

  it.live("runs one of two copies that come at the same time, and answers both when it is done", () =>
    Effect.gen(function* () {
      const working = yield* Deferred.make<void>()
      const release = yield* Deferred.make<void>()
      const { ran, send } = yield* started({
        format: "hasura",
        run: () =>
          Effect.andThen(Deferred.succeed(working, undefined), Effect.as(Deferred.await(release), accepted(null)))
      })
      const first = yield* Effect.forkChild(send(insert))
      yield* Deferred.await(working)
      const second = yield* Effect.forkChild(send(insert))
      yield* Effect.sleep("50 millis")
      assert.isUndefined(second.pollUnsafe())
      yield* Deferred.succeed(release, undefined)
      assert.strictEqual((yield* Fiber.join(first)).status, 200)
      assert.strictEqual((yield* Fiber.join(second)).status, 200)
      assert.lengthOf(ran, 1)
    }).pipe(Effect.provide(layer))
  )

  it.live("keeps no credential of a request", () =>
    Effect.gen(function* () {
      const auth = [passphrase, { type: "header", name: "X-From-Hasura", value: "hush" }]
      const { send } = yield* started({ auth, format: "hasura", run: () => refused("no") })
      const secret = { ...word, "x-from-hasura": "hush", authorization: "Bearer hush", cookie: "a=hush" }
      const answer = yield* send(insert, { ...secret, "x-tenant": "t" }, "?passphrase=open%20sesame")
      assert.strictEqual(answer.status, 200)
      const [letter] = yield* letters
      assert.strictEqual(letter?.envelope.headers["x-tenant"], "t")
      const kept = JSON.stringify(letter)
      for (const part of ["sesame", "hush", "passphrase", "authorization"]) assert.notInclude(kept, part)
    }).pipe(Effect.provide(layer))
  )

  it.live("takes the passphrase in the query too", () =>
    Effect.gen(function* () {
      const { ran, send } = yield* started({ auth: passphrase, format: "hasura" })
      assert.strictEqual((yield* send(insert, {}, "?passphrase=open%20sesame")).status, 200)
      assert.notInclude(JSON.stringify(ran[0]), "sesame")
    }).pipe(Effect.provide(layer))
  )

  it.live("refuses without any work, and says why", () =>
    Effect.gen(function* () {
      const { handle, port, ran, send, url } = yield* started({ auth: passphrase, format: "hasura" })
      const cases = [
        [yield* send(insert), 401, "the passphrase is missing"],
        [yield* send(insert, { passphrase: "x" }), 401, "the passphrase is not right"],
        [yield* send("{broken", word), 400, /^not JSON: /],
        [yield* send("", word), 400, /^not JSON: /],
        [yield* send("null", word), 400, "payload: expected object, not null"],
        [yield* send("{}", word), 400, "payload.event: is missing"],
        [yield* send(insert.replace("INSERT", "UPSERT"), word), 400, /^payload\.event\.op: /],
        [yield* send(JSON.stringify({ ...payloads.insert, id: "x".repeat(1025) }), word), 400, /more than 1024/],
        [yield* send(" ".repeat(1024 * 1024 + 1), word), 413, /larger than 1048576 bytes/],
        [yield* ask(url, { method: "GET", headers: word }), 405, /takes POST, not GET/],
        [yield* ask(`http://127.0.0.1:${port}/other`, { headers: word }), 404, /no \/other/]
      ] as const
      for (const [answer, status, words] of cases) {
        assert.strictEqual(answer.status, status, answer.text)
        const { error } = answer.json() as { readonly error: string }
        if (typeof words === "string") assert.strictEqual(error, words)
        else assert.match(error, words)
        assert.isNull(answer.headers.get("retry-after"))
      }
      assert.deepStrictEqual(ran, [])
      assert.deepStrictEqual(yield* letters, [])
      assert.strictEqual((yield* handle.status).received, 0)
      const counted = (yield* PrometheusMetrics.format())
        .split("\n")
        .filter((line) => line.startsWith("sluice_webhook"))
      assert.sameMembers(counted, [
        'sluice_webhook_answers_total{pipeline="hooks",route="/hooks",status="401"} 2',
        'sluice_webhook_answers_total{pipeline="hooks",route="/hooks",status="400"} 6'
      ])
    }).pipe(Effect.provide(layer), Effect.provideService(Metric.MetricRegistry, new Map()))
  )

  it.live("refuses a body of 10 MiB by its head, and a stranger's before it is read", () =>
    Effect.gen(function* () {
      const { port, ran, send } = yield* started({ auth: passphrase, format: "hasura" })
      const large = new Uint8Array(10 * 1024 * 1024).fill(32)
      assert.strictEqual((yield* send(large, word)).status, 413)
      const head = (more: string) => `POST /hooks HTTP/1.1\r\nhost: a\r\n${more}\r\n\r\n`
      const known = yield* raw(port)
      yield* known.send(head("passphrase: open sesame\r\ncontent-length: 10485760"))
      assert.match(yield* known.until("bytes"), /^HTTP\/1\.1 413 /)
      const stranger = yield* raw(port)
      yield* stranger.send(head("content-length: 1000000"))
      assert.match(yield* stranger.until("missing"), /^HTTP\/1\.1 401 /)
      // Without a length the server reads to its bound, and no further.
      const chunked = yield* raw(port)
      yield* chunked.send(head("passphrase: open sesame\r\ntransfer-encoding: chunked"))
      yield* chunked.send(`100001\r\n${" ".repeat(0x100001)}\r\n`)
      assert.match(yield* chunked.until("bytes"), /^HTTP\/1\.1 413 /)
      assert.lengthOf(ran, 0)
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.live("takes large bodies where it is told to", () =>
    Effect.gen(function* () {
      const { ran, send } = yield* started({ format: "hasura", bodyMax: 11 * 1024 * 1024 })
      const name = "x".repeat(10 * 1024 * 1024)
      const event = { ...payloads.insert.event, data: { old: null, new: { name } } }
      assert.strictEqual((yield* send(JSON.stringify({ ...payloads.insert, event }))).status, 200)
      assert.lengthOf(ran, 1)
    }).pipe(Effect.provide(layer))
  )

  it.live("answers 200 to what was buried, and asks for what can be done later in whole seconds", () =>
    Effect.gen(function* () {
      let reason: "buried" | "later" = "buried"
      const failing = yield* Deferred.make<void>()
      const { handle, ran, send } = yield* started({
        format: "hasura",
        run: () =>
          reason === "buried"
            ? refused("no such customer")
            : Effect.andThen(
                Deferred.succeed(failing, undefined),
                Effect.fail(
                  new DispatchError({ reason: "hush", presence: "busy", retryable: true, retryAfterMillis: 60_000 })
                )
              )
      })
      assert.strictEqual((yield* send(insert)).status, 200)
      assert.lengthOf(yield* letters, 1)
      assert.strictEqual((yield* send(insert)).status, 200)
      assert.lengthOf(ran, 1)
      reason = "later"
      const asking = yield* Effect.forkChild(send(JSON.stringify({ ...payloads.insert, id: "other" })))
      yield* Deferred.await(failing)
      yield* handle.drain()
      const answer = yield* Fiber.join(asking)
      assert.strictEqual(answer.status, 503)
      assert.strictEqual(answer.headers.get("retry-after"), "1")
      assert.notInclude(answer.text, "hush")
      const stopped = yield* send(insert)
      assert.deepStrictEqual([stopped.status, stopped.headers.get("retry-after")], [503, "1"])
    }).pipe(Effect.provide(layer))
  )

  it.live("runs again what was given back", () =>
    Effect.gen(function* () {
      const failing = yield* Deferred.make<void>()
      const fails = yield* started({
        format: "hasura",
        run: () =>
          Effect.andThen(
            Deferred.succeed(failing, undefined),
            Effect.fail(new DispatchError({ reason: "x", presence: "busy", retryable: true, retryAfterMillis: 60_000 }))
          )
      }).pipe(
        Effect.flatMap(({ handle, send }) =>
          Effect.gen(function* () {
            const asking = yield* Effect.forkChild(send(insert))
            yield* Deferred.await(failing)
            yield* handle.drain()
            return (yield* Fiber.join(asking)).status
          })
        ),
        Effect.scoped
      )
      assert.strictEqual(fails, 503)
      const { ran, send } = yield* started({ format: "hasura" })
      assert.strictEqual((yield* send(insert)).status, 200)
      assert.lengthOf(ran, 1)
    }).pipe(Effect.provide(layer))
  )
})

describe("the compatible endpoint", () => {
  const entry = { name: "move.pickup", jobs: [{ name: "a", options: {}, completed: true, duration: 1, result: "a" }] }

  it.live("answers in version 0's shape and words", () =>
    Effect.gen(function* () {
      const { ran, send } = yield* started({
        auth: passphrase,
        format: "hasura",
        answer: "v0",
        run: () => Effect.delay(Effect.succeed(accepted(entry)), 60)
      })
      const answer = yield* send(insert, word)
      const said = answer.json() as { readonly events: unknown; readonly duration: number }
      assert.strictEqual(answer.status, 200)
      assert.strictEqual(answer.headers.get("content-type"), "application/json")
      assert.deepStrictEqual(Object.keys(said), ["events", "duration"])
      assert.deepStrictEqual(said.events, [entry])
      assert.isTrue(Number.isInteger(said.duration) && said.duration >= 55 && said.duration < 5000)
      assert.strictEqual(answer.text, JSON.stringify(said, null, 2))

      const copy = yield* send(insert, word)
      assert.deepStrictEqual([copy.status, (copy.json() as typeof said).events], [200, []])
      assert.lengthOf(ran, 1)

      const wrong = yield* send(insert, { passphrase: "x" })
      assert.deepStrictEqual([wrong.status, wrong.text], [401, "Unauthorized!"])
      assert.match(wrong.headers.get("content-type")!, /^text\/plain/)
      const broken = yield* send("{broken", word)
      assert.deepStrictEqual([broken.status, broken.text], [500, '{\n  "errors": [\n    {}\n  ]\n}'])
      assert.isNull(broken.headers.get("retry-after"))
      for (const text of ["7", "null", '"x"']) {
        const odd = yield* send(text, word)
        assert.deepStrictEqual([odd.status, odd.json()], [200, { events: [], duration: 0 }])
      }
      assert.lengthOf(ran, 1)
      assert.deepStrictEqual(yield* letters, [])
    }).pipe(Effect.provide(layer))
  )

  it.live("hands version 0's modules any object, each time it comes without an id", () =>
    Effect.gen(function* () {
      const { ran, send } = yield* started({ format: "hasura", answer: "v0", run: () => accepted(entry) })
      const test = '{"event":{"op":"UPDATE","data":{"old":{"id":1},"new":{"id":1}}}}'
      for (let i = 0; i < 2; i++) assert.include((yield* send(test)).text, "move.pickup")
      assert.lengthOf(ran, 2)
      assert.deepStrictEqual(ran[1]?.payload, JSON.parse(test))
    }).pipe(Effect.provide(layer))
  )

  it.live("answers in version 2's shape, with no events for what is none of Hasura's", () =>
    Effect.gen(function* () {
      const { ran, send } = yield* started({ format: "hasura", answer: "v2", run: () => accepted(entry) })
      const answer = yield* send(insert)
      const said = answer.json() as { readonly events: unknown; readonly durationMs: number }
      assert.deepStrictEqual(said.events, [
        { name: "move.pickup", detected: true, jobs: [{ name: "a", durationMs: 1, result: "a", completed: true }] }
      ])
      assert.isTrue(Number.isInteger(said.durationMs))
      for (const text of ["7", "{}", '{"event":{}}', '{"event":{"op":"INSERT"}}', JSON.stringify(payloads.cron)]) {
        const odd = yield* send(text)
        assert.deepStrictEqual([odd.status, odd.json()], [200, { events: [], durationMs: 0 }], text)
      }
      assert.lengthOf(ran, 1)
    }).pipe(Effect.provide(layer))
  )
})

describe("a webhook of somebody else", () => {
  it.live("of GitHub is known by its signature and told apart by its delivery", () =>
    Effect.gen(function* () {
      const { ran, send } = yield* started({ auth: { type: "github", secret: "s" }, format: "github" })
      const body = '{"zen":"Keep it logically awesome.","hook_id":1}'
      const headers = { ...github("s", body), "x-github-delivery": "d-1", "x-github-event": "ping" }
      for (let i = 0; i < 2; i++) {
        assert.deepStrictEqual((yield* send(body, headers)).json(), { id: "d-1" })
      }
      assert.lengthOf(ran, 1)
      assert.deepStrictEqual(ran[0]?.payload, JSON.parse(body))
      assert.strictEqual(ran[0]?.envelope.headers["x-github-event"], "ping")
      const forged = yield* send(`${body} `, { ...headers, "x-github-delivery": "d-2" })
      assert.strictEqual(forged.status, 401)
      assert.deepStrictEqual(forged.json(), { error: "the signature is not that of this body" })
      assert.strictEqual((yield* send(body)).status, 401)
      assert.strictEqual((yield* send("{", { ...headers, ...github("s", "{") })).status, 400)
      assert.lengthOf(ran, 1)
    }).pipe(Effect.provide(layer))
  )

  it.live("of GitHub takes all of its example payloads, as they are signed and in no other way", () =>
    Effect.gen(function* () {
      const { ran, send } = yield* started({ auth: { type: "github", secrets: ["new", "old"] }, format: "github" })
      const bodies = examples.flatMap((one) => one.examples.map((payload) => JSON.stringify(payload)))
      assert.isAbove(bodies.length, 100)
      for (const [i, body] of bodies.entries()) {
        const headers = { "x-github-delivery": `d-${i}` }
        const forged = `${body.slice(0, -1)} }`
        const signature = github(i % 2 === 0 ? "new" : "old", body)
        assert.strictEqual((yield* send(forged, { ...headers, ...signature })).status, 401)
        assert.strictEqual((yield* send(body, { ...headers, ...github("stolen", body) })).status, 401)
        assert.strictEqual((yield* send(body, { ...headers, ...signature })).status, 200)
        assert.deepStrictEqual(ran.at(-1)?.payload, JSON.parse(body))
      }
      assert.lengthOf(ran, bodies.length)
    }).pipe(Effect.provide(layer))
  )

  it.live("of GitHub may be a form", () =>
    Effect.gen(function* () {
      const { ran, send } = yield* started({ auth: { type: "github", secret: "s" }, format: "github" })
      const form = { "content-type": "application/x-www-form-urlencoded" }
      const body = `payload=${encodeURIComponent('{"zen":"a & b = c"}')}`
      const answer = yield* send(body, { ...form, ...github("s", body), "x-github-delivery": "d-1" })
      assert.strictEqual(answer.status, 200)
      assert.deepStrictEqual(ran[0]?.payload, { zen: "a & b = c" })
      // Whatever codec the pipeline has finds JSON, and so does a replay.
      assert.strictEqual(text(ran[0]!.envelope), '{"zen":"a & b = c"}')
      assert.strictEqual(ran[0]!.envelope.headers["content-type"], "application/json")
      assert.strictEqual((yield* send("a=b", { ...form, ...github("s", "a=b") })).status, 400)
    }).pipe(Effect.provide(layer))
  )

  it.live("of Stripe is told apart by its event", () =>
    Effect.gen(function* () {
      const { ran, send } = yield* started({ auth: { type: "stripe", secrets: ["new", "old"] }, format: "stripe" })
      const now = Math.floor(Date.now() / 1000)
      const body = '{"id":"evt_1","object":"event","type":"charge.succeeded"}'
      // Each try of Stripe has a time of its own.
      for (const [secret, seconds] of [
        ["old", now],
        ["new", now + 1]
      ] as const) {
        assert.deepStrictEqual((yield* send(body, stripe([secret], seconds, body))).json(), { id: "evt_1" })
      }
      assert.lengthOf(ran, 1)
      const replayed = yield* send(body, stripe(["new"], now - 400, body))
      assert.strictEqual(replayed.status, 401)
      assert.deepStrictEqual(replayed.json(), { error: "the time of the signature is more than 300 s from now" })
      const nameless = yield* send("{}", stripe(["new"], now, "{}"))
      assert.deepStrictEqual(
        [nameless.status, nameless.json()],
        [400, { error: "payload.id: expected the id of an event" }]
      )
      assert.lengthOf(ran, 1)
    }).pipe(Effect.provide(layer))
  )

  it.live("of Standard Webhooks is told apart by its message", () =>
    Effect.gen(function* () {
      const auth = { type: "standard-webhooks", secret: "just text" }
      const { ran, send } = yield* started({ auth, format: "standard-webhooks" })
      const now = Math.floor(Date.now() / 1000)
      for (const seconds of [now, now + 1]) {
        assert.deepStrictEqual((yield* send("{}", standard("just text", "msg_1", seconds, "{}"))).json(), {
          id: "msg_1"
        })
      }
      assert.lengthOf(ran, 1)
      const moved = { ...standard("just text", "msg_1", now, "{}"), "webhook-id": "msg_2" }
      assert.strictEqual((yield* send("{}", moved)).status, 401)
      assert.strictEqual((yield* send("{}", standard("just text", "msg_3", now - 301, "{}"))).status, 401)
      assert.strictEqual((yield* send("{", standard("just text", "msg_4", now, "{"))).status, 400)
      assert.lengthOf(ran, 1)
    }).pipe(Effect.provide(layer))
  )

  it.live("of anybody is told apart by the id it gives, and not at all without one", () =>
    Effect.gen(function* () {
      const { ran, send } = yield* started({ auth: { type: "bearer", token: "t" } })
      const bearer = { authorization: "Bearer t" }
      const cases: ReadonlyArray<readonly [Record<string, string>, string | undefined]> = [
        [{ "idempotency-key": "k" }, "k"],
        [{ "idempotency-key": "k" }, "k"],
        [{ "ce-id": "1", "ce-source": "/a" }, "/a/1"],
        [{ "ce-id": "1", "ce-source": "/a", "idempotency-key": "other" }, "/a/1"],
        [{}, undefined],
        [{ "idempotency-key": "" }, undefined]
      ]
      for (const [headers, id] of cases) {
        const answer = yield* send("{}", { ...bearer, ...headers })
        assert.strictEqual(answer.status, 200)
        if (id !== undefined) assert.deepStrictEqual(answer.json(), { id })
      }
      assert.lengthOf(ran, 4)
      const stranger = yield* send("{}")
      assert.strictEqual(stranger.status, 401)
      assert.strictEqual(stranger.headers.get("www-authenticate"), 'Bearer realm="sluice"')
      assert.strictEqual((yield* send("{", bearer)).status, 400)
      assert.deepStrictEqual(yield* letters, [])
    }).pipe(Effect.provide(layer))
  )
})

describe("headers of a webhook", () => {
  const post = (port: number, headers: ReadonlyArray<string>, body: string): Effect.Effect<number> =>
    Effect.callback((resume) => {
      const length = `${Buffer.byteLength(body)}`
      const asked = httpRequest(
        {
          host: "127.0.0.1",
          port,
          path: "/hooks",
          method: "POST",
          headers: ["Host", "a", "Content-Length", length, ...headers]
        },
        (response) => {
          response.resume()
          response.on("end", () => resume(Effect.succeed(response.statusCode ?? 0)))
        }
      )
      asked.on("error", () => resume(Effect.succeed(0)))
      // With text node would write the head in its encoding too.
      asked.end(Buffer.from(body))
    })

  it.live("may be written in any case, but a signature comes once", () =>
    Effect.gen(function* () {
      const { port, ran } = yield* started({ auth: { type: "github", secret: "s" }, format: "github" })
      const good = github("s", "{}")["x-hub-signature-256"]
      const bad = `sha256=${"0".repeat(64)}`
      const name = "X-Hub-Signature-256"
      const cases: ReadonlyArray<readonly [ReadonlyArray<string>, number]> = [
        [[name, good], 200],
        [[name.toUpperCase(), good], 200],
        [[name, ` ${good} `], 200],
        [[name, good, name, good], 401],
        [[name, good, name.toLowerCase(), bad], 401],
        [[name, bad, name, good], 401],
        [["X_Hub_Signature_256", good], 401],
        [["Cookie", `x-hub-signature-256=${good}`], 401],
        [[name, `${good}\u00a0`], 401],
        [[], 401]
      ]
      for (const [headers, status] of cases) {
        assert.strictEqual(yield* post(port, headers, "{}"), status, headers.join(" "))
      }
      assert.lengthOf(ran, 3)
    }).pipe(Effect.provide(layer))
  )

  it.live("carry a passphrase as UTF-8 or Latin-1, once", () =>
    Effect.gen(function* () {
      const { port } = yield* started({ auth: { ...passphrase, passphrase: "Schlüssel" } })
      const asUtf8 = Buffer.from("Schlüssel").toString("latin1")
      assert.strictEqual(yield* post(port, ["Passphrase", asUtf8], "{}"), 200)
      assert.strictEqual(yield* post(port, ["passphrase", "Schlüssel"], "{}"), 200)
      assert.strictEqual(yield* post(port, ["passphrase", "Schlüssel", "Passphrase", "Schlüssel"], "{}"), 401)
      assert.strictEqual(yield* post(port, ["passphrase", "Schlussel"], "{}"), 401)
    }).pipe(Effect.provide(layer))
  )
})
