/** Fetches, starts and stops real Apache Kafka brokers, for tests and benchmarks. */
import { type ChildProcess, execFile, type StdioOptions, spawn } from "node:child_process"
import { randomBytes } from "node:crypto"
import { once } from "node:events"
import { closeSync, existsSync, openSync } from "node:fs"
import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises"
import { type AddressInfo, createServer } from "node:net"
import { homedir, tmpdir } from "node:os"
import { join, resolve } from "node:path"
import { env } from "node:process"
import { setTimeout as sleep } from "node:timers/promises"
import { promisify } from "node:util"
import { Kafka, logLevel } from "kafkajs"
import { type Guard, guarded } from "./Guard.ts"

export interface Options {
  readonly brokers: 1 | 3
  /** Of a topic that is created by its first use; 4 when left out. */
  readonly partitions?: number
  /** Where the data stays after `stop`, for a later `startCluster`; a temporary folder when left out. */
  readonly folder?: string
  /** One for each broker; free ones when left out. */
  readonly ports?: ReadonlyArray<number>
  /** Broker settings over those made here. Source: https://kafka.apache.org/documentation/#brokerconfigs */
  readonly properties?: Readonly<Record<string, string>>
  /** Further ways in, each on a free port: their names and security protocols, such as `{ TLS: "SSL" }`. */
  readonly listeners?: Readonly<Record<string, "SSL" | "SASL_PLAINTEXT" | "SASL_SSL">>
  /** Users and their passwords for SCRAM. */
  readonly scram?: Readonly<Record<string, string>>
}

export interface Cluster {
  /** The addresses for clients, `127.0.0.1:port`. */
  readonly brokers: Array<string>
  readonly nodes: ReadonlyArray<Node>
  /** Ends all nodes; a temporary folder goes with them. */
  readonly stop: () => Promise<void>
}

/** One broker, which is also a controller. */
export interface Node {
  readonly id: number
  readonly port: number
  /** Of the further listeners, by their names. */
  readonly ports: Readonly<Record<string, number>>
  /** Of the process that runs, or ran last. */
  readonly pid: number
  /** SIGTERM, and the wait until it is gone; SIGKILL when that takes longer than 20 seconds. */
  readonly stop: () => Promise<void>
  /** SIGKILL, and the wait until it is gone. */
  readonly kill: () => Promise<void>
  /** Runs it again on its port and data, and waits until the cluster counts it in. */
  readonly start: () => Promise<void>
  /** SIGSTOP: connections stay open and nothing answers. */
  readonly pause: () => void
  /** SIGCONT. */
  readonly resume: () => void
}

/** The brokers named by `KAFKA_BROKERS=host:port,host:port`, which others run. */
export const brokersFromEnvironment = (): Array<string> | undefined => {
  const brokers = (env.KAFKA_BROKERS ?? "").split(",").flatMap((broker) => broker.trim() || [])
  return brokers.length === 0 ? undefined : brokers
}

/** Why no broker can run here, in one sentence; undefined when one can. The first call on a machine fetches 55 MB. */
export const available = (): Promise<string | undefined> =>
  jars().then(
    () => undefined,
    (error: Error) => error.message
  )

/** Returns once every broker knows all of them. */
export const startCluster = async (options: Options): Promise<Cluster> => {
  const libs = await jars()
  const ids = Array.from({ length: options.brokers }, (_, i) => i + 1)
  const further = Object.keys(options.listeners ?? {})
  const ports = await freePorts([
    ...ids.map((_, i) => options.ports?.[i] ?? 0),
    ...ids.flatMap(() => [0, ...further.map(() => 0)])
  ])
  const more = ids.map(() => Object.fromEntries(further.map((name) => [name, ports.pop()!])))
  const controllers = ports.splice(ids.length)
  const voters = ids.map((id, i) => `${id}@${host}:${controllers[i]}`).join(",")
  const clusterId = randomBytes(16).toString("base64url")
  const temporary = options.folder === undefined ? await mkdtemp(join(tmpdir(), "sluice-kafka-")) : undefined
  const guard = guarded(temporary)
  const nodes = ids.map((id, i) => {
    const folder = resolve(temporary ?? options.folder!, `node-${id}`)
    const place = { id, port: ports[i]!, ports: more[i]!, folder }
    const settings = properties(options, { ...place, controller: controllers[i]!, voters })
    return node({ ...place, libs, settings, clusterId, guard, scram: options.scram ?? {} })
  })
  const stop = async () => {
    // Data that is kept is closed well; nobody needs the rest.
    await Promise.all(nodes.map((node) => (temporary === undefined ? node.stop() : node.kill())))
    if (temporary !== undefined) await rm(temporary, { recursive: true, force: true })
    guard.release()
  }
  try {
    await Promise.all(nodes.map((node) => node.format()))
    await Promise.all(nodes.map((node) => node.startWith(ids)))
  } catch (cause) {
    await stop()
    throw cause
  }
  return { brokers: ports.map((port) => `${host}:${port}`), nodes, stop }
}

