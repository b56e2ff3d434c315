/** Kafka to Kafka as it came: Sluice beside a loop of `eachBatch`, `sendBatch` and a commit per batch. */
import {
  check,
  createTopic,
  fill,
  fresh,
  type Kit,
  loop,
  type Measured,
  middle,
  numbered,
  type Program,
  shown,
  sluice,
  until,
  withKit
} from "./kafka.ts"
import type { LoopOptions } from "./kafkaLoops.ts"

const partitions = 4
const keys = 1000
const rounds = 3

/** Options that make Sluice write what the loop writes: no header of its own, and no numbers that let the broker find repeats. */
const asTheLoop = "idempotent: false, headers: [], "

const config = ({ brokers, group, input, output }: LoopOptions, options: string): string => `
pipelines:
  bench:
    source: { type: kafka, brokers: ${JSON.stringify(brokers)}, topic: ${input}, group: ${group}, from: earliest }
    decode: { type: bytes }
    publish: [{ type: kafka, topic: ${output}, ${options}key: envelope.key }]
`

const raw = (options: LoopOptions): Program => loop("copy", options)
const equal = (options: LoopOptions): Program => sluice(config(options, asTheLoop))
const defaults = (options: LoopOptions): Program => sluice(config(options, ""))

/** Messages per second from the first to the last record in the output topic, by the broker's clock. */
const measure = async (kit: Kit, input: string, count: number, start: (options: LoopOptions) => Program) => {
  const output = await createTopic(kit, "out", partitions)
  const running = start({ brokers: kit.brokers, group: fresh("group"), input, output })
  let cpuMicros = 0
  try {
    cpuMicros = await until(kit, output, count, running)
  } finally {
    await running.stop()
  }
  const { atFirst, duplicates, firstAt, lastAt } = await check(kit, output, count)
  await kit.admin.deleteTopics({ topics: [output] })
  if (duplicates > 0) console.log(`kafkaCopy: ${duplicates} records twice`)
  return { rate: (count - atFirst) / ((lastAt - firstAt) / 1000), cpuMicros }
}

const compare = async (kit: Kit, count: number, bytes: number): Promise<void> => {
  const input = await createTopic(kit, "in", partitions)
  await fill(
    kit,
    input,
    numbered(count, bytes, (i) => i % keys)
  )
  const raws: Array<Measured> = []
  const equals: Array<Measured> = []
  const ours: Array<Measured> = []
  for (let round = 0; round < rounds; round++) {
    raws.push(await measure(kit, input, count, raw))
    equals.push(await measure(kit, input, count, equal))
    ours.push(await measure(kit, input, count, defaults))
  }
  await kit.admin.deleteTopics({ topics: [input] })
  const ratio = (all: ReadonlyArray<Measured>) => (middle(all).rate / middle(raws).rate).toFixed(2)
  console.log(
    `kafkaCopy: ${count} records of ${bytes} bytes: raw loop ${shown(raws)}; ` +
      `Sluice with its producer settings ${shown(equals)}, ${ratio(equals)} of the raw loop; ` +
      `with Sluice's own (idempotent, origin in a header) ${shown(ours)}, ${ratio(ours)}`
  )
}

export const run = (): Promise<void> =>
  withKit(async (kit) => {
    await compare(kit, 300_000, 200)
    await compare(kit, 150_000, 1024)
  })
