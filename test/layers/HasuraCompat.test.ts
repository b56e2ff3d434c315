/** The entry for users of the Hasura event detector: each function as they know it, and their modules as they stand. */
import { cpSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as HasuraCompat from "../../src/layers/HasuraCompat.ts"
import * as Summary from "../../src/layers/HasuraCompatSummary.ts"
import { directory, layers, moduleOf, node, update } from "./EventModulesKit.ts"

const { columnHasChanged, getObjectSafely, handleFailure, handleSuccess, job, parseHasuraEvent, run } = HasuraCompat

const plus = () => 1
const json = { "Content-Type": "application/json" }

/** A program that listens to one event, with the modules beside it, and prints the response as its last line. */
const program = (payload: object, options = "", more = "") => `
import { listenTo } from ${JSON.stringify(join(layers, "HasuraCompat.ts"))}
${more}
const response = await listenTo(${JSON.stringify(payload)}, { eventModulesDirectory: '.', ${options} }, { from: 'test' })
console.log(JSON.stringify(response))`

const responseOf = (stdout: string) =>
  JSON.parse(stdout.trimEnd().split("\n").at(-1)!) as {
    readonly events: ReadonlyArray<{ readonly name: string; readonly jobs?: any }>
    readonly duration: number
  }

describe("HasuraCompat", () => {
  it("has all names of the predecessor, by name and as a default", () => {
    const names = [
      "columnHasChanged",
      "failedJobSimulator",
      "getObjectSafely",
      "handleFailure",
      "handleSuccess",
      "job",
      "jobSimulator",
      "listenTo",
      "log",
      "parseHasuraEvent",
      "run"
    ]
    assert.deepStrictEqual(Object.keys(HasuraCompat).sort(), [...names, "default"].sort())
    assert.deepStrictEqual(Object.keys(HasuraCompat.default).sort(), names)
  })

  it("takes the parts of a payload, whatever came", () => {
    const payload = update({ a: 1 }, { a: 2 })
    const variables = payload.event.session_variables
    const parts = {
      hasuraEventTime: payload.created_at,
      hasuraEventId: payload.id,
      dbEvent: payload.event.data,
      sessionVariables: variables,
      role: "user",
      user: "ann@example.com",
      operation: "UPDATE"
    }
    assert.deepStrictEqual(parseHasuraEvent(payload), parts)
    const as = (session_variables: unknown) => {
      const { role, user } = parseHasuraEvent({ event: { session_variables } })
      return [role, user]
    }
    assert.deepStrictEqual(as({ "x-hasura-role": "admin" }), ["admin", "system"])
    assert.deepStrictEqual(as({ "x-hasura-role": "user" }), ["user", null])
    assert.deepStrictEqual(as({ "x-hasura-role": "admin", "x-hasura-user-email": "a@b" }), ["admin", "a@b"])
    assert.deepStrictEqual(as(null), [undefined, undefined])
    for (const nothing of [undefined, null, 1, "", {}, [], { event: null }, { event: 1 }]) {
      assert.deepStrictEqual(Object.keys(parseHasuraEvent(nothing)), Object.keys(parts))
      assert.isUndefined(parseHasuraEvent(nothing).operation)
    }
  })

  it("says whether a column changed only where both rows have it", () => {
    const cases: ReadonlyArray<readonly [string, any, boolean]> = [
      ["a", { old: { a: 1 }, new: { a: 2 } }, true],
      ["a", { old: { a: 1 }, new: { a: 1 } }, false],
      ["a", { old: { a: null }, new: { a: undefined } }, true],
      ["a", { old: { a: {} }, new: { a: {} } }, true],
      ["a", { old: { a: 1 }, new: {} }, false],
      ["a", { old: {}, new: { a: 1 } }, false],
      ["a", { old: null, new: { a: 1 } }, false],
      ["a", { old: { a: 1 }, new: null }, false],
      ["a", { new: { a: 1 } }, false],
      ["a", undefined, false],
      ["a", null, false],
      ["", { old: { "": 1 }, new: { "": 2 } }, false],
      ["toString", { old: {}, new: { toString: 1 } }, false]
    ]
    for (const [column, data, changed] of cases) {
      assert.strictEqual(columnHasChanged(column, data), changed, `${column} ${JSON.stringify(data)}`)
    }
  })

  it("answers as a function does", () => {
    assert.deepStrictEqual(handleSuccess({ a: [1] }), {
      statusCode: 200,
      body: '{\n  "a": [\n    1\n  ]\n}',
      headers: json
    })
    const failure = { statusCode: 500, body: '{\n  "errors": [\n    {}\n  ]\n}', headers: json }
    assert.deepStrictEqual(handleFailure(new Error("x")), failure)
    assert.strictEqual(JSON.parse(handleFailure("x").body).errors[0], "x")
  })

  it("shows an object by its keys alone", () => {
    const five = { a: 1, b: 2, c: 3, d: 4, e: 5 }
    class Made {
      own = 1
      get broken(): never {
        throw new Error("x")
      }
    }
    const options = {
      n: 1,
      t: "x",
      no: null,
      gone: undefined,
      few: { a: 1 },
      many: five,
      list: [7, 8],
      f: function named() {}
    }
    assert.deepStrictEqual(getObjectSafely(options), {
      n: 1,
      t: "x",
      no: null,
      gone: undefined,
      few: ["a"],
      many: "[Object] 5 properties",
      list: ["0", "1"],
      f: "[Function] named"
    })
    assert.deepStrictEqual(getObjectSafely(new Made()), { own: 1 })
    for (const nothing of [undefined, null, 1, "x", () => 1]) assert.deepStrictEqual(getObjectSafely(nothing), {})
  })

  it("runs jobs, and leaves out what is none", async () => {
    assert.deepStrictEqual(job(plus, { a: 1 }), { func: plus, options: { a: 1 } })
    assert.isUndefined(await run("e", {}, undefined as never))
    assert.isUndefined(await run("e", {}, {} as never))
    assert.deepStrictEqual(await run("e", {}, []), [])
    const seen: Array<unknown> = []
    const payload = { id: 1 }
    const results = await run("e", payload, [
      null,
      { func: undefined as never },
      job(
        function gets(...all) {
          seen.push(...all.slice(0, 3))
          return all[3].signal.aborted
        },
        { to: "x" }
      ),
      { func: "text" as never, options: { y: 2 } },
      job(HasuraCompat.jobSimulator, { delay: 5, message: "A" }),
      job(HasuraCompat.failedJobSimulator, { delay: 1, message: "B" })
    ])
    assert.deepStrictEqual(
      results?.map(({ completed, name, options, result }) => [name, options, completed, result]),
      [
        ["gets", { to: "x" }, true, false],
        ["", { y: 2 }, false, "Job func not a function"],
        ["jobSimulator", { delay: 5, message: "A" }, true, "A complete!"],
        ["failedJobSimulator", { delay: 1, message: "B" }, false, "failedJobSimulator failed!"]
      ]
    )
    assert.deepStrictEqual(Object.keys(results![0]!), ["name", "options", "completed", "duration", "result"])
    assert.deepStrictEqual(seen, ["e", payload, { to: "x" }])
    assert.strictEqual(seen[1], payload)
  })

  it.live("gives the output of the document for its own example, whose jobs take a tenth of their time", () =>
    Effect.gen(function* () {
      const place = yield* directory({})
      cpSync(join(layers, "../../config/hasura"), place, { recursive: true })
      const events = join(place, "events")
      for (const name of readdirSync(events)) {
        writeFileSync(join(events, name), readFileSync(join(events, name), "utf8").replaceAll("000,", "00,"))
      }
      const before = { id: 13107, status: "new", cancel_status: null }
      const after = { id: 13107, status: "pickup successful", cancel_status: "pending" }
      writeFileSync(join(events, "index.mjs"), program(update(before, after)))
      const { code, stderr, stdout } = yield* node(join(events, "index.mjs"))
      assert.deepStrictEqual([code, stderr], [0, ""])
      const { duration, events: detected } = responseOf(stdout)
      assert.strictEqual(
        stdout.split("\n").slice(0, -2).join("\n"),
        `[DetectEventModules] Auto-detected event modules found in: ${events} [ 'move.cancel.pending.js', 'move.pickup.successful.js' ]
[loadEventModule] 🧩 Loaded move.cancel.pending module from ${events}/move.cancel.pending.js
[move.cancel.pending] Event detected
[jobSimulator] Job 1 delaying 300 ms...
[jobSimulator] Job 2 delaying 200 ms...
[move.cancel.pending.runJobs] Running 2 jobs...
[loadEventModule] 🧩 Loaded move.pickup.successful module from ${events}/move.pickup.successful.js
[move.pickup.successful] Event detected
[jobSimulator] Job 1 delaying 300 ms...
[jobSimulator] Job 2 delaying 200 ms...
[jobSimulator] Job 3 delaying 100 ms...
Rerunning AR for move 13107
[move.pickup.successful.runJobs] Running 5 jobs...
[jobSimulator] Job 3 complete!
[jobSimulator] Job 2 complete!
[jobSimulator] Job 2 complete!
[jobSimulator] Job 1 complete!
[move.cancel.pending.runJobs] Completed 2 jobs
[jobSimulator] Job 1 complete!
[move.pickup.successful.runJobs] Completed 5 jobs

🔔  Detected 2 events from the database event:

   ⭐️ move.cancel.pending

      ✅ Job 1 complete!

      ✅ Job 2 complete!

   ⭐️ move.pickup.successful

      ✅ Job 1 complete!

      ✅ Job 2 complete!

      ✅ Job 3 complete!

      ✅ Wrote event log for move.pickup.successful

      ✅ You ran AR
`
      )
      assert.isAtLeast(duration, 300)
      // Together and not in a row, which would take 1,100 ms.
      assert.isBelow(duration, 1000)
      const jobs = detected.map(({ jobs, name }) => [
        name,
        jobs.map((one: any) => [one.name, one.options, one.completed])
      ])
      assert.deepStrictEqual(jobs[1], [
        "move.pickup.successful",
        [
          ["jobSimulator", { delay: 300, message: "Job 1" }, true],
          ["jobSimulator", { delay: 200, message: "Job 2" }, true],
          ["jobSimulator", { delay: 100, message: "Job 3" }, true],
          ["publishEventLog", { user: "ann@example.com" }, true],
          ["rerunAR", { moveId: 13107 }, true]
        ]
      ])
    })
  )

  it.live("goes on past modules that are bad in every way, and a rejection nobody waits for is only said", () =>
    Effect.gen(function* () {
      const hasura = "const { run, job } = require('sluice/hasura')\n"
      const place = yield* directory({
        "a.js": "throw new Error('no import')",
        "b.js": moduleOf("() => new Promise(() => {})"),
        "c.js": moduleOf("() => { throw 'text' }"),
        "d.js": moduleOf("async () => { Promise.reject(new Error('floating')); return true }", "() => process.exit(3)"),
        "e.js": `${hasura}${moduleOf(
          "() => true",
          `(e, h) => run(e, h, [
            job(async function floats() { setTimeout(() => Promise.reject('later'), 5); return h.__context.from }),
            job(async function leaks() { setInterval(() => {}, 1000).unref(); return 1 }),
            job(async function waits() { await new Promise((r) => setTimeout(r, 50)); return 2 })
          ])`
        )}`,
        "f.js": moduleOf("() => false"),
        "main.test.mjs": program(update({}, {}), "timeout: 200")
      })
      const { code, stderr, stdout } = yield* node(join(place, "main.test.mjs"))
      assert.strictEqual(code, 0, stderr)
      assert.deepStrictEqual(
        responseOf(stdout).events.map(({ jobs, name }) => [name, jobs?.map((one: any) => one.result)]),
        [
          ["d", undefined],
          ["e", ["test", 1, 2]]
        ]
      )
      assert.include(stdout, "[b] Error detecting event no answer within 200 ms\n")
      assert.include(stdout, "[c] Error detecting event text\n")
      assert.include(stdout, "[d] Handler crashed: called process.exit(3)\n")
      assert.include(stdout, "[f] No event detected\n")
      assert.include(stdout, "   ⭐️ d\n\n      No jobs\n")
      assert.match(stderr, /^Failed to load module from .*a\.js cannot be imported: no import$/m)
      assert.include(stderr, "[d] the detector of d rejected after it had returned: floating\n")
      assert.include(stderr, "[e] the job floats of e rejected after it had returned: later\n")
    })
  )

  it.live("tells those who log what nobody caught whose it was, and stays out of their way", () =>
    Effect.gen(function* () {
      const place = yield* directory({
        "a.js": moduleOf("() => true", "() => { setTimeout(() => { throw new Error('leaked') }, 5) }"),
        "b.js": moduleOf("() => true", "() => { setTimeout(() => process.exit(4), 5) }"),
        "c.js": moduleOf("async () => { Promise.reject(new Error('floating')); return false }"),
        "own.test.mjs": program(
          {},
          "",
          `import { currentName } from ${JSON.stringify(join(layers, "EventModulesCalls.ts"))}
for (const event of ['uncaughtException', 'unhandledRejection']) {
  process.on(event, (error) => console.error(\`\${currentName()}: \${error.message}\`))
}
setTimeout(() => Promise.reject(new Error('mine')), 50)`
        ).concat("\nawait new Promise((r) => setTimeout(r, 300))\nconsole.log('on')")
      })
      const { code, stderr, stdout } = yield* node(join(place, "own.test.mjs"))
      assert.strictEqual(code, 0, stderr)
      assert.isTrue(stdout.endsWith("on\n"))
      assert.deepStrictEqual(stderr.trimEnd().split("\n").sort(), [
        "the detector of c: floating",
        "the handler of a: leaked",
        "the handler of b: called process.exit(4)",
        "undefined: mine"
      ])
    })
  )

  it.live("leaves rejections and exits of everybody else as they are", () =>
    Effect.gen(function* () {
      const place = yield* directory({
        "a.js": moduleOf("async () => true"),
        "exits.test.mjs": `${program({})}\nprocess.exit(5)`,
        "rejects.test.mjs": `${program({})}\nPromise.reject(new Error('mine'))\nsetTimeout(() => console.log('on'), 500)`
      })
      assert.strictEqual((yield* node(join(place, "exits.test.mjs"))).code, 5)
      const rejected = yield* node(join(place, "rejects.test.mjs"))
      assert.strictEqual(rejected.code, 1)
      assert.include(rejected.stderr, "mine")
      assert.notInclude(rejected.stdout, "on\n")
    })
  )

  it.live("listens to what is named, and answers without events where there is no directory", () =>
    Effect.gen(function* () {
      const place = yield* directory({
        "a.js": moduleOf("() => true"),
        "b.js": moduleOf("() => true"),
        "some.test.cjs": `
const { listenTo } = require(${JSON.stringify(join(layers, "HasuraCompat.ts"))})
const event = {}
const names = { eventModulesDirectory: __dirname, autoLoadEventModules: false, listenedEvents: ['b', 'gone'] }
listenTo(event, names, { x: 1 }).then(async (response) => {
  const none = await listenTo({}, { eventModulesDirectory: './none' })
  console.log(JSON.stringify({ events: [...response.events, { name: 'none', jobs: none.events }, { name: event.__context.x }] }))
})`
      })
      const { code, stderr, stdout } = yield* node(join(place, "some.test.cjs"))
      assert.strictEqual(code, 0, stderr)
      assert.deepStrictEqual(responseOf(stdout).events, [
        { name: "b", jobs: [] },
        { name: "none", jobs: [] },
        { name: 1 }
      ] as never)
      assert.include(stderr, `Failed to load module from ${join(place, "gone.js")}`)
      assert.include(stderr, "[ListModules] Failed to list modules ENOENT")
      assert.include(stdout, "🔔  Detected 0 events from the database event:\n")
    })
  )

  it("sums up what failed and how long it took, where that is asked for", () => {
    const entry = { name: "send", options: {}, duration: 12 }
    const jobs = [
      { ...entry, completed: true, result: "sent" },
      { ...entry, completed: false, result: "no connection" },
      { ...entry, completed: true, result: undefined },
      { ...entry, completed: true, result: { id: 7, rows: [1, 2] } }
    ]
    assert.strictEqual(
      Summary.summary(
        [
          { name: "a", jobs },
          { name: "b", jobs: undefined }
        ],
        { durations: true }
      ),
      `
🔔  Detected 2 events from the database event:

   ⭐️ a

      ✅ sent (12 ms)

      ❌ send: no connection (12 ms)

      ✅ send (12 ms)

      ✅ {"id":7,"rows":["0","1"]} (12 ms)

   ⭐️ b

      No jobs
`
    )
  })
})
