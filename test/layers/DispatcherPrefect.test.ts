/** Flow runs asked of a scripted server, for what a real one does not do on command: faults, and answers out of turn. */
import type { IncomingMessage, ServerResponse } from "node:http"
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Duration, Effect, Fiber, FileSystem, Logger, Redacted, References, Result } from "effect"
import * as App from "../../src/layers/App.ts"
import * as CodecJson from "../../src/layers/CodecJson.ts"
import * as Config from "../../src/layers/Config.ts"
import * as DeadLettersMemory from "../../src/layers/DeadLettersMemory.ts"
import * as DispatcherPrefect from "../../src/layers/DispatcherPrefect.ts"
import * as Wiring from "../../src/layers/Wiring.ts"
import { DeadLetters } from "../../src/services/DeadLetters.ts"
import type { Detection } from "../../src/services/Event.ts"
import { later } from "../../src/services/Ready.ts"
import * as Define from "../../src/streams/Define.ts"
import * as SourceMemory from "../../src/streams/SourceMemory.ts"
import { bodyOf, serve } from "./Servers.ts"

interface Seen {
  readonly method: string
  readonly path: string
  readonly headers: IncomingMessage["headers"]
  readonly body: Record<string, any>
  /** Of the other side: it tells connections apart. */
  readonly text: string
  readonly port: number
}

/** Answers one request, or leaves it to the server that is well. */
type Script = (seen: Seen, outgoing: ServerResponse, n: number) => boolean | undefined

const json = (outgoing: ServerResponse, status: number, body: unknown, headers = {}): true => {
  outgoing.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(body))
  return true
}

const uuid = (n: number) => `00000000-0000-4000-8000-${`${n}`.padStart(12, "0")}`

/** As a Prefect server that has the deployment `ETL/nightly` and is well. */
const well = ({ body, method, path }: Seen, outgoing: ServerResponse, n: number): true => {
  if (path.startsWith("/api/health")) return json(outgoing, 200, true)
  if (path === "/api/deployments/name/ETL/nightly") return json(outgoing, 200, { id: uuid(1), name: "nightly" })
  if (method === "POST" && path.endsWith("/create_flow_run")) {
    return json(outgoing, 201, { id: uuid(100 + n), name: `run-${n}`, state_type: "SCHEDULED", ...body })
  }
  if (path.endsWith("/filter")) return json(outgoing, 200, [])
  return json(outgoing, 404, { detail: path.includes("/deployments/name/") ? "Deployment not found" : "Not Found" })
}

const scripted = Effect.fnUntraced(function* (script: Script = () => undefined) {
  const seen: Array<Seen> = []
  const at = { working: 0, most: 0 }
  const server = yield* serve((incoming, outgoing) => {
    at.most = Math.max(at.most, ++at.working)
    outgoing.on("close", () => at.working--)
    bodyOf(incoming).then(
      (text) => {
        const { headers, method = "", url = "" } = incoming
        const port = incoming.socket.remotePort!
        const one = { method, path: url, headers, body: text === "" ? {} : JSON.parse(text), text, port }
        seen.push(one)
        const n = seen.length
        if (script(one, outgoing, n) !== true) well(one, outgoing, n)
      },
      () => {}
    )
  })
  return { ...server, api: `${server.url}/api`, seen, at }
})

const detection = (payload: unknown = {}, name = "order.paid", id = "id-1"): Detection => ({
  name,
  event: { envelope: SourceMemory.envelopeOf({ id, payload }, "memory", 1, 0), payload, key: "k" }
})

const make = (options: Partial<DispatcherPrefect.Options>, environment: Readonly<Record<string, string>> = {}) =>
  Effect.provideService(
    DispatcherPrefect.make({ deployment: "ETL/nightly", ...options }),
    ConfigProvider.ConfigProvider,
    ConfigProvider.fromUnknown(environment)
  )

const calling = Effect.fnUntraced(function* (
  script?: Script,
  options: Partial<DispatcherPrefect.Options> = {},
  environment: Readonly<Record<string, string>> = {}
) {
  const server = yield* scripted(script)
  const dispatcher = yield* make({ url: server.api, ...options }, environment)
  return { ...server, dispatcher, dispatch: (one = detection()) => later(dispatcher.dispatch(one)) }
})

