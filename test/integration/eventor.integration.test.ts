/** A config of eventor, run as its users run it: bytes, answers, commits and log lines are what its document says. */
import { once } from "node:events"
import { readFileSync } from "node:fs"
import { connect, createServer, type Socket } from "node:net"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { afterAll, assert, beforeAll, describe, it, onTestFinished } from "vitest"
import * as Kafka from "./Kafka.ts"
import * as Program from "./Program.ts"

const sample = readFileSync(join(Program.root, "config/eventor.yaml"), "utf8")

describe.skipIf(Kafka.reason !== undefined)("an eventor's config", () => {
  let kit: Kafka.Kit
  beforeAll(async () => {
    kit = await Kafka.open({ brokers: 1 })
  })
  afterAll(() => kit?.close())

  /** The sample with other brokers, topics, group and URL, and these words replaced. */
  const config = async (
    url: string,
    replaced: ReadonlyArray<readonly [string | RegExp, string]> = [],
    producer = kit.brokers[0]!
  ) => {
    const [topic, out, group] = [await kit.topic("in", 1), await kit.topic("out", 1), Kafka.fresh("group")]
    const broker = kit.brokers[0]!
    const text = [
      ...replaced,
      [/topic: MY_FIRST_TOPIC\b/, `topic: ${topic}`] as const,
      [/topic: MY_RESPONSE_TOPIC\b/, `topic: ${out}`] as const,
      ["bootstrap.servers: localhost, 127.0.0.1", `bootstrap.servers: ${broker}, ${broker}`] as const,
      ["bootstrap.servers: localhost\n", `bootstrap.servers: ${producer}\n`] as const,
      ["myVeryFirstGroup", group] as const,
      ["http://localhost:8080/payload", url] as const
    ].reduce((text, [from, to]) => {
      const next = text.replace(from, to)
      assert.notStrictEqual(next, text, `${from} is not in the sample`)
      return next
    }, sample)
    return { topic, out, group, text }
  }
  const run = (text: string, env: Readonly<Record<string, string>> = {}) => Kafka.sluice(text, { args: ["-f"], env })

  it("hands on bytes as they are, in both directions, under no key and without headers", async () => {
    const all = Buffer.from(Array.from({ length: 256 }, (_, i) => i))
    const values = [
      all,
      Buffer.from("plain text, grüße \u{1F511}"),
      Buffer.from('{ "spaces" :  1, "spaces": 2 }\n'),
      Buffer.from([0xef, 0xbb, 0xbf, 0x61]),
      Buffer.alloc(0),
      Buffer.from("\r\n")
    ]
    // Answers that claim to be JSON, text or nothing are handed on as they are.
    const types = ["application/json", "text/plain; charset=latin1", "application/octet-stream"]
    const endpoint = await Kafka.endpoint(({ body }) => ({
      body: Buffer.concat([Buffer.from('{"a" :  '), body]),
      headers: { "content-type": types[endpoint.calls.length % types.length]!, "x-answer": "yes" }
    }))
    const { group, out, text, topic } = await config(endpoint.url, [[/ {6}Content-Type: .*\n/, ""]])
    await kit.send(
      topic,
      values.map((value, i) => ({ key: i % 2 === 0 ? null : `k${i}`, value, headers: { own: "header" } }))
    )
    const running = run(text).start()
    await Kafka.drained(kit, group, topic)
    assert.strictEqual((await running.stop()).code, 0, running.stderr())

    const shown = (bytes: ReadonlyArray<Buffer>) => bytes.map((one) => one.toString("base64")).sort()
    assert.deepStrictEqual(shown(endpoint.calls.map(({ body }) => body)), shown(values))
    for (const { headers, method } of endpoint.calls) {
      assert.strictEqual(method, "POST")
      assert.strictEqual(headers["content-type"], "application/text")
      assert.strictEqual(headers.authorization, "Basic ...")
      assert.isUndefined(headers.own)
    }
    const answers = await kit.read(out)
    assert.deepStrictEqual(
      shown(answers.map(({ value }) => value!)),
      shown(values.map((value) => Buffer.concat([Buffer.from('{"a" :  '), value])))
    )
    for (const { headers, key } of answers) {
      assert.isNull(key)
      assert.deepStrictEqual(headers, {})
    }
    assert.deepStrictEqual(Kafka.warnings(running.lines()), [])
  })

  it("says its three lines for each message at logLevel 0, whatever LOG_LEVEL is, and none of them at logLevel 1", async () => {
    const endpoint = await Kafka.endpoint(({ body }) => ({ body }))
    const debug = await config(endpoint.url)
    const info = await config(`${endpoint.url}/info`, [
      ["logLevel: 0", "logLevel: 1"],
      [/name: .*/, "name: info"]
    ])
    for (const { topic } of [debug, info]) await kit.send(topic, [{ value: "a" }, { value: "b" }])
    const running = run(`${debug.text}\n${info.text}`, { LOG_LEVEL: "error" }).start()
    for (const { group, topic } of [debug, info]) await Kafka.drained(kit, group, topic)
    assert.strictEqual((await running.stop()).code, 0, running.stderr())
    const messages = running.lines().flatMap(({ message }) => (/^(handling|calling|succ)/.test(message) ? message : []))
    assert.deepStrictEqual(
      [...messages].sort(),
      [
        `handling message: ${debug.topic}[0]@0`,
        `handling message: ${debug.topic}[0]@1`,
        `calling endpoint: 'POST ${endpoint.url}'`,
        `calling endpoint: 'POST ${endpoint.url}'`,
        `successfully produced EventHandler result: ${debug.out}[0]@0`,
        `successfully produced EventHandler result: ${debug.out}[0]@1`
      ].sort()
    )
    assert.match(messages[0]!, /^handling/)
    assert.match(messages.at(-1)!, /^successfully/)
    assert.strictEqual(endpoint.calls.length, 4)
  })

  it("publishes what `when` asks for, buries what nobody asked for, and commits all of it", async () => {
    const endpoint = await Kafka.endpoint(({ body }) => ({ status: Number(String(body)), body: `answer ${body}` }))
    const retry = "  eventHandler:\n    retry: { attempts: 2, backoff: 20 millis }\n"
    const statuses = [200, 404, 500, 200]
    const cases = [
      { when: "[onSuccess]", published: [200], buried: [404, 500] },
      { when: "[onError]", published: [404, 500], buried: [] },
      { when: "[onSuccess, onError]", published: [200, 404, 500], buried: [] },
      { when: "[]", published: [200, 404, 500], buried: [] }
    ]
    const entries = await Promise.all(
      cases.map(async (one, i) => ({
        ...one,
        name: `case ${i}`,
        ...(await config(`${endpoint.url}/${i}`, [
          [/name: .*/, `name: case ${i}`],
          [/when:\n {6}- onSuccess.*\n/, `when: ${one.when}\n`],
          ["  eventHandler:\n", retry]
        ]))
      }))
    )
    for (const { topic } of entries) {
      await kit.send(
        topic,
        statuses.map((status) => ({ key: "same", value: `${status}` }))
      )
    }
    const program = run(entries.map(({ text }) => text).join("\n"))
    const running = program.start()
    for (const { group, topic } of entries) await Kafka.drained(kit, group, topic)
    assert.strictEqual((await running.stop()).code, 0, running.stderr())
    const letters: ReadonlyArray<{ pipeline: string; reason: string; attempts: number }> = await program.dlq("ls")
    for (const [i, { buried, name, out, published, when }] of entries.entries()) {
      assert.deepStrictEqual(
        (await kit.read(out)).map(({ value }) => String(value)),
        statuses.filter((status) => published.includes(status)).map((status) => `answer ${status}`),
        when
      )
      const calls = endpoint.calls.filter(({ path }) => path.endsWith(`/${i}`))
      assert.deepStrictEqual(
        calls.map(({ body }) => String(body)),
        ["200", "404", "500", "500", "200"],
        when
      )
      const own = letters.filter(({ pipeline }) => pipeline === name)
      assert.strictEqual(own.length, buried.length, when)
      for (const [j, status] of buried.entries()) {
        assert.match(own[j]!.reason, new RegExp(`answered ${status} .*answer ${status}`))
        assert.strictEqual(own[j]!.attempts, status === 500 ? 2 : 1)
      }
    }
    assert.strictEqual(Kafka.warnings(running.lines()).length, letters.length, running.stderr())
  })

  it("commits only what is published, and asks nobody again for the answers that wait", async () => {
    // The producer reaches the cluster through a gate that is closed at first.
    const sockets = new Set<Socket>()
    const gate = createServer((socket) => {
      const broker = connect(Number(kit.brokers[0]!.split(":")[1]), "127.0.0.1")
      for (const one of [socket, broker]) sockets.add(one.on("error", () => {}))
      socket.pipe(broker).pipe(socket)
    }).listen(0, "127.0.0.1")
    await once(gate, "listening")
    const { port } = gate.address() as { port: number }
    await new Promise((closed) => gate.close(closed))
    onTestFinished(() => {
      for (const socket of sockets) socket.destroy()
      gate.close()
    })

    const endpoint = await Kafka.endpoint(({ body }) => ({ body }))
    const { group, out, text, topic } = await config(endpoint.url, [], `127.0.0.1:${port}`)
    await kit.send(
      topic,
      [1, 2, 3].map((n) => ({ key: "same", value: `${n}` }))
    )
    const running = run(text).start()
    await running.says(/outage: /)
    await Kafka.until("all are answered", () => endpoint.calls.length === 3)
    await sleep(1500)
    assert.strictEqual((await kit.noted(group, topic)).get(0)!.watermark, 0)
    assert.strictEqual(await kit.size(out), 0)
    gate.listen(port, "127.0.0.1")
    await Kafka.drained(kit, group, topic)
    assert.deepStrictEqual(
      (await kit.read(out)).map(({ value }) => String(value)),
      ["1", "2", "3"]
    )
    assert.strictEqual(endpoint.calls.length, 3)
    assert.strictEqual((await running.stop()).code, 0, running.stderr())
  })

  it("names the property that librdkafka does not know, and its line, and ends with 2", async () => {
    const { text } = await config("http://localhost:8080/payload2", [
      ["enable.auto.commit: false", "enable.auto.comit: false"]
    ])
    const ended = await run(text).start().ended
    assert.strictEqual(ended.code, 2)
    const line = text.split("\n").findIndex((line) => line.includes("enable.auto.comit")) + 1
    assert.match(ended.stderr, new RegExp(`kafka\\.yaml:${line}:\\d+: .*enable\\.auto\\.comit`))
    assert.match(ended.stderr, /did you mean enable\.auto\.commit\?/)
    assert.notMatch(ended.stderr, /\n\s+at /)
  })
})
