/** The publisher of EventRelay on the server in memory: what it sends, what it divides, and what becomes of the rest. */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, References, Result, Schema, type Scope } from "effect"
import { TestClock } from "effect/testing"
import * as CodecJson from "../../src/layers/CodecJson.ts"
import * as DeadLettersMemory from "../../src/layers/DeadLettersMemory.ts"
import * as EventRelayMemory from "../../src/layers/EventRelayMemory.ts"
import * as PublisherEventRelay from "../../src/layers/PublisherEventRelay.ts"
import type { OptionsError, Problem } from "../../src/services/Component.ts"
import { DeadLetters } from "../../src/services/DeadLetters.ts"
import { type Channel, EventRelayClient, EventRelayError, type NewEvent } from "../../src/services/EventRelay.ts"
import type { Outgoing, Publisher } from "../../src/services/Publisher.ts"
import * as Define from "../../src/streams/Define.ts"
import * as SourceMemory from "../../src/streams/SourceMemory.ts"
import * as PublisherSuite from "../suites/PublisherSuite.ts"

const topic = "users"
const source = "test"
const wrapped = (text: string): string => `{"v":${text}}`

/** Its server takes objects only: what the suite sends goes out as one. */
PublisherSuite.suite(
  "PublisherEventRelay",
  Effect.gen(function* () {
    const relay = yield* EventRelayMemory.EventRelayControls
    yield* relay.createTopic(topic)
    const made = yield* PublisherEventRelay.make({ connection: relay.connection, topic, source })
    const publisher: Publisher = {
      ...made,
      publish: (batch) => {
        const wrap = (one: Outgoing) => ({ ...one, value: PublisherSuite.outgoing(wrapped(read(one.value))).value })
        return made.publish(batch.map(wrap))
      }
    }
    const stored = Effect.sync(() => relay.stored(topic).map(({ data }) => data.slice(5, -1)))
    return { publisher, read: stored }
  }),
  EventRelayMemory.layer
)

const read = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)
const json = (value: unknown, key?: string): Outgoing => PublisherSuite.outgoing(JSON.stringify(value), key)

type Relay = EventRelayMemory.EventRelayInMemory
interface Asked {
  readonly topic: string
  readonly events: ReadonlyArray<NewEvent>
}

/** Also notes what is asked for. */
const noting = (relay: Relay, asked: Array<Asked>, publish?: (next: Channel["publish"]) => Channel["publish"]) =>
  EventRelayClient.of({
    channel: (connection) =>
      Effect.map(relay.client.channel(connection), (channel) => {
        const next: Channel["publish"] = (request) =>
          Effect.suspend(() => {
            asked.push(request)
            return channel.publish(request)
          })
        return { ...channel, publish: publish?.(next) ?? next }
      })
  })

const dataOf = (asked: ReadonlyArray<Asked>) => asked.map(({ events }) => events.map(({ data }) => JSON.parse(data)))
const failing = (publisher: Publisher, batch: ReadonlyArray<Outgoing>) => Effect.flip(publisher.publish(batch))
const numbers = (all: ReadonlyArray<Outgoing> = []) => all.map(({ value }) => JSON.parse(read(value)).n)

