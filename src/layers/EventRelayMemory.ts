/** An EventRelay server in memory, under Effect's clock and with faults on demand: for tests, and the reference of what a client does. */
import { Context, Effect, Layer, Redacted } from "effect"
import { type Channel, EventRelayClient } from "../services/EventRelay.ts"
import type { Connection } from "../services/EventRelayConnection.ts"
import * as Backend from "./EventRelayBackend.ts"
import type { Call } from "./EventRelayMemoryFaults.ts"
import type { Answer, Caller, Options } from "./EventRelayRules.ts"

export { type Controls, type Given, newEvent, type Pulled } from "./EventRelayBackend.ts"
export type { Options } from "./EventRelayRules.ts"

export interface EventRelayInMemory extends Backend.Controls {
  readonly client: EventRelayClient["Service"]
}

/** The controls, for tests that get the client by its layer. */
export class EventRelayControls extends Context.Service<EventRelayControls, EventRelayInMemory>()(
  "sluice/layers/EventRelayMemory/EventRelayControls"
) {}

export const make = (options: Options = {}): Effect.Effect<EventRelayInMemory> =>
  Effect.sync(() => {
    const backend = Backend.make(options, () => ({ host: "memory", port: 50_051 }))
    const client: EventRelayClient["Service"] = {
      channel: (connection) => Effect.sync(() => channelOf(connection, backend))
    }
    return { client, ...backend.controls }
  })

export const layer: Layer.Layer<EventRelayClient | EventRelayControls> = Layer.effectContext(
  Effect.map(make(), (relay) =>
    Context.make(EventRelayControls, relay).pipe(Context.add(EventRelayClient, relay.client))
  )
)

const channelOf = ({ callMillis, host, port, token }: Connection, backend: Backend.Backend): Channel => {
  const { answer, pullQueued, rules } = backend
  const authorization = token === undefined ? undefined : `Bearer ${Redacted.value(token)}`
  const asked = <A>(call: Call, body: (caller: Caller) => Answer<A>) =>
    Effect.timeoutOrElse(answer(call, authorization, body), {
      duration: callMillis,
      orElse: () =>
        Effect.fail(Backend.errorOf({ status: "DEADLINE_EXCEEDED", words: `no answer within ${callMillis / 1000} s` }))
    })
  return {
    name: `eventrelay:${host}:${port}`,
    pullQueued: (destinationId, batchSize) =>
      asked("pullQueued", (caller) => pullQueued(destinationId, batchSize, caller)),
    unlock: (destinationId, ids) =>
      Effect.asVoid(asked("unlock", (caller) => rules.unlock(destinationId, ids, caller))),
    pull: (request) => asked("pull", (caller) => rules.pull(request, caller)),
    publish: (request) => asked("publish", (caller) => rules.publish(request, caller))
  }
}
