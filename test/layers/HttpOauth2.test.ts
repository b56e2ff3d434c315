/** Access tokens for HTTP calls, from real servers: when one is asked for, how long it is used, and what is never shown. */
import type { IncomingMessage, ServerResponse } from "node:http"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Redacted, Schema, Scope } from "effect"
import { TestClock } from "effect/testing"
import * as CodecJson from "../../src/layers/CodecJson.ts"
import * as DeadLettersMemory from "../../src/layers/DeadLettersMemory.ts"
import * as DispatcherHttp from "../../src/layers/DispatcherHttp.ts"
import * as PublisherHttp from "../../src/layers/PublisherHttp.ts"
import { DeadLetters } from "../../src/services/DeadLetters.ts"
import type { DispatchError } from "../../src/services/Dispatcher.ts"
import type { Detection } from "../../src/services/Event.ts"
import { later } from "../../src/services/Ready.ts"
import * as Define from "../../src/streams/Define.ts"
import * as SourceMemory from "../../src/streams/SourceMemory.ts"
import * as PublisherSuite from "../suites/PublisherSuite.ts"
import { answering, bodyOf, serve } from "./Servers.ts"

const detection: Detection = {
  name: "order.paid",
  event: { envelope: SourceMemory.envelopeOf({ payload: "{}" }, "memory", 1, 0), payload: {}, key: "k" }
}

const secret = "s3cret of/mine+"

interface Asked {
  readonly authorization: string | undefined
  readonly type: string | undefined
  readonly form: Readonly<Record<string, string>>
}

type Endpoint = (incoming: IncomingMessage, outgoing: ServerResponse, body: string) => void

const listening = (endpoint: Endpoint) =>
  serve((incoming, outgoing) => {
    bodyOf(incoming).then(
      (body) => endpoint(incoming, outgoing, body),
      () => {}
    )
  })

const granting =
  (expires: Record<string, unknown> = { expires_in: 3600 }) =>
  (outgoing: ServerResponse, n: number): void => {
    outgoing.writeHead(200, { "content-type": "application/json" })
    outgoing.end(JSON.stringify({ access_token: `token-${n}`, token_type: "bearer", ...expires }))
  }

/** A token endpoint, an API that wants its tokens, and a dispatcher that calls it. */
const calling = Effect.fnUntraced(function* (
  options: Partial<NonNullable<DispatcherHttp.Options["oauth2"]>> = {},
  grant: (outgoing: ServerResponse, n: number) => void = granting(),
  api: Endpoint = (_, outgoing) => void outgoing.end("done"),
  more: Partial<DispatcherHttp.Options> = {}
) {
  const asked: Array<Asked> = []
  const seen: Array<string | undefined> = []
  const idp = yield* listening(({ headers }, outgoing, body) => {
    asked.push({
      authorization: headers.authorization,
      type: headers["content-type"],
      form: Object.fromEntries(new URLSearchParams(body))
    })
    grant(outgoing, asked.length)
  })
  const target = yield* listening((incoming, outgoing, body) => {
    seen.push(incoming.headers.authorization)
    api(incoming, outgoing, body)
  })
  const tokenUrl = `${idp.url}/token?tenant=t`
  const oauth2 = { tokenUrl, clientId: "me", clientSecret: Redacted.make(secret), ...options }
  const dispatcher = yield* DispatcherHttp.make({ url: `${target.url}/orders`, oauth2, ...more })
  return {
    asked,
    seen,
    dispatcher,
    idp,
    oauth2,
    target,
    dispatch: Effect.suspend(() => later(dispatcher.dispatch(detection)))
  }
})

/** Refuses all tokens but those it is told of. */
const accepting =
  (...tokens: ReadonlyArray<string>): Endpoint =>
  ({ headers }, outgoing) => {
    outgoing.statusCode = tokens.some((token) => headers.authorization === `Bearer ${token}`) ? 200 : 401
    outgoing.end("said")
  }

const fields = ({ presence, reason, retryable }: DispatchError) => ({ presence, reason, retryable })

