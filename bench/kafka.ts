/** What the Kafka benchmarks share: a broker, topics with keyed records, programs in processes of their own, and the check of what came out. */
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import process, { env } from "node:process"
import { setTimeout as sleep } from "node:timers/promises"
import { type Admin, Kafka, type KafkaConfig, logLevel, Partitioners } from "kafkajs"
import * as KafkaBroker from "../test/services/KafkaBroker.ts"
import { median } from "./shop.ts"

/** The built program; `SLUICE_MAIN` names another build. */
export const main = env.SLUICE_MAIN ?? join(import.meta.dirname, "../dist/main.js")

// kafkajs sets a negative timer, and Node warns of it: nothing to read here.
process.removeAllListeners("warning")

/** What each record says: the n-th of its key. */
export interface Numbered {
  readonly key: string
  readonly n: number
}

export interface Kit {
  readonly brokers: ReadonlyArray<string>
  readonly kafka: Kafka
  readonly admin: Admin
}

export const client = (brokers: ReadonlyArray<string>): Kafka => {
  const config: KafkaConfig = { brokers: [...brokers], logLevel: logLevel.NOTHING, connectionTimeout: 10_000 }
  return new Kafka(config)
}

export const producerOf = (kafka: Kafka) => kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner })

/** Uses a broker of its own, or those of `KAFKA_BROKERS`. */
export const withKit = async <A>(use: (kit: Kit) => Promise<A>): Promise<A> => {
  const given = KafkaBroker.brokersFromEnvironment()
  const cluster = given === undefined ? await KafkaBroker.startCluster({ brokers: 1 }) : undefined
  const brokers = given ?? cluster!.brokers
  const kafka = client(brokers)
  const admin = kafka.admin()
  try {
    await admin.connect()
    return await use({ brokers, kafka, admin })
  } finally {
    await admin.disconnect()
    await cluster?.stop()
  }
}

let names = 0
/** A name nobody has used on this broker. */
export const fresh = (name: string): string => `${name}-${process.pid}-${++names}`

/** A topic in which the broker notes when each record was appended. */
export const createTopic = async ({ admin }: Kit, name: string, partitions: number): Promise<string> => {
  const topic = fresh(name)
  const configEntries = [{ name: "message.timestamp.type", value: "LogAppendTime" }]
  await admin.createTopics({ topics: [{ topic, numPartitions: partitions, configEntries }], waitForLeaders: true })
  return topic
}

export interface Keyed {
  readonly key: string
  readonly value: string
}

/** Records of exactly this many bytes; the keys are numbers of `keyOf`. */
export const numbered = (count: number, bytes: number, keyOf: (i: number) => number): ReadonlyArray<Keyed> => {
  const next = new Map<string, number>()
  return Array.from({ length: count }, (_, i) => {
    const key = `k${keyOf(i)}`
    const n = next.get(key) ?? 0
    next.set(key, n + 1)
    const head = `{"key":"${key}","n":${n},"text":"`
    return { key, value: `${head}${"x".repeat(bytes - head.length - 2)}"}` }
  })
}

export const fill = async ({ kafka }: Kit, topic: string, records: ReadonlyArray<Keyed>): Promise<void> => {
  const producer = producerOf(kafka)
  await producer.connect()
  for (let i = 0; i < records.length; i += 2000) {
    await producer.send({ topic, acks: -1, messages: records.slice(i, i + 2000) })
  }
  await producer.disconnect()
}

/** How many records a topic has. */
export const size = async ({ admin }: Kit, topic: string): Promise<number> =>
  (await admin.fetchTopicOffsets(topic)).reduce((sum, { high, low }) => sum + Number(high) - Number(low), 0)

/** Reads a topic from its beginning to its end, each partition in order. Units: milliseconds since 1970, by the broker's clock. */
export const readAll = async (
  kit: Kit,
  topic: string,
  take: (value: Buffer, appendedAt: number, key: Buffer | null) => void
): Promise<void> => {
  let left = await size(kit, topic)
  if (left === 0) return
  const consumer = kit.kafka.consumer({ groupId: fresh("reader"), maxWaitTimeInMs: 100 })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  await new Promise<void>((all, failed) => {
    const eachBatch = async ({ batch: { messages } }: { batch: { messages: ReadonlyArray<ReadRecord> } }) => {
      for (const { key, timestamp, value } of messages) take(value!, Number(timestamp), key)
      left -= messages.length
      if (left <= 0) all()
    }
    consumer.run({ autoCommit: false, eachBatch }).catch(failed)
  })
  await consumer.disconnect()
}

interface ReadRecord {
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly timestamp: string
}

export interface Checked {
  /** Records that are there at least once. */
  readonly distinct: number
  readonly duplicates: number
  /** When the first and the last of them were appended. Units: milliseconds since 1970. */
  readonly firstAt: number
  readonly lastAt: number
  /** How many were appended in the first millisecond. */
  readonly atFirst: number
}

