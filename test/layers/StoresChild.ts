/** The other process of Stores.test.ts: appends to a topic, or holds a lock until it is killed. */
import { Console, Effect, Layer } from "effect"
import * as Sqlite from "../../src/layers/Sqlite.ts"
import * as SqliteLocks from "../../src/layers/SqliteLocks.ts"
import * as SqliteMigrations from "../../src/layers/SqliteMigrations.ts"
import * as TopicsSqlite from "../../src/layers/TopicsSqlite.ts"
import { Topics } from "../../src/services/Topics.ts"

const [what, filename = "", name = "", rounds = "0"] = process.argv.slice(2)
const locks = SqliteLocks.layer({ filename })
const store = Layer.mergeAll(SqliteMigrations.layer.pipe(Layer.provideMerge(Sqlite.layer({ filename }))), locks)

const append = Effect.gen(function* () {
  const topics = yield* Topics
  for (let round = 0; round < Number(rounds); round++) {
    const records = Array.from({ length: 10 }, (_, i) => ({
      id: `${name}-${round * 10 + i}`,
      key: undefined,
      headers: {},
      value: new Uint8Array(200)
    }))
    yield* topics.append("t", records)
  }
}).pipe(Effect.provide(TopicsSqlite.layer().pipe(Layer.provide(store))))

const hold = Effect.gen(function* () {
  const locks = yield* SqliteLocks.SqliteLocks
  yield* locks.tryAcquire("position")
  yield* Console.log("held")
  return yield* Effect.never
}).pipe(Effect.scoped, Effect.provide(locks))

// Keeps the process up while it holds.
const alive = setInterval(() => {}, 1000)
Effect.runPromise<void, unknown>(what === "hold" ? hold : append).then(() => clearInterval(alive))
