/** The event gateway beside one written by hand with Fastify and ajv: 1-KiB events, 64 connections, the same publisher. */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, rmSync } from "node:fs"
import { createRequire } from "node:module"
import { loadavg, tmpdir } from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { setTimeout as sleep } from "node:timers/promises"
import { cpuOf, main, type Program, perSecond, program, sluice } from "./kafka.ts"
import { median } from "./shop.ts"

const connections = 64
const seconds = 10
const warmSeconds = 3
const rounds = 3
const kinds = ["fastify", "sluice"] as const
/** Into the embedded topic, and nowhere: what is left then is HTTP and the check. */
const publishers = ["topic", "none"] as const

type Kind = (typeof kinds)[number]
type Publisher = (typeof publishers)[number]

const schema = {
  type: "object",
  required: ["id", "amount", "note"],
  properties: {
    id: { type: "string", minLength: 1 },
    amount: { type: "number", minimum: 0 },
    note: { type: "string", maxLength: 2000 }
  },
  additionalProperties: false
}

/** Exactly 1 KiB. */
const event = ((): string => {
  const of = (note: string) => JSON.stringify({ id: "order-17", amount: 12.5, note })
  return of("x".repeat(1024 - of("").length))
})()

const config = (publisher: Publisher, filename: string): string => `
http: { port: 0 }
storage: { sqlite: ${filename} }
pipelines:
  gateway: { source: { type: gateway }, publish: [{ type: ${publisher} }] }
`

/** Units: requests; milliseconds, whole ones; microseconds of the contender's CPU for each request. */
interface Measured {
  readonly rate: number
  readonly p50: number
  readonly p99: number
  readonly cpuMicros: number
}

interface Fired {
  readonly "2xx": number
  readonly non2xx: number
  readonly errors: number
  readonly duration: number
  readonly latency: { readonly p50: number; readonly p99: number }
}

/** In a process of its own. */
const fire = async (url: string, duration: number): Promise<Fired> => {
  const autocannon = createRequire(import.meta.url).resolve("autocannon")
  const args = ["-j", "-n", "-c", `${connections}`, "-d", `${duration}`, "-m", "POST", "-b", event]
  const child = spawn(process.execPath, [autocannon, ...args, "-H", "content-type=application/json", url], {
    stdio: ["ignore", "pipe", "inherit"]
  })
  let said = ""
  child.stdout.setEncoding("utf8").on("data", (text) => {
    said += text
  })
  const [code] = await once(child, "close")
  if (code !== 0) throw new Error(`autocannon ended with ${code}`)
  const fired = JSON.parse(said) as Fired
  if (fired.non2xx + fired.errors > 0)
    throw new Error(`${fired.non2xx} answers were no success, ${fired.errors} errors`)
  return fired
}

const start = (kind: Kind, publisher: Publisher, filename: string): Program =>
  kind === "sluice"
    ? sluice(config(publisher, filename))
    : program([join(import.meta.dirname, "gatewayFastify.ts"), publisher, filename])

const measure = async (kind: Kind, publisher: Publisher): Promise<Measured> => {
  const folder = mkdtempSync(join(tmpdir(), "sluice-bench-"))
  const filename = join(folder, "bench.db")
  const contender = start(kind, publisher, filename)
  try {
    const url = `${await addressOf(contender)}/api/v1/clients/shop/events/order`
    const headers = { "content-type": "application/json" }
    const body = JSON.stringify({ type: "json", schema })
    const registered = await fetch(`${url}/versions`, { method: "POST", headers, body })
    if (registered.status !== 201) throw new Error(`${kind} registered nothing: ${await registered.text()}`)
    const refused = await fetch(url, { method: "POST", headers, body: '{"id":"1","amount":-1,"note":""}' })
    if (refused.status !== 422) throw new Error(`${kind} takes what is not valid: ${refused.status}`)
    const warm = await fire(url, warmSeconds)
    const before = cpuOf(contender)
    const fired = await fire(url, seconds)
    const cpuMicros = (cpuOf(contender) - before) / fired["2xx"]
    if (publisher === "topic") await check(filename, warm["2xx"] + fired["2xx"])
    return { rate: fired["2xx"] / fired.duration, p50: fired.latency.p50, p99: fired.latency.p99, cpuMicros }
  } finally {
    await contender.stop()
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Where a program that listens says it does. */
export const addressOf = async ({ child, said }: Program): Promise<string> => {
  for (;;) {
    const found = /listening on (http:\/\/[^\s"]+)/.exec(said())
    if (found !== null) return found[1]!
    if (child.exitCode !== null) throw new Error(`the contender ended:\n${said()}`)
    await sleep(20)
  }
}

/** Everything that was answered is in the topic; those autocannon did not wait for may be. */
const check = async (filename: string, answered: number): Promise<void> => {
  await sleep(500)
  const store = new DatabaseSync(filename, { readOnly: true, timeout: 5000 })
  try {
    const row = store.prepare("SELECT next FROM topics WHERE name = 'shop.order'").get() as { readonly next: number }
    if (row.next < answered || row.next > answered + 2 * connections) {
      throw new Error(`${answered} were answered, ${row.next} lie in the topic`)
    }
  } finally {
    store.close()
  }
}

const shown = (all: ReadonlyArray<Measured>): string => {
  const of = (value: (one: Measured) => number) => all.map(value)
  return (
    `${perSecond(median(of(({ rate }) => rate)))} (${of(({ rate }) => rate)
      .map(perSecond)
      .join(", ")}), ` +
    `p50 ${median(of(({ p50 }) => p50))} ms, p99 ${median(of(({ p99 }) => p99))} ms (${of(({ p99 }) => p99).join(", ")}), ` +
    `${median(of(({ cpuMicros }) => cpuMicros)).toFixed(0)} us of CPU each`
  )
}

export const run = async (): Promise<void> => {
  console.log(
    `gateway: ${main}, events of ${event.length} bytes, ${connections} connections, ${rounds} rounds of ${seconds} s`
  )
  for (const publisher of publishers) {
    const measured: Record<Kind, Array<Measured>> = { fastify: [], sluice: [] }
    const loads: Array<string> = []
    for (let round = 0; round < rounds; round++) {
      // Who comes first changes, so that neither always has the quieter machine.
      for (const kind of round % 2 === 0 ? kinds : kinds.toReversed()) {
        loads.push(loadavg()[0]!.toFixed(1))
        measured[kind].push(await measure(kind, publisher))
      }
    }
    const { fastify, sluice } = measured
    const ratio = (value: (one: Measured) => number) => median(sluice.map((one, i) => value(one) / value(fastify[i]!)))
    console.log(
      `gateway, publisher ${publisher}: Fastify and ajv ${shown(fastify)}; Sluice ${shown(sluice)}: ` +
        `${ratio(({ rate }) => rate).toFixed(2)} of its rate (wanted: at least 0.85), ` +
        `${ratio(({ p99 }) => p99).toFixed(2)} of its p99 (wanted: at most 1.2), ` +
        `${ratio(({ cpuMicros }) => cpuMicros).toFixed(2)} of its CPU; the machine's load before each: ${loads.join(", ")}`
    )
  }
}
