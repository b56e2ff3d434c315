/** The Prefect event handler's own config and messages, on queues of Azurite and a real Prefect server. */
import { randomUUID } from "node:crypto"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { QueueClient } from "@azure/storage-queue"
import { afterAll, assert, beforeAll, describe, it, onTestFinished } from "vitest"
import { Publisher } from "zeromq"
import * as Azurite from "../services/Azurite.ts"
import * as FaultProxy from "../services/FaultProxy.ts"
import * as PrefectApi from "../services/PrefectApi.ts"
import * as PrefectServer from "../services/PrefectServer.ts"
import * as Kafka from "./Kafka.ts"
import * as Program from "./Program.ts"

const theirs = PrefectServer.urlFromEnvironment()
const reason = (await Azurite.available()) ?? (theirs === undefined ? await PrefectServer.available() : undefined)
if (reason !== undefined) console.warn(`tests of the Prefect event handler's config are skipped: ${reason}`)

let azurite: Azurite.Azurite
let server: PrefectServer.PrefectServer | undefined
let api: ReturnType<typeof PrefectApi.make>
let prefectUrl: string
let number = 0

/** The example of the handler's document, for another queue and deployment. */
const example = JSON.parse(readFileSync(join(Program.root, "config/example-config.json"), "utf8"))

const configOf = (queue: string, actions: Readonly<Record<string, string>>, more: object) =>
  JSON.stringify({
    ...example,
    threads: [
      {
        ...example.threads[0],
        storage_account: azurite.account,
        queue_name: queue,
        message_flow_actions: actions,
        ...more
      }
    ]
  })

/** A queue, a typed deployment, and a folder with the config that leads from one to the other. */
const setUp = async (more: object = {}) => {
  const queue = `handler-${process.pid}-${++number}`
  const client = new QueueClient(`DefaultEndpointsProtocol=http;${azurite.connectionString}`, queue)
  await client.createIfNotExists()
  const deployment = await api.typed(`Flow Name ${randomUUID().slice(0, 8)}`, "deployment-name")
  const folder = Program.folder({ "c.json": configOf(queue, { SampleMsg: deployment.name }, more) })
  onTestFinished(folder.remove)
  const depth = async () => (await client.getProperties()).approximateMessagesCount ?? 0
  const send = (message: unknown) => client.sendMessage(typeof message === "string" ? message : JSON.stringify(message))
  return { cwd: folder.path, queue, client, deployment, depth, send }
}

const started = (cwd: string, env: Readonly<Record<string, string>> = {}) => {
  const running = Program.start(cwd, ["c.json"], { env: { ...environment(), ...env } })
  onTestFinished(() => void running.child.kill("SIGKILL"))
  return running
}

const environment = () => ({
  AZURE_STORAGE_CONNECTION_STRING: azurite.connectionString,
  PREFECT_API_URI: prefectUrl,
  PREFECT_API_URL: ""
})

const until = async (what: string, holds: () => Promise<boolean>): Promise<void> => {
  const end = performance.now() + 50_000
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`waited in vain until ${what}`)
    await sleep(100)
  }
}

const stopped = async ({ child, ended }: Program.Running): Promise<Program.Ended> => {
  child.kill("SIGTERM")
  return ended
}

const n = (value: number) => ({ message_type: "SampleMsg", payload: { n: value } })

