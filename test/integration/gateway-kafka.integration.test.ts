/** The predecessor's clients against the built program: its words to the byte, its topics in a real Kafka, its schemas in a real Postgres. */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { setTimeout as sleep } from "node:timers/promises"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import * as PostgresServer from "../services/PostgresServer.ts"
import * as Kafka from "./Kafka.ts"
import * as Program from "./Program.ts"

const noPostgres = await PostgresServer.available({ own: true })
if (noPostgres !== undefined) console.warn(`tests that stop Postgres are skipped: ${noPostgres}`)
const missing = Kafka.reason ?? noPostgres

const config = (name: string) => readFileSync(join(Program.root, "config", name), "utf8")

/** Starts a config on a free port in a folder of its own, as often as it is asked to. */
const gateway = (text: string, env: Readonly<Record<string, string>> = {}) => {
  const { path, started } = Program.forTest({ "gateway.yaml": text })
  const start = async () => {
    const running = await Program.serve(path, "gateway.yaml", { PORT: "0", ...env })
    started.push(running)
    return running
  }
  return { path: path, start }
}

// ---------------------------------------------------------------------------------------------------- the old client

interface Answer {
  readonly status: number
  readonly text: string
  readonly headers: Headers
}

/** As Python's requests writes `data={field: text}`; without a field it asks. */
const ask = async (url: string, form?: Readonly<Record<string, string>>): Promise<Answer> => {
  const answer = await fetch(url, form === undefined ? {} : { method: "POST", body: new URLSearchParams(form) })
  return { status: answer.status, text: await answer.text(), headers: answer.headers }
}

const failed = (msg: string) => [400, `{"code":"FAILED","msg":"${msg}"}\n`] as const
const done = (msg: string) => [200, `{"code":"SUCCEEDED","msg":"${msg}"}\n`] as const

const schemas = {
  Fruits: '{"type": "object", "required": ["fruit"]}',
  Colors: '{"type": "object", "required": ["color"]}'
}

/** What they send; a rewrite of one would change it: spaces, digits, letters, escapes. */
const events = {
  Fruits: [
    '{"fruit": "apple"}',
    '{"fruit": "äpple & pear + 100%", "n": 1.0}',
    '{ "id":12345678901234567890, "fruit":"\\u00e4"}'
  ],
  Colors: ['{"color": "red"}', '{"color": "blue", "fruit": null}']
}

/** quick_test.py for one event: sends before it registers, registers twice, sends, asks for the schema. */
const quickTest = async (address: string, event: "Fruits" | "Colors") => {
  const at = `${address}/SpongeBob/${event}`
  const field = event === "Fruits" ? "fruit" : "color"
  const [first, ...more] = events[event]
  const told = async (route: string, form?: Readonly<Record<string, string>>) => {
    const { headers, status, text } = await ask(`${at}/${route}`, form)
    assert.strictEqual(headers.get("content-type"), "application/json", route)
    return [status, text] as const
  }
  const register = { event_schema: schemas[event] }
  assert.deepStrictEqual(await told("schema"), failed("event not registered"))
  assert.deepStrictEqual(await told("send_event", { event: first! }), failed("failed to send event"))
  assert.deepStrictEqual(
    await told("register_event", { event_schema: '{"type": "random_type"}' }),
    failed("failed to register event")
  )
  assert.deepStrictEqual(await told("register_event", register), done("event registered"))
  assert.deepStrictEqual(await told("register_event", register), failed("failed to register event"))
  for (const text of [first!, ...more])
    assert.deepStrictEqual(await told("send_event", { event: text }), done("event sent"))
  assert.deepStrictEqual(await told("send_event", { event: '{"other": 1}' }), failed("failed to send event"))
  assert.deepStrictEqual(await told("send_event", { event: "{}" }), failed("'event' is not a valid json"))
  assert.deepStrictEqual(await told("send_event", { event: "{" }), failed("'event' is not a valid json"))
  assert.deepStrictEqual(await told("send_event", { x: "1" }), failed("'event' key not in data"))
  assert.deepStrictEqual(await told("register_event", { x: "1" }), failed("'event_schema' key not in data"))
  assert.deepStrictEqual(
    await told("register_event", { event_schema: "nonsense" }),
    failed("'event_schema' is not a valid json")
  )
  assert.deepStrictEqual(await told("schema"), [
    200,
    `{"code":"SUCCEEDED","msg":"schema recovered","schema":{"required":["${field}"],"type":"object"}}\n`
  ])
}

