/** The HTTP server, over real sockets. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, type Layer, Logger, Scope } from "effect"
import * as HttpHostNode from "../../src/layers/HttpHostNode.ts"
import { HttpHost, type HttpRequest, type Route } from "../../src/services/HttpHost.ts"
import { ask, raw } from "./Servers.ts"

const text = new TextDecoder()

const hosted = Effect.fnUntraced(function* (routes: ReadonlyArray<Route>, options: Partial<HttpHostNode.Options> = {}) {
  const host = yield* HttpHostNode.make({ host: "127.0.0.1", port: 0, ...options })
  for (const route of routes) yield* host.route(route)
  const { port } = host.address!
  return { ...host, port, url: `http://127.0.0.1:${port}` }
})

const echo: Route = {
  method: "POST",
  path: "/echo",
  handle: ({ body }) => ({ status: 200, body })
}

const post = (path: string, body: string, headers = ""): string =>
  `POST ${path} HTTP/1.1\r\nhost: x\r\n${headers}content-length: ${body.length}\r\n\r\n${body}`

describe("HttpHostNode", () => {
  it.live("gives a route its request and answers what it returns, at once or later", () =>
    Effect.gen(function* () {
      const seen: Array<HttpRequest> = []
      const { url } = yield* hosted([
        {
          method: "POST",
          path: "/:client/:event/send_event",
          handle: (request) => {
            seen.push(request)
            return { status: 201, headers: { "x-answer": "yes" }, body: "plain" }
          }
        },
        { method: "GET", path: "/later", handle: () => Effect.as(Effect.sleep(1), { status: 200, body: "later" }) },
        { method: "GET", path: "/nothing", handle: () => ({ status: 204 }) }
      ])
      const plain = yield* ask(`${url}/c%201/paid/send_event?a=1&a=2`, { body: "hi", headers: { "X-One": "1" } })
      assert.strictEqual(plain.status, 201)
      assert.strictEqual(plain.headers.get("x-answer"), "yes")
      assert.strictEqual(plain.text, "plain")
      const request = seen[0]!
      assert.deepStrictEqual({ ...request.params }, { client: "c 1", event: "paid" })
      assert.strictEqual(request.method, "POST")
      assert.strictEqual(request.path, "/c%201/paid/send_event")
      assert.deepStrictEqual(request.query.getAll("a"), ["1", "2"])
      assert.strictEqual(request.headers["x-one"], "1")
      assert.strictEqual(text.decode(request.body), "hi")
      assert.strictEqual((yield* ask(`${url}/later`, { method: "GET" })).text, "later")
      assert.strictEqual((yield* ask(`${url}/nothing`, { method: "GET" })).status, 204)
    })
  )

  it.live("answers several requests on one connection, also when they come at once", () =>
    Effect.gen(function* () {
      const { port } = yield* hosted([echo])
      const socket = yield* raw(port)
      yield* socket.send(post("/echo", "one"))
      yield* socket.until("one")
      yield* socket.send(post("/echo", "two") + post("/echo", "three"))
      const all = yield* socket.until("three")
      assert.strictEqual(all.split("HTTP/1.1 200 OK").length, 4)
      assert.match(all, /connection: keep-alive/i)
    })
  )

  it.live("refuses a body that says it is too large before reading it", () =>
    Effect.gen(function* () {
      const { port } = yield* hosted([{ ...echo, bodyMax: 10 }])
      const socket = yield* raw(port)
      yield* socket.send("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 11\r\n\r\n")
      const answer = yield* socket.until("}")
      assert.match(answer, /^HTTP\/1\.1 413 Payload Too Large\r\n/)
      assert.match(answer, /connection: close/i)
      assert.include(answer, '{"error":"the body is larger than 10 bytes"}')
      yield* socket.closed
    })
  )

  it.live("stops reading a body that turns out too large, and takes one that just fits", () =>
    Effect.gen(function* () {
      const { port, url } = yield* hosted([echo], { bodyMax: 10 })
      const socket = yield* raw(port)
      yield* socket.send("POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n8\r\n12345678\r\n")
      yield* socket.send("8\r\n12345678\r\n")
      assert.match(yield* socket.until("}"), /^HTTP\/1\.1 413 /)
      const large = yield* ask(`${url}/echo`, { body: "x".repeat(5_000_000) })
      assert.strictEqual(large.status, 413)
      assert.strictEqual((yield* ask(`${url}/echo`, { body: "1234567890" })).text, "1234567890")
    })
  )

  it.live("asks a route whether it lets a request in before it reads the body, at once or later", () =>
    Effect.gen(function* () {
      const refusal = { status: 401, body: "who?" }
      const guarded = (path: string, admit: Route["admit"]): Route => ({ ...echo, path, admit })
      const { port } = yield* hosted([
        guarded("/now", ({ headers, remote }) =>
          headers["x-key"] === "k" && remote === "127.0.0.1" ? undefined : refusal
        ),
        guarded("/later", ({ headers }) =>
          Effect.delay(Effect.succeed(headers["x-key"] === "k" ? undefined : refusal), 5)
        ),
        guarded("/broken", () => {
          throw new Error("admit broke")
        })
      ])
      for (const path of ["/now", "/later"]) {
        const socket = yield* raw(port)
        yield* socket.send(`POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n`)
        assert.match(yield* socket.until("who?"), /^HTTP\/1\.1 401 /)
        // The body is let by, and the connection serves the next request.
        yield* socket.send("x".repeat(1_000_000) + post(path, "hello", "x-key: k\r\n"))
        assert.match(yield* socket.until("hello"), /HTTP\/1\.1 200 OK/)
        const asking = yield* raw(port)
        yield* asking.send(`POST ${path} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n`)
        const answer = yield* asking.closed
        assert.match(answer, /^HTTP\/1\.1 401 /)
        assert.notInclude(answer, "100 Continue")
      }
      const broken = yield* raw(port)
      yield* broken.send("POST /broken HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello")
      assert.match(yield* broken.until("internal error"), /^HTTP\/1\.1 500 /)
    })
  )

  it.live("says whether to go on to a client that asks first", () =>
    Effect.gen(function* () {
      const { port } = yield* hosted([echo], { bodyMax: 10 })
      const refused = yield* raw(port)
      yield* refused.send("POST /echo HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 11\r\n\r\n")
      assert.match(yield* refused.until("}"), /^HTTP\/1\.1 413 /)
      const unknown = yield* raw(port)
      yield* unknown.send("POST /other HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n")
      assert.match(yield* unknown.closed, /^HTTP\/1\.1 404 /)
      const taken = yield* raw(port)
      yield* taken.send("POST /echo HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n")
      yield* taken.until("100 Continue")
      yield* taken.send("hello")
      assert.match(yield* taken.until("hello"), /HTTP\/1\.1 200 OK/)
    })
  )

  it.live("cuts clients that are slow in their headers, in their body, or never start", () =>
    Effect.gen(function* () {
      const { port } = yield* hosted([echo], { slowMillis: 100 })
      const sockets = yield* Effect.forEach(
        ["POST /echo HTTP/1.1\r\nhost:", "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhe", ""],
        (start) => Effect.tap(raw(port), ({ send }) => send(start))
      )
      for (const { closed } of sockets) {
        assert.match(yield* closed, /^HTTP\/1\.1 408 Request Timeout\r\n.*the request took too long to arrive/s)
      }
    })
  )

  it.live("answers 400 to what is not HTTP, and 431 to headers without end", () =>
    Effect.gen(function* () {
      const { port } = yield* hosted([echo])
      const garbage = yield* raw(port)
      yield* garbage.send("what is this\r\n\r\n")
      assert.match(yield* garbage.closed, /^HTTP\/1\.1 400 Bad Request\r\n.*the request is malformed/s)
      const chunk = yield* raw(port)
      yield* chunk.send("POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n")
      assert.match(yield* chunk.closed, /^HTTP\/1\.1 400 Bad Request\r\n/)
      const headers = yield* raw(port)
      yield* headers.send(`GET /echo HTTP/1.1\r\nx: ${"x".repeat(17_000)}`)
      assert.match(yield* headers.closed, /^HTTP\/1\.1 431 /)
    })
  )

  it.live("answers with a reason also what node answers without one", () =>
    Effect.gen(function* () {
      const { port } = yield* hosted([echo])
      const cases = [
        ["POST /echo HTTP/1.1\r\ncontent-length: 0\r\n\r\n", 400, "the request has no header host"],
        ["POST /echo HTTP/1.1\r\nhost: x\r\nexpect: 200-maybe\r\ncontent-length: 0\r\n\r\n", 417, "100-continue"],
        ["CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n", 405, "there are no tunnels here"]
      ] as const
      for (const [request, status, reason] of cases) {
        const socket = yield* raw(port)
        yield* socket.send(request)
        const answer = yield* socket.until("}")
        assert.isTrue(answer.startsWith(`HTTP/1.1 ${status} `), answer)
        assert.include(answer, reason)
      }
      const old = yield* raw(port)
      yield* old.send("POST /echo HTTP/1.0\r\ncontent-length: 2\r\n\r\nhi")
      assert.match(yield* old.until("hi"), /^HTTP\/1\.1 200 OK/)
    })
  )

  it.live("never answers a request at work for what comes malformed behind it", () =>
    Effect.gen(function* () {
      const started = yield* Deferred.make<void>()
      const { port } = yield* hosted([
        {
          method: "POST",
          path: "/never",
          handle: () => Effect.andThen(Deferred.succeed(started, undefined), Effect.never)
        }
      ])
      const socket = yield* raw(port)
      yield* socket.send(post("/never", "x"))
      yield* Deferred.await(started)
      yield* socket.send("what is this\r\n\r\n")
      assert.strictEqual(yield* socket.closed, "")
    })
  )

  it.live("answers 404 to an unknown path, 405 with Allow to another method, and HEAD where there is a GET", () =>
    Effect.gen(function* () {
      const { url } = yield* hosted([
        { method: "GET", path: "/page", handle: () => ({ status: 200, body: "1234" }) },
        { method: "PUT", path: "/page", handle: () => ({ status: 200 }) }
      ])
      const unknown = yield* ask(`${url}/nowhere`, { body: "x".repeat(100_000) })
      assert.strictEqual(unknown.status, 404)
      assert.deepStrictEqual(unknown.json(), { error: "there is no /nowhere" })
      const other = yield* ask(`${url}/page`)
      assert.strictEqual(other.status, 405)
      assert.strictEqual(other.headers.get("allow"), "GET, HEAD, PUT")
      assert.deepStrictEqual(other.json(), { error: "/page takes GET, HEAD, PUT, not POST" })
      const head = yield* ask(`${url}/page`, { method: "HEAD" })
      assert.strictEqual(head.status, 200)
      assert.strictEqual(head.headers.get("content-length"), "4")
      assert.strictEqual(head.text, "")
      assert.strictEqual((yield* ask(`${url}/%zz`, { method: "GET" })).status, 404)
    })
  )

  it.live("answers 500 without a trace when a route breaks, says so in the log, and goes on", () => {
    const logged: Array<string> = []
    const logger = Logger.make(({ message }) => {
      logged.push(String(Array.isArray(message) ? message[0] : message))
    })
    return Effect.gen(function* () {
      const broken = (path: string, handle: Route["handle"]): Route => ({ method: "GET", path, handle })
      const { url } = yield* hosted([
        broken("/throws", () => {
          throw new Error("secret detail")
        }),
        broken("/dies", () => Effect.die(new Error("secret detail"))),
        broken("/later", () => Effect.andThen(Effect.sleep(1), Effect.die("secret detail"))),
        broken("/header", () => ({ status: 200, headers: { "x-bad": "a\nb" } })),
        broken("/status", () => ({ status: 7 })),
        echo
      ])
      for (const path of ["throws", "dies", "later", "header", "status"]) {
        const answer = yield* ask(`${url}/${path}`, { method: "GET" })
        assert.strictEqual(answer.status, 500, path)
        assert.deepStrictEqual(answer.json(), { error: "internal error" })
      }
      assert.deepStrictEqual(
        logged,
        ["throws", "dies", "later", "header", "status"].map((path) => `GET /${path}: answered 500`)
      )
      assert.strictEqual((yield* ask(`${url}/echo`, { body: "still there" })).text, "still there")
    }).pipe(Effect.provide(Logger.layer([logger])))
  })

  it.live("stops the work for a client that goes away, and goes on", () =>
    Effect.gen(function* () {
      const started = yield* Deferred.make<void>()
      const interrupted = yield* Deferred.make<void>()
      const { port, url } = yield* hosted([
        echo,
        {
          method: "POST",
          path: "/long",
          handle: () =>
            Deferred.succeed(started, undefined).pipe(
              Effect.andThen(Effect.never),
              Effect.onInterrupt(() => Deferred.succeed(interrupted, undefined))
            )
        }
      ])
      const socket = yield* raw(port)
      yield* socket.send(post("/long", "x"))
      yield* Deferred.await(started)
      yield* socket.destroy
      yield* Deferred.await(interrupted)
      const inBody = yield* raw(port)
      yield* inBody.send("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhe")
      yield* inBody.destroy
      assert.strictEqual((yield* ask(`${url}/echo`, { body: "here" })).text, "here")
    })
  )

  const stopping = Effect.fnUntraced(function* (options: Partial<HttpHostNode.Options>) {
    const scope = yield* Scope.make()
    const started = yield* Deferred.make<void>()
    const finish = yield* Deferred.make<void>()
    const slow: Route = {
      method: "POST",
      path: "/slow",
      handle: () =>
        Deferred.succeed(started, undefined).pipe(
          Effect.andThen(Deferred.await(finish)),
          Effect.as({ status: 200, body: "done" })
        )
    }
    const host = yield* hosted([echo, slow], options).pipe(Effect.provideService(Scope.Scope, scope))
    const idle = yield* raw(host.port)
    yield* idle.send(post("/echo", "idle"))
    yield* idle.until("idle")
    const busy = yield* raw(host.port)
    yield* busy.send(post("/slow", "x"))
    yield* Deferred.await(started)
    const stop = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
    return { ...host, busy, finish, idle, stop }
  })

  it.live("stops in order: takes nothing new, closes what is idle, finishes what is open", () =>
    Effect.gen(function* () {
      const { busy, finish, idle, stop, url } = yield* stopping({})
      yield* idle.closed
      assert.strictEqual((yield* Effect.exit(ask(`${url}/echo`)))._tag, "Failure")
      assert.isUndefined(stop.pollUnsafe())
      yield* Deferred.succeed(finish, undefined)
      const answer = yield* busy.closed
      assert.match(answer, /^HTTP\/1\.1 200 OK\r\n/)
      assert.match(answer, /connection: close/i)
      assert.match(answer, /done$/)
      yield* Fiber.join(stop)
    })
  )

  it.live("stops all the same when a request does not end", () =>
    Effect.gen(function* () {
      const { busy, stop } = yield* stopping({ stopMillis: 50 })
      assert.strictEqual(yield* busy.closed, "")
      yield* Fiber.join(stop)
    })
  )

  it.live("answers 503 where a route's scope has closed, until it is taken again", () =>
    Effect.gen(function* () {
      const { route, url } = yield* hosted([])
      const hook = (path: string): Route => ({
        method: "POST",
        path,
        handle: ({ params }) => ({ status: 200, body: JSON.stringify(params) })
      })
      const opened = yield* Scope.make()
      yield* route(hook("/hooks/:a")).pipe(Effect.provideService(Scope.Scope, opened))
      assert.strictEqual((yield* ask(`${url}/hooks/1`)).text, '{"a":"1"}')
      yield* Scope.close(opened, Exit.void)
      const away = yield* ask(`${url}/hooks/1`)
      assert.strictEqual(away.status, 503)
      assert.strictEqual(away.headers.get("retry-after"), "1")
      yield* route(hook("/hooks/:b"))
      assert.strictEqual((yield* ask(`${url}/hooks/1`)).text, '{"b":"1"}')
    })
  )

  for (const [name, layer] of [
    ["layer", HttpHostNode.layer({ host: "127.0.0.1", port: 0 })],
    ["layerCheck", HttpHostNode.layerCheck]
  ] as const) {
    it.live(`refuses a path that is taken twice (${name})`, () =>
      Effect.gen(function* () {
        const { route } = yield* HttpHost
        yield* route(echo)
        yield* route({ ...echo, path: "/other/:id" })
        yield* route({ ...echo, method: "PUT" })
        assert.strictEqual((yield* Effect.flip(route(echo))).message, "POST /echo is taken already")
        assert.strictEqual((yield* Effect.flip(route({ ...echo, path: "//echo/" })))._tag, "HttpHostError")
        assert.include((yield* Effect.flip(route({ ...echo, path: "/other/:name" }))).message, "/other/:name")
        assert.include((yield* Effect.flip(route({ ...echo, path: "hooks" }))).message, "does not start with /")
        assert.include((yield* Effect.flip(route({ ...echo, path: "/a/*/b" }))).message, "/a/*/b cannot be a path")
      }).pipe(Effect.provide(layer as Layer.Layer<HttpHost, never>))
    )
  }

  it.live("says when the port is in use", () =>
    Effect.gen(function* () {
      const { port } = yield* hosted([])
      const error = yield* Effect.flip(hosted([], { port }))
      assert.strictEqual(error._tag, "HttpHostError")
      assert.strictEqual(error.message, `cannot listen on 127.0.0.1:${port}: the port is in use (EADDRINUSE)`)
    })
  )

  it.effect("has no address and no paths where the config has no http", () =>
    Effect.gen(function* () {
      const host = yield* HttpHost
      assert.isUndefined(host.address)
      const error = yield* Effect.flip(host.route(echo))
      assert.strictEqual(error.message, "the config has no http: section, which this path needs")
    }).pipe(Effect.provide(HttpHostNode.layerNone))
  )
})
