/** What every client of EventRelay keeps to, and every server answers. */

import { assert, describe, it } from "@effect/vitest"
import { Effect, type Layer, Result, Scope } from "effect"
import type { KeyType, NewKey } from "../../src/layers/EventRelayAccess.ts"
import { newEvent } from "../../src/layers/EventRelayMemory.ts"
import { type Channel, EventRelayClient, type EventRelayError, type RelayEvent } from "../../src/services/EventRelay.ts"
import type { Connection } from "../../src/services/EventRelayConnection.ts"
import { fresh, type Kit } from "./EventRelayKits.ts"

export interface Features {
  /** Whether events can be given back. */
  readonly unlocks: boolean
  /** The types of keys that can be made and revoked. */
  readonly keys: ReadonlyArray<KeyType>
  /** Whether limits can be set. */
  readonly limits: boolean
}

/** All there are. */
export const keyTypes: ReadonlyArray<KeyType> = ["admin", "producer", "consumer", "producer_consumer"]

const numbers = (events: ReadonlyArray<RelayEvent>): ReadonlyArray<number> =>
  events.map(({ data }) => (JSON.parse(data) as { n: number }).n)

/** What the server said, and what it means. */
const failure = <A, E extends EventRelayError>(effect: Effect.Effect<A, E>) =>
  Effect.map(Effect.flip(effect), ({ reason, status, trouble }) => ({ reason, status, trouble }))

const refused = (
  found: { readonly reason: string; readonly status: string; readonly trouble: string },
  trouble: string,
  status: string,
  words: RegExp
): void => {
  assert.deepStrictEqual([found.trouble, found.status], [trouble, status], found.reason)
  assert.match(found.reason, words)
}

interface Given {
  readonly kit: Kit
  readonly topic: string
  readonly destination: string
  readonly channel: Channel
  readonly channelWith: (key: { readonly token: string } | undefined) => Effect.Effect<Channel>
  /** Publishes events with `{ n }` as their data, one after the other. */
  readonly publish: (from: number, to: number) => Effect.Effect<void, EventRelayError>
}

