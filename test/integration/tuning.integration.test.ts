/** A process that is slowed down, held and let go while it runs: over its HTTP and by the command line. */
import { assert, describe, it } from "vitest"
import * as Program from "./Program.ts"

const config = (http: string) => `http: ${http}
pipelines:
  orders:
    source: { type: generate, count: 2000, payload: { n: "{{n}}" } }
    rate: { messages: 5, per: 1 hour }
    publish: [{ type: none, name: nowhere }]
`

interface Shown {
  readonly state: string
  readonly acked: number
  readonly waiting: boolean
}

describe("a process that is tuned", () => {
  it("goes as fast as it is told to, also after its config, and keeps the rest waiting", async () => {
    const { path, started } = Program.forTest({
      "orders.yaml": config("{ port: 0, admin: true }"),
      "closed.yaml": config("{ port: 0 }")
    })
    const running = await Program.serve(path, "orders.yaml")
    started.push(running)
    const shown = async (): Promise<Shown> => {
      const answer = await fetch(`${running.address}/api/v1/pipelines/orders`)
      assert.strictEqual(answer.status, 200)
      return (await answer.json()) as Shown
    }
    const until = async (holds: (one: Shown) => boolean): Promise<Shown> => {
      for (;;) {
        const one = await shown()
        if (holds(one)) return one
        await new Promise((wake) => setTimeout(wake, 20))
      }
    }
    assert.deepInclude(await until(({ acked }) => acked >= 5), { acked: 5, waiting: true, state: "running" })
    const tune = (...args: ReadonlyArray<string>) =>
      Program.run(path, ["tune", "orders.yaml", "orders", ...args, "--url", running.address])
    const raised = await tune("--rate", "300/1h", "--concurrency", "8")
    assert.strictEqual(raised.code, 0, raised.stderr)
    assert.match(raised.stdout, /working \d+ of 8 {2}rate 300 per 3600000 millis\n$/)
    assert.strictEqual((await until(({ acked }) => acked >= 300)).acked, 300)

    assert.strictEqual((await tune("--pause", "--rate", "none")).code, 0)
    assert.deepInclude(await shown(), { acked: 300, state: "paused" })
    const listed = await Program.run(path, ["pipelines", "orders.yaml", "--url", running.address])
    assert.match(listed.stdout, /^orders {2}paused {2}acked 300, .* no rate\n$/)
    assert.strictEqual((await tune("--resume")).code, 0)
    const ended = await running.ended
    assert.strictEqual(ended.code, 0)
    assert.include(ended.stderr, "received 2000, acked 2000")
    assert.include(ended.stderr, "orders: tuned: no rate, paused")
  })

  it("shows nothing unless its config says so", async () => {
    const { path, started } = Program.forTest({ "closed.yaml": config("{ port: 0 }") })
    const running = await Program.serve(path, "closed.yaml")
    started.push(running)
    assert.strictEqual((await fetch(`${running.address}/api/v1/pipelines`)).status, 404)
    const refused = await Program.run(path, ["pipelines", "closed.yaml"])
    assert.strictEqual(refused.code, 2)
    assert.include(refused.stderr, "so its process cannot be asked")
    // It does not wait for its rate when it is stopped.
    running.child.kill("SIGTERM")
    const { code, stderr } = await running.ended
    assert.strictEqual(code, 0)
    assert.match(stderr, /acked 5, .*given back/)
  })
})