describe("HttpOauth2", () => {
  it.live("asks for a token when one is first needed, once for all that wait", () =>
    Effect.gen(function* () {
      const { asked, dispatch, seen } = yield* calling({ scope: "a b", audience: "api" })
      assert.deepStrictEqual(asked, [])
      yield* Effect.forEach(Array.from({ length: 50 }), () => dispatch, { concurrency: 50 })
      const pair = Buffer.from("me:s3cret+of%2Fmine%2B").toString("base64")
      assert.deepStrictEqual(asked, [
        {
          authorization: `Basic ${pair}`,
          type: "application/x-www-form-urlencoded",
          form: { grant_type: "client_credentials", scope: "a b", audience: "api" }
        }
      ])
      assert.deepStrictEqual([...new Set(seen)], ["Bearer token-1"])
      assert.strictEqual(seen.length, 50)
    })
  )

  it.live("sends id and secret in the body where it is told so", () =>
    Effect.gen(function* () {
      const { asked, dispatch } = yield* calling({ auth: "body" })
      yield* dispatch
      assert.deepStrictEqual(asked, [
        {
          authorization: undefined,
          type: "application/x-www-form-urlencoded",
          form: { grant_type: "client_credentials", client_id: "me", client_secret: secret }
        }
      ])
    })
  )

  it.effect("renews a token a minute before it runs out, a short one at half its life", () =>
    Effect.gen(function* () {
      const cases = [
        [{ expires_in: 3600 }, 3540],
        [{ expires_in: "3600" }, 3540],
        [{ expires_in: 60 }, 30],
        [{}, 240],
        [{ expires_in: null }, 240]
      ] as const
      for (const [expires, seconds] of cases) {
        const { asked, dispatch, seen } = yield* calling({}, granting(expires))
        yield* dispatch
        yield* TestClock.adjust(seconds * 1000 - 1)
        yield* dispatch
        assert.strictEqual(asked.length, 1)
        yield* TestClock.adjust(1)
        yield* dispatch
        assert.deepStrictEqual(seen, ["Bearer token-1", "Bearer token-1", "Bearer token-2"])
      }
      const never = yield* calling({}, granting({ expires_in: 0 }))
      yield* never.dispatch
      yield* never.dispatch
      assert.deepStrictEqual(never.seen, ["Bearer token-1", "Bearer token-2"])
    })
  )

  it.live("gets a new token when one is answered 401, and calls once more", () =>
    Effect.gen(function* () {
      const { asked, dispatch, seen } = yield* calling({}, granting(), accepting("token-2"))
      assert.strictEqual((yield* dispatch).kind, "accepted")
      assert.deepStrictEqual(seen, ["Bearer token-1", "Bearer token-2"])
      yield* dispatch
      assert.strictEqual(asked.length, 2)
    })
  )

  it.live("asks for one new token when many calls are answered 401", () =>
    Effect.gen(function* () {
      const held: Array<() => void> = []
      const { asked, dispatch, seen } = yield* calling({}, granting(), (incoming, outgoing, body) => {
        if (incoming.headers.authorization !== "Bearer token-1") return accepting("token-2")(incoming, outgoing, body)
        held.push(() => accepting("token-2")(incoming, outgoing, body))
        // They all had the old token before any of them hears that it is none.
        if (held.length === 20) for (const answer of held) answer()
      })
      const replies = yield* Effect.forEach(Array.from({ length: 20 }), () => dispatch, { concurrency: 20 })
      assert.isTrue(replies.every(({ kind }) => kind === "accepted"))
      assert.strictEqual(asked.length, 2)
      assert.strictEqual(seen.length, 40)
    })
  )

  it.live("takes a second 401 for the endpoint's own answer", () =>
    Effect.gen(function* () {
      const { asked, dispatch, seen, target } = yield* calling({}, granting(), accepting())
      const reply = yield* dispatch
      assert.deepStrictEqual([reply.kind, reply.status], ["refused", 401])
      assert.strictEqual(reply.reason, `POST ${target.url}/orders answered 401 Unauthorized: said`)
      assert.deepStrictEqual([asked.length, seen.length], [2, 2])
      const again = yield* calling({}, granting(), accepting(), { retryOn: ["4xx"] })
      assert.isTrue((yield* Effect.flip(again.dispatch)).retryable)
      assert.deepStrictEqual([again.asked.length, again.seen.length], [2, 2])
    })
  )

  it.live("takes a token endpoint that is away or busy for the target being away", () =>
    Effect.gen(function* () {
      for (const status of [429, 500, 502, 503]) {
        const { dispatch, dispatcher, idp, seen } = yield* calling(
          {},
          (outgoing) => void outgoing.writeHead(status, { "retry-after": "7" }).end(`later, ${secret}`)
        )
        const error = yield* Effect.flip(dispatch)
        assert.deepStrictEqual([error.presence, error.retryable, error.retryAfterMillis], ["busy", true, 7000])
        assert.isTrue(error.reason.startsWith(`no token: POST ${idp.url}/token answered ${status} `), error.reason)
        assert.isTrue(error.reason.endsWith(": later, <secret>"), error.reason)
        assert.strictEqual((yield* Effect.flip(dispatcher.probe!)).presence, "busy")
        assert.deepStrictEqual(seen, [])
      }
      const resetting = yield* calling({}, (outgoing) => void outgoing.socket!.resetAndDestroy())
      assert.strictEqual((yield* Effect.flip(resetting.dispatch)).presence, "unreachable")
      const { port } = yield* Effect.scoped(serve(answering(200)))
      const gone = yield* calling({ tokenUrl: `http://127.0.0.1:${port}/token` })
      for (const effect of [gone.dispatch, gone.dispatcher.probe!]) {
        const error = yield* Effect.flip(effect)
        assert.deepStrictEqual([error.presence, error.retryable], ["unreachable", true])
        assert.isTrue(error.reason.startsWith(`no token: POST http://127.0.0.1:${port}/token cannot be reached: `))
      }
    })
  )

  it.live("goes on with the token it has while the token endpoint is away", () =>
    Effect.gen(function* () {
      const { dispatch, dispatcher, seen } = yield* calling({}, (outgoing, n) =>
        n === 1 ? granting()(outgoing, n) : void outgoing.writeHead(503).end()
      )
      yield* dispatch
      yield* dispatch
      yield* dispatcher.probe!
      assert.deepStrictEqual(seen, ["Bearer token-1", "Bearer token-1", "Bearer token-1"])
    })
  )

  it.live("fails for good, with its words, when the token endpoint refuses", () =>
    Effect.gen(function* () {
      const cases: ReadonlyArray<readonly [number, string, string]> = [
        [401, '{"error":"invalid_client"}', "answered 401: invalid_client"],
        [
          400,
          JSON.stringify({ error: "invalid_scope", error_description: `no\nscope for ${secret}` }),
          "answered 400: invalid_scope: no scope for <secret>"
        ],
        [403, `<html>${secret}</html>`, "answered 403"],
        [302, "", "answered 302"],
        [200, "{}", "answered without an access_token"],
        [200, "[", "answered without an access_token"],
        [200, "null", "answered without an access_token"],
        [200, '{"access_token":"a\\nb"}', "answered without an access_token"],
        [200, '{"access_token":"a","token_type":"mac"}', "answered with a token that is no bearer token"]
      ]
      for (const [status, body, said] of cases) {
        const { dispatch, idp } = yield* calling({}, (outgoing) => void outgoing.writeHead(status).end(body))
        assert.deepStrictEqual(fields(yield* Effect.flip(dispatch)), {
          presence: "answered",
          reason: `no token: POST ${idp.url}/token ${said}`,
          retryable: false
        })
      }
    })
  )

  it.live("shows no token, also where the endpoint does", () =>
    Effect.gen(function* () {
      const long = "x".repeat(3000)
      const echoing =
        (status: number): Endpoint =>
        ({ headers }, outgoing) =>
          void outgoing.writeHead(status).end(`you sent ${headers.authorization}.`)
      const grant = (outgoing: ServerResponse) => void outgoing.end(JSON.stringify({ access_token: long }))
      const refusing = yield* calling({}, grant, echoing(422))
      const reply = yield* refusing.dispatch
      const answered = `POST ${refusing.target.url}/orders answered 422 Unprocessable Entity`
      assert.strictEqual(reply.reason, `${answered}: you sent Bearer <token>.`)
      const failing = yield* calling({}, grant, echoing(500))
      const error = yield* Effect.flip(failing.dispatch)
      assert.isTrue(error.reason.endsWith(": you sent Bearer <token>."), error.reason)
      assert.notInclude(JSON.stringify(error), "xxx")
    })
  )

  it.live("keeps a request for a token under way for those who still wait for it", () =>
    Effect.gen(function* () {
      const arrived = yield* Deferred.make<void>()
      let answer = () => {}
      const { asked, dispatch } = yield* calling({}, (outgoing, n) => {
        answer = () => granting()(outgoing, n)
        Deferred.doneUnsafe(arrived, Effect.void)
      })
      const first = yield* Effect.forkChild(dispatch)
      yield* Deferred.await(arrived)
      const second = yield* Effect.forkChild(dispatch, { startImmediately: true })
      yield* Fiber.interrupt(first)
      answer()
      assert.strictEqual((yield* Fiber.join(second)).kind, "accepted")
      assert.strictEqual(asked.length, 1)
    })
  )

  it.live("lets go of a request for a token when its component is closed", () =>
    Effect.gen(function* () {
      const arrived = yield* Deferred.make<void>()
      const closed = yield* Deferred.make<void>()
      const idp = yield* serve((incoming) => {
        incoming.socket.once("close", () => Deferred.doneUnsafe(closed, Effect.void))
        Deferred.doneUnsafe(arrived, Effect.void)
      })
      const oauth2 = { tokenUrl: idp.url, clientId: "me", clientSecret: Redacted.make(secret) }
      const scope = yield* Scope.make()
      const { dispatch } = yield* Scope.provide(DispatcherHttp.make({ url: idp.url, oauth2 }), scope)
      const call = yield* Effect.forkChild(later(dispatch(detection)))
      yield* Deferred.await(arrived)
      yield* Scope.close(scope, Exit.void)
      yield* Deferred.await(closed)
      assert.isTrue(Exit.isFailure(yield* Fiber.await(call)))
    })
  )

  it.live("asks again after a request for a token that failed", () =>
    Effect.gen(function* () {
      const { asked, dispatch } = yield* calling({}, (outgoing, n) =>
        n === 1 ? void outgoing.writeHead(503).end() : granting()(outgoing, n)
      )
      yield* Effect.flip(dispatch)
      assert.strictEqual((yield* dispatch).kind, "accepted")
      assert.strictEqual(asked.length, 2)
    })
  )

  it.live("carries tokens in what is published, too", () =>
    Effect.gen(function* () {
      const { asked, oauth2, seen, target } = yield* calling()
      const publisher = yield* PublisherHttp.make({ url: target.url, oauth2 })
      yield* publisher.publish([PublisherSuite.outgoing("{}"), PublisherSuite.outgoing("{}")])
      yield* publisher.probe!
      assert.deepStrictEqual(seen, ["Bearer token-1", "Bearer token-1", "Bearer token-1"])
      assert.strictEqual(asked.length, 1)
    })
  )

  it.live("makes a pipeline wait while there are no tokens, and buries nothing", () =>
    Effect.gen(function* () {
      const failing = yield* Deferred.make<void>()
      let isAway = true
      const { dispatcher, seen } = yield* calling({}, (outgoing, n) => {
        if (!isAway) return granting()(outgoing, n)
        // More often than there are attempts, counted or not.
        if (n === 5) Deferred.doneUnsafe(failing, Effect.void)
        outgoing.writeHead(503).end()
      })
      const source = SourceMemory.fromIterable(Array.from({ length: 20 }, (_, i) => ({ id: `${i}`, payload: { i } })))
      const pipeline = Define.define({
        name: "orders",
        source,
        decode: CodecJson.make(),
        dispatch: [{ run: dispatcher }],
        retry: { attempts: 2, backoffMillis: 1 }
      })
      const running = yield* Effect.forkChild(Define.run(pipeline))
      yield* Deferred.await(failing)
      isAway = false
      yield* Fiber.join(running)
      assert.strictEqual(source.settled.filter(({ settlement }) => settlement._tag === "Acked").length, 20)
      assert.isAtLeast(seen.length, 20)
      assert.deepStrictEqual(yield* (yield* DeadLetters).list({}), [])
    }).pipe(Effect.provide(DeadLettersMemory.layer))
  )

  it.effect("decodes its options, and wants no other authorization besides", () =>
    Effect.gen(function* () {
      const decode = Schema.decodeUnknownEffect(
        DispatcherHttp.component.options as unknown as Schema.Codec<Record<string, any>, unknown>
      )
      const oauth2 = { tokenUrl: "http://localhost/token", clientId: "me", clientSecret: "hush" }
      const decoded = yield* decode({ url: "http://localhost/", oauth2 })
      assert.strictEqual(decoded.oauth2.auth, "basic")
      assert.notInclude(JSON.stringify(decoded), "hush")
      yield* Effect.flip(decode({ url: "http://localhost/", oauth2: { ...oauth2, auth: "digest" } }))
      const clientSecret = Redacted.make("hush")
      for (const other of [
        { url: "http://localhost/", headers: { Authorization: "Basic x" } },
        { url: "http://a:b@localhost/" }
      ]) {
        const { problems } = yield* Effect.flip(DispatcherHttp.make({ ...other, oauth2: { ...oauth2, clientSecret } }))
        assert.deepStrictEqual(problems, [
          {
            path: ["oauth2"],
            expected: "either oauth2 or an authorization of its own, in the headers or in the URL",
            found: "both"
          }
        ])
      }
      const wrong = { ...oauth2, clientSecret, tokenUrl: "ftp://x" }
      const { problems } = yield* Effect.flip(DispatcherHttp.make({ url: "http://localhost/", oauth2: wrong }))
      assert.deepStrictEqual(
        problems.map(({ path }) => path),
        [["oauth2", "tokenUrl"]]
      )
    })
  )
})
