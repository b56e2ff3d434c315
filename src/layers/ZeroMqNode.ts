/** ZeroMQ by the `zeromq` package, which is loaded when the first socket is opened. */
import { Effect, Layer, Redacted, type Scope } from "effect"
import type * as Vendor from "zeromq"
import { type Frames, type Socket, type SocketOptions, ZeroMq, ZeroMqError } from "../services/ZeroMq.ts"
import * as ZeroMqKeys from "./ZeroMqKeys.ts"

type Receiver = Vendor.Pull | Vendor.Subscriber
type Sender = Vendor.Push | Vendor.Publisher

/** Units: bytes. What one call takes before it is content. */
const receiveBytesMax = 1024 * 1024
/** Units: seconds. TCP's own search for dead peers, with three probes. */
const keepaliveIdle = 30
const keepaliveInterval = 10

const open = Effect.fnUntraced(function* (options: SocketOptions): Effect.fn.Return<Socket, ZeroMqError, Scope.Scope> {
  const zmq = yield* Effect.tryPromise({
    try: () => import("zeromq"),
    catch: (cause) => errorOf(cause, "refused", "the zeromq package cannot be loaded here")
  })
  const socket = yield* Effect.acquireRelease(
    Effect.sync(() => create(zmq, options.kind)),
    (socket) => Effect.sync(() => socket.close())
  )
  yield* Effect.try({
    try: () => assign(zmq, socket, options),
    catch: (cause) =>
      cause instanceof ZeroMqError ? cause : errorOf(cause, "refused", `a ${options.kind} socket takes no such options`)
  })
  yield* warnings(socket, options)
  const addresses: Array<string> = []
  for (const address of options.addresses) {
    yield* Effect.tryPromise({
      try: async () => {
        if (options.attach === "bind") await socket.bind(address)
        else socket.connect(address)
      },
      catch: (cause) => attachError(cause, options.attach, address)
    })
    addresses.push(options.attach === "bind" ? (socket.lastEndpoint ?? address) : address)
  }
  const leave = Effect.promise(async () => {
    for (const address of addresses.splice(0)) {
      try {
        if (options.attach === "bind") await socket.unbind(address)
        else socket.disconnect(address)
      } catch {
        // It is not there any more, which is what was wanted.
      }
    }
  })
  return { addresses: [...addresses], leave, ...receiving(socket as Receiver), ...sending(socket as Sender) }
})

export const layer: Layer.Layer<ZeroMq> = Layer.succeed(ZeroMq, { open })

/** Without options: a constructor that throws at one leaves a socket behind that crashes the process at its end. */
const create = (zmq: typeof Vendor, kind: SocketOptions["kind"]): Receiver | Sender => {
  switch (kind) {
    case "sub":
      return new zmq.Subscriber()
    case "pull":
      return new zmq.Pull()
    case "pub":
      return new zmq.Publisher()
    case "push":
      return new zmq.Push()
  }
}

/** All of it before the first bind or connect: later it would not count. */
const assign = (zmq: typeof Vendor, socket: Receiver | Sender, options: SocketOptions): void => {
  const { heartbeat, kind, reconnect, tcpBuffer } = options
  const inbound = kind === "sub" || kind === "pull"
  Object.assign(socket, {
    linger: options.lingerMillis,
    maxMessageSize: options.messageMax,
    // Not always: a machine without IPv6 could then not bind at all.
    ipv6: options.addresses.some((address) => address.includes("[")),
    reconnectInterval: reconnect.minMillis,
    reconnectMaxInterval: reconnect.maxMillis,
    tcpKeepalive: 1,
    tcpKeepaliveIdle: keepaliveIdle,
    tcpKeepaliveInterval: keepaliveInterval,
    tcpKeepaliveCount: 3,
    ...(heartbeat && { heartbeatInterval: heartbeat.intervalMillis, heartbeatTimeout: heartbeat.timeoutMillis }),
    ...(inbound
      ? { receiveHighWaterMark: options.highWaterMark }
      : { sendHighWaterMark: options.highWaterMark, sendTimeout: options.sendMillis }),
    ...(tcpBuffer && (inbound ? { receiveBufferSize: tcpBuffer } : { sendBufferSize: tcpBuffer })),
    // Only a peer that is there gets messages: otherwise they would count as sent before there is anybody.
    ...(kind === "push" && { immediate: true })
  })
  if (options.curve !== undefined) Object.assign(socket, curveOf(zmq, options.curve))
  if (kind === "sub") (socket as Vendor.Subscriber).subscribe(...options.topics)
}

