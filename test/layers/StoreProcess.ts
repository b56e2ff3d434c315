/** The other process of the store's tests: does one thing with the store in a file, and says how it goes. */
import { argv, stdin, stdout } from "node:process"
import { createInterface } from "node:readline"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { Effect, Layer } from "effect"
import { SqlClient } from "effect/sql"
import * as DedupeSqlite from "../../src/layers/DedupeSqlite.ts"
import * as InboxSqlite from "../../src/layers/InboxSqlite.ts"
import * as JournalSqlite from "../../src/layers/JournalSqlite.ts"
import * as PositionsSqlite from "../../src/layers/PositionsSqlite.ts"
import * as RunnersSqlite from "../../src/layers/RunnersSqlite.ts"
import { SqliteLocks } from "../../src/layers/SqliteLocks.ts"
import * as TopicsSqlite from "../../src/layers/TopicsSqlite.ts"
import { Dedupe } from "../../src/services/Dedupe.ts"
import { Inbox } from "../../src/services/Inbox.ts"
import { Journal } from "../../src/services/Journal.ts"
import { Positions } from "../../src/services/Positions.ts"
import { Runners } from "../../src/services/Runners.ts"
import { Topics } from "../../src/services/Topics.ts"
import { entry, step } from "../suites/JournalSuite.ts"
import * as TemporaryStore from "./TemporaryStore.ts"

const [what = "", filename = "", name = "", more = ""] = argv.slice(2)
const lines = createInterface({ input: stdin })
const say = (line: string) => Effect.sync(() => void stdout.write(`${line}\n`))
/** Waits to be told. */
const told = Effect.callback<void>((resume) => void lines.once("line", () => resume(Effect.void)))

const layer = Layer.mergeAll(
  TopicsSqlite.layer(),
  DedupeSqlite.layer(),
  InboxSqlite.layer,
  JournalSqlite.layer(),
  PositionsSqlite.layer,
  RunnersSqlite.layer
).pipe(Layer.provideMerge(TemporaryStore.layerIn(filename)))
const forever = Effect.andThen(told, Effect.never)

/** Appends batches of ten to `t`, each record's id with its number; without a count until it is killed. */
const append = Effect.gen(function* () {
  const topics = yield* Topics
  for (let batch = 0; more === "" || batch < Number(more); batch++) {
    const ids = Array.from({ length: 10 }, (_, i) => `${name}-${batch * 10 + i}`)
    yield* topics.append(
      "t",
      ids.map((id) => ({ id, key: undefined, headers: {}, value: new Uint8Array(200) }))
    )
    yield* say(`appended ${batch}`)
  }
})

const programs: Readonly<Record<string, Effect.Effect<unknown, unknown, Layer.Success<typeof layer>>>> = {
  append,
  migrate: say("done"),
  /** Notes in several rounds, so that some is written while others write, and the rest when it is closed. */
  note: Effect.gen(function* () {
    const journal = yield* Journal
    for (let i = 0; i < Number(more); i++) {
      journal.note(entry(`${i}`, i, { pipeline: name, steps: [step("x")] }))
      if (i % 500 === 0) yield* Effect.sleep(260)
    }
  }),
  lock: Effect.scoped(
    Effect.gen(function* () {
      const locks = yield* SqliteLocks
      yield* say((yield* locks.tryAcquire(name)) ? "got it" : "refused")
      return yield* forever
    })
  ),
  /** Holds a lock in a fiber that nothing refers to. */
  forget: Effect.gen(function* () {
    const locks = yield* SqliteLocks
    yield* Effect.scoped(Effect.andThen(locks.tryAcquire(name), Effect.never)).pipe(
      Effect.forkDetach({ startImmediately: true }),
      Effect.asVoid
    )
    yield* Effect.sleep(1)
    setFlagsFromString("--expose-gc")
    for (let i = 0; i < 5; i++) runInNewContext("gc")()
    yield* Effect.sleep(1)
    yield* say("collected")
    return yield* forever
  }),
  open: Effect.scoped(
    Effect.gen(function* () {
      const topics = yield* Topics
      yield* topics.open("t", name, "earliest")
      yield* say("open")
      return yield* forever
    })
  ),
  /** Puts its name into the box `a`, and settles the second item of two. */
  inbox: Effect.scoped(
    Effect.gen(function* () {
      const inbox = yield* Inbox
      const box = yield* inbox.open("a", Effect.die)
      box.settle(yield* box.put(new TextEncoder().encode(name), 2), 1)
      yield* box.flush
      yield* say("put")
      return yield* forever
    })
  ),
  position: Effect.scoped(
    Effect.gen(function* () {
      const positions = yield* Positions
      const place = yield* positions.open(name)
      yield* place.note("42")
      yield* say("noted")
      return yield* forever
    })
  ),
  claim: Effect.gen(function* () {
    const dedupe = yield* Dedupe
    yield* say(yield* dedupe.claim("s", name, 60_000))
    return yield* forever
  }),
  write: Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    yield* sql.withTransaction(Effect.andThen(say("writing"), told))
    yield* say("written")
  }),
  /** Acks what it is asked to replay, or says that it has it and waits to be killed. */
  run: Effect.scoped(
    Effect.gen(function* () {
      const runners = yield* Runners
      yield* runners.register([name])
      yield* runners.serve(name, (ids) =>
        Effect.andThen(
          say(`took ${ids.join(" ")}`),
          more === "stuck"
            ? Effect.never
            : Effect.succeed(ids.map((id) => ({ id, outcome: "acked" as const, reason: undefined })))
        )
      )
      yield* say("running")
      return yield* forever
    })
  ),
  ask: Effect.gen(function* () {
    const runners = yield* Runners
    yield* Effect.forkChild(runners.requestReplay(name, ["a", "b"]))
    yield* say("asking")
    return yield* forever
  })
}

/** Several that are told at the same moment race for a fresh file. */
const start = what === "migrate" ? Effect.andThen(say("ready"), told) : Effect.void

Effect.runPromise(Effect.andThen(start, Effect.provide(programs[what]!, layer))).then(() => lines.close())
