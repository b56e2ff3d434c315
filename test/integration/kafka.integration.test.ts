/** The kafka source and publisher against a broker: order, commits, kills, members that come and go, long work, where to begin. */
import { setTimeout as sleep } from "node:timers/promises"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import * as Kafka from "./Kafka.ts"

describe.skipIf(Kafka.reason !== undefined)("a kafka pipeline", () => {
  let kit: Kafka.Kit
  beforeAll(async () => {
    kit = await Kafka.open({ brokers: 1 })
  })
  afterAll(() => kit?.close())

  interface Parts {
    readonly topic: string
    readonly group: string
    readonly url: string
    readonly out?: string
    readonly source?: object
    readonly [option: string]: unknown
  }
  /** From a topic to an endpoint, and its answers to a topic if there is one. */
  const config = ({ group, out, source, topic, url, ...rest }: Parts) => ({
    pipelines: {
      work: {
        source: { type: "kafka", brokers: kit.brokers, topic, group, session: { timeout: "2 seconds" }, ...source },
        dispatch: [{ type: "http", url, headers: { "x-member": "${MEMBER:-one}" } }],
        publish: out === undefined ? [] : [{ type: "kafka", topic: out }],
        ...rest
      }
    }
  })
  /** Records; a batch may be there again when the broker was too busy to confirm it. */
  const distinct = (records: ReadonlyArray<Kafka.Read>): number =>
    Kafka.firsts(records.map(({ value }) => Kafka.numberedOf(value))).length
  /** How often each record was asked for. */
  const times = (calls: ReadonlyArray<Kafka.Call>): ReadonlyMap<string, number> => {
    const count = new Map<string, number>()
    for (const call of Kafka.asked(calls)) count.set(Kafka.nameOf(call), (count.get(Kafka.nameOf(call)) ?? 0) + 1)
    return count
  }

  it("carries each record to the endpoint and its answer to a topic, once, in the order of its key, and drains on SIGINT", async () => {
    const [topic, out, group] = [await kit.topic("in"), await kit.topic("out"), Kafka.fresh("group")]
    const records = Kafka.numbered(3000, 200)
    await kit.send(topic, records)
    const endpoint = await Kafka.endpoint(async ({ body }) => {
      await sleep(Math.random() * 10)
      return { body }
    })
    const running = Kafka.sluice(config({ topic, group, out, url: endpoint.url, concurrency: 128 })).start()
    await Kafka.until("all answers are published", async () => (await kit.size(out)) >= records.length)
    await Kafka.drained(kit, group, topic, 5)
    const began = performance.now()
    const ended = await running.stop("SIGINT")
    assert.strictEqual(ended.code, 0, ended.stderr)
    assert.isBelow(performance.now() - began, 5000)

    assert.strictEqual(endpoint.calls.length, records.length)
    assert.deepStrictEqual(Kafka.overtaken(endpoint.calls), [])
    const published = await kit.read(out)
    assert.strictEqual(distinct(published), records.length)
    for (const { key, value } of published) assert.strictEqual(String(key), Kafka.numberedOf(value).key)
    assert.deepStrictEqual(Kafka.disordered(published.map(({ value }) => Kafka.numberedOf(value))), [])
    assert.match(ended.stderr, /work: received 3000, acked 3000, buried 0, given back 0/)
    assert.deepStrictEqual(Kafka.warnings(running.lines()), [])
  })

  it("runs nothing again that was committed beyond a stuck record when it is killed", async () => {
    const [topic, group] = [await kit.topic("in"), Kafka.fresh("group")]
    const records = Kafka.numbered(2000, 50)
    await kit.send(topic, records)
    const places = new Map((await kit.read(topic)).map((one) => [Kafka.nameOf(Kafka.numberedOf(one.value)), one]))
    let stuck = true
    const endpoint = await Kafka.endpoint(async (call) => {
      if (stuck && Kafka.numberedOf(call.body).key === "k7") await new Promise(() => {})
      await sleep(5 + Math.random() * 10)
      return {}
    })
    const concurrency = 16
    const program = Kafka.sluice(config({ topic, group, url: endpoint.url, concurrency }))
    const first = program.start()
    const { partition } = places.get("k7/0")!
    const settled = (noted: Kafka.Noted | undefined) =>
      (noted?.settled ?? []).reduce((sum, [from, to]) => sum + to - from, 0)
    await Kafka.until("much is committed beyond the stuck record", async () => {
      return settled((await kit.noted(group, topic)).get(partition)) > 100
    })
    assert.isBelow(endpoint.calls.length, records.length)
    await first.stop("SIGKILL")
    const before = [...endpoint.calls]
    const noted = await kit.noted(group, topic)
    assert.isAbove(settled(noted.get(partition)), 100)
    assert.strictEqual(noted.get(partition)!.watermark, places.get("k7/0")!.offset)

    stuck = false
    const second = program.start()
    await Kafka.drained(kit, group, topic)
    assert.strictEqual((await second.stop()).code, 0, second.stderr())
    const again = Kafka.asked(endpoint.calls.slice(before.length))
    const covered = again.filter((call) => {
      const place = places.get(Kafka.nameOf(call))!
      return Kafka.covers(noted.get(place.partition), place.offset)
    })
    assert.deepStrictEqual(covered.map(Kafka.nameOf), [], "run again although it was committed")
    assert.strictEqual(times(endpoint.calls).size, records.length, "lost")
    const twice = endpoint.calls.length - records.length
    // In flight, and settled within 100 ms or 200 settlements.
    assert.isAtMost(twice, concurrency + 200)
    assert.deepStrictEqual(Kafka.overtaken(endpoint.calls), [])
  })

  it("shares with a member that joins and leaves: nothing lost, nothing twice, order kept", async () => {
    const [topic, out, group] = [await kit.topic("in"), await kit.topic("out"), Kafka.fresh("group")]
    const endpoint = await Kafka.endpoint(async ({ body }) => {
      await sleep(5 + Math.random() * 20)
      return { body }
    })
    const parts = config({ topic, group, out, url: endpoint.url })
    const first = Kafka.sluice(parts).start()
    await first.says(/in group/)
    const flow = Kafka.flow(kit, topic, { keys: 60, rate: 300 })
    await sleep(2000)
    const second = Kafka.sluice(parts, { env: { MEMBER: "two" } }).start()
    const calls = (member: string) => endpoint.calls.filter(({ headers }) => headers["x-member"] === member).length
    await Kafka.until("the second works", () => calls("two") > 200)
    const ended = await second.stop()
    assert.strictEqual(ended.code, 0, ended.stderr)
    await sleep(1000)
    await flow.stop()
    await Kafka.drained(kit, group, topic)
    const last = await first.stop()
    assert.strictEqual(last.code, 0, last.stderr)

    assert.isAbove(calls("one"), 200)
    assert.strictEqual(times(endpoint.calls).size, flow.count(), "lost")
    assert.deepStrictEqual(
      [...times(endpoint.calls)].filter(([, count]) => count > 1),
      [],
      "twice"
    )
    assert.deepStrictEqual(Kafka.overtaken(endpoint.calls), [])
    const published = await kit.read(out)
    assert.strictEqual(distinct(published), flow.count())
    assert.deepStrictEqual(Kafka.disordered(published.map(({ value }) => Kafka.numberedOf(value))), [])
    assert.deepStrictEqual(Kafka.warnings([...first.lines(), ...second.lines()]), [])
  })

  it("keeps its place in the group while work takes three times the session's timeout", async () => {
    const [topic, group] = [await kit.topic("in"), Kafka.fresh("group")]
    await kit.send(topic, Kafka.numbered(8, 4))
    const endpoint = await Kafka.endpoint(async ({ body }) => {
      if (Kafka.numberedOf(body).n === 0) await sleep(6000)
      return {}
    })
    const running = Kafka.sluice(config({ topic, group, url: endpoint.url })).start()
    const member = async () => {
      const { groups } = await kit.admin.describeGroups([group])
      return groups.flatMap(({ members, state }) => members.map(({ memberId }) => `${state} ${memberId}`))
    }
    await Kafka.until("work has begun", () => endpoint.calls.length === 4)
    const before = await member()
    assert.strictEqual(before.length, 1)
    await Kafka.drained(kit, group, topic)
    assert.deepStrictEqual(await member(), before)
    assert.strictEqual(endpoint.calls.length, 8)
    assert.strictEqual(running.lines().filter(({ message }) => message.includes("in group")).length, 1)
    assert.deepStrictEqual(Kafka.warnings(running.lines()), [])
    assert.strictEqual((await running.stop()).code, 0)
  })

  it("begins where it is told when nothing is committed: latest, a time, or not at all", async () => {
    const topic = await kit.topic("in", 2)
    // Days ago: the broker deletes what is older than seven.
    const at = (days: number) => Date.now() - days * 86_400_000
    const record = (value: string, partition: number, days: number) => ({ partition, timestamp: `${at(days)}`, value })
    await kit.send(topic, [record('"old"', 0, 5), record('"new"', 0, 3), record('"old"', 1, 5)])
    const endpoint = await Kafka.endpoint(() => ({}))
    const parts = (from: string) => config({ topic, group: Kafka.fresh("group"), url: endpoint.url, source: { from } })
    const bodies = () => endpoint.calls.splice(0).map(({ body }) => String(body))

    const since = Kafka.sluice(parts(new Date(at(4)).toISOString())).start()
    await Kafka.until("the young record is there", () => endpoint.calls.length > 0)
    await kit.send(topic, [record('"later"', 1, 2)])
    await Kafka.until("the next too", () => endpoint.calls.length > 1)
    await since.stop()
    assert.deepStrictEqual(bodies(), ['"new"', '"later"'])

    const latest = Kafka.sluice(parts("latest")).start()
    await latest.says(/in group/)
    await kit.send(topic, [record('"last"', 0, 1)])
    await Kafka.until("the last record is there", () => endpoint.calls.length > 0)
    await latest.stop()
    assert.deepStrictEqual(bodies(), ['"last"'])

    const group = Kafka.fresh("group")
    const none = { topic, group, url: endpoint.url, source: { from: "none" } }
    const running = Kafka.sluice({ ...config(none), restarts: { max: 1, within: "1 minute" } }).start()
    const ended = await running.ended
    assert.strictEqual(ended.code, 1)
    assert.include(ended.stderr, `group ${group} has committed nothing of ${topic}/0, ${topic}/1, and from is none`)
    assert.notMatch(ended.stderr, /\n\s+at |Error:/)
    assert.deepStrictEqual(bodies(), [])
  })

  it("shows lag, watermark and what is settled beyond it for each partition", async () => {
    const [topic, group] = [await kit.topic("in", 2), Kafka.fresh("group")]
    const record = (key: string, partition: number) => ({ key, partition, value: JSON.stringify({ key }) })
    let stuck = true
    const endpoint = await Kafka.endpoint(async ({ body }) => {
      while (stuck && body.includes("stuck")) await sleep(20)
      return {}
    })
    const { pipelines } = config({ topic, group, url: endpoint.url })
    await kit.send(topic, [record("a", 0), record("stuck", 0), record("b", 0), record("c", 0), record("d", 1)])
    const running = Kafka.sluice({ http: { port: 0 }, pipelines }).start()
    const [, address] = await running.says(/listening on (http:\/\/[^\s"]+)/)
    const gauges = async () => {
      const text = await (await fetch(`${address}/metrics`)).text()
      const found = text.matchAll(/^sluice_partition_(\w+)\{pipeline="work",partition="([^"]+)"\} (\S+)$/gm)
      return Object.fromEntries([...found].map(([, name, partition, value]) => [`${name} ${partition}`, Number(value)]))
    }
    const p = (n: number) => `${topic}/${n}`
    const expected = (lag: number, watermark: number, unsettled: number, gap: number) => ({
      ...{ [`lag ${p(0)}`]: lag, [`watermark ${p(0)}`]: watermark, [`unsettled ${p(0)}`]: unsettled },
      ...{ [`gap ${p(0)}`]: gap, [`paused ${p(0)}`]: 0 },
      ...{ [`lag ${p(1)}`]: 0, [`watermark ${p(1)}`]: 1, [`unsettled ${p(1)}`]: 0 },
      ...{ [`gap ${p(1)}`]: 0, [`paused ${p(1)}`]: 0 }
    })
    await Kafka.until("all but one are done", async () => (await gauges())[`gap ${p(0)}`] === 2)
    await Kafka.until("all but one are done", async () => (await gauges())[`lag ${p(1)}`] === 0)
    assert.deepStrictEqual(await gauges(), expected(3, 1, 1, 2))
    stuck = false
    await Kafka.drained(kit, group, topic)
    assert.deepStrictEqual(await gauges(), expected(0, 4, 0, 0))
    assert.strictEqual((await running.stop()).code, 0)
  })
})
