/** What goes wrong on purpose at the EventRelay server in memory: a call that fails, one whose reply is lost, one that comes late. */
import { Deferred, type Duration, Effect } from "effect"
import { EventRelayError, type Trouble } from "../services/EventRelay.ts"

/** The calls by name. */
export type Call = "pullQueued" | "unlock" | "pull" | "publish"

export interface Which {
  /** How many of the next calls, also infinitely many; one by default. */
  readonly times?: number | undefined
  /** Before anything is done, as by default, or after all of it is: then only the reply is lost. */
  readonly when?: "before" | "after" | undefined
}

/** A call that hangs. */
export interface Hang {
  /** Returns when a call has come to hang here. */
  readonly reached: Effect.Effect<void>
  /** Lets it go on, and those that would have come to hang. */
  readonly release: Effect.Effect<void>
}

export interface Controls {
  /** Lets the next such calls fail, whoever makes them. */
  readonly failNext: (call: Call, failure: Trouble | EventRelayError, which?: Which) => Effect.Effect<void>
  /** Lets the next such calls hang until they are released, or until their deadline. */
  readonly hangNext: (call: Call, which?: Which) => Effect.Effect<Hang>
  /** Delays the next such calls. */
  readonly delayNext: (call: Call, delay: Duration.Input, which?: Which) => Effect.Effect<void>
  /** While it is away every call fails with `away`. */
  readonly away: (isAway: boolean) => Effect.Effect<void>
  /** Forgets what was planned and has not struck yet. */
  readonly heal: Effect.Effect<void>
  /** How many such calls were made, those that failed among them. */
  readonly calls: (call: Call) => number
}

export interface Faults {
  readonly controls: Controls
  readonly call: <A>(call: Call, body: Effect.Effect<A, EventRelayError>) => Effect.Effect<A, EventRelayError>
}

interface Planned {
  readonly call: Call
  readonly when: "before" | "after"
  readonly strike: Effect.Effect<void, EventRelayError>
  left: number
}

export const make = (): Faults => {
  const planned: Array<Planned> = []
  const made: Record<Call, number> = { pullQueued: 0, unlock: 0, pull: 0, publish: 0 }
  let isAway = false

  const plan = (call: Call, strike: Planned["strike"], { times = 1, when = "before" }: Which = {}): void => {
    planned.push({ call, when, strike, left: times })
  }
  const next = (call: Call): Planned | undefined => {
    const found = planned.find((one) => one.left > 0 && one.call === call)
    if (found !== undefined) found.left--
    return found
  }

  return {
    call: Effect.fnUntraced(function* (call, body) {
      made[call]++
      if (isAway) return yield* errorOf(call, "away")
      const fault = next(call)
      if (fault?.when === "before") yield* fault.strike
      const exit = yield* Effect.exit(body)
      if (fault?.when === "after") yield* fault.strike
      return yield* exit
    }),
    controls: {
      failNext: (call, failure, which) => Effect.sync(() => plan(call, Effect.fail(errorOf(call, failure)), which)),
      hangNext: (call, which) =>
        Effect.sync(() => {
          const reached = Deferred.makeUnsafe<void>()
          const released = Deferred.makeUnsafe<void>()
          plan(call, Effect.andThen(Deferred.succeed(reached, undefined), Deferred.await(released)), which)
          return {
            reached: Deferred.await(reached),
            release: Effect.asVoid(Deferred.succeed(released, undefined))
          }
        }),
      delayNext: (call, delay, which) => Effect.sync(() => plan(call, Effect.sleep(delay), which)),
      away: (away) =>
        Effect.sync(() => {
          isAway = away
        }),
      heal: Effect.sync(() => {
        planned.length = 0
      }),
      calls: (call) => made[call]
    }
  }
}

const statuses: Readonly<Record<Trouble, string>> = {
  away: "UNAVAILABLE",
  denied: "PERMISSION_DENIED",
  unsupported: "UNIMPLEMENTED",
  unfit: "INVALID_ARGUMENT",
  failed: "UNKNOWN"
}

const errorOf = (call: Call, failure: Trouble | EventRelayError): EventRelayError =>
  typeof failure === "string"
    ? new EventRelayError({
        trouble: failure,
        status: statuses[failure],
        reason: `${call} fails as planned: ${failure} (${statuses[failure]})`
      })
    : failure
