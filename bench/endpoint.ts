/** An HTTP endpoint in a process of its own: echoes each body after 10 ms; `/stats` says when requests came, and begins anew. */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"

const delayMillis = 10

/** Units: milliseconds since 1970. */
export interface Stats {
  readonly count: number
  readonly firstAt: number
}

export interface Endpoint {
  readonly url: string
  /** Since the last call of this. */
  readonly stats: () => Promise<Stats>
  readonly stop: () => void
}

export const start = async (): Promise<Endpoint> => {
  const child = spawn(process.execPath, [import.meta.filename], { stdio: ["pipe", "pipe", "inherit"] })
  const [port] = await once(child.stdout, "data")
  const url = `http://127.0.0.1:${Number(port)}`
  return {
    url: `${url}/`,
    stats: async () => (await fetch(`${url}/stats`)).json() as Promise<Stats>,
    stop: () => void child.kill()
  }
}

const serve = (): void => {
  // Whoever started it is gone.
  process.stdin.resume().once("end", () => process.exit())
  let count = 0
  let firstAt = 0
  const server = createServer((request, response) => {
    if (request.url === "/stats") {
      response.end(JSON.stringify({ count, firstAt } satisfies Stats))
      count = 0
      return
    }
    if (count++ === 0) firstAt = Date.now()
    const chunks: Array<Buffer> = []
    request.on("data", (chunk) => chunks.push(chunk))
    request.on("end", () => setTimeout(() => response.end(Buffer.concat(chunks)), delayMillis))
  })
  server.keepAliveTimeout = 60_000
  server.listen(0, "127.0.0.1", () => console.log((server.address() as AddressInfo).port))
}

if (import.meta.main) serve()
