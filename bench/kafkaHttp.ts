/** Kafka to a 10-ms HTTP endpoint to Kafka, by key: Sluice beside kafkajs' `eachMessage` and a keyed loop written by hand. */
import { request } from "undici"
import * as Endpoint from "./endpoint.ts"
import {
  check,
  createTopic,
  fill,
  fresh,
  type Keyed,
  type Kit,
  loop,
  type Measured,
  middle,
  numbered,
  type Program,
  perSecond,
  randomOf,
  shown,
  sluice,
  until,
  withKit
} from "./kafka.ts"
import type { LoopOptions } from "./kafkaLoops.ts"
import { median } from "./shop.ts"

const count = 20_000
/** About 350/s: as many as a stable rate needs. */
const eachMessageCount = 2000
const keys = 1000
const bytes = 200
const partitions = 4
const concurrency = 256

type Start = (options: LoopOptions) => Program

const config = ({ brokers, group, input, output, url }: LoopOptions): string => `
pipelines:
  bench:
    source: { type: kafka, brokers: ${JSON.stringify(brokers)}, topic: ${input}, group: ${group}, from: earliest }
    decode: { type: bytes }
    concurrency: ${concurrency}
    dispatch: [{ type: http, url: "${url}" }]
    publish: [{ type: kafka, topic: ${output}, key: envelope.key }]
`

/** Messages per second from the first request to the last answer in the output topic, as endpoint and broker saw them. */
const measure = async (kit: Kit, endpoint: Endpoint.Endpoint, records: ReadonlyArray<Keyed>, start: Start) => {
  const input = await createTopic(kit, "in", partitions)
  const output = await createTopic(kit, "out", partitions)
  await fill(kit, input, records)
  await endpoint.stats()
  const running = start({ brokers: kit.brokers, group: fresh("group"), input, output, url: endpoint.url })
  let cpuMicros = 0
  try {
    cpuMicros = await until(kit, output, records.length, running)
  } finally {
    await running.stop()
  }
  const { count: requests, firstAt } = await endpoint.stats()
  const { duplicates, lastAt } = await check(kit, output, records.length)
  await kit.admin.deleteTopics({ topics: [input, output] })
  if (requests > records.length || duplicates > 0) {
    console.log(`kafkaHttp: ${requests - records.length} requests and ${duplicates} answers twice`)
  }
  return { rate: records.length / ((lastAt - firstAt) / 1000), cpuMicros }
}

const eachMessage: Start = (options) => loop("eachMessage", options)
const keyed: Start = (options) => loop("keyed", options)
const ours: Start = (options) => sluice(config(options))

/** Units: milliseconds, of one call after the other. */
const roundTrip = async (url: string): Promise<number> => {
  const times: Array<number> = []
  for (let i = 0; i < 300; i++) {
    const before = performance.now()
    const { body } = await request(url, { method: "POST", body: "x".repeat(bytes) })
    await body.arrayBuffer()
    if (i >= 100) times.push(performance.now() - before)
  }
  return median(times)
}

/** One of n keys, the i-th with a weight of 1 / i. */
const zipf = (n: number): (() => number) => {
  const random = randomOf(1)
  let sum = 0
  const bounds = Array.from({ length: n }, (_, i) => {
    sum += 1 / (i + 1)
    return sum
  })
  return () => {
    const drawn = random() * sum
    return bounds.findIndex((bound) => drawn < bound)
  }
}

const compare = async (
  kit: Kit,
  endpoint: Endpoint.Endpoint,
  name: string,
  keyOf: (i: number) => number,
  rounds = 1
) => {
  const records = numbered(count, bytes, keyOf)
  const trip = await roundTrip(endpoint.url)
  const a = await measure(kit, endpoint, records.slice(0, eachMessageCount), eachMessage)
  const b: Array<Measured> = []
  const c: Array<Measured> = []
  for (let round = 0; round < rounds; round++) {
    b.push(await measure(kit, endpoint, records, keyed))
    c.push(await measure(kit, endpoint, records, ours))
  }
  const [loopRate, ourRate] = [middle(b).rate, middle(c).rate]
  console.log(
    `kafkaHttp, ${name}: eachMessage ${shown([a])}, keyed loop ${shown(b)}, Sluice ${shown(c)}: ` +
      `${(ourRate / a.rate).toFixed(1)} times eachMessage, ${(ourRate / loopRate).toFixed(2)} of the keyed loop`
  )
  return { records, trip, loopRate, ourRate }
}

export const run = (): Promise<void> =>
  withKit(async (kit) => {
    const endpoint = await Endpoint.start()
    try {
      await compare(kit, endpoint, "uniform", (i) => i % keys, 3)
      const { loopRate, ourRate, records, trip } = await compare(kit, endpoint, "Zipf(1.0)", zipf(keys))
      const counts = Map.groupBy(records, ({ key }) => key)
      const hottest = Math.max(...[...counts.values()].map(({ length }) => length))
      const allowed = count / ((hottest * trip) / 1000)
      console.log(
        `kafkaHttp, Zipf(1.0): the hottest key has ${hottest} of ${count} records, the endpoint takes ${trip.toFixed(2)} ms: ` +
          `strict order allows ${perSecond(allowed)}; Sluice reaches ${((ourRate / allowed) * 100).toFixed(0)} % of that, ` +
          `the keyed loop ${((loopRate / allowed) * 100).toFixed(0)} %`
      )
    } finally {
      endpoint.stop()
    }
  })
