import { spawn } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit } from "effect"
import * as ModuleWorker from "../../src/layers/ModuleWorker.ts"

const stall = 600

/** Modules of these texts, in a worker. */
const run = Effect.fnUntraced(function* (
  files: Readonly<Record<string, string>>,
  more?: Partial<ModuleWorker.Options>
) {
  const directory = yield* Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "sluice-worker-"))),
    (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
  )
  for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, `${name}.mjs`), text)
  const said: Array<string> = []
  const options: ModuleWorker.Options = {
    directory,
    timeoutMillis: stall,
    jobs: { defaults: { timeout: Duration.seconds(10) } },
    say: (_, words) => said.push(words),
    ...more
  }
  return { directory, modules: yield* ModuleWorker.make(options), said }
})

const module = (detector: string, handler = "return 'done'") => `
let calls = 0
const sleep = (millis) => new Promise((resume) => setTimeout(resume, millis))
export const detector = async (event, payload) => { ${detector} }
export const handler = async (event, payload) => { ${handler} }
`
/** Code that runs as nobody's may end the worker. */
const outside = `
const outside = (code) => globalThis[Symbol.for("sluice/event-modules")].calls.run(undefined, code)
`
const yes = module("return true")
const spin = "while (true);"
const hangs = module(`if (payload.hang) ${spin}; return true`)
const wait = (promise: unknown) => Effect.promise(async () => promise as any)

