/** Publishers to topics whose names are filled from each message. */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Fiber, Layer, type Scope } from "effect"
import { TestClock } from "effect/testing"
import * as CodecBytes from "../../src/layers/CodecBytes.ts"
import * as DeadLettersMemory from "../../src/layers/DeadLettersMemory.ts"
import * as KafkaClientMemory from "../../src/layers/KafkaClientMemory.ts"
import * as PublisherKafka from "../../src/layers/PublisherKafka.ts"
import * as PublisherTopic from "../../src/layers/PublisherTopic.ts"
import * as TopicsMemory from "../../src/layers/TopicsMemory.ts"
import type { OptionsError, PublisherComponent, Site } from "../../src/services/Component.ts"
import { DeadLetters } from "../../src/services/DeadLetters.ts"
import { KafkaClient, KafkaError, type KafkaMessage } from "../../src/services/Kafka.ts"
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

  /** A cluster that has some topics, and says what is wrong with the others. */
  const clusterWith = (has: (topic: string) => KafkaError | undefined) => {
    const calls: Array<{ readonly at: number; readonly values: ReadonlyArray<string>; readonly failed: boolean }> = []
    const send = (records: ReadonlyArray<KafkaMessage>) =>
      Effect.gen(function* () {
        const at = yield* Clock.currentTimeMillis
        const error = records.map(({ topic }) => has(topic)).find((error) => error !== undefined)
        calls.push({ at, values: records.map(({ value }) => textOf(value)), failed: error !== undefined })
        if (error !== undefined) return yield* error
        return records.map(({ topic }, offset) => ({ topic, partition: 0, offset }))
      })
    const publisher = Effect.gen(function* () {
      const client = yield* KafkaClient
      return yield* Effect.provideService(
        PublisherKafka.make({
          topic: yield* Effect.fromResult(TopicName.make(undefined, site("gateway"))),
          connection: KafkaKit.connection,
          acks: "all",
          idempotent: true,
          compression: "none",
          carried: [],
          timeoutMillis: 1000
        }),
        KafkaClient,
        { ...client, producer: () => Effect.succeed({ send }) }
      )
    })
    return { calls, publisher }
  }

  const unknown = new KafkaError({ trouble: "away", reason: "no such topic", topic: "unknown" })
  const denied = new KafkaError({ trouble: "refused", reason: "denied", topic: "refused" })

  const offered = Effect.fnUntraced(function* (publisher: Publisher, all: ReadonlyArray<Outgoing>) {
    const source = yield* SourceMemory.make()
    for (const one of all)
      yield* source.offer({ id: textOf(one.value), headers: one.envelope.headers, payload: one.value })
    yield* source.end
    const plan = Define.define({ name: "p", source, decode: CodecBytes.make, publish: [{ to: publisher }] })
    return yield* Effect.forkChild(Define.run(plan), { startImmediately: true })
  })

  it.effect("lets messages for a topic that the cluster does not make fail alone, and end", () =>
    Effect.gen(function* () {
      const { calls, publisher } = clusterWith((topic) =>
        topic === "u.v_w" ? unknown : topic === "no.write" ? denied : undefined
      )
      const bad = Array.from({ length: 30 }, (_, i) => to("u", "v_w", `bad${i}`))
      const good = Array.from({ length: 30 }, (_, i) => to("g", `e${i % 3}`, `good${i}`))
      const all = bad.flatMap((one, i) => [one, good[i]!]).concat(to("no", "write", "denied"))
      const running = yield* offered(yield* publisher, all)
      const sent = () => calls.flatMap(({ failed, values }) => (failed ? [] : values))
      yield* KafkaKit.pass(20)
      assert.sameMembers(
        sent(),
        good.map(({ value }) => textOf(value))
      )
      yield* KafkaKit.pass(40_000)
      yield* Fiber.join(running)
      // Nothing was written twice, and asked for was the topic no more often than there were tries.
      assert.strictEqual(sent().length, good.length)
      assert.isAtMost(calls.filter(({ failed, values }) => failed && values.includes("bad0")).length, 9)
      const letters = yield* (yield* DeadLetters).list({})
      assert.deepStrictEqual(
        letters.map(({ attempts, envelope, reason }) => [envelope.id, attempts, reason]).sort(),
        [
          ...bad.map(({ value }) => [textOf(value), 8, "Kafka topic u.v_w: no such topic"]),
          ["denied", 1, "Kafka topic no.write: denied"]
        ].sort()
      )
    }).pipe(Effect.provide(layer))
  )

  it.effect("sends together what waited for a topic that is there a moment later", () =>
    Effect.gen(function* () {
      let there = false
      const { calls, publisher } = clusterWith(() => (there ? undefined : unknown))
      const all = Array.from({ length: 50 }, (_, i) => to("a", "fresh", `${i}`))
      const running = yield* offered(yield* publisher, all)
      yield* KafkaKit.pass(40)
      there = true
      yield* KafkaKit.pass(300)
      yield* Fiber.join(running)
      const good = calls.filter(({ failed }) => !failed)
      assert.isAtMost(good.length, 2)
      assert.strictEqual(good.flatMap(({ values }) => values).length, 50)
    }).pipe(Effect.provide(layer))
  )

  it.effect("waits out an outage of the cluster beside a topic it does not make, and writes nothing twice", () =>
    Effect.gen(function* () {
      let away = false
      const { calls, publisher } = clusterWith((topic) =>
        away && topic !== "a.x"
          ? new KafkaError({ trouble: "away", reason: "gone" })
          : topic === "u.v_w"
            ? unknown
            : undefined
      )
      const made = yield* publisher
      const [first, bad, other] = [to("a", "x", "1"), to("u", "v_w", "2"), to("b", "x", "3")] as const
      const error = yield* Effect.flip(made.publish([first, bad]))
      assert.deepStrictEqual([error.presence, error.retryable], ["answered", true])
      assert.deepStrictEqual(error.part, { failed: [bad], confirmed: [first] })
      // Not asked for again so soon; what stands beside it was not tried.
      const soon = yield* Effect.flip(made.publish([other, bad]))
      assert.deepStrictEqual(soon.part, { failed: [bad], confirmed: [] })
      yield* TestClock.adjust("1 second")
      away = true
      const again = to("a", "x", "4")
      const gone = yield* Effect.flip(made.publish([again, bad]))
      assert.deepStrictEqual([gone.presence, gone.part], ["unreachable", undefined])
      away = false
      assert.deepStrictEqual((yield* Effect.flip(made.publish([again, bad]))).part?.failed, [bad])
      const sent = calls.flatMap(({ failed, values }) => (failed ? [] : values))
      assert.deepStrictEqual(sent, ["1", "4"])
    }).pipe(Effect.scoped, Effect.provide(layer))
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