/** Reads what came out; throws when the records of a key are not in order, a record is lost, or its key is not what it was. */
export const check = async (kit: Kit, topic: string, count: number): Promise<Checked> => {
  const next = new Map<string, number>()
  const times: Array<number> = []
  let duplicates = 0
  await readAll(kit, topic, (value, appendedAt, key) => {
    const record: Numbered = JSON.parse(value.toString())
    const expected = next.get(record.key) ?? 0
    if (String(key) !== record.key) throw new Error(`a record of ${record.key} came out under the key ${key}`)
    if (record.n > expected) throw new Error(`${record.key}: ${record.n} came out before ${expected}`)
    if (record.n < expected) duplicates++
    else {
      next.set(record.key, expected + 1)
      times.push(appendedAt)
    }
  })
  if (times.length !== count) throw new Error(`${count - times.length} of ${count} records are lost`)
  const firstAt = times.reduce((first, time) => Math.min(first, time))
  const lastAt = times.reduce((last, time) => Math.max(last, time))
  return { distinct: count, duplicates, firstAt, lastAt, atFirst: times.filter((time) => time === firstAt).length }
}

// ---------------------------------------------------------------------------------------------------- processes

/** A program in a process of its own. */
export interface Program {
  readonly pid: number
  readonly child: ChildProcess
  /** What it has written to standard error, the end of it. */
  readonly said: () => string
  /** SIGTERM, and SIGKILL when that takes longer than 20 seconds; gives the exit code. */
  readonly stop: () => Promise<number | null>
}

/** No program outlives this process. */
const children = new Set<ChildProcess>()
process.once("exit", () => {
  for (const child of children) child.kill("SIGKILL")
})

export const program = (args: ReadonlyArray<string>, cwd?: string): Program => {
  const child = spawn(process.execPath, [...args], { cwd, stdio: ["ignore", "ignore", "pipe"] })
  let said = ""
  child.stderr.setEncoding("utf8").on("data", (text) => {
    said = (said + text).slice(-20_000)
  })
  children.add(child)
  const closed = once(child, "close").finally(() => children.delete(child))
  const runs = () => child.exitCode === null && child.signalCode === null
  const stop = async () => {
    const timer = setTimeout(() => child.kill("SIGKILL"), 20_000)
    if (runs()) child.kill("SIGTERM")
    await closed
    clearTimeout(timer)
    return child.exitCode
  }
  return { pid: child.pid!, child, said: () => said, stop }
}

/** One of the loops of `kafkaLoops.ts`. */
export const loop = (name: string, options: object): Program =>
  program([join(import.meta.dirname, "kafkaLoops.ts"), name, JSON.stringify(options)])

/** Sluice with this config, in a folder of its own that goes with it. */
export const sluice = (config: string): Program => {
  const folder = mkdtempSync(join(tmpdir(), "sluice-bench-"))
  writeFileSync(join(folder, "sluice.yaml"), config)
  const running = program([main, "sluice.yaml"], folder)
  running.child.once("close", () => rmSync(folder, { recursive: true, force: true }))
  return running
}

/**
 * Waits until the topic has this many records; throws when the program ends before, or nothing comes for a minute.
 *
 * Units: microseconds of the program's CPU per record from the first one seen on; not a number where there is no `/proc`.
 */
export const until = async (kit: Kit, topic: string, count: number, running: Program): Promise<number> => {
  let first: { readonly count: number; readonly cpu: number } | undefined
  let last = 0
  let movedAt = performance.now()
  for (;;) {
    const now = await size(kit, topic)
    if (now > 0) first ??= { count: now, cpu: cpuOf(running) }
    if (now >= count) return (cpuOf(running) - first!.cpu) / (now - first!.count)
    if (running.child.exitCode !== null) throw new Error(`the program ended at ${now} of ${count}:\n${running.said()}`)
    if (now !== last) movedAt = performance.now()
    if (performance.now() - movedAt > 60_000) {
      throw new Error(`nothing comes after ${now} of ${count}:\n${running.said()}`)
    }
    last = now
    await sleep(100)
  }
}

/** Units: microseconds; the kernel counts in hundredths of a second. */
export const cpuOf = ({ pid }: Program): number => {
  try {
    const [user, system] = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)!.split(" ").slice(11)
    return (Number(user) + Number(system)) * 10_000
  } catch {
    return Number.NaN
  }
}

/** Records per second, and the contender's CPU for each. */
export interface Measured {
  readonly rate: number
  readonly cpuMicros: number
}

/** The median of each. */
export const middle = (all: ReadonlyArray<Measured>): Measured => ({
  rate: median(all.map(({ rate }) => rate)),
  cpuMicros: median(all.map(({ cpuMicros }) => cpuMicros))
})

export const shown = (all: ReadonlyArray<Measured>): string => {
  const { cpuMicros, rate } = middle(all)
  const each = all.length > 1 ? ` (${all.map(({ rate }) => perSecond(rate)).join(", ")})` : ""
  return `${perSecond(rate)}${each} at ${cpuMicros.toFixed(0)} us of CPU each`
}

export const perSecond = (rate: number): string => `${Math.round(rate).toLocaleString("en")}/s`

// ---------------------------------------------------------------------------------------------------- chance

/** Numbers from 0 to 1, the same for the same seed. Source: mulberry32 */
export const randomOf = (seed: number): (() => number) => {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
