/** Events of an EventRelay destination to a handler of batches: Sluice with its inbox on disk beside a bare loop of gRPC's own client. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import process from "node:process"
import { Deferred, Effect, Layer } from "effect"
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
import { median } from "./shop.ts"

const events = 20_000
const rounds = 7
/** Events of one pull, at most, and of one batch. */
const pullMax = 1_000
const batchSize = 10

interface Order {
  readonly id: string
  readonly lines: ReadonlyArray<{ readonly amount: number }>
}

/** The work both do with each batch. */
const work = (orders: ReadonlyArray<Order>): number =>
  orders.reduce((sum, { lines }) => sum + lines.reduce((all, { amount }) => all + amount, 0), 0)

const orders = (from: number): ReadonlyArray<{ readonly name: string; readonly data: Order }> =>
  Array.from({ length: 1_000 }, (_, i) => ({
    name: "order.paid",
    source: "shop",
    group_key: `customer-${(from + i) % 100}`,
    data: { id: `o-${from + i}`, lines: [{ amount: 3 }, { amount: 4 }], note: "x".repeat(80) }
  }))

interface Outcome {
  readonly rate: number
  /** Units: microseconds per event. */
  readonly cpu: number
}

const measured = async (run: () => Promise<number>): Promise<Outcome> => {
  const [cpu, began] = [process.cpuUsage(), performance.now()]
  const sum = await run()
  if (sum !== 7 * events) throw new Error(`the amounts are ${sum}, not ${7 * events}`)
  const { system, user } = process.cpuUsage(cpu)
  return { rate: (events / (performance.now() - began)) * 1000, cpu: (system + user) / events }
}

/** Pulls, reads, works batch by batch, and pulls again. */
const bare = async (relay: EventRelay.EventRelay, destination: string): Promise<number> => {
  const client = EventRelayBare.connect(relay.connection())
  let sum = 0
  for (let left = events; left > 0; ) {
    const reply = await client.call(methods.PullQueuedEvents, { destination_id: destination, batch_size: pullMax })
    left -= reply.events.length
    const read = reply.events.map(({ data }) => JSON.parse(data) as Order)
    for (let i = 0; i < read.length; i += batchSize) sum += work(read.slice(i, i + batchSize))
  }
  client.close()
  return sum
}

const ours = (relay: EventRelay.EventRelay, destination: string, folder: string): Promise<number> => {
  const filename = join(folder, "sluice.db")
  const store = SqliteMigrations.layer.pipe(Layer.provideMerge(Sqlite.layer({ filename })))
  const layer = Layer.mergeAll(InboxSqlite.layer, PositionsSqlite.layer).pipe(
    Layer.provide(SqliteLocks.layer({ filename })),
    Layer.provide(store),
    Layer.merge(EventRelayGrpc.layer),
    Layer.merge(DeadLettersMemory.layer)
  )
  return Effect.gen(function* () {
    let [sum, seen] = [0, 0]
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
      batchers: { default: { size: batchSize, age: "100 millis", concurrency: 10 } },
      dispatch: [
        {
          batcher: "default",
          runBatch: (batch) =>
            Effect.sync(() => {
              sum += work(batch.map(({ event }) => (event.payload as { readonly data: Order }).data))
              seen += batch.length
              if (seen === events) Deferred.doneUnsafe(done, Effect.void)
              return accepted(null)
            })
        }
      ]
    })
    const handle = yield* Define.start(plan)
    yield* Deferred.await(done)
    yield* handle.drain()
    return sum
  }).pipe(Effect.scoped, Effect.provide(layer), Effect.runPromise)
}

export const run = async (): Promise<void> => {
  const relay = await EventRelay.start()
  const folder = mkdtempSync(join(tmpdir(), "sluice-bench-"))
  await relay.do("limit", { others: 1e9, durable: 1e9 })
  /** The same events again, for a destination that has not seen them. */
  const destination = () => relay.do<string>("createDestination", { topic: "orders" })
  try {
    for (let from = 0; from < events; from += 1_000) await relay.do("put", "orders", orders(from))
    const all: Array<{ readonly theirs: Outcome; readonly own: Outcome }> = []
    for (let round = 0; round < rounds; round++) {
      const [first, second] = [await destination(), await destination()]
      const theirs = await measured(() => bare(relay, first))
      const own = await measured(() => ours(relay, second, folder))
      // The first ones compile.
      if (round >= 2) all.push({ theirs, own })
    }
    const rate = (pick: (one: (typeof all)[number]) => number) => median(all.map(pick))
    console.log(
      `eventRelay: ${rate(({ own }) => own.rate).toFixed(0)} events/s, the bare loop ${rate(({ theirs }) => theirs.rate).toFixed(0)}: ` +
        `${rate(({ own, theirs }) => own.rate / theirs.rate).toFixed(2)} of it (wanted: at least 0.80); ` +
        `CPU ${rate(({ own }) => own.cpu).toFixed(0)} and ${rate(({ theirs }) => theirs.cpu).toFixed(0)} us per event`
    )
    const asked = await relay.do<ReadonlyArray<{ readonly asked: number; readonly given: number }>>("pulled")
    console.log(
      `eventRelay: pulls brought ${median(asked.filter(({ given }) => given > 0).map(({ given }) => given))} events`
    )
  } finally {
    await relay.close()
    rmSync(folder, { recursive: true, force: true })
  }
}
