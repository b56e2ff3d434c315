/** What the gateway promises: an answer of success means that the stream has the event, and nobody brings it down. */
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer, Scope } from "effect"
import { TestClock } from "effect/testing"
import * as HttpHostNode from "../../src/layers/HttpHostNode.ts"
import { DeadLetters } from "../../src/services/DeadLetters.ts"
import { PublishError } from "../../src/services/Publisher.ts"
import { SchemaRegistry } from "../../src/services/SchemaRegistry.ts"
import * as SourceGateway from "../../src/streams/SourceGateway.ts"
import type { Asked } from "../layers/Servers.ts"
import * as Kit from "./GatewayKit.ts"
import { layer, type Options, send, started } from "./GatewayRunning.ts"
import * as Hostile from "./Hostile.ts"

const json = "application/json"
const old = (url: string, client = "c") => send(`${url}/${client}/e/send_event`, json, '{"event":1}')
const v1 = (url: string, body = "1") => send(`${url}/api/v1/clients/c/events/e`, json, body)

/** A gateway with one event registered, and a stream that confirms when it is let. */
const gated = Effect.fnUntraced(function* (options: Options = {}) {
  const gate = yield* Deferred.make<void>()
  const publishing = yield* Deferred.make<void>()
  const running = yield* started({
    ...options,
    publish: () => Effect.andThen(Deferred.succeed(publishing, undefined), Deferred.await(gate))
  })
  yield* send(`${running.url}/c/e/register_event`, json, '{"event_schema":true}')
  return { ...running, gate, publishing }
})

const busy = ({ headers, status }: Asked) => [status, headers.get("retry-after")]

const reaches = <A, E>(effect: Effect.Effect<A, E>, holds: (value: A) => boolean): Effect.Effect<A, E> =>
  Effect.flatMap(effect, (value) =>
    holds(value) ? Effect.succeed(value) : Effect.andThen(Effect.yieldNow, reaches(effect, holds))
  )

