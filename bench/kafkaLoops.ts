/** What one writes by hand with kafkajs, to be measured against: `node bench/kafkaLoops.ts <name> <options as JSON>`. */
import type { Batch, Consumer, EachBatchPayload, Message, Producer } from "kafkajs"
import { Agent, Pool, request } from "undici"
import { client, producerOf } from "./kafka.ts"

export interface LoopOptions {
  readonly brokers: ReadonlyArray<string>
  readonly group: string
  readonly input: string
  readonly output: string
  /** Absent: pass through. */
  readonly url?: string
}

const connected = async ({ brokers, group, input }: LoopOptions) => {
  const kafka = client(brokers)
  const producer = producerOf(kafka)
  const consumer = kafka.consumer({ groupId: group, sessionTimeout: 60_000, maxWaitTimeInMs: 100 })
  consumer.on("consumer.crash", ({ payload }) => {
    console.error(payload.error)
    if (!payload.restart) process.exit(1)
  })
  await Promise.all([producer.connect(), consumer.connect()])
  await consumer.subscribe({ topic: input, fromBeginning: true })
  return { producer, consumer }
}

/** As in kafkajs' own examples: one message after the other in each partition. */
const eachMessage = async (options: LoopOptions): Promise<void> => {
  const { consumer, producer } = await connected(options)
  const dispatcher = new Agent({ connections: 256 })
  await consumer.run({
    partitionsConsumedConcurrently: 4,
    eachMessage: async ({ message: { key, value } }) => {
      const { body } = await request(options.url!, { dispatcher, method: "POST", body: value })
      const answer = Buffer.from(await body.arrayBuffer())
      await producer.send({ topic: options.output, acks: -1, messages: [{ key, value: answer }] })
    }
  })
}

/** Up to 256 keys at the same time, each in order; a batch is committed when all of it is answered. No failure is handled. */
const keyed = async (options: LoopOptions): Promise<void> => {
  const { consumer, producer } = await connected(options)
  const { origin, pathname } = new URL(options.url!)
  const pool = new Pool(origin, { connections: 256 })
  const slots = new Slots(256)
  const outbox = new Outbox(producer, options.output)
  const call = async ({ key, value }: Message): Promise<void> => {
    await slots.take()
    const { body } = await pool.request({ path: pathname, method: "POST", body: value })
    const answer = Buffer.from(await body.arrayBuffer())
    slots.give()
    outbox.put({ key: key!, value: answer })
  }
  await consumer.run({
    autoCommit: false,
    eachBatchAutoResolve: false,
    partitionsConsumedConcurrently: 4,
    eachBatch: async ({ batch, heartbeat, resolveOffset }: EachBatchPayload) => {
      const beating = setInterval(() => heartbeat().catch(() => {}), 3000)
      const lanes = new Map<string, Promise<void>>()
      for (const message of batch.messages) {
        const key = String(message.key)
        const before = lanes.get(key)
        lanes.set(key, before === undefined ? call(message) : before.then(() => call(message)))
      }
      await Promise.all(lanes.values())
      await outbox.sent()
      resolveOffset(batch.lastOffset())
      await commit(consumer, batch)
      clearInterval(beating)
    }
  })
}

/** A batch goes out as it came in, and is committed. */
const copy = async (options: LoopOptions): Promise<void> => {
  const { consumer, producer } = await connected(options)
  await consumer.run({
    autoCommit: false,
    eachBatchAutoResolve: false,
    partitionsConsumedConcurrently: 4,
    eachBatch: async ({ batch, resolveOffset }) => {
      const messages = batch.messages.map(({ key, value }) => ({ key, value }))
      await producer.sendBatch({ acks: -1, topicMessages: [{ topic: options.output, messages }] })
      resolveOffset(batch.lastOffset())
      await commit(consumer, batch)
    }
  })
}

const commit = (consumer: Consumer, batch: Batch): Promise<void> => {
  const offset = `${Number(batch.lastOffset()) + 1}`
  return consumer.commitOffsets([{ topic: batch.topic, partition: batch.partition, offset }])
}

class Slots {
  private readonly waiting: Array<() => void> = []
  private free: number

  constructor(free: number) {
    this.free = free
  }

  take(): Promise<void> | undefined {
    if (this.free === 0) return new Promise((taken) => this.waiting.push(taken))
    this.free--
    return undefined
  }

  give(): void {
    const next = this.waiting.shift()
    if (next === undefined) this.free++
    else next()
  }
}

/** One send at a time, so that the answers of a key stay in order. */
class Outbox {
  private readonly producer: Producer
  private readonly topic: string
  private messages: Array<Message> = []
  private sending: Promise<void> | undefined

  constructor(producer: Producer, topic: string) {
    this.producer = producer
    this.topic = topic
  }

  put(message: Message): void {
    this.messages.push(message)
    this.sending ??= this.send()
  }

  /** Returns when all that was put is confirmed. */
  async sent(): Promise<void> {
    while (this.sending !== undefined) await this.sending
  }

  private async send(): Promise<void> {
    while (this.messages.length > 0) {
      const messages = this.messages.splice(0, 200)
      await this.producer.sendBatch({ acks: -1, topicMessages: [{ topic: this.topic, messages }] })
    }
    this.sending = undefined
  }
}

const loops: Readonly<Record<string, (options: LoopOptions) => Promise<void>>> = { eachMessage, keyed, copy }
const [, , name, options] = process.argv
await loops[name!]!(JSON.parse(options!))
