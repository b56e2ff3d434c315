/** `sluice listen` beside running pipelines: embedded topics and Kafka, from where it is told, without being in anybody's way. */
import { spawn } from "node:child_process"
import { setTimeout as sleep } from "node:timers/promises"
import { afterAll, assert, beforeAll, describe, it, onTestFinished } from "vitest"
import * as Kafka from "./Kafka.ts"
import * as Program from "./Program.ts"

const ticking = `pipelines:
  fruits:
    source: { type: generate, rate: 100, payload: { fruit: apple, n: "{{n}}", at: "{{now}}" } }
    publish: [{ type: topic, topic: SpongeBob.Fruits }]
`

/** A folder, and programs in it that are gone after the test. */
const here = (files: Readonly<Record<string, string>>) => {
  const folder = Program.folder(files)
  const all: Array<Program.Running> = []
  onTestFinished(async () => {
    for (const { child } of all) child.kill("SIGKILL")
    await Promise.all(all.map(({ ended }) => ended))
    folder.remove()
  })
  const start = (...args: ReadonlyArray<string>) => {
    const running = Program.start(folder.path, args)
    all.push(running)
    return running
  }
  const listen = async (...args: ReadonlyArray<string>) => {
    const running = start("listen", ...args)
    await running.says(/^listening to /m)
    return running
  }
  return { path: folder.path, start, listen }
}

const events = (text: string): ReadonlyArray<any> => Program.lines(text).map((line) => JSON.parse(line))
const names = (all: ReadonlyArray<any>): ReadonlyArray<string> => all.map(({ at, n }) => `${n} ${at}`)

