import { Schema, Result } from "effect"
import * as CodecJson from "../src/layers/CodecJson.ts"
import * as DetectorRules from "../src/layers/DetectorRules.ts"
import * as DispatcherJobs from "../src/layers/DispatcherJobs.ts"
import * as Utf8 from "../src/layers/Utf8.ts"
const bytes = new TextEncoder()
const Order = Schema.Struct({ id: Schema.String, customer: Schema.String, amount: Schema.Finite, status: Schema.String, note: Schema.String })
const message = (i: number, keys: number) =>
  bytes.encode(JSON.stringify({ id: `order-${i}`, customer: `c${i % keys}`, amount: i % 1000, status: i % 3 === 0 ? "open" : "paid", note: "x".repeat(60) }))
const n = 300000
const payloads = Array.from({ length: n }, (_, i) => message(i, 1000))
let sum = 0
const codec = CodecJson.make(CodecJson.schema(Order)), codec0 = CodecJson.make()
const det = DetectorRules.make([{ event: "order.paid", when: { "payload.status": "paid" } }])
if (Result.isFailure(det)) throw 1
const d = det.success
const jobs = DispatcherJobs.make({ jobs: { job: (i) => { sum += (i.payload as any).amount } } })
const env = (i: number): any => ({ id: "m" + i, source: "lean", key: undefined, headers: {}, payload: payloads[i]!, receivedAt: 1, attempt: 1, partition: undefined, position: undefined })
const variants: Record<string, (i: number) => void> = {
  raw: (i) => { const u = payloads[i]!; const p = JSON.parse(Buffer.from(u.buffer, u.byteOffset, u.byteLength).toString()); if (typeof p.id === "string" && typeof p.customer === "string" && typeof p.amount === "number" && typeof p.status === "string" && typeof p.note === "string") if (p.status === "paid") sum += p.amount },
  utf8: (i) => { sum += Utf8.decode(payloads[i]!)!.length },
  parse: (i) => { sum += JSON.parse(Utf8.decode(payloads[i]!)!).amount },
  codec0: (i) => { sum += (codec0.decode(env(i)) as any).payload.amount },
  codec: (i) => { sum += (codec.decode(env(i)) as any).payload.amount },
  detect: (i) => { sum += (d.detect(codec.decode(env(i)) as any) as any).length },
  dispatch: (i) => { const e = codec.decode(env(i)) as any; for (const x of d.detect(e) as any) sum += (jobs.dispatch(x) as any).kind.length },
}
for (let r = 0; r < 4; r++) for (const [name, f] of Object.entries(variants)) {
  const a = process.threadCpuUsage(); for (let i = 0; i < n; i++) f(i); const b = process.threadCpuUsage(a)
  if (r === 3) console.log(name, ((b.user + b.system) / n * 1000).toFixed(0), "ns")
}
