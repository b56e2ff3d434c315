/** Makes sample messages, at a rate or as fast as the pipeline takes them, for trying things out and for load. */
import { Cause, Clock, Effect, Schema, Stream } from "effect"
import * as Component from "../services/Component.ts"
import type { Delivery } from "../services/Delivery.ts"
import * as Envelope from "../services/Envelope.ts"
import * as Fields from "../services/Fields.ts"
import type { Source } from "../services/Source.ts"
import { Offsets } from "./Offsets.ts"
import * as Template from "./Template.ts"

export interface Options {
  /** Messages per second; absent means as fast as the pipeline takes them. */
  readonly rate?: number | undefined
  /** Absent means without end. */
  readonly count?: number | undefined
  /** Text as it is, anything else as JSON; a list is gone through in turn. Absent means sample orders. */
  readonly payload?: unknown
  /** The record's own key; may hold the placeholders of payloads. */
  readonly key?: string | undefined
}

/** Units: messages; bytes. What one array holds. */
const arrayMax = 256
const arrayBytesMax = 1024 * 1024
/** Units: milliseconds between two arrays at a rate. */
const tickMillis = 20

const utf8 = new TextEncoder()

export const make = (options: Options): Source => {
  const settled = new Offsets({ watermark: 1, settled: [] })
  const render = generator(options)
  const { count = Number.MAX_SAFE_INTEGER, rate } = options
  return {
    name: "generate",
    redelivers: true,
    answers: false,
    open: Effect.map(Clock.currentTimeMillis, (startedAt) => {
      const before = new Offsets(settled.snapshot())
      const first = before.watermark
      let next = first
      const pull = Effect.gen(function* () {
        if (next > count) return yield* Cause.done()
        if (rate !== undefined) yield* due(startedAt, rate, next - first)
        const now = yield* Clock.currentTimeMillis
        // At least the one that is due, however the division rounds.
        const dueCount = Math.floor(((now - startedAt) / 1000) * (rate ?? 0)) + 1 - (next - first)
        const allowed = rate === undefined ? arrayMax : Math.max(1, dueCount)
        const array: Delivery[] = []
        let bytes = 0
        for (let i = 0; i < Math.min(allowed, arrayMax) && next <= count && bytes < arrayBytesMax; i++, next++) {
          if (!before.see(next)) continue
          const envelope = render(next, now)
          bytes += envelope.payload.length
          array.push(deliveryOf(envelope, settled, next))
        }
        return array
      })
      return Stream.fromIterableEffectRepeat(pull)
    })
  }
}

export const component = Component.source({
  type: "generate",
  summary: "Sample messages, `count` of them at `rate` per second; payloads may hold {{n}}, {{uuid}} and {{now}}.",
  options: Schema.Struct({
    rate: Schema.optionalKey(Fields.Positive),
    count: Schema.optionalKey(Fields.int(0)),
    payload: Schema.optionalKey(Schema.Any),
    key: Schema.optionalKey(Schema.String)
  }),
  make: (options) => Effect.succeed(make(options))
})

/** Waits until the message after `given` is due, and at least a tick, so that a high rate comes in arrays. */
const due = (startedAt: number, rate: number, given: number): Effect.Effect<void> =>
  Effect.flatMap(Clock.currentTimeMillis, (now) => {
    const wait = startedAt + (given / rate) * 1000 - now
    return wait <= 0 ? Effect.void : Effect.sleep(Math.max(Math.ceil(wait), tickMillis))
  })

const generator = ({ key, payload }: Options) => {
  const process = crypto.randomUUID()
  const payloads = payload === undefined ? sampleOrders : Array.isArray(payload) ? payload : [payload]
  const templates = payloads.map(Template.compile)
  const keyOf = key === undefined ? undefined : Template.compile(key)
  return (n: number, now: number): Envelope.Envelope => ({
    id: `${process}-${n}`,
    source: "generate",
    key: keyOf?.({ n, now }),
    headers: Envelope.noHeaders,
    payload: utf8.encode(templates[(n - 1) % templates.length]!({ n, now })),
    receivedAt: now,
    attempt: 1,
    position: n
  })
}

const deliveryOf = (envelope: Envelope.Envelope, settled: Offsets, n: number): Delivery => {
  settled.see(n)
  return {
    envelope,
    settle: ({ _tag }) => {
      if (_tag !== "Nacked") settled.settle(n)
    }
  }
}

/** A small shop: orders of three customers on their way from created to paid, shipped or cancelled. */
const sampleOrders = ["created", "paid", "shipped", "created", "paid", "created", "cancelled"].map((status, i) => ({
  message_type: `order.${status}`,
  id: "{{n}}",
  customerId: `customer-${(i % 3) + 1}`,
  status,
  amount: [12.5, 99.9, 250, 7][i % 4],
  at: "{{now}}"
}))
