/** Members of a group that are killed, stopped and started every few seconds, and a ledger of what each record went through. */
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { setTimeout as sleep } from "node:timers/promises"
import { parseArgs } from "node:util"
import { decode } from "../src/streams/Offsets.ts"
import { createTopic, fresh, type Kit, type Program, randomOf, sluice, withKit } from "./kafka.ts"
import { type End, type Entry, Ledger } from "./ledger.ts"

export interface Options {
  /** How long records are written and members come and go. */
  readonly seconds: number
  readonly seed: number
  /** Units: records per second. */
  readonly rate: number
  /** How many there are at the start; up to 5 later. */
  readonly members: number
}

export interface Numbers {
  readonly seed: number
  readonly records: number
  /** Never answered. */
  readonly lost: number
  /** The first call of a record came before the first answer to the one before it of its key was sent. */
  readonly violations: number
  /** Called again after a commit that covers it had been seen. */
  readonly runAgain: number
  /** Calls beyond the first of each record. */
  readonly duplicates: number
  /** Of these, from a member that still lived. */
  readonly moved: number
  /** Of these, by the member that had called before. */
  readonly repeated: number
  readonly ends: ReadonlyArray<End>
  /** Watermarks that went back, and maps beyond them that could not be read. */
  readonly backwards: number
  readonly unreadable: number
  /** Members that ended when nobody asked, or badly. */
  readonly failed: ReadonlyArray<string>
  /** Until everything was committed after the last record was written; undefined when that did not happen. */
  readonly drainSeconds: number | undefined
  readonly cases: ReadonlyArray<string>
}

const partitions = 12
const keys = 500
const concurrency = 64
const membersMax = 5
const sampleMillis = 100
const drainMillisMax = 120_000
/** Units: records that may be unanswered before no more are written. */
const backlogMax = 20_000

export const run = (options: Options): Promise<Numbers> =>
  withKit(async (kit) => {
    const ledger = new Ledger(partitions)
    const topic = await createTopic(kit, "ledger", partitions)
    const group = fresh("group")
    const endpoint = await listen(ledger)
    const crowd = new Crowd(kit, ledger, { topic, group, url: endpoint.url })
    const sampler = sampling(kit, ledger, topic, group)
    try {
      for (let i = 0; i < options.members; i++) crowd.start()
      const deadline = performance.now() + options.seconds * 1000
      await Promise.all([produce(kit, ledger, topic, options.rate, deadline), disturb(crowd, options, deadline)])
      const drainSeconds = await drained(kit, topic, sampler)
      await crowd.stopAll()
      const { backwards, cases, duplicates, lost, moved, repeated, runAgain, unreadable, violations } = ledger
      return {
        seed: options.seed,
        records: ledger.entries.length,
        ...{ lost, violations, runAgain, duplicates, moved, repeated },
        ends: [...ledger.ends.values()],
        ...{ backwards, unreadable, failed: crowd.failed, drainSeconds, cases }
      }
    } finally {
      await crowd.stopAll()
      await sampler.stop()
      endpoint.stop()
    }
  })

// ---------------------------------------------------------------------------------------------------- the endpoint

/** Answers after 5 to 20 ms. */
const listen = async (ledger: Ledger) => {
  const server = createServer((request, response) => {
    if (request.method === "HEAD") {
      response.end()
      return
    }
    const chunks: Array<Buffer> = []
    request.on("data", (chunk) => chunks.push(chunk))
    request.on("end", () => {
      const { id } = JSON.parse(Buffer.concat(chunks).toString())
      ledger.arrived(id, String(request.headers["x-member"]))
      setTimeout(
        () => {
          // Whoever asked may be gone: then it is no answer.
          if (response.destroyed) return
          ledger.answered(id)
          response.end("{}")
        },
        5 + Math.random() * 15
      )
    })
  })
  server.keepAliveTimeout = 60_000
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    stop: () => {
      server.closeAllConnections()
      server.close()
    }
  }
}

// ---------------------------------------------------------------------------------------------------- the records

