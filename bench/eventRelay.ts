/** Events of an EventRelay destination in batches of ten, posted or only added up: Sluice, its inbox on disk, beside a bare loop of gRPC. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import process from "node:process"
import { Deferred, Effect, Layer } from "effect"
import { Pool } from "undici"
import * as DeadLettersMemory from "../src/layers/DeadLettersMemory.ts"
import * as EventRelayGrpc from "../src/layers/EventRelayGrpc.ts"
import { events as methods } from "../src/layers/EventRelayProto.ts"
import * as InboxSqlite from "../src/layers/InboxSqlite.ts"
import * as PositionsSqlite from "../src/layers/PositionsSqlite.ts"
import * as Sqlite from "../src/layers/Sqlite.ts"
import * as SqliteLocks from "../src/layers/SqliteLocks.ts"
import * as SqliteMigrations from "../src/layers/SqliteMigrations.ts"
import { accepted } from "../src/services/Reply.ts"
import * as Define from "../src/streams/Define.ts"
import * as SourceEventRelay from "../src/streams/SourceEventRelay.ts"
import * as EventRelay from "../test/services/EventRelay.ts"
import * as EventRelayBare from "../test/services/EventRelayBare.ts"
import * as Endpoint from "./endpoint.ts"
import { median } from "./shop.ts"

const rounds = 6
/** Events of one pull, at most, and of one batch; and batches at the same time. */
const pullMax = 1_000
const batchSize = 10
const batchesMax = 10

interface Order {
  readonly id: string
  readonly lines: ReadonlyArray<{ readonly amount: number }>
}

/** What both do with each batch; the sum of its amounts comes back. */
interface Work {
  readonly name: string
  readonly events: number
  /** Of the bare loop's rate. */
  readonly wanted?: string
  readonly do: (orders: ReadonlyArray<Order>) => number | Promise<number>
}

const sum = (orders: ReadonlyArray<Order>): number =>
  orders.reduce((all, { lines }) => all + lines.reduce((one, { amount }) => one + amount, 0), 0)

const orders = (from: number): ReadonlyArray<{ readonly name: string; readonly data: Order }> =>
  Array.from({ length: 1_000 }, (_, i) => ({
    name: "order.paid",
    source: "shop",
    data: { id: `o-${from + i}`, lines: [{ amount: 3 }, { amount: 4 }], note: "x".repeat(80) }
  }))

interface Outcome {
  readonly rate: number
  /** Units: microseconds per event. */
  readonly cpu: number
}

const measured = async ({ events }: Work, run: () => Promise<number>): Promise<Outcome> => {
  const [cpu, began] = [process.cpuUsage(), performance.now()]
  const all = await run()
  if (all !== 7 * events) throw new Error(`the amounts are ${all}, not ${7 * events}`)
  const { system, user } = process.cpuUsage(cpu)
  return { rate: (events / (performance.now() - began)) * 1000, cpu: (system + user) / events }
}

/** Pulls, reads, works so many batches at the same time, and pulls again. */
const bare = async (relay: EventRelay.EventRelay, destination: string, work: Work): Promise<number> => {
  const client = EventRelayBare.connect(relay.connection())
  let all = 0
  for (let left = work.events; left > 0; ) {
    const reply = await client.call(methods.PullQueuedEvents, { destination_id: destination, batch_size: pullMax })
    left -= reply.events.length
    const read = reply.events.map(({ data }) => JSON.parse(data) as Order)
    let next = 0
    const lane = async () => {
      while (next < read.length) {
        const batch = read.slice(next, next + batchSize)
        next += batchSize
        const asked = work.do(batch)
        const added = typeof asked === "number" ? asked : await asked
        all += added
      }
    }
    await Promise.all(Array.from({ length: batchesMax }, lane))
  }
  client.close()
  return all
}

