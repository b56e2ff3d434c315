/** Runs Kafka on 127.0.0.1 until Ctrl-C: `npm run services`, with `-- --brokers 3` or `-- --port 19092`. */
import process from "node:process"
import { parseArgs } from "node:util"
import * as KafkaBroker from "./KafkaBroker.ts"

const asked = () => {
  const { values } = parseArgs({
    options: { brokers: { type: "string", default: "1" }, port: { type: "string", default: "9092" } }
  })
  const brokers = Number(values.brokers)
  const port = Number(values.port)
  if (brokers !== 1 && brokers !== 3) throw new Error(`--brokers: expected 1 or 3, found ${values.brokers}`)
  if (!(Number.isInteger(port) && port > 0 && port < 65_534)) {
    throw new Error(`--port: expected a number from 1 to 65533, found ${values.port}`)
  }
  return { brokers, ports: [port, port + 1, port + 2] } as const
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

try {
  const options = asked()
  console.log("starting Kafka ...")
  const cluster = await Promise.race([KafkaBroker.startCluster(options), signalled])
  if (cluster === undefined) process.exit(1)
  console.log(`Kafka is up, until Ctrl-C. To use it:\n\n  export KAFKA_BROKERS=${cluster.brokers.join(",")}\n`)
  await signalled
  await cluster.stop()
  process.exit(0)
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exit(1)
}
