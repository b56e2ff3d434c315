/** 3,000 messages through an Azure queue: Sluice beside two bare loops of receive, handle and delete, on Azurite. */
import { fork } from "node:child_process"
import { join } from "node:path"
import { QueueClient } from "@azure/storage-queue"
import * as Azurite from "../test/services/Azurite.ts"
import { median } from "./shop.ts"

const count = 3_000
/** Units: messages that lie in the queue or are at work; Azurite's cost grows with the depth. */
const depth = 96
const rounds = 3
const kinds = ["workers", "batches", "sluice"] as const

interface Measured {
  readonly rate: number
  readonly cpuMicros: number
}

let runs = 0

const measure = async (connectionString: string, kind: (typeof kinds)[number]): Promise<Measured> => {
  const name = `bench-${++runs}`
  const queue = new QueueClient(connectionString, name)
  await queue.create()
  const child = fork(join(import.meta.dirname, "azureQueueContender.ts"), [kind, connectionString, name])
  let now = { handled: 0, cpuMicros: 0 }
  child.on("message", (message) => {
    now = message as typeof now
  })
  const ended = new Promise((resolve) => child.once("exit", resolve))
  try {
    let sent = 0
    let firstAt = 0
    let firstCpu = 0
    const until = performance.now() + 300_000
    while (now.handled < count) {
      if (performance.now() > until) throw new Error(`${kind}: ${now.handled} of ${count} after 5 minutes`)
      if (firstAt === 0 && now.handled > 0) {
        firstAt = performance.now()
        firstCpu = now.cpuMicros
      }
      const room = Math.min(depth - (sent - now.handled), count + depth - sent)
      if (room < 8) await new Promise((resolve) => setTimeout(resolve, 5))
      else {
        const bodies = Array.from(
          { length: Math.min(room, 16) },
          (_, i) => `{"n":${sent + i},"pad":"${"x".repeat(180)}"}`
        )
        await Promise.all(bodies.map((body) => queue.sendMessage(body)))
        sent += bodies.length
      }
    }
    return {
      rate: count / ((performance.now() - firstAt) / 1000),
      cpuMicros: (now.cpuMicros - firstCpu) / now.handled
    }
  } finally {
    child.kill("SIGKILL")
    await ended
    await queue.delete()
  }
}

const shown = (all: ReadonlyArray<Measured>): string =>
  `${median(all.map(({ rate }) => rate)).toFixed(0)}/s (${all.map(({ rate }) => rate.toFixed(0)).join(", ")}), ` +
  `${median(all.map(({ cpuMicros }) => cpuMicros)).toFixed(0)} us of CPU`

export const run = async (): Promise<void> => {
  const azurite = await Azurite.start()
  // The SDK wants it spelled out.
  const connectionString = `DefaultEndpointsProtocol=http;${azurite.connectionString}`
  const measured: Record<(typeof kinds)[number], Array<Measured>> = { workers: [], batches: [], sluice: [] }
  try {
    for (let round = 0; round < rounds; round++) {
      for (const kind of kinds) measured[kind].push(await measure(connectionString, kind))
    }
  } finally {
    await azurite.stop()
  }
  const { batches, sluice, workers } = measured
  const against = (others: ReadonlyArray<Measured>): string =>
    median(sluice.map(({ rate }, i) => rate / others[i]!.rate)).toFixed(2)
  console.log(
    `azureQueue: 32 workers ${shown(workers)}, batches of 32 ${shown(batches)}, Sluice ${shown(sluice)}: ` +
      `${against(workers)} of the workers, ${against(batches)} of the batches`
  )
}