describe("ModuleWorker", () => {
  it.live("asks detectors and runs handlers as a process does, each with its own payload", () =>
    Effect.gen(function* () {
      const { modules } = yield* run({
        "a.yes": module("payload.seen = 1; return true", "return [payload.id, payload.seen]"),
        "b.no": module("return false"),
        "c.broke": module("throw 'words'"),
        "d.slow": module("await sleep(5000); return true")
      })
      assert.deepStrictEqual(modules.names, ["a.yes", "b.no", "c.broke", "d.slow"])
      const verdicts = yield* wait(modules.detect({ id: 7 }))
      assert.deepStrictEqual(verdicts.found, ["a.yes"])
      assert.deepStrictEqual(verdicts.asked, modules.names)
      assert.strictEqual(verdicts.broke.get("c.broke"), "words")
      assert.include(verdicts.broke.get("d.slow"), "no answer within 600 ms")
      const handled = yield* wait(modules.handle("a.yes", { id: 7 }, verdicts))
      assert.deepStrictEqual(handled, { name: "a.yes", jobs: [7, 1], crashed: undefined })
    }).pipe(Effect.scoped)
  )

  it.live("a detector that never yields has broken; all others are asked, and what it waits for goes on", () =>
    Effect.gen(function* () {
      const { modules, said } = yield* run({ "a.hangs": hangs, "b.yes": yes })
      const [first, second] = yield* wait(Promise.all([modules.detect({ hang: true }), modules.detect({})]))
      assert.deepStrictEqual(first.found, ["b.yes"])
      assert.deepStrictEqual(first.asked, ["a.hangs", "b.yes"])
      assert.match(first.broke.get("a.hangs"), /^a\.hangs did not yield for 0\.6 s \(at .*a\.hangs\.mjs:4:/)
      assert.deepStrictEqual(second.found, ["a.hangs", "b.yes"])
      assert.strictEqual(said.length, 1)
      assert.include(said[0], "a.hangs did not yield for 0.6 s")
    }).pipe(Effect.scoped)
  )

  it.live(
    "a handler that never yields after it has waited fails with its place; begun ones run again, others run",
    () =>
      Effect.gen(function* () {
        const { directory, modules } = yield* run({
          "a.hangs": module("return false", `await sleep(100); (() => { ${spin} })()`),
          "b.slow": module("return true", "await sleep(60); console.log; payload.n; await sleep(400); return 'done'"),
          "c.once": module(
            "return true",
            "const { appendFileSync } = await import('node:fs'); appendFileSync(payload.file, 'x'); await sleep(400); return 1"
          )
        })
        const file = join(directory, "count.txt")
        const begun = [modules.handle("a.hangs", {}), modules.handle("c.once", { file })]
        yield* Effect.sleep("300 millis")
        // Asked while the worker stands still: it begins in the next one.
        const later = [modules.handle("b.slow", {}), modules.detect({})]
        const [hung, once] = yield* wait(Promise.all(begun))
        assert.match(hung.crashed, /^a\.hangs did not yield for 0\.6 s \(at .*a\.hangs\.mjs:5:/)
        // It had begun, and is run again: at least once.
        assert.deepStrictEqual([once.crashed, once.jobs], [undefined, 1])
        const [slow, verdicts] = yield* wait(Promise.all(later))
        assert.strictEqual(slow.jobs, "done")
        assert.deepStrictEqual(verdicts.found, ["b.slow", "c.once"])
        assert.strictEqual(verdicts.broke.size, 0)
        assert.strictEqual(readFileSync(file, "utf8"), "xx")
      }).pipe(Effect.scoped)
  )

  it.live("one that waits for a child inside of the system holds nobody up for longer than the limit", () =>
    Effect.gen(function* () {
      const children = "const { execSync } = await import('node:child_process')"
      const { modules, said } = yield* run({
        "a.waits": module(`if (payload.hang) { ${children}; execSync('sleep 8') } return true`),
        "b.yes": yes
      })
      const began = performance.now()
      const verdicts = yield* wait(modules.detect({ hang: true }))
      assert.deepStrictEqual(verdicts.found, ["b.yes"])
      assert.match(verdicts.broke.get("a.waits"), /^a\.waits did not yield for 0\.6 s/)
      assert.strictEqual((yield* wait(modules.handle("b.yes", {}))).jobs, "done")
      // The child takes longer; a thread that is left behind says nothing any more.
      assert.isBelow(performance.now() - began, 8_000)
      assert.lengthOf(said, 1)
    }).pipe(Effect.scoped)
  )

  it.live("a result that cannot leave the worker costs the others nothing", () =>
    Effect.gen(function* () {
      const { modules } = yield* run({
        "a.odd": module(
          "return true",
          "return [{ result: { get x() { throw 'g' } }, completed: true }, { result: () => 1, n: 2 }, { result: 'kept' }]"
        )
      })
      const { crashed, jobs } = yield* wait(modules.handle("a.odd", {}))
      assert.isUndefined(crashed)
      assert.deepStrictEqual(jobs, [
        { result: "[a result that JSON cannot hold: object]", completed: true },
        { n: 2 },
        { result: "kept" }
      ])
    }).pipe(Effect.scoped)
  )

  it.live("sets a module aside that has cost three workers, and the others go on", () =>
    Effect.gen(function* () {
      const { modules, said } = yield* run({ "a.hangs": hangs, "b.yes": yes })
      for (let i = 0; i < 3; i++) yield* wait(modules.detect({ hang: true }))
      const from = performance.now()
      const verdicts = yield* wait(modules.detect({ hang: true }))
      assert.isBelow(performance.now() - from, 5_000)
      assert.deepStrictEqual(verdicts.found, ["b.yes"])
      assert.include(verdicts.broke.get("a.hangs"), "3 times: it is set aside")
      const handled = yield* wait(modules.handle("a.hangs", {}))
      assert.include(handled.crashed, "it is set aside")
      assert.deepStrictEqual(
        modules.problems.map(({ event }) => event),
        ["a.hangs"]
      )
      assert.strictEqual(said.filter((words) => words.includes("set aside")).length, 1)
    }).pipe(Effect.scoped)
  )

  it.live("sets a module aside that never yields while it is imported", () =>
    Effect.gen(function* () {
      const { modules } = yield* run({ "a.hangs": `${yes}; ${spin}`, "b.yes": yes })
      assert.include(modules.problems[0]?.reason, "while it was imported")
      const verdicts = yield* wait(modules.detect({}))
      assert.deepStrictEqual(verdicts.found, ["b.yes"])
      assert.isTrue(verdicts.broke.has("a.hangs"))
    }).pipe(Effect.scoped)
  )

  it.live("a module that asks for the end of the process fails, and costs the others nothing", () =>
    Effect.gen(function* () {
      const { modules, said } = yield* run({ "a.bad": module("return false", "process.exit(3)"), "b.yes": yes })
      const exited = yield* wait(modules.handle("a.bad", {}))
      assert.include(exited.crashed, "process.exit(3)")
      const verdicts = yield* wait(modules.detect({}))
      assert.deepStrictEqual(verdicts.found, ["b.yes"])
      assert.deepStrictEqual(said, [])
    }).pipe(Effect.scoped)
  )

  it.live("a worker that is ended from within is started again, naming who ended it", () =>
    Effect.gen(function* () {
      const { modules, said } = yield* run({
        "a.bad": outside + module("return false", "outside(() => process.reallyExit(3)); await sleep(5000)"),
        "b.yes": yes
      })
      const exited = yield* wait(modules.handle("a.bad", {}))
      assert.include(exited.crashed, "a.bad ended its worker with 3")
      const verdicts = yield* wait(modules.detect({}))
      assert.deepStrictEqual(verdicts.found, ["b.yes"])
      assert.strictEqual(said.length, 1)
    }).pipe(Effect.scoped)
  )

  it.live("what is thrown when nobody waits any more is said, and stops nothing", () =>
    Effect.gen(function* () {
      const { modules, said } = yield* run({
        "a.late": module(
          "return false",
          "setTimeout(() => { throw new Error('late') }, 20); Promise.reject('never'); return 1"
        )
      })
      assert.strictEqual((yield* wait(modules.handle("a.late", {}))).jobs, 1)
      yield* Effect.sleep("200 millis")
      assert.strictEqual((yield* wait(modules.handle("a.late", {}))).jobs, 1)
      assert.isTrue(
        said.some((words) => words.includes("late")),
        said.join("\n")
      )
      assert.isFalse(said.some((words) => words.includes("worker")))
    }).pipe(Effect.scoped)
  )

  it.live("gives up after too many losses, and says so to everyone", () =>
    Effect.gen(function* () {
      const { modules, said } = yield* run({ "a.hangs": hangs, "b.yes": yes }, { restartsMax: 1 })
      for (let i = 0; i < 2; i++) yield* wait(modules.detect({ hang: true }))
      const verdicts = yield* wait(modules.detect({}))
      assert.deepStrictEqual(verdicts.found, [])
      assert.include(verdicts.broke.get("b.yes"), "was lost 2 times within 60 s")
      assert.include((yield* wait(modules.handle("b.yes", {}))).crashed, "was lost 2 times")
      assert.isTrue(said.some((words) => words.endsWith("it is not started again")))
    }).pipe(Effect.scoped)
  )

  it.live("does not take long work that yields, or much of it, for a stall", () =>
    Effect.gen(function* () {
      const work = "for (const until = performance.now() + 20; performance.now() < until; );"
      const { modules, said } = yield* run({
        "a.busy": module(`${work} return true`, `for (let i = 0; i < 20; i++) { ${work} await sleep(0) } return 1`)
      })
      const all = yield* wait(Promise.all(Array.from({ length: 80 }, () => modules.detect({}))))
      assert.isTrue(all.every(({ found }: { found: Array<string> }) => found.length === 1))
      assert.strictEqual((yield* wait(modules.handle("a.busy", {}))).jobs, 1)
      assert.deepStrictEqual(said, [])
    }).pipe(Effect.scoped)
  )

  it.live("fails to start where there is no directory", () =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(run({}, { directory: "/nowhere/at/all" }))
      assert.isTrue(Exit.isFailure(exit))
      assert.include(JSON.stringify(exit), "ENOENT")
    }).pipe(Effect.scoped)
  )

  it.live("what modules print reaches the process, also just before they hang", () =>
    Effect.gen(function* () {
      const { code, errors, output } = yield* inProcess("events")
      assert.strictEqual(code, 0, errors)
      assert.deepStrictEqual(output.trim().split("\n"), ["one", "two", "three", "ended"])
      assert.include(errors, "four")
      assert.include(errors, "five")
    })
  )

  it.live("a module that takes all the memory of its worker has broken, and the process goes on", () =>
    Effect.gen(function* () {
      const { code, errors, output } = yield* inProcess("memory")
      assert.strictEqual(code, 0, errors)
      assert.strictEqual(output, "ended\n")
      assert.include(errors, "takes.all used more than 64 MiB of memory")
    })
  )
})

const inProcess = (folder: string): Effect.Effect<{ code: number; errors: string; output: string }> =>
  wait(
    new Promise((resume) => {
      const child = spawn(process.execPath, [resolve(import.meta.dirname, "ModuleWorkerProcess.ts"), folder])
      let output = ""
      let errors = ""
      child.stdout.on("data", (text) => {
        output += text
      })
      child.stderr.on("data", (text) => {
        errors += text
      })
      child.on("close", (code) => resume({ code, errors, output }))
    })
  )
