/** 200,000 hostile requests to the gateway, in bounded runs: what was answered, how long a good client waits in between, and the memory. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { connect } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import * as Hostile from "../test/streams/Hostile.ts"
import { addressOf } from "./gateway.ts"
import { main, type Program, sluice } from "./kafka.ts"

const runs = 10
const requests = 20_000
/** Units: bytes; milliseconds. Each run also sends so many too large bodies, and holds so many bodies back. */
const oversized = 50
const oversizedBytes = 2 * 1024 * 1024
const slow = 20
const slowMillisMax = 35_000

const config = (filename: string): string => `
http: { port: 0 }
storage: { sqlite: ${filename} }
pipelines:
  gateway: { source: { type: gateway }, publish: [{ type: topic }] }
`

/** Units: MiB. */
const residentOf = ({ child }: Program): number => {
  const [, pages] = readFileSync(`/proc/${child.pid}/statm`, "utf8").split(" ")
  return (Number(pages) * 4096) / 2 ** 20
}

/** Says that a body comes, and holds it back. Units: milliseconds until it was cut. */
const holdBack = (port: number): Promise<number> =>
  new Promise((resolve) => {
    const begun = performance.now()
    const socket = connect(port, "127.0.0.1")
    socket.write("POST /victim/secret/send_event HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n{")
    socket.on("error", () => {}).on("data", () => {})
    socket.on("close", () => resolve(performance.now() - begun))
  })

const tooLarge: Hostile.HostileRequest = {
  method: "POST",
  path: "/api/v1/clients/victim/events/secret",
  headers: { "content-type": "application/json" },
  body: Buffer.alloc(oversizedBytes, "[")
}

export const run = async (): Promise<void> => {
  const folder = mkdtempSync(join(tmpdir(), "sluice-bench-"))
  const gateway = sluice(config(join(folder, "bench.db")))
  try {
    const url = await addressOf(gateway)
    const port = Number(new URL(url).port)
    const post = (path: string, body: string) => {
      const headers = { "content-type": "application/json" }
      return fetch(`${url}${path}`, { method: "POST", headers, body })
    }
    await post("/victim/secret/register_event", '{"event_schema":{"const":"s3cr3t"}}')
    console.log(`gatewayHostile: ${main}, ${runs} runs of ${requests} requests`)
    const statuses = new Map<number, number>()
    const look = (one: Hostile.HostileRequest, { status, text }: Hostile.Answered): void => {
      statuses.set(status, (statuses.get(status) ?? 0) + 1)
      const { detail, error, msg, results } = JSON.parse(text)
      if (
        status < 400 ||
        status >= 500 ||
        text.includes("s3cr3t") ||
        (results ?? detail ?? error ?? msg).length === 0
      ) {
        throw new Error(`${one.method} ${one.path} ${one.body.subarray(0, 200)}: answered ${status} ${text}`)
      }
    }
    const waits: Array<number> = []
    for (let n = 0; n < runs; n++) {
      const begun = performance.now()
      const held = Array.from({ length: slow }, () => holdBack(port))
      let busy = true
      const good = (async () => {
        while (busy) {
          const asked = performance.now()
          const answer = await post("/api/v1/clients/victim/events/secret", '"s3cr3t"')
          if (answer.status !== 200)
            throw new Error(`a good client was answered ${answer.status}: ${await answer.text()}`)
          waits.push(performance.now() - asked)
          await sleep(20)
        }
      })()
      const large = Array.from({ length: oversized }, () => tooLarge)
      await Hostile.send(port, [...Hostile.requests(n, requests), ...large], look)
      busy = false
      await good
      const cut = Math.max(...(await Promise.all(held)))
      if (cut > slowMillisMax) throw new Error(`a slow client was cut after ${cut} ms`)
      console.log(
        `gatewayHostile: run ${n + 1} in ${((performance.now() - begun) / 1000).toFixed(0)} s, ` +
          `slow clients cut within ${(cut / 1000).toFixed(1)} s, ${residentOf(gateway).toFixed(0)} MiB resident`
      )
    }
    const sorted = waits.sort((a, b) => a - b)
    console.log(
      `gatewayHostile: answers ${JSON.stringify(Object.fromEntries([...statuses].sort()))}; a good client waited ` +
        `${sorted[Math.floor(sorted.length / 2)]!.toFixed(1)} ms (median), ${sorted.at(-1)!.toFixed(0)} ms (longest) in ${sorted.length} requests`
    )
  } finally {
    await gateway.stop()
    rmSync(folder, { recursive: true, force: true })
  }
}