const isCreate = ({ path }: Seen) => path.endsWith("/create_flow_run")
const created = (seen: ReadonlyArray<Seen>) => seen.filter(isCreate)
const lookups = (seen: ReadonlyArray<Seen>) => seen.filter(({ path }) => path.includes("/deployments/name/"))

describe("DispatcherPrefect", () => {
  it.live("says what it did in the words of its predecessor", () =>
    Effect.gen(function* () {
      const lines: Array<string> = []
      const logger = Logger.layer([
        Logger.make(({ logLevel, message }) => void lines.push(`${logLevel} ${[message].flat().join(" ")}`))
      ])
      const { dispatch } = yield* calling(undefined, { parameters: "payload" })
      const reply = yield* dispatch(detection({ n: 1 })).pipe(
        Effect.provide(logger),
        Effect.provideService(References.MinimumLogLevel, "Debug")
      )
      assert.deepStrictEqual(lines, ["Info Successfully triggered ETL/nightly: run-2", 'Debug with parameters {"n":1}'])
      assert.deepStrictEqual([reply.kind, reply.status, reply.note], ["accepted", 201, "triggered ETL/nightly: run-2"])
      assert.include(reply.payload as object, { id: uuid(102), name: "run-2", state_type: "SCHEDULED" })
    })
  )

  it.live("asks a server that does not answer well again later, with the words it gave", () =>
    Effect.gen(function* () {
      const busy = { exception_message: "Service Unavailable" }
      for (const [status, body, headers, presence, words] of [
        [500, { exception_message: "Internal Server Error" }, {}, "answered", "Internal Server Error"],
        [503, busy, { "retry-after": "3" }, "busy", "Service Unavailable"],
        [429, { detail: "slow\n down" }, {}, "busy", "slow down"],
        [408, {}, {}, "answered", "{}"],
        [425, [], {}, "answered", "[]"]
      ] as const) {
        const { api, dispatch } = yield* calling((one, outgoing) =>
          isCreate(one) ? json(outgoing, status, body, headers) : undefined
        )
        const error = yield* Effect.flip(dispatch())
        assert.deepStrictEqual([error.presence, error.retryable], [presence, true])
        assert.strictEqual(error.retryAfterMillis, "retry-after" in headers ? 3000 : undefined)
        assert.match(error.reason, new RegExp(`answered ${status} [A-Za-z ]+: .*$`))
        assert.isTrue(error.reason.startsWith(`ETL/nightly: POST ${api}/deployments/${uuid(1)}/create_flow_run`))
        assert.isTrue(error.reason.endsWith(words), error.reason)
      }
      const slow = yield* calling((one) => isCreate(one), { timeout: "200 millis" })
      const { presence, reason } = yield* Effect.flip(slow.dispatch())
      assert.strictEqual(presence, "answered")
      assert.match(reason, /^ETL\/nightly: POST .* gave no answer within 200ms$/)
    })
  )

  it.live("tries once more, on a new connection, what a connection that breaks may have carried", () =>
    Effect.gen(function* () {
      let broken = 1
      const { dispatch, dispatcher, seen } = yield* calling((one, outgoing) => {
        if (!isCreate(one) || broken === 0) return undefined
        broken--
        outgoing.socket!.destroy()
        return true
      })
      yield* dispatcher.probe!
      const reply = yield* dispatch()
      assert.strictEqual(reply.kind, "accepted")
      const keys = created(seen).map(({ body }) => body.idempotency_key)
      assert.deepStrictEqual(keys, Array(2).fill(`memory/id-1/order.paid/${uuid(1)}`))
      const ports = seen.map(({ port }) => port)
      assert.notInclude(ports.slice(0, -1), ports.at(-1)!)
      broken = 2
      const error = yield* Effect.flip(dispatch())
      assert.deepStrictEqual([error.presence, error.retryable], ["reset", true])
      assert.lengthOf(created(seen), 4)
    })
  )

  it.live("looks a name up once for all, keeps what it found, and looks again when that is gone", () =>
    Effect.gen(function* () {
      let id = 1
      const { dispatch, seen } = yield* calling(({ path }, outgoing) => {
        if (path.includes("/deployments/name/")) return json(outgoing, 200, { id: uuid(id) })
        if (path.endsWith("/create_flow_run") && !path.includes(uuid(id))) {
          return json(outgoing, 404, { detail: "Deployment not found" })
        }
        return undefined
      })
      const all = Effect.all(
        Array.from({ length: 10 }, (_, n) => dispatch(detection({}, "e", `${n}`))),
        { concurrency: 10 }
      )
      for (const { kind } of yield* all) assert.strictEqual(kind, "accepted")
      assert.lengthOf(lookups(seen), 1)
      id = 2
      for (const { kind } of yield* all) assert.strictEqual(kind, "accepted")
      assert.isBelow(lookups(seen).length, 5)
      const before = lookups(seen).length
      for (const { kind } of yield* all) assert.strictEqual(kind, "accepted")
      assert.lengthOf(lookups(seen), before)
    })
  )

  it.live("does not remember that there was none, nor that a lookup failed, and asks no more than twice", () =>
    Effect.gen(function* () {
      let mode: "none" | "away" | "gone" | "well" = "none"
      const { dispatch, seen } = yield* calling(({ path }, outgoing) => {
        const isLookup = path.includes("/deployments/name/")
        if (mode === "away" && isLookup) return json(outgoing, 500, { exception_message: "broken" })
        if (mode === "none" && isLookup) return json(outgoing, 404, { detail: "Deployment not found" })
        if (mode === "gone" && !isLookup) return json(outgoing, 404, { detail: "Deployment not found" })
        return undefined
      })
      const none = yield* dispatch()
      assert.strictEqual(none.kind, "refused")
      assert.match(
        none.reason!,
        /^there is no deployment `ETL\/nightly` \(ETL\/nightly: GET .*: Deployment not found\)$/
      )
      mode = "away"
      assert.strictEqual((yield* Effect.flip(dispatch())).presence, "answered")
      mode = "well"
      assert.strictEqual((yield* dispatch()).kind, "accepted")
      mode = "gone"
      const asked = created(seen).length
      const gone = yield* dispatch()
      assert.deepStrictEqual([gone.kind, gone.status], ["refused", 404])
      assert.match(gone.reason!, /^ETL\/nightly: POST .* answered 404 Not Found: Deployment not found$/)
      assert.lengthOf(created(seen), asked + 2)
    })
  )

  it.live("reads all pages of what contains the name, and takes only what equals it", () =>
    Effect.gen(function* () {
      const flows = Array.from({ length: 451 }, (_, n) => ({ id: uuid(n), name: n === 450 ? "etl" : `my etl ${n}` }))
      const { dispatch, seen } = yield* calling(({ body, path }, outgoing) => {
        const page = (items: ReadonlyArray<unknown>) => items.slice(body.offset, body.offset + body.limit)
        if (path.includes("/deployments/name/")) return json(outgoing, 404, { detail: "Deployment not found" })
        if (path.endsWith("/deployments/filter")) {
          assert.deepStrictEqual(body.flows, { name: { like_: "ETL" } })
          assert.deepStrictEqual(body.deployments, { name: { like_: "nightly" } })
          return json(
            outgoing,
            200,
            page(flows.map(({ id }, n) => ({ id: uuid(n + 1000), name: "NIGHTLY", flow_id: id })))
          )
        }
        if (path.endsWith("/flows/filter")) {
          return json(outgoing, 200, page(flows.filter(({ id }) => body.flows.id.any_.includes(id))))
        }
        return undefined
      })
      const reply = yield* dispatch()
      assert.strictEqual(reply.kind, "accepted")
      assert.include(created(seen)[0]!.path, uuid(1450))
    })
  )

  it.live("shows no credentials that a server says back, however they were given and however it says them", () =>
    Effect.gen(function* () {
      const echo: Script = ({ headers, path }, outgoing) => {
        const { authorization = "", "x-api-key": key } = headers
        const decoded = Buffer.from(`${authorization}`.replace(/^\S+ /, ""), "base64").toString()
        const said = {
          detail: `${authorization} ${authorization?.slice(6)} ${decoded} ${decoded.split(":")[1]} ${key}`
        }
        return path.includes("/deployments/name/") ? undefined : json(outgoing, 422, said)
      }
      const { api } = yield* scripted(echo)
      const at = (credentials: string) => api.replace("//", `//${credentials}@`)
      for (const options of [
        { url: at("admin:SeCrEt%2Bpass") },
        { url: at("admin:SeCrEt+pass") },
        { url: api, headers: { authorization: `Basic ${Buffer.from("admin:SeCrEt+pass").toString("base64")}` } },
        { url: api, headers: { "x-api-key": "SeCrEt+pass" } },
        { url: api, authString: Redacted.make("admin:SeCrEt+pass") }
      ]) {
        const dispatcher = yield* make(options)
        const reply = yield* later(dispatcher.dispatch(detection()))
        assert.include(reply.reason, "answered 422")
        for (const secret of ["SeCrEt", Buffer.from("admin:SeCrEt+pass").toString("base64")]) {
          assert.notInclude(reply.reason, secret)
        }
      }
    })
  )

  it.live("sends numbers as they are written, and no text that Prefect cannot keep", () =>
    Effect.gen(function* () {
      const { dispatch, seen } = yield* calling(undefined, { parameters: "payload.p" })
      const of = (text: string): Detection => {
        const one = detection()
        const envelope = { ...one.event.envelope, payload: new TextEncoder().encode(text) }
        return { ...one, event: { ...one.event, envelope, payload: JSON.parse(text) } }
      }
      yield* dispatch(of('{"p":{"n":12345678901234567890,"x":1.50,"e":1e400,"s":"12345678901234567890"}}'))
      assert.include(
        created(seen)[0]!.text,
        '"parameters":{"n":12345678901234567890,"x":1.50,"e":1e400,"s":"12345678901234567890"}'
      )
      for (const text of ["\\ud800", "a\\u0000b", "\\\\\\udfff"]) {
        const error = yield* Effect.flip(dispatch(of(`{"p":{"n":"${text}"}}`)))
        assert.isFalse(error.retryable)
        assert.match(error.reason, /there is a NUL or half a surrogate pair in its text/)
      }
      yield* dispatch(of('{"p":{"n":"\\ud83d\\ude00 \\\\u0000"}}'))
      assert.strictEqual(created(seen).length, 2)
    })
  )

  it.live("blames no message for what is wrong with the credentials or the URL", () =>
    Effect.gen(function* () {
      const secret = "pnu_s3cret"
      const answers: ReadonlyArray<readonly [number, unknown, RegExp]> = [
        [401, { exception_message: `Unauthorized: ${secret}` }, /answered 401 Unauthorized: Unauthorized: <secret>$/],
        [403, { detail: "Forbidden" }, /answered 403 Forbidden: Forbidden$/],
        [407, {}, /answered 407/],
        [302, {}, /answered 302 Found to http:\/\/login\.example\/: redirects are off$/],
        [405, { detail: "Method Not Allowed" }, /405/]
      ]
      for (const [status, body, words] of answers) {
        const { dispatch, seen } = yield* calling(
          ({ path }, outgoing) =>
            status === 405
              ? json(outgoing, path.endsWith("filter") ? 405 : 404, body)
              : json(outgoing, status, body, { location: "http://login.example/" }),
          {},
          { PREFECT_API_KEY: ` ${secret}\n` }
        )
        const error = yield* Effect.flip(dispatch())
        assert.deepStrictEqual([error.presence, error.retryable], ["busy", true], error.reason)
        assert.match(error.reason, words)
        assert.notInclude(error.reason, secret)
        assert.strictEqual(seen[0]!.headers.authorization, `Bearer ${secret}`)
      }
      const page = yield* calling((_, outgoing) => {
        outgoing.writeHead(200, { "content-type": "text/html" }).end("<html>Prefect</html>")
        return true
      })
      const error = yield* Effect.flip(page.dispatch())
      assert.deepStrictEqual([error.presence, error.retryable], ["busy", true])
      assert.match(error.reason, /^ETL\/nightly: Prefect answered 200 without JSON: is this the URL of its API\?$/)
    })
  )

  it.live("lets nothing be buried while a key is refused", () =>
    Effect.gen(function* () {
      // More than a message has attempts; one lookup is everyone's.
      let refusals = 9
      const { api, seen } = yield* scripted((_, outgoing) =>
        refusals-- > 0 ? json(outgoing, 401, { exception_message: "Unauthorized" }) : undefined
      )
      const plan = Define.define({
        name: "orders",
        source: SourceMemory.fromIterable(Array.from({ length: 30 }, (_, n) => ({ id: `${n}`, payload: { n } }))),
        decode: CodecJson.make(),
        dispatch: [{ run: yield* make({ url: api }) }],
        retry: { backoffMillis: 5, maxMillis: 20 }
      })
      yield* Define.run(plan)
      assert.lengthOf(yield* (yield* DeadLetters).list({}), 0)
      assert.lengthOf(created(seen), 30)
    }).pipe(Effect.scoped, Effect.provide(DeadLettersMemory.layer))
  )

  it.live("asks a server that is overloaded with fewer at once, together with all others that ask it", () =>
    Effect.gen(function* () {
      const limit = 2
      const server = yield* scripted((one, outgoing) => {
        if (!isCreate(one)) return undefined
        if (server.at.working > limit) return json(outgoing, 503, { exception_message: "Service Unavailable" })
        setTimeout(() => well(one, outgoing, 0), 10)
        return true
      })
      const dispatchers = yield* Effect.all([make({ url: server.api }), make({ url: `${server.api}/` })])
      const replies = yield* Effect.forEach(
        Array.from({ length: 60 }, (_, n) => n),
        (n) => Effect.result(later(dispatchers[n % 2]!.dispatch(detection({}, "e", `${n}`)))),
        { concurrency: 60 }
      )
      assert.isAtMost(server.at.most, 5)
      assert.isAbove(replies.filter(Result.isSuccess).length, 45)
    })
  )

  it.live("gets a CSRF token when one is wanted, and another when that one is no longer good", () =>
    Effect.gen(function* () {
      let good = 1
      let given = 0
      const { dispatch, seen } = yield* calling(({ headers, method, path }, outgoing) => {
        if (path.startsWith("/api/csrf-token?client=")) {
          return json(outgoing, 200, { token: `t${++given}`, client: path.split("=")[1] })
        }
        if (method === "GET" || headers["prefect-csrf-token"] === `t${good}`) return undefined
        const detail = headers["prefect-csrf-token"] === undefined ? "Missing CSRF token." : "Invalid CSRF token"
        return json(outgoing, 403, { detail })
      })
      yield* dispatch()
      yield* dispatch()
      assert.strictEqual(given, 1)
      good = 2
      yield* dispatch()
      assert.strictEqual(given, 2)
      const clients = new Set(created(seen).map(({ headers }) => headers["prefect-csrf-client"]))
      assert.strictEqual(clients.size, 2)
      good = 9
      const error = yield* Effect.flip(dispatch())
      assert.deepStrictEqual([error.presence, error.retryable], ["busy", true])
      assert.match(error.reason, /answered 403 Forbidden: Invalid CSRF token$/)
    })
  )

  it.live("waits out what goes wrong while it follows a run", () =>
    Effect.gen(function* () {
      let looks = 0
      const faults: ReadonlyArray<(outgoing: ServerResponse) => void> = [
        (outgoing) => json(outgoing, 503, { exception_message: "Service Unavailable" }),
        (outgoing) => void outgoing.socket!.destroy(),
        (outgoing) => void outgoing.socket!.destroy(),
        (outgoing) => json(outgoing, 401, {}),
        (outgoing) => json(outgoing, 200, { id: uuid(7), name: "run", state_type: "RUNNING" })
      ]
      const wait = { every: Duration.millis(100), within: Duration.seconds(30) }
      const { dispatch, seen } = yield* calling(
        ({ path }, outgoing) => {
          if (!path.includes("/flow_runs/")) return undefined
          const fault = faults[looks++]
          if (fault !== undefined) fault(outgoing)
          else json(outgoing, 200, { id: uuid(7), name: "run", state_type: "COMPLETED" })
          return true
        },
        { wait }
      )
      const reply = yield* dispatch()
      assert.deepStrictEqual(
        [reply.kind, reply.payload],
        ["accepted", { id: uuid(7), name: "run", state_type: "COMPLETED" }]
      )
      assert.lengthOf(created(seen), 1)
      const gone = yield* calling(undefined, { wait })
      const refused = yield* gone.dispatch()
      assert.strictEqual(refused.kind, "refused")
      assert.match(refused.reason!, /^the flow run run-2 can no longer be read: .* answered 404/)
      const away = yield* calling(
        ({ path }, outgoing) => (path.includes("/flow_runs/") ? json(outgoing, 503, { detail: "no" }) : undefined),
        { wait: { ...wait, within: Duration.millis(500) } }
      )
      const late = yield* away.dispatch()
      assert.strictEqual(late.kind, "refused")
      assert.match(late.reason!, /^ETL\/nightly: the flow run run-2 was last seen SCHEDULED \(.*503.*\) after 500ms$/)
      assert.include(late.payload as object, { name: "run-2" })
    })
  )

  it.live("lets others through while it waits for the next look", () =>
    Effect.gen(function* () {
      const wait = { every: Duration.millis(400), within: Duration.millis(1500) }
      const { dispatch, seen } = yield* calling(undefined, { wait, connections: 1 })
      const fibers = yield* Effect.forEach([1, 2, 3], (n) => Effect.forkChild(dispatch(detection({}, "e", `${n}`))))
      yield* Effect.sleep("300 millis")
      assert.lengthOf(created(seen), 3)
      yield* Effect.forEach(fibers, Fiber.interrupt)
    })
  )
})

