/** What became of one message, as its users ask: by the command line and over HTTP, of a stopped and of a running process. */
import { afterAll, assert, describe, it } from "vitest"
import * as Program from "./Program.ts"

const config = (http: string) => `http: ${http}
pipelines:
  orders:
    source: { type: http, path: /orders }
    journal: true
    detect:
      - { event: order.paid, when: { payload.status: paid } }
      - { event: order.big, when: { payload.amount: { gt: 500 } } }
    dispatch: [{ type: jobs, module: jobs.mjs, name: work }]
    publish: [{ type: none, name: nowhere }]
`

const jobs = `export const run = ({ payload }) => {
  if (payload.refuse !== undefined) throw Object.assign(new Error(payload.refuse), { retryable: false })
}
`

describe("sluice explain", () => {
  const folder = Program.folder({
    "orders.yaml": `storage: { sqlite: .sluice/sluice.db }\n${config("{ port: 0 }")}`,
    "told.yaml": config("{ port: 0, host: 0.0.0.0, explain: true }"),
    "public.yaml": config("{ port: 0, host: 0.0.0.0 }"),
    "secret.yaml": config("{ port: 0 }")
      .replace("/orders }", "/orders }\n    retry: { attempts: ${TRIES:-2} }")
      .replace("name: nowhere", "name: ${WHERE}"),
    "elsewhere.yaml": `storage: { sqlite: "${"${STORE}"}/sluice.db" }\n${config("{ port: 0 }")}`,
    "number.yaml": config("{ port: ${PORT} }"),
    "jobs.mjs": jobs
  })
  afterAll(folder.remove)
  const explain = (...args: ReadonlyArray<string>) => Program.run(folder.path, ["explain", ...args])

  it("tells what was found, why the rest was not, what ran and what was published", async () => {
    const running = await Program.serve(folder.path, "orders.yaml")
    const post = (id: string, message: object) =>
      fetch(`${running.address}/orders`, {
        method: "POST",
        headers: { "idempotency-key": id },
        body: JSON.stringify(message)
      })
    await post("paid", { status: "paid", amount: 3 })
    await post("open", { status: "open" })
    await post("bad/id\u001b[2J", { status: "paid", refuse: "out of stock" }).catch(() => {})
    await post("refused", { status: "paid", refuse: "out of stock" })

    const paid = await explain("orders.yaml", "paid")
    assert.strictEqual(paid.code, 0, paid.stderr)
    const [head, ...lines] = Program.lines(paid.stdout)
    assert.match(head!, /^paid {2}orders \(from http:\/orders\) {2}acked at \d{4}-.+, after \d+ ms$/)
    assert.deepStrictEqual(
      lines.map((line) => line.replace(/in \d+ ms/, "in 1 ms")),
      [
        "  yes   order.paid",
        "  no    order.big: payload.amount is 3, not gt 500",
        "  order.paid > work accepted in 1 ms",
        "    done   run in 1 ms",
        "  order.paid > nowhere published"
      ]
    )
    // The variables of the process that runs are of no use here, but for the store's place.
    const unset = await explain("secret.yaml", "paid")
    assert.strictEqual(unset.stdout, paid.stdout)
    const journal = await Program.run(folder.path, ["journal", "secret.yaml", "--id", "paid"])
    assert.strictEqual(journal.code, 0, journal.stderr)
    for (const [file, name] of [
      ["elsewhere.yaml", "STORE"],
      ["number.yaml", "PORT"]
    ]) {
      const refused = await explain(file!, "paid")
      assert.strictEqual(refused.code, 2)
      assert.include(refused.stderr, `the environment variable ${name} is not set`)
    }
    const open = await explain("orders.yaml", "open")
    assert.match(Program.lines(open.stdout)[0]!, / acked at .+: nothing detected$/)
    assert.include(open.stdout, '  no    order.paid: payload.status is "open", not "paid"\n')
    const refused = await explain("orders.yaml", "refused")
    assert.include(refused.stdout, "job run failed: out of stock")

    const read = await fetch(`${running.address}/api/v1/explain/paid`)
    const entries = (await read.json()) as ReadonlyArray<{ readonly detected: ReadonlyArray<object> }>
    assert.strictEqual(read.status, 200)
    assert.deepStrictEqual(entries, JSON.parse((await explain("orders.yaml", "paid", "--json")).stdout))
    assert.deepStrictEqual(entries[0]!.detected[0], { event: "order.paid", verdict: "yes", why: null })
    assert.strictEqual((await fetch(`${running.address}/api/v1/explain/nobody`)).status, 404)
    running.child.kill("SIGTERM")
    await running.ended

    // Without a config it is the store of the folder.
    assert.strictEqual((await explain("paid")).stdout, paid.stdout)
    const unknown = await explain("orders.yaml", "nobody\u001b[2J")
    assert.deepStrictEqual(
      [unknown.code, unknown.stdout, unknown.stderr],
      [1, "", "nothing is known of nobody\\u001b[2J: the journal has no such id\n"]
    )
  })

  it("says where there is no store, and shows nothing to others unless it is told to", async () => {
    const empty = Program.folder({})
    const nothing = await Program.run(empty.path, ["explain", "paid"])
    empty.remove()
    assert.strictEqual(nothing.code, 2)
    assert.strictEqual(nothing.stderr, "there is no .sluice/sluice.db here: name the config, then the id\n")
    for (const [file, status] of [
      ["public.yaml", 404],
      ["told.yaml", 200]
    ] as const) {
      const running = await Program.serve(folder.path, file)
      const address = running.address.replace("0.0.0.0", "127.0.0.1")
      assert.strictEqual((await fetch(`${address}/api/v1/explain/paid`)).status, status)
      running.child.kill("SIGTERM")
      await running.ended
    }
  })
})
