/** Event modules in a pipeline: what each says of an event, what its handler did, and what the bad ones cannot do. */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Result, Schema } from "effect"
import * as CodecJson from "../../src/layers/CodecJson.ts"
import * as DeadLettersMemory from "../../src/layers/DeadLettersMemory.ts"
import * as DetectorModules from "../../src/layers/DetectorModules.ts"
import type { Modules } from "../../src/layers/EventModulesRun.ts"
import type { OptionsError } from "../../src/services/Component.ts"
import type { Event } from "../../src/services/Event.ts"
import { later } from "../../src/services/Ready.ts"
import * as Define from "../../src/streams/Define.ts"
import * as SourceMemory from "../../src/streams/SourceMemory.ts"
import { directory, moduleOf, update } from "./EventModulesKit.ts"

const eventOf = (payload: unknown): Event => ({
  envelope: SourceMemory.envelopeOf({ payload: "" }, "memory", 1, 0),
  payload,
  key: undefined
})

const site = (folder: string) =>
  ({
    pipeline: "moves",
    source: { type: "webhook" },
    folder,
    hide: (text: string) => text.replaceAll("s3cret", "${PASSWORD}")
  }) as never

const made = (folder: string, options: object = {}) =>
  Schema.decodeUnknownEffect(DetectorModules.component.options)({ directory: ".", ...options }).pipe(
    Effect.flatMap((decoded) => DetectorModules.component.make(decoded, site(folder))),
    Effect.map((detector) => detector as DetectorModules.ActingDetector)
  ) as Effect.Effect<DetectorModules.ActingDetector, OptionsError>

const detect = (detector: DetectorModules.ActingDetector, event: Event) =>
  Effect.map(later(detector.detect(event)), (found) => found.map(({ name }) => name))

const act = (detector: DetectorModules.ActingDetector, name: string, event: Event) =>
  Effect.map(later(detector.acts.dispatch({ name, event })), (reply) => ({
    ...(reply.payload as DetectorModules.Done),
    kind: reply.kind,
    note: reply.note
  }))

const test = (name: string, body: () => Effect.Effect<void, unknown, any>) =>
  it.live(name, () => Effect.scoped(body()).pipe(Effect.provide(NodeServices.layer)) as Effect.Effect<void, unknown>)

const hasura = "const { run, job } = require('sluice/hasura')\n"
const forever = "new Promise(() => {})"

