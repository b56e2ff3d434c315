/** Records of every kind through the kafka source and publisher: compressions, keys and values as they came, and garbage. */
import kafkajs, { type CompressionTypes as Types } from "kafkajs"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import * as Kafka from "./Kafka.ts"

interface Codec {
  readonly compress: unknown
  readonly decompress: (data: Buffer) => Promise<Buffer>
}

const { CompressionCodecs, CompressionTypes } = kafkajs

/** Sorted. A batch may be there again when the broker was too busy to confirm it. */
const unique = (texts: ReadonlyArray<string>): ReadonlyArray<string> => [...new Set(texts)].sort()

describe.skipIf(Kafka.reason !== undefined)("kafka records", () => {
  let kit: Kafka.Kit
  beforeAll(async () => {
    kit = await Kafka.open({ brokers: 1 })
  })
  afterAll(() => kit?.close())

  const source = (topic: string, options: object = {}) => ({ type: "kafka", brokers: kit.brokers, topic, ...options })

  it("are read back as they were published with gzip, snappy, lz4 and zstd", async () => {
    const types = {
      gzip: CompressionTypes.GZIP,
      snappy: CompressionTypes.Snappy,
      lz4: CompressionTypes.LZ4,
      zstd: CompressionTypes.ZSTD
    }
    const records = Array.from({ length: 400 }, (_, n) => ({
      key: `k${n % 20}`,
      value: JSON.stringify({ key: `k${n % 20}`, n: Math.floor(n / 20), text: "so much of the same ".repeat(n % 50) })
    }))
    const topic = await kit.topic("in")
    await kit.send(topic, records)
    const pipelines: Record<string, object> = {}
    const ways: Array<{ readonly name: keyof typeof types; readonly packed: string; readonly out: string }> = []
    const group = Kafka.fresh("group")
    for (const name of Object.keys(types) as Array<keyof typeof types>) {
      const [packed, out] = [await kit.topic(name), await kit.topic("out")]
      pipelines[name] = {
        source: source(topic, { group: `${group}-${name}` }),
        publish: [{ type: "kafka", topic: packed, compression: name }]
      }
      pipelines[`un${name}`] = {
        source: source(packed, { group }),
        publish: [{ type: "kafka", topic: out }]
      }
      ways.push({ name, packed, out })
    }
    const running = Kafka.sluice({ pipelines }).start()
    for (const { name, packed } of ways) {
      await Kafka.drained(kit, `${group}-${name}`, topic)
      await Kafka.drained(kit, group, packed)
    }
    assert.strictEqual((await running.stop()).code, 0, running.stderr())
    assert.deepStrictEqual(Kafka.warnings(running.lines()), [])

    const sent = records.map(({ key, value }) => `${key} ${value}`).sort()
    const readOf = async (topic: string) => {
      const all = await kit.read(topic)
      assert.deepStrictEqual(Kafka.disordered(all.map(({ value }) => Kafka.numberedOf(value))), [])
      return unique(all.map(({ key, value }) => `${key} ${value}`))
    }
    const codecs = CompressionCodecs as Partial<Record<Types, () => Codec>>
    for (const { name, out, packed } of ways) {
      const codec = codecs[types[name]]!
      let unpacked = 0
      codecs[types[name]] = () => {
        const { compress, decompress } = codec()
        return {
          compress,
          decompress: (data) => {
            unpacked++
            return decompress(data)
          }
        }
      }
      assert.deepStrictEqual(await readOf(packed), sent, name)
      codecs[types[name]] = codec
      assert.isAbove(unpacked, 0, `nothing in ${packed} is compressed`)
      assert.deepStrictEqual(await readOf(out), sent, name)
    }
  })

  it("come out as they went in: keys that are null, empty or binary, values that are null, empty or binary, headers", async () => {
    const [topic, out, bare] = [await kit.topic("in"), await kit.topic("out", 1), await kit.topic("out", 1)]
    const all = Buffer.from(Array.from({ length: 256 }, (_, i) => i))
    const value = (name: string) => Buffer.concat([Buffer.from(`${name} `), all])
    const records = [
      { key: null, value: value("no key") },
      { key: all, value: value("binary key") },
      { key: Buffer.from([0xff]), value: value("one byte") },
      { key: Buffer.from("hex:ff"), value: value("a key like ours") },
      { key: Buffer.from("\uFEFFkey"), value: value("a byte order mark") },
      { key: Buffer.from("Schlüssel \u{1F511}"), value: value("text") },
      { key: Buffer.alloc(0), value: value("an empty key") },
      { key: Buffer.from("gone"), value: null },
      { key: null, value: null },
      { key: Buffer.from("empty"), value: Buffer.alloc(0) },
      { key: Buffer.from("large"), value: Buffer.alloc(500_000, 7) },
      { key: Buffer.from("headers"), value: value("headers"), headers: { one: "1", two: ["first", "last"], none: "" } }
    ]
    for (const record of records) await kit.send(topic, [record])
    const decode = { type: "bytes" }
    const running = Kafka.sluice({
      pipelines: {
        copy: { source: source(topic), decode, publish: [{ type: "kafka", topic: out, headers: ["record"] }] },
        bare: { source: source(topic), decode, publish: [{ type: "kafka", topic: bare, headers: [] }] }
      }
    }).start()
    for (const topic of [out, bare]) {
      await Kafka.until(`all is in ${topic}`, async () => (await kit.size(topic)) >= records.length)
    }
    assert.strictEqual((await running.stop()).code, 0, running.stderr())
    assert.deepStrictEqual(Kafka.warnings(running.lines()), [])

    const shown = ({ key, value }: { key: Buffer | null; value: Buffer | null }) =>
      `${key === null ? "null" : `'${key.toString("base64")}'`}: ${value === null ? "null" : `'${value.toString("base64")}'`}`
    const sent = records.map(shown).sort()
    const copied = await kit.read(out)
    assert.deepStrictEqual(unique(copied.map(shown)), sent)
    assert.deepStrictEqual(unique((await kit.read(bare)).map(shown)), sent)
    const { headers } = copied.find(({ key }) => String(key) === "headers")!
    const texts = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]))
    assert.deepStrictEqual(texts, { one: "1", two: "last", none: "" })
    for (const { headers } of await kit.read(bare)) assert.deepStrictEqual(headers, {})
  })

  it("that are garbage are buried with a reason, and the others go on", async () => {
    const [topic, out] = [await kit.topic("in"), await kit.topic("out")]
    const good = (customerId: string, n: number) => ({ key: null, value: JSON.stringify({ customerId, n }) })
    const garbage = [
      "not json",
      '{"customerId":',
      Buffer.from([0xff, 0xfe, 0x00]),
      "",
      null,
      '{"customer":"a"}',
      '{"customerId":{"deep":1}}',
      "[1]"
    ]
    for (const [n, value] of garbage.entries()) {
      await kit.send(topic, [good("a", n), { key: null, value }, good("b", n)])
    }
    const program = Kafka.sluice({
      pipelines: {
        orders: {
          source: source(topic, { group: "garbage" }),
          key: "payload.customerId",
          publish: [{ type: "kafka", topic: out }]
        }
      }
    })
    const running = program.start()
    await Kafka.drained(kit, "garbage", topic)
    assert.strictEqual((await running.stop()).code, 0, running.stderr())
    assert.match(running.stderr(), /orders: received 24, acked 16, buried 8, given back 0/)
    const published = await kit.read(out)
    assert.deepStrictEqual(
      unique(published.map(({ key, value }) => `${key} ${JSON.parse(String(value)).n}`)),
      garbage.flatMap((_, n) => [`a ${n}`, `b ${n}`]).sort()
    )
    const letters: ReadonlyArray<{ reason: string; stage: string }> = await program.dlq("ls")
    assert.strictEqual(letters.length, garbage.length)
    const reasons = letters.map(({ reason, stage }) => `${stage}: ${reason}`).sort()
    for (const reason of reasons) assert.match(reason, /^(decode: not (JSON|UTF-8)|key: )/, reasons.join("\n"))
    const warned = Kafka.warnings(running.lines())
    assert.strictEqual(warned.length, garbage.length)
    for (const { message } of warned) assert.match(message, /^orders: buried /)
  })
})