const version = "4.1.1"
const host = "127.0.0.1"
const fetchMillisMax = 10 * 60_000
const startMillisMax = 60_000
const stopMillisMax = 20_000
const run = promisify(execFile)

let fetched: Promise<string> | undefined
const jars = (): Promise<string> => (fetched ??= fetchJars())

/** Returns the folder with the jars: the one in the cache, or what Maven fetches into it. */
const fetchJars = async (): Promise<string> => {
  const java = await run("java", ["-version"]).catch(() => {
    throw new Error("Kafka needs Java 17 or newer, and there is no java here")
  })
  const major = Number(/version "(\d+)/.exec(java.stderr)?.[1])
  if (!(major >= 17)) throw new Error(`Kafka needs Java 17 or newer, this is Java ${major}`)
  const cache = resolve(env.XDG_CACHE_HOME || join(homedir(), ".cache"), `sluice/kafka-${version}`)
  const libs = join(cache, "libs")
  if (existsSync(libs)) return libs
  await mkdir(cache, { recursive: true })
  const temporary = await mkdtemp(join(cache, "fetch-"))
  try {
    await writeFile(join(temporary, "pom.xml"), pom)
    const goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", `-DoutputDirectory=${temporary}/libs`]
    await run("mvn", ["-q", "-B", ...goal], { cwd: temporary, timeout: fetchMillisMax })
    await rename(join(temporary, "libs"), libs)
  } catch (cause) {
    // Another process may have put them there meanwhile.
    if (!existsSync(libs)) throw new Error(whyNotFetched(cause as NodeJS.ErrnoException & { stdout?: string }))
  } finally {
    await rm(temporary, { recursive: true, force: true })
  }
  return libs
}

const whyNotFetched = ({ code, stdout, message }: NodeJS.ErrnoException & { stdout?: string }): string =>
  code === "ENOENT"
    ? "the Kafka jars are not in the cache, and there is no mvn to fetch them"
    : `the Kafka jars could not be fetched: ${/\[ERROR\] (.*)/.exec(stdout ?? "")?.[1] ?? message}`

const dependency = (group: string, artifact: string, version: string) =>
  `<dependency><groupId>${group}</groupId><artifactId>${artifact}</artifactId><version>${version}</version></dependency>`

const pom = `<project xmlns="http://maven.apache.org/POM/4.0.0">
<modelVersion>4.0.0</modelVersion><groupId>sluice</groupId><artifactId>kafka</artifactId><version>1</version>
<dependencies>
${dependency("org.apache.kafka", "kafka_2.13", version)}
${dependency("org.apache.kafka", "kafka-tools", version)}
${["log4j-slf4j-impl", "log4j-core", "log4j-1.2-api"].map((name) => dependency("org.apache.logging.log4j", name, "2.25.1")).join("\n")}
</dependencies>
</project>
`

interface Place {
  readonly id: number
  readonly port: number
  readonly ports: Readonly<Record<string, number>>
  readonly folder: string
}

const properties = (
  { brokers, listeners: further = {}, partitions = 4, properties }: Options,
  node: Place & { controller: number; voters: string }
): string => {
  const ports = { PLAINTEXT: node.port, CONTROLLER: node.controller, ...node.ports }
  const protocols = { CONTROLLER: "PLAINTEXT", PLAINTEXT: "PLAINTEXT", ...further }
  const listeners = Object.entries(ports).map(([name, port]) => `${name}://${host}:${port}`)
  const inSyncMin = Math.min(brokers, 2)
  const all = {
    "process.roles": "broker,controller",
    "node.id": node.id,
    "controller.quorum.voters": node.voters,
    listeners,
    "advertised.listeners": listeners,
    "listener.security.protocol.map": Object.entries(protocols).map((pair) => pair.join(":")),
    "inter.broker.listener.name": "PLAINTEXT",
    "controller.listener.names": "CONTROLLER",
    "log.dirs": join(node.folder, "data"),
    "auto.create.topics.enable": true,
    "num.partitions": partitions,
    "default.replication.factor": brokers,
    "min.insync.replicas": inSyncMin,
    "offsets.topic.replication.factor": brokers,
    "offsets.topic.num.partitions": 4,
    "transaction.state.log.replication.factor": brokers,
    "transaction.state.log.min.isr": inSyncMin,
    "transaction.state.log.num.partitions": 4,
    "share.coordinator.state.topic.replication.factor": brokers,
    "share.coordinator.state.topic.min.isr": inSyncMin,
    "group.initial.rebalance.delay.ms": 0,
    "group.min.session.timeout.ms": 1000,
    // A killed broker is let in again only when the session it left behind has run out.
    "broker.session.timeout.ms": 2000,
    "broker.heartbeat.interval.ms": 500,
    ...properties
  }
  return Object.entries(all)
    .map(([name, value]) => `${name}=${value}\n`)
    .join("")
}

/** Ports nobody listens on; 0 stands for any. */
const freePorts = async (wanted: ReadonlyArray<number>): Promise<Array<number>> => {
  const servers = wanted.map((port) => createServer().listen(port, host))
  try {
    await Promise.all(servers.map((server) => once(server, "listening")))
    return servers.map((server) => (server.address() as AddressInfo).port)
  } catch (cause) {
    const { code, port } = cause as { code?: string; port?: number }
    throw code === "EADDRINUSE" ? new Error(`port ${port} on ${host} is taken`) : cause
  } finally {
    await Promise.all(servers.map((server) => new Promise((closed) => server.close(closed))))
  }
}

const node = (
  options: Place & {
    readonly libs: string
    readonly settings: string
    readonly clusterId: string
    readonly scram: Readonly<Record<string, string>>
    readonly guard: Guard
  }
) => {
  const { id, port, ports, folder, guard } = options
  const config = join(folder, "server.properties")
  const log = join(folder, "broker.log")
  const java = ["-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-cp", `${options.libs}/*`]
  let child: ChildProcess | undefined
  const runs = () => child !== undefined && child.exitCode === null && child.signalCode === null

  const format = async () => {
    await mkdir(folder, { recursive: true })
    await writeFile(config, options.settings)
    if (existsSync(join(folder, "data/meta.properties"))) return
    const users = Object.entries(options.scram).flatMap(([name, password]) =>
      ["SCRAM-SHA-256", "SCRAM-SHA-512"].map((kind) => `--add-scram=${kind}=[name=${name},password=${password}]`)
    )
    const format = ["format", `--cluster-id=${options.clusterId}`, "-c", config, ...users]
    await run("java", [...java, "kafka.tools.StorageTool", ...format])
  }
  const launch = () => {
    const output = openSync(log, "a")
    // In a process group of its own: Ctrl-C is for the one who started it.
    const stdio: StdioOptions = ["ignore", output, output]
    child = spawn("java", [...java, "kafka.Kafka", config], { cwd: folder, detached: true, stdio })
    closeSync(output)
    guard.add(child)
  }
  const lastWords = async () => (await readFile(log, "utf8")).split("\n").slice(-20).join("\n")
  const startWith = async (ids: ReadonlyArray<number>) => {
    if (runs()) return
    launch()
    const deadline = Date.now() + startMillisMax
    while (!(await knows(port, ids))) {
      if (!runs() || Date.now() > deadline) throw new Error(`broker ${id} did not start:\n${await lastWords()}`)
      await sleep(100)
    }
  }
  const end = async (signal: NodeJS.Signals) => {
    if (!runs()) return
    const ended = once(child!, "exit")
    child!.kill(signal)
    // One that is paused would not see a SIGTERM.
    child!.kill("SIGCONT")
    const timer = setTimeout(() => child!.kill("SIGKILL"), stopMillisMax)
    await ended
    clearTimeout(timer)
  }
  return {
    id,
    port,
    ports,
    get pid() {
      return child!.pid!
    },
    stop: () => end("SIGTERM"),
    kill: () => end("SIGKILL"),
    start: () => startWith([id]),
    format,
    startWith,
    pause: () => void child!.kill("SIGSTOP"),
    resume: () => void child!.kill("SIGCONT")
  }
}

/** Whether the broker on this port answers, and lists these brokers and a controller. */
const knows = async (port: number, ids: ReadonlyArray<number>): Promise<boolean> => {
  const limits = { connectionTimeout: 1000, requestTimeout: 2000, retry: { retries: 0 } }
  const admin = new Kafka({ brokers: [`${host}:${port}`], logLevel: logLevel.NOTHING, ...limits }).admin()
  try {
    await admin.connect()
    const { brokers, controller } = await admin.describeCluster()
    return controller !== null && ids.every((id) => brokers.some((broker) => broker.nodeId === id))
  } catch {
    return false
  } finally {
    await admin.disconnect()
  }
}
