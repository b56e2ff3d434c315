/** TEMP */
import { Duration, Effect, Schema, type Scope } from "effect"
import * as Component from "../services/Component.ts"
import { type Channel, EventRelayClient } from "../services/EventRelay.ts"
import * as EventRelayConnection from "../services/EventRelayConnection.ts"
import * as Fields from "../services/Fields.ts"
import type { Inbox } from "../services/Inbox.ts"
import type { Source } from "../services/Source.ts"
import * as EventRelayDestination from "./EventRelayDestination.ts"
import * as EventRelayOptions from "./EventRelayOptions.ts"

export interface Options extends Omit<EventRelayDestination.Options, "channels"> {
  readonly connection: EventRelayConnection.Connection
  readonly connections?: number | undefined
}

export const make: (options: Options) => Effect.Effect<Source, never, EventRelayClient | Inbox | Scope.Scope> =
  Effect.fnUntraced(function* (options: Options) {
    const client = yield* EventRelayClient
    const channels: Array<Channel> = []
    for (let i = 0; i < (options.connections ?? 1); i++) channels.push(yield* client.channel(options.connection))
    return yield* EventRelayDestination.make({ ...options, channels: channels as unknown as readonly [Channel] })
  })

export const component = Component.source({
  type: "eventrelay",
  summary: "temp",
  options: Schema.Struct({
    ...EventRelayConnection.fields,
    destination: Fields.Text,
    demand: Schema.optionalKey(Fields.int(1, 100_000)),
    connections: Fields.orElse(Fields.int(1, 64), 1),
    pull: Fields.orElse(Fields.Wait, Duration.seconds(5))
  }),
  make: (options, { folder, pipeline }) =>
    Effect.flatMap(EventRelayOptions.connectionOf(options, folder), (connection) =>
      make({ ...options, pipeline, connection, pullMillis: Duration.toMillis(options.pull) })
    )
})
