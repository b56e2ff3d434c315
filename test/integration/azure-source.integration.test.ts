/** The built program on queues of Azurite: what happens to a message whose delete fails, whose process dies, or that is buried. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { setTimeout as sleep } from "node:timers/promises"
import { QueueClient } from "@azure/storage-queue"
import { afterAll, assert, beforeAll, describe, it, onTestFinished } from "vitest"
import { bodyOf } from "../layers/Servers.ts"
import * as Azurite from "../services/Azurite.ts"
import * as FaultProxy from "../services/FaultProxy.ts"
import * as Program from "./Program.ts"

const reason = await Azurite.available()
if (reason !== undefined) console.warn(`tests with Azurite are skipped: ${reason}`)

let azurite: Azurite.Azurite
let number = 0

/** What the SDK wants spelled out. */
const whole = (connectionString: string) => `DefaultEndpointsProtocol=http;${connectionString}`

const queueOf = async (name = `source-${process.pid}-${++number}`) => {
  const queue = new QueueClient(whole(azurite.connectionString), name)
  await queue.createIfNotExists()
  return queue
}

type Handle = (body: string, outgoing: ServerResponse) => void

/** An endpoint that notes what it is asked. */
const endpoint = async (handle: Handle = (_, outgoing) => void outgoing.end("{}")) => {
  const asked: Array<string> = []
  const server = createServer((incoming: IncomingMessage, outgoing) => {
    bodyOf(incoming).then((body) => {
      if (incoming.method === "HEAD") return void outgoing.end()
      asked.push(body)
      handle(body, outgoing)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  onTestFinished(() => {
    server.close()
    server.closeAllConnections()
  })
  return { asked, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/` }
}

const config = (queue: QueueClient, url: string, more = "") => `
pipelines:
  orders:
    source: { type: azure-queue, connectionString: "\${ACCOUNT}", queue: ${queue.name}, visibility: 2 seconds${more} }
    dispatch: [{ type: http, url: "${url}" }]
    retry: { attempts: 2, backoff: 50 millis }
`

const started = (cwd: string, connectionString = azurite.connectionString) => {
  const running = Program.start(cwd, ["c.yaml"], { env: { ACCOUNT: connectionString } })
  onTestFinished(() => void running.child.kill("SIGKILL"))
  return running
}

const folderOf = (text: string) => {
  const folder = Program.folder({ "c.yaml": text })
  onTestFinished(folder.remove)
  return folder.path
}

const until = async (what: string, holds: () => boolean | Promise<boolean>): Promise<void> => {
  const end = performance.now() + 20_000
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`waited in vain until ${what}`)
    await sleep(50)
  }
}

const depth = async (queue: QueueClient): Promise<number> => (await queue.getProperties()).approximateMessagesCount ?? 0

const letters = async (cwd: string): Promise<ReadonlyArray<{ readonly reason: string }>> => {
  const { stdout } = await Program.run(cwd, ["dlq", "ls", "c.yaml", "--json"], {
    env: { ACCOUNT: azurite.connectionString }
  })
  return JSON.parse(stdout)
}

describe.skipIf(reason !== undefined)("the program on Azure queues", { timeout: 60_000 }, () => {
  beforeAll(async () => {
    azurite = await Azurite.start()
  }, 60_000)
  afterAll(() => azurite?.stop())

  it("works each message once when deletes fail, and deletes it later", async () => {
    const queue = await queueOf()
    const proxy = await FaultProxy.forTest(new URL(azurite.endpoint).origin)
    const through = Azurite.through(azurite, proxy.url)
    const { asked, url } = await endpoint()
    for (let i = 0; i < 5; i++) await queue.sendMessage(`{"n":${i}}`)
    // Some are refused, some done without an answer, some reset: longer than the messages are lent.
    proxy.fail({ method: "DELETE", times: 20, answer: { status: 500 } })
    proxy.fail({ method: "DELETE", times: 5, forward: true, answer: "reset" })
    const running = started(folderOf(config(queue, url)), through)
    await until("all are gone", async () => asked.length >= 5 && (await depth(queue)) === 0)
    await sleep(2_500)
    running.child.kill("SIGTERM")
    assert.strictEqual((await running.ended).code, 0)
    assert.sameMembers(asked, ['{"n":0}', '{"n":1}', '{"n":2}', '{"n":3}', '{"n":4}'])
  })

  it("does not run again what was done when the process was killed before the delete", async () => {
    const queue = await queueOf()
    const proxy = await FaultProxy.forTest(new URL(azurite.endpoint).origin)
    const through = Azurite.through(azurite, proxy.url)
    const { asked, url } = await endpoint()
    await queue.sendMessage('{"n":1}')
    const fault = { method: "DELETE", answer: "hang" } as const
    proxy.fail(fault)
    const cwd = folderOf(config(queue, url))
    const first = started(cwd, through)
    await proxy.struck(fault)
    first.child.kill("SIGKILL")
    await first.ended
    assert.strictEqual(await depth(queue), 1)
    const second = started(cwd)
    await until("it is gone", async () => (await depth(queue)) === 0)
    second.child.kill("SIGTERM")
    assert.match((await second.ended).stderr, /duplicates 1/)
    assert.deepStrictEqual(asked, ['{"n":1}'])
  })

  it("buries bad ones into the poison queue as they came, says why, and works the others", async () => {
    const queue = await queueOf()
    const { asked, url } = await endpoint((body, outgoing) => {
      outgoing.statusCode = body.includes("bad") ? 422 : 200
      outgoing.end(body.includes("bad") ? "no such customer" : "{}")
    })
    const encoded = Buffer.from('{"bad":1}').toString("base64")
    for (const text of ["no JSON", '{"good":1}', encoded, '{"good":2}']) await queue.sendMessage(text)
    const cwd = folderOf(config(queue, url))
    const running = started(cwd)
    await until("all are gone", async () => (await depth(queue)) === 0 && asked.length >= 3)
    running.child.kill("SIGTERM")
    assert.strictEqual((await running.ended).code, 0)
    assert.sameMembers(asked, ['{"good":1}', '{"bad":1}', '{"good":2}'])
    const poison = await queueOf(`${queue.name}-poison`)
    const { peekedMessageItems } = await poison.peekMessages({ numberOfMessages: 32 })
    assert.sameMembers(
      peekedMessageItems.map(({ messageText }) => messageText),
      ["no JSON", encoded]
    )
    const reasons = (await letters(cwd)).map(({ reason }) => reason)
    assert.isTrue(reasons.some((one) => /^not JSON/.test(one)))
    assert.isTrue(reasons.some((one) => /answered 422 .*: no such customer/.test(one)))
  })

  it("keeps what takes longer than it is lent, and gives it back when it is stopped", async () => {
    const queue = await queueOf()
    const { asked, url } = await endpoint((body, outgoing) => {
      setTimeout(() => outgoing.end("{}"), body.includes("long") ? 60_000 : 5_000)
    })
    await queue.sendMessage('{"slow":1}')
    const cwd = folderOf(`drain: 1 second\n${config(queue, url)}`)
    const running = started(cwd)
    await until("it is gone", async () => asked.length > 0 && (await depth(queue)) === 0)
    assert.strictEqual(asked.length, 1)
    await queue.sendMessage('{"long":1}')
    await until("it is begun", () => asked.length === 2)
    running.child.kill("SIGTERM")
    const { code, stderr } = await running.ended
    assert.strictEqual(code, 0)
    assert.match(stderr, /given back 1/)
    await sleep(1_500)
    const { receivedMessageItems } = await queue.receiveMessages()
    assert.strictEqual(receivedMessageItems[0]?.messageText, '{"long":1}')
  })

  it("shows the account's key nowhere", async () => {
    const queue = await queueOf()
    const cwd = folderOf(config(queue, "http://127.0.0.1:9/"))
    const wrong = azurite.connectionString.replace(azurite.key, Buffer.from("another key").toString("base64"))
    const running = started(cwd, wrong)
    await running.says(/AuthorizationFailure|AuthenticationFailed|signature/i)
    running.child.kill("SIGTERM")
    const { stderr, stdout } = await running.ended
    for (const secret of [Buffer.from("another key").toString("base64"), azurite.key]) {
      assert.notInclude(stderr + stdout, secret)
    }
  })
})
