/**
 * Runs services on 127.0.0.1 until Ctrl-C: `npm run services` all there are, `npm run services -- kafka` those named,
 * with `--brokers 3`, `--port 19092`, `--azurite-port 20001`, `--prefect-port 14200`, `--postgres-port 15432`,
 * `--eventrelay-port 50052` or `--eventrelay-plain`, which asks for no certificates.
 */
import process from "node:process"
import { parseArgs } from "node:util"
import * as Azurite from "./Azurite.ts"
import * as EventRelay from "./EventRelay.ts"
import * as EventRelayCertificates from "./EventRelayCertificates.ts"
import * as KafkaBroker from "./KafkaBroker.ts"
import * as PostgresServer from "./PostgresServer.ts"
import * as PrefectServer from "./PrefectServer.ts"

interface Service {
  /** Why it cannot run here, in one sentence; undefined when it can. */
  readonly available: () => Promise<string | undefined>
  readonly start: () => Promise<{
    /** What to put into the environment to use it. */
    readonly exports: Readonly<Record<string, string>>
    readonly stop: () => Promise<void>
  }>
}

const portOf = (name: string, text: string, most: number): number => {
  const port = Number(text)
  if (Number.isInteger(port) && port > 0 && port <= most) return port
  throw new Error(`--${name}: expected a number from 1 to ${most}, found ${text}`)
}

const asked = () => {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: {
      brokers: { type: "string", default: "1" },
      port: { type: "string", default: "9092" },
      "azurite-port": { type: "string", default: "10001" },
      "prefect-port": { type: "string", default: "4200" },
      "postgres-port": { type: "string", default: "5432" },
      "eventrelay-port": { type: "string", default: "50051" },
      "eventrelay-plain": { type: "boolean", default: false }
    }
  })
  const brokers = Number(values.brokers)
  if (brokers !== 1 && brokers !== 3) throw new Error(`--brokers: expected 1 or 3, found ${values.brokers}`)
  const port = portOf("port", values.port, 65_533)
  const azuritePort = portOf("azurite-port", values["azurite-port"], 65_535)
  const prefectPort = portOf("prefect-port", values["prefect-port"], 65_535)
  const postgresPort = portOf("postgres-port", values["postgres-port"], 65_535)
  const eventRelayPort = portOf("eventrelay-port", values["eventrelay-port"], 65_535)
  const isPlain = values["eventrelay-plain"]
  // One entry for each service there is.
  const services: Readonly<Record<string, Service>> = {
    kafka: {
      available: KafkaBroker.available,
      start: async () => {
        const cluster = await KafkaBroker.startCluster({ brokers, ports: [port, port + 1, port + 2] })
        return { exports: { KAFKA_BROKERS: cluster.brokers.join(",") }, stop: cluster.stop }
      }
    },
    azurite: {
      available: Azurite.available,
      start: async () => {
        const azurite = await Azurite.start({ port: azuritePort })
        // Some clients want the protocol spelled out.
        const connectionString = `DefaultEndpointsProtocol=http;${azurite.connectionString}`
        return { exports: { AZURE_STORAGE_CONNECTION_STRING: `"${connectionString}"` }, stop: azurite.stop }
      }
    },
    prefect: {
      available: PrefectServer.available,
      start: async () => {
        const server = await PrefectServer.start({ port: prefectPort })
        return { exports: { PREFECT_API_URL: server.url }, stop: server.close }
      }
    },
    postgres: {
      available: () => PostgresServer.available({ own: true }),
      start: async () => {
        const server = await PostgresServer.start({ own: true, port: postgresPort, password: "sluice" })
        return { exports: { DATABASE_URL: server.url }, stop: server.close }
      }
    },
    eventrelay: {
      available: async () => (isPlain ? undefined : EventRelayCertificates.available()),
      start: () => eventRelay(eventRelayPort, isPlain)
    }
  }
  const unknown = positionals.find((name) => !Object.hasOwn(services, name))
  if (unknown !== undefined) {
    throw new Error(`expected services out of ${Object.keys(services).join(", ")}, found ${unknown}`)
  }
  return { named: positionals, services }
}

/** With a destination of the topic `orders`, and the key of an admin. */
const eventRelay = async (port: number, isPlain: boolean) => {
  const certificates = isPlain ? undefined : await EventRelayCertificates.make()
  const { ca, caFile, client, server } = certificates ?? {}
  const tls = server === undefined ? {} : { tls: { ca: ca!, cert: server.cert, key: server.key } }
  const relay = await EventRelay.start({ port, ...tls })
  const topic = "users"
  const destination = await relay.do<string>("createDestination", { topic })
  const files = {
    EVENTRELAY_CA: caFile!,
    EVENTRELAY_CERT: client?.certFile ?? "",
    EVENTRELAY_KEY: client?.keyFile ?? ""
  }
  return {
    exports: {
      EVENTRELAY_HOST: relay.host,
      EVENTRELAY_PORT: `${relay.port}`,
      EVENTRELAY_TOKEN: relay.token(),
      EVENTRELAY_DESTINATION: destination,
      EVENTRELAY_TOPIC: topic,
      ...(isPlain ? {} : files)
    },
    stop: async () => {
      await relay.close()
      await certificates?.remove()
    }
  }
}

// kafkajs sets a negative timer, and Node warns of it: nothing to read here.
process.removeAllListeners("warning")

// Under npm one Ctrl-C arrives twice, from the terminal and from npm: what comes within half a second is the same one.
const sameSignalMillis = 500
let signalledAt: number | undefined
const signalled = new Promise<undefined>((stop) => {
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => {
      signalledAt ??= performance.now()
      if (performance.now() - signalledAt > sameSignalMillis) process.exit(1)
      stop(undefined)
    })
  }
})

/** Undefined where it cannot run here, which is an error only for a service that was asked for by its name. */
const started = async (name: string, service: Service, isNamed: boolean) => {
  const reason = await service.available()
  if (reason === undefined) return service.start()
  if (isNamed) throw new Error(reason)
  console.log(`without ${name}: ${reason}`)
  return undefined
}

try {
  const { named, services } = asked()
  const names = named.length > 0 ? [...new Set(named)] : Object.keys(services)
  console.log(`starting ${names.join(", ")} ...`)
  const all = Promise.all(names.map((name) => started(name, services[name]!, named.length > 0)))
  const running = (await Promise.race([all, signalled]))?.filter((one) => one !== undefined)
  // What was started ends with this process.
  if (running === undefined || running.length === 0) process.exit(1)
  const lines = running.flatMap(({ exports }) => Object.entries(exports).map(([name, value]) => `${name}=${value}`))
  console.log(`running, until Ctrl-C. To use it:\n\n${lines.map((line) => `  export ${line}\n`).join("")}`)
  await signalled
  await Promise.all(running.map(({ stop }) => stop()))
  process.exit(0)
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exit(1)
}
