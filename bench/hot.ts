/** The hot path beside a raw loop: CPU per message, and the share of the ideal rate with handlers that sleep. */
import { Cause, Duration, Effect, Result, Schema, Stream } from "effect"
import * as CodecJson from "../src/layers/CodecJson.ts"
import * as DeadLettersMemory from "../src/layers/DeadLettersMemory.ts"
import * as DetectorRules from "../src/layers/DetectorRules.ts"
import * as DispatcherJobs from "../src/layers/DispatcherJobs.ts"
import { noHeaders } from "../src/services/Envelope.ts"
import * as Pipeline from "../src/streams/Pipeline.ts"
import type { Plan } from "../src/streams/Plan.ts"
import { defect, retryDefault } from "../src/streams/Target.ts"

const bytes = new TextEncoder()
const Order = Schema.Struct({
  id: Schema.String,
  customer: Schema.String,
  amount: Schema.Finite,
  status: Schema.String,
  note: Schema.String
})
const message = (i: number, keys: number) =>
  bytes.encode(
    JSON.stringify({
      id: `order-${i}`,
      customer: `c${i % keys}`,
      amount: i % 1000,
      status: i % 3 === 0 ? "open" : "paid",
      note: "x".repeat(60)
    })
  )

let sum = 0
const job = (payload: { amount: number }) => {
  sum += payload.amount
}

const plan = (payloads: Uint8Array[], over: Partial<Plan> = {}): { plan: Plan; source: { done: number } } => {
  const source = lean(payloads)
  const detector = DetectorRules.make([{ event: "order.paid", when: { "payload.status": "paid" } }])
  if (Result.isFailure(detector)) throw new Error("rules")
  return {
    source,
    plan: {
      name: "bench",
      source,
      codec: CodecJson.make(CodecJson.schema(Order)),
      key: (e) => (e.payload as any).customer,
      order: "key",
      unkeyed: "none",
      concurrency: 64,
      buffer: { messagesMax: 4096, bytesMax: 64 * 1024 * 1024 },
      detectors: [detector.success],
      legs: [
        {
          name: "job",
          on: ["order.paid"],
          dispatcher: DispatcherJobs.make({ jobs: { job: (i) => job(i.payload as any) } }),
          verdict: defect
        }
      ],
      publishes: [],
      retry: retryDefault,
      onDecodeError: "bury",
      onKeyError: "bury",
      batch: undefined,
      dedupe: undefined,
      ...over
    }
  }
}

class Lean {
  envelope
  state
  constructor(envelope: any, state: any) {
    this.envelope = envelope
    this.state = state
  }
  settle() {
    this.state.done++
  }
}
const lean = (payloads: Uint8Array[]) => {
  const state: any = { name: "lean", redelivers: true, answers: false, done: 0 }
  let at = 0
  state.open = Effect.succeed(
    Stream.fromPull(
      Effect.succeed(
        Effect.suspend(() => {
          if (at >= payloads.length) return Cause.done()
          const out = [] as any
          const now = Date.now()
          for (const end = Math.min(at + 256, payloads.length); at < end; at++)
            out.push(
              new Lean(
                {
                  id: "m" + at,
                  source: "lean",
                  key: undefined,
                  headers: noHeaders,
                  payload: payloads[at]!,
                  receivedAt: now,
                  attempt: 1,
                  partition: undefined,
                  position: undefined
                },
                state
              )
            )
          return Effect.succeed(out)
        })
      )
    )
  )
  return state
}
const raw = (payloads: Uint8Array[]) => {
  let committed = 0
  for (let i = 0; i < payloads.length; i++) {
    const p = JSON.parse(Buffer.from(payloads[i]!.buffer, payloads[i]!.byteOffset, payloads[i]!.byteLength).toString())
    if (
      typeof p.id === "string" &&
      typeof p.customer === "string" &&
      typeof p.amount === "number" &&
      typeof p.status === "string" &&
      typeof p.note === "string"
    ) {
      if (p.status === "paid") job(p)
    }
    if ((i & 255) === 255) committed = i
  }
  return committed
}
const cpu = async (f: () => unknown) => {
  const a = process.threadCpuUsage()
  await f()
  const b = process.threadCpuUsage(a)
  return b.user + b.system
}
const run = (p: Plan) =>
  Effect.runPromise(
    Effect.scoped(Effect.flatMap(Pipeline.start(p), (h) => h.await)).pipe(Effect.provide(DeadLettersMemory.layer))
  )

for (const [n, keys] of (process.argv[2]
  ? [[+process.argv[2]!, 1000]]
  : [
      [10_000, 1000],
      [100_000, 1000],
      [100_000, 1],
      [100_000, 100_000],
      [1_000_000, 1000]
    ]) as [number, number][]) {
  const payloads = Array.from({ length: n }, (_, i) => message(i, keys))
  const rs: number[] = [],
    ps: number[] = []
  for (let r = 0; r < 7; r++) {
    rs.push((await cpu(() => raw(payloads))) / n)
    const { plan: p, source } = plan(payloads)
    ps.push((await cpu(() => run(p))) / n)
    if (source.done !== n) throw new Error("lost")
  }
  const med = (a: number[]) => a.slice(2).sort((x, y) => x - y)[Math.floor((a.length - 2) / 2)]!
  console.log(
    n,
    keys,
    "raw us",
    med(rs).toFixed(2),
    "road us",
    med(ps).toFixed(2),
    "ratio",
    (med(ps) / med(rs)).toFixed(2)
  )
}
const N = 6400
const { plan: p } = plan(
  Array.from({ length: N }, (_, i) => message(i, 1000)),
  {
    detectors: [{ name: "all", events: ["x"], detect: (event) => [{ name: "x", event }] }],
    legs: [
      {
        name: "sleep",
        on: undefined,
        dispatcher: {
          name: "s",
          dispatch: () => Effect.as(Effect.sleep(Duration.millis(10)), { kind: "accepted" as const, payload: null })
        },
        verdict: defect
      }
    ]
  }
)
const t = performance.now()
await run(p)
const rate = (N / (performance.now() - t)) * 1000
console.log("sleep 10ms c=64 rate", rate.toFixed(0), "share", (rate / 6400).toFixed(2))
