/** Installs, starts and stops real Prefect servers, for tests. */
import { type ChildProcess, execFile, type StdioOptions, spawn } from "node:child_process"
import { once } from "node:events"
import { closeSync, existsSync, openSync } from "node:fs"
import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises"
import { homedir, tmpdir } from "node:os"
import { join, resolve } from "node:path"
import { env } from "node:process"
import { setTimeout as sleep } from "node:timers/promises"
import { promisify } from "node:util"
import { guarded } from "./Guard.ts"

export interface Options {
  /** `memory` bears many calls at once and forgets all when it stops; `file` keeps all, and bears hardly two. */
  readonly database?: "memory" | "file"
  /** `user:password` without which the server answers 401. */
  readonly authString?: string
  readonly csrf?: boolean
  /** A free one when left out. */
  readonly port?: number
}

export interface PrefectServer {
  /** Of the API. */
  readonly url: string
  /** Of the process that runs, or ran last. */
  readonly pid: number
  /** SIGTERM, and the wait until it is gone; SIGKILL when that takes longer than 10 seconds. */
  readonly stop: () => Promise<void>
  /** SIGKILL, and the wait until it is gone. */
  readonly kill: () => Promise<void>
  /** Runs it again on its port and database, and waits until it answers. */
  readonly start: () => Promise<void>
  /**
   * Runs a Python file that serves a flow, and returns once the flow is ready; `close` ends it.
   *
   * It must serve only as `__main__`, since Prefect imports the file again for each run.
   */
  readonly serve: (python: string) => Promise<void>
  /** Ends all there is, and deletes the database. */
  readonly close: () => Promise<void>
}

/** The API named by `PREFECT_API_URL`, whose server others run. */
export const urlFromEnvironment = (): string | undefined => env.PREFECT_API_URL?.trim().replace(/\/+$/, "") || undefined

/** Why no server can run here, in one sentence; undefined when one can. The first call on a machine installs 255 MB. */
export const available = (): Promise<string | undefined> =>
  python().then(
    () => undefined,
    (error: Error) => error.message
  )

/** Returns once the server answers. */
export const start = async (options: Options = {}): Promise<PrefectServer> => {
  const program = await python()
  const home = await mkdtemp(join(tmpdir(), "sluice-prefect-"))
  const guard = guarded(home)
  const log = join(home, "server.log")
  const settings = environment(options, home)
  let port = options.port ?? 0
  let server: ChildProcess | undefined
  const others: Array<ChildProcess> = []

  const launch = (args: ReadonlyArray<string>, file: string, more: Readonly<Record<string, string>> = {}) => {
    const output = openSync(file, "a")
    const stdio: StdioOptions = ["ignore", output, output]
    // In a process group of its own: Ctrl-C is for the one who started it.
    const child = spawn(program, args, { cwd: home, env: { ...settings, ...more }, detached: true, stdio })
    closeSync(output)
    guard.add(child)
    return child
  }
  const run = async () => {
    if (server !== undefined && isAlive(server)) return
    await rm(log, { force: true })
    server = launch(["-m", "prefect", "server", "start", "--host", host, "--port", `${port}`], log)
    const found = await said(server, log, /Uvicorn running on http:\/\/[^:]+:(\d+)/)
    port = Number(found[1])
    await until(async () => (await fetch(`http://${host}:${port}/api/health`)).status === 200)
  }
  const close = async () => {
    await Promise.all([...others, server].map((child) => child && end(child, "SIGKILL")))
    await rm(home, { recursive: true, force: true, maxRetries: 3 })
    guard.release()
  }
  try {
    await run()
  } catch (cause) {
    await close()
    throw cause
  }
  const url = `http://${host}:${port}/api`
  return {
    url,
    get pid() {
      return server!.pid!
    },
    stop: () => end(server!, "SIGTERM"),
    kill: () => end(server!, "SIGKILL"),
    start: run,
    serve: async (source) => {
      const file = join(home, `flow-${others.length}.py`)
      await writeFile(file, source)
      const output = `${file}.log`
      const auth = options.authString === undefined ? undefined : { PREFECT_API_AUTH_STRING: options.authString }
      const child = launch([file], output, { PREFECT_API_URL: url, PREFECT_RUNNER_POLL_FREQUENCY: "1", ...auth })
      others.push(child)
      await said(child, output, /is being served|polling for scheduled runs/)
    },
    close
  }
}