describe.skipIf(reason !== undefined)("the Prefect event handler's config", { timeout: 90_000 }, () => {
  beforeAll(async () => {
    azurite = await Azurite.start()
    if (theirs === undefined) server = await PrefectServer.start()
    prefectUrl = theirs ?? server!.url
    api = PrefectApi.make(prefectUrl)
  }, 180_000)
  afterAll(async () => {
    await azurite?.stop()
    await server?.close()
  })

  it("makes the flow run of each message, in both generations, with its parameters", async () => {
    const { cwd, deployment, depth, send } = await setUp()
    const bare = await api.deployment(`Bare Flow ${randomUUID().slice(0, 8)}`, "d")
    const [flow, name] = bare.name.split("/") as [string, string]
    await send(n(1))
    await send({ ...n(2), ignored: true })
    await send(Buffer.from(JSON.stringify(n(3))).toString("base64"))
    await send({ flow_name: flow.toUpperCase(), deployment_name: name })
    await send({ flow_name: flow, deployment_name: name, payload: null, message_type: "Unknown" })
    await send({ flow_name: flow, deployment_name: name, payload: { name: "Gordon Bennett" } })
    const running = started(cwd)
    await until("all are gone", async () => (await depth()) === 0)
    const { code, stderr } = await stopped(running)
    assert.strictEqual(code, 0)
    const parameters = async (of: PrefectApi.Deployment) => (await api.runs(of)).map((run) => run.parameters)
    assert.sameDeepMembers([...(await parameters(deployment))], [{ n: 1 }, { n: 2 }, { n: 3 }])
    assert.sameDeepMembers([...(await parameters(bare))], [{}, {}, { name: "Gordon Bennett" }])
    const [one] = await api.runs(deployment)
    assert.include(stderr, `Successfully triggered ${deployment.name}: ${one!.name}`)
    assert.notInclude(stderr, "listening on")
    // What was received and kicked off can be asked for afterwards.
    const journal = await Program.run(cwd, ["journal", "c.json", "--json"], { env: environment() })
    const entries = JSON.parse(journal.stdout) as ReadonlyArray<{ outcome: string; steps: Array<{ note: string }> }>
    assert.strictEqual(entries.length, 6)
    assert.isTrue(entries.some(({ steps }) => steps[0]?.note === `triggered ${deployment.name}: ${one!.name}`))
  })

  it("makes one run of a message whose delete fails, or that Prefect answered 500 first, or after it was made", async () => {
    const { cwd, deployment, depth, send } = await setUp()
    const queues = await FaultProxy.forTest(new URL(azurite.endpoint).origin)
    const prefect = await FaultProxy.forTest(new URL(prefectUrl).origin)
    queues.fail({ method: "DELETE", times: 4, answer: { status: 500 } })
    queues.fail({ method: "DELETE", times: 2, forward: true, answer: "reset" })
    const create = { method: "POST", path: /create_flow_run/ }
    prefect.fail({
      ...create,
      times: 2,
      answer: { status: 500, body: '{"exception_message":"Internal Server Error"}' }
    })
    prefect.fail({ ...create, times: 2, forward: true, answer: { status: 500 } })
    prefect.fail({ ...create, times: 2, forward: true, answer: "reset" })
    for (let i = 1; i <= 6; i++) await send(n(i))
    const running = started(cwd, {
      AZURE_STORAGE_CONNECTION_STRING: Azurite.through(azurite, queues.url),
      PREFECT_API_URI: prefectUrl.replace(new URL(prefectUrl).origin, prefect.url)
    })
    await until("all are gone", async () => (await depth()) === 0)
    await sleep(500)
    assert.strictEqual((await stopped(running)).code, 0)
    const runs = await api.runs(deployment)
    assert.sameDeepMembers(
      runs.map(({ parameters }) => parameters),
      [1, 2, 3, 4, 5, 6].map((value) => ({ n: value }))
    )
  })

  it("makes one run of a message whose process is killed between run and delete", async () => {
    const { cwd, deployment, depth, send } = await setUp({ visibility: "3 seconds" })
    const prefect = await FaultProxy.forTest(new URL(prefectUrl).origin)
    // The run is made, and its answer never comes.
    const made = { method: "POST", path: /create_flow_run/, forward: true, answer: "hang" } as const
    prefect.fail(made)
    await send(n(1))
    const first = started(cwd, { PREFECT_API_URI: prefectUrl.replace(new URL(prefectUrl).origin, prefect.url) })
    await prefect.struck(made)
    first.child.kill("SIGKILL")
    await first.ended
    const queues = await FaultProxy.forTest(new URL(azurite.endpoint).origin)
    const deleting = { method: "DELETE", answer: "hang" } as const
    queues.fail(deleting)
    const second = started(cwd, { AZURE_STORAGE_CONNECTION_STRING: Azurite.through(azurite, queues.url) })
    await queues.struck(deleting)
    second.child.kill("SIGKILL")
    await second.ended
    const third = started(cwd)
    await until("it is gone", async () => (await depth()) === 0)
    assert.strictEqual((await stopped(third)).code, 0)
    assert.strictEqual((await api.runs(deployment)).length, 1)
  })

  it("buries what can never succeed, in words that say why, and works the others", async () => {
    const { client, cwd, deployment, depth, queue, send } = await setUp()
    const bad = [
      "no JSON{",
      JSON.stringify({ message_type: "UnknownMsg", payload: { n: 1 } }),
      JSON.stringify({ flow_name: "No Such Flow", deployment_name: "nowhere" }),
      JSON.stringify({ message_type: "SampleMsg", payload: { n: "text" } }),
      JSON.stringify({ message_type: "SampleMsg", payload: [1] }),
      JSON.stringify({ other: 1 })
    ]
    for (const text of bad) await send(text)
    await send(n(7))
    const running = started(cwd)
    await until("all are gone", async () => (await depth()) === 0)
    assert.strictEqual((await stopped(running)).code, 0)
    assert.deepStrictEqual(
      (await api.runs(deployment)).map(({ parameters }) => parameters),
      [{ n: 7 }]
    )
    const { stdout } = await Program.run(cwd, ["dlq", "ls", "c.json", "--json"], { env: environment() })
    const letters = JSON.parse(stdout) as ReadonlyArray<{ reason: string; attempts: number }>
    assert.strictEqual(letters.length, bad.length)
    for (const words of [
      /^not JSON/,
      /`UnknownMsg`/,
      /`No Such Flow\/nowhere`.*Deployment not found/,
      new RegExp(`^${deployment.name}: .* 409 .*Validation failed for field 'n'`),
      new RegExp(`^${deployment.name}: .* 422 .*Input should be a valid dictionary`),
      /message_type/
    ]) {
      assert.strictEqual(letters.filter(({ reason }) => words.test(reason)).length, 1, `${words}`)
    }
    assert.isTrue(letters.every(({ attempts }) => attempts === 1))
    const poison = new QueueClient(`DefaultEndpointsProtocol=http;${azurite.connectionString}`, `${queue}-poison`)
    const { peekedMessageItems } = await poison.peekMessages({ numberOfMessages: 32 })
    assert.sameMembers(
      peekedMessageItems.map(({ messageText }) => messageText),
      bad
    )
    assert.strictEqual(client.name, queue)
  })

  it("reads its other types of threads side by side: ZeroMQ, with the topic in a frame or before the JSON, and Kafka", async (test) => {
    test.skip(Kafka.reason !== undefined, Kafka.reason)
    const kit = await Kafka.open({ brokers: 1 })
    onTestFinished(kit.close)
    const { deployment } = await setUp()
    const publisher = new Publisher()
    await publisher.bind("tcp://127.0.0.1:*")
    onTestFinished(() => publisher.close())
    const topic = await kit.topic("messages", 2)
    const message_flow_actions = { SampleMsg: deployment.name }
    const threads = [
      { publisher_type: "Zmq", tcp_uri: publisher.lastEndpoint, topic: "flows", message_flow_actions },
      { publisher_type: "Kafka", bootstrap_servers: kit.brokers.join(","), topic, group_id: "g", message_flow_actions }
    ]
    const folder = Program.folder({ "c.json": JSON.stringify({ threads, settings: {} }) })
    onTestFinished(folder.remove)
    const running = started(folder.path)
    await running.says(/Kafka messages.*: started/)
    await kit.send(topic, [{ value: JSON.stringify(n(1)) }, { value: JSON.stringify(n(2)) }])
    // A subscriber gets nothing of what was sent before it came.
    await until("all four runs are made", async () => {
      if (running.stderr().split("Successfully triggered").length <= 3) {
        await publisher.send(["flows", JSON.stringify(n(3))])
        await publisher.send(`flows ${JSON.stringify(n(4))}`)
        await publisher.send(["other", JSON.stringify(n(5))])
      }
      const seen = new Set((await api.runs(deployment)).map(({ parameters }) => parameters.n))
      return [1, 2, 3, 4].every((value) => seen.has(value))
    })
    assert.strictEqual((await stopped(running)).code, 0)
    assert.isFalse((await api.runs(deployment)).some(({ parameters }) => parameters.n === 5))
  })

  it("reads lines from stdin, and exits when they are worked", async () => {
    const { deployment } = await setUp()
    const config = { threads: [{ publisher_type: "StdInput", message_flow_actions: { SampleMsg: deployment.name } }] }
    const folder = Program.folder({ "c.json": JSON.stringify(config) })
    onTestFinished(folder.remove)
    const stdin = [1, 2, 3].map((value) => `${JSON.stringify(n(value))}\n`).join("")
    const { code } = await Program.run(folder.path, ["c.json"], { env: environment(), stdin })
    assert.strictEqual(code, 0)
    assert.strictEqual((await api.runs(deployment)).length, 3)
  })
})
