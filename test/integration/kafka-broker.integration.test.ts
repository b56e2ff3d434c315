/** The real Kafka brokers other tests stand on: they start, and keep what they confirmed through a kill. */
import { setTimeout as sleep } from "node:timers/promises"
import { Kafka, logLevel } from "kafkajs"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import * as KafkaBroker from "../services/KafkaBroker.ts"

const reason = await KafkaBroker.available()
if (reason !== undefined) console.warn(`tests with a Kafka broker are skipped: ${reason}`)

let groups = 0
const clientOf = (cluster: KafkaBroker.Cluster) => {
  const kafka = new Kafka({ brokers: cluster.brokers, logLevel: logLevel.NOTHING })
  const producer = kafka.producer()
  return {
    kafka,
    connect: () => producer.connect(),
    disconnect: () => producer.disconnect(),
    send: (topic: string, value: string) => producer.send({ topic, acks: -1, messages: [{ key: "a", value }] }),
    /** Reads a topic from its beginning until this many records are there. */
    read: async (topic: string, count: number) => {
      const consumer = kafka.consumer({ groupId: `group-${++groups}`, maxWaitTimeInMs: 200 })
      const values: Array<string> = []
      await consumer.connect()
      await consumer.subscribe({ topic, fromBeginning: true })
      await new Promise<void>((all, failed) => {
        const eachMessage = async ({ message }: { message: { value: Buffer | null } }) => {
          values.push(String(message.value))
          if (values.length === count) all()
        }
        consumer.run({ eachMessage }).catch(failed)
      })
      await consumer.disconnect()
      return values
    }
  }
}

describe.skipIf(reason !== undefined)("one broker", () => {
  let cluster: KafkaBroker.Cluster
  let client: ReturnType<typeof clientOf>
  beforeAll(async () => {
    cluster = await KafkaBroker.startCluster({ brokers: 1, partitions: 2, properties: { "log.retention.hours": "1" } })
    client = clientOf(cluster)
    await client.connect()
  })
  afterAll(async () => {
    await client?.disconnect()
    await cluster?.stop()
  })

  it("gives back what was sent, and has the partitions and settings asked for", async () => {
    await client.send("orders", "1")
    assert.deepStrictEqual(await client.read("orders", 1), ["1"])
    const admin = client.kafka.admin()
    await admin.connect()
    const { topics } = await admin.fetchTopicMetadata({ topics: ["orders"] })
    assert.strictEqual(topics[0]!.partitions.length, 2)
    const { resources } = await admin.describeConfigs({
      resources: [{ type: 2, name: "orders", configNames: ["retention.ms"] }],
      includeSynonyms: false
    })
    assert.strictEqual(resources[0]!.configEntries[0]!.configValue, String(3_600_000))
    await admin.disconnect()
  })

  it("keeps what it confirmed through a kill -9 and a stop", async () => {
    const [node] = cluster.nodes
    await client.send("kept", "1")
    const { pid } = node!
    await node!.kill()
    assert.throws(() => process.kill(pid, 0))
    await node!.start()
    assert.notStrictEqual(node!.pid, pid)
    await client.send("kept", "2")
    await node!.stop()
    await node!.start()
    assert.deepStrictEqual(await client.read("kept", 2), ["1", "2"])
  })

  it("answers nothing while it is paused, and goes on after", async () => {
    const [node] = cluster.nodes
    await client.send("paused", "1")
    node!.pause()
    const sent = client.send("paused", "2").then(() => "sent")
    assert.strictEqual(await Promise.race([sent, sleep(1000, "waiting")]), "waiting")
    node!.resume()
    assert.strictEqual(await sent, "sent")
    assert.deepStrictEqual(await client.read("paused", 2), ["1", "2"])
  })

  it("says which port is taken", async () => {
    const failure = await KafkaBroker.startCluster({ brokers: 1, ports: [cluster.nodes[0]!.port] }).catch(String)
    assert.strictEqual(failure, `Error: port ${cluster.nodes[0]!.port} on 127.0.0.1 is taken`)
  })

  it("says what a broker said that does not start", async () => {
    const properties = { "authorizer.class.name": "no.such.Authorizer" }
    const failure = await KafkaBroker.startCluster({ brokers: 1, properties }).catch(String)
    assert.match(String(failure), /broker 1 did not start:\n[\s\S]*no\.such\.Authorizer/)
  })
})
