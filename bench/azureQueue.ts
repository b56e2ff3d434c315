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

/** Units: milliseconds without a message that is done: now and then Azurite stops answering, whoever asks. */
const stallMillis = 20_000
/** Tries of a measurement. */
const triesMax = 4

/** Undefined when Azurite stalled. */
const measure = async (kind: (typeof kinds)[number]): Promise<Measured | undefined> => {
  const azurite = await Azurite.start()
  // The SDK wants it spelled out.
  const connectionString = `DefaultEndpointsProtocol=http;${azurite.connectionString}`
  const queue = new QueueClient(connectionString, "bench")
  await queue.create()
  const child = fork(join(import.meta.dirname, "azureQueueContender.ts"), [kind, connectionString, "bench"])
  let now = { handled: 0, cpuMicros: 0 }
  let doneAt = performance.now()
  child.on("message", (message) => {
    const before = now.handled
    now = message as typeof now
    if (now.handled > before) doneAt = performance.now()
  })
  const ended = new Promise((resolve) => child.once("exit", resolve))
  const stop = new AbortController()
  const fed = feed(queue, () => now.handled, stop.signal)
  try {
    let first = { at: 0, cpuMicros: 0 }
    while (now.handled < count) {
      if (performance.now() - doneAt > stallMillis) return undefined
      if (first.at === 0 && now.handled > 0) first = { at: performance.now(), cpuMicros: now.cpuMicros }
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    const rate = count / ((performance.now() - first.at) / 1000)
    return { rate, cpuMicros: (now.cpuMicros - first.cpuMicros) / now.handled }
  } finally {
    stop.abort()
    child.kill("SIGKILL")
    await Promise.allSettled([ended, fed])
    await azurite.stop()
  }
}

/** Keeps the queue filled, and shallow. */
const feed = async (queue: QueueClient, handled: () => number, abortSignal: AbortSignal): Promise<void> => {
  for (let sent = 0; sent < count + depth && !abortSignal.aborted; ) {
    const room = Math.min(depth - (sent - handled()), 16)
    if (room < 8) await new Promise((resolve) => setTimeout(resolve, 5))
    else {
      const bodies = Array.from({ length: room }, (_, i) => `{"n":${sent + i},"pad":"${"x".repeat(180)}"}`)
      await Promise.all(bodies.map((body) => queue.sendMessage(body, { abortSignal })))
      sent += room
    }
  }
}

const again = async (kind: (typeof kinds)[number]): Promise<Measured> => {
  for (let tries = 1; ; tries++) {
    const measured = await measure(kind)
    if (measured !== undefined) return measured
    if (tries === triesMax) throw new Error(`${kind}: Azurite stalled ${tries} times`)
    console.log(`azureQueue, ${kind}: Azurite stalled, measuring again`)
  }
}

const shown = (all: ReadonlyArray<Measured>): string =>
  `${median(all.map(({ rate }) => rate)).toFixed(0)}/s (${all.map(({ rate }) => rate.toFixed(0)).join(", ")}), ` +
  `${median(all.map(({ cpuMicros }) => cpuMicros)).toFixed(0)} us of CPU`

export const run = async (): Promise<void> => {
  const measured: Record<(typeof kinds)[number], Array<Measured>> = { workers: [], batches: [], sluice: [] }
  for (let round = 0; round < rounds; round++) for (const kind of kinds) measured[kind].push(await again(kind))
  const { batches, sluice, workers } = measured
  const against = (others: ReadonlyArray<Measured>): string =>
    median(sluice.map(({ rate }, i) => rate / others[i]!.rate)).toFixed(2)
  console.log(
    `azureQueue: 32 workers ${shown(workers)}, batches of 32 ${shown(batches)}, Sluice ${shown(sluice)}: ` +
      `${against(workers)} of the workers, ${against(batches)} of the batches`
  )
}
