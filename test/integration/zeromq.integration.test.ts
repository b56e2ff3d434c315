/** ZeroMQ on real sockets: nothing lost by a clean stop, senders that wait, topics, CURVE, restarts, and the program. */
import { createServer } from "node:net"
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Redacted, References, Stream } from "effect"
import * as Zmq from "zeromq"
import * as CodecText from "../../src/layers/CodecText.ts"
import * as DeadLettersMemory from "../../src/layers/DeadLettersMemory.ts"
import * as PublisherZeroMq from "../../src/layers/PublisherZeroMq.ts"
import * as ZeroMqKeys from "../../src/layers/ZeroMqKeys.ts"
import * as ZeroMqNode from "../../src/layers/ZeroMqNode.ts"
import * as Envelope from "../../src/services/Envelope.ts"
import { accepted } from "../../src/services/Reply.ts"
import { type SocketOptions, ZeroMq } from "../../src/services/ZeroMq.ts"
import * as Define from "../../src/streams/Define.ts"
import * as SourceZeroMq from "../../src/streams/SourceZeroMq.ts"
import * as PublisherSuite from "../suites/PublisherSuite.ts"
import * as SourceSuite from "../suites/SourceSuite.ts"
import * as Program from "./Program.ts"

const reconnect = { minMillis: 20, maxMillis: 100 }
const layer = Layer.mergeAll(
  ZeroMqNode.layer,
  DeadLettersMemory.layer,
  NodeServices.layer,
  SourceSuite.alone,
  Layer.succeed(References.MinimumLogLevel, "Error")
)

/** An address nobody has just now. */
/** Below the ports that the system gives to connections of others, which come and go meanwhile. */
let lastPort = 20_000 + ((process.pid * 37) % 10_000)
const free = Effect.promise(async () => {
  for (;;) {
    const port = ++lastPort
    const server = createServer()
    const isFree = await new Promise<boolean>((tried) => {
      server.once("error", () => tried(false)).listen(port, "127.0.0.1", () => tried(true))
    })
    await new Promise((closed) => server.close(closed))
    if (isFree) return `tcp://127.0.0.1:${port}`
  }
})
const bind = async (socket: Zmq.Socket, address: string) => {
  for (let i = 0; ; i++) {
    try {
      return await socket.bind(address)
    } catch (error) {
      // The one before may still be about to leave it.
      if (i === 100) throw error
      await new Promise((done) => setTimeout(done, 20))
    }
  }
}
const closed = <S extends Zmq.Socket>(make: () => S) =>
  Effect.acquireRelease(Effect.sync(make), (socket) => Effect.sync(() => socket.close()))
const rawPush = closed(() => new Zmq.Push({ linger: 0, sendHighWaterMark: 100, reconnectInterval: 20 }))
const rawPull = closed(() => new Zmq.Pull({ linger: 0, reconnectInterval: 20 }))

const source = (addresses: string, more: Partial<SourceZeroMq.Options> = {}) =>
  SourceZeroMq.make({ socket: "pull", attach: "bind", addresses: [addresses], reconnect, ...more })
const publisher = (address: string, more: Partial<PublisherZeroMq.Options> = {}) =>
  PublisherZeroMq.make({
    socket: "push",
    attach: "connect",
    addresses: [address],
    reconnect,
    sendMillis: 5000,
    lingerMillis: 1000,
    ...more
  })
const other = (attach: SocketOptions["attach"]) => (attach === "bind" ? "connect" : "bind")
const attached = (socket: Zmq.Socket, attach: SocketOptions["attach"], address: string) =>
  Effect.promise(async () => (attach === "bind" ? bind(socket, address) : socket.connect(address)))

