/** Starts and stops Azurite's queue service, Microsoft's emulator of Azure Storage, for tests. */
import { type ChildProcess, execFile, spawn } from "node:child_process"
import { mkdtemp, rm } from "node:fs/promises"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { env, execPath } from "node:process"
import { promisify } from "node:util"

export interface Options {
  /** https with a certificate of its own, and tokens as Entra ID gives them besides account keys. */
  readonly secured?: boolean
  /** A free one when left out. */
  readonly port?: number
  /** Where the data stays after `stop`, for a later `start`; in memory when left out. */
  readonly folder?: string
}

export interface Azurite {
  readonly account: string
  /** Everybody knows it, where it is the emulator's own. */
  readonly key: string
  /** With the account in its path: `http://127.0.0.1:port/devstoreaccount1`. */
  readonly endpoint: string
  readonly connectionString: string
  /** The file of the certificate, for `NODE_EXTRA_CA_CERTS`. */
  readonly certificate: string | undefined
  /** Ends it, and forgets what was in memory. */
  readonly stop: () => Promise<void>
  /** SIGSTOP: connections stay open and nothing answers. */
  readonly pause: () => void
  /** SIGCONT. */
  readonly resume: () => void
}

/** Why there is none here, in one sentence; undefined when there is one. `secured` needs openssl. */
export const available = async ({ secured = false }: Options = {}): Promise<string | undefined> => {
  try {
    if (secured) await run("openssl", ["version"])
    else if (fromEnvironment() !== undefined) return undefined
    program()
    return undefined
  } catch (error) {
    return secured && (error as NodeJS.ErrnoException).code === "ENOENT"
      ? "there is no openssl here to make certificates"
      : `Azurite is not installed: ${(error as Error).message.split("\n")[0]}`
  }
}

/**
 * Starts one on 127.0.0.1 and returns when it listens.
 *
 * Tests go to another emulator, or to a real account they may fill, where `AZURITE_CONNECTION_STRING` is the
 * connection string of one, with AccountName, AccountKey and QueueEndpoint; it is neither started nor stopped here.
 */
export const start = async (options: Options = {}): Promise<Azurite> => {
  const isPlain = options.secured !== true && options.port === undefined && options.folder === undefined
  const given = isPlain ? fromEnvironment() : undefined
  if (given !== undefined) return given
  const temporary = await mkdtemp(join(tmpdir(), "sluice-azurite-"))
  const certificate = options.secured ? await makeCertificate(temporary) : undefined
  const child = launch(options, temporary, certificate)
  const stop = async () => {
    const over = new Promise((gone) => child.once("close", gone))
    if (child.exitCode === null && child.signalCode === null) {
      child.kill("SIGKILL")
      await over
    }
    await rm(temporary, { recursive: true, force: true })
  }
  try {
    const origin = await listening(child)
    const endpoint = `${origin}/${account}`
    return {
      ...named(account, key, endpoint),
      certificate: certificate?.cert,
      stop,
      pause: () => void child.kill("SIGSTOP"),
      resume: () => void child.kill("SIGCONT")
    }
  } catch (error) {
    await stop()
    throw error
  }
}

/** The connection string of the same account at another origin, such as a proxy's. */
export const through = (azurite: Azurite, origin: string): string =>
  named(azurite.account, azurite.key, `${origin}${new URL(azurite.endpoint).pathname}`).connectionString

const run = promisify(execFile)
const startMillisMax = 60_000
const account = "devstoreaccount1"
/** Source: https://learn.microsoft.com/azure/storage/common/storage-use-azurite */
const key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

const named = (account: string, key: string, endpoint: string) => ({
  account,
  key,
  endpoint,
  connectionString: `AccountName=${account};AccountKey=${key};QueueEndpoint=${endpoint};`
})

const fromEnvironment = (): Azurite | undefined => {
  const text = env.AZURITE_CONNECTION_STRING ?? ""
  if (text === "") return undefined
  const value = (name: string) => new RegExp(`(?:^|;)\\s*${name}=([^;]+)`, "i").exec(text)?.[1]?.trim()
  const [name, key, endpoint] = [value("AccountName"), value("AccountKey"), value("QueueEndpoint")]
  if (name === undefined || key === undefined || endpoint === undefined) {
    throw new Error("AZURITE_CONNECTION_STRING: expected AccountName, AccountKey and QueueEndpoint")
  }
  const nothing = () => {}
  const rest = { certificate: undefined, stop: async () => {}, pause: nothing, resume: nothing }
  return { ...named(name, key, endpoint.replace(/\/+$/, "")), ...rest }
}

const program = (): string =>
  join(dirname(createRequire(import.meta.url).resolve("azurite/package.json")), "dist/src/queue/main.js")

/** Ends it and deletes its folder when this process is gone, however it went: the channel between them is closed then. */
const guard = `data:text/javascript,${encodeURIComponent(`
  import { rmSync } from "node:fs"
  process.on("disconnect", () => {
    rmSync(process.cwd(), { recursive: true, force: true })
    process.exit()
  })
`)}`

const launch = (options: Options, temporary: string, certificate: Certificate | undefined): ChildProcess => {
  const args = ["--queueHost", "127.0.0.1", "--queuePort", `${options.port ?? 0}`]
  args.push("--silent", "--disableTelemetry", "--skipApiVersionCheck")
  if (options.folder === undefined) args.push("--inMemoryPersistence")
  else args.push("--location", options.folder)
  if (certificate !== undefined) args.push("--oauth", "basic", "--cert", certificate.cert, "--key", certificate.key)
  return spawn(execPath, ["--import", guard, program(), ...args], {
    cwd: temporary,
    stdio: ["ignore", "pipe", "pipe", "ipc"]
  })
}

const listening = (child: ChildProcess): Promise<string> =>
  new Promise((listens, failed) => {
    let said = ""
    const late = setTimeout(() => failed(new Error(`Azurite did not start: ${said}`)), startMillisMax)
    for (const stream of [child.stdout!, child.stderr!]) {
      stream.setEncoding("utf8").on("data", (text) => {
        said += text
        const origin = /successfully listens on (\S+)/.exec(said)?.[1]
        if (origin === undefined) return
        clearTimeout(late)
        listens(origin)
      })
    }
    child.once("close", () => {
      clearTimeout(late)
      failed(new Error(`Azurite ended: ${said.trim()}`))
    })
  })

interface Certificate {
  readonly cert: string
  readonly key: string
}

const makeCertificate = async (folder: string): Promise<Certificate> => {
  const made = { cert: join(folder, "azurite.crt"), key: join(folder, "azurite.key") }
  const subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
  const files = ["-keyout", made.key, "-out", made.cert]
  await run("openssl", ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", ...subject, ...files])
  return made
}