/** One send after the other, so that the records of a key lie in order. */
const produce = async (kit: Kit, ledger: Ledger, topic: string, rate: number, deadline: number): Promise<void> => {
  const producer = kit.kafka.producer({ createPartitioner: chosen, idempotent: true, maxInFlightRequests: 1 })
  await producer.connect()
  const began = performance.now()
  let key = 0
  while (performance.now() < deadline) {
    const due = Math.min(Math.floor(((performance.now() - began) / 1000) * rate) - ledger.entries.length, rate)
    if (due > 0 && ledger.lost < backlogMax) {
      const entries = Array.from({ length: due }, () => {
        key = (key + 1) % keys
        return ledger.produced(`k${key}`, key % partitions)
      })
      const messages = entries.map(({ id, key, n, partition }) => ({
        key,
        value: JSON.stringify({ key, n, id }),
        partition
      }))
      const confirmed = await producer.send({ topic, acks: -1, messages })
      place(ledger, entries, new Map(confirmed.map((one) => [one.partition, Number(one.baseOffset)])))
    }
    await sleep(20)
  }
  await producer.disconnect()
}

/** Each record says its partition. */
const chosen =
  () =>
  ({ message }: { message: { partition?: number } }): number =>
    message.partition!

const place = (ledger: Ledger, entries: ReadonlyArray<Entry>, next: Map<number, number>): void => {
  for (const entry of entries) {
    const offset = next.get(entry.partition)!
    ledger.placed(entry, offset)
    next.set(entry.partition, offset + 1)
  }
}

// ---------------------------------------------------------------------------------------------------- the members

class Crowd {
  readonly failed: Array<string> = []
  /** Those nobody has told to end. */
  readonly members = new Map<string, Program>()
  private readonly ending = new Set<Promise<void>>()
  private started = 0
  private readonly kit: Kit
  private readonly ledger: Ledger
  private readonly work: { readonly topic: string; readonly group: string; readonly url: string }

  constructor(kit: Kit, ledger: Ledger, work: Crowd["work"]) {
    this.kit = kit
    this.ledger = ledger
    this.work = work
  }

  start(): void {
    const name = `m${++this.started}`
    const running = sluice(this.config(name))
    this.members.set(name, running)
    running.child.once("close", () => {
      if (!this.members.delete(name)) return
      this.ledger.ended(name, "killed")
      this.failed.push(`${name} ended by itself with ${running.child.exitCode}:\n${running.said()}`)
      this.start()
    })
  }

  kill(name: string): void {
    const running = this.take(name)
    running.child.once("close", () => this.ledger.ended(name, "killed"))
    running.child.kill("SIGKILL")
  }

  stop(name: string): Promise<void> {
    const running = this.take(name)
    const stopped = running.stop().then((code) => {
      this.ledger.ended(name, "stopped")
      this.ending.delete(stopped)
      // One that has said nothing yet does not know the signal yet.
      if (code !== 0 && running.said() !== "")
        this.failed.push(`${name} was told to stop and ended with ${code}:\n${running.said()}`)
    })
    this.ending.add(stopped)
    return stopped
  }

  async stopAll(): Promise<void> {
    for (const name of [...this.members.keys()]) this.stop(name)
    await Promise.all(this.ending)
  }

  private take(name: string): Program {
    const running = this.members.get(name)!
    this.members.delete(name)
    return running
  }

  private config(name: string): string {
    const { group, topic, url } = this.work
    const brokers = JSON.stringify(this.kit.brokers)
    return `
drain: 10 seconds
pipelines:
  ledger:
    source:
      type: kafka
      brokers: ${brokers}
      topic: ${topic}
      group: ${group}
      from: earliest
      session: { timeout: 3 seconds }
    decode: { type: bytes }
    concurrency: ${concurrency}
    dispatch: [{ type: http, url: "${url}", headers: { x-member: ${name} } }]
`
  }
}

/** Every 2 to 5 s: a kill and a new member, a stop and a new one a bit later, or one more or one less. */
const disturb = async (crowd: Crowd, { members, seed }: Options, deadline: number): Promise<void> => {
  const random = randomOf(seed)
  for (;;) {
    await sleep(2000 + random() * 3000)
    if (performance.now() > deadline) return
    const names = [...crowd.members.keys()]
    const name = names[Math.floor(random() * names.length)]
    const what = random()
    const later = 500 + random() * 1500
    if (name === undefined) crowd.start()
    else if (what < 0.4) {
      crowd.kill(name)
      crowd.start()
    } else if (what < 0.7) {
      crowd.stop(name)
      await sleep(later)
      crowd.start()
    } else if (names.length < membersMax && (what < 0.85 || names.length < members)) crowd.start()
    else crowd.stop(name)
  }
}