const curveOf = (zmq: typeof Vendor, curve: NonNullable<SocketOptions["curve"]>) => {
  const secretKey = curve.secretKey && Redacted.value(curve.secretKey)
  const publicKey = secretKey && ZeroMqKeys.publicOf(secretKey)
  if (curve.publicKey !== undefined && curve.publicKey !== publicKey) {
    throw new ZeroMqError({ trouble: "refused", reason: "the public CURVE key is not that of the secret one" })
  }
  if (curve._tag === "Server") return { curveServer: true, curvePublicKey: publicKey, curveSecretKey: secretKey }
  const pair = secretKey === undefined ? zmq.curveKeyPair() : { publicKey, secretKey }
  return { curveServerKey: curve.serverKey, curvePublicKey: pair.publicKey, curveSecretKey: pair.secretKey }
}

const receiving = (socket: Receiver): Pick<Socket, "receive" | "waiting"> => {
  const hand: Array<Frames> = []
  let failed: unknown
  let busy = false
  let wake: (() => void) | undefined
  // A call of the library cannot be taken back: there is one at a time, and what it brings is for whoever asks next.
  const fill = async (max: number): Promise<void> => {
    busy = true
    try {
      let bytes = 0
      do {
        const frames = await socket.receive()
        hand.push(frames)
        bytes += sizeOf(frames)
      } while (hand.length < max && bytes < receiveBytesMax && !socket.closed && socket.readable)
    } catch (cause) {
      failed = cause
    }
    busy = false
    wake?.()
  }
  const filled = (max: number) =>
    Effect.callback<void>((resume) => {
      wake = () => resume(Effect.void)
      if (!busy) void fill(max)
      return Effect.sync(() => {
        wake = undefined
      })
    })
  const here = () => !busy && (hand.length > 0 || failed !== undefined)
  return {
    receive: (max) =>
      Effect.flatMap(
        Effect.suspend(() => (here() ? Effect.void : filled(max))),
        () => {
          const taken = hand.splice(0, max)
          return taken.length > 0 ? Effect.succeed(taken) : Effect.fail(errorOf(failed, "closed", "cannot receive"))
        }
      ),
    waiting: Effect.sync(() => hand.length > 0 || (!socket.closed && socket.readable))
  }
}

const sending = (socket: Sender): Pick<Socket, "send"> => {
  // The library forbids two sends at the same time, and cannot take one back whose caller is gone.
  let last: Promise<unknown> = Promise.resolve()
  return {
    send: (message) =>
      Effect.callback<void, ZeroMqError>((resume) => {
        let wanted = true
        const sent = last.then(() => (wanted ? socket.send(message as Array<Uint8Array>) : undefined))
        last = sent.then(
          () => resume(Effect.void),
          (cause) =>
            resume(
              Effect.fail(
                socket.closed
                  ? errorOf(cause, "closed", "the socket is closed")
                  : errorOf(cause, "away", "no peer is there, or none takes more")
              )
            )
        )
        return Effect.sync(() => {
          wanted = false
        })
      })
  }
}

/** A peer that is turned away, or turns us away, is told of once, and again only after one that was welcome. */
const warnings = Effect.fnUntraced(function* (socket: Receiver | Sender, { addresses, kind }: SocketOptions) {
  const fork = Effect.runForkWith(yield* Effect.context<never>())
  let told = false
  const warn = (words: string) => () => {
    if (told) return
    told = true
    fork(Effect.logWarning(`zeromq ${kind} ${addresses.join(", ")}: ${words}`))
  }
  const { events } = socket
  const keys = "a peer's handshake failed: CURVE keys do not fit, or only one side has them"
  events.on("handshake:error:protocol", warn(keys))
  events.on("handshake:error:auth", warn(keys))
  events.on("handshake:error:other", warn("a peer broke off its handshake; its CURVE server key may not be ours"))
  events.on("handshake", () => {
    told = false
  })
})

const sizeOf = (frames: Frames): number => frames.reduce((sum, frame) => sum + frame.length, 0)

const wordsOf = (cause: unknown): string => {
  if (!(cause instanceof Error)) return String(cause)
  const code = "code" in cause ? ` (${cause.code})` : ""
  return `${cause.message}${code}`
}

const errorOf = (cause: unknown, trouble: ZeroMqError["trouble"], what: string): ZeroMqError =>
  new ZeroMqError({ trouble, reason: cause === undefined ? what : `${what}: ${wordsOf(cause)}`, cause })

const attachError = (cause: unknown, attach: SocketOptions["attach"], address: string): ZeroMqError => {
  const code = cause instanceof Error && "code" in cause ? cause.code : undefined
  return errorOf(cause, code === "EACCES" || code === "EPERM" ? "refused" : "address", `cannot ${attach} ${address}`)
}
