/** 200 event modules beside one switch written by hand over the same conditions, for the same database events. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Effect } from "effect"
import * as DeadLettersMemory from "../src/layers/DeadLettersMemory.ts"
import * as DetectorModules from "../src/layers/DetectorModules.ts"
import * as EventModules from "../src/layers/EventModules.ts"
import { InProcess } from "../src/layers/EventModulesRun.ts"
import * as HasuraCompat from "../src/layers/HasuraCompat.ts"
import { noHeaders } from "../src/services/Envelope.ts"
import type { Event } from "../src/services/Event.ts"
import * as Define from "../src/streams/Define.ts"
import * as Hasura from "../src/streams/Hasura.ts"
import * as SourceMemory from "../src/streams/SourceMemory.ts"
import { median } from "./shop.ts"

const modules = 200
const events = 5_000
const rounds = 40
/** Rounds before: 200 detectors are compiled as they get warm, which is ten seconds of 5,000 events/s. */
const warmUp = 10

/** As the predecessor's document writes a detector. */
const moduleText = (n: number): string => `
import { columnHasChanged, parseHasuraEvent } from "sluice/hasura"

export const detector = (event, hasuraEvent) => {
  const { dbEvent, operation } = parseHasuraEvent(hasuraEvent)
  switch (operation) {
    case "UPDATE": {
      const statusChanged = columnHasChanged("status", dbEvent)
      const isThisEvent = dbEvent?.new?.status === "s${n}"
      return statusChanged && isThisEvent
    }
    default:
      return false
  }
}

export const handler = () => undefined
`

interface Row {
  readonly status: string
}

interface Payload {
  readonly event: { readonly op: string; readonly data: { readonly old: Row | null; readonly new: Row | null } }
}

/** The same conditions by hand, in one switch, with the same words: each is asked, as each of the modules is. */
const byHand = ((): ((payload: Payload) => Array<string>) => {
  const conditions = Array.from(
    { length: modules },
    (_, n) => `if (columnHasChanged("status", dbEvent) && dbEvent?.new?.status === "s${n}") found.push("e${n}")`
  )
  const make = new Function(
    "{ columnHasChanged, parseHasuraEvent }",
    `return (payload) => {
      const found = []
      const { dbEvent, operation } = parseHasuraEvent(payload)
      switch (operation) {
        case "UPDATE":
          ${conditions.join("\n")}
          break
        default:
      }
      return found
    }`
  )
  return make(HasuraCompat)
})()

const payloadOf = (i: number): object => ({
  id: `id-${i}`,
  created_at: "2026-11-21T18:04:12.492Z",
  trigger: { name: "moves" },
  table: { schema: "public", name: "moves" },
  event: {
    op: i % 5 === 0 ? "INSERT" : "UPDATE",
    session_variables: { "x-hasura-role": "user" },
    data: {
      old: i % 5 === 0 ? null : { id: i, status: "open", amount: 3, note: "x".repeat(40) },
      new: { id: i, status: i % 2 === 0 ? `s${i % modules}` : "open", amount: 3, note: "x".repeat(40) }
    }
  }
})

const eventOf = (payload: unknown): Event => ({
  envelope: {
    id: "id",
    source: "bench",
    key: undefined,
    headers: noHeaders,
    payload: new Uint8Array(),
    receivedAt: 0,
    attempt: 1
  },
  payload,
  key: undefined
})

const micros = (count: number, run: () => void): number => {
  const before = process.cpuUsage()
  run()
  const { system, user } = process.cpuUsage(before)
  return (system + user) / count
}

export const run = async (): Promise<void> => {
  const directory = mkdtempSync(join(tmpdir(), "sluice-bench-"))
  mkdirSync(join(directory, "events"))
  writeFileSync(join(directory, "package.json"), '{"type":"module"}')
  for (let n = 0; n < modules; n++) writeFileSync(join(directory, "events", `e${n}.js`), moduleText(n))
  try {
    const loaded = await EventModules.load(join(directory, "events"))
    if (loaded.modules.length !== modules) throw new Error(JSON.stringify(loaded.problems))
    const inProcess = new InProcess(loaded.modules, [], { timeoutMillis: 10_000, warn: console.error })
    const detector = DetectorModules.make(inProcess)
    const texts = Array.from({ length: events }, (_, i) => JSON.stringify(payloadOf(i)))
    const ratios: Array<number> = []
    const ours: Array<number> = []
    const hand: Array<number> = []
    for (let round = 0; round < rounds; round++) {
      const payloads = texts.map((text) => JSON.parse(text) as Payload)
      let expected = 0
      const handMicros = micros(events, () => {
        for (const payload of payloads) expected += byHand(payload).length
      })
      let found = 0
      const looked = payloads.map(eventOf)
      const ourMicros = micros(events, () => {
        for (const event of looked) found += (detector.detect(event) as ReadonlyArray<unknown>).length
      })
      if (found !== expected) throw new Error(`${found} were found, by hand ${expected}`)
      if (round < warmUp) continue
      hand.push(handMicros)
      ours.push(ourMicros)
      ratios.push(ourMicros / handMicros)
    }
    console.log(
      `modules: ${modules} modules ${median(ours).toFixed(1)} us, by hand ${median(hand).toFixed(1)} us of CPU per event: ` +
        `${median(ratios).toFixed(2)} times (wanted: at most 2)`
    )
    await road(detector, texts)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

/** The whole road, fed as fast as it takes. */
const road = async (detector: DetectorModules.ActingDetector, texts: ReadonlyArray<string>): Promise<void> => {
  const all = Array.from({ length: 4 }, () => texts).flat()
  const plan = Define.define({
    name: "modules",
    source: SourceMemory.fromIterable(all.map((payload) => ({ payload }))),
    decode: Hasura.codec,
    detect: [detector]
  })
  const before = performance.now()
  await Effect.runPromise(Define.run(plan).pipe(Effect.provide(DeadLettersMemory.layer)))
  const rate = all.length / ((performance.now() - before) / 1000)
  console.log(`modules: the road with them ${rate.toFixed(0)} events/s (wanted: 5000)`)
}
