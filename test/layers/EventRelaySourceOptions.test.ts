/** The options of the source eventrelay: what they make, and the sentence for each that makes nothing. */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Schema } from "effect"
import * as EventRelayMemory from "../../src/layers/EventRelayMemory.ts"
import * as InboxMemory from "../../src/layers/InboxMemory.ts"
import * as PositionsMemory from "../../src/layers/PositionsMemory.ts"
import type { OptionsError, Site } from "../../src/services/Component.ts"
import type { Source } from "../../src/services/Source.ts"
import { component } from "../../src/streams/SourceEventRelay.ts"

const site: Site = {
  pipeline: "p",
  source: { type: "eventrelay" },
  folder: ".",
  concurrency: 10,
  bufferMessages: 4096,
  keyed: false,
  hide: (text) => text
}

const made = (options: object): Effect.Effect<Source, OptionsError> =>
  Schema.decodeUnknownEffect(component.options as unknown as Schema.Codec<object>)({
    host: "localhost",
    ...options
  }).pipe(
    Effect.orDie,
    Effect.flatMap((decoded) => component.make(decoded, site)),
    Effect.scoped,
    Effect.provide(Layer.mergeAll(EventRelayMemory.layer, InboxMemory.layer, PositionsMemory.layer, NodeServices.layer))
  ) as Effect.Effect<Source, OptionsError>

const problemsOf = (options: object) =>
  Effect.map(Effect.flip(made(options)), ({ problems }) =>
    problems.map(({ expected, found, path }) => [path.join("."), expected, found])
  )

describe("SourceEventRelay", () => {
  it.effect("makes a source of a destination or of a topic", () =>
    Effect.gen(function* () {
      const destination = yield* made({ destination: "d-1", demand: "1000", pull: "2 seconds", connections: 2 })
      assert.strictEqual(destination.name, "eventrelay:d-1")
      assert.strictEqual(destination.codec?.name, "eventrelay")
      assert.isTrue(destination.redelivers)
      assert.isDefined(destination.stop)
      const topic = yield* made({ topic: "users:123", query: "data.a == 1", from: "latest", batch: 999, group: "g" })
      assert.strictEqual(topic.name, "eventrelay:users:123")
      assert.isUndefined(topic.stop)
    })
  )

  it.effect("wants one of them, and no option that is for the other", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* problemsOf({}), [["", "a destination or a topic", "neither"]])
      assert.deepStrictEqual(yield* problemsOf({ destination: "d", topic: "t" }), [
        ["topic", "no topic besides a destination", "t"]
      ])
      assert.deepStrictEqual(yield* problemsOf({ destination: "d", query: "a", batch: 3 }), [
        ["query", "no query, which is for a topic", "a"],
        ["batch", "no batch, which is for a topic", 3]
      ])
      assert.deepStrictEqual(yield* problemsOf({ topic: "t", demand: 3, connections: 2 }), [
        ["demand", "no demand, which is for a destination", 3],
        ["connections", "no connections, which is for a destination", 2]
      ])
      assert.deepStrictEqual(
        yield* problemsOf({ destination: "d", reconnect: { min: "5 seconds", max: "1 second" }, token: "no-token" }),
        [
          ["reconnect.max", "at least min (5s)", "1s"],
          ["token", "base64 of an API key's key:secret", "other text"]
        ]
      )
    })
  )
})
