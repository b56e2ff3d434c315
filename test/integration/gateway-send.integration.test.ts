/** `sluice send` and `sluice register` as their users run them, against a gateway that is well, busy, slow or away. */
import { spawn } from "node:child_process"
import { readFileSync, writeFileSync } from "node:fs"
import { type AddressInfo, createServer } from "node:net"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { assert, describe, it, onTestFinished } from "vitest"
import * as GatewayStandIn from "./GatewayStandIn.ts"
import * as Program from "./Program.ts"

const secret = "k-hunter2SECRET"

const gateway = async (trouble?: GatewayStandIn.Trouble, port?: number) => {
  const standIn = await GatewayStandIn.open(trouble, port)
  onTestFinished(standIn.close)
  return standIn
}

const folder = (files: Readonly<Record<string, string>>) => {
  const made = Program.folder(files)
  onTestFinished(made.remove)
  const tool = (...args: ReadonlyArray<string>) => Program.run(made.path, args)
  return { ...made, tool }
}

const fruits = (count: number) => Array.from({ length: count }, (_, n) => ({ fruit: "apple", n }))
const ndjson = (events: ReadonlyArray<unknown>) => events.map((event) => `${JSON.stringify(event)}\n`).join("")
const parsed = (text: string): ReadonlyArray<any> => Program.lines(text).map((line) => JSON.parse(line))
const numbers = (events: ReadonlyArray<unknown>) =>
  events.map((event) => (event as { readonly n: number }).n).sort((a, b) => a - b)

