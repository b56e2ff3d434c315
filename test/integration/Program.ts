/** Runs the built program as its users do, in a folder of its own. */
import { type ChildProcess, spawn } from "node:child_process"
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join, resolve } from "node:path"
import { onTestFailed, onTestFinished } from "vitest"

export const root = resolve(import.meta.dirname, "../..")
const main = join(root, "dist/main.js")

export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

export interface Running {
  readonly child: ChildProcess
  readonly ended: Promise<Ended>
  readonly stdout: () => string
  readonly stderr: () => string
  /** Waits until standard error says it; the match comes back. */
  readonly says: (pattern: RegExp) => Promise<RegExpMatchArray>
}

/** A temporary folder with files in it; `remove` deletes it. */
export const folder = (files: Readonly<Record<string, string>> = {}) => {
  const path = mkdtempSync(join(tmpdir(), "sluice-"))
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(path, name)), { recursive: true })
    writeFileSync(join(path, name), text)
  }
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) }
}

/** A folder for one test. What is put into `started` ends with the test, the folder too; what it said is shown when that failed. */
export const forTest = (files: Readonly<Record<string, string>>) => {
  const { path, remove } = folder(files)
  const started: Array<Running> = []
  onTestFinished(async () => {
    for (const { child } of started) child.kill("SIGKILL")
    await Promise.all(started.map(({ ended }) => ended))
    remove()
  })
  onTestFailed(() => {
    for (const { stderr } of started) console.log(stderr().slice(-10_000))
  })
  return { path, started }
}

export const start = (
  cwd: string,
  args: ReadonlyArray<string>,
  options: { readonly stdin?: string; readonly env?: Readonly<Record<string, string>> } = {}
): Running => {
  const child = spawn(process.execPath, [main, ...args], {
    cwd,
    env: { ...process.env, LOG_LEVEL: "info", ...options.env }
  })
  let stdout = ""
  let stderr = ""
  const waiting = new Set<() => void>()
  child.stdout.setEncoding("utf8").on("data", (text) => {
    stdout += text
  })
  child.stderr.setEncoding("utf8").on("data", (text) => {
    stderr += text
    for (const look of waiting) look()
  })
  // A program that ends early closes its end of the pipe.
  child.stdin.on("error", () => {})
  child.stdin.end(options.stdin ?? "")
  const ended = new Promise<Ended>((done) =>
    child.on("close", (code, signal) => {
      done({ code, signal, stdout, stderr })
      for (const look of waiting) look()
    })
  )
  const says = (pattern: RegExp) =>
    new Promise<RegExpMatchArray>((found, failed) => {
      const look = () => {
        const match = stderr.match(pattern)
        if (match === null && child.exitCode === null && child.signalCode === null) return
        waiting.delete(look)
        if (match === null) failed(new Error(`the program ended without saying ${pattern}:\n${stderr}`))
        else found(match)
      }
      waiting.add(look)
      look()
    })
  return { child, ended, stdout: () => stdout, stderr: () => stderr, says }
}

export const run = (cwd: string, args: ReadonlyArray<string>, options?: Parameters<typeof start>[2]): Promise<Ended> =>
  start(cwd, args, options).ended

/** Starts a config with `port: 0` and gives the address it printed. */
export const serve = async (cwd: string, config: string, env?: Readonly<Record<string, string>>) => {
  const running = start(cwd, [config], env === undefined ? {} : { env })
  const [, address] = await running.says(/listening on (http:\/\/[^\s"]+)/)
  return { ...running, address: address! }
}

export const lines = (text: string): ReadonlyArray<string> => text.split("\n").filter((line) => line !== "")
