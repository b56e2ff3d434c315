/** Flow runs on real Prefect servers: what is created is read back, and what is refused is refused in Prefect's words. */
import { randomUUID } from "node:crypto"
import { readFileSync } from "node:fs"
import { resolve } from "node:path"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { ConfigProvider, Duration, Effect, Fiber, Redacted, References } from "effect"
import * as CodecJson from "../../src/layers/CodecJson.ts"
import * as DeadLettersMemory from "../../src/layers/DeadLettersMemory.ts"
import * as DispatcherPrefect from "../../src/layers/DispatcherPrefect.ts"
import type { FlowRun } from "../../src/layers/PrefectWait.ts"
import { DeadLetters } from "../../src/services/DeadLetters.ts"
import type { Dispatcher } from "../../src/services/Dispatcher.ts"
import type { Detection } from "../../src/services/Event.ts"
import { later } from "../../src/services/Ready.ts"
import type { Reply } from "../../src/services/Reply.ts"
import * as Define from "../../src/streams/Define.ts"
import * as SourceMemory from "../../src/streams/SourceMemory.ts"
import * as PrefectApi from "../services/PrefectApi.ts"
import * as PrefectServer from "../services/PrefectServer.ts"
import * as Program from "./Program.ts"

const theirs = PrefectServer.urlFromEnvironment()
const reason = await PrefectServer.available()
if (theirs !== undefined) console.warn(`tests that need a Prefect server of their own are skipped: ${theirs} is used`)
else if (reason !== undefined) console.warn(`tests with a Prefect server are skipped: ${reason}`)
const noneAtAll = theirs === undefined && reason !== undefined
const noneOfOurOwn = theirs !== undefined || reason !== undefined

/** A name no other test uses. */
const fresh = (name: string): string => `${name} ${randomUUID().slice(0, 8)}`

const detection = (payload: unknown, id: string = randomUUID(), name = "order.paid"): Detection => ({
  name,
  event: { envelope: SourceMemory.envelopeOf({ id, payload }, "memory", 1, 0), payload, key: "k" }
})

const make = (options: DispatcherPrefect.Options, environment: Readonly<Record<string, string>> = {}) =>
  Effect.provideService(
    DispatcherPrefect.make(options),
    ConfigProvider.ConfigProvider,
    ConfigProvider.fromUnknown(environment)
  )

const quiet = Effect.provideService(References.MinimumLogLevel, "Warn")
const dispatch = (dispatcher: Dispatcher, one: Detection) => quiet(later(dispatcher.dispatch(one)))

const runOf = (reply: Reply): FlowRun => {
  assert.strictEqual(reply.kind, "accepted", reply.reason)
  return reply.payload as FlowRun
}

