/** Kill -9 in the middle of topic-to-topic work, twenty times: nothing lost, and what runs twice is bounded by what was in flight. */
import { DatabaseSync } from "node:sqlite"
import { assert, describe, it } from "vitest"
import * as Program from "./Program.ts"

const count = 20_000
const kills = 20
const concurrency = 32

const config = `
storage: { sqlite: work.db }
pipelines:
  work:
    source: { type: topic, topic: in }
    key: payload.key
    concurrency: ${concurrency}
    dispatch: [{ type: jobs, module: ./jobs.mjs }]
    publish: [{ type: topic, topic: out, value: payload }]
`
const fill = `
storage: { sqlite: work.db }
pipelines:
  fill:
    source: { type: file, path: in.ndjson }
    key: payload.key
    publish: [{ type: topic, topic: in }]
`
const jobs = "export const wait = () => new Promise((done) => setTimeout(done, 1 + Math.random() * 4))\n"

describe("kill -9", () => {
  it(`${kills} times: no loss, order per key, duplicates bounded`, { timeout: 240_000 }, async () => {
    const messages = Array.from({ length: count }, (_, i) => ({ key: `k${i % 200}`, n: i }))
    const folder = Program.folder({
      "work.yaml": config,
      "fill.yaml": fill,
      "jobs.mjs": jobs,
      "in.ndjson": messages.map((message) => JSON.stringify(message)).join("\n")
    })
    const filled = await Program.run(folder.path, ["fill.yaml"])
    assert.strictEqual(filled.code, 0, filled.stderr)
    const read = <A>(sql: string): Array<A> => {
      const database = new DatabaseSync(`${folder.path}/work.db`, { readOnly: true, timeout: 5000 })
      try {
        return database.prepare(sql).all() as Array<A>
      } finally {
        database.close()
      }
    }
    const written = (): number => read<{ next: number }>("SELECT next FROM topics WHERE name = 'out'")[0]?.next ?? 0
    const until = async (condition: () => boolean): Promise<void> => {
      while (!condition()) await new Promise((look) => setTimeout(look, 20))
    }
    for (let kill = 1; kill <= kills; kill++) {
      const running = Program.start(folder.path, ["work.yaml"])
      await running.says(/work: started/)
      const before = written()
      await until(() => written() > before + 100 || running.child.exitCode !== null)
      running.child.kill("SIGKILL")
      assert.strictEqual((await running.ended).signal, "SIGKILL", running.stderr())
    }
    const last = Program.start(folder.path, ["work.yaml"])
    await last.says(/work: started/)
    const settled = () =>
      read<{ watermark: number }>("SELECT watermark FROM topic_groups WHERE name = 'work'")[0]!.watermark >= count
    await until(() => settled() || last.child.exitCode !== null)
    last.child.kill("SIGTERM")
    const ended = await last.ended
    assert.strictEqual(ended.code, 0, ended.stderr)

    assert.strictEqual(read<{ ok: string }>("PRAGMA integrity_check")[0] !== undefined, true)
    const out = read<{ value: Uint8Array }>(
      "SELECT value FROM topic_records r JOIN topics t ON t.id = r.topic WHERE t.name = 'out' ORDER BY record"
    ).map(({ value }) => JSON.parse(new TextDecoder().decode(value)) as (typeof messages)[number])
    const seen = new Set(out.map(({ n }) => n))
    assert.strictEqual(seen.size, count, "lost")
    // In flight at a kill: legs at work, replies on their way out, and settlements not yet durable.
    const inFlightMax = concurrency + 500 + 64 + 512
    assert.isAtMost(out.length - count, kills * inFlightMax, "duplicates")
    const firsts = new Map<string, number>()
    const fresh = new Set<number>()
    for (const { key, n } of out) {
      if (fresh.has(n)) continue
      fresh.add(n)
      assert.isAbove(n, firsts.get(key) ?? -1, `order of ${key}`)
      firsts.set(key, n)
    }
    console.log(`kill -9: ${count} messages, ${kills} kills, ${out.length - count} duplicates, 0 lost`)
    folder.remove()
  })
})
