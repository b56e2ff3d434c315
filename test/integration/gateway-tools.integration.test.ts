/** The tools on a real gateway: register, send and listen, in each language of schemas. */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it, onTestFinished } from "vitest"
import * as Program from "./Program.ts"

const config = `
http: { port: 0 }
pipelines:
  gateway:
    source: { type: gateway }
    publish: [{ type: topic }]
`

const avro = JSON.stringify({ type: "record", name: "Fruit", fields: [{ name: "fruit", type: "string" }] })
const proto = 'syntax = "proto3"; message Fruit { string fruit = 1; }'

describe("the tools of a gateway", { timeout: 60_000 }, () => {
  it("loosen a rule as docs/gateway.md says", async () => {
    const folder = Program.folder({
      "c.yaml": config,
      "old.json": '{"type":"object","required":["id"]}',
      "new.json": '{"type":"object","required":["id","total"]}'
    })
    onTestFinished(folder.remove)
    const { address, child } = await Program.serve(folder.path, "c.yaml")
    onTestFinished(() => void child.kill("SIGKILL"))
    const docs = readFileSync(join(Program.root, "docs/gateway.md"), "utf8")
    const lines = [...docs.matchAll(/^sluice (register shop\/order\.paid .*?) +# (.*)$/gm)]
    assert.strictEqual(lines.length, 5)
    for (const [, command, words] of lines) {
      const { code, stderr, stdout } = await Program.run(folder.path, [...command!.split(" "), "--url", address])
      const [from, to = ""] = words!.split(" ... ")
      assert.include(stdout + stderr, from!)
      assert.include(stdout + stderr, to)
      assert.strictEqual(code, words!.startsWith("refused") ? 1 : 0)
    }
  })

  it("register a schema, send events, and hear them, once each", async () => {
    const folder = Program.folder({
      "c.yaml": config,
      "fruit.json": '{"type":"object","required":["fruit"]}',
      "narrower.json": '{"type":"object","required":["fruit","weight"]}',
      "fruit.avsc": avro,
      "fruit.proto": proto,
      "events.ndjson": '{"fruit":"apple"}\n{"n":1}\n{"fruit":"banana"}\n'
    })
    onTestFinished(folder.remove)
    const cwd = folder.path
    const { address, child, ended } = await Program.serve(cwd, "c.yaml")
    onTestFinished(() => void child.kill("SIGKILL"))
    const tool = (...args: ReadonlyArray<string>) => Program.run(cwd, [...args, "--url", address])
    const said = ({ stderr, stdout }: Program.Ended) => stdout + stderr

    const first = await tool("register", "shop/Fruits", "fruit.json", "--compatibility", "backward")
    assert.deepStrictEqual([first.code, said(first).includes("version 1")], [0, true], said(first))
    const conflict = await tool("register", "shop/Fruits", "narrower.json")
    assert.deepStrictEqual([conflict.code, /weight/.test(said(conflict))], [1, true], said(conflict))
    for (const file of ["fruit.avsc", "fruit.proto"]) {
      assert.strictEqual((await tool("register", `shop/${file}`, file)).code, 0)
      const sent = await Program.run(cwd, ["send", `shop/${file}`, "-", "--url", address], {
        stdin: '{"fruit":"kiwi"}\n'
      })
      assert.strictEqual(sent.code, 0, said(sent))
    }
    // The same file again, as after a crash: what is there already is not published twice.
    for (let run = 0; run < 2; run++) {
      const sent = await tool("send", "shop/Fruits", "events.ndjson")
      assert.strictEqual(sent.code, 1)
      assert.match(said(sent), /2.*must have required property 'fruit'/)
    }
    const heard = await Program.run(cwd, ["listen", "shop.Fruits", "c.yaml", "--from", "earliest", "--count", "2"])
    assert.sameMembers([...Program.lines(heard.stdout)], ['{"fruit":"apple"}', '{"fruit":"banana"}'])
    child.kill("SIGTERM")
    assert.strictEqual((await ended).code, 0)
    assert.match((await ended).stderr, /duplicates 2/)
  })
})
