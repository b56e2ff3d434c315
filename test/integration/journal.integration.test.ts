/** The journal as its users read it: of a stopped process, of a running one, and of a config that keeps none. */
import { afterAll, assert, describe, it } from "vitest"
import * as Program from "./Program.ts"

const config = (source: string, journal = "true") => `http: { port: 0 }
pipelines:
  orders:
    source: ${source}
    journal: ${journal}
    detect:
      - { event: order.paid, when: { payload.status: paid } }
      - { event: "order\\e[31m.odd", when: { payload.odd: { exists: true } } }
    dispatch: [{ type: jobs, module: jobs.mjs, name: work }]
    publish: [{ type: none }]
  other:
    source: { type: generate, count: 1 }
`

const jobs = `export const run = ({ payload }) => {
  if (payload.refuse !== undefined) throw Object.assign(new Error(payload.refuse), { retryable: false })
}
`

const input = [
  { status: "paid" },
  { status: "open" },
  { status: "paid", refuse: "out of stock\u001b[2J" },
  { status: "open", odd: 1 }
]
  .map((message) => JSON.stringify(message))
  .join("\n")

interface Shown {
  readonly id: string
  readonly at: number
  readonly outcome: string
  readonly reason: string | null
  readonly steps: ReadonlyArray<Readonly<Record<string, unknown>>>
}