// ---------------------------------------------------------------------------------------------------- the group

interface Sampler {
  /** Of each partition, as seen last. */
  readonly watermarks: ReadonlyMap<number, number>
  readonly stop: () => Promise<void>
}

/** Looks at what the group has noted, ten times a second. */
const sampling = ({ admin }: Kit, ledger: Ledger, topic: string, group: string): Sampler => {
  let stopped = false
  const watermarks = new Map<number, number>()
  const sample = async (): Promise<void> => {
    const [noted] = await admin.fetchOffsets({ groupId: group, topics: [topic] })
    for (const { metadata, offset, partition } of noted?.partitions ?? []) {
      const watermark = Math.max(0, Number(offset))
      watermarks.set(partition, watermark)
      ledger.sampled(partition, watermark, decode(metadata ?? "", watermark))
    }
  }
  const loop = async () => {
    while (!stopped) {
      // A coordinator that moves or begins answers at the next time.
      await sample().catch(() => {})
      await sleep(sampleMillis)
    }
  }
  const looped = loop()
  return {
    watermarks,
    stop: () => {
      stopped = true
      return looped
    }
  }
}

/** Units: seconds until the watermark of every partition is at its end. */
const drained = async ({ admin }: Kit, topic: string, { watermarks }: Sampler): Promise<number | undefined> => {
  const began = performance.now()
  const ends = await admin.fetchTopicOffsets(topic)
  while (performance.now() - began < drainMillisMax) {
    if (ends.every(({ high, partition }) => (watermarks.get(partition) ?? 0) >= Number(high))) {
      return (performance.now() - began) / 1000
    }
    await sleep(sampleMillis)
  }
  return undefined
}

// ---------------------------------------------------------------------------------------------------- the words

/** One paragraph. */
export const words = (numbers: Numbers): string => {
  const { drainSeconds, ends, records, seed } = numbers
  const of = (how: End["how"]) => {
    const some = ends.filter((end) => end.how === how)
    const worst = some.toSorted((a, b) => b.duplicates - a.duplicates)[0]
    const sum = some.reduce((sum, { duplicates }) => sum + duplicates, 0)
    const most =
      worst === undefined
        ? ""
        : `, at most ${worst.duplicates} where ${worst.open} were begun and not committed, ${worst.inFlight} of them unanswered`
    return `${some.length} ${how} (${sum} again${most})`
  }
  return [
    `seed ${seed}: ${records} records, ${numbers.lost} lost, ${numbers.violations} out of order, ` +
      `${numbers.runAgain} run again after they were committed, ${numbers.duplicates} run again in all`,
    `members: ${of("killed")}, ${of("stopped")}; ${numbers.moved} again by another while the first lived, ` +
      `${numbers.repeated} by the same; ${overBound(numbers).length} ends with more than had been begun and not committed`,
    drainSeconds === undefined
      ? `not all was committed within ${drainMillisMax / 1000} s after the last record`
      : `all was committed ${drainSeconds.toFixed(1)} s after the last record`,
    `${numbers.backwards} watermarks went back, ${numbers.unreadable} maps could not be read`,
    ...numbers.cases,
    ...numbers.failed
  ].join("\n  ")
}

/** Ends after which more came again than the member had begun and not committed. */
export const overBound = ({ ends }: Numbers): ReadonlyArray<End> =>
  ends.filter(({ duplicates, open }) => duplicates > open)

/** `npm run bench kafkaLedger -- --minutes 5 --seed 7` */
export const main = async (): Promise<void> => {
  const { values } = parseArgs({
    allowPositionals: true,
    options: {
      minutes: { type: "string", default: "5" },
      seed: { type: "string", default: `${Date.now() % 1_000_000}` },
      rate: { type: "string", default: "1500" }
    }
  })
  const seed = Number(values.seed)
  console.log(`kafkaLedger: ${values.minutes} minutes with seed ${seed}`)
  const numbers = await run({ seconds: Number(values.minutes) * 60, seed, rate: Number(values.rate), members: 3 })
  console.log(`kafkaLedger: ${words(numbers)}`)
  const { drainSeconds, failed, lost, runAgain, violations } = numbers
  if (lost + violations + runAgain + failed.length > 0 || drainSeconds === undefined) process.exitCode = 1
}
