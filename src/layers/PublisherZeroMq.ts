/** Sends to a ZeroMQ socket: PUSH to one peer that is there, PUB to all that listen. */
import { Duration, Effect, Exit, Schema, Scope, Semaphore } from "effect"
import * as Component from "../services/Component.ts"
import * as Fields from "../services/Fields.ts"
import { type Outgoing, PublishError, type Publisher } from "../services/Publisher.ts"
import { type Frames, type Socket, ZeroMq, type ZeroMqError } from "../services/ZeroMq.ts"
import * as ZeroMqConnection from "../services/ZeroMqConnection.ts"
import * as ZeroMqOptions from "../streams/ZeroMqOptions.ts"

export interface Options extends ZeroMqOptions.Meeting {
  readonly socket: "push" | "pub"
  /** Absent means no topic frame. */
  readonly topic?: string | undefined
  /** multipart: the topic is a frame of its own · single: one frame with topic, space and body. */
  readonly frames?: "multipart" | "single" | undefined
  /** Units: messages per peer; 64 for `push`, 1,000 for `pub`. */
  readonly sendHighWaterMark?: number | undefined
  /** Units: milliseconds. How long a PUSH waits for a peer that has room. */
  readonly sendMillis: number
  /** Units: milliseconds. How long what was sent may still leave after the end. */
  readonly lingerMillis: number
  /** Units: milliseconds from the opening to the first message, in which a PUB's subscribers can come. */
  readonly joinMillis?: number | undefined
  /** Units: bytes of the system's TCP buffer. */
  readonly tcpBuffer?: number | undefined
}

/** Units: messages in one call. */
const batchMax = 100
/** Units: bytes of a frame that a peer may send here, where nothing is received. */
const messageMax = 64 * 1024

export const make: (options: Options) => Effect.Effect<Publisher, never, Scope.Scope | ZeroMq> = Effect.fnUntraced(
  function* (options: Options) {
    const zeroMq = yield* ZeroMq
    const home = yield* Effect.scope
    const name = ZeroMqOptions.nameOf(options)
    let socket: Socket | undefined
    let joined = options.socket === "push"
    const opened = Effect.gen(function* () {
      if (socket !== undefined) return socket
      const scope = yield* Scope.fork(home)
      socket = yield* zeroMq.open(socketOptions(options)).pipe(
        Scope.provide(scope),
        Effect.onError(() => Scope.close(scope, Exit.void))
      )
      const { addresses } = socket
      yield* Effect.logInfo(`${name}: ${options.attach === "bind" ? "bound to" : "connecting to"} ${addresses}`)
      return socket
    }).pipe(Effect.uninterruptible)
    const frames = framing(options)
    // What a call that failed or was given up has sent already is not sent again when its rest is.
    const done = new WeakSet<Outgoing>()
    const one = yield* Semaphore.make(1)
    const publisher: Publisher = {
      name,
      batchMax,
      inFlightMax: 1,
      publish: (batch) =>
        Effect.gen(function* () {
          const socket = yield* opened
          if (!joined) yield* Effect.sleep(options.joinMillis ?? 0)
          joined = true
          for (const outgoing of batch) {
            if (done.has(outgoing)) continue
            yield* socket.send(frames(outgoing.value))
            done.add(outgoing)
          }
        }).pipe(
          Semaphore.withPermits(one, 1),
          Effect.mapError((error) => publishError(name, error))
        )
    }
    return publisher
  }
)

export const component = Component.publisher({
  type: "zeromq",
  summary: "A ZeroMQ PUSH socket, which waits for a peer that has room, or PUB, which sends to whoever listens.",
  options: Schema.Struct({
    socket: Fields.orElse(Schema.Literals(["push", "pub"]), "push"),
    ...ZeroMqConnection.fields,
    topic: Schema.optionalKey(Fields.Text),
    frames: Fields.orElse(Schema.Literals(["multipart", "single"]), "multipart"),
    sendHighWaterMark: Schema.optionalKey(Fields.int(1, 1_000_000)),
    sendTimeout: Fields.orElse(Fields.Duration, Duration.seconds(5)),
    linger: Fields.orElse(Fields.Duration, Duration.seconds(2)),
    /** From the opening of a PUB to its first message. */
    join: Fields.orElse(Fields.Duration, Duration.millis(500)),
    tcpBuffer: Schema.optionalKey(Fields.Bytes)
  }),
  make: ({ join, linger, sendTimeout, ...options }, { folder }) => {
    const { frames, topic } = options
    const problems: ReadonlyArray<Component.Problem> =
      frames === "single" && topic !== undefined && /[ {[]/.test(topic)
        ? [{ path: ["topic"], expected: "a topic without spaces, { and [, since frames: single", found: topic }]
        : []
    return Effect.flatMap(ZeroMqOptions.meetingOf(options, folder, problems), (meeting) =>
      make({
        ...options,
        ...meeting,
        sendMillis: Duration.toMillis(sendTimeout),
        lingerMillis: Duration.toMillis(linger),
        joinMillis: Duration.toMillis(join)
      })
    )
  }
})

const socketOptions = (options: Options) => ({
  ...options,
  kind: options.socket,
  topics: [],
  highWaterMark: options.sendHighWaterMark ?? (options.socket === "push" ? 64 : 1_000),
  messageMax
})

const utf8 = new TextEncoder()

const framing = ({ frames, topic }: Options): ((value: Uint8Array) => Frames) => {
  if (topic === undefined) return (value) => [value]
  if (frames !== "single") {
    const first = utf8.encode(topic)
    return (value) => [first, value]
  }
  const front = utf8.encode(`${topic} `)
  return (value) => {
    const frame = new Uint8Array(front.length + value.length)
    frame.set(front)
    frame.set(value, front.length)
    return [frame]
  }
}

/** Nothing of it is a message's fault: also wrong keys or a taken address are waited for, as an outage. */
const publishError = (name: string, cause: ZeroMqError): PublishError =>
  new PublishError({ reason: `${name}: ${cause.reason}`, presence: "unreachable", retryable: true, cause })
