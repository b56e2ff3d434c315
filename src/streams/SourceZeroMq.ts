/** Receives from a ZeroMQ socket no more than the pipeline takes; what it has taken nobody can give again. */
import { Cause, Clock, Deferred, Effect, Exit, Option, Schema, Scope, Stream } from "effect"
import * as Component from "../services/Component.ts"
import type { Delivery } from "../services/Delivery.ts"
import * as Fields from "../services/Fields.ts"
import { type Source, SourceError } from "../services/Source.ts"
import { type Frames, type Socket, ZeroMq, type ZeroMqError } from "../services/ZeroMq.ts"
import * as ZeroMqConnection from "../services/ZeroMqConnection.ts"
import * as ZeroMqFrames from "./ZeroMqFrames.ts"
import * as ZeroMqOptions from "./ZeroMqOptions.ts"

export interface Options extends ZeroMqOptions.Meeting {
  readonly socket: "pull" | "sub"
  /** Beginnings of topics, for `sub`; absent means all. */
  readonly topics?: ReadonlyArray<string> | undefined
  /** Units: messages per peer; 64 for `pull`, 1,000 for `sub`. */
  readonly receiveHighWaterMark?: number | undefined
  /** Units: bytes of one frame; 16 MiB by default. */
  readonly maxMessageSize?: number | undefined
  /** Units: bytes of the system's TCP buffer. */
  readonly tcpBuffer?: number | undefined
  /**
   * Whether a single frame begins with its topic; by default that of a `sub` does, and that of a `pull` only where an
   * object or an array follows.
   */
  readonly split?: boolean | undefined
}

/** Units: messages in one array. */
const arrayMax = 64
/** Units: bytes. */
const messageMaxDefault = 16 * 1024 * 1024
/**
 * A PULL socket that stops first takes what is on its way, since its peers will not send that again: until nothing has
 * come for so long, or from then on until nothing is there, or at the latest then. Units: milliseconds.
 */
const quietMillis = 20
const patienceMillis = 1_000
const stopMillis = 2_000
/** What is left after taking leave is there at once, but for a turn or two of the library. Units: milliseconds. */
const restMillis = 50

export const make: (options: Options) => Effect.Effect<Source, never, Scope.Scope | ZeroMq> = Effect.fnUntraced(
  function* (options: Options) {
    const zeroMq = yield* ZeroMq
    const home = yield* Effect.scope
    const name = ZeroMqOptions.nameOf(options)
    // The socket outlives an opening: a pipeline that is restarted finds what was received for it.
    let connected: Connected | undefined
    let opened: Opening | undefined
    const connect = Effect.gen(function* () {
      if (connected?.usable === true) return connected.socket
      if (connected !== undefined) yield* Scope.close(connected.scope, Exit.void)
      const scope = yield* Scope.fork(home)
      const socket = yield* zeroMq.open(socketOptions(options)).pipe(
        Scope.provide(scope),
        Effect.onError(() => Scope.close(scope, Exit.void))
      )
      connected = { socket, scope, usable: true }
      yield* Effect.logInfo(`${name}: ${options.attach === "bind" ? "bound to" : "connecting to"} ${socket.addresses}`)
      return socket
    }).pipe(Effect.uninterruptible)
    const source: Source = {
      name,
      redelivers: false,
      answers: false,
      stop: Effect.suspend(() => {
        if (connected !== undefined) connected.usable = false
        return opened?.stop ?? Effect.void
      }),
      open: Effect.gen(function* () {
        const socket = yield* connect
        const stopped = yield* Deferred.make<void>()
        const opening = new Opening(options, name, socket, stopped)
        opened = opening
        return Stream.fromPull(Effect.succeed(opening.pull)).pipe(
          Stream.catch((error) => {
            if (connected?.socket === socket) connected.usable = false
            return Stream.fail(error)
          })
        )
      }).pipe(Effect.mapError((error) => sourceError(name, error)))
    }
    return source
  }
)

interface Connected {
  readonly socket: Socket
  readonly scope: Scope.Closeable
  /** False once it has taken leave or failed: then the next opening has a socket of its own. */
  usable: boolean
}

type Deliveries = readonly [Delivery, ...Array<Delivery>]

/** One opening: receives as it is asked, and once it is stopped hands out the rest. */
class Opening {
  readonly stop: Effect.Effect<void>
  readonly pull: Effect.Effect<Deliveries, SourceError | Cause.Done>
  private readonly options: Options
  private readonly socket: Socket
  private stoppedAt: number | undefined
  private left = false

  constructor(options: Options, name: string, socket: Socket, stopped: Deferred.Deferred<void>) {
    this.options = options
    this.socket = socket
    const split = splitOf(options)
    this.stop = Effect.flatMap(Clock.currentTimeMillis, (now) => {
      this.stoppedAt ??= now
      return Effect.asVoid(Deferred.succeed(stopped, undefined))
    })
    const stopping = Effect.as(Deferred.await(stopped), nothing)
    this.pull = Effect.suspend(() =>
      this.stoppedAt === undefined ? Effect.raceFirst(this.socket.receive(arrayMax), stopping) : Effect.succeed(nothing)
    ).pipe(
      Effect.filterOrElse(
        (taken) => taken.length > 0,
        () => this.rest
      ),
      Effect.mapError((error) => (Cause.isDone(error) ? error : sourceError(name, error))),
      Effect.flatMap((taken) =>
        Effect.map(
          Clock.currentTimeMillis,
          (now) => taken.map((frames) => deliveryOf(name, frames, split, now)) as unknown as Deliveries
        )
      )
    )
  }