describe("SourceGateway", () => {
  it.effect("answers only once the stream has confirmed, and 503 when that takes too long", () =>
    Effect.gen(function* () {
      const { gate, handle, published, publishing, url } = yield* gated({ answerWithin: "10 seconds" })
      const asking = yield* Effect.forEach([old(url), v1(url)], (one) =>
        Effect.forkChild(one, { startImmediately: true })
      )
      yield* Deferred.await(publishing)
      yield* reaches(handle.status, ({ held }) => held === 2)
      yield* TestClock.adjust("9 seconds")
      for (const one of asking) assert.isUndefined(one.pollUnsafe())
      yield* TestClock.adjust("1 seconds")
      const [first, second] = yield* Effect.forEach(asking, Fiber.join)
      assert.deepStrictEqual(
        [busy(first!), busy(second!)],
        [
          [503, "1"],
          [503, "1"]
        ]
      )
      assert.strictEqual(first!.text, '{"code":"FAILED","msg":"failed to send event"}\n')
      const third = yield* Effect.forkChild(v1(url), { startImmediately: true })
      yield* reaches(handle.status, ({ held }) => held === 3)
      assert.strictEqual(published.length, 0)
      yield* Deferred.succeed(gate, undefined)
      assert.strictEqual((yield* Fiber.join(third)).status, 200)
      // What was too late for its client is published all the same.
      assert.strictEqual(published.length, 3)
    }).pipe(Effect.provide(layer))
  )

  it.live("refuses with Retry-After what a stream that is away leaves no room for, and loses nothing it took", () =>
    Effect.gen(function* () {
      let isAway = true
      const away = new PublishError({ reason: "kafka://secret is away", presence: "unreachable", retryable: true })
      const { handle, published, url } = yield* started({
        buffer: 8,
        publish: () => (isAway ? Effect.fail(away) : Effect.void)
      })
      yield* send(`${url}/c/e/register_event`, json, '{"event_schema":true}')
      let refusals = 0
      let heldMax = 0
      const most = yield* Deferred.make<void>()
      const asking = yield* Effect.forkChild(
        Effect.forEach(
          Array.from({ length: 300 }),
          (_, i) =>
            Effect.tap(i % 2 === 0 ? old(url) : v1(url), (answer) =>
              Effect.gen(function* () {
                heldMax = Math.max(heldMax, (yield* handle.status).held)
                if (answer.status !== 503) return
                assert.strictEqual(answer.headers.get("retry-after"), "1")
                assert.notInclude(answer.text, "secret")
                if (++refusals === 100) yield* Deferred.succeed(most, undefined)
              })
            ),
          { concurrency: 300 }
        )
      )
      yield* Deferred.await(most)
      isAway = false
      const statuses = (yield* Fiber.join(asking)).map(({ status }) => status)
      assert.deepStrictEqual([...new Set(statuses)].sort(), [200, 503])
      assert.strictEqual(statuses.filter((status) => status === 200).length, published.length)
      // The array that found room goes in as a whole; nothing comes after it.
      assert.isAtMost(heldMax, 8 + 256)
    }).pipe(Effect.provide(layer))
  )

  it.live("holds no more than it may while the registry is slow", () =>
    Effect.gen(function* () {
      const { control, published, url } = yield* gated()
      const gate = yield* Deferred.make<void>()
      control.gate = Deferred.await(gate)
      const large = `"${"x".repeat(1_000_000)}"`
      let refusals = 0
      const some = yield* Deferred.make<void>()
      const asking = yield* Effect.forkChild(
        Effect.forEach(
          Array.from({ length: 40 }),
          () =>
            Effect.tap(send(`${url}/api/v1/clients/nobody/events/e`, json, large), ({ status }) =>
              status === 503 && ++refusals === 7 ? Deferred.succeed(some, undefined) : Effect.void
            ),
          { concurrency: 40 }
        )
      )
      yield* Deferred.await(some)
      const late = yield* send(`${url}/nobody/e/send_event`, json, `{"event":${large}}`)
      assert.deepStrictEqual([...busy(late), late.text], [503, "1", '{"code":"FAILED","msg":"failed to send event"}\n'])
      yield* Deferred.succeed(gate, undefined)
      const statuses = (yield* Fiber.join(asking)).map(({ status }) => status)
      assert.strictEqual(statuses.filter((status) => status === 404).length, 33)
      control.gate = Effect.void
      assert.strictEqual((yield* send(`${url}/api/v1/clients/nobody/events/e`, json, large)).status, 404)
      assert.strictEqual(published.length, 0)
    }).pipe(Effect.provide(layer))
  )

  it.live("answers what is open when it is drained, and refuses what comes after", () =>
    Effect.gen(function* () {
      const { gate, handle, published, publishing, url } = yield* gated()
      const asking = yield* Effect.forEach(
        [old(url), v1(url), send(`${url}/api/v1/clients/c/events/e/batch`, json, "[1,2]")],
        (one) => Effect.forkChild(one)
      )
      yield* Deferred.await(publishing)
      yield* reaches(handle.status, ({ held }) => held === 4)
      const draining = yield* Effect.forkChild(handle.drain(), { startImmediately: true })
      assert.deepStrictEqual(busy(yield* v1(url)), [503, "1"])
      assert.deepStrictEqual(busy(yield* send(`${url}/api/v1/clients/c/events/e/batch`, json, "[1]")), [503, "1"])
      assert.isUndefined(draining.pollUnsafe())
      yield* Deferred.succeed(gate, undefined)
      const answers = yield* Effect.forEach(asking, Fiber.join)
      assert.deepStrictEqual(
        answers.map(({ status }) => status),
        [200, 200, 200]
      )
      yield* Fiber.join(draining)
      assert.strictEqual(published.length, 4)
    }).pipe(Effect.provide(layer))
  )

  it.live("answers 503 while no pipeline runs, but goes on registering", () =>
    Effect.gen(function* () {
      const { handle, url } = yield* gated()
      yield* handle.drain()
      assert.deepStrictEqual(busy(yield* old(url)), [503, "1"])
      assert.deepStrictEqual(busy(yield* v1(url)), [503, "1"])
      assert.strictEqual((yield* send(`${url}/c/f/register_event`, json, '{"event_schema":true}')).status, 200)
    }).pipe(Effect.provide(layer))
  )

  it.live("takes its paths once, and gives them back with its scope", () =>
    Effect.gen(function* () {
      const { service } = Kit.registry()
      const make = (prefix?: string) => Effect.provideService(SourceGateway.make({ prefix }), SchemaRegistry, service)
      const scope = yield* Scope.make()
      yield* Effect.provideService(make(), Scope.Scope, scope)
      assert.match((yield* Effect.flip(make())).reason, /is taken already/)
      yield* make("/other")
      yield* Scope.close(scope, Exit.void)
      yield* make()
    }).pipe(Effect.provide(Layer.merge(HttpHostNode.layerCheck, Kit.languages)))
  )

  it.live(
    "answers every one of 20,000 hostile requests with a 4xx and a reason, and is none the worse for it",
    () =>
      Effect.gen(function* () {
        const seed = 20_261_121
        const { control, port, published, url } = yield* started()
        const secret = '{"const":"s3cr3t"}'
        yield* send(`${url}/victim/secret/register_event`, json, `{"event_schema":${secret}}`)
        const all = Hostile.requests(seed, 20_000)
        const seen = new Map<number, number>()
        const look = (one: Hostile.HostileRequest, { status, text }: Hostile.Answered): void => {
          const told = `seed ${seed}: ${one.method} ${one.path} ${one.headers["content-type"]} ${one.body.subarray(0, 200)}: ${status} ${text}`
          seen.set(status, (seen.get(status) ?? 0) + 1)
          assert.isTrue(status >= 400 && status < 500, told)
          const { detail, error, msg, results } = JSON.parse(text)
          assert.isTrue(results?.length > 0 || (detail ?? error ?? msg)?.length > 0, told)
          assert.notInclude(text, "s3cr3t", told)
        }
        const half = all.length / 2
        yield* Effect.promise(() => Hostile.send(port, all.slice(0, half), look))
        const before = heap()
        yield* Effect.promise(() => Hostile.send(port, all.slice(half), look))
        assert.isBelow(heap() - before, 8 * 1024 * 1024, "bytes more on the heap")
        assert.isAbove(seen.size, 4)
        assert.deepStrictEqual(
          control.stored.map(({ client, event }) => `${client}.${event}`),
          ["victim.secret"]
        )
        assert.deepStrictEqual([published, yield* (yield* DeadLetters).list({})], [[], []])
        assert.notProperty({}, "polluted")
        assert.strictEqual((yield* send(`${url}/victim/secret/send_event`, json, '{"event":"s3cr3t"}')).status, 200)
      }).pipe(Effect.provide(layer)),
    120_000
  )
})

/** Units: bytes in use, after a collection. */
const heap = (): number => {
  setFlagsFromString("--expose-gc")
  const collect = runInNewContext("gc") as () => void
  collect()
  return process.memoryUsage().heapUsed
}
