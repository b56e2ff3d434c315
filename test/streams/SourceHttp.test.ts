/** Requests through a real pipeline: each is answered by how its delivery ended. */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as CodecJson from "../../src/layers/CodecJson.ts"
import * as DeadLettersMemory from "../../src/layers/DeadLettersMemory.ts"
import * as HttpHostNode from "../../src/layers/HttpHostNode.ts"
import { DeadLetters } from "../../src/services/DeadLetters.ts"
import { acked, type Delivery } from "../../src/services/Delivery.ts"
import { DispatchError } from "../../src/services/Dispatcher.ts"
import type { Detection } from "../../src/services/Event.ts"
import { HttpHost, type HttpRequest, type Route } from "../../src/services/HttpHost.ts"
import { later, type Ready } from "../../src/services/Ready.ts"
import { accepted, type Reply, refused } from "../../src/services/Reply.ts"
import * as Define from "../../src/streams/Define.ts"
import * as Pipeline from "../../src/streams/Pipeline.ts"
import { settle } from "../../src/streams/Settlement.ts"
import * as SourceHttp from "../../src/streams/SourceHttp.ts"
import { type Asked, ask } from "../layers/Servers.ts"
import * as SourceSuite from "../suites/SourceSuite.ts"

const utf8 = new TextEncoder()

const layer = Layer.merge(HttpHostNode.layer({ host: "127.0.0.1", port: 0 }), DeadLettersMemory.layer)

type Run = (detection: Detection) => Ready<Reply, DispatchError>

const plan = (
  source: Parameters<typeof Define.define>[0]["source"],
  run: Run,
  over: { readonly small?: boolean } = {}
) =>
  Define.define({
    name: "hooks",
    source,
    decode: CodecJson.make(),
    ...(over.small === true ? { concurrency: 1, buffer: { messages: 1 } } : {}),
    dispatch: [{ run }]
  })

const started = Effect.fnUntraced(function* (
  run: Run,
  options: Partial<SourceHttp.Options> & { readonly small?: boolean } = {}
) {
  const { port } = (yield* HttpHost).address!
  const source = yield* SourceHttp.make({ path: "/hooks", ...options })
  const handle = yield* Pipeline.start(plan(source, run, options))
  const url = `http://127.0.0.1:${port}/hooks`
  // What cannot be read is refused as soon as the pipeline takes requests.
  yield* reaches(ask(url, { method: options.method ?? "POST", body: "{" }), ({ status }) => status === 400)
  return { handle, port, source, url }
})

/** Looks again after each turn of the event loop. */
const reaches = <A, E>(effect: Effect.Effect<A, E>, holds: (value: A) => boolean): Effect.Effect<A, E> =>
  Effect.flatMap(effect, (value) =>
    holds(value) ? Effect.succeed(value) : Effect.andThen(Effect.yieldNow, reaches(effect, holds))
  )

const send = (url: string, headers: Record<string, string> = {}, body = "{}") => ask(url, { headers, body })

const statuses = (answers: ReadonlyArray<Asked>) => answers.map(({ status }) => status)

