/** The endpoint for users of the Hasura event detector, as it is shipped: what it answers, prints and survives. */
import { afterAll, assert, describe, it } from "vitest"
import * as Program from "./Program.ts"

const passphrase = "open sesame"

const payload = (id: string, status: string, over: object = {}) => ({
  id,
  created_at: "2018-09-05T07:14:21.601701Z",
  trigger: { name: "moves" },
  table: { schema: "public", name: "moves" },
  event: {
    session_variables: { "x-hasura-role": "admin" },
    op: "UPDATE",
    data: { old: { id: 13107, status: "open" }, new: { id: 13107, status, ...over } }
  },
  delivery_info: { max_retries: 3, current_retry: 0 }
})

const moduleOf = (status: string, handler: string): string => `
const { columnHasChanged, job, jobSimulator, parseHasuraEvent, run } = require("sluice/hasura")
module.exports.detector = async (event, hasuraEvent) => {
  const { dbEvent } = parseHasuraEvent(hasuraEvent)
  return columnHasChanged("status", dbEvent) && dbEvent.new.status === "${status}"
}
module.exports.handler = async (event, hasuraEvent) => { ${handler} }
`

const two = `return await run(event, hasuraEvent, [
  job(jobSimulator, { delay: 60, message: "Job 1" }), job(jobSimulator, { delay: 20, message: "Job 2" })])`

interface Answer {
  readonly events: ReadonlyArray<{
    readonly name: string
    readonly detected?: boolean
    readonly jobs?: ReadonlyArray<Readonly<Record<string, unknown>>>
  }>
}

