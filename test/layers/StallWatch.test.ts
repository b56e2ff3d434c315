import { spawn } from "node:child_process"
import { resolve } from "node:path"
import { assert, describe, it } from "vitest"

interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly output: string
  readonly errors: string
}

interface How {
  readonly flags?: ReadonlyArray<string>
  readonly args?: ReadonlyArray<string>
  readonly ready?: (pid: number) => void
}

const program = resolve(import.meta.dirname, "StallWatchProcess.ts")
const loops = resolve(import.meta.dirname, "stalling/loops.ts")

/** Runs the program to its end. */
const run = (kind: string, { args = [], flags = [], ready }: How = {}) =>
  new Promise<Ended>((resume) => {
    const child = spawn(process.execPath, [...flags, program, kind, ...args])
    let output = ""
    let errors = ""
    child.stdout.setEncoding("utf8").on("data", (text) => {
      output += text
      if (text.includes("ready")) ready?.(child.pid!)
    })
    child.stderr.setEncoding("utf8").on("data", (text) => {
      errors += text
    })
    child.on("close", (code, signal) => resume({ code, signal, output, errors }))
  })

const lines = ({ errors }: Ended): ReadonlyArray<{ readonly level: string; readonly message: string }> =>
  errors
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line))

const named = (ended: Ended, start: string) => {
  assert.strictEqual(lines(ended).length, 1, ended.errors)
  const { level, message } = lines(ended)[0]!
  assert.strictEqual(level, "ERROR")
  assert.isTrue(message.startsWith(`${start} has not yielded for 0.3 s`), message)
  assert.isTrue(message.endsWith(": ending the process (event modules can run with isolation: worker)"), message)
  assert.notInclude(ended.output, "went on")
}

describe("StallWatch ends the process", () => {
  it.each(["loop", "regex", "wait"])("with 1 and the module's name: %s", async (kind) => {
    const ended = await run(kind)
    assert.strictEqual(ended.code, 1, ended.errors)
    named(ended, "order.paid")
    assert.include(ended.errors, "StallWatchProcess.ts:")
    assert.notInclude(ended.errors, "debugger")
  })

  it.each(["parse", "sort", "child"])("by a signal, where the code cannot be interrupted: %s", async (kind) => {
    const ended = await run(kind)
    // One that ends within the time to answer is interrupted before the next one.
    assert.isTrue(ended.signal === "SIGKILL" || ended.code === 1, ended.errors)
    named(ended, "order.paid")
  })

  it("naming the outer module, when what it called has returned", async () => {
    const ended = await run("nested")
    assert.strictEqual(ended.code, 1)
    named(ended, "outer")
  })

  it("naming the place, when a module loops after it has waited", async () => {
    const ended = await run("later", { args: ["300", "own"] })
    assert.strictEqual(ended.code, 1)
    named(ended, `${loops}:4:3`)
  })

  it.each(["later", "promises"])("naming who has not ended, when nothing else tells: %s", async (kind) => {
    const ended = await run(kind)
    assert.isTrue(ended.signal === "SIGKILL" || ended.code === 1, ended.errors)
    assert.deepStrictEqual(
      lines(ended).map(({ level }) => level),
      ["WARN", "ERROR"]
    )
    assert.include(lines(ended)[1]!.message, "order.paid has not yielded for 0.3 s")
  })
})

describe("StallWatch goes on", () => {
  const wentOn = async (kind: string, how?: How) => {
    const ended = await run(kind, how)
    assert.strictEqual(ended.code, 0, ended.errors)
    assert.include(ended.output, "went on")
    return lines(ended)
  }

  it.each(["many", "awaits", "turns", "ended"])("without a word while everything moves: %s", async (kind) => {
    assert.deepStrictEqual(await wentOn(kind), [])
  })

  it.each(["own", "thrown"])("when no module keeps the thread, and says where it stands: %s", async (kind) => {
    const [line, ...others] = await wentOn(kind)
    assert.deepStrictEqual(others, [])
    assert.strictEqual(line?.level, "WARN")
    assert.match(
      line!.message,
      /^the main thread has not yielded for 0.3 s \(at .*StallWatchProcess.ts:.*\): in no module$/
    )
  })

  it("when a debugger may have stopped the thread", async () => {
    const [line] = await wentOn("spins", { flags: ["--inspect=127.0.0.1:0"] })
    assert.strictEqual(line?.level, "WARN")
    assert.include(line!.message, "it goes on, as a debugger may be attached")
  })

  it("when the whole process was stopped and continued in a module", async () => {
    const stopped = await wentOn("busy", {
      ready: (pid) => {
        setTimeout(() => process.kill(pid, "SIGSTOP"), 200)
        setTimeout(() => process.kill(pid, "SIGCONT"), 1_700)
      }
    })
    assert.deepStrictEqual(stopped, [])
  })
})

it("StallWatch costs less than a microsecond for a call", async () => {
  const ended = await run("cost", { args: ["10000"] })
  assert.isBelow(Number(ended.output.split("\n")[0]), 1_000)
})
