/** Runners and their replay requests in the embedded store; whether a runner lives is what its lock says. */
import { randomUUID } from "node:crypto"
import { Array, Cause, Effect, FiberSet, Layer } from "effect"
import { SqlClient, type SqlError } from "effect/sql"
import type { Replayed } from "../services/DeadLetters.ts"
import { Runners, RunnersError } from "../services/Runners.ts"
import { dataVersion, inRealTime } from "./Sqlite.ts"
import { SqliteLocks } from "./SqliteLocks.ts"

/** Units: milliseconds between two looks for requests, all day long, and for the outcomes of one. */
const watchMillis = 500
const pollMillis = 250
/** Units: letters given to a pipeline at once. */
const replayMax = 1_000
/** Units: requests at work at once, so that one that waits for its target does not hold up the others. */
const requestsMax = 8

type Replay<R> = (letters: ReadonlyArray<string>) => Effect.Effect<ReadonlyArray<Replayed>, never, R>

export const make = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  const { lives, self } = yield* SqliteLocks
  const requests = makeRequests(sql, self)
  const desk = makeDesk(sql, requests, lives)
  yield* Effect.forkScoped(desk.watch)

  /** Forgets what dead processes have left, but for requests that somebody living waits for. */
  const clean = Effect.gen(function* () {
    const rows = yield* sql<{ process: string }>`SELECT process FROM runners UNION SELECT requester FROM replays`
    for (const { process } of rows) {
      if (yield* lives(process)) continue
      yield* sql`DELETE FROM runners WHERE process = ${process}`
      yield* sql`DELETE FROM replays WHERE requester = ${process}`
    }
  })

  const living = Effect.fnUntraced(function* (pipeline: string) {
    yield* clean
    const rows = yield* sql<{ process: string }>`SELECT process FROM runners WHERE pipeline = ${pipeline}`
    return rows.map(({ process }) => process)
  })

  const register = Effect.fnUntraced(function* (pipelines: ReadonlyArray<string>) {
    yield* clean
    const list = JSON.stringify(pipelines)
    yield* Effect.acquireRelease(sql`INSERT OR IGNORE INTO runners SELECT ${self}, value FROM json_each(${list})`, () =>
      Effect.ignore(sql`DELETE FROM runners
          WHERE process = ${self} AND pipeline IN (SELECT value FROM json_each(${list}))`)
    )
  })

  const requestReplay = Effect.fnUntraced(function* (pipeline: string, letters: ReadonlyArray<string>) {
    const request = randomUUID()
    const outcomes = Effect.gen(function* () {
      yield* requests.ask(request, pipeline, letters)
      desk.stir()
      for (;;) {
        const open = yield* requests.open(request)
        if (open.length === 0) return yield* requests.outcomes(request)
        const alive = yield* living(pipeline)
        for (const runner of open) {
          if (runner === null && alive.length === 0) {
            yield* requests.giveBack(request, null, `no process runs ${pipeline}`)
          }
          if (runner !== null && !alive.includes(runner)) {
            yield* requests.giveBack(request, runner, `the process that ran ${pipeline} is gone`)
          }
        }
        yield* inRealTime(Effect.sleep(pollMillis))
      }
    })
    return yield* Effect.ensuring(outcomes, Effect.ignore(requests.forget(request)))
  })

  return Runners.of({
    register: (pipelines) => failing(register(pipelines)),
    running: (pipeline) => failing(Effect.map(living(pipeline), (alive) => alive.length > 0)),
    requestReplay: (pipeline, letters) => failing(requestReplay(pipeline, letters)),
    serve: desk.serve
  })
})

export const layer: Layer.Layer<Runners, never, SqlClient.SqlClient | SqliteLocks> = Layer.effect(Runners, make)

/** Looks for requests to the pipelines of this process, and works on them side by side. */
const makeDesk = (sql: SqlClient.SqlClient, requests: Requests, lives: SqliteLocks["Service"]["lives"]) => {
  const served = new Map<string, (request: string) => Effect.Effect<boolean>>()
  let version = -1
  // Set by what SQLite does not tell: what this process has written itself, and what could not be done the last time.
  let isStirred = false
  const stir = (): void => {
    isStirred = true
  }
  const logged = <R>(effect: Effect.Effect<void, SqlError.SqlError, R>) =>
    Effect.catch(effect, (error) => {
      stir()
      return Effect.logWarning(`cannot look for replays: ${error.message}`)
    })

  /** One look for all pipelines, at the requests only when somebody has written since. */
  const look = Effect.gen(function* () {
    const now = yield* dataVersion(sql)
    if (now === version && !isStirred) return
    isStirred = false
    for (const { pipeline, request, requester } of yield* requests.waiting) {
      const take = served.get(pipeline)
      if (take === undefined) continue
      // Nobody would hear how it ended, and who asked may have thought better of it.
      if (!(yield* lives(requester))) yield* requests.forget(request)
      else if (!(yield* take(request))) stir()
    }
    version = now
  })

  return {
    stir,
    watch: inRealTime(Effect.sleep(watchMillis)).pipe(
      Effect.andThen(Effect.suspend(() => (served.size === 0 ? Effect.void : logged(look)))),
      Effect.forever
    ),
    serve: Effect.fnUntraced(function* <R>(pipeline: string, replay: Replay<R>) {
      const fibers = yield* FiberSet.make<void>()
      const context = yield* Effect.context<R>()
      const take = Effect.fnUntraced(function* (request: string) {
        if ((yield* FiberSet.size(fibers)) >= requestsMax) return false
        const run = Effect.flatMap(requests.take(request), (letters) => work(requests, request, letters, replay))
        yield* FiberSet.run(fibers, Effect.provideContext(logged(run), context))
        return true
      })
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          served.set(pipeline, take)
          stir()
        }),
        () => Effect.sync(() => served.delete(pipeline))
      )
    })
  }
}

