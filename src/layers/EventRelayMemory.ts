/** An EventRelay server in memory, under Effect's clock and with faults on demand: for tests, and the reference of what a client does. */
import { Clock, Context, Effect, Layer, Redacted, Result } from "effect"
import {
  type Channel,
  EventRelayClient,
  EventRelayError,
  type NewEvent,
  type RelayEvent
} from "../services/EventRelay.ts"
import type { Connection } from "../services/EventRelayConnection.ts"
import type { Key, Limits, NewKey } from "./EventRelayAccess.ts"
import * as Faults from "./EventRelayMemoryFaults.ts"
import * as Rules from "./EventRelayRules.ts"
import { type Refusal, troubleOf } from "./EventRelayStatus.ts"

/** An event to be stored: what is left out is empty, `data` is written as JSON unless it is text. */
export interface Given extends Partial<Omit<NewEvent, "data">> {
  readonly data?: unknown
}

/** One pull of a destination that was answered. */
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
  /** Answered pulls of destinations, the newest last; the last 10,000. */
  readonly pulled: () => ReadonlyArray<Pulled>
  /** All of a topic, available or not. */
  readonly stored: (topic: string) => ReadonlyArray<RelayEvent>
  /** What was published and not taken, with its errors. */
  readonly untaken: () => ReadonlyArray<RelayEvent>
}

export interface EventRelayInMemory extends Controls {
  readonly client: EventRelayClient["Service"]
}

/** The controls, for tests that get the client by its layer. */
export class EventRelayControls extends Context.Service<EventRelayControls, EventRelayInMemory>()(
  "sluice/layers/EventRelayMemory/EventRelayControls"
) {}

const pulledMax = 10_000

export const make = (options: Rules.Options = {}): Effect.Effect<EventRelayInMemory> =>
  Effect.sync(() => {
    const rules = Rules.make(options)
    const faults = Faults.make()
    const pulled: Array<Pulled> = []
    const admin = rules.access.create({ type: "admin" })
    const noted = (one: Pulled) => {
      pulled.push(one)
      if (pulled.length > pulledMax) pulled.shift()
    }
    return {
      client: {
        channel: (connection) => Effect.sync(() => channelOf(connection, rules, faults.call, noted))
      },
      ...faults.controls,
      connection: connectionWith(admin),
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
  })

export const layer: Layer.Layer<EventRelayClient | EventRelayControls> = Layer.effectContext(
  Effect.map(make(), (relay) =>
    Context.make(EventRelayControls, relay).pipe(Context.add(EventRelayClient, relay.client))
  )
)

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

const connectionWith = (key: { readonly token: string } | undefined): Connection => ({
  host: "memory",
  port: 50_051,
  token: key === undefined ? undefined : Redacted.make(key.token),
  tls: undefined,
  callMillis: 30_000,
  keepaliveMillis: 30_000
})

/** A test that asks for what cannot be is told so. */
const orDie = <A>(made: Result.Result<A, string>): Effect.Effect<A> => Effect.orDie(Effect.fromResult(made))

const channelOf = (
  { callMillis, host, port, token }: Connection,
  rules: Rules.Rules,
  call: Faults.Faults["call"],
  noted: (one: Pulled) => void
): Channel => {
  const authorization = token === undefined ? undefined : `Bearer ${Redacted.value(token)}`
  const asked = <A>(name: Faults.Call, body: (caller: Rules.Caller) => Rules.Answer<A>) =>
    Effect.timeoutOrElse(
      call(
        name,
        Effect.flatMap(Clock.currentTimeMillis, (now) => {
          const answer = body({ authorization, now })
          return Result.isSuccess(answer) ? Effect.succeed(answer.success) : Effect.fail(errorOf(answer.failure))
        })
      ),
      {
        duration: callMillis,
        orElse: () => Effect.fail(errorOf({ status: "DEADLINE_EXCEEDED", words: `no reply within ${callMillis} ms` }))
      }
    )
  return {
    name: `eventrelay:${host}:${port}`,
    pullQueued: (destinationId, batchSize) =>
      asked("pullQueued", (caller) =>
        Result.map(rules.pullQueued(destinationId, batchSize, caller), (events) => {
          noted({ destinationId, at: caller.now, asked: batchSize, given: events.length })
          return events
        })
      ),
    unlock: (destinationId, ids) =>
      Effect.asVoid(asked("unlock", (caller) => rules.unlock(destinationId, ids, caller))),
    pull: (request) => asked("pull", (caller) => rules.pull(request, caller)),
    publish: (request) => asked("publish", (caller) => rules.publish(request, caller))
  }
}

const errorOf = ({ status, words }: Refusal): EventRelayError =>
  new EventRelayError({ trouble: troubleOf(status), status, reason: `${words} (${status})` })
