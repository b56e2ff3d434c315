/** Pipelines shown and tuned over HTTP: who may, what is refused, and what a restart keeps. */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, FileSystem, Redacted, Result, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as Admin from "../../src/layers/Admin.ts"
import * as CodecJson from "../../src/layers/CodecJson.ts"
import * as Config from "../../src/layers/Config.ts"
import * as DeadLettersMemory from "../../src/layers/DeadLettersMemory.ts"
import * as HttpHostNode from "../../src/layers/HttpHostNode.ts"
import * as Supervisor from "../../src/layers/Supervisor.ts"
import { HttpHost } from "../../src/services/HttpHost.ts"
import { accepted } from "../../src/services/Reply.ts"
import { type Source, SourceError } from "../../src/services/Source.ts"
import * as Define from "../../src/streams/Define.ts"
import * as SourceMemory from "../../src/streams/SourceMemory.ts"
import { ask } from "./Servers.ts"

const served = Effect.fnUntraced(function* (options: Admin.Options | undefined, host = "127.0.0.1") {
  const source = yield* SourceMemory.make()
  const plan = (name: string) =>
    Define.define({
      name,
      source: name === "done" ? SourceMemory.fromIterable([]) : source,
      decode: CodecJson.make(),
      rate: { messages: 2, per: "1 hour" },
      dispatch: [{ run: () => accepted(null) }]
    })
  const supervisor = yield* Supervisor.start(["orders/eu", "done"].map(plan), {
    drainMillis: 1000,
    restartsMax: 3,
    windowMillis: 60_000
  })
  const server = yield* HttpHostNode.make({ host, port: 0 })
  yield* Effect.provideService(Admin.routes(supervisor, options), HttpHost, server)
  const url = `http://127.0.0.1:${server.address!.port}/api/v1/pipelines`
  const one = `${url}/orders%2Feu`
  return { source, supervisor, url, one, port: server.address!.port }
})

const patch = (url: string, body: unknown, headers: Readonly<Record<string, string>> = {}) =>
  ask(url, { method: "PATCH", body: typeof body === "string" ? body : JSON.stringify(body), headers })
const get = (url: string, headers: Readonly<Record<string, string>> = {}) => ask(url, { method: "GET", headers })

/** Until the pipelines have taken and settled so many, in real time. */
const settled = (source: { readonly settled: ReadonlyArray<unknown> }, count: number) =>
  Effect.gen(function* () {
    for (let i = 0; i < 500 && source.settled.length < count; i++) yield* Effect.sleep(2)
    yield* Effect.sleep(10)
    assert.strictEqual(source.settled.length, count)
  })