const pipeline = Effect.fnUntraced(function* (
  made: Effect.Success<ReturnType<typeof source>>,
  work: Effect.Effect<void> = Effect.void
) {
  const seen: Array<Envelope.Envelope> = []
  const handle = yield* Define.start(
    Define.define({
      name: "receives",
      source: made,
      decode: CodecText.make,
      concurrency: 4,
      order: "none",
      buffer: { messages: 100 },
      dispatch: [
        {
          run: ({ event }) => {
            seen.push(event.envelope)
            return Effect.as(work, accepted(null))
          }
        }
      ]
    })
  )
  return { handle, seen, texts: () => seen.map((one) => Envelope.text(one)) }
})
const until = (what: string, condition: () => boolean, millis = 20_000): Effect.Effect<void> =>
  Effect.suspend(() =>
    condition() ? Effect.void : Effect.delay(until(what, condition, millis - 10), "10 millis")
  ).pipe((look) => (millis < 0 ? Effect.die(new Error(`never: ${what}`)) : look))
const numbers = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => `${from + i}`)

SourceSuite.suite(
  "SourceZeroMq",
  { givesAgain: false },
  (payloads) =>
    Effect.gen(function* () {
      const push = yield* rawPush
      const made = yield* source(yield* Effect.tap(free, (address) => Effect.sync(() => push.connect(address))))
      yield* Effect.forkScoped(
        Effect.promise(async () => {
          for (const payload of payloads) await push.send(payload)
        })
      )
      return made
    }),
  layer
)

PublisherSuite.suite(
  "PublisherZeroMq",
  Effect.gen(function* () {
    const pull = yield* rawPull
    const address = yield* free
    yield* attached(pull, "bind", address)
    pull.receiveTimeout = 200
    const all: Array<string> = []
    const read = Effect.promise(async () => {
      try {
        for (;;) all.push((await pull.receive()).map(String).join("|"))
      } catch {
        return [...all]
      }
    })
    return { publisher: yield* publisher(address), read }
  }),
  layer
)