describe("PublisherEventRelay", () => {
  const test = (
    name: string,
    body: (given: {
      readonly relay: Relay
      readonly asked: Array<Asked>
      readonly make: (
        options?: Partial<PublisherEventRelay.Options>
      ) => Effect.Effect<Publisher, OptionsError, Scope.Scope>
    }) => Effect.Effect<void, unknown, Scope.Scope>
  ) =>
    it.effect(name, () =>
      Effect.gen(function* () {
        const relay = yield* EventRelayMemory.make()
        yield* relay.createTopic(topic)
        const asked: Array<Asked> = []
        const client = noting(relay, asked)
        yield* body({
          relay,
          asked,
          make: (options) =>
            Effect.provideService(
              PublisherEventRelay.make({ connection: relay.connection, topic, source, ...options }),
              EventRelayClient,
              client
            )
        })
      }).pipe(Effect.scoped)
    )

  test("fills its texts from message, event and reply, and carries the chain", ({ make, relay }) =>
    Effect.gen(function* () {
      const publisher = yield* make({
        topic: "users:{{payload.user.id}}",
        source: "shop-{{envelope.headers.region}}",
        groupKey: "{{payload.tenant}}",
        referenceKey: "{{reply.payload.order}}",
        traceKey: "{{envelope.id}}",
        userKey: "{{payload.user.id}}",
        anonymousKey: "{{payload.nobody}}",
        prevId: "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        occurredAt: "{{payload.at}}",
        availableAt: "2024-01-01T01:00:00+01:00",
        context: { ip: "{{payload.ip}}", none: "{{payload.nobody}}", fixed: "a" },
        dataSchema: { type: "object" }
      })
      const envelope = {
        ...json({}).envelope,
        headers: { region: "eu", "correlation-id": "chain", "sluice-depth": "2" }
      }
      const payload = { user: { id: 7 }, tenant: "t", at: 1_700_000_000_000, ip: "::1" }
      const event = { envelope, payload, key: "k" }
      yield* publisher.publish([
        {
          ...json({ done: true }, "k"),
          envelope,
          event: "user.created",
          detection: { name: "user.created", event },
          reply: { kind: "accepted", payload: { order: "o1" } }
        }
      ])
      const [{ id: _, ...stored }] = relay.stored(topic) as unknown as [Record<string, unknown>]
      assert.deepStrictEqual(stored, {
        name: "user.created",
        topic: "users:7",
        data: '{"done":true}',
        source: "shop-eu",
        group_key: "t",
        reference_key: "o1",
        trace_key: envelope.id,
        user_key: "7",
        anonymous_key: "",
        prev_id: "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        occurred_at: "2023-11-14T22:13:20Z",
        available_at: "2024-01-01T00:00:00Z",
        context: { ip: "::1", fixed: "a", "correlation-id": "chain", "sluice-depth": "3" },
        data_schema: '{"type":"object"}',
        offset: 1,
        errors: []
      })
    }))

  test("says little where little is said: the event's name, the key as group, no times", ({ asked, make }) =>
    Effect.gen(function* () {
      const publisher = yield* make()
      yield* publisher.publish([json({ n: 1 }, "k")])
      const { context, data, ...event } = asked[0]!.events[0]!
      assert.deepStrictEqual(
        [event.name, event.group_key, event.occurred_at, event.data_schema],
        ["message", "k", "", ""]
      )
      assert.deepStrictEqual(context, { "correlation-id": '{"n":1}', "sluice-depth": "1" })
    }))

  test("only tells what is not to be stored", ({ make, relay }) =>
    Effect.gen(function* () {
      yield* (yield* make({ durable: false })).publish([json({ n: 1 })])
      assert.deepStrictEqual(relay.stored(topic), [])
    }))

  test("asks once for each topic, and again for each further event of a key, in their order", ({ asked, make }) =>
    Effect.gen(function* () {
      const publisher = yield* make({ topic: "users:{{envelope.headers.to}}" })
      const to = (n: number, to: string, key?: string): Outgoing => {
        const one = json({ n }, key)
        return { ...one, envelope: { ...one.envelope, headers: { to } } }
      }
      yield* publisher.publish([
        to(1, "a", "k"),
        to(2, "a"),
        to(3, "a", "k"),
        to(4, "b"),
        to(5, "a", "l"),
        to(6, "b", "k")
      ])
      assert.deepStrictEqual(
        asked.map(({ topic }) => topic),
        ["users:a", "users:a", "users:b"]
      )
      assert.deepStrictEqual(dataOf(asked), [[{ n: 1 }, { n: 2 }, { n: 5 }], [{ n: 3 }], [{ n: 4 }, { n: 6 }]])
      const [first, third, sixth] = [0, 1, 2].map((i) =>
        asked[i]!.events.findIndex(({ group_key }) => group_key === "k")
      )
      assert.deepStrictEqual([first, third, sixth], [0, 0, 1])
    }))

  test("asks again when a call would have too many bytes", ({ asked, make }) =>
    Effect.gen(function* () {
      const text = "x".repeat(1024 * 1024)
      const publisher = yield* make()
      yield* publisher.publish([1, 2, 3, 4].map((n) => json({ n, text })))
      assert.deepStrictEqual(
        asked.map(({ events }) => events.length),
        [2, 2]
      )
    }))

  test("refuses what cannot be an event, and keeps its neighbours out of it", ({ asked, make }) =>
    Effect.gen(function* () {
      const publisher = yield* make({ topic: "{{envelope.headers.to}}", occurredAt: "{{envelope.headers.at}}" })
      const to = (text: string | Uint8Array, headers: Readonly<Record<string, string>> = { to: "users" }): Outgoing => {
        const one = PublisherSuite.outgoing(typeof text === "string" ? text : "")
        return { ...one, envelope: { ...one.envelope, headers }, ...(typeof text === "string" ? {} : { value: text }) }
      }
      const cases: ReadonlyArray<readonly [Outgoing, RegExp]> = [
        [to("{"), /what goes out is not JSON, and an event's data is: /],
        [to("[1]"), /what goes out is not a JSON object, and an event's data is$/],
        [to(new Uint8Array([0xff])), /what goes out is not UTF-8 text/],
        [to("{}", {}), /topic \{\{envelope.headers.to\}\} has no text at envelope.headers.to$/],
        [to("{}", { to: "" }), /topic \{\{envelope.headers.to\}\} is empty$/],
        [to("{}", { to: ":1" }), /the topic ":1" is not a topic such as users or users:123/],
        [to("{}", { to: "users", at: "noon" }), /occurredAt "noon" is no time in ISO 8601 or milliseconds$/]
      ]
      const good = to('{"n":1}')
      for (const [bad, reason] of cases) {
        const error = yield* failing(publisher, [good, bad, good])
        assert.match(error.reason, reason)
        assert.deepStrictEqual([error.presence, error.retryable], ["answered", false])
        assert.deepStrictEqual(error.part, { failed: [bad], confirmed: [] })
      }
      assert.strictEqual(asked.length, 0)
    }))

  for (const how of ["missing", "fails"] as const) {
    test(`keeps what the server took when one of a call is not taken (${how})`, ({ make, relay }) =>
      Effect.gen(function* () {
        yield* relay.setUntaken(how)
        const publisher = yield* make({ dataSchema: { properties: { n: { maximum: 9 } } } })
        const batch = [1, 2, 100, 3, 3].map((n) => json({ n }))
        const error = yield* failing(publisher, batch)
        assert.deepStrictEqual(numbers(error.part?.failed), [100])
        const rest = batch.filter((one) => one !== batch[2] && error.part?.confirmed.includes(one) !== true)
        yield* publisher.publish(rest)
        const stored = relay.stored(topic).map(({ data }) => JSON.parse(data).n)
        assert.deepStrictEqual([...new Set(stored)], [1, 2, 3])
        if (how === "missing") {
          assert.deepStrictEqual([error.presence, error.retryable, rest.length], ["answered", false, 0])
          assert.match(error.reason, /^EventRelay topic users: the server did not store it: /)
          assert.deepStrictEqual(stored, [1, 2, 3, 3])
        } else {
          // Without a reply nobody knows what was stored: it may be there twice, and is tried again.
          assert.deepStrictEqual([error.presence, error.retryable], ["answered", true])
        }
        // By itself from now on, so that no second one is stored for its sake.
        const again = yield* failing(publisher, [batch[2]!])
        assert.deepStrictEqual(numbers(again.part?.failed), [100])
      }))
  }

  test("says why, where the server does", ({ relay }) =>
    Effect.gen(function* () {
      const told =
        (next: Channel["publish"]): Channel["publish"] =>
        (request) =>
          Effect.map(next(request), (events) =>
            events.map((event) => (event.data === '{"n":2}' ? { ...event, errors: ["data is odd"] } : event))
          )
      const publisher = yield* Effect.provideService(
        PublisherEventRelay.make({ connection: relay.connection, topic, source }),
        EventRelayClient,
        noting(relay, [], told)
      )
      const error = yield* failing(
        publisher,
        [1, 2, 3].map((n) => json({ n }))
      )
      assert.strictEqual(error.reason, "EventRelay topic users: the server does not take it: data is odd")
      assert.deepStrictEqual([numbers(error.part?.failed), numbers(error.part?.confirmed)], [[2], [1, 3]])
    }))

  test("asks for each by itself when a reply lacks some and nobody can tell which", ({ asked, relay }) =>
    Effect.gen(function* () {
      const changed =
        (next: Channel["publish"]): Channel["publish"] =>
        (request) =>
          Effect.map(next(request), (events) =>
            request.events.length === 1 ? events : events.slice(1).map((event) => ({ ...event, name: "other" }))
          )
      const publisher = yield* Effect.provideService(
        PublisherEventRelay.make({ connection: relay.connection, topic, source }),
        EventRelayClient,
        noting(relay, asked, changed)
      )
      yield* publisher.publish([1, 2, 3].map((n) => json({ n })))
      assert.deepStrictEqual(
        asked.map(({ events }) => events.length),
        [3, 1, 1, 1]
      )
    }))

  test("tells what is an outage from what is a message's fault", ({ make, relay }) =>
    Effect.gen(function* () {
      const seen = (publisher: Publisher, failure: Parameters<Relay["failNext"]>[1]) =>
        Effect.gen(function* () {
          yield* relay.failNext("publish", failure)
          const { presence, reason, retryable } = yield* failing(publisher, [json({ n: 1 })])
          assert.match(reason, /^EventRelay topic users(:1)?: /)
          return [presence, retryable]
        })
      const busy = new EventRelayError({ trouble: "away", status: "RESOURCE_EXHAUSTED", reason: "busy" })
      const unknown = new EventRelayError({
        trouble: "denied",
        status: "UNAUTHENTICATED",
        reason: "Invalid credentials"
      })
      const one = yield* make()
      assert.deepStrictEqual(yield* seen(one, "away"), ["reset", true])
      assert.deepStrictEqual(yield* seen(one, busy), ["busy", true])
      assert.deepStrictEqual(yield* seen(one, "denied"), ["unreachable", true])
      assert.deepStrictEqual(yield* seen(one, unknown), ["unreachable", true])
      assert.deepStrictEqual(yield* seen(one, "unfit"), ["answered", false])
      assert.deepStrictEqual(yield* seen(one, "unsupported"), ["answered", false])
      assert.deepStrictEqual(yield* seen(one, "failed"), ["answered", true])
      // One topic of several that is denied is no outage.
      const several = yield* make({ topic: "users:{{envelope.attempt}}" })
      assert.deepStrictEqual(yield* seen(several, "denied"), ["answered", true])
      assert.deepStrictEqual(yield* seen(several, unknown), ["unreachable", true])
      assert.isUndefined(several.probe)
      yield* one.probe!
      yield* relay.away(true)
      assert.strictEqual((yield* Effect.flip(one.probe!)).retryable, true)
    }))

  test("keeps what is confirmed when the server goes away between two calls", ({ make, relay }) =>
    Effect.gen(function* () {
      const publisher = yield* make()
      const batch = [json({ n: 1 }, "k"), json({ n: 2 }, "k"), json({ n: 3 }, "l")]
      yield* relay.delayNext("publish", 0)
      yield* relay.failNext("publish", "away")
      const error = yield* Effect.flip(publisher.publish(batch)).pipe(
        Effect.raceFirst(Effect.andThen(TestClock.adjust(1000), Effect.never))
      )
      assert.deepStrictEqual([numbers(error.part?.confirmed), numbers(error.part?.failed)], [[1, 3], [2]])
    }))

  it.effect("takes one bad message of a pipeline to the dead letters, and none of its neighbours", () =>
    Effect.gen(function* () {
      const relay = yield* EventRelayMemory.make()
      yield* relay.createTopic(topic)
      yield* relay.setUntaken("fails")
      const publisher = yield* Effect.provideService(
        PublisherEventRelay.make({
          connection: relay.connection,
          topic,
          source: "{{payload.from}}",
          dataSchema: { properties: { n: { maximum: 99 } } }
        }),
        EventRelayClient,
        relay.client
      )
      const payloads = Array.from({ length: 30 }, (_, n) => ({ from: "x", n: n === 11 ? 100 : n }))
      const letters = yield* DeadLetters
      yield* Define.start(
        Define.define({
          name: "p",
          source: SourceMemory.fromIterable(payloads.map((payload) => ({ payload }))),
          decode: CodecJson.make(),
          publish: [{ to: publisher }]
        })
      )
      for (let i = 0; i < 200; i++) yield* TestClock.adjust("1 second")
      const stored = relay.stored(topic)
      assert.deepStrictEqual(
        [...new Set(stored.map(({ data }) => JSON.parse(data).n as number))].sort((a, b) => a - b),
        payloads.flatMap(({ n }) => (n === 100 ? [] : [n]))
      )
      assert.deepStrictEqual([...new Set(stored.map(({ source }) => source))], ["x"])
      const buried = yield* letters.list({})
      assert.deepStrictEqual(
        buried.map(({ attempts, envelope, stage }) => [stage, attempts, JSON.parse(read(envelope.payload)).n]),
        [["publish", 8, 100]]
      )
    }).pipe(
      Effect.scoped,
      Effect.provide(Layer.mergeAll(DeadLettersMemory.layer, Layer.succeed(References.MinimumLogLevel, "Error")))
    )
  )
})

describe("PublisherEventRelay's options", () => {
  const token = Buffer.from("key:secret").toString("base64")
  const made = (written: object, from: { readonly type: string } = { type: "stdin" }) =>
    Effect.gen(function* () {
      const { component } = PublisherEventRelay
      const decoded = yield* Effect.orDie(
        Schema.decodeEffect(component.options as unknown as Schema.Codec<object>)(written)
      )
      const site = {
        pipeline: "p",
        source: from,
        folder: "/",
        concurrency: 1,
        keyed: false,
        bufferMessages: 1,
        hide: (text: string) => text
      }
      return yield* component.make(decoded, site) as Effect.Effect<
        Publisher,
        OptionsError,
        EventRelayClient | Scope.Scope
      >
    })
  const problemsOf = (...[written, from]: Parameters<typeof made>) =>
    Effect.map(Effect.result(made(written, from)), (result) => {
      const problems: ReadonlyArray<Problem> = Result.isFailure(result) ? result.failure.problems : []
      return problems.map(({ expected, found, path }) => [path.join("."), expected, found])
    })
  const layer = Layer.merge(NodeServices.layer, EventRelayMemory.layer)
  const test = (name: string, body: Effect.Effect<void, unknown, Layer.Success<typeof layer> | Scope.Scope>) =>
    it.effect(name, () => Effect.scoped(body).pipe(Effect.provide(layer)))

  test(
    "are read as a config writes them; the source is the pipeline where nobody says another",
    Effect.gen(function* () {
      const relay = yield* EventRelayMemory.EventRelayControls
      yield* relay.createTopic(topic)
      const token = relay.connection.token
      const publisher = yield* made({ host: "memory", topic, eventName: "n" }, { type: "eventrelay" })
      assert.strictEqual(publisher.name, "eventrelay:users")
      const source = { type: "eventrelay", host: "memory", port: 50_051, token }
      const shared = yield* made({ topic, context: { a: 1 } }, source)
      yield* shared.publish([json({ n: 1 })])
      const [stored] = relay.stored(topic)
      assert.deepStrictEqual([stored!.source, stored!.context.a], ["p", "1"])
    })
  )

  test(
    "are told what is wrong with them",
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* problemsOf({ topic }), [
        ["host", "a host, since the pipeline's source is not eventrelay", undefined]
      ])
      assert.deepStrictEqual(yield* problemsOf({ host: "h", token, topic: ":x", source: "{{x}}", dataSchema: "{" }), [
        ["source", "in {{x}} a path that starts at payload, envelope, event or reply", "{{x}}"],
        ["dataSchema", "a JSON Schema, as an object or as JSON text", "{"],
        ["topic", "a topic such as users or users:123, with a name of 1 to 45 characters", ":x"]
      ])
      assert.deepStrictEqual(yield* problemsOf({ host: "h", token: "no", topic, context: { a: "{{" } }), [
        ["token", "base64 of an API key's key:secret", "other text"]
      ])
    })
  )
})