const listed = async (address: string, client = "SpongeBob") => {
  const { status, text } = await ask(`${address}/${client}/list_events`)
  return [status, text] as const
}
const list = (...names: ReadonlyArray<string>) =>
  [
    200,
    `{"code":"SUCCEEDED","events":[${names.map((name) => `["SpongeBob","${name}"]`)}],"msg":"schema recovered"}\n`
  ] as const

/** Both producers, one after the other. */
const sequence = async (address: string) => {
  assert.deepStrictEqual(await listed(address), list())
  await quickTest(address, "Fruits")
  assert.deepStrictEqual(await listed(address), list("Fruits"))
  await quickTest(address, "Colors")
  assert.deepStrictEqual(await listed(address), list("Colors", "Fruits"))
  assert.deepStrictEqual(await listed(address, "Patrick"), list())
}

/** What lies in an embedded topic, as the store has it on disk. */
const embedded = (database: string, topic: string): ReadonlyArray<string> => {
  const store = new DatabaseSync(database, { readOnly: true, timeout: 5000 })
  try {
    const rows = store
      .prepare("SELECT value FROM topic_records r JOIN topics t ON t.id = r.topic WHERE t.name = ? ORDER BY record")
      .all(topic) as unknown as ReadonlyArray<{ readonly value: Uint8Array }>
    return rows.map(({ value }) => new TextDecoder().decode(value))
  } finally {
    store.close()
  }
}

// ---------------------------------------------------------------------------------------------------- the tests

it("the predecessor's clients have their answers to the byte with SQLite and embedded topics", async () => {
  const { path, start } = gateway(`
http: { port: 0 }
storage: { sqlite: work.db }
pipelines:
  gateway: { source: { type: gateway }, publish: [{ type: topic }] }
`)
  const { address, child, ended } = await start()
  await sequence(address)
  child.kill("SIGTERM")
  assert.strictEqual((await ended).code, 0)
  for (const event of ["Fruits", "Colors"] as const) {
    assert.deepStrictEqual(embedded(join(path, "work.db"), `SpongeBob.${event}`), events[event])
  }
  // What was registered is known to the next process.
  const again = await start()
  assert.deepStrictEqual(await listed(again.address), list("Colors", "Fruits"))
})

