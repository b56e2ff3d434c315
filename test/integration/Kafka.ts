/** What tests with real Kafka brokers share: a cluster, numbered records, an endpoint that notes what it is asked, the built program. */
import { createServer, type IncomingHttpHeaders } from "node:http"
import type { AddressInfo } from "node:net"
import { setTimeout as sleep } from "node:timers/promises"
import {
  type IHeaders,
  type ITopicConfig,
  Kafka,
  logLevel,
  type Message,
  Partitioners,
  type PartitionMetadata
} from "kafkajs"
import { onTestFinished } from "vitest"
// Keeps kafkajs from setting negative timers, of which Node warns.
import "../../src/layers/KafkaJsCluster.ts"
import * as KafkaJsCodecs from "../../src/layers/KafkaJsCodecs.ts"
import { decode, type Snapshot } from "../../src/streams/Offsets.ts"
import * as KafkaBroker from "../services/KafkaBroker.ts"
import * as Program from "./Program.ts"

/** Why these tests cannot run here; undefined when they can. */
export const reason = await KafkaBroker.available()
if (reason !== undefined) console.warn(`tests with a Kafka broker are skipped: ${reason}`)

// ---------------------------------------------------------------------------------------------------- the cluster

export interface Read {
  readonly partition: number
  readonly offset: number
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: IHeaders
}

/** What a group has noted of one partition. */
export interface Noted extends Snapshot {
  readonly metadata: string
}

export type Kit = Awaited<ReturnType<typeof open>>

let names = 0
/** A name no other test uses. */
export const fresh = (name: string): string => `${name}-${++names}`

export const open = async (options: KafkaBroker.Options) => {
  KafkaJsCodecs.register()
  const cluster = await KafkaBroker.startCluster(options)
  const retry = { initialRetryTime: 100, maxRetryTime: 1000, retries: 5 }
  const limits = { connectionTimeout: 3000, requestTimeout: 5000, retry }
  const kafka = new Kafka({ brokers: cluster.brokers, logLevel: logLevel.NOTHING, ...limits })
  const admin = kafka.admin()
  const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner })
  await Promise.all([admin.connect(), producer.connect()])

  const ends = async (topic: string): Promise<ReadonlyMap<number, number>> =>
    new Map((await again(() => admin.fetchTopicOffsets(topic))).map(({ high, partition }) => [partition, Number(high)]))

  const create = async (topic: ITopicConfig): Promise<void> => {
    await again(() => admin.createTopics({ topics: [topic], waitForLeaders: true }))
  }

  return {
    cluster,
    kafka,
    admin,
    brokers: cluster.brokers,
    /** A new topic with a name of its own. */
    topic: async (name: string, partitions = 4): Promise<string> => {
      const topic = fresh(name)
      await create({ topic, numPartitions: partitions })
      return topic
    },
    create,
    /** The brokers that lead and hold each partition. */
    partitions: async (topic: string): Promise<ReadonlyArray<PartitionMetadata>> =>
      (await again(() => admin.fetchTopicMetadata({ topics: [topic] }))).topics[0]!.partitions,
    send: async (topic: string, messages: ReadonlyArray<Message>): Promise<void> => {
      await producer.send({ topic, acks: -1, messages: [...messages] })
    },
    /** Where each partition ends. */
    ends,
    /** How many records were ever written to it. */
    size: async (topic: string): Promise<number> =>
      [...(await ends(topic)).values()].reduce((sum, end) => sum + end, 0),
    /** All that lies in the topic now, each partition in order. */
    read: async (topic: string): Promise<Array<Read>> => {
      const left = new Map([...(await ends(topic))].filter(([, end]) => end > 0))
      const all: Array<Read> = []
      if (left.size === 0) return all
      const consumer = kafka.consumer({ groupId: fresh("reader"), maxWaitTimeInMs: 100 })
      await consumer.connect()
      await consumer.subscribe({ topic, fromBeginning: true })
      await new Promise<void>((done, failed) => {
        const eachMessage = async ({
          message,
          partition
        }: {
          message: Message & { offset: string }
          partition: number
        }) => {
          const { headers = {}, key, value } = message as unknown as Read
          const offset = Number(message.offset)
          all.push({ partition, offset, key, value, headers })
          if (offset + 1 >= (left.get(partition) ?? 0)) left.delete(partition)
          if (left.size === 0) done()
        }
        consumer.run({ autoCommit: false, eachMessage }).catch(failed)
      })
      await consumer.disconnect()
      return all.sort((a, b) => a.partition - b.partition || a.offset - b.offset)
    },
    /** What the group has noted, by partition; 0 where there is nothing. */
    noted: async (group: string, topic: string): Promise<ReadonlyMap<number, Noted>> => {
      const [found] = await again(() => admin.fetchOffsets({ groupId: group, topics: [topic] }))
      return new Map(
        (found?.partitions ?? []).map(({ metadata, offset, partition }) => {
          const watermark = Math.max(0, Number(offset))
          const text = metadata ?? ""
          const snapshot = decode(text, watermark)
          if (snapshot === undefined) throw new Error(`the map of partition ${partition} cannot be read: ${text}`)
          return [partition, { ...snapshot, metadata: text }]
        })
      )
    },
    close: async () => {
      await Promise.allSettled([admin.disconnect(), producer.disconnect()])
      await cluster.stop()
    }
  }
}

