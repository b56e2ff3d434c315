/** The life of dead letters on a Kafka topic: buried, listed, shown, replayed and purged, by a running process and without one. */
import { setTimeout as sleep } from "node:timers/promises"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import * as Kafka from "./Kafka.ts"

describe.skipIf(Kafka.reason !== undefined)("dead letters on a topic", () => {
  let kit: Kafka.Kit
  beforeAll(async () => {
    kit = await Kafka.open({ brokers: 1 })
  })
  afterAll(() => kit?.close())

  const textOf = (headers: Kafka.Read["headers"]): Record<string, string> =>
    Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]))

  /** A pipeline whose endpoint refuses what says poison, until it is mended. */
  const setUp = async () => {
    const [topic, out, dead] = [await kit.topic("in", 2), await kit.topic("out", 1), Kafka.fresh("dead")]
    const mended = { now: false }
    const endpoint = await Kafka.endpoint(({ body }) =>
      body.includes("poison") && !mended.now ? { status: 422, body: '{"wrong":"poison"}' } : { body }
    )
    const group = Kafka.fresh("group")
    const program = Kafka.sluice({
      pipelines: {
        orders: {
          source: { type: "kafka", brokers: kit.brokers, topic, group, session: { timeout: "2 seconds" } },
          decode: { type: "bytes" },
          dispatch: [{ name: "work", type: "http", url: endpoint.url }],
          publish: [{ type: "kafka", topic: out }],
          deadLetters: { type: "kafka", topic: dead }
        }
      }
    })
    return { topic, out, dead, group, mended, endpoint, program }
  }

  it("keep key, value and headers, and are replayed and purged while the pipeline runs", async () => {
    const { dead, endpoint, group, mended, out, program, topic } = await setUp()
    const key = Buffer.from([0, 0xff, 1])
    const value = Buffer.from("poison \u0000\u00ff", "latin1")
    const timestamp = `${Date.now() - 86_400_000}`
    const headers = { tenant: "a", "sluice-own": "mine" }
    await kit.send(topic, [
      { partition: 1, key: "a", value: '{"n":1}' },
      { partition: 1, key, value, headers, timestamp },
      { partition: 1, key: "a", value: '{"n":2}' }
    ])
    const running = program.start()
    await Kafka.drained(kit, group, topic)
    const [letter, ...others] = await kit.read(dead)
    assert.deepStrictEqual(others, [])
    assert.deepStrictEqual(letter!.key, key)
    assert.deepStrictEqual(letter!.value, value)
    const {
      "sluice-letter": id = "",
      "sluice-at": at = "",
      "sluice-received-at": receivedAt = "",
      "sluice-reason": reason = "",
      "sluice-sequence": sequence = "",
      "sluice-envelope-id": envelopeId = "",
      ...rest
    } = textOf(letter!.headers)
    assert.match(id, /^\S{8,}$/)
    for (const time of [at, receivedAt]) assert.isBelow(Math.abs(Date.now() - Date.parse(time)), 60_000, time)
    assert.match(reason, /answered 422 .*\{"wrong":"poison"\}/)
    assert.match(sequence, /^\d+$/)
    assert.include(envelopeId, `${topic}/1/1`)
    assert.deepStrictEqual(rest, {
      tenant: "a",
      "sluice-header-sluice-own": "mine",
      "sluice-pipeline": "orders",
      "sluice-event": "message",
      "sluice-leg": "work",
      "sluice-stage": "dispatch",
      "sluice-attempts": "1",
      "sluice-source": `kafka:${topic}`,
      "sluice-envelope-attempt": "1",
      "sluice-origin-topic": topic,
      "sluice-origin-partition": "1",
      "sluice-origin-offset": "1",
      "sluice-origin-timestamp": timestamp,
      "sluice-key": "hex:00ff01"
    })
    const warned = Kafka.warnings(running.lines())
    assert.strictEqual(warned.length, 1)
    assert.match(warned[0]!.message, /^orders: buried .*422/)

    assert.deepStrictEqual(await program.dlq("ls"), [
      { id, pipeline: "orders", event: "message", leg: "work", stage: "dispatch", reason, attempts: 1, at }
    ])
    const shown = await program.dlq("show", id)
    assert.deepStrictEqual(shown.payload, { base64: value.toString("base64") })
    assert.deepStrictEqual(shown.envelope, {
      ...{ id: envelopeId, source: `kafka:${topic}`, key: "hex:00ff01", position: 1, headers, receivedAt },
      partition: `${topic}/1`
    })

    const again = await program.dlq("replay")
    assert.deepStrictEqual(
      again.map((one: { id: string; outcome: string }) => [one.id, one.outcome]),
      [[id, "buried"]]
    )
    const twice = (await kit.read(dead)).map(({ headers }) => textOf(headers))
    assert.deepStrictEqual(
      twice.map((one) => [one["sluice-letter"], one["sluice-attempts"]]),
      [
        [id, "1"],
        [id, "2"]
      ]
    )

    mended.now = true
    const done = await program.dlq("replay", id)
    assert.deepStrictEqual(done, [{ id, outcome: "acked" }])
    assert.deepStrictEqual(await program.dlq("ls"), [])
    assert.deepStrictEqual(endpoint.calls.filter(({ body }) => body.equals(value)).length, 3)
    const published = (await kit.read(out)).find(({ value: one }) => one!.equals(value))
    assert.deepStrictEqual(published!.key, key)
    const { headers: ended, ...tombstone } = (await kit.read(dead)).find(({ value }) => value === null)!
    assert.deepStrictEqual(tombstone.key, key)
    assert.deepStrictEqual(textOf(ended), { "sluice-letter-done": id, "sluice-pipeline": "orders" })

    mended.now = false
    await kit.send(topic, [{ key: "a", value: "poison" }])
    await Kafka.until("it is buried", () => Kafka.warnings(running.lines()).length === 3)
    assert.deepStrictEqual(await program.dlq("purge"), { purged: 1 })
    assert.deepStrictEqual(await program.dlq("ls"), [])
    const stopped = await running.stop()
    assert.strictEqual(stopped.code, 0, stopped.stderr)
  })

  it("are listed, replayed in order and purged when nobody runs the pipeline, and again after a restart", async () => {
    const { dead, endpoint, group, mended, out, program, topic } = await setUp()
    // Nobody has written to it: there is no such topic yet.
    assert.deepStrictEqual(await program.dlq("ls"), [])
    const records = [1, 2, 3, 4].map((n) => ({ key: "a", value: `poison ${n}` }))
    await kit.send(topic, [...records, { key: null, value: "poison without a key" }, { key: "b", value: null }])
    const first = program.start()
    await Kafka.drained(kit, group, topic)
    assert.strictEqual((await first.stop()).code, 0, first.stderr())
    const letters: ReadonlyArray<{ id: string }> = await program.dlq("ls")
    assert.strictEqual(letters.length, 5)

    mended.now = true
    endpoint.calls.length = 0
    const bodies = () => endpoint.calls.map(({ body }) => String(body))
    const ofKey = (await kit.read(dead)).filter(({ key }) => String(key) === "a")
    assert.deepStrictEqual(
      ofKey.map(({ value }) => String(value)),
      records.map(({ value }) => value)
    )
    const some = ofKey.slice(0, 3).map(({ headers }) => textOf(headers)["sluice-letter"]!)
    const outcomes = await program.dlq("replay", ...some)
    assert.deepStrictEqual(
      outcomes,
      some.map((id) => ({ id, outcome: "acked" }))
    )
    assert.deepStrictEqual(
      bodies(),
      records.slice(0, 3).map(({ value }) => value)
    )
    assert.deepStrictEqual(
      (await kit.read(out)).flatMap(({ key, value }) => (String(value).startsWith("poison") ? [`${key}`] : [])),
      ["a", "a", "a"]
    )
    // A process that starts later runs nothing of it again.
    endpoint.calls.length = 0
    const second = program.start()
    await second.says(/in group/)
    await sleep(1000)
    assert.deepStrictEqual(bodies(), [])
    assert.strictEqual((await second.stop()).code, 0, second.stderr())

    assert.deepStrictEqual(await program.dlq("purge"), { purged: 2 })
    assert.deepStrictEqual(await program.dlq("ls"), [])
    const ended = (await kit.read(dead)).flatMap(({ headers }) => textOf(headers)["sluice-letter-done"] ?? [])
    assert.deepStrictEqual(ended.sort(), letters.map(({ id }) => id).sort())
  })
})
