/** What is asked of ZeroMQ: a socket of one kind, what it receives, and that it takes what is sent. */
import { Context, type Effect, type Redacted, Schema, type Scope } from "effect"

/**
 * away: nobody is there, or nobody takes more just now · address: it is taken, or not one this machine has · refused:
 * options, keys or permissions do not allow it · closed: the socket is gone.
 */
export const Trouble = Schema.Literals(["away", "address", "refused", "closed"])
export type Trouble = typeof Trouble.Type

/** A socket could not be opened, or does not take or give messages. */
export class ZeroMqError extends Schema.TaggedError<ZeroMqError>()("ZeroMqError", {
  trouble: Trouble,
  /** One sentence, with the library's words. */
  reason: Schema.String,
  cause: Schema.optionalKey(Schema.Defect())
}) {
  override get message(): string {
    return this.reason
  }
}

/** The parts of a message, at least one; each may be empty. */
export type Frames = ReadonlyArray<Uint8Array>

/** CURVE keys. Units: Z85 text of 40 characters. */
export type Curve =
  /** Without a public key the secret's own; without either a pair that is made for this socket alone. */
  | {
      readonly _tag: "Client"
      readonly serverKey: string
      readonly publicKey?: string | undefined
      readonly secretKey?: Redacted.Redacted<string> | undefined
    }
  | {
      readonly _tag: "Server"
      readonly publicKey?: string | undefined
      readonly secretKey: Redacted.Redacted<string>
    }

export interface SocketOptions {
  readonly kind: "sub" | "pull" | "pub" | "push"
  readonly attach: "bind" | "connect"
  /** Such as `tcp://127.0.0.1:5555`; bound with port `*`, it gets a free one. At least one. */
  readonly addresses: ReadonlyArray<string>
  /** What a SUB subscribes to: beginnings of the first frame. */
  readonly topics: ReadonlyArray<string>
  /** Units: messages per peer that the library holds, on the way in or out. */
  readonly highWaterMark: number
  /** Units: bytes of one frame; a peer that sends more is disconnected. */
  readonly messageMax: number
  /** Units: bytes of the system's TCP buffer, on the way in or out; absent means the system's own choice. */
  readonly tcpBuffer?: number | undefined
  readonly curve?: Curve | undefined
  /** Units: milliseconds between two tries, doubled from the first to the second. */
  readonly reconnect: { readonly minMillis: number; readonly maxMillis: number }
  /** Units: milliseconds; absent means none besides TCP's own. */
  readonly heartbeat?: { readonly intervalMillis: number; readonly timeoutMillis: number } | undefined
  /** How long a send waits, and how long what was sent may still leave after the end. Units: milliseconds. */
  readonly sendMillis: number
  readonly lingerMillis: number
}

/**
 * A socket that is bound or connecting; it reconnects by itself.
 *
 * Source: https://rfc.zeromq.org/spec/29/ (publish-subscribe), https://rfc.zeromq.org/spec/30/ (pipeline)
 */
export interface Socket {
  /** Where it is bound, with the port it got, or what it connects to. */
  readonly addresses: ReadonlyArray<string>
  /**
   * Waits for a message, and takes with it what else is there. What an interrupted call would have taken is not lost:
   * the next call has it.
   *
   * Units: 1 to `max` messages, about 1 MiB or a single larger message. Only one call at a time.
   */
  readonly receive: (max: number) => Effect.Effect<ReadonlyArray<Frames>, ZeroMqError>
  /** Whether the next `receive` need not wait. */
  readonly waiting: Effect.Effect<boolean>
  /**
   * Hands a message to the library, after all before it.
   *
   * PUSH: the message then waits for one peer, in its queue or on its way. PUB: for all peers that want it and have room;
   * it never fails with `away`. Fails: `ZeroMqError`, `away` after `sendMillis` without a peer that has room.
   */
  readonly send: (message: Frames) => Effect.Effect<void, ZeroMqError>
  /**
   * Takes leave of all peers. What a bound socket has received by then can still be received; what a connected one has
   * received is gone, and so is what the system holds for either.
   */
  readonly leave: Effect.Effect<void>
}

export class ZeroMq extends Context.Service<
  ZeroMq,
  {
    /** A connection that is refused is tried again without end; the socket is closed with the scope. */
    readonly open: (options: SocketOptions) => Effect.Effect<Socket, ZeroMqError, Scope.Scope>
  }
>()("sluice/services/ZeroMq") {}