describe("What DispatcherPrefect sends", () => {
  it.live("is asked of the deployment its event or its message names", () =>
    Effect.gen(function* () {
      const { dispatch, seen } = yield* calling(
        ({ path }, outgoing) =>
          path.includes("/deployments/name/") ? json(outgoing, 200, { id: uuid(1) }) : undefined,
        {
          deployment: {
            SampleMsg: "Flow Name/deployment-name",
            "*": "{{payload.flow_name}}/{{payload.deployment_name}}"
          },
          parameters: "payload.payload"
        }
      )
      yield* dispatch(detection({ payload: { a: 1 } }, "SampleMsg"))
      yield* dispatch(detection({ flow_name: "ETL ü?", deployment_name: "x y", payload: null }, "anything"))
      assert.deepStrictEqual(
        lookups(seen).map(({ path }) => path),
        ["/api/deployments/name/Flow%20Name/deployment-name", "/api/deployments/name/ETL%20%C3%BC%3F/x%20y"]
      )
      const bodies = created(seen).map(({ body }) => body)
      assert.deepStrictEqual(bodies[0], {
        parameters: { a: 1 },
        idempotency_key: `memory/id-1/SampleMsg/${uuid(1)}`
      })
      assert.deepStrictEqual(bodies[1], { idempotency_key: `memory/id-1/anything/${uuid(1)}` })
      for (const [payload, reason] of [
        [{ flow_name: "f" }, "Prefect: there is no deployment for the event `e`: there is no payload.deployment_name"],
        [
          { flow_name: "a/b", deployment_name: "c" },
          "Prefect: the deployment for the event `e` is `a/b/c`, not Flow Name/deployment-name"
        ],
        [
          { flow_name: " ", deployment_name: "c" },
          "Prefect: the deployment for the event `e` is ` /c`, not Flow Name/deployment-name"
        ]
      ] as const) {
        const error = yield* Effect.flip(dispatch(detection(payload, "e")))
        assert.deepStrictEqual([error.retryable, error.presence, error.reason], [false, "answered", reason])
      }
      const mapped = yield* calling(undefined, { deployment: { known: "A/b" } })
      for (const name of ["unknown", "constructor", "*"]) {
        const error = yield* Effect.flip(mapped.dispatch(detection({}, name)))
        assert.strictEqual(error.reason, `Prefect: there is no deployment for the event \`${name}\``)
        assert.isFalse(error.retryable)
      }
      assert.lengthOf(mapped.seen, 0)
    })
  )

  it.live("leaves out parameters that are not there, and takes bytes as the JSON they are", () =>
    Effect.gen(function* () {
      const parameters = { a: "payload.a", b: "payload.b", event: "event" }
      const { dispatch, dispatcher, seen } = yield* calling(undefined, {
        parameters,
        idempotencyKey: "{{payload.a}}-x"
      })
      yield* dispatch(detection({ a: null }))
      yield* dispatch(detection({ a: "1", b: { c: [] } }))
      yield* dispatch(detection({ a: "y".repeat(1000) }))
      const bodies = created(seen).map(({ body }) => body)
      assert.deepStrictEqual(bodies[0]!.parameters, { a: null, event: "order.paid" })
      assert.deepStrictEqual(bodies[1]!.parameters, { a: "1", b: { c: [] }, event: "order.paid" })
      assert.strictEqual(bodies[0]!.idempotency_key, `memory/id-1/order.paid/${uuid(1)}`)
      assert.strictEqual(bodies[1]!.idempotency_key, `1-x/order.paid/${uuid(1)}`)
      assert.match(bodies[2]!.idempotency_key, /^sha256:[0-9a-f]{64}$/)
      const whole = yield* make({ url: `http://127.0.0.1:1/api`, parameters: "payload" })
      const cyclic: Record<string, unknown> = {}
      cyclic.self = cyclic
      const error = yield* Effect.flip(
        later(whole.dispatch({ ...detection(), event: { ...detection().event, payload: cyclic } }))
      )
      assert.isFalse(error.retryable)
      assert.match(error.reason, /^Prefect: the flow run of the event `order.paid` cannot be asked for: /)
      const bytes = yield* calling(undefined, { parameters: "payload" })
      const payload = new TextEncoder().encode('{"n":1}')
      yield* bytes.dispatch({ ...detection(), event: { ...detection().event, payload } })
      assert.deepStrictEqual(created(bytes.seen)[0]!.body.parameters, { n: 1 })
      assert.strictEqual(dispatcher.name, "prefect")
    })
  )

  it.live("carries the credentials that are set nearest", () =>
    Effect.gen(function* () {
      const key = Redacted.make("key-of-options")
      const authString = Redacted.make("us:pass")
      const environment = { PREFECT_API_KEY: "key-of-env", PREFECT_API_AUTH_STRING: "env:pass" }
      for (const [options, variables, expected] of [
        [{}, {}, undefined],
        [{}, { PREFECT_API_KEY: "k", PREFECT_API_AUTH_STRING: "" }, "Bearer k"],
        [{}, environment, `Basic ${btoa("env:pass")}`],
        [{ apiKey: key }, environment, "Bearer key-of-options"],
        [{ apiKey: key, authString }, environment, `Basic ${btoa("us:pass")}`],
        [{ headers: { Authorization: "Custom x" } }, environment, "Custom x"]
      ] as const) {
        const { dispatch, seen } = yield* calling(undefined, options, variables)
        yield* dispatch()
        assert.isAbove(seen.length, 1)
        for (const { headers } of seen) assert.strictEqual(headers.authorization, expected)
      }
      const { api, seen } = yield* scripted()
      yield* later(
        (yield* make({}, { PREFECT_API_URI: "http://127.0.0.1:1/", PREFECT_API_URL: `${api}/` })).dispatch(detection())
      )
      yield* later((yield* make({}, { PREFECT_API_URI: api, PREFECT_API_URL: "" })).dispatch(detection()))
      assert.lengthOf(created(seen), 2)
    })
  )
})

