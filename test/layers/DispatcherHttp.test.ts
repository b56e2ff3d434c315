/** Calls to real servers: what is sent, what each answer means, and what a pipeline makes of a target that is away. */
import type { RequestListener } from "node:http"
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Result, Schema } from "effect"
import * as CodecJson from "../../src/layers/CodecJson.ts"
import * as DeadLettersMemory from "../../src/layers/DeadLettersMemory.ts"
import * as DispatcherHttp from "../../src/layers/DispatcherHttp.ts"
import type { OptionsError } from "../../src/services/Component.ts"
import { DeadLetters } from "../../src/services/DeadLetters.ts"
import type { DispatchError } from "../../src/services/Dispatcher.ts"
import type { Detection } from "../../src/services/Event.ts"
import { later } from "../../src/services/Ready.ts"
import type { Reply } from "../../src/services/Reply.ts"
import * as Define from "../../src/streams/Define.ts"
import * as SourceMemory from "../../src/streams/SourceMemory.ts"
import { answering, bodyOf, serve } from "./Servers.ts"

const utf8 = new TextEncoder()
const text = (reply: Reply) => new TextDecoder().decode(reply.payload as Uint8Array)

const detection = (payload: unknown): Detection => ({
  name: "order.paid",
  event: {
    envelope: SourceMemory.envelopeOf({ payload, headers: { "x-tenant": "t" } }, "memory", 1, 0),
    payload,
    key: "k"
  }
})

interface Seen {
  readonly method: string
  readonly url: string
  readonly headers: NodeJS.Dict<string | string[]>
  readonly body: string
}

/** A server that remembers what it was asked, and a dispatcher that calls it at `path`. */
const calling = Effect.fnUntraced(function* (
  listener: RequestListener,
  options: Partial<DispatcherHttp.Options> = {},
  path = "/path"
) {
  const seen: Array<Seen> = []
  const server = yield* serve((incoming, outgoing) => {
    const { headers, method = "", url = "" } = incoming
    bodyOf(incoming).then(
      (body) => {
        seen.push({ method, url, headers, body })
        listener(incoming, outgoing)
      },
      () => {}
    )
  })
  const dispatcher = yield* DispatcherHttp.make({ url: `${server.url}${path}`, ...options })
  const dispatch = (payload: unknown = {}) => later(dispatcher.dispatch(detection(payload)))
  return { ...server, dispatch, dispatcher, seen }
})

const fields = ({ presence, reason, retryAfterMillis, retryable }: DispatchError) => ({
  presence,
  reason,
  retryable,
  retryAfterMillis
})

const info = { batcher: "default", key: undefined, size: 2, trigger: "size" } as const

