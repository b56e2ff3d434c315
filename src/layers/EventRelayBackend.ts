/** What an EventRelay server for tests is made of, in memory or on a port: its rules, who answers calls by them, and its controls. */
import { Clock, Effect, Redacted, Result } from "effect"
import { EventRelayError, type NewEvent, type RelayEvent } from "../services/EventRelay.ts"
import type { Connection, Tls } from "../services/EventRelayConnection.ts"
import type { Key, Limits, NewKey } from "./EventRelayAccess.ts"
import * as Faults from "./EventRelayMemoryFaults.ts"
import * as Rules from "./EventRelayRules.ts"
import { type Refusal, troubleOf } from "./EventRelayStatus.ts"

/** An event to be stored: what is left out is empty, `data` is written as JSON unless it is text. */
export interface Given extends Partial<Omit<NewEvent, "data">> {
  readonly data?: unknown
}

/** One pull of a destination that was done. */
export interface Pulled {
  readonly destinationId: string
  /** Units: milliseconds since 1970. */
  readonly at: number
  readonly asked: number
  readonly given: number
}

/** What a test does to the server, and what it sees of it. */
export interface Controls extends Faults.Controls {
  /** With the key of an admin. */
  readonly connection: Connection
  /** With that key, or with none. */
  readonly connectionWith: (key: { readonly token: string } | undefined) => Connection
  /** Makes a topic of that name if there is none. */
  readonly createTopic: (name: string) => Effect.Effect<void>
  /** Makes a destination, and its topic if there is none; returns its id. */
  readonly createDestination: (destination: Rules.NewDestination) => Effect.Effect<string>
  readonly createKey: (key: NewKey) => Effect.Effect<Key>
  /** From then on its calls are UNAUTHENTICATED. */
  readonly revokeKey: (id: string) => Effect.Effect<void>
  readonly limit: (limits: Partial<Limits>) => Effect.Effect<void>
  readonly setUnlock: (how: Rules.Unlock) => Effect.Effect<void>
  readonly setUntaken: (how: Rules.Untaken) => Effect.Effect<void>
  /** Publishes, as somebody else would, and makes the topic if there is none; returns their ids. */
  readonly put: (topic: string, events: ReadonlyArray<Given>) => Effect.Effect<ReadonlyArray<string>>
  /** Ids of the events that were pulled of it and not given back, in the order of their offsets. */
  readonly out: (destinationId: string) => ReadonlyArray<string>
  /** Pulls of destinations that were done, the newest last; the last 10,000. */
  readonly pulled: () => ReadonlyArray<Pulled>
  /** All of a topic, available or not. */
  readonly stored: (topic: string) => ReadonlyArray<RelayEvent>
  /** What was published and not taken, with its errors; the last 10,000. */
  readonly untaken: () => ReadonlyArray<RelayEvent>
}

export interface Backend {
  readonly rules: Rules.Rules
  readonly controls: Controls
  /** Answers a call by the rules, or as a fault has it. */
  readonly answer: <A>(
    call: Faults.Call,
    authorization: string | undefined,
    body: (caller: Rules.Caller) => Rules.Answer<A>
  ) => Effect.Effect<A, EventRelayError>
  readonly pullQueued: (
    destinationId: string,
    batchSize: number,
    caller: Rules.Caller
  ) => Rules.Answer<ReadonlyArray<RelayEvent>>
}

export interface Address {
  readonly host: string
  readonly port: number
  readonly tls?: Tls | undefined
}

const pulledMax = 10_000

/** `address` is asked for when a connection is described. */
export const make = (options: Rules.Options, address: () => Address): Backend => {
  const rules = Rules.make(options)
  const faults = Faults.make()
  const pulled: Array<Pulled> = []
  const admin = rules.access.create({ type: "admin" })
  const connectionWith: Controls["connectionWith"] = (key) => {
    const { host, port, tls } = address()
    const token = key === undefined ? undefined : Redacted.make(key.token)
    return { host, port, token, tls, callMillis: 30_000, keepaliveMillis: 30_000 }
  }
  return {
    rules,
    answer: (call, authorization, body) =>
      faults.call(
        call,
        Effect.flatMap(Clock.currentTimeMillis, (now) => {
          const answer = body({ authorization, now })
          return Result.isSuccess(answer) ? Effect.succeed(answer.success) : Effect.fail(errorOf(answer.failure))
        })
      ),
    pullQueued: (destinationId, batchSize, caller) =>
      Result.map(rules.pullQueued(destinationId, batchSize, caller), (events) => {
        if (pulled.length === pulledMax) pulled.shift()
        pulled.push({ destinationId, at: caller.now, asked: batchSize, given: events.length })
        return events
      }),
    controls: {
      ...faults.controls,
      get connection() {
        return connectionWith(admin)
      },
      connectionWith,
      createTopic: (name) => Effect.sync(() => void rules.createTopic(name)),
      createDestination: (destination) => Effect.suspend(() => orDie(rules.createDestination(destination))),
      createKey: (key) => Effect.sync(() => rules.access.create(key)),
      revokeKey: (id) => Effect.sync(() => void rules.access.revoke(id)),
      limit: (limits) => Effect.sync(() => rules.access.limit(limits)),
      setUnlock: (how) => Effect.sync(() => rules.setUnlock(how)),
      setUntaken: (how) => Effect.sync(() => rules.setUntaken(how)),
      put: (topic, events) =>
        Effect.flatMap(Clock.currentTimeMillis, (now) =>
          Effect.forEach(events, (event) => Effect.map(orDie(rules.put(topic, newEvent(event), now)), ({ id }) => id))
        ),
      out: (destinationId) => rules.out(destinationId) ?? [],
      pulled: () => [...pulled],
      stored: (topic) => rules.stored(topic) ?? [],
      untaken: () => rules.untakenEvents()
    }
  }
}

/** A whole one; named `happened` by `test` where it is not said. */
export const newEvent = ({ data = {}, ...given }: Given): NewEvent => ({
  name: "happened",
  source: "test",
  group_key: "",
  reference_key: "",
  trace_key: "",
  user_key: "",
  anonymous_key: "",
  occurred_at: "",
  context: {},
  data_schema: "",
  prev_id: "",
  available_at: "",
  ...given,
  data: typeof data === "string" ? data : JSON.stringify(data)
})

export const errorOf = ({ status, words }: Refusal): EventRelayError =>
  new EventRelayError({ trouble: troubleOf(status), status, reason: `${words} (${status})` })

/** A test that asks for what cannot be is told so. */
const orDie = <A>(made: Result.Result<A, string>): Effect.Effect<A> => Effect.orDie(Effect.fromResult(made))
