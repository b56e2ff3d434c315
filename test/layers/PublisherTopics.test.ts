/** Publishers to topics whose names are filled from each message. */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, type Scope } from "effect"
import * as CodecBytes from "../../src/layers/CodecBytes.ts"
import * as DeadLettersMemory from "../../src/layers/DeadLettersMemory.ts"
import * as KafkaClientMemory from "../../src/layers/KafkaClientMemory.ts"
import * as PublisherKafka from "../../src/layers/PublisherKafka.ts"
import * as PublisherTopic from "../../src/layers/PublisherTopic.ts"
import * as TopicsMemory from "../../src/layers/TopicsMemory.ts"
import type { OptionsError, PublisherComponent, Site } from "../../src/services/Component.ts"
import { DeadLetters } from "../../src/services/DeadLetters.ts"
import type { Outgoing, Publisher } from "../../src/services/Publisher.ts"
import { TopicError, Topics } from "../../src/services/Topics.ts"
import * as Define from "../../src/streams/Define.ts"
import * as SourceMemory from "../../src/streams/SourceMemory.ts"
import * as TopicName from "../../src/streams/TopicName.ts"
import * as KafkaKit from "../suites/KafkaKit.ts"
import * as PublisherSuite from "../suites/PublisherSuite.ts"

const site = (type: string): Site => ({
  pipeline: "p",
  source: { type },
  folder: "/",
  concurrency: 1,
  bufferMessages: 1,
  keyed: false,
  hide: (text) => text
})

const layer = Layer.mergeAll(NodeServices.layer, DeadLettersMemory.layer, TopicsMemory.layer, KafkaClientMemory.layer)

const made = (component: PublisherComponent, options: object, source = "gateway") =>
  component.make(options, site(source)) as Effect.Effect<
    Publisher,
    OptionsError,
    Topics | KafkaClientMemory.Cluster | Scope.Scope
  >

const to = (client: string, event: string, text: string): Outgoing => {
  const one = PublisherSuite.outgoing(text)
  return { ...one, envelope: { ...one.envelope, headers: { client, event } } }
}

const batch = [to("a", "x", "1"), to("b", "y.z", "2"), to("a", "x", "3")]

const textOf = (bytes: Uint8Array | null): string => new TextDecoder().decode(bytes ?? new Uint8Array(0))

const valuesOf = Effect.fnUntraced(function* (topic: string) {
  const reader = yield* (yield* Topics).open(topic, "g", "earliest")
  return (yield* reader.read(0, 100, 1_000_000)).map(({ value }) => textOf(value))
})

describe("the topic publisher", () => {
  it.effect("puts each message of a batch into the topic of its client and event behind a gateway", () =>
    Effect.gen(function* () {
      const publisher = yield* made(PublisherTopic.component, {})
      yield* publisher.publish(batch)
      assert.deepStrictEqual([yield* valuesOf("a.x"), yield* valuesOf("b.y.z")], [["1", "3"], ["2"]])
    }).pipe(Effect.provide(layer))
  )

  it.effect("writes again only what was not written, when one topic of a batch fails", () =>
    Effect.gen(function* () {
      const topics = yield* Topics
      let failing = true
      const append: typeof topics.append = (topic, records) =>
        failing && topic === "b.y.z"
          ? Effect.fail(new TopicError({ topic, reason: "full", retryable: true }))
          : topics.append(topic, records)
      const publisher = yield* Effect.provideService(made(PublisherTopic.component, {}), Topics, { ...topics, append })
      const error = yield* Effect.flip(publisher.publish(batch))
      assert.isTrue(error.retryable)
      failing = false
      yield* publisher.publish(batch)
      assert.deepStrictEqual([yield* valuesOf("a.x"), yield* valuesOf("b.y.z")], [["1", "3"], ["2"]])
    }).pipe(Effect.provide(layer))
  )

  it.effect("buries what has no legal topic alone", () =>
    Effect.gen(function* () {
      const source = yield* SourceMemory.make()
      for (const one of [to("a", "x", "1"), to("a", "x/y", "2"), to("a", "x", "3")]) {
        yield* source.offer({ id: textOf(one.value), headers: one.envelope.headers, payload: one.value })
      }
      yield* source.end
      const publisher = yield* made(PublisherTopic.component, {})
      yield* Define.run(Define.define({ name: "p", source, decode: CodecBytes.make, publish: [{ to: publisher }] }))
      const letters = yield* (yield* DeadLetters).list({})
      assert.deepStrictEqual(
        letters.map(({ envelope, reason }) => [envelope.id, reason]),
        [["2", '"a.x/y" is not the name of a topic: up to 249 letters, digits and . _ -']]
      )
      assert.deepStrictEqual((yield* valuesOf("a.x")).sort(), ["1", "3"])
    }).pipe(Effect.provide(layer))
  )
})

describe("the kafka publisher", () => {
  const options = { brokers: ["memory:9092"], acks: "all", compression: "none", headers: [], timeout: "30 seconds" }

  it.effect("puts each message of a batch into its own topic", () =>
    Effect.gen(function* () {
      const cluster = yield* KafkaClientMemory.Cluster
      for (const topic of ["in.a", "in.b"]) yield* cluster.createTopic(topic, 1)
      const publisher = yield* PublisherKafka.make({
        topic: yield* Effect.fromResult(TopicName.make("in.{{envelope.headers.client}}", site("http"))),
        connection: KafkaKit.connection,
        acks: "all",
        idempotent: true,
        compression: "none",
        carried: [],
        timeoutMillis: 1000
      })
      assert.strictEqual(publisher.name, "kafka:in.{{envelope.headers.client}}")
      yield* publisher.publish(batch)
      assert.deepStrictEqual(
        ["in.a", "in.b"].map((topic) => cluster.records(topic, 0).map(({ value }) => textOf(value))),
        [["1", "3"], ["2"]]
      )
      const error = yield* Effect.flip(publisher.publish([to("a b", "x", "4")]))
      assert.deepStrictEqual([error.retryable, error.presence], [false, "answered"])
      assert.strictEqual(cluster.records("in.a", 0).length, 2)
    }).pipe(Effect.provide(layer))
  )

  it.effect("takes a topic where there is no gateway, and names paths it cannot fill", () =>
    Effect.gen(function* () {
      for (const [topic, source, expected] of [
        [undefined, "http", "a topic, since the source is no gateway"],
        ["{{payload.x}}", "gateway", "in {{payload.x}} a path that starts at envelope or event"],
        ["a{{", "gateway", "a path in each {{...}}, such as {{envelope.key}}"],
        ["a b", "gateway", "the name of a topic: up to 249 letters, digits and . _ -"]
      ] as const) {
        const error = yield* Effect.flip(made(PublisherKafka.component, { ...options, topic }, source))
        assert.deepStrictEqual(error.problems, [{ path: ["topic"], expected, found: topic }])
      }
    }).pipe(Effect.provide(layer))
  )
})
