/** The command line as its users run it: exit codes, standard streams, signals, and the life of dead letters. */
import { spawn } from "node:child_process"
import { createServer, type Server } from "node:http"
import type { AddressInfo } from "node:net"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import * as Program from "./Program.ts"

const endpoint = (answer: () => number) => {
  const bodies: Array<string> = []
  const server: Server = createServer((request, response) => {
    let body = ""
    request.on("data", (chunk) => {
      body += chunk
    })
    request.on("end", () => {
      bodies.push(body)
      response.statusCode = answer()
      response.end(`{"status":${response.statusCode}}`)
    })
  })
  return { bodies, server }
}

describe("sluice", () => {
  const folder = Program.folder({
    "copy.yaml": "pipelines: { copy: { source: { type: stdin }, publish: [{ type: stdout }] } }\n",
    "forever.yaml": "pipelines: { ticks: { source: { type: generate, rate: 50 }, publish: [{ type: none }] } }\n"
  })
  afterAll(folder.remove)

  it("copies a finite input, settles all of it and exits 0", async () => {
    const stdin = Array.from({ length: 5000 }, (_, i) => `{"n":${i}}`).join("\n")
    const ended = await Program.run(folder.path, ["copy.yaml"], { stdin })
    assert.strictEqual(ended.code, 0, ended.stderr)
    assert.deepStrictEqual(Program.lines(ended.stdout), stdin.split("\n"))
    assert.match(ended.stderr, /received 5000, acked 5000, buried 0, given back 0/)
  })

  it("buries garbage, says so once each, and exits 3 only when it is strict", async () => {
    const stdin = '{"n":1}\nnot json\n{"n":2}\n\u0000\u0001\n'
    const lax = await Program.run(folder.path, ["-f", "copy.yaml"], { stdin })
    assert.strictEqual(lax.code, 0, lax.stderr)
    assert.deepStrictEqual(Program.lines(lax.stdout), ['{"n":1}', '{"n":2}'])
    const strict = await Program.run(folder.path, ["run", "copy.yaml", "--strict"], { stdin })
    assert.strictEqual(strict.code, 3, strict.stderr)
    assert.strictEqual(strict.stderr.match(/buried/g)?.length, 3, strict.stderr)
    const purged = await Program.run(folder.path, ["dlq", "purge", "copy.yaml", "--json"])
    assert.deepStrictEqual(JSON.parse(purged.stdout), { purged: 4 })
  })

  it("says in one line what is wrong with usage and config, and exits 2", async () => {
    for (const args of [
      ["nothing.yaml"],
      ["run"],
      ["copy.yaml", "--nonsense"],
      ["check", "nothing.yaml"],
      ["dlq", "frob", "copy.yaml"]
    ]) {
      const ended = await Program.run(folder.path, args)
      assert.strictEqual(ended.code, 2, `${args.join(" ")}: ${ended.stderr}`)
      assert.notMatch(ended.stderr, /\n\s+at /)
    }
  })

  it("drains on SIGTERM and says what became of everything", async () => {
    const running = Program.start(folder.path, ["forever.yaml"])
    await running.says(/ticks: started/)
    running.child.kill("SIGTERM")
    const ended = await running.ended
    assert.strictEqual(ended.code, 0, ended.stderr)
    assert.match(ended.stderr, /ticks: received \d+, acked \d+, buried 0, given back \d+/)
  })

  it("takes one Ctrl-C that arrives twice for one, and stops at once on a later one", async () => {
    const hook = Program.folder({
      "stuck.mjs": "export const never = () => new Promise(() => {})\n",
      "stuck.yaml":
        "pipelines: { stuck: { source: { type: generate, rate: 50 }, dispatch: [{ type: jobs, module: stuck.mjs, timeout: 1 hour }] } }\n"
    })
    const running = Program.start(hook.path, ["stuck.yaml"])
    await running.says(/stuck: started/)
    running.child.kill("SIGINT")
    running.child.kill("SIGINT")
    await new Promise((later) => setTimeout(later, 1000))
    assert.isNull(running.child.exitCode)
    running.child.kill("SIGINT")
    assert.strictEqual((await running.ended).code, 1)
    hook.remove()
  })

  it("takes its flags anywhere", async () => {
    for (const args of [
      ["--json", "check", "copy.yaml"],
      ["check", "-f", "copy.yaml", "--json"],
      ["dlq", "--json", "ls", "copy.yaml"],
      ["--json", "dlq", "purge", "-f", "copy.yaml"],
      ["-f", "copy.yaml", "dlq", "replay", "--json"],
      ["copy.yaml", "--strict", "--json"]
    ]) {
      const ended = await Program.run(folder.path, args)
      assert.strictEqual(ended.code, 0, `${args.join(" ")}: ${ended.stderr}`)
    }
    const wrong = await Program.run(folder.path, ["check", "nothing.yaml", "--json"])
    assert.strictEqual(JSON.parse(wrong.stdout).ok, false)
  })

  it("says nothing of the values behind variables, and goes on when a job throws after its answer", async () => {
    const secret = "hunter2SECRET"
    const hook = Program.folder({
      "jobs.mjs": "export const late = () => { setTimeout(() => { throw new Error('late') }, 5); return 1 }\n",
      "hook.yaml": `pipelines:
  hook:
    source: { type: generate, count: 3, rate: 20 }
    retry: { attempts: 1 }
    dispatch:
      - { type: http, url: "http://127.0.0.1:9/hook/\${SEC}", timeout: 1 second, retryOn: [] }
      - { type: jobs, module: jobs.mjs }
    publish: [{ type: file, path: "\${SEC}/out" }]
`
    })
    const env = { SEC: secret }
    const running = Program.start(hook.path, ["hook.yaml"], { env })
    await running.says(/outage: /)
    running.child.kill("SIGTERM")
    const ended = await running.ended
    const drawn = await Program.run(hook.path, ["graph", "hook.yaml"], { env })
    for (const text of [ended.stderr, ended.stdout, drawn.stdout]) {
      assert.notInclude(text, secret)
      assert.notMatch(text, /\n\s+at /)
    }
    assert.match(ended.stderr, /POST http:\/\/127\.0\.0\.1:9\/hook\/\$\{SEC\} cannot be reached/)
    assert.match(ended.stderr, /thrown outside of any message by the job late of message: late/)
    assert.strictEqual(ended.code, 0, ended.stderr)
    hook.remove()
  })

  it("prints its schema, its version and its help", async () => {
    const schema = JSON.parse((await Program.run(folder.path, ["schema"])).stdout)
    assert.strictEqual(schema.type, "object")
    assert.match((await Program.run(folder.path, ["--version"])).stdout, /\d+\.\d+\.\d+/)
    assert.match((await Program.run(folder.path, ["dlq", "--help"])).stdout, /replay/)
  })
})

