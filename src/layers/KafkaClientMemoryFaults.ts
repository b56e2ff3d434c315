/** What goes wrong on purpose at the Kafka in memory: an outage, a call that fails, a process that stands still. */
import { Deferred, Effect, Latch } from "effect"
import { KafkaError } from "../services/Kafka.ts"

/** The calls by name; `transact` is the commit of a transaction. */
export type Call =
  | "cluster"
  | "join"
  | "heartbeat"
  | "committed"
  | "commit"
  | "offsets"
  | "leaders"
  | "fetch"
  | "grown"
  | "leave"
  | "reconnect"
  | "send"
  | "fence"
  | "transact"
  | "readAll"
  | "places"

interface Fault {
  readonly call: Call
  readonly error: KafkaError
  readonly when: "before" | "after"
}

/** A client's line to the cluster. */
export interface Line {
  /** Closed while its process stands still. */
  readonly running: Latch.Latch
  /** What it waits for. */
  readonly waiting: Set<Deferred.Deferred<any, KafkaError>>
}

export type Faults = ReturnType<typeof make>

export const make = () => {
  const lines = new Set<Line>()
  const planned: Array<Fault> = []
  const calls = new Map<Call, number>()
  let isAway = false
  const open = Effect.acquireRelease(
    Effect.sync(() => {
      const line: Line = { running: Latch.makeUnsafe(true), waiting: new Set() }
      lines.add(line)
      return line
    }),
    (line) =>
      Effect.sync(() => {
        lines.delete(line)
        cut(line)
      })
  )
  /** A request: hangs while its process stands still, fails while the cluster is away. */
  const reach = (line: Line): Effect.Effect<void, KafkaError> =>
    Effect.andThen(
      line.running.await,
      Effect.suspend(() => (isAway ? Effect.fail(away()) : Effect.void))
    )
  const count = (name: Call): void => {
    calls.set(name, (calls.get(name) ?? 0) + 1)
  }
  const call = Effect.fnUntraced(function* <A>(name: Call, line: Line, body: Effect.Effect<A, KafkaError>) {
    yield* line.running.await
    count(name)
    yield* reach(line)
    const index = planned.findIndex((fault) => fault.call === name)
    const fault = index === -1 ? undefined : planned.splice(index, 1)[0]!
    if (fault?.when === "before") return yield* fault.error
    const exit = yield* Effect.exit(body)
    yield* line.running.await
    if (fault !== undefined) return yield* fault.error
    return yield* exit
  })
  /** Waits for an answer, unless the line is cut. It comes when the broker has ended what it was at. */
  const answer = <A>(line: Line, deferred: Deferred.Deferred<A, KafkaError>): Effect.Effect<A, KafkaError> =>
    Effect.gen(function* () {
      line.waiting.add(deferred)
      const exit = yield* Effect.exit(Deferred.await(deferred))
      yield* Effect.yieldNow
      return yield* exit
    }).pipe(Effect.ensuring(Effect.sync(() => line.waiting.delete(deferred))))
  const setAway = (away: boolean): void => {
    isAway = away
    if (away) for (const line of lines) cut(line)
  }
  return { open, call, reach, answer, setAway, planned, count, calls: (name: Call): number => calls.get(name) ?? 0 }
}

/** Gives up a line's connections: what waited for an answer gets none. */
export const cut = ({ waiting }: Line): void => {
  for (const deferred of waiting) Deferred.doneUnsafe(deferred, Effect.fail(away()))
  waiting.clear()
}

const away = (): KafkaError => new KafkaError({ trouble: "away", reason: "no broker of the cluster can be reached" })