/** `kit` is asked for when the tests run. */
export const suite = <E>(
  name: string,
  layer: Layer.Layer<EventRelayClient, E>,
  kit: () => Kit | Promise<Kit>,
  { keys, limits, unlocks }: Features
): void => {
  const given = Effect.gen(function* () {
    const made = yield* Effect.promise(async () => kit())
    const client = yield* EventRelayClient
    const scope = yield* Effect.scope
    const channelOf = (connection: Connection) => Scope.provide(client.channel(connection), scope)
    const topic = fresh()
    const destination = yield* made.createDestination({ topic })
    const channel = yield* channelOf(made.connection)
    const publish = (from: number, to: number) =>
      Effect.forEach(
        Array.from({ length: to - from + 1 }, (_, i) => newEvent({ data: { n: from + i } })),
        (event) => channel.publish({ topic, durable: true, events: [event] }),
        { discard: true }
      )
    const channelWith: Given["channelWith"] = (key) => channelOf(made.connectionWith(key))
    return { kit: made, topic, destination, channel, channelWith, publish } satisfies Given
  })
  const test = (name: string, body: (given: Given) => Effect.Effect<void, unknown>, isPossible = true) => {
    const run = () => Effect.flatMap(given, body).pipe(Effect.provide(layer), Effect.scoped)
    if (isPossible) it.live(name, run)
  }

  describe(`${name} as a client of EventRelay`, () => {
    test("stores what is published, with an id, its place, and all it was told", ({ channel, topic }) =>
      Effect.gen(function* () {
        const told = {
          name: "cart.left",
          source: "shop",
          group_key: "group",
          reference_key: "reference",
          trace_key: "trace",
          user_key: "user",
          anonymous_key: "nobody",
          occurred_at: "2024-02-29T12:00:00Z",
          context: { ip: "127.0.0.1", ü: "🙂" },
          prev_id: "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
          available_at: "2024-02-29T12:00:01Z"
        }
        const [stored, ...none] = yield* channel.publish({
          topic,
          durable: true,
          events: [newEvent({ ...told, data: { text: "ünïcödé 🙂", n: 1 } })]
        })
        const { data, data_schema: _, errors, id, offset, topic: ofTopic, ...kept } = stored!
        assert.deepStrictEqual([none, kept, ofTopic, errors], [[], told, topic, []])
        assert.deepStrictEqual(JSON.parse(data), { text: "ünïcödé 🙂", n: 1 })
        assert.match(id, /^[0-9a-f-]{36}$/)
        assert.isAbove(offset, 0)
        const { events } = yield* channel.pull({ topic, batchSize: 10, offset: 0, query: "" })
        assert.deepStrictEqual(events, [stored!])
      }))

    test("gives each event of a destination once, in their order, and no more than were asked for", (given) =>
      Effect.gen(function* () {
        const { channel, destination, publish } = given
        assert.deepStrictEqual(yield* channel.pullQueued(destination, 10), [])
        yield* publish(1, 5)
        assert.deepStrictEqual(numbers(yield* channel.pullQueued(destination, 2)), [1, 2])
        assert.deepStrictEqual(numbers(yield* channel.pullQueued(destination, 100_000)), [3, 4, 5])
        assert.deepStrictEqual(yield* channel.pullQueued(destination, 10), [])
        yield* publish(6, 6)
        assert.deepStrictEqual(numbers(yield* channel.pullQueued(destination, 10)), [6])
      }))

    test("gives each destination of a topic all of its events", ({ channel, destination, kit, publish, topic }) =>
      Effect.gen(function* () {
        const other = yield* kit.createDestination({ topic })
        yield* publish(1, 3)
        assert.deepStrictEqual(numbers(yield* channel.pullQueued(destination, 10)), [1, 2, 3])
        assert.deepStrictEqual(numbers(yield* channel.pullQueued(other, 10)), [1, 2, 3])
      }))

    test(
      "gives again what was given back, before what is behind it, and only that",
      ({ channel, destination, publish }) =>
        Effect.gen(function* () {
          yield* publish(1, 5)
          const pulled = yield* channel.pullQueued(destination, 4)
          yield* channel.unlock(destination, [])
          yield* channel.unlock(destination, [pulled[2]!.id, pulled[0]!.id])
          assert.deepStrictEqual(yield* channel.pullQueued(destination, 1), [pulled[0]!])
          assert.deepStrictEqual(numbers(yield* channel.pullQueued(destination, 10)), [3, 5])
          yield* channel.unlock(destination, ["6ba7b810-9dad-11d1-80b4-00c04fd430c8"])
          assert.deepStrictEqual(yield* channel.pullQueued(destination, 10), [])
        }),
      unlocks
    )

    test("reads a topic page by page and takes nothing", ({ channel, destination, publish, topic }) =>
      Effect.gen(function* () {
        yield* publish(1, 5)
        const page = (batchSize: number, offset: number) => channel.pull({ topic, batchSize, offset, query: "" })
        for (const [batchSize, offset, found, nextOffset] of [
          [2, 0, [1, 2], 2],
          [2, 2, [3, 4], 4],
          [2, 4, [5], 0],
          [5, 0, [1, 2, 3, 4, 5], 5],
          [2, 5, [], 0],
          [0, 0, [1, 2, 3, 4, 5], 0]
        ] as const) {
          const read = yield* page(batchSize, offset)
          assert.deepStrictEqual([numbers(read.events), read.totalCount, read.nextOffset], [found, 5, nextOffset])
        }
        assert.deepStrictEqual(numbers(yield* channel.pullQueued(destination, 10)), [1, 2, 3, 4, 5])
      }))

    test("reads of a topic what a query matches", ({ channel, publish, topic }) =>
      Effect.gen(function* () {
        yield* publish(1, 5)
        const events = [newEvent({ name: "cart.left", data: { cart: { total: 30 } }, context: { ip: "::1" } })]
        yield* channel.publish({ topic, durable: true, events })
        const count = (query: string) =>
          Effect.map(channel.pull({ topic, batchSize: 10, offset: 0, query }), ({ totalCount }) => totalCount)
        assert.strictEqual(yield* count("data.cart.total == 30"), 1)
        assert.strictEqual(yield* count("data.n == 3"), 1)
        assert.strictEqual(yield* count("name == 'cart.left' and data.cart.total == 30"), 1)
        assert.strictEqual(yield* count("data.n == 3 or data.n == 4"), 2)
        assert.strictEqual(yield* count("data.nothing == 3"), 0)
      }))

    test("reads a part of a topic by its identifier, and all of it without", ({ channel, kit, topic }) =>
      Effect.gen(function* () {
        const part = yield* kit.createDestination({ topic: `${topic}:123` })
        const publish = (topic: string, n: number) =>
          channel.publish({ topic, durable: true, events: [newEvent({ data: { n } })] })
        yield* publish(`${topic}:123`, 1)
        yield* publish(`${topic}:456`, 2)
        yield* publish(topic, 3)
        const read = (topic: string) =>
          Effect.map(channel.pull({ topic, batchSize: 10, offset: 0, query: "" }), ({ events }) => numbers(events))
        assert.deepStrictEqual(yield* read(topic), [1, 2, 3])
        assert.deepStrictEqual(yield* read(`${topic}:123`), [1])
        const [pulled, ...none] = yield* channel.pullQueued(part, 10)
        assert.deepStrictEqual([pulled!.topic, none], [`${topic}:123`, []])
      }))

    test("only tells what is not durable: it has no id and cannot be pulled", ({ channel, destination, topic }) =>
      Effect.gen(function* () {
        const [told] = yield* channel.publish({ topic, durable: false, events: [newEvent({ name: "told" })] })
        assert.deepStrictEqual([told!.name, told!.id, told!.offset], ["told", "", 0])
        assert.deepStrictEqual(yield* channel.pullQueued(destination, 10), [])
      }))

    test("carries large events and many at once", ({ channel, destination, topic }) =>
      Effect.gen(function* () {
        const text = "ü".repeat(10_000)
        const events = Array.from({ length: 300 }, (_, n) => newEvent({ data: { n, text } }))
        assert.strictEqual((yield* channel.publish({ topic, durable: true, events })).length, 300)
        const pulled = yield* channel.pullQueued(destination, 1000)
        assert.deepStrictEqual(
          [...numbers(pulled)].sort((a, b) => a - b),
          events.map((_, n) => n)
        )
        assert.strictEqual((JSON.parse(pulled[299]!.data) as { text: string }).text, text)
      }))

    test("does not know a destination or a topic that is not there", ({ channel }) =>
      Effect.gen(function* () {
        const unknown = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
        refused(yield* failure(channel.pullQueued(unknown, 1)), "failed", "UNKNOWN", /\(UNKNOWN\)|UNKNOWN/)
        const reading = channel.pull({ topic: fresh("none"), batchSize: 1, offset: 0, query: "" })
        refused(yield* failure(reading), "failed", "UNKNOWN", /UNKNOWN/)
      }))

    test("publishes to no topic without a name", ({ channel }) =>
      Effect.gen(function* () {
        const publishing = channel.publish({ topic: "", durable: true, events: [newEvent({})] })
        const words = /A topic must be provided to publish_events/
        refused(yield* failure(publishing), "unfit", "INVALID_ARGUMENT", words)
      }))

    test("does not know who has a wrong token, or none", ({ channelWith, destination }) =>
      Effect.gen(function* () {
        const denied = (token: string | undefined, words: RegExp) =>
          Effect.gen(function* () {
            const channel = yield* channelWith(token === undefined ? undefined : { token })
            const found = yield* failure(channel.pullQueued(destination, 1))
            refused(found, "denied", "UNAUTHENTICATED", words)
            if (token !== undefined) assert.notInclude(found.reason, token)
          })
        yield* denied(undefined, /Invalid credentials: could not find bearer token/)
        yield* denied("not base64!", /Invalid credentials: could not decode bearer token/)
        yield* denied(btoa("no colon"), /Invalid credentials: could not decode bearer token/)
        yield* denied(btoa("key:secret"), /Invalid credentials/)
      }))

    test(
      "lets each type of key do what it is for, where it is associated",
      ({ channel, channelWith, destination, kit, topic }) =>
        Effect.gen(function* () {
          const elsewhere = yield* kit.createDestination({ topic: fresh("elsewhere") })
          const with_ = (key: NewKey) =>
            Effect.gen(function* () {
              const made = yield* kit.createKey!(key)
              return { id: made.id, channel: yield* channelWith(made) }
            })
          const publish = (by: Channel, to = topic) => by.publish({ topic: to, durable: true, events: [newEvent({})] })
          const pull = (by: Channel) => by.pull({ topic, batchSize: 1, offset: 0, query: "" })
          const not = (found: Effect.Effect<unknown, EventRelayError>, words: RegExp) =>
            Effect.map(failure(found), (found) => refused(found, "denied", "PERMISSION_DENIED", words))

          const producer = yield* with_({ type: "producer", topics: [topic] })
          yield* publish(producer.channel)
          const other = yield* kit.createKey!({ type: "producer" })
          const words = new RegExp(`ApiKey with id=${other.id} is not associated with topic_name=${topic}`)
          yield* not(publish(yield* channelWith(other)), words)
          yield* not(pull(producer.channel), /Not permitted/)
          yield* not(producer.channel.pullQueued(destination, 1), /Not permitted/)

          const consumer = yield* with_({ type: "consumer", destinations: [destination] })
          assert.strictEqual((yield* pull(consumer.channel)).events.length, 1)
          assert.strictEqual((yield* consumer.channel.pullQueued(destination, 1)).length, 1)
          yield* not(publish(consumer.channel), /Not permitted/)
          const via = new RegExp(
            `ApiKey with id=${consumer.id} is not associated with topic_name=\\S+ via a destination`
          )
          yield* not(consumer.channel.pullQueued(elsewhere, 1), via)
          yield* not(consumer.channel.unlock(elsewhere, []), via)

          if (!keys.includes("producer_consumer")) return
          const both = yield* with_({ type: "producer_consumer", topics: [topic], destinations: [destination] })
          yield* publish(both.channel)
          yield* pull(both.channel)
          yield* not(both.channel.pullQueued(destination, 1), /Not permitted/)
          assert.strictEqual((yield* channel.pullQueued(destination, 10)).length, 1)
        }),
      keys.length > 0
    )

    test(
      "does not know a key that was revoked",
      ({ channelWith, destination, kit }) =>
        Effect.gen(function* () {
          const key = yield* kit.createKey!({ type: "consumer", destinations: [destination] })
          const channel = yield* channelWith(key)
          assert.deepStrictEqual(yield* channel.pullQueued(destination, 1), [])
          yield* kit.revokeKey!(key.id)
          const found = yield* failure(channel.pullQueued(destination, 1))
          refused(found, "denied", "UNAUTHENTICATED", /Invalid credentials/)
        }),
      keys.length > 0
    )

    test(
      "is too busy for more calls than its limit in one second",
      ({ channel, destination, kit }) =>
        Effect.gen(function* () {
          yield* kit.limit!({ others: 3 })
          // A second may end between the calls, so it is tried with twice as many and one.
          const calls = Array.from({ length: 7 }, () => Effect.result(channel.pullQueued(destination, 1)))
          const results = yield* Effect.all(calls)
          yield* kit.limit!({ others: 10_000 })
          const failures = results.flatMap((one) => (Result.isFailure(one) ? [one.failure] : []))
          assert.isAtLeast(failures.length, 1)
          const words = /Rate limit exceeded for pull_queued_events at 3 requests per 1\.0 second\(s\)/
          for (const found of failures) refused(found, "away", "RESOURCE_EXHAUSTED", words)
        }),
      limits
    )
  })
}
