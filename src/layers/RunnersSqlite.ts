/** Runners and their replay requests in the embedded store; whether a runner lives is what its lock says. */
import { Array, Effect, Layer } from "effect"
import { SqlClient, type SqlError } from "effect/sql"
import type { Replayed } from "../services/DeadLetters.ts"
import { Runners, RunnersError } from "../services/Runners.ts"
import { SqliteLocks } from "./SqliteLocks.ts"

/** Units: milliseconds between two looks for requests, or for their outcomes. */
const pollMillis = 250

interface Outcome {
  readonly letter: string
  readonly outcome: Replayed["outcome"]
  readonly reason: string | null
}

type Replay<R = never> = (letters: ReadonlyArray<string>) => Effect.Effect<ReadonlyArray<Replayed>, never, R>

export const make = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  const locks = yield* SqliteLocks
  const runner = crypto.randomUUID()

  /** The living runners of a pipeline; rows of dead ones go on the way. */
  const living = Effect.fnUntraced(function* (pipeline: string) {
    const rows = yield* sql<{ runner: string }>`SELECT runner FROM runners WHERE pipeline = ${pipeline}`
    const alive: string[] = []
    for (const { runner } of rows) {
      if (yield* locks.isHeld(lockOf(runner))) alive.push(runner)
      else yield* sql`DELETE FROM runners WHERE runner = ${runner}`
    }
    return alive
  })

  const register = Effect.fnUntraced(function* (pipelines: ReadonlyArray<string>) {
    yield* locks.tryAcquire(lockOf(runner))
    if (!Array.isReadonlyArrayNonEmpty(pipelines)) return
    yield* Effect.acquireRelease(
      sql`INSERT OR IGNORE INTO runners ${sql.insert(Array.map(pipelines, (pipeline) => ({ runner, pipeline })))}`,
      () => Effect.ignore(sql`DELETE FROM runners WHERE runner = ${runner}`)
    )
  })

  const requestReplay = Effect.fnUntraced(function* (pipeline: string, letters: ReadonlyArray<string>) {
    if (!Array.isReadonlyArrayNonEmpty(letters)) return []
    const request = crypto.randomUUID()
    yield* sql`INSERT INTO replays ${sql.insert(Array.map(letters, (letter) => ({ request, pipeline, letter })))}`
    const outcomes = Effect.gen(function* () {
      for (;;) {
        const open = yield* sql<{ runner: string | null }>`
          SELECT DISTINCT runner FROM replays WHERE request = ${request} AND outcome IS NULL`
        if (open.length === 0) break
        const alive = yield* living(pipeline)
        for (const { runner } of open) {
          if (runner === null ? alive.length > 0 : alive.includes(runner)) continue
          yield* sql`UPDATE replays SET outcome = 'nacked', reason = 'the process that was to run it is gone'
            WHERE request = ${request} AND outcome IS NULL AND runner IS ${runner}`
        }
        yield* Effect.sleep(pollMillis)
      }
      const rows =
        yield* sql<Outcome>`SELECT letter, outcome, reason FROM replays WHERE request = ${request} ORDER BY id`
      return rows.map(({ letter, outcome, reason }): Replayed => ({ id: letter, outcome, reason: reason ?? undefined }))
    })
    return yield* Effect.ensuring(outcomes, Effect.ignore(sql`DELETE FROM replays WHERE request = ${request}`))
  })

  /** All that is asked for, claimed for this process, by request; looked at first, since almost always there is nothing. */
  const take = Effect.fnUntraced(function* (pipeline: string) {
    const open = yield* sql`SELECT 1 FROM replays WHERE pipeline = ${pipeline} AND runner IS NULL LIMIT 1`
    return open.length === 0 ? [] : yield* claim(pipeline)
  })

  const claim = (pipeline: string) =>
    Effect.map(
      sql<{ request: string; letter: string; id: number }>`UPDATE replays SET runner = ${runner}
        WHERE pipeline = ${pipeline} AND runner IS NULL AND outcome IS NULL RETURNING id, request, letter`,
      (rows) =>
        Object.entries(
          Object.groupBy(
            rows.toSorted((a, b) => a.id - b.id),
            ({ request }) => request
          )
        )
    )

  // One look for all pipelines, and only when another process has written: a request always comes from one.
  const served = new Map<string, Replay>()
  let version = -1
  const look = Effect.gen(function* () {
    yield* Effect.sleep(pollMillis)
    const rows = yield* sql<{ data_version: number }>`PRAGMA data_version`
    if (rows[0]!.data_version === version) return
    version = rows[0]!.data_version
    for (const [pipeline, replay] of [...served]) {
      for (const [request, rows] of yield* take(pipeline)) {
        const letters = (rows ?? []).map(({ letter }) => letter)
        // In a fiber of its own: a letter may wait for an outage, and others ask meanwhile.
        yield* replay(letters).pipe(
          Effect.flatMap((replayed) => note(request, replayed, letters)),
          Effect.catch((error) => Effect.logWarning(`${pipeline}: cannot note a replay: ${error.reason.message}`)),
          Effect.forkScoped
        )
      }
    }
  })
  yield* look.pipe(
    Effect.catch((error) => Effect.logWarning(`cannot look for replays: ${error.reason.message}`)),
    Effect.forever,
    Effect.forkScoped
  )

  const note = (request: string, replayed: ReadonlyArray<Replayed>, letters: ReadonlyArray<string>) =>
    sql.withTransaction(
      Effect.gen(function* () {
        for (const { id, outcome, reason = null } of replayed) {
          yield* sql`UPDATE replays SET outcome = ${outcome}, reason = ${reason} WHERE request = ${request} AND letter = ${id}`
        }
        for (const letter of letters) {
          yield* sql`UPDATE replays SET outcome = 'nacked', reason = 'there is no such letter any more'
            WHERE request = ${request} AND letter = ${letter} AND outcome IS NULL`
        }
      })
    )

  return Runners.of({
    register: (pipelines) => failing(register(pipelines)),
    running: (pipeline) => failing(Effect.map(living(pipeline), (alive) => alive.length > 0)),
    requestReplay: (pipeline, letters) => failing(requestReplay(pipeline, letters)),
    serve: <R>(pipeline: string, replay: Replay<R>) =>
      Effect.gen(function* () {
        const context = yield* Effect.context<R>()
        yield* Effect.acquireRelease(
          Effect.sync(() => {
            served.set(pipeline, (letters) => Effect.provideContext(replay(letters), context))
            version = -1
          }),
          () => Effect.sync(() => served.delete(pipeline))
        )
      })
  })
})

export const layer: Layer.Layer<Runners, never, SqlClient.SqlClient | SqliteLocks> = Layer.effect(Runners, make)

const lockOf = (runner: string): string => `runner ${runner}`

const failing = <A, R>(effect: Effect.Effect<A, SqlError.SqlError, R>) =>
  Effect.mapError(effect, (cause) => new RunnersError({ reason: `runners: ${cause.reason.message}`, cause }))
