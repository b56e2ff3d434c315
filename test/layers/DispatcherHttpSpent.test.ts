/** What an HTTP dispatcher keeps of a 5xx, and how it sends the bytes of a message as they came. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as DispatcherHttp from "../../src/layers/DispatcherHttp.ts"
import type { Detection } from "../../src/services/Event.ts"
import { later } from "../../src/services/Ready.ts"
import * as SourceMemory from "../../src/streams/SourceMemory.ts"
import { answering, bodyOf, serve } from "./Servers.ts"

const detectionOf = (bytes: Uint8Array): Detection => {
  const envelope = { ...SourceMemory.envelopeOf({ payload: "" }, "memory", 1, 0), payload: bytes }
  return { name: "message", event: { envelope, payload: { decoded: true }, key: "k" } }
}

const utf8 = new TextEncoder()

describe("DispatcherHttp, with spent: refuse", () => {
  it.live("keeps the answer of a 5xx as a refused reply", () =>
    Effect.gen(function* () {
      for (const status of [500, 503]) {
        const { url } = yield* serve(answering(status, "broken", { "x-a": "1" }))
        const dispatcher = yield* DispatcherHttp.make({ url, spent: "refuse" })
        const { reason, reply, retryable } = yield* Effect.flip(
          later(dispatcher.dispatch(detectionOf(utf8.encode("x"))))
        )
        assert.isTrue(retryable)
        assert.strictEqual(reply?.kind, "refused")
        assert.strictEqual(reply?.status, status)
        assert.strictEqual(reply?.reason, reason)
        assert.strictEqual(reply?.headers?.["x-a"], "1")
        assert.strictEqual(new TextDecoder().decode(reply?.payload as Uint8Array), "broken")
      }
    })
  )

  it.live("keeps nothing of what is no 5xx, of what is final, and when it is not told to", () =>
    Effect.gen(function* () {
      const cases: ReadonlyArray<readonly [number, Partial<DispatcherHttp.Options>]> = [
        [429, { spent: "refuse" }],
        [408, { spent: "refuse" }],
        [500, { spent: "refuse", retryOn: [] }],
        [500, { spent: "bury" }],
        [500, {}]
      ]
      for (const [status, options] of cases) {
        const { url } = yield* serve(answering(status, "broken"))
        const dispatcher = yield* DispatcherHttp.make({ url, ...options })
        const error = yield* Effect.flip(later(dispatcher.dispatch(detectionOf(utf8.encode("x")))))
        assert.notProperty(error, "reply")
      }
      const { port } = yield* Effect.scoped(serve(answering(200)))
      const away = yield* DispatcherHttp.make({ url: `http://127.0.0.1:${port}/`, spent: "refuse" })
      assert.notProperty(yield* Effect.flip(later(away.dispatch(detectionOf(utf8.encode("x"))))), "reply")
    })
  )
})

describe("DispatcherHttp, with body: envelope.payload", () => {
  it.live("sends the bytes as they came with every method, whatever the codec made of them", () =>
    Effect.gen(function* () {
      const seen: Array<readonly [string, string, string | undefined]> = []
      const { url } = yield* serve((incoming, outgoing) => {
        const chunks: Array<Buffer> = []
        incoming.on("data", (chunk: Buffer) => chunks.push(chunk))
        incoming.on("end", () => {
          seen.push([incoming.method!, Buffer.concat(chunks).toString("hex"), incoming.headers["content-type"]])
          outgoing.end()
        })
      })
      const bytes = new Uint8Array([0xff, 0x00, 0x7b, 0x0a])
      const methods = ["POST", "PUT", "PATCH", "DELETE", "GET", "HEAD"]
      for (const method of methods) {
        const headers = { "Content-Type": "application/text" }
        const dispatcher = yield* DispatcherHttp.make({ url, method, headers, body: "envelope.payload" })
        assert.strictEqual((yield* later(dispatcher.dispatch(detectionOf(bytes)))).kind, "accepted")
        assert.strictEqual((yield* later(dispatcher.dispatch(detectionOf(new Uint8Array(0))))).kind, "accepted")
      }
      assert.deepStrictEqual(
        seen,
        methods.flatMap((method) => [
          [method, "ff007b0a", "application/text"],
          [method, "", "application/text"]
        ]) as unknown as typeof seen
      )
    })
  )

  it.live("posts bytes without a body option, too", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const { url } = yield* serve((incoming, outgoing) => {
        bodyOf(incoming).then(
          (body) => {
            seen.push(body)
            outgoing.end()
          },
          () => {}
        )
      })
      const dispatcher = yield* DispatcherHttp.make({ url })
      yield* later(dispatcher.dispatch(detectionOf(utf8.encode("Hello World!"))))
      assert.deepStrictEqual(seen, ["Hello World!"])
    })
  )
})