describe.skipIf(noneAtAll)("a flow run on a Prefect server", () => {
  let server: PrefectServer.PrefectServer | undefined
  let url = theirs ?? ""
  let api = PrefectApi.make(url)
  beforeAll(async () => {
    if (theirs !== undefined) return
    server = await PrefectServer.start()
    url = server.url
    api = PrefectApi.make(url)
  })
  afterAll(() => server?.close())

  it.live("has the parameters, tags, name, work queue, job variables and the delay it was asked for with", () =>
    Effect.gen(function* () {
      const pool = fresh("pool")
      yield* Effect.promise(() => api.workPool(pool))
      const made = yield* Effect.promise(() => api.deployment(fresh("Étl flow ?#+"), "bare", { work_pool_name: pool }))
      const dispatcher = yield* make({
        url: `${url}/`,
        deployment: made.name,
        parameters: { order: "payload.order", who: "envelope.id", none: "payload.nothing" },
        tags: ["sluice", "of {{payload.order.customer}}"],
        name: "order {{payload.order.id}}",
        workQueue: "fast",
        delay: Duration.hours(2),
        jobVariables: { env: { A: "1" }, cpu: 2 }
      })
      const one = detection({ order: { id: 7, customer: "c1", lines: [1, null, "ü"] } })
      const before = Date.now()
      const reply = yield* dispatch(dispatcher, one)
      assert.strictEqual(reply.status, 201)
      assert.strictEqual(reply.note, `triggered ${made.name}: order 7`)
      const run = yield* Effect.promise(() => api.run(runOf(reply).id))
      assert.deepStrictEqual(run.parameters, {
        order: { id: 7, customer: "c1", lines: [1, null, "ü"] },
        who: one.event.envelope.id
      })
      assert.deepStrictEqual([...run.tags].sort(), ["of c1", "sluice"])
      assert.deepStrictEqual([run.name, run.work_queue_name, run.state_type], ["order 7", "fast", "SCHEDULED"])
      assert.deepStrictEqual(run.job_variables, { env: { A: "1" }, cpu: 2 })
      assert.strictEqual(run.idempotency_key, `memory/${one.event.envelope.id}/order.paid/${made.id}`)
      assert.closeTo(Date.parse(run.expected_start_time), before + 7_200_000, 60_000)
    })
  )

  it.live("is created once for a message, however often and by however many at once it is dispatched", () =>
    Effect.gen(function* () {
      const flow = fresh("Once")
      const first = yield* Effect.promise(() => api.deployment(flow, "first"))
      const second = yield* Effect.promise(() => api.deployment(flow, "second"))
      const dispatcher = yield* make({ url, deployment: first.name, parameters: "payload" })
      const one = detection({ n: 1 })
      const again = Array.from({ length: 8 }, () => dispatch(dispatcher, one))
      const replies = yield* Effect.all([...again, dispatch(dispatcher, one)], { concurrency: 8 })
      assert.strictEqual(new Set(replies.map((reply) => runOf(reply).id)).size, 1)
      assert.deepStrictEqual([...new Set(replies.map(({ status }) => status))].sort(), [200, 201])
      // The scope of Prefect's keys is the flow, not the deployment.
      const other = yield* make({ url, deployment: second.name })
      yield* dispatch(other, one)
      yield* dispatch(dispatcher, { ...one, name: "order.sent" })
      yield* dispatch(dispatcher, detection({ n: 1 }))
      assert.lengthOf(yield* Effect.promise(() => api.runs(first)), 3)
      assert.lengthOf(yield* Effect.promise(() => api.runs(second)), 1)
      const keyed = yield* make({ url, deployment: second.name, idempotencyKey: "payload.n" })
      for (let i = 0; i < 2; i++) yield* dispatch(keyed, detection({ n: 1 }))
      const keys = (yield* Effect.promise(() => api.runs(second))).map((run) => run.idempotency_key)
      assert.include(keys, `1/order.paid/${second.id}`)
      assert.lengthOf(keys, 2)
    })
  )

  it.live("takes what is there as parameters, and is refused with Prefect's own words where they do not fit", () =>
    Effect.gen(function* () {
      const typed = yield* Effect.promise(() => api.typed(fresh("Typed"), "strict"))
      const bare = yield* Effect.promise(() => api.deployment(fresh("Bare"), "any"))
      const dispatcher = yield* make({
        url,
        deployment: { typed: typed.name, "*": bare.name },
        parameters: "payload.p"
      })
      const good = yield* dispatch(dispatcher, detection({ p: { n: 1 } }, undefined, "typed"))
      assert.deepStrictEqual((yield* Effect.promise(() => api.run(runOf(good).id))).parameters, { n: 1 })
      for (const p of [{ n: "x" }, {}]) {
        const wrong = yield* dispatch(dispatcher, detection({ p }, undefined, "typed"))
        assert.deepStrictEqual([wrong.kind, wrong.status], ["refused", 409])
        assert.include(wrong.reason!, `${typed.name}: POST ${url}/deployments/${typed.id}/create_flow_run answered 409`)
        assert.include(wrong.reason!, "Error creating flow run: Validation failed")
      }
      for (const p of [["list"], "text", 7, false]) {
        const wrong = yield* dispatch(dispatcher, detection({ p }))
        assert.deepStrictEqual([wrong.kind, wrong.status], ["refused", 422])
        assert.match(wrong.reason!, /: parameters: Input should be a valid dictionary$/)
        assert.include(wrong.reason!, bare.name)
      }
      for (const payload of [{ p: null }, {}]) {
        const none = yield* dispatch(dispatcher, detection(payload))
        assert.deepStrictEqual((yield* Effect.promise(() => api.run(runOf(none).id))).parameters, {})
      }
      const noPool = yield* make({ url, deployment: bare.name, workQueue: "q" })
      const refused = yield* dispatch(noPool, detection({}))
      assert.deepStrictEqual([refused.kind, refused.status], ["refused", 400])
      assert.include(refused.reason!, "work queue")
    })
  )

  it.live("finds its deployment by the exact name, then whatever the case, never by a part of it", () =>
    Effect.gen(function* () {
      const flow = fresh("Test Flow with params")
      const part = yield* Effect.promise(() => api.deployment(`${flow} and more`, "main-2"))
      const missing = yield* make({ url, deployment: `${flow}/main` })
      const none = yield* dispatch(missing, detection({}))
      assert.strictEqual(none.kind, "refused")
      assert.include(none.reason!, `there is no deployment \`${flow}/main\``)
      assert.include(none.reason!, "Deployment not found")
      assert.lengthOf(yield* Effect.promise(() => api.runs(part)), 0)
      // It is looked for anew: it may be there now.
      const made = yield* Effect.promise(() => api.deployment(flow, "Main"))
      const run = yield* dispatch(missing, detection({}))
      assert.strictEqual(runOf(run).id, (yield* Effect.promise(() => api.runs(made)))[0]!.id)
      const exact = yield* Effect.promise(() => api.deployment(flow, "main"))
      const shouting = flow.toUpperCase()
      const ambiguous = yield* dispatch(yield* make({ url, deployment: `${shouting}/MAIN` }), detection({}))
      assert.strictEqual(ambiguous.kind, "refused")
      assert.include(ambiguous.reason!, `is ambiguous: there are \`${flow}/Main\` and \`${flow}/main\``)
      yield* dispatch(yield* make({ url, deployment: `${flow}/main` }), detection({}))
      assert.lengthOf(yield* Effect.promise(() => api.runs(exact)), 1)
      for (const [i, name] of ["../x", "%/x", "_/main", "a&b/<c>"].entries()) {
        const odd = yield* dispatch(yield* make({ url, deployment: name }), detection({}))
        assert.strictEqual(odd.kind, "refused", `${i}`)
        assert.include(odd.reason!, `there is no deployment \`${name}\``)
      }
    })
  )

  it.live("finds its deployment again when it was deleted and made anew", () =>
    Effect.gen(function* () {
      const flow = fresh("Renewed")
      const before = yield* Effect.promise(() => api.deployment(flow, "d"))
      const dispatcher = yield* make({ url, deployment: before.name })
      yield* dispatch(dispatcher, detection({}))
      yield* Effect.promise(() => api.remove(before))
      const gone = yield* dispatch(dispatcher, detection({}))
      assert.include(gone.reason!, `there is no deployment \`${before.name}\``)
      const after = yield* Effect.promise(() => api.deployment(flow, "d"))
      yield* dispatch(dispatcher, detection({}))
      yield* Effect.promise(() => api.remove(after))
      const last = yield* Effect.promise(() => api.deployment(flow, "d"))
      const reply = yield* dispatch(dispatcher, detection({}))
      assert.strictEqual(runOf(reply).id, (yield* Effect.promise(() => api.runs(last)))[0]!.id)
    })
  )

  it.live("is followed to its end: what became of it is the reply", () =>
    Effect.gen(function* () {
      const made = yield* Effect.promise(() => api.deployment(fresh("Waited"), "d"))
      const wait = { every: Duration.millis(100), within: Duration.minutes(1) }
      const dispatcher = yield* make({ url, deployment: made.name, wait })
      for (const state of ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]) {
        const one = detection({ state })
        const waiting = yield* Effect.forkChild(dispatch(dispatcher, one))
        const run = yield* Effect.promise(async () => {
          for (;;) {
            const found = (await api.runs(made)).find(({ idempotency_key }) =>
              idempotency_key.includes(one.event.envelope.id)
            )
            if (found !== undefined) return found
          }
        })
        yield* Effect.sleep("250 millis")
        assert.isUndefined(waiting.pollUnsafe())
        yield* Effect.promise(() => api.setState(run, state, "out of\nluck"))
        const reply = yield* Fiber.join(waiting)
        assert.strictEqual((reply.payload as FlowRun).state_type, state)
        const end = state === "COMPLETED" ? ", which is COMPLETED" : ""
        assert.strictEqual(reply.note, `triggered ${made.name}: ${run.name}${end}`)
        assert.strictEqual(reply.kind, state === "COMPLETED" ? "accepted" : "refused")
        if (state !== "COMPLETED") {
          assert.strictEqual(reply.reason, `${made.name}: the flow run ${run.name} ended as ${state}: out of luck`)
        }
        // A second dispatch finds the same run at its end.
        assert.strictEqual((yield* dispatch(dispatcher, one)).kind, reply.kind)
      }
      const short = yield* make({
        url,
        deployment: made.name,
        wait: { every: Duration.millis(100), within: Duration.millis(300) }
      })
      const late = yield* dispatch(short, detection({}))
      assert.strictEqual(late.kind, "refused")
      assert.match(late.reason!, /the flow run \S+ is still SCHEDULED after 300ms$/)
    })
  )

  it.skipIf(noneOfOurOwn)("of a served flow is run, and its end printed: config/prefect.yaml", async () => {
    await server!.serve(readFileSync(resolve(Program.root, "config/prefect/invoice.py"), "utf8"))
    const { path, remove } = Program.folder()
    try {
      const orders = [
        { id: "o-1", customer: "c-1", total: 12.5 },
        { id: "o-2", customer: "c-2", total: 0 },
        { id: "o-3", customer: "c-3", total: "much" },
        { id: "o-1", customer: "c-1", total: 12.5 }
      ]
      const { code, stderr, stdout } = await Program.run(path, [resolve(Program.root, "config/prefect.yaml")], {
        stdin: orders.map((order) => JSON.stringify(order)).join("\n"),
        env: { PREFECT_API_URL: url }
      })
      assert.strictEqual(code, 0, stderr)
      const lines = Program.lines(stdout)
      assert.lengthOf(lines, 4)
      const runs = lines.filter((line) => line.startsWith("{")).map((line) => JSON.parse(line) as PrefectApi.FlowRun)
      assert.deepStrictEqual(
        runs.map(({ name, parameters, state_type }) => [name, parameters, state_type]),
        Array(2).fill(["invoice o-1", { customer: "c-1", total: 12.5 }, "COMPLETED"])
      )
      assert.strictEqual(runs[0]!.id, runs[1]!.id)
      assert.isTrue(
        lines.some((line) => /invoice o-2 ended as FAILED: .*nothing to pay: 0/.test(line)),
        stdout
      )
      assert.isTrue(
        lines.some((line) => /Invoice\/on-order: POST .* answered 409 Conflict: .*total/.test(line)),
        stdout
      )
      assert.match(stderr, /Successfully triggered Invoice\/on-order: invoice o-1/)
    } finally {
      remove()
    }
  })
})

