/** ZeroMQ in memory, under the test clock: PUSH and PULL, PUB and SUB, high-water marks, and what gets lost. */
import { Effect, Layer, Queue } from "effect"
import { type Frames, type Socket, type SocketOptions, ZeroMq, ZeroMqError } from "../services/ZeroMq.ts"

/**
 * A network of its own. Keys are not looked at. What lies between two sockets is one queue of both high-water marks, as
 * between two sockets of a process; so it belongs to the receiver, and a sender that closes takes nothing back.
 */
export const layer: Layer.Layer<ZeroMq> = Layer.sync(ZeroMq, () => {
  const network = new Network()
  return {
    open: (options) =>
      Effect.acquireRelease(
        Effect.suspend(() => network.attach(new Node(network, options))),
        (node) => Effect.sync(() => network.detach(node, true))
      )
  }
})

interface Pipe {
  readonly from: Node
  readonly to: Node
  readonly messages: Array<Frames>
  readonly max: number
}

const matches = { sub: "pub", pull: "push", pub: "sub", push: "pull" } as const

class Network {
  readonly bound = new Map<string, Node>()
  readonly connected = new Set<Node>()
  pipes: Array<Pipe> = []
  private port = 49_152
  private readonly waiting = new Set<Queue.Enqueue<void>>()

  attach(node: Node): Effect.Effect<Node, ZeroMqError> {
    if (node.options.attach === "connect") {
      node.addresses.push(...node.options.addresses)
      this.connected.add(node)
      for (const address of node.addresses) this.join(node, this.bound.get(address))
    } else {
      for (const given of node.options.addresses) {
        const address = given.endsWith(":*") ? `${given.slice(0, -1)}${this.port++}` : given
        if (this.bound.has(address)) {
          this.detach(node, true)
          const reason = `cannot bind ${address}: Address already in use (EADDRINUSE)`
          return Effect.fail(new ZeroMqError({ trouble: "address", reason }))
        }
        this.bound.set(address, node)
        node.addresses.push(address)
        for (const peer of this.connected) if (peer.addresses.includes(address)) this.join(peer, node)
      }
    }
    this.changed()
    return Effect.succeed(node)
  }

  /** What a bound receiver has stays with it until it is closed; what a connected one has is gone. */
  detach(node: Node, closed: boolean): void {
    for (const address of node.addresses) if (this.bound.get(address) === node) this.bound.delete(address)
    this.connected.delete(node)
    const keep = !closed && node.options.attach === "bind"
    for (const { from, messages, to } of this.pipes) {
      if (from === node || (to === node && keep)) to.left.push(...messages)
    }
    if (!keep) node.left.length = 0
    this.pipes = this.pipes.filter(({ from, to }) => from !== node && to !== node)
    node.addresses.length = 0
    node.closed ||= closed
    this.changed()
  }

  changed(): void {
    for (const queue of this.waiting) Queue.offerUnsafe(queue, undefined)
  }

  /** Tries again after each change in the network, until there is an answer. */
  until<A, E>(look: () => Effect.Effect<A, E> | undefined): Effect.Effect<A, E> {
    return Effect.suspend(() => {
      const found = look()
      if (found !== undefined) return found
      return Effect.flatMap(Queue.sliding<void>(1), (changes) => {
        this.waiting.add(changes)
        const again: Effect.Effect<A, E> = Effect.flatMap(Queue.take(changes), () => look() ?? again)
        return Effect.ensuring(
          again,
          Effect.sync(() => this.waiting.delete(changes))
        )
      })
    })
  }

  private join(one: Node, other: Node | undefined): void {
    if (other === undefined || matches[one.options.kind] !== other.options.kind) return
    const [from, to] = one.sends ? [one, other] : [other, one]
    this.pipes.push({ from, to, messages: [], max: from.options.highWaterMark + to.options.highWaterMark })
  }
}

class Node implements Socket {
  readonly addresses: Array<string> = []
  /** What was received of peers that are gone, or before taking leave of them. */
  readonly left: Array<Frames> = []
  closed = false
  private turn = 0
  readonly options: SocketOptions
  private readonly network: Network

  constructor(network: Network, options: SocketOptions) {
    this.network = network
    this.options = options
  }

  get sends(): boolean {
    return this.options.kind === "pub" || this.options.kind === "push"
  }

  get leave(): Effect.Effect<void> {
    return Effect.sync(() => this.network.detach(this, false))
  }

  get waiting(): Effect.Effect<boolean> {
    return Effect.sync(() => this.left.length > 0 || this.inbound.some(({ messages }) => messages.length > 0))
  }

  readonly receive = (max: number): Effect.Effect<ReadonlyArray<Frames>, ZeroMqError> =>
    this.network.until(() => {
      if (this.closed) return Effect.fail(gone)
      const taken = this.left.splice(0, max)
      for (const { messages } of this.inbound) taken.push(...messages.splice(0, max - taken.length))
      if (taken.length === 0) return undefined
      this.network.changed()
      return Effect.succeed(taken)
    })

  readonly send = (message: Frames): Effect.Effect<void, ZeroMqError> => {
    if (this.closed) return Effect.fail(gone)
    return this.options.kind === "pub" ? Effect.sync(() => this.broadcast(message)) : this.pass(message)
  }

  private get inbound(): ReadonlyArray<Pipe> {
    return this.network.pipes.filter(({ to }) => to === this)
  }

  private get outbound(): ReadonlyArray<Pipe> {
    return this.network.pipes.filter(({ from }) => from === this)
  }

  private broadcast(message: Frames): void {
    for (const { max, messages, to } of this.outbound) {
      const wanted = to.options.topics.some((topic) => begins(message[0]!, utf8.encode(topic)))
      if (wanted && messages.length < max) messages.push(message)
    }
    this.network.changed()
  }

  private pass(message: Frames): Effect.Effect<void, ZeroMqError> {
    return this.network
      .until(() => {
        if (this.closed) return Effect.fail(gone)
        const open = this.outbound.filter(({ max, messages }) => messages.length < max)
        if (open.length === 0) return undefined
        open[this.turn++ % open.length]!.messages.push(message)
        this.network.changed()
        return Effect.void
      })
      .pipe(
        Effect.timeoutOrElse({
          duration: this.options.sendMillis,
          orElse: () =>
            Effect.fail(new ZeroMqError({ trouble: "away", reason: "no peer is there, or none takes more (EAGAIN)" }))
        })
      )
  }
}

const gone = new ZeroMqError({ trouble: "closed", reason: "the socket is closed" })

const utf8 = new TextEncoder()

const begins = (frame: Uint8Array, topic: Uint8Array): boolean =>
  topic.length <= frame.length && topic.every((byte, i) => frame[i] === byte)