describe("sluice journal", () => {
  const folder = Program.folder({
    "orders.yaml": config("{ type: stdin }"),
    "none.yaml": config("{ type: stdin }", "false"),
    "jobs.mjs": jobs
  })
  afterAll(folder.remove)
  const journal = (...args: ReadonlyArray<string>) => Program.run(folder.path, ["journal", ...args])
  const shown = async (...args: ReadonlyArray<string>): Promise<ReadonlyArray<Shown>> => {
    const ended = await journal(...args, "--json")
    assert.strictEqual(ended.code, 0, ended.stderr)
    return JSON.parse(ended.stdout)
  }

  it("shows what became of each message after the process has ended", async () => {
    const began = Date.now()
    const ended = await Program.run(folder.path, ["orders.yaml"], { stdin: input })
    assert.strictEqual(ended.code, 0, ended.stderr)

    const reason = "job run failed: out of stock\u001b[2J"
    const all = await shown("orders.yaml")
    assert.sameDeepMembers(
      all.map(({ outcome, reason, steps }) => [
        outcome,
        reason,
        ...steps.map(({ attempts, event, leg, note, outcome }) => ({ event, leg, attempts, outcome, note }))
      ]),
      [
        ["acked", null, { event: "order.paid", leg: "work", attempts: 1, outcome: "accepted", note: null }],
        ["acked", "nothing detected"],
        ["acked", null, { event: "order\u001b[31m.odd", leg: "work", attempts: 1, outcome: "accepted", note: null }],
        ["buried", reason, { event: "order.paid", leg: "work", attempts: 1, outcome: "failed", note: reason }]
      ]
    )
    const lines = await journal("orders.yaml")
    assert.strictEqual(lines.stderr, "")
    assert.strictEqual(Program.lines(lines.stdout).length, 4)
    for (const line of Program.lines(lines.stdout)) {
      assert.match(line, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(Z|[+-]\d\d:\d\d) {2}orders {2}\S+ {2}(acked|buried)/)
      assert.isAtLeast(Date.parse(line.slice(0, line.indexOf(" "))), began)
    }
    assert.match(lines.stdout, / {2}acked {2}order\.paid > work accepted\n/)
    assert.match(lines.stdout, / acked: nothing detected\n/)
    assert.include(lines.stdout, "  buried  order.paid > work failed: job run failed: out of stock\\u001b[2J\n")
    assert.include(lines.stdout, "order\\u001b[31m.odd > work accepted")
    assert.notInclude(lines.stdout, "\u001b")
  })

  it("finds by each of its flags, wherever they stand", async () => {
    const all = await shown("orders.yaml")
    const buried = all.filter(({ outcome }) => outcome === "buried")
    const ids = (entries: ReadonlyArray<Shown>) => entries.map(({ id }) => id)
    assert.deepStrictEqual(await shown("orders.yaml", "--outcome", "buried"), buried)
    assert.deepStrictEqual(await shown("--id", buried[0]!.id, "orders.yaml"), buried)
    assert.strictEqual((await shown("--event", "order.paid", "-f", "orders.yaml")).length, 2)
    assert.deepStrictEqual(ids(await shown("orders.yaml", "--limit", "2")), ids(all.slice(-2)))
    assert.deepStrictEqual(await shown("orders.yaml", "--pipeline", "other"), [])
    assert.strictEqual((await shown("orders.yaml", "--since", "1h")).length, 4)
    assert.strictEqual((await shown("orders.yaml", "--since", "1ms")).length, 0)
    assert.strictEqual((await shown("orders.yaml", "--since", "2026-01-01")).length, 4)
    const at = all.at(-1)!.at
    assert.isAtLeast((await shown("orders.yaml", "--since", new Date(at).toISOString())).length, 1)
    assert.strictEqual((await shown("orders.yaml", "--since", new Date(at + 1).toISOString())).length, 0)
    // A value that is a command's name is none.
    const value = await Program.run(folder.path, ["--event", "run", "journal", "orders.yaml"])
    assert.deepStrictEqual([value.code, value.stdout], [0, "nothing found in the journal\n"], value.stderr)
  })

  it("says what is wrong with a flag, in one line, and exits 2", async () => {
    for (const [flag, value, expected] of [
      ["--outcome", "lost", '--outcome: expected one of acked, buried, refused, nacked, found "lost"\n'],
      ["--since", "yesterday", "--since: expected a duration such as 1h, or a time such as 2026-11-21T17:00, found "],
      ["--since", "2026-13-01", "--since: expected a duration such as 1h, or a time such as 2026-11-21T17:00, found "],
      ["--limit", "0", '--limit: expected a number from 1 to 100000, found "0"\n'],
      ["--limit", "many", '--limit: expected a number from 1 to 100000, found "many"\n'],
      ["--pipeline", "ordres\n", '--pipeline: expected one of orders, other, found "ordres\\n"\n']
    ] as const) {
      const ended = await journal("orders.yaml", flag, value)
      assert.strictEqual(ended.code, 2, ended.stderr)
      assert.isTrue(ended.stderr.startsWith(expected), ended.stderr)
      assert.strictEqual(Program.lines(ended.stderr).length, 1, ended.stderr)
      assert.strictEqual(ended.stdout, "")
    }
    assert.strictEqual((await journal()).code, 2)
  })

  it("says so when no pipeline of the config keeps one, and shows what an earlier run has noted", async () => {
    const ended = await journal("none.yaml")
    assert.strictEqual(ended.code, 0)
    assert.strictEqual(
      ended.stderr,
      "no pipeline of this config keeps a journal: set journal: true in those that should\n"
    )
    assert.strictEqual(Program.lines(ended.stdout).length, 4)
    await Program.run(folder.path, ["none.yaml"], { stdin: input })
    assert.strictEqual((await shown("none.yaml")).length, 4)
  })

  it("shows what a running process has done, and the replay of a dead letter", async () => {
    const fresh = Program.folder({ "hook.yaml": config("{ type: http, path: /orders }"), "jobs.mjs": jobs })
    const running = await Program.serve(fresh.path, "hook.yaml")
    const post = (message: object) =>
      fetch(`${running.address}/orders`, { method: "POST", body: JSON.stringify(message) })
    await post({ status: "paid" })
    await post({ status: "paid", refuse: "no" })
    assert.strictEqual((await fetch(`${running.address}/orders`, { method: "POST", body: "{" })).status, 400)
    const now = async (...args: ReadonlyArray<string>): Promise<ReadonlyArray<Shown>> =>
      JSON.parse((await Program.run(fresh.path, ["journal", "hook.yaml", "--json", ...args])).stdout)
    const until = async (count: number) => {
      // It is written within half a second; starting the program to look takes about as long.
      for (let i = 0; i < 20; i++) {
        const found = await now("--pipeline", "orders")
        if (found.length >= count) return found
      }
      return assert.fail("it is not there")
    }
    assert.deepStrictEqual(
      (await until(3)).map(({ outcome }) => outcome),
      ["acked", "buried", "refused"]
    )
    await Program.run(fresh.path, ["dlq", "replay", "hook.yaml"])
    assert.strictEqual((await until(4))[3]!.outcome, "buried")
    running.child.kill("SIGTERM")
    assert.strictEqual((await running.ended).code, 0)
    // Nobody runs the pipeline now: the replay runs, and is noted, in a process of its own.
    await Program.run(fresh.path, ["dlq", "replay", "hook.yaml"])
    assert.deepStrictEqual(
      (await now("--outcome", "buried")).map(({ steps }) => steps.length),
      [1, 1, 1]
    )
    fresh.remove()
  })
})