describe("DetectorModules", () => {
  test("detects, explains every module, and runs the handlers of those that said yes", () =>
    Effect.gen(function* () {
      const place = yield* directory({
        "a.yes.js": `${hasura}${moduleOf(
          "async (event, h) => event === 'a.yes' && h.event.data.new.status === 'done'",
          "(event, h) => run(event, h, [job(async function first(e, h, o) { return [e, h.id, o.x] }, { x: 1 }), job(function second() { throw new Error('no connection') })])"
        )}`,
        "b.no.js": moduleOf("() => false"),
        "c.broke.js": moduleOf("() => { throw 'text' }"),
        "d.truthy.js": moduleOf("() => 'yes'", "() => 'no list'"),
        "e.thenable.js": moduleOf("() => ({ then: (f) => f(true) })", "() => { throw undefined }")
      })
      const detector = yield* made(place)
      const payload = update({ status: "new" }, { status: "done" })
      const event = eventOf(payload)
      assert.deepStrictEqual(detector.events, ["a.yes", "b.no", "c.broke", "d.truthy", "e.thenable"])
      assert.deepStrictEqual(yield* detect(detector, event), ["a.yes", "d.truthy", "e.thenable"])
      assert.deepStrictEqual(
        detector.explain(event).map(({ event, verdict, why }) => [event, verdict, why]),
        [
          ["a.yes", "yes", undefined],
          ["b.no", "no", undefined],
          ["c.broke", "broke", "text"],
          ["d.truthy", "yes", undefined],
          ["e.thenable", "yes", undefined]
        ]
      )
      const { jobs, note, v2, ...rest } = yield* act(detector, "a.yes", event)
      assert.deepStrictEqual(rest, { name: "a.yes", kind: "accepted" })
      assert.strictEqual(note, "1 job completed, 1 failed: second: no connection")
      assert.deepStrictEqual(
        (jobs as ReadonlyArray<{ duration: number }>).map(({ duration, ...job }) => {
          assert.isAtLeast(duration, 0)
          return job
        }),
        [
          { name: "first", options: { x: 1 }, completed: true, result: ["a.yes", payload.id, 1] },
          { name: "second", options: {}, completed: false, result: "no connection" }
        ] as never
      )
      const [first, second] = v2 as ReadonlyArray<Record<string, unknown>>
      assert.deepStrictEqual(
        [first!.result, first!.completed, "error" in first!],
        [["a.yes", payload.id, 1], true, false]
      )
      assert.deepStrictEqual([second!.result, second!.error], ["Job func crashed: no connection", "no connection"])
      assert.match(`${first!.startTime}${first!.endTime}`, /^(\d{4}-\d\d-\d\dT[\d:.]+Z){2}$/)
      assert.deepStrictEqual((yield* act(detector, "d.truthy", event)).jobs, "no list")
      const crashed = yield* act(detector, "e.thenable", event)
      assert.isUndefined(crashed.jobs)
      assert.strictEqual(crashed.error, "undefined was thrown")
      assert.strictEqual(crashed.note, "the handler crashed: undefined was thrown")
      assert.deepStrictEqual(payload, update({ status: "new" }, { status: "done" }))
    }))

  test("gives up what waits for ever: the detector, the handler or the job is named, its siblings go on", () =>
    Effect.gen(function* () {
      const place = yield* directory({
        "a.js": moduleOf(`() => ${forever}`),
        "b.js": moduleOf("() => true", `() => ${forever}`),
        "c.js": `${hasura}let aborted
${moduleOf(
  "async () => true",
  `(e, h) => run(e, h, [
    job(function hangs(e, h, o, { signal }) { signal.onabort = () => { aborted = true }; return ${forever} }),
    job(async function sibling() { await new Promise((r) => setTimeout(r, 20)); return 'done' }),
    job(async function longer() { await new Promise((r) => setTimeout(r, 600)); return 'done' }, { timeout: 5000 }),
    job(async function late() { await new Promise((r) => setTimeout(r, 300)); throw new Error('nobody waits') })
  ]).then((jobs) => [...jobs, { aborted }])`
)}`
      })
      const detector = yield* made(place, { timeout: "200 millis" })
      const event = eventOf({})
      assert.deepStrictEqual(yield* detect(detector, event), ["b", "c"])
      assert.strictEqual(detector.explain(event)[0]!.why, "no answer within 200 ms")
      assert.strictEqual((yield* act(detector, "b", event)).error, "no end within 200 ms")
      const { jobs, note } = yield* act(detector, "c", event)
      assert.deepStrictEqual(
        (jobs as ReadonlyArray<Record<string, unknown>>).map(
          ({ aborted, completed, result }) => aborted ?? [completed, result]
        ),
        [[false, "no result within 200ms"], [true, "done"], [true, "done"], [false, "no result within 200ms"], true]
      )
      assert.match(note!, /^2 jobs completed, 2 failed: hangs: no result within 200ms; late: /)
    }))

  test("asks the others while one waits for ever, where they are asked at the same time", () =>
    Effect.gen(function* () {
      const place = yield* directory({
        "a.js": moduleOf(`() => ${forever}`),
        "b.js": moduleOf("() => new Promise((r) => setTimeout(() => r(true), 40))"),
        "c.js": moduleOf("async () => true"),
        "d.js": moduleOf("() => true"),
        "e.js": moduleOf(`async () => { await 1; throw new Error('x') }`),
        "f.js": moduleOf(`() => ${forever}`)
      })
      const detector = yield* made(place, { timeout: "1 second", parallel: true })
      const event = eventOf({})
      const from = performance.now()
      assert.deepStrictEqual(yield* detect(detector, event), ["b", "c", "d"])
      // One after the other they would take 2 s.
      assert.isBelow(performance.now() - from, 1900)
      assert.deepStrictEqual(
        detector.explain(event).map(({ verdict }) => verdict),
        ["broke", "yes", "yes", "yes", "broke", "broke"]
      )
    }))

  test("lets no module end the process, however it asks, and fails what asked", () =>
    Effect.gen(function* () {
      const exit = (call: string) => `() => { ${call} }`
      const place = yield* directory({
        "a.js": moduleOf(exit("process.exit(3)")),
        "b.js": moduleOf("() => { try { process.exit() } catch {}; return true }"),
        "c.js": moduleOf("async () => { await 1; process.reallyExit(1); return true }"),
        "d.js": moduleOf("() => true", exit("process.abort()")),
        "e.mjs": `import { exit } from 'node:process'; import { run, job } from 'sluice/hasura'
export const detector = () => true
export const handler = (event, h) => run(event, h, [
  job(async function exits() { exit(1) }),
  job(async function kills() { await 1; process.kill(process.pid, 'SIGKILL') }),
  job(async function catches() { try { process.exit(1) } catch {} return 'done' }),
  job(function asks() { return process.kill(process.pid, 0) })
])`
      })
      const detector = yield* made(place)
      const event = eventOf({})
      assert.deepStrictEqual(yield* detect(detector, event), ["d", "e"])
      assert.deepStrictEqual(
        detector.explain(event).map(({ why }) => why),
        ["called process.exit(3)", "called process.exit()", "called process.reallyExit(1)", undefined, undefined]
      )
      assert.strictEqual((yield* act(detector, "d", event)).error, "called process.abort()")
      const { jobs } = yield* act(detector, "e", event)
      assert.deepStrictEqual(
        (jobs as ReadonlyArray<{ result: unknown }>).map(({ result }) => result),
        ["called process.exit(1)", `called process.kill(${process.pid}, "SIGKILL")`, "called process.exit(1)", true]
      )
      assert.deepStrictEqual(yield* detect(detector, eventOf({})), ["d", "e"])
    }))

  test("hands each module a payload that the others have not changed, and a handler what its detector left there", () =>
    Effect.gen(function* () {
      const place = yield* directory({
        "a.js": moduleOf(
          "(e, h) => { h.event.data.new.status = 'changed'; h.note = 'a'; delete h.id; return true }",
          "(e, h) => [h.event.data.new.status, h.note, h.id]"
        ),
        "b.js": moduleOf(
          "(e, h) => h.event.data.new.status === 'done' && h.note === undefined",
          "(e, h) => [h.note, h.id]"
        ),
        "c.js": moduleOf("async (e, h) => { h.list.push(1); return h.list.length === 1 }", "(e, h) => h.list"),
        "d.js": moduleOf(
          "(e, h) => h.list.length === 0 && h.__context !== undefined",
          "(e, h) => { h.list.push(2); return h.list }"
        )
      })
      const detector = yield* made(place)
      for (let i = 0; i < 3; i++) {
        const payload = { ...update({ status: "new" }, { status: "done" }), list: [] }
        const event = eventOf(payload)
        assert.deepStrictEqual(yield* detect(detector, event), ["a", "b", "c", "d"])
        assert.deepStrictEqual((yield* act(detector, "a", event)).jobs, ["changed", "a", undefined])
        assert.deepStrictEqual((yield* act(detector, "b", event)).jobs, [undefined, payload.id])
        assert.deepStrictEqual((yield* act(detector, "c", event)).jobs, [1])
        assert.deepStrictEqual((yield* act(detector, "d", event)).jobs, [2])
        assert.deepStrictEqual(payload, { ...update({ status: "new" }, { status: "done" }), list: [] })
      }
    }))

  test("hands each module the payload as it came, also where another freezes it or makes it throw", () =>
    Effect.gen(function* () {
      const place = yield* directory({
        "a.js": moduleOf("(e, h) => { h.list.push(1); Object.freeze(h.list); return true }"),
        "b.js": moduleOf(
          "(e, h) => { Object.defineProperty(h.event, 'op', { enumerable: true, configurable: true, get() { throw new Error('no') } }); return true }"
        ),
        "c.js": moduleOf("(e, h) => h.event.op === 'UPDATE'")
      })
      const detector = yield* made(place)
      for (let i = 0; i < 3; i++) {
        const event = eventOf({ ...update({ status: "new" }, { status: "done" }), list: [] })
        assert.deepStrictEqual(yield* detect(detector, event), ["a", "b", "c"])
      }
    }))

  test("hands each module the parts of the payload as they are, whatever the others wrote to theirs", () =>
    Effect.gen(function* () {
      const imports = "const { columnHasChanged, parseHasuraEvent } = require('sluice/hasura')\n"
      const first =
        "(e, h) => { const parts = parseHasuraEvent(h); parts.operation = 'DELETE'; parts.more = 1; return true }"
      const second =
        "(e, h) => { const { operation, more } = parseHasuraEvent(h); return operation === 'UPDATE' && !more }"
      const third = `(e, h) => {
        const before = columnHasChanged('status', h.event.data)
        h.event.data.new.status = 'new'
        return before && !columnHasChanged('status', parseHasuraEvent(h).dbEvent)
      }`
      const changed = "(e, h) => columnHasChanged('status', h.event.data) && !columnHasChanged('amount', h.event.data)"
      const place = yield* directory({
        "a.js": imports + moduleOf(first),
        "b.js": imports + moduleOf(second),
        "c.js": imports + moduleOf(`async ${second}`),
        "d.js": imports + moduleOf(third),
        "e.js": imports + moduleOf(changed),
        "f.js": imports + moduleOf(`async ${changed}`)
      })
      for (const options of [{}, { parallel: true }]) {
        const detector = yield* made(place, options)
        for (let i = 0; i < 3; i++) {
          const event = eventOf(update({ status: "new", amount: 1 }, { status: "done", amount: 1 }))
          assert.deepStrictEqual(yield* detect(detector, event), ["a", "b", "c", "d", "e", "f"])
        }
        const same = eventOf(update({ status: "new", amount: 1 }, { status: "new", amount: 1 }))
        assert.deepStrictEqual(yield* detect(detector, same), ["a", "b", "c"])
      }
    }))

  test("holds back the jobs of one name over all events, and tries again what asks for it", () =>
    Effect.gen(function* () {
      const place = yield* directory({
        "a.js": `${hasura}let open = 0, most = 0, tries = 0
async function slow() { most = Math.max(most, ++open); await new Promise((r) => setTimeout(r, 20)); open--; return most }
async function third() { if (++tries < 3) throw new Error('not yet'); return tries }
${moduleOf("() => true", "(e, h) => run(e, h, [job(slow), job(slow), job(slow), job(third, { retries: 2 })])")}`
      })
      const detector = yield* made(place, { jobs: { slow: { concurrency: 1 } } })
      const both = [eventOf({}), eventOf({})].map((event) => act(detector, "a", event))
      const results = (yield* Effect.all(both, { concurrency: 2 })).map(({ jobs }) =>
        (jobs as ReadonlyArray<{ result: unknown }>).map(({ result }) => result)
      )
      assert.deepStrictEqual(
        results.flatMap((one) => one.slice(0, 3)),
        [1, 1, 1, 1, 1, 1]
      )
      assert.deepStrictEqual(results[0]![3], 3)
    }))

  test("runs jobs that are effects, with their failures, their time and their siblings", () =>
    Effect.gen(function* () {
      const effect = import.meta.resolve("effect")
      const place = yield* directory({
        "a.mjs": `import { run, job } from 'sluice/hasura'; import { Effect } from '${effect}'
export const detector = () => true
export const handler = (event, h) => run(event, h, [
  job(function works() { return Effect.as(Effect.sleep(10), 'done') }),
  job(function fails() { return Effect.fail('no stock') }),
  job(function hangs() { return Effect.never }),
  job(function exits() { return Effect.andThen(Effect.sleep(1), Effect.sync(() => process.exit(1))) })
])`
      })
      const detector = yield* made(place, { jobTimeout: "300 millis" })
      const { jobs } = yield* act(detector, "a", eventOf({}))
      assert.deepStrictEqual(
        (jobs as ReadonlyArray<{ result: unknown }>).map(({ result }) => result),
        ["done", "no stock", "no result within 300ms", "defect: called process.exit(1)"]
      )
    }))

  test("keeps an answer whole where a result cannot be written as JSON", () =>
    Effect.gen(function* () {
      const place = yield* directory({
        "a.js": `${hasura}${moduleOf("() => true", "(e, h) => run(e, h, [job(function big() { return 1n }), job(function fine() { return 2 })])")}`
      })
      const detector = yield* made(place)
      const reply = yield* act(detector, "a", eventOf({}))
      assert.deepStrictEqual(
        (JSON.parse(JSON.stringify(reply)).jobs as ReadonlyArray<{ result: unknown }>).map(({ result }) => result),
        ["[a result that JSON cannot hold: bigint]", 2]
      )
    }))

  test("starts without the modules that are broken, and names them for the check", () =>
    Effect.gen(function* () {
      const place = yield* directory({ "a.js": moduleOf("() => true"), "b.js": "throw new Error('password s3cret')" })
      const detector = yield* made(place)
      assert.deepStrictEqual(detector.events, ["a"])
      assert.deepStrictEqual(
        detector.problems.map(({ event, reason }) => [event, reason]),
        [["b", "cannot be imported: password s3cret"]]
      )
      assert.deepStrictEqual(yield* detect(detector, eventOf({})), ["a"])
    }))

  test("refuses a directory that is not there", () =>
    Effect.gen(function* () {
      const place = yield* directory({ "a.js": "" })
      for (const [found, why] of [
        ["none", "there is none"],
        ["a.js", "it is a file"]
      ]) {
        const result = yield* Effect.result(made(place, { directory: found }))
        assert.isTrue(Result.isFailure(result))
        assert.deepStrictEqual(Result.getOrThrow(Result.flip(result)).problems, [
          { path: ["directory"], expected: `a directory of event modules (${why})`, found }
        ])
      }
    }))

  test("keeps what nobody has looked at, and what was lost under a handler, instead of calling it done", () =>
    Effect.gen(function* () {
      const settled = Effect.fnUntraced(function* (modules: Partial<Modules>) {
        const whole: Modules = {
          names: ["a"],
          problems: [],
          detect: () => ({ found: ["a"], asked: ["a"], broke: new Map() }),
          handle: async (name) => ({ name, jobs: [], crashed: undefined }),
          ...modules
        }
        const source = SourceMemory.fromIterable([{ payload: {} }])
        const detect = [DetectorModules.make(whole)]
        yield* Define.run(Define.define({ name: "moves", source, decode: CodecJson.make(), detect }))
        return source.settled.map(({ settlement }) => [settlement._tag, "reason" in settlement && settlement.reason])
      })
      assert.deepStrictEqual(yield* settled({}), [["Acked", false]])
      const crashed = async (name: string) => ({ name, jobs: undefined, crashed: "its own fault" })
      assert.deepStrictEqual(yield* settled({ handle: crashed }), [["Acked", false]])
      const lost = async (name: string) => ({ name, jobs: undefined, crashed: "its worker was lost", isLost: true })
      assert.deepStrictEqual(yield* settled({ handle: lost }), [["Buried", "a: its worker was lost"]])
      const over = "the worker of the modules was lost 20 times"
      const none = { found: [], asked: ["a"], broke: new Map([["a", over]]) }
      assert.deepStrictEqual(yield* settled({ over, detect: async () => none }), [
        ["Buried", `a detector broke: modules: ${over}`]
      ])
    }).pipe(Effect.provide(DeadLettersMemory.layer)))
})