describe("the package", () => {
  it("can be imported by its names", async () => {
    const script =
      "const [a, b] = await Promise.all([import('sluice'), import('sluice/testing')]); console.log(typeof a.Pipeline.define, typeof b.SourceMemory.make)"
    const child = spawn(process.execPath, ["--input-type=module", "-e", script], { cwd: Program.root })
    let output = ""
    child.stdout.on("data", (text) => {
      output += text
    })
    await new Promise((closed) => child.on("close", closed))
    assert.strictEqual(output, "function function\n")
  })
})

describe("sluice dlq", () => {
  let status = 422
  const { bodies, server } = endpoint(() => status)
  let url = ""
  beforeAll(async () => {
    await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening))
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/work?token=hush`
  })
  afterAll(() => server.close())

  const config = (source: string) => `http: { port: 0 }
pipelines:
  orders:
    source: ${source}
    key: payload.customer
    detect: [{ event: order.paid, when: { payload.status: paid } }]
    dispatch: [{ on: order.paid, type: http, url: "\${WORK_URL}", name: work }]
    publish: [{ type: file, path: done.ndjson }]
`
  const orders = [1, 2, 3].map((n) => JSON.stringify({ n, customer: "c", status: "paid" })).join("\n")

  it("lists with reasons, shows whole, and replays in a process of its own, in order", async () => {
    status = 422
    bodies.length = 0
    const folder = Program.folder({ "orders.yaml": config("{ type: stdin }") })
    const env = { WORK_URL: url }
    const first = await Program.run(folder.path, ["orders.yaml", "--strict"], { stdin: orders, env })
    assert.strictEqual(first.code, 3, first.stderr)
    const listed = JSON.parse((await Program.run(folder.path, ["dlq", "ls", "orders.yaml", "--json"], { env })).stdout)
    assert.strictEqual(listed.length, 3)
    for (const letter of listed) {
      assert.hasAllKeys(letter, ["id", "pipeline", "event", "leg", "stage", "reason", "attempts", "at"])
      assert.strictEqual(letter.event, "order.paid")
      assert.match(letter.reason, /answered 422 .*\{"status":422\}/)
      assert.notMatch(letter.reason, /hush/)
      assert.strictEqual(letter.attempts, 1)
    }
    const shown = JSON.parse(
      (await Program.run(folder.path, ["dlq", "show", "orders.yaml", listed[0].id, "--json"], { env })).stdout
    )
    assert.strictEqual(shown.payload, orders.split("\n")[0])
    const again = await Program.run(folder.path, ["dlq", "replay", "--json", "orders.yaml"], { env })
    assert.deepStrictEqual(
      JSON.parse(again.stdout).map((_: { outcome: string }) => _.outcome),
      ["buried", "buried", "buried"]
    )
    status = 200
    bodies.length = 0
    const replayed = await Program.run(folder.path, ["dlq", "replay", "orders.yaml", "--json"], { env })
    assert.deepStrictEqual(
      JSON.parse(replayed.stdout).map((_: { id: string; outcome: string }) => [_.id, _.outcome]),
      listed.map((_: { id: string }) => [_.id, "acked"]),
      replayed.stderr
    )
    assert.deepStrictEqual(bodies, orders.split("\n"))
    assert.strictEqual(
      (await Program.run(folder.path, ["dlq", "ls", "orders.yaml"], { env })).stdout,
      "no dead letters\n"
    )
    const unknown = await Program.run(folder.path, ["dlq", "show", "orders.yaml", "nobody"], { env })
    assert.strictEqual(unknown.code, 1)
    folder.remove()
  })

  it("hands letters to the process that is running, and waits for the outcome", async () => {
    status = 422
    bodies.length = 0
    const folder = Program.folder({ "orders.yaml": config("{ type: http, path: /orders }") })
    const env = { WORK_URL: url }
    const running = await Program.serve(folder.path, "orders.yaml", env)
    const answer = await fetch(`${running.address}/orders`, { method: "POST", body: orders.split("\n")[0]! })
    assert.strictEqual(answer.status, 202)
    assert.strictEqual((await fetch(`${running.address}/orders`, { method: "POST", body: "{" })).status, 400)
    status = 200
    const replayed = await Program.run(folder.path, ["dlq", "replay", "orders.yaml", "--json"], { env })
    assert.deepStrictEqual(
      JSON.parse(replayed.stdout).map((_: { outcome: string }) => _.outcome),
      ["acked"],
      replayed.stderr
    )
    const metrics = await (await fetch(`${running.address}/metrics`)).text()
    assert.match(metrics, /sluice_settled_total\{pipeline="orders",outcome="buried"\} 1/)
    assert.strictEqual((await fetch(`${running.address}/readyz`)).status, 200)
    running.child.kill("SIGTERM")
    assert.strictEqual((await running.ended).code, 0)
    folder.remove()
  })
})