describe.skipIf(noneOfOurOwn)("a Prefect server that wants credentials and CSRF tokens", () => {
  let server: PrefectServer.PrefectServer
  const authString = "user:hush/hush"
  beforeAll(async () => {
    server = await PrefectServer.start({ authString, csrf: true })
  })
  afterAll(() => server?.close())

  it.live("is given both, and nobody's message is at fault for the want of them", () =>
    Effect.gen(function* () {
      const { url } = server
      const authorization = `Basic ${btoa(authString)}`
      const client = randomUUID()
      const answer = yield* Effect.promise(() =>
        fetch(`${url}/csrf-token?client=${client}`, { headers: { authorization } }).then((_) => _.json())
      )
      const api = PrefectApi.make(url, {
        authorization,
        "prefect-csrf-client": client,
        "prefect-csrf-token": (answer as { token: string }).token
      })
      const made = yield* Effect.promise(() => api.deployment("Guarded", "d"))
      const right = { PREFECT_API_AUTH_STRING: authString, PREFECT_API_KEY: "unused", PREFECT_API_URI: url }
      const dispatcher = yield* make({ deployment: "GUARDED/d" }, right)
      const many = Array.from({ length: 6 }, (_, n) => dispatch(dispatcher, detection({ n })))
      for (const reply of yield* Effect.all(many, { concurrency: 6 })) runOf(reply)
      assert.lengthOf(yield* Effect.promise(() => api.runs(made)), 6)
      const inUrl = url.replace("://", `://${authString.replace(":hush/", ":hush%2F")}@`)
      runOf(
        yield* dispatch(yield* make({ url: inUrl, deployment: made.name }, { PREFECT_API_KEY: "x" }), detection({}))
      )
      for (const [options, environment] of [
        [{}, {}],
        [{}, { PREFECT_API_KEY: "a-wrong-key" }],
        [{ authString: Redacted.make("user:wrong") }, right]
      ] as const) {
        const wrong = yield* make({ url, deployment: made.name, ...options }, environment)
        const error = yield* Effect.flip(dispatch(wrong, detection({})))
        assert.deepStrictEqual([error.presence, error.retryable], ["busy", true])
        assert.match(error.reason, /^Guarded\/d: GET .* answered 401 Unauthorized: Unauthorized$/)
        assert.notMatch(error.reason, /hush|wrong/)
      }
      yield* dispatcher.probe!
    })
  )
})