describe("Admin", () => {
  it.live("shows each pipeline, and changes its rate, its concurrency and whether it is paused", () =>
    Effect.gen(function* () {
      const { one, source, supervisor, url } = yield* served(true)
      yield* source.offer(...Array.from({ length: 20 }, (_, n) => ({ payload: { n } })))
      yield* settled(source, 2)
      const all = (yield* get(url)).json() as { readonly pipelines: ReadonlyArray<Record<string, unknown>> }
      assert.deepStrictEqual(
        all.pipelines.map(({ name, state }) => [name, state]),
        [
          ["orders/eu", "running"],
          ["done", "ended"]
        ]
      )
      const before = (yield* get(one)).json() as Record<string, unknown>
      assert.deepInclude(before, {
        name: "orders/eu",
        rate: { messages: 2, per: "3600000 millis" },
        concurrency: 64,
        paused: false,
        waiting: true,
        acked: 2,
        held: 0,
        longestLane: null
      })

      const raised = yield* patch(one, { rate: { messages: 5, per: "1h" }, concurrency: "20" })
      assert.strictEqual(raised.status, 200, raised.text)
      assert.deepInclude(raised.json(), { rate: { messages: 5, per: "3600000 millis" }, concurrency: 20 })
      yield* settled(source, 5)
      // What it shows can be sent back.
      const { rate } = raised.json() as { readonly rate: object }
      assert.strictEqual((yield* patch(one, { rate })).status, 200)
      // Paused and let go in one: nothing slips through between the two.
      assert.deepInclude((yield* patch(one, { rate: null, paused: true })).json(), { rate: null, state: "paused" })
      assert.deepInclude((yield* get(one)).json(), { state: "paused", paused: true, concurrency: 20 })
      yield* settled(source, 5)
      assert.deepInclude((yield* patch(one, { paused: false })).json(), { state: "running", paused: false })
      yield* settled(source, 20)
      assert.isTrue(supervisor.ready())
    }).pipe(Effect.scoped, Effect.provide(DeadLettersMemory.layer))
  )

  it.live("refuses what it cannot do, changes nothing then, and says where", () =>
    Effect.gen(function* () {
      const { one, url } = yield* served(true)
      const cases: ReadonlyArray<readonly [unknown, string]> = [
        [
          { rate: { messages: 0 }, concurrency: 7 },
          "rate.messages: expected a whole number from 1 to 1000000000, found 0"
        ],
        [
          { rate: { messages: 5, per: "never" } },
          'rate.per: expected a duration from 1 millis to 24 days, such as 10 seconds or 5m, found "never"'
        ],
        [{ rate: {} }, "rate.messages: expected a value, since it is required, found nothing"],
        [{ concurrency: 0 }, "concurrency: expected a whole number from 1 to 100000, found 0"],
        [{ paused: "maybe" }, 'paused: expected true or false, found "maybe"'],
        [{ speed: 3 }, 'speed: expected one of rate, concurrency, paused, found "speed"'],
        ["{", 'expected a map, found "{"'],
        [[], "expected a map, found []"]
      ]
      for (const [body, detail] of cases) {
        const answer = yield* patch(one, body)
        assert.strictEqual(answer.status, 400)
        assert.strictEqual(answer.headers.get("content-type"), "application/problem+json")
        assert.deepInclude(answer.json(), { title: "Bad Request", status: 400, code: "request-invalid", detail })
      }
      assert.deepInclude((yield* get(one)).json(), { concurrency: 64, rate: { messages: 2, per: "3600000 millis" } })
      assert.deepInclude((yield* get(`${url}/nobody`)).json(), { status: 404, code: "unknown-pipeline" })
      for (let i = 0; i < 100; i++) {
        if (((yield* get(`${url}/done`)).json() as { readonly state: string }).state === "ended") break
        yield* Effect.sleep(2)
      }
      assert.deepInclude((yield* patch(`${url}/done`, { paused: true })).json(), { status: 409, code: "not-running" })
    }).pipe(Effect.scoped, Effect.provide(DeadLettersMemory.layer))
  )

  it.live("is not there unless it is asked for, and without a key only for this machine by its own name", () =>
    Effect.gen(function* () {
      for (const options of [undefined, false])
        assert.strictEqual((yield* get((yield* served(options)).url)).status, 404)
      const { one, port } = yield* served(true)
      assert.strictEqual((yield* get(`http://localhost:${port}/api/v1/pipelines`)).status, 200)
      // fetch would set the host itself.
      const led = yield* Effect.promise(() => headed(port, "evil.example"))
      assert.match(led, /^HTTP\/1\.1 403 [\s\S]*"code":"forbidden"/)
      assert.match(yield* Effect.promise(() => headed(port, "[::1]:80")), /^HTTP\/1\.1 200 /)
      assert.strictEqual((yield* patch(one, { paused: true })).status, 200)
      const open = yield* served(true, "0.0.0.0")
      assert.strictEqual((yield* patch(open.one, { paused: true })).status, 403)
    }).pipe(Effect.scoped, Effect.provide(DeadLettersMemory.layer))
  )

  it.live("is there for who has the key, wherever the server listens", () =>
    Effect.gen(function* () {
      const { one } = yield* served({ key: Redacted.make("s3cret") }, "0.0.0.0")
      for (const headers of [{}, { authorization: "Bearer wrong" }, { authorization: "Basic s3cret" }]) {
        const answer = yield* patch(one, { paused: true }, headers as Readonly<Record<string, string>>)
        assert.strictEqual(answer.status, 401)
        assert.strictEqual(answer.headers.get("www-authenticate"), "Bearer")
        assert.notInclude(answer.text, "s3cret")
      }
      assert.strictEqual((yield* get(one, { authorization: "bearer s3cret" })).status, 200)
    }).pipe(Effect.scoped, Effect.provide(DeadLettersMemory.layer))
  )

  it.effect("keeps what was tuned when a pipeline starts again", () =>
    Effect.gen(function* () {
      const lost = yield* Deferred.make<never, SourceError>()
      let opened = 0
      const memory = SourceMemory.fromIterable([{ payload: 1 }, { payload: 2 }], { arrayMax: 1 })
      const source: Source = {
        ...memory,
        open: Effect.suspend(() =>
          opened++ === 0 ? Effect.succeed(Stream.fromEffect(Deferred.await(lost))) : memory.open
        )
      }
      const plan = Define.define({ name: "p", source, decode: CodecJson.make() })
      const supervisor = yield* Supervisor.start([plan], { drainMillis: 1000, restartsMax: 0, windowMillis: 1000 })
      const one = supervisor.pipelines[0]!
      yield* TestClock.adjust("1 second")
      yield* Supervisor.tune(one, { concurrency: 3 })
      assert.deepInclude(yield* one.handle!.status, { state: "running", concurrency: 3 })
      yield* Deferred.fail(lost, new SourceError({ source: "memory", reason: "gone", away: true }))
      yield* TestClock.adjust("100 millis")
      assert.strictEqual(one.state, "restarting")
      yield* Supervisor.tune(one, { paused: true, rate: { messages: 1, perMillis: 1000 } })
      yield* TestClock.adjust("1 second")
      const rate = { messages: 1, perMillis: 1000 }
      assert.deepInclude(yield* one.handle!.status, { state: "paused", concurrency: 3, rate, received: 0 })
      yield* Supervisor.tune(one, { paused: false })
      yield* TestClock.adjust("0 millis")
      assert.strictEqual(one.stats.received, 1)
      yield* TestClock.adjust("1 second")
      // The end of its input is looked for when the rate allows one more.
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* supervisor.await, { failed: [] })
      assert.strictEqual(one.stats.acked, 2)
    }).pipe(Effect.scoped, Effect.provide(DeadLettersMemory.layer))
  )

  it.effect("says in a config what is wrong with the rate and with who may tune, and shows no key", () =>
    Effect.gen(function* () {
      const cases: ReadonlyArray<readonly [string, string, string]> = [
        ["{ admin: true }", "{ messages: 10 }", "ok"],
        ["{ admin: { key: hush } }", "{ messages: 10, per: 100 millis }", "ok"],
        [
          "{ host: 0.0.0.0, admin: true }",
          "{ messages: 10 }",
          'x.yaml:1:31: http.admin: expected a key, such as { key: "${ADMIN_KEY}" }, since others can reach 0.0.0.0, found true'
        ],
        [
          "{ admin: { key: 'h u s h' } }",
          "{ messages: 10 }",
          'x.yaml:1:23: http.admin.key: expected text without spaces; what came is not shown, found "other text"'
        ],
        [
          "{ admin: false }",
          "{ messages: 0, per: 0 seconds }",
          [
            "x.yaml:5:23: pipelines.a.rate.messages: expected a whole number from 1 to 1000000000, found 0",
            'x.yaml:5:31: pipelines.a.rate.per: expected a duration from 1 millis to 24 days, such as 10 seconds or 5m, found "0 seconds"'
          ].join("\n")
        ]
      ]
      const fs = yield* FileSystem.FileSystem
      const file = `${yield* fs.makeTempDirectoryScoped()}/x.yaml`
      for (const [http, rate, expected] of cases) {
        const text = `http: ${http}\npipelines:\n  a:\n    source: { type: stdin }\n    rate: ${rate}\n`
        yield* fs.writeFileString(file, text)
        const result = yield* Effect.result(Config.load(file, {}))
        const said = Result.isSuccess(result) ? "ok" : result.failure.message.replaceAll(file, "x.yaml")
        assert.strictEqual(said, expected)
      }
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )
})

/** What is answered to a request for this host. */
const headed = async (port: number, host: string): Promise<string> => {
  const { connect } = await import("node:net")
  return new Promise((resolve, reject) => {
    let said = ""
    const socket = connect(port, "127.0.0.1", () =>
      socket.write(`GET /api/v1/pipelines HTTP/1.1\r\nhost: ${host}\r\nconnection: close\r\n\r\n`)
    )
    socket.on("data", (chunk) => {
      said += chunk.toString()
    })
    socket.on("close", () => resolve(said))
    socket.on("error", reject)
  })
}