/** Whether it is settled by what the group has noted. */
export const covers = (noted: Snapshot | undefined, offset: number): boolean =>
  noted !== undefined && (offset < noted.watermark || noted.settled.some(([from, to]) => offset >= from && offset < to))

/** Waits until the group has noted the whole topic as settled. */
export const drained = (kit: Kit, group: string, topic: string, seconds = 30): Promise<void> =>
  until(
    `group ${group} is at the end of ${topic}`,
    async () => {
      const noted = await kit.noted(group, topic)
      return [...(await kit.ends(topic))].every(([partition, end]) => (noted.get(partition)?.watermark ?? 0) === end)
    },
    seconds
  )

/** A coordinator that begins or moves answers at a later time. */
const again = async <A>(call: () => Promise<A>): Promise<A> => {
  for (let tries = 1; ; tries++) {
    try {
      return await call()
    } catch (error) {
      if (tries === 50) throw error
      await sleep(200)
    }
  }
}

/** Looks again and again; what it waits for stands in the error. */
export const until = async (what: string, holds: () => boolean | Promise<boolean>, seconds = 30): Promise<void> => {
  const deadline = Date.now() + seconds * 1000
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`not within ${seconds} s: ${what}`)
    await sleep(50)
  }
}

// ---------------------------------------------------------------------------------------------------- the records

/** The n-th of its key. */
export interface Numbered {
  readonly key: string
  readonly n: number
}

export const numberedOf = (value: Buffer | null): Numbered => JSON.parse(String(value))

export const nameOf = ({ key, n }: Numbered): string => `${key}/${n}`

/** Gives each record its number. */
export const numbering = () => {
  const next = new Map<string, number>()
  return (key: string): Message & Numbered => {
    const n = next.get(key) ?? 0
    next.set(key, n + 1)
    return { key, n, value: JSON.stringify({ key, n }) }
  }
}

export const numbered = (count: number, keys: number): ReadonlyArray<Message & Numbered> => {
  const number = numbering()
  return Array.from({ length: count }, (_, i) => number(`k${i % keys}`))
}

/**
 * Writes records at a rate until it is stopped; what fails is sent again, so it may be there twice.
 *
 * One partition at a time: kafkajs takes a batch for stored when one of its partitions has changed its leader under way.
 */
export const flow = (kit: Kit, topic: string, options: { readonly keys: number; readonly rate: number }) => {
  const number = numbering()
  let stopping = false
  let stopped = false
  let count = 0
  const send = async (partition: number, messages: ReadonlyArray<Message>) => {
    const batch = messages.map((message) => ({ ...message, partition }))
    while (batch.length > 0 && !stopped) {
      try {
        return await kit.send(topic, batch)
      } catch {
        await sleep(100)
      }
    }
  }
  const flowing = (async () => {
    const partitions = (await kit.partitions(topic)).length
    const began = performance.now()
    while (!stopping) {
      const due = Math.min(Math.floor(((performance.now() - began) / 1000) * options.rate) - count, 100)
      const batch = Array.from({ length: Math.max(0, due) }, () => {
        const i = count++ % options.keys
        return { ...number(`k${i}`), partition: i % partitions }
      })
      for (let one = 0; one < partitions; one++) {
        await send(
          one,
          batch.filter(({ partition }) => partition === one)
        )
      }
      await sleep(20)
    }
  })()
  const stop = () => {
    stopping = true
    return flowing
  }
  onTestFinished(() => {
    stopped = true
    return stop()
  })
  return { stop, count: () => count }
}

/** The first of each record, as they came. */
export const firsts = <A extends Numbered>(all: ReadonlyArray<A>): ReadonlyArray<A> => {
  const seen = new Set<string>()
  return all.filter((one) => {
    const name = nameOf(one)
    if (seen.has(name)) return false
    seen.add(name)
    return true
  })
}

