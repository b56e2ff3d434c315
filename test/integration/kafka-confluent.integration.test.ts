/** Records in Confluent's wire format from a real broker, while the schema registry is away and when it is back. */
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import avro from "avsc"
import protobuf from "protobufjs"
import { afterAll, assert, beforeAll, describe, it, onTestFinished } from "vitest"
import * as Kafka from "./Kafka.ts"

const proto = `syntax = "proto3"; package shop;
message Other { int32 a = 1; }
message Order { string key = 1; optional int32 n = 2; }`
const order = {
  type: "record",
  name: "Order",
  fields: [
    { name: "key", type: "string" },
    { name: "n", type: "int" }
  ]
} as const
const schemas: Readonly<Record<string, object>> = {
  "1": { schema: JSON.stringify(order) },
  "2": { schemaType: "JSON", schema: JSON.stringify({ type: "object", required: ["key", "n"] }) },
  "3": { schemaType: "PROTOBUF", schema: proto }
}

/** A registry on a port that is the same after it was away. */
const registry = async () => {
  let asked = 0
  const server = createServer(({ url }, outgoing) => {
    asked++
    const found = schemas[url!.replace("/schemas/ids/", "")]
    const body = found ?? { error_code: 40403, message: `Schema not found` }
    outgoing.writeHead(found === undefined ? 404 : 200, { "content-type": "application/vnd.schemaregistry.v1+json" })
    outgoing.end(JSON.stringify(body))
  })
  const listen = (port: number) => new Promise<void>((done) => server.listen(port, "127.0.0.1", done))
  const close = () =>
    new Promise<void>((done) => {
      server.close(() => done())
      server.closeAllConnections()
    })
  await listen(0)
  const { port } = server.address() as AddressInfo
  onTestFinished(close)
  return { url: `http://127.0.0.1:${port}`, away: close, back: () => listen(port), asked: () => asked }
}

describe.skipIf(Kafka.reason !== undefined)("kafka records with schemas", () => {
  let kit: Kafka.Kit
  beforeAll(async () => {
    kit = await Kafka.open({ brokers: 1 })
  })
  afterAll(() => kit?.close())

  it("wait while the registry is away, survive a stop, and are read in order when it is back", async () => {
    const [topic, out] = [await kit.topic("in"), await kit.topic("out")]
    const { asked, away, back, url } = await registry()
    const Avro = avro.Type.forSchema(order as never)
    const Order = protobuf.parse(proto).root.lookupType("shop.Order")
    const encoders = [
      (value: object) => [[0, 0, 0, 0, 1], Avro.toBuffer(value)],
      (value: object) => [[0, 0, 0, 0, 2], Buffer.from(JSON.stringify(value))],
      // The second message of the file: one index, which is 1.
      (value: object) => [[0, 0, 0, 0, 3, 2, 2], Order.encode(value).finish()]
    ]
    const records = Array.from({ length: 300 }, (_, i) => {
      const value = { key: `k${i % 10}`, n: Math.floor(i / 10) }
      const parts = encoders[i % 3]!(value)
      return { key: value.key, value: Buffer.concat(parts.map((part) => Buffer.from(part as Uint8Array))) }
    })
    const unknown = { key: "k0", value: Buffer.from([0, 0, 0, 0, 9, 1]) }
    await kit.send(topic, records)
    const program = Kafka.sluice({
      pipelines: {
        orders: {
          source: { type: "kafka", brokers: kit.brokers, topic },
          decode: { type: "confluent", url },
          publish: [{ type: "kafka", topic: out, value: "payload" }]
        }
      }
    })

    await away()
    const first = program.start()
    await first.says(/schema registry: outage: schema \d/)
    assert.strictEqual((await first.stop()).code, 0, first.stderr())
    assert.strictEqual(await kit.size(out), 0)
    assert.deepStrictEqual(await program.dlq("ls"), [])

    await back()
    await kit.send(topic, [unknown, { key: "k1", value: "{}" }])
    const second = program.start()
    await Kafka.drained(kit, "orders", topic)
    assert.strictEqual((await second.stop()).code, 0, second.stderr())
    const read = (await kit.read(out)).map(({ value }) => Kafka.numberedOf(value))
    assert.deepStrictEqual(Kafka.disordered(read), [])
    assert.deepStrictEqual(
      Kafka.firsts(read).map(Kafka.nameOf).sort(),
      Array.from({ length: 300 }, (_, i) => `k${i % 10}/${Math.floor(i / 10)}`).sort()
    )
    assert.strictEqual(asked(), 4)
    const letters: ReadonlyArray<{ readonly stage: string; readonly reason: string }> = await program.dlq("ls")
    assert.deepStrictEqual(letters.map(({ reason, stage }) => `${stage}: ${reason}`).sort(), [
      "decode: not in Confluent's wire format: 2 bytes are too few for the magic byte and a schema id",
      `decode: schema 9: GET ${url}/schemas/ids/9 answered 404 Not Found: Schema not found`
    ])
  })
})
