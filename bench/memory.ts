/** A dead endpoint for 60 s and two generators at full speed: the size of the process, and that it goes on by itself. */
import { spawn } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { createServer } from "node:http"
import { tmpdir } from "node:os"
import { join } from "node:path"

const seconds = 60
const port = 19_471

const pipeline = `
    source: { type: generate, payload: { n: "{{n}}", text: "${"x".repeat(1000)}" } }
    key: payload.n
    dispatch: [{ type: http, url: "http://127.0.0.1:${port}/" }]
`

export const run = async (): Promise<void> => {
  const folder = mkdtempSync(join(tmpdir(), "sluice-"))
  writeFileSync(join(folder, "two.yaml"), `pipelines:\n  a:${pipeline}  b:${pipeline}`)
  const child = spawn(process.execPath, [join(import.meta.dirname, "../dist/main.js"), "two.yaml"], {
    cwd: folder,
    stdio: "ignore"
  })
  const megabytes = (): number =>
    Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, "utf8"))![1]) / 1024
  const sizes: Array<number> = []
  for (let second = 0; second < seconds; second++) {
    await new Promise((next) => setTimeout(next, 1000))
    sizes.push(megabytes())
  }
  let answered = 0
  const server = createServer((request, response) => {
    answered++
    request.resume().on("end", () => response.end("{}"))
  })
  await new Promise<void>((listening) => server.listen(port, "127.0.0.1", listening))
  const before = performance.now()
  while (answered === 0 && performance.now() - before < 10_000) await new Promise((next) => setTimeout(next, 10))
  const resumed = performance.now() - before
  await new Promise((next) => setTimeout(next, 3000))
  child.kill("SIGKILL")
  server.closeAllConnections()
  server.close()
  rmSync(folder, { recursive: true, force: true })
  const warm = sizes.slice(10)
  console.log(
    `memory: ${Math.min(...warm).toFixed(0)} to ${Math.max(...warm).toFixed(0)} MB after warm-up (wanted: flat, under 300), went on ${(resumed / 1000).toFixed(1)} s after the endpoint came back, ${answered} answers in 3 s`
  )
}