  private get rest(): Effect.Effect<ReadonlyArray<Frames>, ZeroMqError | Cause.Done> {
    return Effect.gen({ self: this }, function* () {
      if (!this.left) {
        const elapsed = (yield* Clock.currentTimeMillis) - this.stoppedAt!
        const patient = this.options.socket === "pull" && elapsed < stopMillis
        const taken = yield* this.soon(patient && elapsed < patienceMillis ? quietMillis : 0)
        if (patient && taken.length > 0) return taken
        // What a socket that connected has received goes with its leave: so it is taken before, in one go.
        const all = [...taken, ...(yield* this.there)]
        this.left = true
        yield* this.socket.leave
        if (all.length > 0) return all
      }
      const taken = yield* this.soon(restMillis)
      return taken.length > 0 ? taken : yield* Cause.done()
    })
  }

  /** What comes within this time; nothing when nothing does. The loop may have been too busy to see it: so look again. */
  private soon(millis: number): Effect.Effect<ReadonlyArray<Frames>, ZeroMqError> {
    const { receive, waiting } = this.socket
    const within = millis === 0 ? Effect.succeedNone : Effect.timeoutOption(receive(arrayMax), millis)
    return Effect.flatMap(within, (taken) =>
      Option.isSome(taken)
        ? Effect.succeed(taken.value)
        : Effect.flatMap(waiting, (some) => (some ? receive(arrayMax) : Effect.succeed(nothing)))
    )
  }

  /** What is there now, and no more than the socket holds, however fast its peers are. */
  private get there(): Effect.Effect<ReadonlyArray<Frames>, ZeroMqError> {
    return Effect.gen({ self: this }, function* () {
      const all: Array<Frames> = []
      const max = highWaterMark(this.options)
      while (all.length < max && (yield* this.socket.waiting)) all.push(...(yield* this.socket.receive(arrayMax)))
      return all
    })
  }
}

const nothing: ReadonlyArray<Frames> = []

export const component = Component.source({
  type: "zeromq",
  summary:
    "Messages of a ZeroMQ PULL or SUB socket; PULL takes no more than the pipeline can hold, SUB loses what it cannot take.",
  options: Schema.Struct({
    socket: Fields.orElse(Schema.Literals(["pull", "sub"]), "pull"),
    ...ZeroMqConnection.fields,
    topics: Schema.optionalKey(Schema.Union([Schema.NonEmptyArray(Schema.String), Schema.String])),
    split: Schema.optionalKey(Fields.Boolean),
    receiveHighWaterMark: Schema.optionalKey(Fields.int(1, 1_000_000)),
    maxMessageSize: Schema.optionalKey(Fields.Bytes),
    tcpBuffer: Schema.optionalKey(Fields.Bytes)
  }),
  make: (options, { folder }) => {
    const { socket, topics } = options
    const problems =
      socket === "sub" || topics === undefined
        ? []
        : [{ path: ["topics"], expected: "no topics, which are for socket: sub", found: topics }]
    return Effect.flatMap(ZeroMqOptions.meetingOf(options, folder, problems), (meeting) =>
      make({ ...options, ...meeting, topics: typeof topics === "string" ? [topics] : topics })
    )
  }
})

const splitOf = ({ socket, split }: Options): ZeroMqFrames.Split =>
  split === undefined ? (socket === "sub" ? "always" : "json") : split ? "always" : "never"

const highWaterMark = ({ receiveHighWaterMark, socket }: Options): number =>
  receiveHighWaterMark ?? (socket === "pull" ? 64 : 1_000)

const socketOptions = (options: Options) => ({
  ...options,
  kind: options.socket,
  topics: options.socket === "sub" ? (options.topics ?? [""]) : [],
  highWaterMark: highWaterMark(options),
  messageMax: options.maxMessageSize ?? messageMaxDefault,
  // Nothing is sent.
  sendMillis: 0,
  lingerMillis: 0
})

const deliveryOf = (source: string, frames: Frames, split: ZeroMqFrames.Split, receivedAt: number): Delivery => {
  const { body, headers } = ZeroMqFrames.read(frames, split)
  return {
    envelope: { id: crypto.randomUUID(), source, key: undefined, headers, payload: body, receivedAt, attempt: 1 },
    // Its sender has forgotten it, whatever becomes of it.
    settle: () => {}
  }
}

/** A taken address may be free again soon; keys and permissions do not change by themselves. */
const sourceError = (source: string, cause: ZeroMqError): SourceError =>
  new SourceError({ source, reason: cause.reason, away: cause.trouble !== "refused", cause })
