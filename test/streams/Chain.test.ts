/** Pipelines that feed each other: what they pass on, and the end of a circle. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, References } from "effect"
import { TestClock } from "effect/testing"
import * as CodecJson from "../../src/layers/CodecJson.ts"
import * as DeadLettersMemory from "../../src/layers/DeadLettersMemory.ts"
import * as DispatcherJobs from "../../src/layers/DispatcherJobs.ts"
import * as KafkaClientMemory from "../../src/layers/KafkaClientMemory.ts"
import * as PublisherKafka from "../../src/layers/PublisherKafka.ts"
import * as PublisherMemory from "../../src/layers/PublisherMemory.ts"
import * as PublisherTopic from "../../src/layers/PublisherTopic.ts"
import * as TopicsMemory from "../../src/layers/TopicsMemory.ts"
import { DeadLetters } from "../../src/services/DeadLetters.ts"
import type { Publisher } from "../../src/services/Publisher.ts"
import type { Source } from "../../src/services/Source.ts"
import { Topics } from "../../src/services/Topics.ts"
import * as Define from "../../src/streams/Define.ts"
import * as SourceKafka from "../../src/streams/SourceKafka.ts"
import * as SourceMemory from "../../src/streams/SourceMemory.ts"
import * as SourceTopic from "../../src/streams/SourceTopic.ts"
import { connection } from "../suites/KafkaKit.ts"

const layer = Layer.mergeAll(
  DeadLettersMemory.layer,
  TopicsMemory.layer,
  KafkaClientMemory.layer,
  Layer.succeed(References.MinimumLogLevel, "Error")
)

const producing = { connection, acks: "all", idempotent: false, compression: "none", timeoutMillis: 1000 } as const

const passing = Effect.fnUntraced(function* (steps: number) {
  for (let i = 0; i < steps; i++) yield* TestClock.adjust(20)
})

interface Seen {
  readonly pipeline: string
  readonly correlationId: string
  readonly depth: string | undefined
}

/** A pipeline that works each message in a job and publishes what the job gives. */
const pipeline = (name: string, source: Source, to: Publisher, seen: Array<Seen>, depthMax?: number) =>
  Define.define({
    name,
    source,
    decode: CodecJson.make(),
    depthMax,
    dispatch: [
      {
        run: DispatcherJobs.make({
          jobs: {
            work: ({ correlationId, headers }) =>
              void seen.push({ pipeline: name, correlationId, depth: headers["sluice-depth"] })
          }
        })
      }
    ],
    publish: [{ to }]
  })

/** Two pipelines that each read what the other writes. */
const circle = Effect.fnUntraced(function* (depthMax: number | undefined, headers: Readonly<Record<string, string>>) {
  const seen: Array<Seen> = []
  const topics = yield* Topics
  yield* topics.append("one", [{ id: "first", key: "k", headers, value: new TextEncoder().encode("{}") }])
  const read = (topic: string) => SourceTopic.make({ topic, group: "g", from: "earliest" })
  const first = pipeline("first", yield* read("one"), yield* PublisherTopic.make("two"), seen, depthMax)
  const second = pipeline("second", yield* read("two"), yield* PublisherTopic.make("one"), seen, depthMax)
  yield* Define.start(first)
  yield* Define.start(second)
  yield* passing(400)
  return { seen, letters: yield* (yield* DeadLetters).list({}) }
})

