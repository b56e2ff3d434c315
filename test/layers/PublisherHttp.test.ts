/** Messages to real servers: what is sent, and what confirms it. */
import type { RequestListener } from "node:http"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import * as PublisherHttp from "../../src/layers/PublisherHttp.ts"
import * as PublisherSuite from "../suites/PublisherSuite.ts"
import { answering, bodyOf, serve } from "./Servers.ts"

const kept = Effect.fnUntraced(function* (
  listener: RequestListener = answering(200),
  options: Partial<PublisherHttp.Options> = {}
) {
  const seen: Array<{ readonly method: string; readonly type: string | undefined; readonly body: string }> = []
  const { port, url } = yield* serve((incoming, outgoing) => {
    bodyOf(incoming).then(
      (body) => {
        seen.push({ method: incoming.method!, type: incoming.headers["content-type"], body })
        listener(incoming, outgoing)
      },
      () => {}
    )
  })
  const publisher = yield* PublisherHttp.make({ url: `${url}/in?token=secret`, ...options })
  return { port, publisher, seen, url, read: Effect.sync(() => seen.map(({ body }) => body)) }
})

PublisherSuite.suite("PublisherHttp", kept(), Layer.empty)

const { outgoing } = PublisherSuite

describe("PublisherHttp", () => {
  it.live("says of what type a message is, unless its options do", () =>
    Effect.gen(function* () {
      const { publisher, seen } = yield* kept()
      yield* publisher.publish([outgoing('{"n":1}')])
      yield* publisher.publish([outgoing("plain")])
      yield* publisher.publish([{ ...outgoing(""), value: new Uint8Array([0xff, 0xfe]) }])
      assert.deepStrictEqual(
        seen.map(({ type }) => type),
        ["application/json", "application/octet-stream", "application/octet-stream"]
      )
      const own = yield* kept(answering(204), { method: "PUT", headers: { "Content-Type": "text/plain" } })
      yield* own.publisher.publish([outgoing("{}")])
      assert.deepStrictEqual(own.seen, [{ method: "PUT", type: "text/plain", body: "{}" }])
    })
  )

  it.live("says what a message follows from, unless its options do", () =>
    Effect.gen(function* () {
      const seen: Array<ReadonlyArray<string | undefined>> = []
      const { url } = yield* serve((incoming, reply) => {
        const { "correlation-id": id, "sluice-depth": depth } = incoming.headers
        seen.push([String(id), String(depth)])
        reply.end()
      })
      const one = outgoing("{}")
      const publisher = yield* PublisherHttp.make({ url })
      yield* publisher.publish([one])
      const headers = { "X-Correlation-Id": "größe\n", "sluice-depth": "2" }
      yield* publisher.publish([{ ...one, envelope: { ...one.envelope, headers } }])
      const own = yield* PublisherHttp.make({ url, headers: { "Correlation-Id": "own" } })
      yield* own.publish([one])
      assert.deepStrictEqual(seen, [
        ["{}", "1"],
        ["gr%C3%B6%C3%9Fe%0A", "3"],
        ["own", "1"]
      ])
    })
  )

  it.live("publishes one message per request, as many at a time as the pipeline works on", () =>
    Effect.gen(function* () {
      const { publisher } = yield* kept(answering(200), { connections: 7 })
      assert.strictEqual(publisher.batchMax, 1)
      assert.strictEqual(publisher.inFlightMax, 7)
    })
  )

  it.live("is confirmed by a 2xx, whatever the size of the answer, and by nothing else", () =>
    Effect.gen(function* () {
      for (const status of [200, 201, 202, 204]) {
        const { publisher } = yield* kept(answering(status, status === 204 ? "" : "x".repeat(100_000)))
        yield* publisher.publish([outgoing("{}")])
      }
      const cases = [
        [302, "answered", false],
        [400, "answered", false],
        [408, "answered", true],
        [429, "busy", true],
        [500, "answered", true],
        [503, "busy", true]
      ] as const
      for (const [status, presence, retryable] of cases) {
        const { publisher, url } = yield* kept(answering(status, "said", { "retry-after": "2" }))
        const error = yield* Effect.flip(publisher.publish([outgoing("{}")]))
        assert.deepStrictEqual([error.presence, error.retryable], [presence, retryable])
        assert.strictEqual(error.retryAfterMillis, retryable ? 2000 : undefined)
        assert.isTrue(error.reason.startsWith(`POST ${url}/in answered ${status} `), error.reason)
      }
    })
  )

  it.live("knows a target that is away from one that breaks the connection", () =>
    Effect.gen(function* () {
      const breaking = yield* kept((incoming) => void incoming.socket.resetAndDestroy())
      assert.strictEqual((yield* Effect.flip(breaking.publisher.publish([outgoing("{}")]))).presence, "reset")
      const { port } = yield* Effect.scoped(serve(answering(200)))
      const away = yield* PublisherHttp.make({ url: `http://127.0.0.1:${port}/` })
      assert.strictEqual((yield* Effect.flip(away.publish([outgoing("{}")]))).presence, "unreachable")
      assert.strictEqual((yield* Effect.flip(away.probe!)).presence, "unreachable")
    })
  )

  it.live("asks whether the target is there without a message", () =>
    Effect.gen(function* () {
      const { publisher, seen } = yield* kept(answering(404))
      yield* publisher.probe!
      assert.deepStrictEqual(seen, [{ method: "HEAD", type: undefined, body: "" }])
    })
  )
})
