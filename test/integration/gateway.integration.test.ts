/** The gateway as a program: kill -9 and stops under load, and what its clients were told. */
import { DatabaseSync } from "node:sqlite"
import { assert, describe, it } from "vitest"
import * as Program from "./Program.ts"

const config = `
http: { port: 0 }
storage: { sqlite: work.db }
pipelines:
  gateway:
    source: { type: gateway }
    publish: [{ type: topic }]
`

const post = async (url: string, body: string, headers: Readonly<Record<string, string>> = {}) => {
  const answer = await fetch(url, { method: "POST", body, headers: { "content-type": "application/json", ...headers } })
  return { status: answer.status, text: await answer.text() }
}

/** The numbers that lie in the topic of the event, as the store has them on disk. */
const stored = (folder: string): ReadonlyArray<number> => {
  const database = new DatabaseSync(`${folder}/work.db`, { readOnly: true, timeout: 5000 })
  try {
    const rows = database
      .prepare(
        "SELECT value FROM topic_records r JOIN topics t ON t.id = r.topic WHERE t.name = 'shop.order' ORDER BY record"
      )
      .all() as unknown as ReadonlyArray<{ readonly value: Uint8Array }>
    return rows.map(({ value }) => (JSON.parse(new TextDecoder().decode(value)) as { readonly n: number }).n)
  } finally {
    database.close()
  }
}

/** Sends from several clients without pause until the program is gone; gives the numbers that were answered well. */
const load = (address: string, from: number) => {
  const confirmed: Array<number> = []
  let next = from
  const client = async (): Promise<void> => {
    for (;;) {
      const n = next++
      const url = n % 2 === 0 ? `${address}/shop/order/send_event` : `${address}/api/v1/clients/shop/events/order`
      const body = n % 2 === 0 ? `{"event":{"n":${n}}}` : `{"n":${n}}`
      const answer = await post(url, body).catch(() => undefined)
      if (answer === undefined || answer.status === 503) return
      assert.strictEqual(answer.status, 200, answer.text)
      confirmed.push(n)
    }
  }
  return { confirmed, sent: () => next, ended: Promise.all(Array.from({ length: 32 }, client)) }
}

describe("the gateway as a program", () => {
  it("has every event it answered with success in the stream, through ten kills", { timeout: 120_000 }, async () => {
    const folder = Program.folder({ "gateway.yaml": config })
    const confirmed: Array<number> = []
    let from = 0
    for (let kill = 1; kill <= 10; kill++) {
      const { address, child, ended } = await Program.serve(folder.path, "gateway.yaml")
      if (kill === 1) {
        const registered = await post(`${address}/shop/order/register_event`, '{"event_schema":{"required":["n"]}}')
        assert.strictEqual(registered.status, 200, registered.text)
      }
      const loading = load(address, from)
      while (loading.confirmed.length < 100 * kill) await new Promise((look) => setTimeout(look, 5))
      child.kill("SIGKILL")
      assert.strictEqual((await ended).signal, "SIGKILL")
      await loading.ended
      confirmed.push(...loading.confirmed)
      from = loading.sent()
      const there = new Set(stored(folder.path))
      assert.deepStrictEqual(
        confirmed.filter((n) => !there.has(n)),
        [],
        `kill ${kill}`
      )
    }
    const all = stored(folder.path)
    assert.strictEqual(new Set(all).size, all.length, "nothing was sent twice, so nothing is there twice")
    folder.remove()
  })

  it("publishes once what its client sends again under its key after a kill", { timeout: 60_000 }, async () => {
    const folder = Program.folder({ "gateway.yaml": config })
    const first = await Program.serve(folder.path, "gateway.yaml")
    await post(`${first.address}/shop/order/register_event`, '{"event_schema":{"required":["n"]}}')
    const send = (address: string) =>
      post(`${address}/api/v1/clients/shop/events/order`, '{"n":7}', { "idempotency-key": "seven" })
    const answer = await send(first.address)
    first.child.kill("SIGKILL")
    await first.ended
    const second = await Program.serve(folder.path, "gateway.yaml")
    assert.deepStrictEqual(await send(second.address), answer)
    second.child.kill("SIGTERM")
    assert.strictEqual((await second.ended).code, 0)
    assert.deepStrictEqual(stored(folder.path), [7])
    folder.remove()
  })

  it("answers what is open when it is stopped under load, and ends with 0", { timeout: 60_000 }, async () => {
    const folder = Program.folder({ "gateway.yaml": config })
    const { address, child, ended } = await Program.serve(folder.path, "gateway.yaml")
    await post(`${address}/shop/order/register_event`, '{"event_schema":{"required":["n"]}}')
    const loading = load(address, 0)
    while (loading.confirmed.length < 500) await new Promise((look) => setTimeout(look, 5))
    child.kill("SIGTERM")
    await loading.ended
    const { code, stderr } = await ended
    assert.strictEqual(code, 0, stderr)
    assert.deepStrictEqual(
      [...stored(folder.path)].sort((a, b) => a - b),
      [...loading.confirmed].sort((a, b) => a - b)
    )
    folder.remove()
  })
})