describe("A config with a prefect dispatcher", () => {
  /** What a user reads for this dispatcher. */
  const said = (options: string, environment: Readonly<Record<string, string>> = { PREFECT_API_URL: "http://h/api" }) =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const file = `${yield* fs.makeTempDirectoryScoped()}/x.yaml`
      const text = `pipelines:\n  a:\n    source: { type: stdin }\n    dispatch: [{ type: prefect, ${options} }]\n`
      yield* fs.writeFileString(file, text)
      const loaded = yield* Config.load(file, environment)
      const result = yield* Effect.result(
        Wiring.plans(loaded).pipe(
          Effect.scoped,
          Effect.provide(App.dry(loaded)),
          Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromUnknown(environment))
        )
      )
      return Result.isSuccess(result) ? "ok" : result.failure.message.replaceAll(`${file}:4:`, "")
    }).pipe(
      Effect.catch((error) => Effect.succeed(error.message.replaceAll(/^.*x\.yaml:4:/gm, ""))),
      Effect.scoped,
      Effect.provide(NodeServices.layer)
    )

  it.effect("is told what is wrong with it", () =>
    Effect.gen(function* () {
      const at = "pipelines.a.dispatch.0"
      for (const [options, expected, environment] of [
        ["deployment: a/b", "ok"],
        ["deployment: { x: a/b, '*': '{{payload.f}}/{{payload.d}}' }, entra: false, wait: true", "ok"],
        ["deployment: a/b, wait: { every: 5s }, delay: 1m, tags: [t], jobVariables: { cpu: 1 }", "ok"],
        ["deployment: a", `45: ${at}.deployment: expected Flow Name/deployment-name, found "a"`],
        ["deployment: a/b/c", `45: ${at}.deployment: expected Flow Name/deployment-name, found "a/b/c"`],
        ["deployment: { x: /b }", `50: ${at}.deployment.x: expected Flow Name/deployment-name, found "/b"`],
        ["deployment: { }", `33: ${at}.deployment: expected Flow Name/deployment-name, found a map`],
        [
          "deployment: '{{name}}/b', parameters: order",
          [
            `45: ${at}.deployment: expected in {{name}} a path that starts at payload, envelope or event, found "{{name}}/b"`,
            `71: ${at}.parameters: expected a path that starts at payload, envelope or event, found "order"`
          ].join("\n")
        ],
        [
          "deployment: a/b, wait: { every: 1ms }",
          `65: ${at}.wait.every: expected a duration from 100 millis, found "1ms"`
        ],
        [
          "deployment: a/b",
          `16: ${at}.url: expected a URL such as http://127.0.0.1:4200/api here, or in the environment as PREFECT_API_URL or PREFECT_API_URI, found nothing`,
          {}
        ],
        [
          "deployment: a/b",
          `16: ${at}.url: expected a URL such as http://127.0.0.1:4200/api in PREFECT_API_URL, found "another value"`,
          { PREFECT_API_URL: "user:pass@host", PREFECT_API_URI: "http://h/api" }
        ],
        [
          "deployment: a/b, entra: { scope: s, clientId: c }",
          [
            `50: ${at}.entra.tenantId: expected text here, or PREFECT_API_TENANT_ID or PREFECT_API_TENANT_ID_KV in the environment, found nothing`,
            `50: ${at}.entra.clientSecret: expected text here, or PREFECT_API_CLIENT_SECRET or PREFECT_API_CLIENT_SECRET_KV in the environment, found nothing`
          ].join("\n")
        ],
        [
          "deployment: a/b, entra: { scope: s, clientId: c, tenantId: t }",
          `50: ${at}.entra: expected the vault's URL in AZURE_KEY_VAULT_URI, since a variable that ends in _KV names a secret of it, found nothing`,
          { PREFECT_API_URL: "http://h/api", PREFECT_API_CLIENT_SECRET_KV: "secret" }
        ],
        [
          "deployment: a/b, url: 'http://u:p@h/api', apiKey: k",
          `83: ${at}.apiKey: expected no other credentials besides authorization in the headers or in the URL, found "both"`
        ]
      ] as ReadonlyArray<readonly [string, string, Readonly<Record<string, string>>?]>) {
        assert.strictEqual(yield* said(options, environment), expected, options)
      }
    })
  )
})