describe("sluice send", () => {
  it("sends one event as it is written, with the key of the environment or of the flag", async () => {
    const { calls, published, url } = await gateway()
    const text = '{\n  "fruit": "apple",\n  "n": 12345678901234567890\n}\n'
    const { path, tool } = folder({ "apple.json": text })
    const env = { SLUICE_KEY: secret }
    const first = await Program.run(path, ["send", "SpongeBob/Fruits", "apple.json", "--url", url], { env })
    assert.strictEqual(first.code, 0, first.stderr)
    assert.strictEqual(first.stdout, "sent 1 to SpongeBob.Fruits, refused 0\n")
    const second = await tool("send", "--key", "other", "--json", "SpongeBob/Fruits", "apple.json", "--url", `${url}/`)
    const [said] = parsed(second.stdout)
    assert.deepStrictEqual(said, { outcome: "sent", id: said.id, version: 1 })
    assert.deepStrictEqual(
      calls.map(({ body, headers }) => [headers.authorization, headers["content-type"], body]),
      [
        [`Bearer ${secret}`, "application/json", text],
        ["Bearer other", "application/json", text]
      ]
    )
    // The same file is the same event.
    assert.strictEqual(published.length, 1)
  })

  it("says line by line what was refused and why, waits for a busy gateway, and exits 1", async () => {
    const { published, url } = await gateway((_, n) => {
      if (n === 1) return { status: 503, headers: { "retry-after": "1" } }
      if (n === 3) return { status: 429 }
      if (n === 5) return "hang up"
      return undefined
    })
    const lines = ['{"fruit":"apple","n":1}', "", '{"color":"red"}', "{not json", "   ", '{"fruit":"kiwi","n":2}']
    const { path, tool } = folder({ "fruits.ndjson": lines.join("\r\n") })
    const began = performance.now()
    const args = ["send", "SpongeBob/Fruits", "fruits.ndjson", "--url", url]
    const ended = await tool(...args)
    assert.strictEqual(ended.code, 1)
    assert.isAtLeast(performance.now() - began, 1000)
    assert.strictEqual(ended.stdout, "sent 2 to SpongeBob.Fruits, refused 2\n")
    const [third, fourth, ...more] = Program.lines(ended.stderr)
    assert.strictEqual(third, 'line 3: refused: 1 violation of the schema: payload: must have the field "fruit"')
    assert.match(fourth!, /^line 4: refused: it is not JSON: /)
    assert.deepStrictEqual(more, [])
    assert.deepStrictEqual(numbers(published), [1, 2])

    const json = parsed((await Program.run(path, [...args, "--json"])).stdout)
    assert.deepStrictEqual(
      json.map(({ code, line, outcome }) => [line, outcome, code]),
      [
        [1, "sent", undefined],
        [3, "refused", "event-invalid"],
        [4, "refused", null],
        [6, "sent", undefined]
      ]
    )
    assert.strictEqual(published.length, 2)
  })

  it("publishes each line once when it is killed in the middle and run again", async () => {
    const { calls, published, url } = await gateway(async () => void (await sleep(20)))
    const { path, tool } = folder({ "fruits.ndjson": ndjson(fruits(200)) })
    const args = ["send", "SpongeBob/Fruits", "fruits.ndjson", "--url", url]
    const running = Program.start(path, args)
    while (published.length < 50) await sleep(5)
    running.child.kill("SIGKILL")
    await running.ended
    await sleep(100)
    const before = published.length
    assert.isBelow(before, 200)
    const ended = await tool(...args)
    assert.strictEqual(ended.code, 0, ended.stderr)
    assert.isAtLeast(calls.length, 200 + before)
    assert.deepStrictEqual(numbers(published), numbers(fruits(200)))
  })

  it("sends each line of standard input as it comes, and says on Ctrl-C how far it has come", async () => {
    const { published, url } = await gateway()
    const { path } = folder({})
    const main = join(Program.root, "dist/main.js")
    const args = [main, "send", "SpongeBob/Fruits", "-", "--lines", "--url", url]
    const child = spawn(process.execPath, args, { cwd: path })
    let errors = ""
    child.stderr.on("data", (text) => {
      errors += text
    })
    for (const [n, event] of fruits(3).entries()) {
      child.stdin.write(ndjson([event]))
      while (published.length <= n) await sleep(5)
    }
    await sleep(100)
    child.kill("SIGINT")
    await new Promise((closed) => child.on("close", closed))
    assert.strictEqual(errors, "stopped in the middle: sent 3, refused 0 so far\n")
  })

  it("keeps the order of the lines with one at a time, and never has more on the way than it may", async () => {
    const slow = async (call: GatewayStandIn.Call) => void (await sleep(call.body.includes('"n":0}') ? 100 : 1))
    const { path } = folder({ "fruits.jsonl": ndjson(fruits(100)) })
    const one = await gateway(slow)
    const args = ["send", "SpongeBob/Fruits", "fruits.jsonl", "--url"]
    assert.strictEqual((await Program.run(path, [...args, one.url, "--concurrency", "1"])).code, 0)
    assert.deepStrictEqual(one.published, fruits(100))
    assert.strictEqual(one.inFlightMax(), 1)
    const several = await gateway(slow)
    const ended = await Program.run(path, [...args, several.url, "--concurrency", "4", "--json"])
    assert.strictEqual(several.inFlightMax(), 4)
    // Told in the order of the lines, whatever came back first.
    assert.deepStrictEqual(
      parsed(ended.stdout).map(({ line }) => line),
      fruits(100).map(({ n }) => n + 1)
    )
  })

  it("stays at its size whatever the size of the file", async () => {
    const { published, url } = await gateway()
    const { path } = folder({})
    const filling = "x".repeat(1024 * 1024)
    const file = join(path, "large.ndjson")
    for (let n = 0; n < 300; n++)
      writeFileSync(file, `${JSON.stringify({ fruit: "melon", n, filling })}\n`, { flag: "a" })
    const running = Program.start(path, ["send", "SpongeBob/Fruits", "large.ndjson", "--url", url])
    let peak = 0
    const timer = setInterval(() => {
      try {
        const status = readFileSync(`/proc/${running.child.pid}/status`, "utf8")
        peak = Math.max(peak, Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? 0))
      } catch {}
    }, 10)
    const ended = await running.ended
    clearInterval(timer)
    assert.strictEqual(ended.code, 0, ended.stderr)
    assert.strictEqual(published.length, 300)
    published.length = 0
    assert.isAbove(peak, 0)
    assert.isBelow(peak, 330 * 1024)
  }, 60_000)

  it("takes one event or several from standard input, and each run of it is new", async () => {
    const { published, url } = await gateway()
    const { path } = folder({})
    const run = (stdin: string, ...more: ReadonlyArray<string>) =>
      Program.run(path, ["send", "SpongeBob/Fruits", "-", "--url", url, ...more], { stdin })
    assert.strictEqual((await run(JSON.stringify(fruits(1)[0], undefined, 2))).code, 0)
    assert.strictEqual((await run(JSON.stringify(fruits(1)[0]))).code, 0)
    assert.deepStrictEqual(published.splice(0), [...fruits(1), ...fruits(1)])
    assert.strictEqual((await run(`\n${ndjson(fruits(3))}`)).code, 0)
    assert.deepStrictEqual(numbers(published.splice(0)), [0, 1, 2])
    // The first of the lines is broken.
    const broken = await run(`{"fruit":\n${ndjson(fruits(2))}`)
    assert.strictEqual(broken.code, 1)
    assert.match(broken.stderr, /^line 1: refused: it is not JSON/)
    assert.deepStrictEqual(numbers(published.splice(0)), [0, 1])
    assert.strictEqual((await run("", "--lines")).code, 0)
    const nothing = await run("")
    assert.strictEqual(nothing.code, 1)
    assert.match(nothing.stderr, /^refused: it is not JSON/)
  })

  it("exits 1 at once when nobody is there, and goes on when a gateway comes back", async () => {
    const port = await GatewayStandIn.freePort()
    const { path, tool } = folder({ "fruits.ndjson": ndjson(fruits(60)) })
    const args = ["send", "SpongeBob/Fruits", "fruits.ndjson", "--url", `http://127.0.0.1:${port}`]
    const began = performance.now()
    const away = await tool(...args)
    assert.strictEqual(away.code, 1)
    assert.isBelow(performance.now() - began, 5000)
    assert.match(
      away.stderr,
      /^line 1: stopped: POST .* cannot be reached: .*ECONNREFUSED.*: is the gateway running there\? --url says where it is\n$/
    )
    assert.strictEqual(away.stdout, "sent 0 to SpongeBob.Fruits, refused 0\n")

    const first = await gateway(async () => void (await sleep(50)), port)
    const running = Program.start(path, [...args, "--concurrency", "2"])
    while (first.published.length < 10) await sleep(5)
    await first.close()
    await sleep(500)
    const second = await gateway(undefined, port)
    const ended = await running.ended
    assert.strictEqual(ended.code, 0, ended.stderr)
    const all = new Set(numbers([...first.published, ...second.published]))
    assert.strictEqual(all.size, 60)
    await second.close()

    const third = await gateway((_, n) => (n > 10 ? { status: 503, headers: { "retry-after": "1" } } : undefined))
    const busy = await tool(...args.slice(0, 4), third.url, "--patience", "2 seconds")
    assert.strictEqual(busy.code, 1)
    assert.match(busy.stderr, /^line 11: stopped: .* answered 503 /)
  })

  it("stops at the first answer that says that no event will be taken, and shows the key to nobody", async () => {
    const { calls, url } = await gateway(({ headers }) => ({
      status: 401,
      body: { detail: `no such key: ${headers.authorization}` }
    }))
    const { path, tool } = folder({ "fruits.ndjson": ndjson(fruits(500)) })
    const env = { SLUICE_KEY: secret }
    const ended = await Program.run(path, ["send", "SpongeBob/Fruits", "fruits.ndjson", "--url", url], { env })
    assert.strictEqual(ended.code, 1)
    assert.strictEqual(
      ended.stderr,
      "line 1: stopped: no such key: Bearer <key>: give a key, in SLUICE_KEY or with --key\n"
    )
    assert.notInclude(ended.stderr + ended.stdout, secret)
    assert.isAtMost(calls.length, 24)
    const well = await gateway()
    const unknown = await tool("send", "SpongeBob/Nothing", "fruits.ndjson", "--url", well.url)
    assert.strictEqual(
      unknown.stderr,
      "line 1: stopped: SpongeBob events Nothing is not registered: " +
        "register it first: sluice register SpongeBob/Nothing <schema file>\n"
    )
    assert.strictEqual(unknown.code, 1)
  })

  it("stops where somebody else answers, whatever that is, and takes no such answer for a confirmation", async () => {
    const { path } = folder({ "fruits.ndjson": ndjson(fruits(20)), "schema.json": "{}" })
    const nowhere = "there is no event gateway at this URL: --url says where it is, with its prefix if it has one"
    const isRegisteredToo: ReadonlyArray<number> = [201, 404, 502]
    for (const [status, body, words] of [
      [200, "<html>welcome</html>", `answered 200, but not as a gateway does: ${nowhere}`],
      [200, { id: "only" }, `answered 200, but not as a gateway does: ${nowhere}`],
      [201, undefined, `answered 201, but not as a gateway does: ${nowhere}`],
      [302, undefined, nowhere],
      [400, "<html>", nowhere],
      [404, { error: "there is no /x" }, `stopped: there is no /x: ${nowhere}`],
      [404, "<html>", nowhere],
      [501, "<html>", "that is no answer of a gateway"],
      [502, "<html>", "that is no answer of a gateway"]
    ] as const) {
      const { calls, url } = await gateway(() => ({ status, body }))
      const register = ["register", "SpongeBob/Fruits", "schema.json"]
      const send = ["send", "SpongeBob/Fruits", "fruits.ndjson", "--concurrency", "1"]
      const tools = isRegisteredToo.includes(status) ? [send, register] : [send]
      for (const args of tools) {
        const ended = await Program.run(path, [...args, "--url", url, "--patience", "1 second"])
        assert.strictEqual(ended.code, 1)
        assert.include(Program.lines(ended.stderr)[0], words, `${status}`)
        assert.match(ended.stderr, /^(line 1: )?stopped: /)
      }
      // It did not go on with the next line.
      assert.strictEqual(calls.length, tools.length)
    }
    const mute = createServer((socket) => void socket.on("error", () => {}).end("SSH-2.0-none\r\n"))
    await new Promise<void>((listening) => mute.listen(0, "127.0.0.1", listening))
    onTestFinished(() => void mute.close())
    const { port } = mute.address() as AddressInfo
    const began = performance.now()
    const ended = await Program.run(path, [
      "send",
      "SpongeBob/Fruits",
      "fruits.ndjson",
      "--url",
      `http://127.0.0.1:${port}`
    ])
    assert.strictEqual(ended.code, 1)
    assert.match(ended.stderr, /answered no HTTP: .*: is the gateway running there\?/)
    assert.isBelow(performance.now() - began, 10_000)
  })

  it("says what a gateway in between may have, and that a large event alone was refused", async () => {
    const { url } = await gateway(({ body }, n) =>
      body.includes('"n":2') ? { status: 413, body: "<html>too large</html>" } : n > 4 ? { status: 502 } : undefined
    )
    const { path } = folder({ "fruits.ndjson": ndjson(fruits(6)) })
    const args = ["send", "SpongeBob/Fruits", "-", "--lines", "--url", url, "--concurrency", "1"]
    const ended = await Program.run(path, args, { stdin: ndjson(fruits(6)) })
    const said = Program.lines(ended.stderr)
    assert.match(said[0]!, /^line 3: refused: .* 413 /)
    assert.match(said[1]!, /^line 5: stopped: .* 502 /)
    assert.deepStrictEqual(said.slice(2), ["from that line on, the gateway may have some and not others"])
    assert.strictEqual(ended.stdout, "sent 3 to SpongeBob.Fruits, refused 1\n")
  })

  it("goes on to its end, quietly, when nobody reads what it says", async () => {
    const { published, url } = await gateway()
    const events = [...Array.from({ length: 300 }, () => ({ color: "red" })), ...fruits(10)]
    const { path } = folder({ "fruits.ndjson": ndjson(events) })
    for (const [stream, ...more] of [["stderr"], ["stdout", "--json"]] as const) {
      const running = Program.start(path, ["send", "SpongeBob/Fruits", "fruits.ndjson", "--url", url, ...more])
      onTestFinished(() => void running.child.kill("SIGKILL"))
      running.child[stream]!.once("data", () => running.child[stream]!.destroy())
      const ended = await running.ended
      assert.strictEqual(ended.code, 1)
      assert.notMatch(ended.stderr, /EPIPE/)
    }
    assert.strictEqual(published.length, 10)
  })

  it("says in one line what is wrong with its usage, and exits 2", async () => {
    const { tool } = folder({ "apple.json": "{}" })
    for (const [args, words] of [
      [["send", "SpongeBob", "apple.json"], /expected a client and an event, such as SpongeBob\/Fruits/],
      [
        ["send", "Spönge/Bob", "apple.json"],
        /the client's name may have letters, digits and _ - only.*found "Spönge\/Bob"/
      ],
      [
        ["register", "SpongeBob/Fr,uits", "apple.json"],
        /the event's name may have letters.*found "SpongeBob\/Fr,uits"/
      ],
      [["send", "SpongeBob/Fruits", "nothing.json"], /nothing\.json: there is no such file/],
      [["send", "SpongeBob/Fruits", "."], /it is a folder/],
      [["send", "SpongeBob/Fruits"], /file/],
      [["send", "SpongeBob/Fruits", "apple.json", "--url", "nowhere"], /--url: expected a URL/],
      [["send", "SpongeBob/Fruits", "apple.json", "--patience", "soon"], /--patience: expected a duration/],
      [["send", "SpongeBob/Fruits", "apple.json", "--concurrency", "0"], /--concurrency: expected a number/],
      [["register", "SpongeBob/Fruits", "apple.json", "--type", "xml"], /xml/]
    ] as const) {
      const ended = await tool(...args)
      assert.strictEqual(ended.code, 2, `${args.join(" ")}: ${ended.stderr}`)
      assert.match(ended.stderr + ended.stdout, words)
      assert.notMatch(ended.stderr, /\n\s+at /)
    }
    const key = await tool("send", "SpongeBob/Fruits", "apple.json", "--key", `${secret}\n`)
    assert.strictEqual(key.code, 2)
    assert.notInclude(key.stderr, secret)
  })
})

