/** Runners and replays between processes, and claims of processes that are gone. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer } from "effect"
import { SqlClient } from "effect/sql"
import * as DedupeSqlite from "../../src/layers/DedupeSqlite.ts"
import * as RunnersSqlite from "../../src/layers/RunnersSqlite.ts"
import { Dedupe } from "../../src/services/Dedupe.ts"
import { Runners } from "../../src/services/Runners.ts"
import * as Processes from "./Processes.ts"
import * as TemporaryStore from "./TemporaryStore.ts"

const layerIn = (filename: string) =>
  Layer.merge(RunnersSqlite.layer, DedupeSqlite.layer()).pipe(Layer.provideMerge(TemporaryStore.layerIn(filename)))
const layer = Layer.unwrap(Effect.map(TemporaryStore.filename, layerIn))
const acked = (id: string) => ({ id, outcome: "acked" as const, reason: undefined })
const rows = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  return yield* sql`SELECT (SELECT count(*) FROM runners), (SELECT count(*) FROM replays)`.values
})

describe("RunnersSqlite", () => {
  it.live("knows what this process runs, while it does", () =>
    Effect.gen(function* () {
      const runners = yield* Runners
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* runners.register(["orders", 'it\'s "odd"'])
          assert.isTrue(yield* runners.running("orders"))
          assert.isTrue(yield* runners.running('it\'s "odd"'))
          assert.isFalse(yield* runners.running("other"))
          yield* Effect.scoped(runners.register(["other"]))
          assert.isTrue(yield* runners.running("orders"))
        })
      )
      assert.isFalse(yield* runners.running("orders"))
      assert.deepStrictEqual(yield* rows, [[0, 0]])
    }).pipe(Effect.provide(layer))
  )

  it.live("brings each outcome back in the asked order, and nacked what there is none for", () =>
    Effect.gen(function* () {
      const runners = yield* Runners
      yield* runners.register(["orders"])
      yield* runners.serve("orders", (ids) =>
        Effect.succeed([
          { id: "c", outcome: "buried" as const, reason: "no" },
          ...ids.filter((id) => id !== "b" && id !== "c").map(acked)
        ])
      )
      assert.deepStrictEqual(yield* runners.requestReplay("orders", ["d", "c", "b", "a", "d"]), [
        acked("d"),
        { id: "c", outcome: "buried", reason: "no" },
        { id: "b", outcome: "nacked", reason: "there is no such letter any more" },
        acked("a")
      ])
      assert.deepStrictEqual(yield* runners.requestReplay("orders", []), [])
      const many = Array.from({ length: 25_000 }, (_, i) => `id-${i}`)
      assert.deepStrictEqual(
        (yield* runners.requestReplay("orders", many)).map(({ id }) => id),
        many.filter((id) => id !== "b" && id !== "c")
      )
      assert.deepStrictEqual(yield* rows, [[1, 0]])
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.live("does not let one request wait for another", () =>
    Effect.gen(function* () {
      const runners = yield* Runners
      const begun = yield* Deferred.make<void>()
      const go = yield* Deferred.make<void>()
      yield* runners.register(["orders"])
      yield* runners.serve("orders", (ids) =>
        Effect.gen(function* () {
          if (ids.includes("slow")) yield* Effect.andThen(Deferred.succeed(begun, undefined), Deferred.await(go))
          return ids.map(acked)
        })
      )
      const slow = yield* Effect.forkChild(runners.requestReplay("orders", ["slow"]))
      yield* Deferred.await(begun)
      assert.deepStrictEqual(yield* runners.requestReplay("orders", ["quick"]), [acked("quick")])
      assert.isUndefined(slow.pollUnsafe())
      yield* Deferred.succeed(go, undefined)
      assert.deepStrictEqual(yield* Fiber.join(slow), [acked("slow")])
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.live("gives back when nobody runs the pipeline, when it stops, and when our own code breaks", () =>
    Effect.gen(function* () {
      const runners = yield* Runners
      assert.deepStrictEqual(yield* runners.requestReplay("orders", ["a"]), [
        { id: "a", outcome: "nacked", reason: "no process runs orders" }
      ])
      yield* runners.register(["orders", "broken"])
      yield* runners.serve("broken", () => Effect.die(new Error("oh")))
      const [broken] = yield* runners.requestReplay("broken", ["a"])
      assert.strictEqual(broken?.outcome, "nacked")
      assert.match(broken?.reason ?? "", /defect: Error: oh/)
      const took = yield* Deferred.make<void>()
      const asked = yield* Effect.scoped(
        Effect.gen(function* () {
          yield* runners.serve("orders", () => Effect.andThen(Deferred.succeed(took, undefined), Effect.never))
          const asked = yield* Effect.forkDetach(runners.requestReplay("orders", ["a"]))
          yield* Deferred.await(took)
          return asked
        })
      )
      assert.deepStrictEqual(yield* Fiber.join(asked), [
        { id: "a", outcome: "nacked", reason: "the pipeline was stopped" }
      ])
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.live("hands letters to the process that runs the pipeline, each request to one of two", () =>
    Effect.gen(function* () {
      const filename = yield* TemporaryStore.filename
      const others = [
        yield* Processes.store("run", filename, "orders"),
        yield* Processes.store("run", filename, "orders")
      ]
      for (const { says } of others) yield* says("running")
      yield* Effect.gen(function* () {
        const runners = yield* Runners
        assert.isTrue(yield* runners.running("orders"))
        const requests = Array.from({ length: 6 }, (_, i) => [`${i}a`, `${i}b`])
        const all = yield* Effect.forEach(requests, (ids) => runners.requestReplay("orders", ids), {
          concurrency: "unbounded"
        })
        assert.deepStrictEqual(
          all,
          requests.map((ids) => ids.map(acked))
        )
        for (const ids of requests) {
          const took = `took ${ids.join(" ")}`
          yield* Effect.raceFirst(others[0]!.says(took), others[1]!.says(took))
        }
        for (const { kill } of others) yield* kill
        assert.isFalse(yield* runners.running("orders"))
        assert.deepStrictEqual(yield* rows, [[0, 0]])
      }).pipe(Effect.provide(layerIn(filename)))
    }).pipe(Effect.scoped)
  )

  it.live("gives back what a killed process had taken", () =>
    Effect.gen(function* () {
      const filename = yield* TemporaryStore.filename
      const other = yield* Processes.store("run", filename, "orders", "stuck")
      yield* other.says("running")
      yield* Effect.gen(function* () {
        const runners = yield* Runners
        const asked = yield* Effect.forkChild(runners.requestReplay("orders", ["a", "b"]))
        yield* other.says("took a b")
        assert.isUndefined(asked.pollUnsafe())
        yield* other.kill
        const reason = "the process that ran orders is gone"
        assert.deepStrictEqual(yield* Fiber.join(asked), [
          { id: "a", outcome: "nacked", reason },
          { id: "b", outcome: "nacked", reason }
        ])
      }).pipe(Effect.provide(layerIn(filename)))
    }).pipe(Effect.scoped)
  )

  it.live("does not run what a process asked for that is gone", () =>
    Effect.gen(function* () {
      const filename = yield* TemporaryStore.filename
      yield* Effect.gen(function* () {
        const runners = yield* Runners
        yield* runners.register(["orders"])
        const asking = yield* Processes.store("ask", filename, "orders")
        yield* asking.says("asking")
        yield* rows.pipe(Effect.repeat({ until: ([row]) => row?.[1] === 2 }))
        yield* asking.kill
        const taken: Array<string> = []
        yield* runners.serve("orders", (ids) =>
          Effect.sync(() => {
            taken.push(...ids)
            return ids.map(acked)
          })
        )
        yield* rows.pipe(Effect.repeat({ until: ([row]) => row?.[1] === 0 }))
        assert.deepStrictEqual(yield* runners.requestReplay("orders", ["c"]), [acked("c")])
        assert.deepStrictEqual(taken, ["c"])
      }).pipe(Effect.scoped, Effect.provide(layerIn(filename)))
    }).pipe(Effect.scoped)
  )
})

describe("DedupeSqlite, shared by processes", () => {
  it.live("has one claim for all, which does not count when its process is killed", () =>
    Effect.gen(function* () {
      const filename = yield* TemporaryStore.filename
      const other = yield* Processes.store("claim", filename, "a")
      yield* other.says("claimed")
      const third = yield* Processes.store("claim", filename, "a")
      yield* third.says("busy")
      yield* Effect.gen(function* () {
        const dedupe = yield* Dedupe
        assert.strictEqual(yield* dedupe.claim("s", "a", 1_000), "busy")
        // Somebody else's claim is not ours to release.
        yield* dedupe.release("s", "a")
        assert.strictEqual(yield* dedupe.claim("s", "a", 1_000), "busy")
        yield* other.kill
        assert.strictEqual(yield* dedupe.claim("s", "a", 1_000), "claimed")
        yield* dedupe.confirm("s", "a")
        const late = yield* Processes.store("claim", filename, "a")
        yield* late.says("done")
      }).pipe(Effect.provide(layerIn(filename)))
    }).pipe(Effect.scoped)
  )
})
