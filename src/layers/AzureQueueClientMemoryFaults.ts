/** What goes wrong on purpose at the queues in memory: a request that fails, one whose answer is lost, one that hangs. */
import { Deferred, Effect } from "effect"
import { AzureQueueError, type Trouble } from "../services/AzureQueue.ts"

/** The requests by name. */
export type Call = "receive" | "renew" | "remove" | "send" | "create"

export interface Which {
  /** How many of the next requests, also infinitely many; one by default. */
  readonly times?: number | undefined
  /** Before anything is done, as by default, or after all of it is: then only the answer is lost. */
  readonly when?: "before" | "after" | undefined
  /** Of this queue alone; of any by default. */
  readonly queue?: string | undefined
}

/** A request that hangs. */
export interface Hang {
  /** Returns when a request has come to hang here. */
  readonly reached: Effect.Effect<void>
  /** Lets it go on, and those that would have come to hang. */
  readonly release: Effect.Effect<void>
}

export interface Controls {
  /** Lets the next such requests fail, whoever makes them. */
  readonly failNext: (call: Call, failure: Trouble | AzureQueueError, which?: Which) => Effect.Effect<void>
  /** Lets the next such requests hang until they are released; interrupted, they end at once. */
  readonly hangNext: (call: Call, which?: Which) => Effect.Effect<Hang>
  /** Forgets what was planned and has not struck yet. */
  readonly heal: Effect.Effect<void>
  /** How many such requests were made, those that failed among them. */
  readonly calls: (call: Call, queue?: string) => number
}

export interface Faults {
  readonly controls: Controls
  readonly call: <A>(
    call: Call,
    queue: string,
    body: Effect.Effect<A, AzureQueueError>
  ) => Effect.Effect<A, AzureQueueError>
}

interface Planned {
  readonly call: Call
  readonly queue: string | undefined
  readonly when: "before" | "after"
  readonly strike: Effect.Effect<void, AzureQueueError>
  left: number
}

/** `nameOf` makes the full name of a queue. */
export const make = (nameOf: (queue: string) => string): Faults => {
  const planned: Array<Planned> = []
  const made: Array<{ readonly call: Call; readonly queue: string }> = []

  const plan = (
    call: Call,
    strike: Effect.Effect<void, AzureQueueError>,
    { queue, times = 1, when = "before" }: Which = {}
  ): void => {
    planned.push({ call, queue: queue === undefined ? undefined : nameOf(queue), when, strike, left: times })
  }

  const next = (call: Call, queue: string): Planned | undefined => {
    const found = planned.find(
      (one) => one.left > 0 && one.call === call && (one.queue === undefined || one.queue === queue)
    )
    if (found !== undefined) found.left--
    return found
  }

  return {
    call: Effect.fnUntraced(function* (call, queue, body) {
      made.push({ call, queue })
      const fault = next(call, queue)
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
      heal: Effect.sync(() => {
        planned.length = 0
      }),
      calls: (call, queue) => {
        const name = queue === undefined ? undefined : nameOf(queue)
        return made.filter((one) => one.call === call && (name === undefined || one.queue === name)).length
      }
    }
  }
}

const errorOf = (call: Call, failure: Trouble | AzureQueueError): AzureQueueError =>
  typeof failure === "string"
    ? new AzureQueueError({ trouble: failure, reason: `${call} fails as planned: ${failure}` })
    : failure