const version = "3.8.8"
/** A newer fastapi makes this server die at its start. */
const packages = [`prefect==${version}`, "fastapi<0.151"]
const host = "127.0.0.1"
const installMillisMax = 10 * 60_000
const startMillisMax = 60_000
const stopMillisMax = 10_000
const execute = promisify(execFile)

const environment = ({ authString, csrf, database = "memory" }: Options, home: string) => {
  // What this process has set for its own client is not for the server.
  const kept = Object.entries(env).filter(([name]) => !name.startsWith("PREFECT_"))
  const inMemory = "sqlite+aiosqlite:///file::memory:?cache=shared&uri=true&check_same_thread=false"
  return {
    ...Object.fromEntries(kept),
    PREFECT_HOME: home,
    DO_NOT_TRACK: "1",
    PREFECT_SERVER_ANALYTICS_ENABLED: "false",
    PREFECT_SERVER_UI_ENABLED: "false",
    PREFECT_SERVER_LOGGING_LEVEL: "INFO",
    PYTHONUNBUFFERED: "1",
    ...(database === "memory" ? { PREFECT_API_DATABASE_CONNECTION_URL: inMemory } : undefined),
    ...(authString === undefined ? undefined : { PREFECT_SERVER_API_AUTH_STRING: authString }),
    ...(csrf === true ? { PREFECT_SERVER_CSRF_PROTECTION_ENABLED: "true" } : undefined)
  }
}

// ---------------------------------------------------------------------------------------------------- installation

let installed: Promise<string> | undefined
const python = (): Promise<string> => (installed ??= install())

/** Returns the Python of the environment in the cache, which is made first where there is none. */
const install = async (): Promise<string> => {
  const cache = resolve(env.XDG_CACHE_HOME || join(homedir(), ".cache"), `sluice/prefect-${version}`)
  const place = join(cache, "venv")
  const program = join(place, "bin/python")
  if (existsSync(program)) return program
  const found = await execute("python3", ["--version"]).catch(() => {
    throw new Error("Prefect needs Python 3.10 or newer, and there is no python3 here")
  })
  if (!(Number(/Python 3\.(\d+)/.exec(found.stdout)?.[1]) >= 10)) {
    throw new Error(`Prefect needs Python 3.10 or newer, this is ${found.stdout.trim()}`)
  }
  await mkdir(cache, { recursive: true })
  const temporary = await mkdtemp(join(cache, "install-"))
  try {
    await execute("python3", ["-m", "venv", temporary])
    const pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", ...packages]
    await execute(join(temporary, "bin/python"), pip, { timeout: installMillisMax })
    await rename(temporary, place)
  } catch (cause) {
    // Another process may have put it there meanwhile.
    if (!existsSync(program)) throw new Error(`Prefect could not be installed: ${whyNot(cause)}`)
  } finally {
    await rm(temporary, { recursive: true, force: true })
  }
  return program
}

const whyNot = (cause: unknown): string => {
  const { message, stderr = "" } = cause as { readonly message: string; readonly stderr?: string }
  const errors = stderr.split("\n").filter((line) => line.startsWith("ERROR"))
  return errors[0] ?? message.split("\n")[0]!
}

// ---------------------------------------------------------------------------------------------------- processes

const isAlive = (child: ChildProcess): boolean => child.exitCode === null && child.signalCode === null

/** Waits until a process has written it to its file. */
const said = async (child: ChildProcess, file: string, pattern: RegExp): Promise<RegExpExecArray> => {
  const deadline = Date.now() + startMillisMax
  for (;;) {
    const text = await readFile(file, "utf8")
    const found = pattern.exec(text)
    if (found !== null) return found
    if (!isAlive(child) || Date.now() > deadline) {
      throw new Error(`Prefect did not say ${pattern}:\n${text.split("\n").slice(-20).join("\n")}`)
    }
    await sleep(100)
  }
}

const until = async (holds: () => Promise<boolean>): Promise<void> => {
  const deadline = Date.now() + startMillisMax
  while (!(await holds().catch(() => false))) {
    if (Date.now() > deadline) throw new Error("Prefect does not answer")
    await sleep(50)
  }
}

const end = async (child: ChildProcess, signal: NodeJS.Signals): Promise<void> => {
  if (!isAlive(child)) return
  const ended = once(child, "exit")
  child.kill(signal)
  const timer = setTimeout(() => child.kill("SIGKILL"), stopMillisMax)
  await ended
  clearTimeout(timer)
}
