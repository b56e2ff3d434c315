/** A gateway with keys, as a program: who is let in, what the log says of registrations, and what an open one needs. */
import { assert, describe, it, onTestFinished } from "vitest"
import * as Program from "./Program.ts"

const config = (access: string, http = "{ port: 0 }") => `
http: ${http}
pipelines:
  gateway:
    source: { type: gateway${access} }
    publish: [{ type: topic }]
`

const folderOf = (text: string) => {
  const folder = Program.folder({ "c.yaml": text })
  onTestFinished(folder.remove)
  return folder.path
}

const keyFor = async (cwd: string, ...args: ReadonlyArray<string>): Promise<string> => {
  const { code, stdout } = await Program.run(cwd, ["key", "add", "gw.keys", ...args])
  assert.strictEqual(code, 0)
  return stdout.match(/slk_\S+/)![0]
}

describe("the gateway's access", { timeout: 60_000 }, () => {
  it("lets each client do what its key may do, and nothing else", async () => {
    const cwd = folderOf(config(", access: { keys: ./gw.keys }, rate: { perSecond: 0.01, burst: 3 }"))
    const whole = await keyFor(cwd, "shop")
    const reader = await keyFor(cwd, "shop", "--scope", "read")
    const other = await keyFor(cwd, "other")
    const { address, child, ended } = await Program.serve(cwd, "c.yaml")
    onTestFinished(() => void child.kill("SIGKILL"))
    const ask = (path: string, body?: unknown, key?: string, more: Readonly<Record<string, string>> = {}) =>
      fetch(`${address}${path}`, {
        method: body === undefined ? "GET" : "POST",
        headers: { "content-type": "application/json", ...(key === undefined ? {} : { "x-api-key": key }), ...more },
        ...(body === undefined ? {} : { body: JSON.stringify(body) })
      })
    const statusOf = async (...asked: Parameters<typeof ask>) => (await ask(...asked)).status
    const schema = { event_schema: { type: "object", required: ["fruit"] } }
    const nobody = await ask("/shop/Fruits/register_event", schema)
    assert.deepStrictEqual([nobody.status, nobody.headers.has("www-authenticate")], [401, true])
    assert.include(await nobody.text(), '"code":"FAILED"')
    assert.strictEqual(await statusOf("/shop/Fruits/register_event", schema, other), 403)
    assert.strictEqual(await statusOf("/shop/Fruits/register_event", schema, reader), 403)
    assert.strictEqual(await statusOf("/shop/Fruits/register_event", schema, whole), 200)
    assert.strictEqual(await statusOf("/shop/list_events", undefined, reader), 200)
    const event = { specversion: "1.0", id: "1", source: "test", type: "shop.Fruits", data: { fruit: "kiwi" } }
    const cloud = { "content-type": "application/cloudevents-batch+json" }
    // A batch is for all clients it names, or for none.
    const mixed = [event, { ...event, type: "other.Fruits" }]
    assert.strictEqual(await statusOf("/api/v1/cloudevents", mixed, other, cloud), 403)
    assert.strictEqual(await statusOf("/api/v1/cloudevents", [event], undefined, cloud), 401)
    assert.strictEqual(await statusOf("/api/v1/cloudevents", "nothing", undefined, cloud), 401)
    assert.strictEqual(await statusOf("/api/v1/cloudevents", [event], whole, cloud), 200)
    // What names no client is told what it is, and not that it is another's.
    assert.strictEqual(await statusOf("/api/v1/cloudevents", [], other, cloud), 200)
    assert.strictEqual(await statusOf("/api/v1/cloudevents", [{ ...event, time: "now" }], other, cloud), 400)
    const late = await ask("/api/v1/clients/shop/events/Fruits", { fruit: "fig" }, whole)
    assert.deepStrictEqual([late.status, late.headers.has("retry-after")], [429, true])
    assert.strictEqual(((await late.json()) as { code: string }).code, "too-many-requests")
    child.kill("SIGTERM")
    const { stderr } = await ended
    assert.match(stderr, /registration of shop\/Fruits: denied, by nobody known/)
    assert.match(stderr, /registration of shop\/Fruits: registered, by key /)
    for (const key of [whole, reader, other]) assert.notInclude(stderr, key.split("_").slice(2).join("_"))
  })

  it("is open to everybody only on loopback, or where the config says so in a word", async () => {
    const check = async (access: string, host: string) => {
      const cwd = folderOf(config(access, `{ port: 0, host: ${host} }`))
      const { code, stderr, stdout } = await Program.run(cwd, ["check", "c.yaml"])
      return { code, said: stdout + stderr }
    }
    assert.strictEqual((await check("", "127.0.0.1")).code, 0)
    const open = await check("", "0.0.0.0")
    assert.strictEqual(open.code, 2)
    assert.match(
      open.said,
      /gateway\.source\.access: expected keys or jwt, since others can reach 0\.0\.0\.0; or open: true/
    )
    assert.strictEqual((await check(", access: { open: true }", "0.0.0.0")).code, 0)
  })
})