describe.skipIf(missing !== undefined)("the predecessor's clients, with Kafka and Postgres", () => {
  let kit: Kafka.Kit
  let postgres: PostgresServer.PostgresServer
  const text = config("gateway-kafka.yaml")
  const env = () => ({ KAFKA_BROKERS: kit.brokers.join(","), DATABASE_URL: postgres.url })
  /** The values of a topic; of several partitions, in no order. */
  const values = async (topic: string) => (await kit.read(topic)).map(({ value }) => String(value))

  beforeAll(async () => {
    ;[kit, postgres] = await Promise.all([Kafka.open({ brokers: 1 }), PostgresServer.start({ own: true })])
  })
  afterAll(() => Promise.all([kit?.close(), postgres?.close()]))

  it("have their answers to the byte, and their events in the topics <client>.<event>", async () => {
    const { start } = gateway(text, env())
    const { address } = await start()
    await sequence(address)
    for (const event of ["Fruits", "Colors"] as const) {
      const records = await kit.read(`SpongeBob.${event}`)
      assert.sameMembers(
        records.map(({ value }) => String(value)),
        events[event]
      )
      assert.deepStrictEqual(
        records.map(({ key }) => key),
        records.map(() => null)
      )
    }
    // A second process knows what the first has registered.
    const other = await start()
    assert.deepStrictEqual(await listed(other.address), list("Colors", "Fruits"))
    const { status } = await ask(`${other.address}/SpongeBob/Fruits/send_event`, { event: '{"fruit": "kiwi"}' })
    assert.strictEqual(status, 200)
    assert.include(await values("SpongeBob.Fruits"), '{"fruit": "kiwi"}')
  })

  it("are told 503 and the old words while Postgres is away, and are served again when it is back", async () => {
    const { start } = gateway(text, env())
    const { address } = await start()
    const at = `${address}/Patrick/Stars`
    const schema = { event_schema: '{"required": ["n"]}' }
    assert.strictEqual((await ask(`${at}/register_event`, schema)).status, 200)
    const sent: Array<string> = []
    let next = 0
    let busy = 0
    let stopping = false
    const sending = (async () => {
      while (!stopping) {
        const event = `{"n": ${next++}}`
        const { headers, status, text } = await ask(`${at}/send_event`, { event })
        if (status === 200) {
          assert.strictEqual(text, done("event sent")[1])
          sent.push(event)
        } else {
          busy++
          assert.deepStrictEqual(
            [status, headers.get("retry-after"), text],
            [503, "1", failed("failed to send event")[1]]
          )
        }
        await sleep(5)
      }
    })()
    for (const away of ["stop", "kill"] as const) {
      const before = sent.length
      await Kafka.until("events are sent", () => sent.length > before + 20)
      await postgres[away]()
      const began = busy
      await Kafka.until("events are turned away", () => busy > began)
      for (const [route, form, words] of [
        ["Patrick/Stars/register_event", schema, "failed to register event"],
        ["Patrick/Other/register_event", schema, "failed to register event"],
        ["Patrick/Other/send_event", { event: '{"n": 1}' }, "failed to send event"],
        ["Patrick/Stars/schema", undefined, "event not registered"],
        ["Patrick/list_events", undefined, "failed to list events"]
      ] as const) {
        const { headers, status, text } = await ask(`${address}/${route}`, form)
        assert.deepStrictEqual([status, headers.get("retry-after"), text], [503, "1", failed(words)[1]], route)
      }
      // Bodies nobody can use are refused all the same.
      const broken = await ask(`${at}/send_event`, { event: "{" })
      assert.deepStrictEqual([broken.status, broken.text], [...failed("'event' is not a valid json")])
      await postgres.start()
      const count = sent.length
      await Kafka.until("events are sent again", () => sent.length > count, 60)
      const { status, text } = await ask(`${at}/register_event`, schema)
      assert.deepStrictEqual([status, text], [...failed("failed to register event")])
      const other = await ask(`${address}/Patrick/${away}/register_event`, schema)
      assert.deepStrictEqual([other.status, other.text], [...done("event registered")])
    }
    stopping = true
    await sending
    assert.isAbove(busy, 1)
    // Neither less nor more: what was turned away is not there.
    assert.sameMembers([...(await values("Patrick.Stars"))], sent)
  })

  it("have every event that was answered with success in the topic, through five kills of the gateway", async () => {
    const { start } = gateway(text, env())
    const sent = new Set<string>()
    let next = 0
    for (let kill = 1; kill <= 5; kill++) {
      const { address, child, ended } = await start()
      const at = `${address}/shop/order`
      if (kill === 1) {
        assert.strictEqual((await ask(`${at}/register_event`, { event_schema: '{"required": ["n"]}' })).status, 200)
        // The cluster makes the topic.
        let made = 0
        while (made !== 200) made = (await ask(`${at}/send_event`, { event: '{"n": -1}' })).status
      }
      const client = async (): Promise<void> => {
        for (;;) {
          const event = `{"n": ${next++}}`
          const answer = await ask(`${at}/send_event`, { event }).catch(() => undefined)
          if (answer === undefined) return
          // At full load one may be told to come again.
          if (answer.status === 503) continue
          assert.deepStrictEqual([answer.status, answer.text], [...done("event sent")])
          sent.add(event)
        }
      }
      const before = sent.size
      const clients = Promise.all(Array.from({ length: 32 }, client))
      await Kafka.until("events are sent", () => sent.size >= before + 300 * kill)
      child.kill("SIGKILL")
      assert.strictEqual((await ended).signal, "SIGKILL")
      await clients
      const there = new Set(await values("shop.order"))
      assert.deepStrictEqual(
        [...sent].filter((event) => !there.has(event)),
        [],
        `kill ${kill}`
      )
    }
    // Killed with requests open, so that the kills fell in the middle.
    assert.isBelow(sent.size, next)
  })
})