/** Records that came before an earlier one of their key; each counts at its first coming. */
export const disordered = (all: ReadonlyArray<Numbered>): ReadonlyArray<string> => {
  const next = new Map<string, number>()
  return firsts(all).flatMap((one) => {
    const expected = next.get(one.key) ?? 0
    next.set(one.key, Math.max(expected, one.n + 1))
    return one.n === expected ? [] : [`${nameOf(one)} where ${expected} was expected`]
  })
}

// ---------------------------------------------------------------------------------------------------- the endpoint

export interface Call {
  readonly method: string
  readonly path: string
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
  /** Moments in the order of events, over all calls of the endpoint. */
  readonly arrived: number
  answered: number | undefined
}

export interface Answer {
  readonly status?: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: Buffer | string
}

/** Answers what `answer` says, and notes each call; it ends with its test. */
export const endpoint = async (answer: (call: Call) => Answer | Promise<Answer>) => {
  const calls: Array<Call> = []
  let moment = 0
  const server = createServer((request, response) => {
    const chunks: Array<Buffer> = []
    request.on("data", (chunk) => chunks.push(chunk))
    request.on("end", async () => {
      const { headers, method = "", url = "" } = request
      // Only asks whether somebody is there.
      if (method === "HEAD") return void response.end()
      const call: Call = {
        ...{ method, path: url, headers, body: Buffer.concat(chunks) },
        arrived: ++moment,
        answered: undefined
      }
      calls.push(call)
      const { body = "{}", headers: own = {}, status = 200 } = await answer(call)
      // Whoever asked may be gone: then it is no answer.
      if (response.destroyed) return
      call.answered = ++moment
      response.writeHead(status, { "content-type": "application/json", ...own }).end(body)
    })
  })
  server.keepAliveTimeout = 60_000
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening))
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return { calls, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/work` }
}

export const asked = (calls: ReadonlyArray<Call>): ReadonlyArray<Call & Numbered> =>
  calls.map((call) => ({ ...call, ...numberedOf(call.body) }))

/** Records whose first call came before the first answer to the one before them of their key. */
export const overtaken = (calls: ReadonlyArray<Call>): ReadonlyArray<string> => {
  const all = asked(calls)
  const answers = new Map<string, number>()
  for (const call of all) {
    const known = answers.get(nameOf(call)) ?? Number.POSITIVE_INFINITY
    answers.set(nameOf(call), Math.min(known, call.answered ?? Number.POSITIVE_INFINITY))
  }
  return firsts(all).flatMap(({ arrived, key, n }) =>
    n === 0 || (answers.get(nameOf({ key, n: n - 1 })) ?? Number.POSITIVE_INFINITY) < arrived ? [] : [`${key}/${n}`]
  )
}

// ---------------------------------------------------------------------------------------------------- the program

export interface Line {
  readonly level: string
  readonly message: string
}

/** Runs the program with a config in a folder of its own; both are gone after the test. What it said is shown when that fails. */
export const sluice = (
  config: object | string,
  options: { readonly args?: ReadonlyArray<string>; readonly env?: Readonly<Record<string, string>> } = {}
) => {
  const text = typeof config === "string" ? config : JSON.stringify(config, undefined, 2)
  const { path, started } = Program.forTest({ "kafka.yaml": text })
  const start = () => {
    const { args = [], env = {} } = options
    const running = Program.start(path, [...args, "kafka.yaml"], { env })
    started.push(running)
    const stop = async (signal: NodeJS.Signals = "SIGTERM") => {
      running.child.kill(signal)
      return running.ended
    }
    return { ...running, stop, lines: () => linesOf(running.stderr()) }
  }
  /** `sluice dlq <what> --json` in the same folder. */
  const dlq = async (what: string, ...ids: ReadonlyArray<string>) => {
    const ended = await Program.run(path, ["dlq", what, "kafka.yaml", ...ids, "--json"], options)
    if (ended.code !== 0) throw new Error(`dlq ${what} ended with ${ended.code}: ${ended.stderr}`)
    return JSON.parse(ended.stdout)
  }
  return { start, dlq, path, env: options.env ?? {} }
}

/** What it logged; a line that is no JSON is one of an own level. */
export const linesOf = (stderr: string): ReadonlyArray<Line> =>
  Program.lines(stderr).map((line) => {
    try {
      const { level, message } = JSON.parse(line)
      return { level, message: [message].flat().join(" ") }
    } catch {
      return { level: "PLAIN", message: line }
    }
  })

/** Lines that ask for somebody's attention. */
export const warnings = (lines: ReadonlyArray<Line>): ReadonlyArray<Line> =>
  lines.filter(({ level }) => !["TRACE", "DEBUG", "INFO"].includes(level.toUpperCase()))