describe("sluice listen to an embedded topic", () => {
  it("shows from the first or from the next event on, as many as it is asked for", async () => {
    const { listen, start } = here({ "fruits.yaml": ticking })
    const running = start("fruits.yaml")
    await running.says(/fruits: started/)
    const early = await listen("SpongeBob.Fruits", "fruits.yaml", "--from", "earliest", "--count", "50")
    const ended = await early.ended
    assert.strictEqual(ended.code, 0, ended.stderr)
    assert.deepStrictEqual(
      events(ended.stdout).map(({ n }) => n),
      Array.from({ length: 50 }, (_, i) => i + 1)
    )
    const late = await listen("SpongeBob/Fruits", "-f", "fruits.yaml", "--count", "20")
    const next = events((await late.ended).stdout).map(({ n }) => n)
    assert.isAbove(next[0], 50)
    assert.deepStrictEqual(
      next,
      next.map((_, i) => next[0] + i)
    )
    running.child.kill("SIGTERM")
    const whole = await running.ended
    assert.strictEqual(whole.code, 0, whole.stderr)
    assert.match(whole.stderr, /buried 0/)
  })

  it("goes on beside a gateway that is killed and started again, is in nobody's way, and ends with Ctrl-C", async () => {
    const readers = `${ticking}  copy:
    source: { type: topic, topic: SpongeBob.Fruits }
    publish: [{ type: file, path: copy.ndjson }]
`
    const { listen, start } = here({ "fruits.yaml": readers })
    // Before there is a store, a topic, or anybody who writes to it.
    const first = await listen("SpongeBob.Fruits", "fruits.yaml")
    const second = await listen("SpongeBob.Fruits", "fruits.yaml")
    const until = async (count: number) => {
      await Kafka.until(`${count} events`, () => Program.lines(first.stdout()).length >= count)
    }
    const one = start("fruits.yaml")
    await until(100)
    one.child.kill("SIGKILL")
    await one.ended
    const before = Program.lines(first.stdout()).length
    // The lock of the killed process is free, and no listener holds one.
    const two = start("fruits.yaml")
    await two.says(/copy: started/)
    await until(before + 100)
    two.child.kill("SIGTERM")
    const drained = await two.ended
    assert.strictEqual(drained.code, 0, drained.stderr)
    assert.match(drained.stderr, /copy: received \d+, acked \d+, buried 0/)
    await sleep(500)
    const ended = []
    for (const { child, ended: end } of [first, second]) {
      child.kill("SIGINT")
      ended.push(await end)
    }
    for (const { code, stderr } of ended) assert.strictEqual(code, 0, stderr)
    const seen = names(events(ended[0]!.stdout))
    assert.deepStrictEqual(names(events(ended[1]!.stdout)), seen)
    assert.strictEqual(new Set(seen).size, seen.length)
    const count = `${seen.length}`
    const all = await listen("SpongeBob.Fruits", "fruits.yaml", "--from", "earliest", "--count", count)
    assert.deepStrictEqual(names(events((await all.ended).stdout)), seen)
    // And there is no more.
    const more = await listen("SpongeBob.Fruits", "fruits.yaml", "--from", "earliest", "--count", `${seen.length + 1}`)
    await sleep(1000)
    assert.isNull(more.child.exitCode)
  })

  it("ends well when nobody reads it any more", async () => {
    const { path, start } = here({ "fruits.yaml": ticking })
    await start("fruits.yaml").says(/fruits: started/)
    const main = `${Program.root}/dist/main.js`
    const line = `"${process.execPath}" "${main}" listen SpongeBob.Fruits fruits.yaml --from earliest | head -n 3`
    const child = spawn("bash", ["-c", `${line}; echo "\${PIPESTATUS[0]}"`], { cwd: path })
    let said = ""
    let errors = ""
    child.stdout.on("data", (text) => {
      said += text
    })
    child.stderr.on("data", (text) => {
      errors += text
    })
    await new Promise((closed) => child.on("close", closed))
    const [a, b, c, code] = Program.lines(said)
    assert.deepStrictEqual(
      [a, b, c].map((line) => JSON.parse(line!).n),
      [1, 2, 3]
    )
    assert.strictEqual(code, "0", errors)
    assert.strictEqual(errors, "listening to topic SpongeBob.Fruits, from earliest\n")
  })

  it("shows what sluice send has sent to a running process, while it still runs", async () => {
    const { listen, path, start } = here({
      "fruits.yaml": `http: { port: 0 }
pipelines:
  fruits:
    source: { type: gateway }
    publish: [{ type: topic }]
`
    })
    const running = start("fruits.yaml")
    const [, url] = await running.says(/listening on (http:\/\/[^\s"]+)/)
    await fetch(`${url}/SpongeBob/Fruits/register_event`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: '{"event_schema":true}'
    })
    const listener = await listen("SpongeBob.Fruits", "fruits.yaml")
    const stdin = Array.from({ length: 100 }, (_, n) => `{"n": ${n}}\n`).join("")
    const args = ["send", "SpongeBob/Fruits", "-", "--url", url!, "--concurrency", "1"]
    const sent = await Program.run(path, args, { stdin })
    assert.strictEqual(sent.code, 0, sent.stderr)
    await Kafka.until("all is shown", () => Program.lines(listener.stdout()).length === 100)
    assert.strictEqual(listener.stdout(), stdin)
    assert.isNull(running.child.exitCode)
  })

  it("says what is wrong, and exits 2", async () => {
    const { path } = here({ "fruits.yaml": ticking })
    for (const [args, words] of [
      [["SpongeBob.Colors", "fruits.yaml"], /publishes SpongeBob\.Colors to a topic: there are SpongeBob\.Fruits/],
      [["SpongeBob", "fruits.yaml"], /expected a client and an event/],
      [["SpongeBob.Fruits"], /expected a config file/],
      [["SpongeBob.Fruits", "nothing.yaml"], /there is no such file/],
      [["SpongeBob.Fruits", "fruits.yaml", "--count", "0"], /--count: expected a number/],
      [["SpongeBob.Fruits", "fruits.yaml", "--from", "yesterday"], /earliest/]
    ] as const) {
      const ended = await Program.run(path, ["listen", ...args])
      assert.strictEqual(ended.code, 2, `${args.join(" ")}: ${ended.stderr}`)
      assert.match(ended.stderr + ended.stdout, words)
    }
  })
})

describe.skipIf(Kafka.reason !== undefined)("sluice listen to Kafka", () => {
  let kit: Kafka.Kit
  beforeAll(async () => {
    kit = await Kafka.open({ brokers: 1 })
  })
  afterAll(() => kit?.close())

  const config = (topic: string) =>
    JSON.stringify({
      pipelines: {
        fruits: {
          source: { type: "generate", rate: 50, payload: { fruit: "apple", n: "{{n}}" } },
          publish: [{ type: "kafka", brokers: kit.brokers, topic }]
        }
      }
    })

  it("shows what lies in all partitions and what comes, one JSON value per line, and joins no group", async () => {
    const topic = "SpongeBob.Fruits"
    const { listen } = here({ "fruits.yaml": config(topic) })
    // Before there is a topic.
    const late = await listen("SpongeBob.Fruits", "fruits.yaml")
    await sleep(1000)
    await kit.create({ topic, numPartitions: 3 })
    const values = [
      '{"fruit":"apple","n":12345678901234567890}',
      '{\r\n  "fruit": "kiwi"\n}\n',
      "no JSON\n",
      Buffer.from([0xff, 0x00]),
      null
    ]
    await kit.send(
      topic,
      values.map((value, i) => ({ partition: i % 3, value }))
    )
    const early = await listen("SpongeBob.Fruits", "fruits.yaml", "--from", "earliest")
    const shown = [
      '"no JSON\\n"',
      "null",
      '{   "fruit": "kiwi" }',
      '{"base64":"/wA="}',
      '{"fruit":"apple","n":12345678901234567890}'
    ]
    const lines = ({ stdout }: Program.Running) => [...Program.lines(stdout())].sort()
    for (const one of [early, late]) {
      await Kafka.until("all is shown", () => lines(one).length >= values.length)
      assert.deepStrictEqual(
        lines(one).map((line) => line.replace(/\{ +/, "{   ")),
        shown
      )
    }
    const latest = await listen("SpongeBob.Fruits", "fruits.yaml", "--count", "2")
    await sleep(1500)
    await kit.send(
      topic,
      [1, 2].map((n) => ({ partition: n, value: JSON.stringify({ n }) }))
    )
    const ended = await latest.ended
    assert.strictEqual(ended.code, 0, ended.stderr)
    assert.deepStrictEqual(
      events(ended.stdout)
        .map(({ n }) => n)
        .sort(),
      [1, 2]
    )
    await Kafka.until("all is shown", () => lines(early).length === 7 && lines(late).length === 7)
    assert.deepStrictEqual((await kit.admin.listGroups()).groups, [])
    for (const { child, ended } of [early, late]) {
      child.kill("SIGINT")
      assert.strictEqual((await ended).code, 0)
    }
  })

  it("shows what a running pipeline publishes, in its order, through an outage of the broker", async () => {
    const topic = "SpongeBob.Colors"
    await kit.create({ topic, numPartitions: 1 })
    const { listen, start } = here({ "colors.yaml": config(topic) })
    const listener = await listen("SpongeBob.Colors", "colors.yaml", "--from", "earliest")
    const running = start("colors.yaml")
    const count = () => Program.lines(listener.stdout()).length
    await Kafka.until("events come", () => count() >= 50)
    const broker = kit.cluster.nodes[0]!
    await broker.kill()
    await listener.says(/^trying again until it comes back: /m)
    await broker.start()
    const before = count()
    await Kafka.until("events come again", () => count() >= before + 50, 60)
    running.child.kill("SIGTERM")
    await running.ended
    await sleep(1000)
    listener.child.kill("SIGINT")
    const ended = await listener.ended
    assert.strictEqual(ended.code, 0, ended.stderr)
    const published = await kit.read(topic)
    assert.deepStrictEqual(
      Program.lines(ended.stdout),
      published.map(({ value }) => String(value))
    )
  }, 120_000)
})