describe("the stories of docs/gateway-tools.md", () => {
  const docs = readFileSync(join(Program.root, "docs/gateway-tools.md"), "utf8")
  const blocks = [...docs.matchAll(/```sh\n([\s\S]*?)```/g)].map(([, block]) => block!)
  const shell = (script: string, url: string) =>
    new Promise<{ readonly code: number | null; readonly said: string }>((done) => {
      const commands = script
        .replaceAll(/node dist\/main\.js (send|register)/g, `node dist/main.js $1 --url ${url}`)
        .replaceAll("node dist", `"${process.execPath}" dist`)
      const child = spawn("bash", ["-e", "-c", commands], { cwd: Program.root })
      let said = ""
      for (const stream of [child.stdout, child.stderr]) {
        stream.on("data", (text) => {
          said += text
        })
      }
      child.on("close", (code) => done({ code, said }))
    })

  it("run as they are written", async () => {
    const { published, url } = await gateway()
    const story = blocks.find((block) => block.startsWith("# story"))!
    const told = await shell(story, url)
    assert.strictEqual(told.code, 0, told.said)
    assert.deepStrictEqual(Program.lines(told.said), [
      "registered SpongeBob.Fruits version 1",
      "registered SpongeBob.Colors version 2",
      "sent 5 to SpongeBob.Fruits, refused 0",
      "sent 5 to SpongeBob.Colors, refused 0",
      "sent 1 to SpongeBob.Fruits, refused 0"
    ])
    assert.strictEqual(published.length, 11)
    const wrong = await shell(blocks.find((block) => block.startsWith("echo"))!, url)
    assert.strictEqual(wrong.code, 1)
    assert.match(wrong.said, /^refused: 1 violation of the schema: payload: must have the field "fruit"$/m)
    const endless = blocks.find((block) => block.startsWith("while"))!
    const timed = await shell(endless.replace("while sleep 1", "for n in 1 2 3"), url)
    assert.match(timed.said, /^sent 3 to SpongeBob\.Fruits, refused 0$/m)
  })
})