const work = Effect.fnUntraced(function* <R>(
  requests: Requests,
  request: string,
  letters: ReadonlyArray<string>,
  replay: Replay<R>
) {
  for (const part of Array.chunksOf(letters, replayMax)) {
    const replayed = yield* replay(part).pipe(
      Effect.catchDefect((defect) => Effect.succeed(part.map(nacked(`defect: ${Cause.pretty(Cause.die(defect))}`)))),
      Effect.onInterrupt(() => Effect.ignore(requests.giveBackAll(request, "the pipeline was stopped")))
    )
    yield* requests.note(request, replayed)
    yield* requests.note(request, part.map(nacked("there is no such letter any more")))
  }
})

const nacked =
  (reason: string) =>
  (id: string): Replayed => ({ id, outcome: "nacked", reason })

type Requests = ReturnType<typeof makeRequests>

/** One row per letter: who asked, who took it, and how it ended. */
const makeRequests = (sql: SqlClient.SqlClient, self: string) => ({
  ask: (request: string, pipeline: string, letters: ReadonlyArray<string>) =>
    sql`INSERT OR IGNORE INTO replays (request, letter, place, requester, pipeline)
      SELECT ${request}, value, key, ${self}, ${pipeline} FROM json_each(${JSON.stringify(letters)})`,
  /** Who still has letters of it; null: nobody yet. */
  open: (request: string) =>
    Effect.map(
      sql<{ runner: string | null }>`SELECT DISTINCT runner FROM replays
        WHERE request = ${request} AND outcome IS NULL`,
      (rows) => rows.map(({ runner }) => runner)
    ),
  outcomes: (request: string) =>
    Effect.map(
      sql<{ letter: string; outcome: Replayed["outcome"]; reason: string | null }>`
        SELECT letter, outcome, reason FROM replays WHERE request = ${request} ORDER BY place`,
      (rows) =>
        rows.map(({ letter, outcome, reason }): Replayed => ({ id: letter, outcome, reason: reason ?? undefined }))
    ),
  forget: (request: string) => sql`DELETE FROM replays WHERE request = ${request}`,
  giveBack: (request: string, runner: string | null, reason: string) =>
    sql`UPDATE replays SET outcome = 'nacked', reason = ${reason}
      WHERE request = ${request} AND outcome IS NULL AND runner IS ${runner}`,
  giveBackAll: (request: string, reason: string) =>
    sql`UPDATE replays SET outcome = 'nacked', reason = ${reason} WHERE request = ${request} AND outcome IS NULL`,
  waiting: sql<{
    pipeline: string
    request: string
    requester: string
  }>`SELECT DISTINCT pipeline, request, requester FROM replays
    WHERE runner IS NULL AND outcome IS NULL`,
  /** The letters in the asked order; none when another process was faster. */
  take: (request: string) =>
    Effect.map(
      sql<{ letter: string; place: number }>`UPDATE replays SET runner = ${self}
        WHERE request = ${request} AND runner IS NULL AND outcome IS NULL RETURNING letter, place`,
      (rows) => rows.toSorted((a, b) => a.place - b.place).map(({ letter }) => letter)
    ),
  /** The first outcome of a letter stands. */
  note: (request: string, replayed: ReadonlyArray<Replayed>) =>
    // Materialized, as the planner would read the list again for every letter of the request.
    sql`WITH news AS MATERIALIZED (SELECT value ->> 'id' AS id, value ->> 'outcome' AS outcome,
        value ->> 'reason' AS reason FROM json_each(${JSON.stringify(replayed)}))
      UPDATE replays SET outcome = news.outcome, reason = news.reason FROM news
      WHERE request = ${request} AND letter = news.id AND replays.outcome IS NULL`
})

const failing = <A, R>(effect: Effect.Effect<A, SqlError.SqlError, R>) =>
  Effect.mapError(effect, (cause) => new RunnersError({ reason: `runners: ${cause.message}`, cause }))