describe("ZeroMQ", () => {
  for (const attach of ["bind", "connect"] as const) {
    it.live(`takes 10,000 messages, and loses none by a clean stop while the sender pauses (${attach})`, () =>
      Effect.gen(function* () {
        const address = yield* free
        const push = yield* rawPush
        yield* attached(push, other(attach), address)
        const made = yield* source(address, { attach })
        const first = yield* pipeline(made)
        const send = (from: number, to: number) =>
          Effect.promise(async () => {
            for (const n of numbers(from, to)) await push.send(n)
          })
        // The sender counts 6,000 as taken; most of the last ones are still on their way then.
        yield* send(0, 6000)
        yield* first.handle.drain()
        assert.deepStrictEqual(first.texts(), numbers(0, 6000))
        assert.strictEqual((yield* first.handle.status).acked, 6000)
        const second = yield* pipeline(made)
        yield* send(6000, 10_000)
        yield* until("the rest", () => second.seen.length === 4000)
        assert.deepStrictEqual(second.texts(), numbers(6000, 10_000))
        yield* second.handle.drain()
      }).pipe(Effect.scoped, Effect.provide(layer))
    )

    it.live(`stopped in the middle of a flow, has no gap in what it took, and works all of it (${attach})`, () =>
      Effect.gen(function* () {
        const address = yield* free
        const push = yield* rawPush
        yield* attached(push, other(attach), address)
        const made = yield* source(address, { attach })
        const first = yield* pipeline(made)
        let sent = 0
        const flow = yield* Effect.promise(() => push.send(`${sent}`)).pipe(
          Effect.andThen(Effect.sync(() => sent++)),
          Effect.andThen(Effect.sleep("1 millis")),
          Effect.forever,
          Effect.forkChild
        )
        yield* until("the first", () => first.seen.length > 500)
        const before = sent
        yield* first.handle.drain()
        const [taken, after] = [first.seen.length, sent]
        assert.deepStrictEqual(first.texts(), numbers(0, taken))
        assert.strictEqual((yield* first.handle.status).acked, taken)
        assert.isAtLeast(taken, before, "what had been sent before the stop")
        const second = yield* pipeline(made)
        yield* until("more", () => second.seen.length > 500)
        yield* Fiber.interrupt(flow)
        yield* second.handle.drain()
        const [next] = second.texts().map(Number)
        // What was sent while it left: a few milliseconds, on a machine that is not busy.
        assert.isAtMost(next!, after + 100)
        assert.deepStrictEqual(second.texts(), numbers(next!, next! + second.seen.length))
      }).pipe(Effect.scoped, Effect.provide(layer))
    )

    it.live(`makes the sender wait while it is slow (${attach})`, () =>
      Effect.gen(function* () {
        const address = yield* free
        const push = yield* rawPush
        yield* attached(push, other(attach), address)
        const { handle, seen } = yield* pipeline(yield* source(address, { attach }), Effect.never)
        let sent = 0
        yield* Effect.promise(async () => {
          const body = new Uint8Array(100_000)
          push.sendTimeout = 1000
          try {
            for (; sent < 10_000; sent++) await push.send(body)
          } catch (error) {
            assert.strictEqual((error as { code?: string }).code, "EAGAIN")
          }
        })
        const { received } = yield* handle.status
        // Four at work, a buffer of 100 and one array beyond it; then the source's 64, the sender's 100, and TCP's buffers.
        assert.strictEqual(seen.length, 4)
        assert.isAtMost(received, 4 + 100 + 64)
        assert.isAtMost(sent, received + 64 + 100 + 200)
        // What the socket holds is handed over at the end, and buried: 64, or down to half of it, since libzmq tells its
        // peer of room in halves.
        yield* handle.drain(0)
        const after = yield* handle.status
        assert.isAtLeast(after.received, received + 32)
        assert.strictEqual(after.buried, after.received)
      }).pipe(Effect.scoped, Effect.provide(layer))
    )
  }

  it.live("publishes under topics to those that subscribed to them, in frames of their own or in one", () =>
    Effect.gen(function* () {
      const address = yield* free
      const made = yield* source(address, { socket: "sub", topics: ["orders", "bills"] })
      const { handle, seen } = yield* pipeline(made)
      const send = Effect.fnUntraced(function* (topic: string, frames: "multipart" | "single", body: string) {
        const pub = yield* publisher(address, { socket: "pub", joinMillis: 500, topic, frames })
        yield* pub.publish([PublisherSuite.outgoing(body)])
      })
      yield* send("orders.new", "multipart", '{"n":1}')
      yield* send("none", "multipart", '{"n":2}')
      yield* send("bills", "single", '{"n":3}')
      yield* send("nothing", "single", '{"n":4}')
      yield* send("orders", "single", "")
      yield* until("three messages", () => seen.length === 3)
      yield* Effect.sleep("200 millis")
      assert.deepStrictEqual(
        seen.map((envelope) => [envelope.headers.topic, Envelope.text(envelope)]),
        [
          ["orders.new", '{"n":1}'],
          ["bills", '{"n":3}'],
          ["orders", ""]
        ]
      )
      yield* handle.drain()
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.live("sends nothing to a peer whose CURVE keys do not fit, and all of it to one whose keys do", () =>
    Effect.gen(function* () {
      const server = Zmq.curveKeyPair()
      const client = Zmq.curveKeyPair()
      const address = yield* free
      const { handle, texts } = yield* pipeline(
        yield* source(address, { curve: { _tag: "Server", secretKey: Redacted.make(server.secretKey) } })
      )
      const refused = Effect.fnUntraced(function* (curve: SocketOptions["curve"], words: RegExp) {
        const push = yield* publisher(address, { curve, sendMillis: 500 })
        const error = yield* Effect.flip(push.publish([PublisherSuite.outgoing("wrong")]))
        assert.deepInclude(error, { presence: "unreachable", retryable: true })
        assert.match(error.reason, words)
        assert.notInclude(JSON.stringify(error), client.secretKey)
      })
      const secretKey = Redacted.make(client.secretKey)
      const serverKey = server.publicKey
      yield* refused(undefined, /no peer is there/)
      yield* refused({ _tag: "Client", serverKey: client.publicKey, secretKey }, /no peer is there/)
      yield* refused({ _tag: "Client", serverKey, publicKey: serverKey, secretKey }, /public CURVE key is not that/)
      for (const [i, curve] of [{ publicKey: client.publicKey, secretKey }, { secretKey }, {}].entries()) {
        const push = yield* publisher(address, { curve: { _tag: "Client", serverKey, ...curve } })
        yield* push.publish([PublisherSuite.outgoing(`${i}`)])
        yield* until("the message", () => texts().length === i + 1)
      }
      assert.deepStrictEqual(texts(), ["0", "1", "2"])
      yield* handle.drain()
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it("knows the public key of a secret one", () => {
    for (let i = 0; i < 50; i++) {
      const { publicKey, secretKey } = Zmq.curveKeyPair()
      assert.strictEqual(ZeroMqKeys.publicOf(secretKey), publicKey)
    }
  })

  it.live("goes on when its peer is back, on both sides", () =>
    Effect.gen(function* () {
      const address = yield* free
      const push = yield* publisher(address, { sendMillis: 300 })
      const run = (name: string) =>
        Effect.scoped(
          Effect.gen(function* () {
            const { handle, texts } = yield* pipeline(yield* source(address))
            yield* Effect.retry(push.publish([PublisherSuite.outgoing(name)]), { times: 20 })
            yield* until(name, () => texts().includes(name))
            yield* handle.drain()
          })
        )
      yield* run("first")
      const error = yield* Effect.flip(push.publish([PublisherSuite.outgoing("nobody")]))
      assert.strictEqual(error.presence, "unreachable")
      yield* run("second")

      const bound = yield* free
      const { handle, texts } = yield* pipeline(yield* source(bound, { attach: "connect" }))
      for (const name of ["a", "b"]) {
        const peer = new Zmq.Push({ linger: 0 })
        yield* attached(peer, "bind", bound)
        yield* Effect.promise(() => peer.send(name))
        yield* until(name, () => texts().includes(name))
        peer.close()
      }
      yield* handle.drain()
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.live("says that an address is taken or not ours", () =>
    Effect.gen(function* () {
      const pull = yield* rawPull
      const address = yield* free
      yield* attached(pull, "bind", address)
      const open = (address: string) => Effect.flatMap(source(address), (made) => Effect.flip(made.open))
      assert.match((yield* open(address)).message, /: cannot bind tcp:.*: Address already in use \(EADDRINUSE\)$/)
      assert.match((yield* open("tcp://192.0.2.1:5555")).message, /Cannot assign requested address/)
      assert.match((yield* open("ipc:///nowhere/x.sock")).message, /cannot bind ipc:/)
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.live("loses nothing to an interrupted receive", () =>
    Effect.gen(function* () {
      const address = yield* free
      const push = yield* rawPush
      push.connect(address)
      const { open } = yield* ZeroMq
      const pull = yield* open({
        kind: "pull",
        attach: "bind",
        addresses: [address],
        topics: [],
        highWaterMark: 10,
        messageMax: 1000,
        reconnect,
        sendMillis: 0,
        lingerMillis: 0
      })
      const got: Array<string> = []
      const sending = yield* Effect.forkChild(
        Effect.promise(async () => {
          for (const n of numbers(0, 3000)) {
            await push.send(n)
            if (Number(n) % 20 === 0) await new Promise((done) => setTimeout(done, 1))
          }
        })
      )
      while (got.length < 3000) {
        const taken = yield* Effect.timeoutOption(pull.receive(7), Math.floor(Math.random() * 3))
        if (taken._tag === "Some") got.push(...taken.value.map(([body]) => new TextDecoder().decode(body)))
      }
      assert.deepStrictEqual(got, numbers(0, 3000))
      yield* Fiber.join(sending)
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.live("turns away what is too large, and takes what comes after it", () =>
    Effect.gen(function* () {
      const address = yield* free
      const push = yield* rawPush
      push.connect(address)
      const { handle, texts } = yield* pipeline(yield* source(address, { maxMessageSize: 1024 }))
      yield* Effect.promise(() => push.send("x".repeat(1024)))
      yield* until("the one that fits", () => texts().length === 1)
      yield* Effect.promise(() => push.send("x".repeat(1025)))
      yield* Effect.sleep("200 millis")
      yield* Effect.promise(() => push.send("after"))
      yield* until("the one after it", () => texts().includes("after"))
      assert.strictEqual(texts().length, 2)
      yield* handle.drain()
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.live("takes all options for all kinds of sockets, and paths for addresses", () =>
    Effect.gen(function* () {
      const { open } = yield* ZeroMq
      const folder = yield* Effect.acquireRelease(
        Effect.sync(() => Program.folder()),
        ({ remove }) => Effect.sync(remove)
      )
      const all = (kind: SocketOptions["kind"], attach: SocketOptions["attach"], name: string) =>
        open({
          kind,
          attach,
          addresses: [`ipc://${folder.path}/${name}.sock`, `ipc://${folder.path}/${name}2.sock`],
          topics: kind === "sub" ? ["a", "b"] : [],
          highWaterMark: 10,
          messageMax: 1000,
          tcpBuffer: 65_536,
          reconnect,
          heartbeat: { intervalMillis: 50, timeoutMillis: 150 },
          sendMillis: 1000,
          lingerMillis: 100
        })
      const body = new TextEncoder().encode("b 1")
      for (const [from, to] of [
        ["push", "pull"],
        ["pub", "sub"]
      ] as const) {
        const receiver = yield* all(to, "bind", to)
        const sender = yield* all(from, "connect", to)
        // A SUB makes new peers' acquaintance only while it receives.
        const receiving = yield* Effect.forkChild(receiver.receive(1))
        yield* Effect.sleep("500 millis")
        yield* sender.send([body])
        const [frames] = yield* Fiber.join(receiving)
        assert.deepStrictEqual([...frames![0]!], [...body])
      }
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.live("speaks IPv6 where an address does", () =>
    Effect.gen(function* () {
      const made = yield* source("tcp://[::1]:*")
      const error = yield* Effect.flip(Effect.andThen(made.open, Effect.fail({ message: "bound" })))
      // A machine without IPv6 has no such address, but knows what is meant.
      assert.match(error.message, /bound|Cannot assign requested address|Address family not supported/)
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.live("gives the frames of a message as they came", () =>
    Effect.gen(function* () {
      const address = yield* free
      const push = yield* rawPush
      push.connect(address)
      const made = yield* source(address)
      const stream = yield* made.open
      yield* Effect.promise(() => push.send(["topic", "between", Buffer.from([0xff]), '{"n":1}']))
      const [delivery] = yield* Stream.runCollect(Stream.take(stream, 1))
      assert.deepStrictEqual(delivery!.envelope.headers, { topic: "topic", "frame-1": "between" })
      assert.strictEqual(Envelope.text(delivery!.envelope), '{"n":1}')
    }).pipe(Effect.scoped, Effect.provide(layer))
  )
})

describe("The program with ZeroMQ", () => {
  const config = `
pipelines:
  in:
    source: { type: zeromq, bind: "tcp://127.0.0.1:*" }
    publish: [{ type: stdout }]
`
  const start = async () => {
    const folder = Program.folder({ "config.yaml": config })
    const running = Program.start(folder.path, ["config.yaml"])
    const [, address] = await running.says(/bound to (tcp:\/\/127\.0\.0\.1:\d+)/)
    const push = new Zmq.Push({ linger: 0, sendTimeout: 5000 })
    push.connect(address!)
    return { running, push, folder }
  }

  it("ends on SIGTERM with all that was sent to it done, and does not hang", async () => {
    const { folder, push, running } = await start()
    for (let n = 0; n < 2000; n++) await push.send(`{"n":${n}}`)
    running.child.kill("SIGTERM")
    const signalled = performance.now()
    const ended = await running.ended
    push.close()
    folder.remove()
    assert.strictEqual(ended.code, 0, ended.stderr)
    assert.deepStrictEqual(
      Program.lines(ended.stdout),
      numbers(0, 2000).map((n) => `{"n":${n}}`)
    )
    assert.isBelow(performance.now() - signalled, 10_000)
  })

  it("ends on SIGTERM also while its publisher has what nobody takes", async () => {
    const folder = Program.folder({
      "config.yaml": `
pipelines:
  out:
    source: { type: generate }
    publish: [{ type: zeromq, connect: "tcp://127.0.0.1:9", sendTimeout: 200 millis }]
drain: 1 second
`
    })
    const running = Program.start(folder.path, ["config.yaml"])
    await running.says(/no peer is there/)
    running.child.kill("SIGTERM")
    const ended = await running.ended
    folder.remove()
    assert.strictEqual(ended.code, 0, ended.stderr)
  })

  it("loads the library only for a config with ZeroMQ", async () => {
    const probe =
      "process.on('exit',()=>console.error('addons:'+process.report.getReport().sharedObjects.filter(o=>o.includes('zeromq')).length))"
    const env = { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(probe)}` }
    const addons = async (publish: string) => {
      const source = "source: { type: generate, count: 1 }"
      const folder = Program.folder({ "config.yaml": `pipelines: { a: { ${source}, publish: [${publish}] } }` })
      const ended = await Program.run(folder.path, ["config.yaml"], { env })
      folder.remove()
      assert.strictEqual(ended.code, 0, ended.stderr)
      return ended.stderr.match(/addons:(\d+)/)?.[1]
    }
    assert.strictEqual(await addons("{ type: none }"), "0")
    assert.strictEqual(await addons("{ type: zeromq, socket: pub, join: 0 millis, bind: 'tcp://127.0.0.1:*' }"), "1")
  })

  it("warns once of peers without its keys, and shows no secret", async () => {
    const { publicKey, secretKey } = Zmq.curveKeyPair()
    const folder = Program.folder({
      "config.yaml": `
pipelines:
  in:
    source: { type: zeromq, bind: "tcp://127.0.0.1:*", curve: { server: true, secretKey: "\${SECRET}" } }
    publish: [{ type: stdout }]
`
    })
    const running = Program.start(folder.path, ["config.yaml"], { env: { SECRET: secretKey } })
    const [, address] = await running.says(/bound to (tcp:\/\/127\.0\.0\.1:\d+)/)
    const plain = new Zmq.Push({ linger: 0, immediate: true, reconnectInterval: 10 })
    plain.connect(address!)
    await running.says(/handshake failed: CURVE keys do not fit, or only one side has them/)
    const push = new Zmq.Push({ linger: 0 })
    push.curveServerKey = publicKey
    const pair = Zmq.curveKeyPair()
    push.curvePublicKey = pair.publicKey
    push.curveSecretKey = pair.secretKey
    push.connect(address!)
    await push.send('"welcome"')
    while (running.stdout() === "") await new Promise((look) => setTimeout(look, 20))
    plain.close()
    push.close()
    running.child.kill("SIGTERM")
    const ended = await running.ended
    folder.remove()
    assert.strictEqual(ended.code, 0, ended.stderr)
    assert.strictEqual(ended.stdout, '"welcome"\n')
    assert.notInclude(ended.stderr, secretKey)
    assert.isAtMost(ended.stderr.match(/handshake failed/g)!.length, 2)
  })
})