describe.skipIf(noneOfOurOwn)("a Prefect server on a file, which bears hardly two calls at once", () => {
  let server: PrefectServer.PrefectServer
  beforeAll(async () => {
    server = await PrefectServer.start({ database: "file" })
  })
  afterAll(() => server?.close())

  const piped = Effect.fnUntraced(
    function* (count: number, during: Effect.Effect<unknown> = Effect.void) {
      const api = PrefectApi.make(server.url)
      const made = yield* Effect.promise(() => api.deployment(fresh("Crowd"), "d"))
      const messages = Array.from({ length: count }, (_, n) => ({ id: `${n}`, key: `${n}`, payload: { n } }))
      const source = SourceMemory.fromIterable(messages)
      const dispatcher = yield* make({ url: server.url, deployment: made.name, parameters: "payload", connections: 64 })
      let failures = 0
      const counting: Dispatcher = {
        ...dispatcher,
        dispatch: (one) => Effect.tapError(later(dispatcher.dispatch(one)), () => Effect.sync(() => void failures++))
      }
      const plan = Define.define({
        name: "crowd",
        source,
        decode: CodecJson.make(),
        concurrency: 64,
        dispatch: [{ run: counting }]
      })
      yield* quiet(Effect.all([Define.run(plan), during], { concurrency: 2 }))
      const letters = yield* (yield* DeadLetters).list({})
      assert.deepStrictEqual(
        letters.map((one) => one.reason),
        []
      )
      const runs = yield* Effect.promise(() => api.runs(made))
      assert.deepStrictEqual(
        runs.map(({ parameters }) => parameters.n as number).sort((a, b) => a - b),
        messages.map(({ payload }) => payload.n)
      )
      return failures
    },
    Effect.scoped,
    Effect.provide(DeadLettersMemory.layer)
  )

  it.live("gets each of 60 messages once at a concurrency of 64, and none is buried", () =>
    Effect.gen(function* () {
      // Asked by 64 at once it refuses several times as many.
      assert.isBelow(yield* piped(60), 40)
    })
  )

  it.live("is waited for when it is killed and started again meanwhile", () =>
    piped(
      120,
      Effect.promise(async () => {
        await new Promise((go) => setTimeout(go, 400))
        await server.kill()
        await server.start()
      })
    )
  )
})
