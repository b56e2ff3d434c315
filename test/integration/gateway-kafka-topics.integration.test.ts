/** Topics that a real Kafka does not make: whoever sends to them is told in the end, and nobody else waits. */
import { setTimeout as sleep } from "node:timers/promises"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import * as Kafka from "./Kafka.ts"
import * as Program from "./Program.ts"

interface Timed {
  readonly status: number
  readonly code: unknown
  readonly millis: number
}

describe.skipIf(Kafka.reason !== undefined)("a gateway in front of a Kafka that does not make every topic", () => {
  let kit: Kafka.Kit
  beforeAll(async () => {
    kit = await Kafka.open({ brokers: 1 })
  })
  afterAll(() => kit?.close())

  const started = async (attempts: number) => {
    const { path, started } = Program.forTest({
      "gateway.yaml": JSON.stringify({
        http: { port: 0 },
        storage: { sqlite: "work.db" },
        pipelines: {
          gateway: {
            source: { type: "gateway" },
            publish: [{ type: "kafka", brokers: kit.brokers }],
            retry: { attempts }
          }
        }
      })
    })
    const running = await Program.serve(path, "gateway.yaml", {})
    started.push(running)
    const post = async (path: string, body: string): Promise<Timed> => {
      const began = performance.now()
      const headers = { "content-type": "application/json" }
      const answer = await fetch(`${running.address}/api/v1/clients/${path}`, { method: "POST", headers, body })
      const text = await answer.json()
      return { status: answer.status, code: (text as { code?: unknown }).code, millis: performance.now() - began }
    }
    const register = async (client: string, event: string) =>
      assert.strictEqual((await post(`${client}/events/${event}/versions`, '{"schema":true}')).status, 201)
    return { running, register, send: (client: string, event: string) => post(`${client}/events/${event}`, "1") }
  }

  it("answers 502 for a topic that collides with another, and everybody else within two seconds meanwhile", async () => {
    await kit.create({ topic: "u_v.w", numPartitions: 1 })
    const { register, running, send } = await started(6)
    // The registry does not know the topic of somebody else.
    await register("u", "v_w")
    await register("good", "e")
    assert.strictEqual((await send("good", "e")).status, 200)
    let stopping = false
    const bad: Array<Timed> = []
    const good: Array<Timed> = []
    const senders = Array.from({ length: 60 }, async () => {
      while (!stopping) bad.push(await send("u", "v_w"))
    })
    await sleep(200)
    const began = performance.now()
    // Fresh topics are made beside it.
    for (let i = 0; performance.now() - began < 15_000; i++) {
      if (i % 20 === 0) await register("fresh", `e${i}`)
      good.push(i % 20 === 0 ? await send("fresh", `e${i}`) : await send("good", "e"))
      await sleep(50)
    }
    stopping = true
    await Promise.all(senders)
    assert.deepStrictEqual([...new Set(good.map(({ status }) => status))], [200])
    const slowest = Math.max(...good.map(({ millis }) => millis))
    assert.isBelow(slowest, 2_000)
    assert.isAtLeast(bad.length, 60)
    assert.deepStrictEqual([...new Set(bad.map(({ code, status }) => `${status} ${code}`))], ["502 not-published"])
    assert.isBelow(Math.max(...bad.map(({ millis }) => millis)), 12_000)
    assert.notMatch(running.stderr(), /outage/)
    assert.notInclude(await kit.admin.listTopics(), "u.v_w")
  })

  it("is not held up by forty such topics at the same time", async () => {
    const topics = Array.from({ length: 40 }, (_, i) => `t${i}`)
    await kit.admin.createTopics({ topics: topics.map((name) => ({ topic: `m_${name}.x`, numPartitions: 1 })) })
    const { register, running, send } = await started(4)
    for (const name of topics) await register("m", `${name}_x`)
    await register("good", "many")
    assert.strictEqual((await send("good", "many")).status, 200)
    const good: Array<Timed> = []
    let ended = false
    const bad = Promise.all(topics.flatMap((name) => [send("m", `${name}_x`), send("m", `${name}_x`)]))
    bad.finally(() => {
      ended = true
    })
    while (!ended) {
      good.push(await send("good", "many"))
      await sleep(20)
    }
    assert.deepStrictEqual([...new Set((await bad).map(({ status }) => status))], [502])
    assert.deepStrictEqual([...new Set(good.map(({ status }) => status))], [200])
    assert.isBelow(Math.max(...good.map(({ millis }) => millis)), 2_000)
    assert.notMatch(running.stderr(), /outage/)
  })
})
