/** Events of EventRelay: those of a destination, each once and for us alone, or those of a topic, by a position of our own. */
import { Duration, Effect, Result, Schema, type Scope } from "effect"
import * as Component from "../services/Component.ts"
import { EventRelayClient } from "../services/EventRelay.ts"
import * as EventRelayConnection from "../services/EventRelayConnection.ts"
import * as Fields from "../services/Fields.ts"
import type { Inbox } from "../services/Inbox.ts"
import type { Positions } from "../services/Positions.ts"
import type { Source } from "../services/Source.ts"
import * as EventRelayCalls from "./EventRelayCalls.ts"
import * as EventRelayDestination from "./EventRelayDestination.ts"
import * as EventRelayOptions from "./EventRelayOptions.ts"
import * as EventRelayTopic from "./EventRelayTopic.ts"

/** How the server is reached, besides what is read from it. */
interface Reached {
  readonly connection: EventRelayConnection.Connection
}

export interface DestinationOptions extends Reached, Omit<EventRelayDestination.Options, "channels"> {
  /** Connections that pull, with one call at a time each; 1 by default. */
  readonly connections?: number | undefined
}

export interface TopicOptions extends Reached, Omit<EventRelayTopic.Options, "channel"> {}

/** The events of a destination, each once and for us alone. */
export const make: (
  options: DestinationOptions
) => Effect.Effect<Source, never, EventRelayClient | Inbox | Scope.Scope> = Effect.fnUntraced(function* ({
  connection,
  connections = 1,
  ...options
}: DestinationOptions) {
  const { channel } = yield* EventRelayClient
  const [first, ...others] = yield* Effect.forEach(Array.from({ length: connections }), () => channel(connection))
  return yield* EventRelayDestination.make({ ...options, channels: [first!, ...others] })
})

/** The events of a topic, by a position of our own. */
export const makeTopic: (
  options: TopicOptions
) => Effect.Effect<Source, never, EventRelayClient | Positions | Scope.Scope> = Effect.fnUntraced(function* ({
  connection,
  ...options
}: TopicOptions) {
  const { channel } = yield* EventRelayClient
  return yield* EventRelayTopic.make({ ...options, channel: yield* channel(connection) })
})

/** Units: events that may stand behind others of their key while they are out. */
const keyedMax = 1024

export const component = Component.source({
  type: "eventrelay",
  summary:
    "Events of an EventRelay destination, pulled as the pipeline takes them and given back where the server can, or of a topic, read with a position of our own.",
  options: Schema.Struct({
    ...EventRelayConnection.fields,
    /** The id of the destination whose events are pulled. */
    destination: Schema.optionalKey(Fields.Text),
    /** The topic that is read instead, such as users or users:123. */
    topic: Schema.optionalKey(Fields.Text),
    /** Between two looks when there is nothing. */
    pull: Fields.orElse(Fields.Wait, Duration.millis(EventRelayDestination.pullMillisDefault)),
    /** Between two tries while the server is away. */
    reconnect: Fields.group({
      min: Fields.orElse(Fields.Wait, Duration.millis(EventRelayCalls.backoffDefault.minMillis)),
      max: Fields.orElse(Fields.Wait, Duration.millis(EventRelayCalls.backoffDefault.maxMillis))
    }),
    /** For a destination: events pulled and not settled; by default twice the concurrency, and more where the pipeline has keys. */
    demand: Schema.optionalKey(Fields.int(1, 100_000)),
    /** For a destination: connections that pull, with one call at a time each; 1 by default. */
    connections: Schema.optionalKey(Fields.int(1, 32)),
    /** For a topic: whose position it is; by default the pipeline's. */
    group: Schema.optionalKey(Fields.Text),
    /** For a topic: only events that match, in the server's words, such as data.cart.total == 30. */
    query: Schema.optionalKey(Fields.Text),
    /** For a topic: where a group begins that has no position yet; earliest by default. */
    from: Schema.optionalKey(Schema.Literals(["earliest", "latest"])),
    /** For a topic: events in one call; 100 by default. */
    batch: Schema.optionalKey(Fields.int(1, 999))
  }),
  make: (options, site) =>
    Effect.gen(function* () {
      const { destination, topic } = options
      const problems = [...targetProblems(options), ...strayProblems(options)]
      const [minMillis, maxMillis] = [
        Duration.toMillis(options.reconnect.min),
        Duration.toMillis(options.reconnect.max)
      ]
      if (maxMillis < minMillis) {
        problems.push({
          path: ["reconnect", "max"],
          expected: `at least min (${Duration.format(options.reconnect.min)})`,
          found: Duration.format(options.reconnect.max)
        })
      }
      const connected = yield* Effect.result(EventRelayOptions.connectionOf(options, site.folder))
      if (Result.isFailure(connected)) problems.push(...connected.failure.problems)
      if (Result.isFailure(connected) || problems.length > 0) return yield* new Component.OptionsError({ problems })
      const common = {
        pipeline: site.pipeline,
        connection: connected.success,
        pullMillis: Duration.toMillis(options.pull),
        backoff: { minMillis, maxMillis }
      }
      if (topic !== undefined) {
        const { batch, from, group = site.pipeline, query } = options
        return yield* makeTopic({ ...common, topic, group, query, from, batch })
      }
      const { bufferMessages, concurrency, keyed } = site
      return yield* make({
        ...common,
        destination: destination!,
        connections: options.connections,
        demand: options.demand ?? (keyed ? concurrency + Math.min(bufferMessages, keyedMax) : 2 * concurrency)
      })
    })
})

type Given = { readonly [name: string]: unknown }

const targetProblems = ({ destination, topic }: Given): Array<Component.Problem> => {
  if (destination === undefined && topic === undefined) {
    return [{ path: [], expected: "a destination or a topic", found: "neither" }]
  }
  if (destination === undefined || topic === undefined) return []
  return [{ path: ["topic"], expected: "no topic besides a destination", found: topic }]
}

/** What means nothing where it stands. */
const strayProblems = (options: Given): Array<Component.Problem> => {
  const [names, of] =
    options.topic === undefined
      ? [["group", "query", "from", "batch"], "a topic"]
      : [["demand", "connections"], "a destination"]
  return names
    .filter((name) => options[name] !== undefined)
    .map((name) => ({ path: [name], expected: `no ${name}, which is for ${of}`, found: options[name] }))
}