const ours = (relay: EventRelay.EventRelay, destination: string, work: Work, folder: string): Promise<number> => {
  const filename = join(folder, "sluice.db")
  const store = SqliteMigrations.layer.pipe(Layer.provideMerge(Sqlite.layer({ filename })))
  const layer = Layer.mergeAll(InboxSqlite.layer, PositionsSqlite.layer).pipe(
    Layer.provide(SqliteLocks.layer({ filename })),
    Layer.provide(store),
    Layer.merge(EventRelayGrpc.layer),
    Layer.merge(DeadLettersMemory.layer)
  )
  return Effect.gen(function* () {
    let [all, seen] = [0, 0]
    const done = yield* Deferred.make<void>()
    const source = yield* SourceEventRelay.make({
      pipeline: "bench",
      connection: relay.connection(),
      destination,
      // Half of it is room for the next pull while the other half is worked.
      demand: 2 * pullMax
    })
    const plan = Define.define({
      name: "bench",
      source,
      decode: source.codec!,
      batchers: { default: { size: batchSize, age: "100 millis", concurrency: batchesMax } },
      dispatch: [
        {
          batcher: "default",
          runBatch: (batch) => {
            const read = batch.map(({ event }) => (event.payload as { readonly data: Order }).data)
            const ended = (added: number) => {
              all += added
              seen += batch.length
              if (seen === work.events) Deferred.doneUnsafe(done, Effect.void)
              return accepted(null)
            }
            return Effect.suspend(() => {
              const added = work.do(read)
              return typeof added === "number"
                ? Effect.succeed(ended(added))
                : Effect.map(
                    Effect.promise(() => added),
                    ended
                  )
            })
          }
        }
      ]
    })
    const handle = yield* Define.start(plan)
    yield* Deferred.await(done)
    yield* handle.drain()
    return all
  }).pipe(Effect.scoped, Effect.provide(layer), Effect.runPromise)
}

export const run = async (): Promise<void> => {
  const relay = await EventRelay.start()
  const endpoint = await Endpoint.start()
  const folder = mkdtempSync(join(tmpdir(), "sluice-bench-"))
  const pool = new Pool(new URL(endpoint.url).origin, { connections: batchesMax })
  const post: Work["do"] = async (batch) => {
    const { body } = await pool.request({ method: "POST", path: "/", body: JSON.stringify(batch) })
    return sum((await body.json()) as ReadonlyArray<Order>)
  }
  const works: ReadonlyArray<Work> = [
    { name: "posted to an endpoint that takes 10 ms", events: 20_000, wanted: " (wanted: at least 0.80)", do: post },
    { name: "only added up", events: 100_000, do: sum }
  ]
  await relay.do("limit", { others: 1e9, durable: 1e9 })
  try {
    for (const work of works) {
      const topic = `orders_${work.events}`
      for (let from = 0; from < work.events; from += 1_000) await relay.do("put", topic, orders(from))
      const all: Array<{ readonly theirs: Outcome; readonly own: Outcome }> = []
      for (let round = 0; round < rounds; round++) {
        // The same events again, for destinations that have not seen them.
        const first = await relay.do<string>("createDestination", { topic })
        const second = await relay.do<string>("createDestination", { topic })
        const theirs = await measured(work, () => bare(relay, first, work))
        const own = await measured(work, () => ours(relay, second, work, folder))
        // The first ones compile.
        if (round >= 1) all.push({ theirs, own })
      }
      const middle = (pick: (one: (typeof all)[number]) => number, digits = 0) => median(all.map(pick)).toFixed(digits)
      console.log(
        `eventRelay, ${work.name}: ${middle(({ own }) => own.rate)} events/s, the bare loop ${middle(({ theirs }) => theirs.rate)}: ` +
          `${middle(({ own, theirs }) => own.rate / theirs.rate, 2)} of it${work.wanted ?? ""}; ` +
          `CPU ${middle(({ own }) => own.cpu)} and ${middle(({ theirs }) => theirs.cpu)} us per event`
      )
    }
    const pulled = await relay.do<ReadonlyArray<{ readonly given: number }>>("pulled")
    console.log(
      `eventRelay: pulls brought ${median(pulled.map(({ given }) => given).filter((given) => given > 0))} events`
    )
  } finally {
    await pool.close()
    endpoint.stop()
    await relay.close()
    rmSync(folder, { recursive: true, force: true })
  }
}
