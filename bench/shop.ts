/** What the benchmarks share: orders as bytes, the pipeline that works them, the raw loop beside it, and a lean source. */
import { Cause, Effect, Result, Schema, Stream } from "effect"
import * as CodecJson from "../src/layers/CodecJson.ts"
import * as DeadLettersMemory from "../src/layers/DeadLettersMemory.ts"
import * as DetectorRules from "../src/layers/DetectorRules.ts"
import * as DispatcherJobs from "../src/layers/DispatcherJobs.ts"
import type { Delivery } from "../src/services/Delivery.ts"
import { type Envelope, noHeaders } from "../src/services/Envelope.ts"
import type { Source } from "../src/services/Source.ts"
import * as Define from "../src/streams/Define.ts"
import type { Plan } from "../src/streams/Plan.ts"

const utf8 = new TextEncoder()

/** About 150 bytes each. */
export const orders = (count: number, keys: number): Array<Uint8Array> =>
  Array.from({ length: count }, (_, i) =>
    utf8.encode(
      JSON.stringify({
        id: `order-${i}`,
        customer: `c${i % keys}`,
        amount: i % 1000,
        status: i % 3 === 0 ? "open" : "paid",
        note: "x".repeat(60)
      })
    )
  )

const Order = Schema.Struct({
  id: Schema.String,
  customer: Schema.String,
  amount: Schema.Finite,
  status: Schema.String,
  note: Schema.String
})

let booked = 0
const book = (order: { readonly amount: number }): void => {
  booked += order.amount
}

/** The raw loop: parse, check by hand, detect, work, and commit per 256. */
export const raw = (payloads: ReadonlyArray<Uint8Array>): number => {
  let committed = 0
  for (let i = 0; i < payloads.length; i++) {
    const bytes = payloads[i]!
    const order = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString())
    if (
      typeof order.id === "string" &&
      typeof order.customer === "string" &&
      typeof order.amount === "number" &&
      typeof order.status === "string" &&
      typeof order.note === "string" &&
      order.status === "paid"
    ) {
      book(order)
    }
    if ((i & 255) === 255) committed = i
  }
  return committed + booked
}

class LeanDelivery implements Delivery {
  declare readonly envelope: Envelope
  declare private readonly source: LeanSource

  constructor(envelope: Envelope, source: LeanSource) {
    this.envelope = envelope
    this.source = source
  }

  settle(): void {
    this.source.settled++
  }
}

/** A memory source that only counts: remembering each message would be measured too. */
export class LeanSource implements Source {
  readonly name = "lean"
  readonly redelivers = true
  readonly answers = false
  settled = 0
  private readonly payloads: ReadonlyArray<Uint8Array>

  constructor(payloads: ReadonlyArray<Uint8Array>) {
    this.payloads = payloads
  }

  readonly open = Effect.sync(() => {
    let at = 0
    const pull = Effect.suspend(() => (at < this.payloads.length ? Effect.succeed(this.array(at)) : Cause.done()))
    return Stream.fromPull(
      Effect.succeed(
        Effect.tap(pull, (array) =>
          Effect.sync(() => {
            at += array.length
          })
        )
      )
    )
  })

  private array(from: number): readonly [Delivery, ...Array<Delivery>] {
    const receivedAt = Date.now()
    const array: Array<Delivery> = []
    for (let i = from; i < Math.min(from + 256, this.payloads.length); i++) {
      array.push(
        new LeanDelivery(
          {
            id: `m${i}`,
            source: "lean",
            key: undefined,
            headers: noHeaders,
            payload: this.payloads[i]!,
            receivedAt,
            attempt: 1,
            partition: undefined,
            position: i
          },
          this
        )
      )
    }
    return array as unknown as readonly [Delivery, ...Array<Delivery>]
  }
}

/** JSON decode with schema, rules, keyed lanes, a synchronous job, acks on. */
export const plan = (source: Source): Plan =>
  Define.define({
    name: "shop",
    source,
    decode: CodecJson.make(CodecJson.schema(Order)),
    key: ({ payload }) => (payload as typeof Order.Type).customer,
    detect: [Result.getOrThrow(DetectorRules.make([{ event: "order.paid", when: { "payload.status": "paid" } }]))],
    dispatch: [
      {
        on: "order.paid",
        run: DispatcherJobs.make({ jobs: { book: ({ payload }) => book(payload as typeof Order.Type) } })
      }
    ]
  })

export const runPlan = (plan: Plan): Promise<void> =>
  Effect.runPromise(Define.run(plan).pipe(Effect.provide(DeadLettersMemory.layer)))

/** CPU time of this thread. Units: microseconds per message. */
export const cpuPer = async (count: number, work: () => unknown): Promise<number> => {
  const before = process.threadCpuUsage()
  await work()
  const { system, user } = process.threadCpuUsage(before)
  return (system + user) / count
}

export const median = (values: ReadonlyArray<number>): number => values.toSorted((a, b) => a - b)[values.length >> 1]!

/** The road and the raw loop in turn, so that both see the same moods of the machine. */
export const compare = async (count: number, keys: number, rounds: number) => {
  const payloads = orders(count, keys)
  const raws: Array<number> = []
  const roads: Array<number> = []
  for (let round = 0; round < rounds + 2; round++) {
    const source = new LeanSource(payloads)
    const rawMicros = await cpuPer(count, () => raw(payloads))
    const roadMicros = await cpuPer(count, () => runPlan(plan(source)))
    if (source.settled !== count) throw new Error(`settled ${source.settled} of ${count}`)
    if (round < 2) continue
    raws.push(rawMicros)
    roads.push(roadMicros)
  }
  return { raw: median(raws), road: median(roads), ratio: median(roads.map((road, i) => road / raws[i]!)) }
}
