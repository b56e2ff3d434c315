/** The EventRelay story as its users run it, against a server of gRPC and mutual TLS: batches, kills, cuts, restarts, keys. */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { afterAll, assert, beforeAll, describe, it, onTestFinished } from "vitest"
import * as EventRelay from "../services/EventRelay.ts"
import * as Certificates from "../services/EventRelayCertificates.ts"
import * as Kafka from "./Kafka.ts"
import * as Program from "./Program.ts"

const reason = await Certificates.available()
if (reason !== undefined) console.warn(`tests with EventRelay over TLS are skipped: ${reason}`)

const story = readFileSync(join(Program.root, "config/eventrelay.yaml"), "utf8")

describe.skipIf(reason !== undefined)("config/eventrelay.yaml", () => {
  let certificates: Certificates.Certificates
  beforeAll(async () => {
    certificates = await Certificates.make()
  })
  afterAll(() => certificates?.remove())

  /** A server of its own, a destination, and the program with the story's config and what it is told by its environment. */
  const setting = async (url: string, edit: (text: string) => string = (text) => text, cut = false) => {
    const relay = await EventRelay.start({
      tls: { ca: certificates.ca, cert: certificates.server.cert, key: certificates.server.key }
    })
    onTestFinished(() => relay.close())
    await relay.do("createTopic", "users")
    const destination = await relay.do<string>("createDestination", { topic: "users" })
    const key = await relay.do<{ readonly id: string; readonly token: string }>("createKey", {
      type: "consumer",
      destinations: [destination]
    })
    const between = cut ? await EventRelay.cutter(relay) : undefined
    if (between !== undefined) onTestFinished(() => between.close())
    const env = {
      PORT: "0",
      BATCH_URL: url,
      EVENTRELAY_HOST: "localhost",
      EVENTRELAY_PORT: `${(between ?? relay).port}`,
      EVENTRELAY_DESTINATION: destination,
      EVENTRELAY_TOKEN: key.token,
      EVENTRELAY_CA: certificates.caFile,
      EVENTRELAY_CERT: certificates.client.certFile,
      EVENTRELAY_KEY: certificates.client.keyFile,
      EVENTRELAY_PULL: "200 millis"
    }
    const program = Kafka.sluice(edit(story), { env })
    const put = (from: number, count: number) =>
      relay.do<ReadonlyArray<string>>(
        "put",
        "users",
        Array.from({ length: count }, (_, i) => ({
          name: "user.created",
          data: { n: from + i },
          source: "test",
          group_key: `g${(from + i) % 50}`
        }))
      )
    const out = () => relay.do<ReadonlyArray<string>>("out", destination)
    const secrets = [key.token, certificates.client.key]
    return { relay, destination, key, between, env, program, put, out, secrets }
  }
  /** The numbers of an array that was posted. */
  const numbersOf = ({ body }: Kafka.Call): ReadonlyArray<number> =>
    (JSON.parse(String(body)) as ReadonlyArray<{ readonly n: number }>).map(({ n }) => n)
  const handled = (calls: ReadonlyArray<Kafka.Call>): ReadonlyArray<number> =>
    [...new Set(calls.filter(({ answered }) => answered !== undefined).flatMap(numbersOf))].sort((a, b) => a - b)
  const numbers = (count: number): ReadonlyArray<number> => Array.from({ length: count }, (_, i) => i)

  it("posts the data of events in arrays of ten or what came within two seconds, and a buried batch again in arrays", async () => {
    let isRefusing = false
    const endpoint = await Kafka.endpoint(() => (isRefusing ? { status: 422, body: '{"error":"no"}' } : {}))
    const { program, put, secrets } = await setting(endpoint.url)
    await put(0, 25)
    const running = program.start()
    await Kafka.until("all are posted", () => handled(endpoint.calls).length === 25)
    assert.deepStrictEqual(handled(endpoint.calls), numbers(25))
    assert.deepStrictEqual(endpoint.calls.map((call) => numbersOf(call).length).sort(), [10, 10, 5])
    isRefusing = true
    await put(25, 20)
    await Kafka.until("all are refused", async () => (await program.dlq("ls")).length === 20)
    isRefusing = false
    endpoint.calls.length = 0
    const replayed: ReadonlyArray<{ readonly outcome: string }> = await program.dlq("replay")
    assert.deepStrictEqual(new Set(replayed.map(({ outcome }) => outcome)), new Set(["acked"]))
    assert.deepStrictEqual(
      endpoint.calls.map((call) => numbersOf(call).length),
      [10, 10]
    )
    assert.deepStrictEqual(handled(endpoint.calls), numbers(45).slice(25))
    const ended = await running.stop("SIGINT")
    assert.strictEqual(ended.code, 0, ended.stderr)
    assert.match(ended.stderr, /received 65, acked 45, buried 20, given back 0/)
    for (const secret of secrets) assert.notInclude(ended.stderr, secret)
  })

  it("loses nothing when it is killed in the middle, several times", async () => {
    const endpoint = await Kafka.endpoint(async () => {
      await sleep(20 + Math.random() * 60)
      return {}
    })
    const { program, put } = await setting(endpoint.url, (text) => text.replace("age: 2 seconds", "age: 50 millis"))
    await put(0, 600)
    for (let kill = 1; kill <= 3; kill++) {
      const running = program.start()
      await Kafka.until("some are done", () => handled(endpoint.calls).length >= kill * 120)
      running.child.kill("SIGKILL")
      await running.ended
    }
    const running = program.start()
    await Kafka.until("all are done", () => handled(endpoint.calls).length === 600, 60)
    const ended = await running.stop()
    assert.strictEqual(ended.code, 0, ended.stderr)
    assert.deepStrictEqual(await program.dlq("ls"), [])
  })

  it("unlocks what it has not begun when it is stopped, for whoever comes next", async () => {
    let isSlow = true
    const endpoint = await Kafka.endpoint(async () => {
      if (isSlow) await sleep(1000)
      return {}
    })
    const { out, program, put } = await setting(endpoint.url, (text) => `drain: 1 second\n${text}`)
    await put(0, 500)
    const first = program.start()
    await Kafka.until("some are done", () => handled(endpoint.calls).length >= 100)
    const ended = await first.stop()
    assert.strictEqual(ended.code, 0, ended.stderr)
    const done = handled(endpoint.calls)
    assert.isBelow(done.length, 500)
    // The server keeps those locked that were delivered, and no others.
    assert.strictEqual((await out()).length, done.length)
    isSlow = false
    const elsewhere = Kafka.sluice(story, { env: program.env })
    const second = elsewhere.start()
    await Kafka.until("all are done", () => handled(endpoint.calls).length === 500)
    assert.strictEqual((await second.stop()).code, 0)
  })

  for (const how of ["UNIMPLEMENTED", "PERMISSION_DENIED"] as const) {
    it(`handles or buries all it has received where unlocking is ${how}`, async () => {
      const endpoint = await Kafka.endpoint(async () => {
        await sleep(1500)
        return {}
      })
      const { out, program, put, relay } = await setting(endpoint.url, (text) => `drain: 2 seconds\n${text}`)
      await relay.do("setUnlock", how)
      await put(0, 500)
      const running = program.start()
      await Kafka.until("some are done", () => handled(endpoint.calls).length >= 100)
      const ended = await running.stop()
      assert.strictEqual(ended.code, 0, ended.stderr)
      const letters: ReadonlyArray<{ readonly reason: string }> = await program.dlq("ls")
      const done = handled(endpoint.calls).length
      assert.isAbove(letters.length, 0)
      assert.strictEqual(done + letters.length, (await out()).length)
      for (const { reason } of letters) assert.match(reason, /shutdown/)
    })
  }

  it("goes on after cuts in the middle of a reply and a server that was away, with what it has received", async () => {
    const endpoint = await Kafka.endpoint(() => ({}))
    const { between, out, program, put, relay } = await setting(endpoint.url, undefined, true)
    const running = program.start()
    await put(0, 50)
    await Kafka.until("the first are done", () => handled(endpoint.calls).length === 50)
    const struck = between!.cutReplyAfter(2_000)
    await put(50, 200)
    await struck
    await sleep(300)
    // What was locked for a reply that never arrived stays with the server: nobody here knows its ids.
    const lost = (await out()).length - handled(endpoint.calls).length
    await relay.do("stop")
    await running.says(/outage: /)
    await relay.do("start")
    await put(250, 50)
    await Kafka.until("the last are done", () => handled(endpoint.calls).includes(299), 60)
    const ended = await running.stop()
    assert.strictEqual(ended.code, 0, ended.stderr)
    assert.strictEqual((await out()).length, handled(endpoint.calls).length + lost)
  })

  it("says what is wrong with a token, a certificate and a destination, and ends; a revoked key is waited out", async () => {
    const endpoint = await Kafka.endpoint(() => ({}))
    const { env, key, program, put, relay } = await setting(endpoint.url)
    const wrong = async (changed: Readonly<Record<string, string>>) => {
      const running = Kafka.sluice(`restarts: { max: 1, within: 1 minute }\n${story}`, {
        env: { ...env, ...changed }
      }).start()
      const ended = await running.ended
      assert.strictEqual(ended.code, 1, ended.stderr)
      return ended.stderr
    }
    const token = Buffer.from("nobody:knows").toString("base64")
    const stranger = await wrong({ EVENTRELAY_TOKEN: token })
    assert.match(stranger, /Invalid credentials/)
    assert.notInclude(stranger, token)
    // Of an id it does not know the server says no more than that something went wrong, so it may pass.
    const unknown = Kafka.sluice(story, { env: { ...env, EVENTRELAY_DESTINATION: crypto.randomUUID() } }).start()
    await unknown.says(/outage: /)
    assert.strictEqual((await unknown.stop()).code, 0)
    const { certFile, keyFile } = certificates.clientExpired
    const expired = { EVENTRELAY_CERT: certFile, EVENTRELAY_KEY: keyFile }
    assert.match(await wrong(expired), /certificate/i)

    const running = program.start()
    await put(0, 10)
    await Kafka.until("all are done", () => handled(endpoint.calls).length === 10)
    await relay.do("revokeKey", key.id)
    await running.says(/Invalid credentials/)
    const ended = await running.stop()
    assert.strictEqual(ended.code, 0, ended.stderr)
  })
})
