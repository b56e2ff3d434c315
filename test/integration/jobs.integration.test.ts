/** Jobs that would end the process, or keep it: the others go on, or they are named. */
import { assert, describe, it } from "vitest"
import * as Program from "./Program.ts"

const config = (jobs: string) => `http: { port: 0 }
pipelines:
  orders:
    source: { type: http, path: /orders }
    dispatch: [{ type: jobs, module: jobs.mjs, run: [${jobs}], timeout: 2 seconds, onFailure: report }]
    publish: [{ type: stdout }]
`

const jobs = `import { exit } from "node:process"
export const exits = () => process.exit(3)
export const exitsLater = async () => { await 1; exit(4) }
export const slow = async () => { await new Promise((done) => setTimeout(done, 200)); return "done" }
export const loops = () => { for (;;) {} }
`

const start = async (names: string) => {
  const { path, started } = Program.forTest({ "jobs.yaml": config(names), "jobs.mjs": jobs })
  const running = await Program.serve(path, "jobs.yaml")
  started.push(running)
  return { path, post: () => fetch(`${running.address}/orders`, { method: "POST", body: "{}" }), running }
}

describe("jobs of a module", () => {
  it("cannot end the process: what asks for it fails and is named, and its siblings go on", async () => {
    const { post, running } = await start("exits, exitsLater, slow")
    assert.strictEqual((await post()).status, 202)
    const [line] = Program.lines(running.stdout())
    assert.deepStrictEqual(
      (JSON.parse(line!) as ReadonlyArray<Readonly<Record<string, unknown>>>).map(({ error, job, result }) => [
        job,
        error ?? result
      ]),
      [
        ["exits", "called process.exit(3)"],
        ["exitsLater", "called process.exit(4)"],
        ["slow", "done"]
      ]
    )
    assert.isNull(running.child.exitCode)
    assert.notInclude(running.stderr(), "thrown outside")
  })

  it("that never give the thread back are named, and the process ends with 1", async () => {
    const { post, running } = await start("loops")
    const asked = post().then(
      ({ status }) => status,
      () => "cut"
    )
    const { code, stderr } = await running.ended
    assert.strictEqual(code, 1)
    assert.match(stderr, /the job loops has not yielded for 2 s/)
    assert.strictEqual(await asked, "cut")
  }, 60_000)
})