describe("SourceHttp", () => {
  it.live("answers 202 with the id once the delivery is acked", () =>
    Effect.gen(function* () {
      const seen: Array<Detection["event"]["envelope"]> = []
      const { url } = yield* started(({ event }) => {
        seen.push(event.envelope)
        return accepted(null)
      })
      const secrets = { authorization: "Bearer x", cookie: "a=b", "proxy-authorization": "y" }
      const cases: ReadonlyArray<readonly [Record<string, string>, string | undefined]> = [
        [{ "idempotency-key": "key-1", "ce-id": "" }, "key-1"],
        [{ "ce-id": "7", "idempotency-key": "key-1" }, "7"],
        [{ "ce-id": "7", "ce-source": "/shop" }, "/shop/7"],
        [{}, undefined]
      ]
      for (const [headers, id] of cases) {
        const answer = yield* send(url, { ...headers, ...secrets, "X-Tenant": "t" }, '{"n":1}')
        assert.strictEqual(answer.status, 202)
        const envelope = seen.at(-1)!
        if (id !== undefined) assert.strictEqual(envelope.id, id)
        assert.deepStrictEqual(answer.json(), { id: envelope.id })
        assert.strictEqual(answer.headers.get("content-type"), "application/json")
        assert.strictEqual(envelope.source, "http:/hooks")
        assert.strictEqual(envelope.headers["x-tenant"], "t")
        assert.isUndefined(envelope.key)
        for (const secret of Object.keys(secrets)) assert.notProperty(envelope.headers, secret)
      }
      assert.strictEqual(new Set(seen.map(({ id }) => id)).size, 4)
    }).pipe(Effect.provide(layer))
  )

  it.live("answers 202 once the message lies in the dead letters", () =>
    Effect.gen(function* () {
      const { url } = yield* started(() => refused("no such customer"))
      const answer = yield* send(url, { "idempotency-key": "a" })
      const letters = yield* (yield* DeadLetters).list({})
      assert.strictEqual(answer.status, 202)
      assert.deepStrictEqual(
        letters.map(({ envelope, reason }) => [envelope.id, reason]),
        [["a", "no such customer"]]
      )
    }).pipe(Effect.provide(layer))
  )

  it.live("answers 400 with the reason to what cannot be read, and buries nothing", () =>
    Effect.gen(function* () {
      const { url } = yield* started(() => accepted(null))
      const answer = yield* send(url, {}, "{broken")
      assert.strictEqual(answer.status, 400)
      assert.match((answer.json() as { readonly error: string }).error, /^not JSON: /)
      assert.deepStrictEqual(yield* (yield* DeadLetters).list({}), [])
    }).pipe(Effect.provide(layer))
  )

  it.live("takes another method, and bodies up to its own limit", () =>
    Effect.gen(function* () {
      const { url } = yield* started(() => accepted(null), { method: "PUT", bodyMax: 10 })
      assert.strictEqual((yield* ask(url, { method: "PUT", body: "[1]" })).status, 202)
      assert.strictEqual((yield* ask(url, { method: "PUT", body: "[1,2,3,4,5,6]" })).status, 413)
      assert.strictEqual((yield* ask(url, { method: "POST", body: "[1]" })).status, 405)
    }).pipe(Effect.provide(layer))
  )

  it.effect("answers 503 when the work takes too long, which goes on and ends as it may", () =>
    Effect.gen(function* () {
      const working = yield* Deferred.make<void>()
      const release = yield* Deferred.make<void>()
      const { handle, url } = yield* started(
        ({ event }) =>
          event.envelope.id === "slow"
            ? Deferred.succeed(working, undefined).pipe(
                Effect.andThen(Deferred.await(release)),
                Effect.as(accepted(null))
              )
            : accepted(null),
        { answerWithin: "10 seconds" }
      )
      const asking = yield* Effect.forkChild(send(url, { "idempotency-key": "slow" }))
      yield* Deferred.await(working)
      yield* TestClock.adjust("9 seconds")
      assert.strictEqual((yield* send(url)).status, 202)
      assert.isUndefined(asking.pollUnsafe())
      yield* TestClock.adjust("1 second")
      const answer = yield* Fiber.join(asking)
      assert.strictEqual(answer.status, 503)
      assert.strictEqual(answer.headers.get("retry-after"), "1")
      assert.deepStrictEqual(answer.json(), { error: "not done within 10s" })
      assert.strictEqual((yield* handle.status).held, 1)
      yield* Deferred.succeed(release, undefined)
      const { acked } = yield* reaches(handle.status, ({ held }) => held === 0)
      assert.strictEqual(acked, 2)
      assert.strictEqual((yield* send(url)).status, 202)
    }).pipe(Effect.provide(layer))
  )

  /** A pipeline with one message at work and one in its buffer: what comes now waits with the source. */
  const full = Effect.fnUntraced(function* () {
    const release = yield* Deferred.make<void>()
    const working = yield* Deferred.make<void>()
    const ids: Array<string> = []
    const running = yield* started(
      ({ event }) =>
        Effect.sync(() => ids.push(event.envelope.id)).pipe(
          Effect.andThen(Deferred.succeed(working, undefined)),
          Effect.andThen(Deferred.await(release)),
          Effect.as(accepted(null))
        ),
      { small: true }
    )
    const first = yield* Effect.forkChild(send(running.url, { "idempotency-key": "first" }))
    yield* Deferred.await(working)
    const second = yield* Effect.forkChild(send(running.url, { "idempotency-key": "second" }))
    yield* reaches(running.handle.status, ({ held }) => held === 2)
    return { ...running, first, ids, release, second }
  })

  it.live("answers 503 when the pipeline and the queue before it are full", () =>
    Effect.gen(function* () {
      const { first, release, second, url } = yield* full()
      let refusals = 0
      const tenth = yield* Deferred.make<void>()
      const asking = yield* Effect.forkChild(
        Effect.forEach(
          Array.from({ length: 74 }),
          () =>
            Effect.tap(send(url), ({ headers, status }) => {
              if (status === 503) assert.strictEqual(headers.get("retry-after"), "1")
              return status === 503 && ++refusals === 10 ? Deferred.succeed(tenth, undefined) : Effect.void
            }),
          { concurrency: 74 }
        )
      )
      yield* Deferred.await(tenth)
      yield* Deferred.succeed(release, undefined)
      const answers = statuses(yield* Fiber.join(asking))
      assert.strictEqual(answers.filter((status) => status === 202).length, 64)
      assert.strictEqual(answers.filter((status) => status === 503).length, 10)
      assert.deepStrictEqual(statuses([yield* Fiber.join(first), yield* Fiber.join(second)]), [202, 202])
    }).pipe(Effect.provide(layer))
  )

  it.live("takes a burst that is larger than the queue, when the pipeline is free", () =>
    Effect.gen(function* () {
      const { url } = yield* started(() => accepted(null))
      const answers = yield* Effect.forEach(Array.from({ length: 400 }), () => send(url), { concurrency: 400 })
      assert.deepStrictEqual([...new Set(statuses(answers))], [202])
    }).pipe(Effect.provide(layer))
  )

  it.live("stops taking at once when drained, and answers what is at work by its end", () =>
    Effect.gen(function* () {
      const { first, handle, ids, release, second, url } = yield* full()
      const draining = yield* Effect.forkChild(handle.drain(), { startImmediately: true })
      assert.strictEqual((yield* Fiber.join(second)).status, 503)
      assert.strictEqual((yield* send(url)).status, 503)
      assert.isUndefined(first.pollUnsafe())
      assert.isUndefined(draining.pollUnsafe())
      yield* Deferred.succeed(release, undefined)
      assert.strictEqual((yield* Fiber.join(first)).status, 202)
      yield* Fiber.join(draining)
      assert.deepStrictEqual(ids, ["first"])
    }).pipe(Effect.provide(layer))
  )

  it.live("answers 503 to what is not done by the end of the drain", () =>
    Effect.gen(function* () {
      const { first, handle, second } = yield* full()
      yield* handle.drain(20)
      assert.deepStrictEqual(statuses([yield* Fiber.join(first), yield* Fiber.join(second)]), [503, 503])
    }).pipe(Effect.provide(layer))
  )

  it.live("answers 503 while its pipeline is down, and goes on when it is started again", () =>
    Effect.gen(function* () {
      const { port } = (yield* HttpHost).address!
      const url = `http://127.0.0.1:${port}/hooks`
      const source = yield* SourceHttp.make({ path: "/hooks" })
      assert.strictEqual((yield* send(url)).status, 503)
      for (const round of ["once", "again"]) {
        const scope = yield* Scope.make()
        yield* Pipeline.start(plan(source, () => accepted(null))).pipe(Effect.provideService(Scope.Scope, scope))
        yield* reaches(send(url, { "idempotency-key": round }), ({ status }) => status === 202)
        yield* Scope.close(scope, Exit.void)
        const down = yield* send(url)
        assert.strictEqual(down.status, 503)
        assert.strictEqual(down.headers.get("retry-after"), "1")
      }
    }).pipe(Effect.provide(layer))
  )

  it.live("answers what is still open when its pipeline ends without a drain", () =>
    Effect.gen(function* () {
      const { port } = (yield* HttpHost).address!
      const url = `http://127.0.0.1:${port}/hooks`
      const working = yield* Deferred.make<void>()
      const source = yield* SourceHttp.make({ path: "/hooks" })
      const scope = yield* Scope.make()
      const never = plan(source, () => Effect.andThen(Deferred.succeed(working, undefined), Effect.never))
      yield* Pipeline.start(never).pipe(Effect.provideService(Scope.Scope, scope))
      const asking = yield* Effect.forkChild(reaches(send(url), (answer) => !answer.text.includes("not running")))
      yield* Deferred.await(working)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* Fiber.join(asking)).status, 503)
    }).pipe(Effect.provide(layer))
  )

  it.live("answers 503 to what is given back", () =>
    Effect.gen(function* () {
      const failing = yield* Deferred.make<void>()
      const { handle, url } = yield* started(() =>
        Effect.andThen(
          Deferred.succeed(failing, undefined),
          Effect.fail(
            new DispatchError({ reason: "later", presence: "answered", retryable: true, retryAfterMillis: 60_000 })
          )
        )
      )
      const asking = yield* Effect.forkChild(send(url))
      yield* Deferred.await(failing)
      yield* handle.drain()
      assert.strictEqual((yield* Fiber.join(asking)).status, 503)
    }).pipe(Effect.provide(layer))
  )

  /** The source without a server: its requests come by hand. */
  const byHand = Effect.fnUntraced(function* () {
    let handle: Route["handle"] | undefined
    const route = (route: Route) =>
      Effect.sync(() => {
        handle = route.handle
      })
    const source = yield* SourceHttp.make({ path: "/hooks" }).pipe(
      Effect.provideService(HttpHost, { address: undefined, route })
    )
    const request = (id: string, body: string): HttpRequest => ({
      method: "POST",
      path: "/hooks",
      params: {},
      query: new URLSearchParams(),
      headers: { "idempotency-key": id },
      body: utf8.encode(body)
    })
    const give = (id: string, body = "{}") =>
      Effect.forkChild(later(handle!(request(id, body))), { startImmediately: true })
    return { give, source }
  })

  const idsOf = (deliveries: ReadonlyArray<Delivery>) => deliveries.map(({ envelope }) => envelope.id)

  it.effect("gives arrays of about 1 MiB, or a single larger message", () =>
    Effect.gen(function* () {
      const { give, source } = yield* byHand()
      const arrays: Array<ReadonlyArray<string>> = []
      yield* (yield* Effect.provide(source.open, SourceSuite.alone)).pipe(
        Stream.runForEachArray((array) => Effect.sync(() => arrays.push(idsOf(array)))),
        Effect.forkChild({ startImmediately: true })
      )
      for (const [id, size] of Object.entries({ a: 10, b: 600_000, c: 600_000, d: 3_000_000, e: 10, f: 10 })) {
        yield* give(id, "x".repeat(size))
      }
      yield* reaches(
        Effect.sync(() => arrays),
        (arrays) => arrays.flat().length === 6
      )
      assert.deepStrictEqual(arrays, [["a", "b"], ["c"], ["d"], ["e", "f"]])
    })
  )

  it.effect("gives nobody a request whose client has gone or was told to come again", () =>
    Effect.gen(function* () {
      const { give, source } = yield* byHand()
      const stream = yield* Effect.provide(source.open, SourceSuite.alone)
      const held = yield* Deferred.make<void>()
      const taken: Array<string> = []
      yield* stream.pipe(
        Stream.runForEachArray((array) =>
          Effect.andThen(
            Effect.sync(() => taken.push(...idsOf(array))),
            Deferred.await(held)
          )
        ),
        Effect.forkChild({ startImmediately: true })
      )
      yield* give("first")
      yield* reaches(
        Effect.sync(() => taken.length),
        (length) => length === 1
      )
      const late = yield* give("late")
      yield* TestClock.adjust("20 seconds")
      const gone = yield* give("gone")
      yield* give("third")
      yield* Fiber.interrupt(gone)
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual((yield* Fiber.join(late)).status, 503)
      yield* Deferred.succeed(held, undefined)
      yield* reaches(
        Effect.sync(() => taken.length),
        (length) => length === 2
      )
      assert.deepStrictEqual(taken, ["first", "third"])
    })
  )

  it.effect(
    "answers 503 to what nobody has taken when its intake stops, and keeps what was handed out answerable",
    () =>
      Effect.gen(function* () {
        const { give, source } = yield* byHand()
        const scope = yield* Scope.make()
        const stream = yield* Effect.provide(source.open, SourceSuite.alone).pipe(
          Effect.provideService(Scope.Scope, scope)
        )
        const taken: Array<Delivery> = []
        const intake = yield* stream.pipe(
          Stream.runForEachArray((array) =>
            Effect.andThen(
              Effect.sync(() => taken.push(...array)),
              Effect.never
            )
          ),
          Effect.forkChild({ startImmediately: true })
        )
        const acking = yield* give("acked")
        const leaving = yield* give("left")
        yield* reaches(
          Effect.sync(() => taken.length),
          (length) => length === 2
        )
        const waiting = yield* give("waiting")
        yield* Fiber.interrupt(intake)
        assert.strictEqual((yield* Fiber.join(waiting)).status, 503)
        assert.strictEqual((yield* Effect.flatMap(give("after"), Fiber.join)).status, 503)
        assert.isUndefined(acking.pollUnsafe())
        yield* later(settle(taken[0]!, acked))
        assert.deepStrictEqual((yield* Fiber.join(acking)).body, '{"id":"acked"}')
        yield* Scope.close(scope, Exit.void)
        assert.strictEqual((yield* Fiber.join(leaving)).status, 503)
      })
  )

  const site = {
    pipeline: "hooks",
    source: { type: "http" },
    bufferMessages: 1,
    keyed: false,
    folder: "/",
    concurrency: 1,
    hide: (text: string) => text
  }
  const options = { path: "/hooks", method: "POST", answerWithin: "30 seconds" }
  const made = SourceHttp.component.make(options, site).pipe(Effect.provide(NodeServices.layer)) as Effect.Effect<
    unknown,
    { readonly problems: ReadonlyArray<unknown> },
    HttpHost | Scope.Scope
  >

  it.effect("says in a check that a path is taken twice, and that it needs the http section", () =>
    Effect.gen(function* () {
      const twice = yield* made.pipe(Effect.andThen(Effect.flip(made)), Effect.provide(HttpHostNode.layerCheck))
      assert.deepStrictEqual(twice.problems, [
        { path: ["path"], expected: "a path that can be taken (POST /hooks is taken already)", found: "/hooks" }
      ])
      const none = yield* Effect.flip(made).pipe(Effect.provide(HttpHostNode.layerNone))
      assert.deepStrictEqual(none.problems, [
        {
          path: ["path"],
          expected: "a path that can be taken (the config has no http: section, which this path needs)",
          found: "/hooks"
        }
      ])
    })
  )
})
