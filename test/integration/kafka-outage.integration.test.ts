/** Kafka goes away and comes back under a running pipeline: it goes on by itself, loses nothing, and says so in two lines. */
import { setTimeout as sleep } from "node:timers/promises"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import * as Kafka from "./Kafka.ts"

describe.skipIf(Kafka.reason !== undefined)("when the broker is away", () => {
  let kit: Kafka.Kit
  beforeAll(async () => {
    kit = await Kafka.open({ brokers: 1 })
  })
  afterAll(() => kit?.close())

  const config = (topic: string, group: string, url: string, out?: string, brokers = kit.brokers) => ({
    pipelines: {
      work: {
        source: {
          ...{ type: "kafka", brokers, topic, group },
          ...{ session: { timeout: "6 seconds" }, requestTimeout: "4 seconds" }
        },
        dispatch: [{ type: "http", url }],
        publish: out === undefined ? [] : [{ type: "kafka", topic: out, requestTimeout: "4 seconds" }]
      }
    }
  })

  /** At most one line when an outage is told and one when it is over, for the source and for the publisher. */
  const assertQuiet = (lines: ReadonlyArray<Kafka.Line>, outages: number) => {
    const text = lines.map(({ level, message }) => `${level} ${message}`).join("\n")
    const told = lines.filter(({ message }) => /: outage: /.test(message))
    const over = lines.filter(({ message }) => /: outage over /.test(message))
    assert.deepStrictEqual(Kafka.warnings(lines), told, text)
    assert.isAbove(told.length, 0, text)
    assert.strictEqual(over.length, told.length, text)
    const targetOf = ({ message }: Kafka.Line) => (/kafka:|Kafka topic/.test(message) ? "publisher" : "source")
    for (const target of ["publisher", "source"]) {
      assert.isAtMost(told.filter((line) => targetOf(line) === target).length, outages, text)
    }
  }

  it("goes on after 12 seconds without an answer and after a kill -9, loses nothing, and can be started meanwhile", async () => {
    const [topic, out, group] = [await kit.topic("in"), await kit.topic("out"), Kafka.fresh("group")]
    const endpoint = await Kafka.endpoint(async ({ body }) => {
      await sleep(5 + Math.random() * 20)
      return { body }
    })
    const [other, otherGroup] = [await kit.topic("in"), Kafka.fresh("group")]
    await kit.send(other, Kafka.numbered(100, 10))
    const otherEndpoint = await Kafka.endpoint(() => ({}))
    const running = Kafka.sluice(config(topic, group, endpoint.url, out)).start()
    await running.says(/in group/)
    const flow = Kafka.flow(kit, topic, { keys: 40, rate: 200 })
    const moreAnswers = async (seconds: number) => {
      const before = endpoint.calls.length
      await Kafka.until("the pipeline goes on", () => endpoint.calls.length > before + 200, seconds)
    }
    await moreAnswers(10)
    const [node] = kit.cluster.nodes
    node!.pause()
    await sleep(12_000)
    node!.resume()
    await moreAnswers(15)
    await node!.kill()
    const late = Kafka.sluice(config(other, otherGroup, otherEndpoint.url)).start()
    await late.says(/outage: /)
    await sleep(1000)
    assert.strictEqual(Kafka.warnings(late.lines()).length, 1, late.stderr())
    await node!.start()
    await moreAnswers(15)
    await Kafka.until("the late one works too", () => otherEndpoint.calls.length === 100, 60)
    await flow.stop()
    await Kafka.drained(kit, otherGroup, other)
    assert.strictEqual((await late.stop()).code, 0, late.stderr())
    assertQuiet(late.lines(), 1)
    assert.strictEqual(otherEndpoint.calls.length, 100)
    await Kafka.drained(kit, group, topic)
    const ended = await running.stop()
    assert.strictEqual(ended.code, 0, ended.stderr)

    // What the test itself sent twice is two records.
    const records = (await kit.read(topic)).map(({ value }) => Kafka.numberedOf(value))
    const distinct = Kafka.firsts(records).length
    assert.strictEqual(distinct, flow.count())
    assert.strictEqual(Kafka.firsts(Kafka.asked(endpoint.calls)).length, distinct, "lost on the way to the endpoint")
    assert.deepStrictEqual(Kafka.overtaken(endpoint.calls), [])
    const published = (await kit.read(out)).map(({ value }) => Kafka.numberedOf(value))
    assert.strictEqual(Kafka.firsts(published).length, distinct, "lost on the way to the topic")
    assert.deepStrictEqual(Kafka.disordered(published), [])
    assertQuiet(running.lines(), 2)
  })

  it("has stored all that it took for stored, when answers came too late", async () => {
    const [out, count] = [await kit.topic("out", 1), 600]
    const running = Kafka.sluice({
      pipelines: {
        ticks: {
          source: { type: "generate", rate: 100, count, payload: { key: "a", n: "{{n}}" } },
          publish: [{ type: "kafka", brokers: kit.brokers, topic: out, requestTimeout: "1 second" }]
        }
      }
    }).start()
    const [node] = kit.cluster.nodes
    for (let i = 0; i < 2; i++) {
      const before = await kit.size(out)
      await Kafka.until("it publishes", async () => (await kit.size(out)) > before + 30)
      node!.pause()
      await sleep(2300)
      node!.resume()
    }
    assert.strictEqual((await running.ended).code, 0, running.stderr())
    const stored = new Set((await kit.read(out)).map(({ value }) => Kafka.numberedOf(value).n))
    const missing = Array.from({ length: count }, (_, i) => i + 1).filter((n) => !stored.has(n))
    assert.deepStrictEqual(missing, [])
  })

  it("reaches the cluster by the others when the first of its brokers is away", async () => {
    const [topic, out, group] = [await kit.topic("in"), await kit.topic("out"), Kafka.fresh("group")]
    await kit.send(topic, Kafka.numbered(100, 10))
    const endpoint = await Kafka.endpoint(({ body }) => ({ body }))
    // Nobody listens on port 9.
    const running = Kafka.sluice(config(topic, group, endpoint.url, out, ["127.0.0.1:9", ...kit.brokers])).start()
    await Kafka.until("all is published", async () => (await kit.size(out)) >= 100, 60)
    await Kafka.drained(kit, group, topic)
    assert.strictEqual((await running.stop()).code, 0, running.stderr())
    assert.strictEqual(endpoint.calls.length, 100)
  })

  it("waits for a topic that does not exist yet, says so once, and works when it is there", async () => {
    const [topic, group] = [Kafka.fresh("later"), Kafka.fresh("group")]
    const endpoint = await Kafka.endpoint(() => ({}))
    const running = Kafka.sluice(config(topic, group, endpoint.url)).start()
    await running.says(/outage: /)
    await sleep(1500)
    const [line, ...others] = Kafka.warnings(running.lines())
    assert.strictEqual(line!.message, `work: outage: there is no topic ${topic} (yet)`)
    assert.deepStrictEqual(others, [])
    assert.notInclude(await kit.admin.listTopics(), topic)
    await kit.create({ topic, numPartitions: 2 })
    await kit.send(topic, Kafka.numbered(100, 10))
    await Kafka.until("all is answered", () => endpoint.calls.length === 100, 60)
    await Kafka.drained(kit, group, topic)
    const ended = await running.stop()
    assert.strictEqual(ended.code, 0, ended.stderr)
    assertQuiet(running.lines(), 1)
  })
})