describe("the endpoint for Hasura", () => {
  const folders: Array<{ readonly remove: () => void }> = []
  afterAll(() => {
    for (const { remove } of folders) remove()
  })
  const shipped = new URL("../../config/hasura.yaml", import.meta.url).pathname

  const start = async (modules: Readonly<Record<string, string>>, env: Readonly<Record<string, string>> = {}) => {
    const folder = Program.folder(
      Object.fromEntries(Object.entries(modules).map(([name, text]) => [`events/${name}`, text]))
    )
    folders.push(folder)
    const running = await Program.serve(folder.path, shipped, {
      ...env,
      PORT: "0",
      EVENT_PASSPHRASE: passphrase,
      EVENT_MODULES: `${folder.path}/events`
    })
    const post = (body: unknown, headers: Readonly<Record<string, string>> = { passphrase }, query = "") =>
      fetch(`${running.address}/event-detector-table${query}`, {
        method: "POST",
        headers,
        body: typeof body === "string" ? body : JSON.stringify(body)
      })
    const events = async (body: unknown) => ((await (await post(body)).json()) as Answer).events
    const stop = async () => {
      running.child.kill("SIGTERM")
      return await running.ended
    }
    return { events, folder, post, running, stop }
  }

  it("answers and prints as the document shows, and runs what is sent again only once", async () => {
    const { events, folder, post, running, stop } = await start({
      "move.done.js": moduleOf("done", two),
      "move.open.js": moduleOf("never", two)
    })
    const first = await post(payload("a", "done"))
    assert.strictEqual(first.status, 200)
    assert.strictEqual(first.headers.get("content-type"), "application/json")
    const text = await first.text()
    const answer = JSON.parse(text) as Answer & { readonly duration: number }
    assert.strictEqual(text, JSON.stringify(answer, null, 2))
    assert.deepStrictEqual(
      answer.events.map(({ jobs, name }) => [name, jobs!.map(({ completed, result }) => [completed, result])]),
      [
        [
          "move.done",
          [
            [true, "Job 1 complete!"],
            [true, "Job 2 complete!"]
          ]
        ]
      ]
    )
    assert.isTrue(answer.duration >= 60)
    assert.deepStrictEqual(await events(payload("a", "done")), [])
    assert.strictEqual(
      (await post(payload("b", "done"), {}, `?passphrase=${encodeURIComponent(passphrase)}`)).status,
      200
    )
    const printed = running.stdout()
    for (const line of [
      "[move.done] Event detected",
      "[move.open] No event detected",
      "[move.done.runJobs] Running 2 jobs...",
      "[move.done.runJobs] Completed 2 jobs",
      "🔔  Detected 1 events from the database event:",
      "   ⭐️ move.done"
    ]) {
      assert.include(printed, `${line}\n`)
    }
    assert.match(printed, / {6}✅ Job 1 complete! \(\d+ ms\)\n/)
    const explained = await Program.run(folder.path, ["explain", "a"])
    assert.include(explained.stdout, "  yes   move.done\n  no    move.open\n")
    assert.match(explained.stdout, / {4}done {3}jobSimulator in \d+ ms\n/)
    assert.match(explained.stdout, /acked at .+: duplicate\n/)
    assert.strictEqual((await stop()).code, 0)
  })

  it("refuses who does not know the passphrase, and what is no JSON, and does no work for them", async () => {
    const { post, running, stop } = await start({ "move.done.js": moduleOf("done", "console.log('WORKED')") })
    for (const headers of [{}, { passphrase: "x" }, { passphrase: `${passphrase} ` }, { authorization: passphrase }]) {
      const refused = await post(payload("a", "done"), headers as Record<string, string>)
      const same = (headers as { passphrase?: string }).passphrase?.trim() === passphrase
      // A space at the end of a header is no part of it.
      if (same) continue
      assert.deepStrictEqual([refused.status, await refused.text()], [401, "Unauthorized!"])
    }
    const broken = await post("{")
    assert.deepStrictEqual([broken.status, await broken.text()], [500, '{\n  "errors": [\n    {}\n  ]\n}'])
    assert.strictEqual((await post(`"${"x".repeat(10 * 1024 * 1024)}"`)).status, 413)
    await stop()
    assert.strictEqual(running.stdout().split("WORKED").length - 1, 1)
  })

  it("lists what was not detected in the shape of version 2, and reports what fails", async () => {
    const { events, folder, stop } = await start(
      {
        "a.crash.js": moduleOf("done", "throw 'text'"),
        "b.exit.js": moduleOf("done", "process.exit(3)"),
        "c.fails.js": moduleOf(
          "done",
          'return await run(event, hasuraEvent, [job(async function bad() { throw new Error("no connection") })])'
        ),
        "c.odd.js": moduleOf(
          "done",
          "return await run(event, hasuraEvent, [job(async function odd() { return 1n }, { n: 1n, m: 2 })])"
        ),
        "c.own.js": moduleOf("done", "return [{ n: 150 }]"),
        "d.throws.js": `exports.detector = () => { throw new Error("no column") }; exports.handler = () => {}`,
        "e.other.js": moduleOf("other", two),
        "f.broken.js": "exports.detector = 7"
      },
      { HASURA_SHAPE: "v2" }
    )
    const found = await events(payload("a", "done"))
    assert.deepStrictEqual(
      found.map(({ detected, name }) => [name, detected]),
      [
        ["a.crash", true],
        ["b.exit", true],
        ["c.fails", true],
        ["c.odd", true],
        ["c.own", true],
        ["d.throws", false],
        ["e.other", false]
      ]
    )
    assert.deepInclude(found[2]!.jobs![0]!, {
      name: "bad",
      completed: false,
      result: "Job func crashed: no connection"
    })
    assert.deepInclude(found[3]!.jobs![0]!, {
      name: "odd",
      options: { n: "[a result that JSON cannot hold: bigint]", m: 2 },
      result: "[a result that JSON cannot hold: bigint]"
    })
    assert.deepStrictEqual(found[4]!.jobs, [{ n: 150 }])
    const { stdout } = await Program.run(folder.path, ["explain", "a"])
    assert.include(stdout, "  broke d.throws: no column\n")
    assert.include(stdout, "the handler crashed: text")
    assert.include(stdout, "    failed bad in ")
    const ended = await stop()
    assert.strictEqual(ended.code, 0)
    assert.match(ended.stderr, /f\.broken\.js its detector is a number and no function/)
    const checked = await Program.run(folder.path, ["check", shipped], {
      env: { EVENT_PASSPHRASE: "x", EVENT_MODULES: `${folder.path}/events` }
    })
    assert.strictEqual(checked.code, 2)
    assert.match(checked.stderr, /pipelines\.hasura\.detect\.directory: expected modules that can be used/)
  })

  const loops = {
    handler: moduleOf("done", "for (;;) {}"),
    detector: "exports.detector = () => { for (;;) {} }; exports.handler = () => {}"
  }
  it.each(["handler", "detector"] as const)(
    "names the %s that never yields, ends with 1, and loses nothing",
    async (part) => {
      const { post, running } = await start({
        "move.loops.js": loops[part],
        "move.other.js": moduleOf("other", "return []")
      })
      const asked = post(payload("a", "done")).then(
        ({ status }) => status,
        () => "cut"
      )
      const { code, stderr } = await running.ended
      assert.strictEqual(code, 1)
      assert.match(stderr, part === "detector" ? /the detector of move\.loops has not/ : /hasura: move\.loops has not/)
      // It was not answered as done, so it comes again.
      assert.strictEqual(await asked, "cut")
    },
    60_000
  )
})