describe("sluice register", () => {
  it("registers a schema as it is written, its language told by the file's name", async () => {
    const { calls, url } = await gateway((_, n) => (n === 1 ? { status: 503 } : undefined))
    const schema = '{"type": "object", "required": ["fruit"], "maximum": 12345678901234567890}'
    const proto = 'syntax = "proto3";\nmessage Fruit { string fruit = 1; }\n'
    const { tool } = folder({ "fruits.json": schema, "fruits.avsc": '"string"', "fruits.proto": proto })
    const first = await tool("register", "SpongeBob/Fruits", "fruits.json", "--url", url)
    assert.strictEqual(first.code, 0, first.stderr)
    assert.strictEqual(first.stdout, "registered SpongeBob.Fruits version 1\n")
    const again = await tool("register", "SpongeBob.Fruits", "fruits.json", "--url", url)
    assert.strictEqual(again.stdout, "SpongeBob.Fruits version 1 is registered already\n")
    const rule = ["--compatibility", "backward", "--json"]
    const avro = await tool("register", "SpongeBob/Fruits", "fruits.avsc", "--url", url, ...rule)
    assert.deepStrictEqual(parsed(avro.stdout), [{ outcome: "registered", version: 2 }])
    assert.strictEqual((await tool("register", "SpongeBob/Fruits", "fruits.proto", "--url", url)).code, 0)
    assert.deepStrictEqual(
      calls.slice(1).map(({ body }) => body),
      [
        `{"type":"json","schema":${schema}}`,
        `{"type":"json","schema":${schema}}`,
        '{"type":"avro","compatibility":"backward","schema":"\\"string\\""}',
        JSON.stringify({ type: "protobuf", schema: proto })
      ].map((body) => body.trimEnd())
    )
  })

  it("says why a schema was refused, and exits 1", async () => {
    const { url } = await gateway()
    const { path, tool } = folder({ "narrow.json": '{"title":"narrow"}', "broken.json": "{" })
    const run = (stdin: string) => Program.run(path, ["register", "SpongeBob/Fruits", "-", "--url", url], { stdin })
    const invalid = await run('{"type":"random_type"}')
    assert.deepStrictEqual([invalid.code, invalid.stderr], [1, "refused: type: no such type\n"])
    const conflict = await tool("register", "SpongeBob/Fruits", "narrow.json", "--url", url, "--json")
    assert.strictEqual(conflict.code, 1)
    assert.deepStrictEqual(parsed(conflict.stdout), [
      { outcome: "refused", code: "schema-conflict", reason: "it cannot follow version 1: payload.fruit is gone" }
    ])
    assert.match((await tool("register", "SpongeBob/Fruits", "broken.json", "--url", url)).stderr, /it is not JSON/)
    const away = await tool("register", "SpongeBob/Fruits", "narrow.json", "--url", "http://127.0.0.1:9")
    assert.strictEqual(away.code, 1)
    assert.match(away.stderr, /^stopped: .*cannot be reached: .*: is the gateway running there\?/)
    const json = await tool("register", "SpongeBob/Fruits", "narrow.json", "--url", "http://127.0.0.1:9", "--json")
    assert.strictEqual(parsed(json.stdout)[0].outcome, "stopped")
  })
})
