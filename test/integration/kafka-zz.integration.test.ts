/** Three brokers of which one is killed for good: the source and the publisher go on with the others, and lose nothing. */
import { setTimeout as sleep } from "node:timers/promises"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import * as Kafka from "./Kafka.ts"

/** Units: seconds. What a cluster needs to see that a broker is gone, and a client to see it too. */
const goesOnWithin = 100

describe.skipIf(Kafka.reason !== undefined)("a cluster of three", () => {
  let kit: Kafka.Kit
  beforeAll(async () => {
    kit = await Kafka.open({ brokers: 3 })
  })
  afterAll(() => kit?.close())

  /** Partition i is led by broker i + 1. */
  const spread = async (name: string): Promise<string> => {
    const topic = Kafka.fresh(name)
    const replicaAssignment = [1, 2, 3].map((id, partition) => ({
      partition,
      replicas: [id, (id % 3) + 1, ((id + 1) % 3) + 1]
    }))
    await kit.create({ topic, replicaAssignment })
    return topic
  }
  const leaders = async (topic: string): Promise<ReadonlyMap<number, number>> => {
    return new Map((await kit.partitions(topic)).map(({ leader, partitionId }) => [partitionId, leader]))
  }
  /** The leader of the partition in which the group's commits lie. */
  const coordinatorOf = async (group: string): Promise<number> => {
    const hash = [...group].reduce((hash, character) => (Math.imul(31, hash) + character.charCodeAt(0)) | 0, 0)
    const all = await leaders("__consumer_offsets")
    return all.get((hash & 0x7fffffff) % all.size)!
  }

  const allUp = async (): Promise<void> => {
    await Promise.all(kit.cluster.nodes.map((node) => node.start()))
    if (!(await kit.admin.listTopics()).includes("__consumer_offsets")) return
    await Kafka.until("all brokers are in sync", async () =>
      (await kit.partitions("__consumer_offsets")).every(({ isr }) => isr.length === 3)
    )
  }

  /** Runs records through while the broker is killed that `whom` chooses; one that hangs answers nothing for so long before. */
  const survives = async (
    whom: (coordinator: number, leaders: ReadonlyArray<number>) => number,
    hangsMillis: number
  ): Promise<void> => {
    await allUp()
    const [topic, out, group] = [await spread("in"), await spread("out"), Kafka.fresh("group")]
    const endpoint = await Kafka.endpoint(async ({ body }) => {
      await sleep(5 + Math.random() * 20)
      return { body }
    })
    const running = Kafka.sluice({
      pipelines: {
        work: {
          source: { type: "kafka", brokers: kit.brokers, topic, group, session: { timeout: "6 seconds" } },
          dispatch: [{ type: "http", url: endpoint.url }],
          publish: [{ type: "kafka", topic: out }]
        }
      }
    }).start()
    await running.says(/in group/)
    const flow = Kafka.flow(kit, topic, { keys: 60, rate: 150 })
    await Kafka.until("it works", () => endpoint.calls.length > 200)

    const coordinator = await coordinatorOf(group)
    const id = whom(coordinator, [...(await leaders(topic)).values()])
    const led = [...(await leaders(topic))].flatMap(([partition, leader]) => (leader === id ? [partition] : []))
    assert.isAbove(led.length, 0)
    const node = kit.cluster.nodes.find((node) => node.id === id)!
    if (hangsMillis > 0) node.pause()
    await sleep(hangsMillis)
    await node.kill()
    console.log("killed", new Date().toISOString()); const began = performance.now()
    const [ends, before] = [await kit.ends(out), endpoint.calls.length]
    await Kafka.until("it goes on", () => endpoint.calls.length > before + 500, goesOnWithin)
    await Kafka.until(
      "it goes on in every partition",
      async () => {
        const [now, noted] = [await kit.ends(out), await kit.noted(group, topic)]
        const committed = led.every((partition) => noted.get(partition)!.watermark > 0)
        return committed && [...now].every(([partition, end]) => end > ends.get(partition)!)
      },
      goesOnWithin
    )
    assert.isBelow(performance.now() - began, goesOnWithin * 1000)
    await flow.stop()
    await Kafka.drained(kit, group, topic)
    assert.notInclude([...(await leaders(topic)).values()], id)
    const ended = await running.stop()
    console.log(ended.stderr); assert.strictEqual(ended.code, 0, ended.stderr)

    const records = (await kit.read(topic)).map(({ value }) => Kafka.numberedOf(value))
    const distinct = Kafka.firsts(records).length
    assert.strictEqual(distinct, flow.count())
    assert.strictEqual(Kafka.firsts(Kafka.asked(endpoint.calls)).length, distinct, "lost on the way to the endpoint")
    assert.deepStrictEqual(Kafka.overtaken(endpoint.calls), [])
    const published = (await kit.read(out)).map(({ value }) => Kafka.numberedOf(value))
    assert.strictEqual(Kafka.firsts(published).length, distinct, "lost on the way to the topic")
    assert.deepStrictEqual(Kafka.disordered(published), [])
    const warned = Kafka.warnings(running.lines()).map(({ message }) => message)
    for (const message of warned) assert.match(message, /: outage: /)
    assert.isAtMost(warned.length, 2, running.stderr())
  }

  it("goes on when the leader of an input partition is killed for good", () =>
    survives((coordinator, leaders) => leaders.find((leader) => leader !== coordinator)!, 0))

  it("goes on when that broker hangs first, and is the coordinator of the group too", () =>
    survives((coordinator) => coordinator, 4000))
})