describe("DispatcherHttp", () => {
  it.live("posts the payload as it came and brings the answer", () =>
    Effect.gen(function* () {
      const { dispatcher, seen } = yield* calling(
        (_, outgoing) => {
          outgoing.setHeader("x-many", ["a", "b"])
          outgoing.setHeader("set-cookie", ["session=1", "other=2"])
          outgoing.writeHead(201).end("created")
        },
        { headers: { "X-Key": "1" } },
        "/path?token=secret"
      )
      const from = detection({ n: 1 })
      const payload = utf8.encode('{ "n":  1 }')
      const reply = yield* later(
        dispatcher.dispatch({ ...from, event: { ...from.event, envelope: { ...from.event.envelope, payload } } })
      )
      assert.strictEqual(reply.kind, "accepted")
      assert.strictEqual(reply.status, 201)
      assert.strictEqual(text(reply), "created")
      assert.strictEqual(reply.headers!["x-many"], "a, b")
      assert.notProperty(reply.headers!, "set-cookie")
      const { body, headers, method, url } = seen[0]!
      assert.deepStrictEqual([method, url, body], ["POST", "/path?token=secret", '{ "n":  1 }'])
      assert.strictEqual(headers["content-type"], "application/json")
      assert.strictEqual(headers["x-key"], "1")
    })
  )

  it.live("lets its headers say the content type, and sends the credentials of the URL as a header", () =>
    Effect.gen(function* () {
      const headers = { "Content-Type": "text/csv" }
      const { dispatch, port, seen } = yield* calling(answering(200), { headers })
      yield* dispatch("a;b")
      assert.strictEqual(seen[0]!.headers["content-type"], "text/csv")
      const odd = yield* DispatcherHttp.make({ url: `http://%zz:x@127.0.0.1:${port}/x` })
      yield* later(odd.dispatch(detection({})))
      assert.strictEqual(seen.pop()!.headers.authorization, `Basic ${btoa("%zz:x")}`)
      const withUser = yield* DispatcherHttp.make({ url: `http://us%40er:pass@127.0.0.1:${port}/x` })
      yield* later(withUser.dispatch(detection({})))
      assert.strictEqual(seen[1]!.headers.authorization, `Basic ${btoa("us@er:pass")}`)
    })
  )

  it.live("sends what its body names: text and bytes as they are, other values as JSON", () =>
    Effect.gen(function* () {
      const { dispatch, dispatcher, seen, url } = yield* calling(answering(200), { body: "payload.order" })
      const sent = [{ id: 1 }, [1, 2], 7, false, null, "plain text", utf8.encode("bytes")]
      for (const order of sent) yield* dispatch({ order })
      assert.deepStrictEqual(
        seen.map(({ body, headers }) => [body, headers["content-type"]]),
        [
          ['{"id":1}', "application/json"],
          ["[1,2]", "application/json"],
          ["7", "application/json"],
          ["false", "application/json"],
          ["null", "application/json"],
          ["plain text", "text/plain; charset=utf-8"],
          ["bytes", "application/octet-stream"]
        ]
      )
      const missing = yield* Effect.flip(later(dispatcher.dispatch(detection({}))))
      assert.deepStrictEqual(fields(missing), {
        presence: "answered",
        reason: "the request has no body: there is no payload.order",
        retryable: false,
        retryAfterMillis: undefined
      })
      const wrong = yield* Effect.flip(DispatcherHttp.make({ url, body: "order" }))
      assert.deepStrictEqual(wrong.problems, [
        { path: ["body"], expected: "a path that starts at payload, envelope or event", found: "order" }
      ])
    })
  )

  it.live("sends no body with GET, HEAD and DELETE that name none, and does not batch them", () =>
    Effect.gen(function* () {
      for (const method of ["GET", "HEAD", "DELETE"]) {
        const { dispatch, dispatcher, seen } = yield* calling(answering(200), { method })
        assert.strictEqual((yield* dispatch({ n: 1 })).kind, "accepted")
        assert.deepStrictEqual([seen[0]!.method, seen[0]!.body], [method, ""])
        assert.notProperty(seen[0]!.headers, "content-type")
        assert.isUndefined(dispatcher.dispatchBatch)
      }
      const { dispatch, seen } = yield* calling(answering(200), { method: "DELETE", body: "payload" })
      yield* dispatch({ n: 1 })
      assert.strictEqual(seen[0]!.body, '{"n":1}')
    })
  )

  it.live("takes a final 4xx for a refusal, with the other side's words on one line", () =>
    Effect.gen(function* () {
      const said = `no such\n\tcustomer: ${"x".repeat(300)}`
      const { dispatch, url } = yield* calling(answering(422, said))
      const reply = yield* dispatch()
      assert.strictEqual(reply.kind, "refused")
      assert.strictEqual(reply.status, 422)
      assert.strictEqual(text(reply), said)
      const start = `no such customer: ${"x".repeat(300)}`.slice(0, 200)
      assert.strictEqual(reply.reason, `POST ${url}/path answered 422 Unprocessable Entity: ${start}...`)
      const bare = yield* calling((_, outgoing) => void outgoing.writeHead(404, "Gone Fishing").end())
      assert.strictEqual((yield* bare.dispatch()).reason, `POST ${bare.url}/path answered 404 Gone Fishing`)
    })
  )

  it.live("tries again what the target may answer later, and says whether it is busy", () =>
    Effect.gen(function* () {
      for (const status of [408, 425, 429, 500, 502, 503, 504]) {
        const { dispatch, url } = yield* calling(answering(status, "later"))
        const error = yield* Effect.flip(dispatch())
        assert.isTrue(error.retryable)
        assert.strictEqual(error.presence, status === 429 || status === 503 ? "busy" : "answered")
        assert.isTrue(error.reason.startsWith(`POST ${url}/path answered ${status} `), error.reason)
        assert.isTrue(error.reason.endsWith(": later"))
        assert.isUndefined(error.retryAfterMillis)
      }
    })
  )

  it.effect("hears how long to wait, in seconds and as a date", () =>
    Effect.gen(function* () {
      const wishes = [
        ["7", 7000],
        ["Thu, 01 Jan 1970 00:00:30 GMT", 30_000],
        ["Wed, 31 Dec 1969 00:00:00 GMT", 0],
        ["soon", undefined]
      ] as const
      for (const [wish, millis] of wishes) {
        const { dispatch } = yield* calling(answering(503, "", { "retry-after": wish }))
        assert.strictEqual((yield* Effect.flip(dispatch())).retryAfterMillis, millis, wish)
      }
    })
  )

  it.live("takes other statuses for retryable where it is told so", () =>
    Effect.gen(function* () {
      const results: Array<string> = []
      for (const status of [404, 409, 418, 429, 500, 503]) {
        const { dispatch } = yield* calling(answering(status), { retryOn: [404, 503] })
        const result = yield* Effect.result(dispatch())
        results.push(
          Result.isSuccess(result) ? result.success.kind : result.failure.retryable ? "again" : result.failure.presence
        )
      }
      assert.deepStrictEqual(results, ["again", "refused", "refused", "again", "answered", "again"])
      const all = yield* calling(answering(418), { retryOn: ["4xx"] })
      assert.isTrue((yield* Effect.flip(all.dispatch())).retryable)
    })
  )

  it.live("knows a target that cannot be reached", () =>
    Effect.gen(function* () {
      const { port } = yield* Effect.scoped(serve(answering(200)))
      for (const [url, code] of [
        [`http://127.0.0.1:${port}/path`, "ECONNREFUSED"],
        [`http://localhost:${port}/path`, "ECONNREFUSED"],
        ["http://sluice.invalid/path", "E"]
      ] as const) {
        const dispatcher = yield* DispatcherHttp.make({ url })
        const error = yield* Effect.flip(later(dispatcher.dispatch(detection({}))))
        assert.strictEqual(error.presence, "unreachable")
        assert.isTrue(error.retryable)
        assert.isTrue(error.reason.startsWith(`POST ${url} cannot be reached: `), error.reason)
        assert.include(error.reason, code)
      }
    })
  )

  it.live("knows a connection that breaks under way from an answer that is none", () =>
    Effect.gen(function* () {
      const breaks: ReadonlyArray<readonly [RequestListener, DispatchError["presence"]]> = [
        [(incoming) => void incoming.socket.destroy(), "reset"],
        [(incoming) => void incoming.socket.resetAndDestroy(), "reset"],
        [(incoming) => void incoming.socket.end("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"), "reset"],
        [
          (incoming) => void incoming.socket.end("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf"),
          "reset"
        ],
        [(incoming) => void incoming.socket.end("what is this\r\n\r\n"), "answered"]
      ]
      for (const [listener, presence] of breaks) {
        const { dispatch, url } = yield* calling(listener)
        const error = yield* Effect.flip(dispatch())
        assert.strictEqual(error.presence, presence, error.reason)
        assert.isTrue(error.retryable)
        assert.isTrue(error.reason.startsWith(`POST ${url}/path `), error.reason)
      }
    })
  )

  it.live("waits for the whole call no longer than its timeout", () =>
    Effect.gen(function* () {
      for (const listener of [
        () => {},
        (_, outgoing) => void outgoing.writeHead(200).write("and then nothing")
      ] satisfies ReadonlyArray<RequestListener>) {
        const { dispatch, url } = yield* calling(listener, { timeout: "30 millis" })
        const error = yield* Effect.flip(dispatch())
        assert.deepStrictEqual(fields(error), {
          presence: "answered",
          reason: `POST ${url}/path gave no answer within 30ms`,
          retryable: true,
          retryAfterMillis: undefined
        })
      }
    })
  )

  it.live("closes the connection of a call that is interrupted", () =>
    Effect.gen(function* () {
      const asked = yield* Deferred.make<void>()
      const closed = yield* Deferred.make<void>()
      const { dispatch } = yield* calling((incoming) => {
        incoming.socket.once("close", () => Deferred.doneUnsafe(closed, Effect.void))
        Deferred.doneUnsafe(asked, Effect.void)
      })
      const fiber = yield* Effect.forkChild(dispatch())
      yield* Deferred.await(asked)
      yield* Fiber.interrupt(fiber)
      yield* Deferred.await(closed)
    })
  )

  it.live("gives up on an answer that is too large, told or not", () =>
    Effect.gen(function* () {
      for (const [listener, fits] of [
        [answering(200, "x".repeat(10)), true],
        [answering(200, "x".repeat(11)), false],
        [(_, outgoing) => void outgoing.writeHead(200).end("x".repeat(11)), false],
        [
          (_, outgoing) => {
            outgoing.writeHead(200).write("x".repeat(8))
            outgoing.end("x".repeat(8))
          },
          false
        ]
      ] satisfies ReadonlyArray<readonly [RequestListener, boolean]>) {
        const { dispatch, url } = yield* calling(listener, { responseMax: 10 })
        const result = yield* Effect.result(dispatch())
        if (Result.isSuccess(result)) assert.isTrue(fits)
        else {
          assert.isFalse(fits)
          assert.isFalse(result.failure.retryable)
          assert.strictEqual(result.failure.reason, `POST ${url}/path answered 200 OK with more than 10 bytes`)
        }
      }
      const busy = yield* calling(answering(503, "x".repeat(11)), { responseMax: 10 })
      const error = yield* Effect.flip(busy.dispatch())
      assert.deepStrictEqual([error.presence, error.retryable], ["busy", true])
    })
  )

  it.live("follows no redirect unless told to, and then no more than it may", () =>
    Effect.gen(function* () {
      const off = yield* calling(answering(302, "", { location: "http://other.example/next?token=secret" }))
      const reply = yield* off.dispatch()
      assert.strictEqual(reply.kind, "refused")
      assert.strictEqual(
        reply.reason,
        `POST ${off.url}/path answered 302 Found to http://other.example/next: redirects are off`
      )
      const around = yield* calling(answering(307, "", { location: "/path" }), { redirects: 3 })
      const lost = yield* around.dispatch()
      assert.strictEqual(lost.kind, "refused")
      assert.strictEqual(around.seen.length, 4)
      assert.include(lost.reason!, "at most 3 are")
    })
  )

  it.live("follows redirects as browsers do, and tells another origin no secrets", () =>
    Effect.gen(function* () {
      const other = yield* calling((_, outgoing) => void outgoing.end("there"))
      const headers = { authorization: "Bearer x", "x-api-key": "y", accept: "text/plain" }
      for (const [status, method, body] of [
        [301, "GET", ""],
        [302, "GET", ""],
        [303, "GET", ""],
        [307, "POST", '{"n":1}'],
        [308, "POST", '{"n":1}']
      ] as const) {
        const first = yield* calling(
          ({ url }, outgoing) =>
            void outgoing.writeHead(status, { location: url === "/path" ? "/moved" : `${other.url}/far` }).end("moved"),
          { headers, redirects: 2 }
        )
        assert.strictEqual(text(yield* first.dispatch({ n: 1 })), "there")
        const moved = first.seen[1]!
        assert.deepStrictEqual([moved.url, moved.method, moved.body], ["/moved", method, body])
        assert.strictEqual(moved.headers.authorization, "Bearer x")
        const far = other.seen.at(-1)!
        assert.deepStrictEqual([far.url, far.method, far.body], ["/far", method, body])
        assert.strictEqual(far.headers.host, new URL(other.url).host)
        assert.strictEqual(far.headers.accept, "text/plain")
        assert.strictEqual(far.headers["content-type"], body === "" ? undefined : "application/json")
        for (const name of ["authorization", "x-api-key"]) assert.notProperty(far.headers, name)
      }
    })
  )

  it.live("shows neither credentials nor the query in a reason", () =>
    Effect.gen(function* () {
      const { port } = yield* calling(answering(422, "no"))
      const refusing = yield* DispatcherHttp.make({ url: `http://user:pass@127.0.0.1:${port}/path?token=secret#part` })
      const reply = yield* later(refusing.dispatch(detection({})))
      assert.strictEqual(reply.reason, `POST http://127.0.0.1:${port}/path answered 422 Unprocessable Entity: no`)
      const { port: closed } = yield* Effect.scoped(serve(answering(200)))
      const away = yield* DispatcherHttp.make({ url: `http://user:pass@127.0.0.1:${closed}/path?token=secret` })
      for (const effect of [later(away.dispatch(detection({}))), away.probe!]) {
        const { reason } = yield* Effect.flip(effect)
        assert.notMatch(reason, /user|pass|token|secret/)
      }
    })
  )

  it.live("asks whether the target is there with a HEAD request that carries no payload", () =>
    Effect.gen(function* () {
      for (const status of [200, 404, 405, 500]) {
        const { dispatcher, seen } = yield* calling(answering(status), { headers: { "x-key": "1" } })
        yield* dispatcher.probe!
        assert.deepStrictEqual([seen[0]!.method, seen[0]!.url, seen[0]!.body], ["HEAD", "/path", ""])
        assert.strictEqual(seen[0]!.headers["x-key"], "1")
      }
      for (const status of [429, 503]) {
        const { dispatcher } = yield* calling(answering(status))
        assert.strictEqual((yield* Effect.flip(dispatcher.probe!)).presence, "busy")
      }
    })
  )

  it.live("sends a batch as one JSON array, whose answer is everyone's", () =>
    Effect.gen(function* () {
      const batch = [{ a: 1 }, "text", utf8.encode('{"b":2}'), 3].map(detection)
      const { dispatcher, seen } = yield* calling(answering(200, "done"))
      const replies = yield* dispatcher.dispatchBatch!(batch, info)
      assert.deepStrictEqual(
        seen.map(({ body, headers }) => [body, headers["content-type"]]),
        [['[{"a":1},"text",{"b":2},3]', "application/json"]]
      )
      assert.deepStrictEqual(
        replies.map((reply) => text(Result.getOrThrow(reply))),
        ["done", "done", "done", "done"]
      )
      const refusing = yield* calling(answering(400, "no"), { body: "payload.a" })
      const mixed = yield* refusing.dispatcher.dispatchBatch!(batch.slice(0, 2), info)
      assert.strictEqual(refusing.seen[0]!.body, "[1]")
      assert.strictEqual(Result.getOrThrow(mixed[0]!).kind, "refused")
      assert.isTrue(Result.isFailure(mixed[1]!))
      const none = yield* refusing.dispatcher.dispatchBatch!(batch.slice(1, 2), info)
      assert.isTrue(Result.isFailure(none[0]!))
      assert.strictEqual(refusing.seen.length, 1)
      const busy = yield* calling(answering(503))
      assert.strictEqual((yield* Effect.flip(busy.dispatcher.dispatchBatch!(batch, info))).presence, "busy")
    })
  )

  it.live("keeps its connections, and makes no more of them than it may", () =>
    Effect.gen(function* () {
      const { connections, dispatch } = yield* calling(answering(200, "ok"), { connections: 4, timeout: "365 days" })
      yield* Effect.forEach(Array.from({ length: 200 }), () => dispatch(), { concurrency: 4 })
      assert.isAtMost(connections(), 5)
    })
  )

  it.live("decodes its options, and says what is wrong with a header", () =>
    Effect.gen(function* () {
      const { component } = DispatcherHttp
      const decode = Schema.decodeUnknownEffect(
        component.options as unknown as Schema.Codec<Record<string, unknown>, unknown>
      )
      const decoded = yield* decode({ url: "http://localhost/x", retryOn: [404, "5xx"], responseMax: "2 MiB" })
      assert.deepInclude(decoded, { method: "POST", retryOn: [404, "5xx"], responseMax: 2_097_152, redirects: 0 })
      for (const wrong of [{ retryOn: [200] }, { retryOn: ["3xx"] }, { method: "BREW" }, { url: "ftp://x" }]) {
        assert.isTrue(Result.isFailure(yield* Effect.result(decode({ url: "http://localhost/x", ...wrong }))))
      }
      const headers = { "bad name": "1", "x-ok": "1", "x-bad": "secret\nvalue", Connection: "close" }
      const site = {
        pipeline: "p",
        source: { type: "memory" },
        folder: "/",
        concurrency: 1,
        bufferMessages: 1,
        keyed: false,
        hide: (text: string) => text
      }
      const made = component.make({ ...decoded, headers }, site) as Effect.Effect<unknown, OptionsError>
      const { problems } = yield* Effect.flip(made)
      assert.deepStrictEqual(
        problems.map(({ path }) => path),
        [
          ["headers", "bad name"],
          ["headers", "x-bad"],
          ["headers", "Connection"]
        ]
      )
      assert.notInclude(JSON.stringify(problems), "secret")
      const both = yield* Effect.flip(DispatcherHttp.make({ url: "no url", body: "order" }))
      assert.deepStrictEqual(
        both.problems.map(({ path }) => path),
        [["body"], ["url"]]
      )
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )
})

describe("A pipeline that dispatches over HTTP", () => {
  const numbered = (count: number) =>
    Array.from({ length: count }, (_, i) => ({ id: `${i}`, key: `k${i % 10}`, payload: { n: i } }))

  const running = (source: SourceMemory.MemorySource, run: Parameters<typeof Define.define>[0]["dispatch"] & {}) =>
    Define.run(
      Define.define({
        name: "orders",
        source,
        decode: CodecJson.make(),
        dispatch: run,
        retry: { attempts: 3, backoffMillis: 10 }
      })
    )

  it.live("waits while the endpoint is away, goes on when it is back, and buries nothing", () =>
    Effect.gen(function* () {
      const { port } = yield* Effect.scoped(serve(answering(200)))
      const source = SourceMemory.fromIterable(numbered(200))
      const asked = yield* Deferred.make<void>()
      const seen = new Set<string>()
      const http = yield* DispatcherHttp.make({ url: `http://127.0.0.1:${port}/orders` })
      const dispatcher = {
        ...http,
        dispatch: (detection: Detection) =>
          Effect.tapError(later(http.dispatch(detection)), () => Deferred.succeed(asked, undefined))
      }
      const pipeline = yield* Effect.forkChild(running(source, [{ run: dispatcher }]))
      yield* Deferred.await(asked)
      assert.strictEqual(source.settled.length, 0)
      yield* serve((incoming, outgoing) => {
        bodyOf(incoming).then(
          (body) => {
            seen.add(body)
            outgoing.end()
          },
          () => {}
        )
      }, port)
      yield* Fiber.join(pipeline)
      assert.strictEqual(seen.size, 200)
      assert.deepStrictEqual([...new Set(source.settled.map(({ settlement }) => settlement._tag))], ["Acked"])
      assert.deepStrictEqual(yield* (yield* DeadLetters).list({}), [])
    }).pipe(Effect.provide(DeadLettersMemory.layer))
  )

  it.live("buries a message that breaks every connection, after its attempts, while the others are answered", () =>
    Effect.gen(function* () {
      const source = SourceMemory.fromIterable(numbered(50))
      let broken = 0
      const { url } = yield* serve((incoming, outgoing) => {
        bodyOf(incoming).then(
          (body) => {
            if (body !== '{"n":20}') return outgoing.end()
            broken++
            return incoming.socket.resetAndDestroy()
          },
          () => {}
        )
      })
      yield* running(source, [{ run: yield* DispatcherHttp.make({ url }) }])
      const letters = yield* (yield* DeadLetters).list({})
      assert.deepStrictEqual(
        letters.map(({ attempts, envelope }) => [envelope.id, attempts]),
        [["20", 3]]
      )
      assert.include(letters[0]!.reason, "lost its connection")
      assert.strictEqual(broken, 3)
      assert.strictEqual(source.settled.filter(({ settlement }) => settlement._tag === "Acked").length, 49)
    }).pipe(Effect.provide(DeadLettersMemory.layer))
  )

  it.live("buries a message that breaks every connection, also when it is the only one", () =>
    Effect.gen(function* () {
      const source = SourceMemory.fromIterable(numbered(1))
      const { url } = yield* serve((incoming, outgoing) => {
        if (incoming.method === "HEAD") outgoing.end()
        else incoming.socket.resetAndDestroy()
      })
      yield* running(source, [{ run: yield* DispatcherHttp.make({ url }) }])
      const letters = yield* (yield* DeadLetters).list({})
      assert.deepStrictEqual(
        letters.map(({ attempts }) => attempts),
        [3]
      )
    }).pipe(Effect.provide(DeadLettersMemory.layer))
  )
})