describe("A chain of pipelines", () => {
  it.effect("that leads back to itself ends with a burial at the bound, under one correlation id all the way", () =>
    Effect.gen(function* () {
      const { letters, seen } = yield* circle(undefined, { "x-correlation-id": "c-1" })
      assert.deepStrictEqual(
        seen,
        Array.from({ length: 33 }, (_, i) => ({
          pipeline: i % 2 === 0 ? "first" : "second",
          correlationId: "c-1",
          depth: i === 0 ? undefined : `${i}`
        }))
      )
      assert.deepStrictEqual(
        letters.map(({ attempts, envelope, pipeline, reason, stage }) => [
          pipeline,
          stage,
          attempts,
          envelope.headers["sluice-depth"],
          reason
        ]),
        [
          [
            "second",
            "detect",
            1,
            "33",
            "the chain c-1 has gone through 33 pipelines, more than depthMax 32: what they publish most likely leads back to themselves"
          ]
        ]
      )
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.effect("is bounded as its pipelines say, and begins with the id of its first message", () =>
    Effect.gen(function* () {
      const { letters, seen } = yield* circle(3, {})
      assert.deepStrictEqual(
        seen.map(({ pipeline }) => pipeline),
        ["first", "second", "first", "second"]
      )
      assert.deepStrictEqual(new Set(seen.map(({ correlationId }) => correlationId)), new Set(["topic:one/0"]))
      assert.strictEqual(letters.length, 1)
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.effect("ends in Kafka too", () =>
    Effect.gen(function* () {
      const cluster = yield* KafkaClientMemory.Cluster
      for (const topic of ["one", "two"]) yield* cluster.createTopic(topic, 1)
      yield* cluster.produce("one", 0, { value: "{}", headers: { "x-request-id": "r-1" } })
      const seen: Array<Seen> = []
      const read = (topic: string) =>
        SourceKafka.make({ pipeline: topic, connection, topics: [topic], group: topic, from: "earliest" })
      const write = (topic: string) => PublisherKafka.make({ ...producing, topic, carried: ["chain"] })
      yield* Define.start(pipeline("first", yield* read("one"), yield* write("two"), seen, 3))
      yield* Define.start(pipeline("second", yield* read("two"), yield* write("one"), seen, 3))
      yield* passing(1000)
      assert.deepStrictEqual(
        seen.map(({ correlationId, depth }) => [correlationId, depth]),
        [
          ["r-1", undefined],
          ["r-1", "1"],
          ["r-1", "2"],
          ["r-1", "3"]
        ]
      )
      const letters = yield* (yield* DeadLetters).list({})
      assert.deepStrictEqual(
        letters.map(({ pipeline, stage }) => [pipeline, stage]),
        [["first", "detect"]]
      )
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.effect("goes on where its letter is replayed by hand", () =>
    Effect.gen(function* () {
      const seen: Array<Seen> = []
      const source = SourceMemory.fromIterable([{ id: "deep", payload: {}, headers: { "sluice-depth": "40" } }])
      const out = PublisherMemory.make()
      const handle = yield* Define.start(pipeline("p", source, out, seen))
      yield* passing(2)
      const [letter] = yield* (yield* DeadLetters).list({})
      assert.deepStrictEqual([seen, letter?.stage], [[], "detect"])
      const replayed = yield* Effect.forkChild(handle.replay([letter!]))
      yield* passing(2)
      assert.isDefined(replayed.pollUnsafe())
      assert.deepStrictEqual([seen.map(({ depth }) => depth), out.published.length], [["40"], 1])
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.effect("goes through Kafka in headers, unless they are left out", () =>
    Effect.gen(function* () {
      const cluster = yield* KafkaClientMemory.Cluster
      const headers = { "correlation-id": "c-1", "sluice-depth": "4", own: "1" }
      const sent = Effect.fnUntraced(function* (topic: string, carried: PublisherKafka.Options["carried"]) {
        yield* cluster.createTopic(topic, 1)
        const publisher = yield* PublisherKafka.make({ ...producing, topic, carried })
        const envelope = SourceMemory.envelopeOf({ id: "a", payload: {}, headers }, "memory", 1, 0)
        yield* publisher.publish([{ envelope, event: "e", key: undefined, value: envelope.payload }])
        const utf8 = new TextDecoder()
        return Object.fromEntries(
          Object.entries(cluster.records(topic, 0)[0]!.headers).map(([name, value]) => [
            name,
            typeof value === "string" ? value : utf8.decode([value].flat()[0] as Uint8Array)
          ])
        )
      })
      const chain = { "correlation-id": "c-1", "sluice-depth": "5" }
      assert.deepStrictEqual(yield* sent("all", ["record", "chain"]), { ...chain, own: "1" })
      assert.deepStrictEqual(yield* sent("chain", ["chain"]), chain)
      assert.deepStrictEqual(yield* sent("none", []), {})
    }).pipe(Effect.scoped, Effect.provide(layer))
  )
})
