/** A source from memory: a list of messages, or a queue a test feeds; remembers how each delivery ended. */
import { Array as Arr, type Cause, Effect, Queue, Schema, Stream } from "effect"
import * as Component from "../services/Component.ts"
import type { Delivery, Settlement } from "../services/Delivery.ts"
import * as Envelope from "../services/Envelope.ts"
import type { Source } from "../services/Source.ts"

export interface Message {
  readonly id?: string | undefined
  readonly key?: string | undefined
  readonly headers?: Readonly<Record<string, string>> | undefined
  readonly partition?: string | undefined
  /** Text and bytes go as they are, anything else as JSON. */
  readonly payload: unknown
}

export interface MemorySource extends Source {
  /** How each delivery ended, in the order of settlement. */
  readonly settled: ReadonlyArray<{ readonly envelope: Envelope.Envelope; readonly settlement: Settlement }>
}

const utf8 = new TextEncoder()

export const envelopeOf = (
  message: Message,
  source: string,
  number: number,
  receivedAt: number
): Envelope.Envelope => ({
  id: message.id ?? `${source}-${number}`,
  source,
  key: message.key,
  headers: message.headers ?? Envelope.noHeaders,
  payload:
    message.payload instanceof Uint8Array
      ? message.payload
      : utf8.encode(typeof message.payload === "string" ? message.payload : JSON.stringify(message.payload)),
  receivedAt,
  attempt: 1,
  partition: message.partition
})

class MemoryDelivery implements Delivery {
  readonly envelope: Envelope.Envelope
  private readonly settled: Array<{ envelope: Envelope.Envelope; settlement: Settlement }>

  constructor(envelope: Envelope.Envelope, settled: Array<{ envelope: Envelope.Envelope; settlement: Settlement }>) {
    this.envelope = envelope
    this.settled = settled
  }

  settle(settlement: Settlement): void {
    this.settled.push({ envelope: this.envelope, settlement })
  }
}

export interface Options {
  readonly name?: string | undefined
  /** Units: deliveries in one array. */
  readonly arrayMax?: number | undefined
  readonly redelivers?: boolean | undefined
  readonly answers?: boolean | undefined
}

/** A finite input: the pipeline ends when all of it is settled. */
export const fromIterable = (messages: Iterable<Message>, options: Options = {}): MemorySource => {
  const settled: MemorySource["settled"][number][] = []
  return {
    ...traits(options),
    settled,
    open: Effect.succeed(
      deliver(Stream.fromIterable(messages, { chunkSize: options.arrayMax ?? 256 }), options, settled)
    )
  }
}

/** An input that lasts until `end`; what is offered and not yet taken counts against `capacity`. */
export const make = Effect.fnUntraced(function* (options: Options & { readonly capacity?: number } = {}) {
  const queue = yield* Queue.bounded<Message, Cause.Done>(options.capacity ?? 1024)
  const settled: MemorySource["settled"][number][] = []
  const source: MemorySource = {
    ...traits(options),
    settled,
    open: Effect.succeed(deliver(Stream.fromQueue(queue), options, settled))
  }
  return {
    ...source,
    offer: (...messages: ReadonlyArray<Message>) => Queue.offerAll(queue, messages),
    end: Queue.end(queue)
  }
})

const traits = ({ answers = false, name = "memory", redelivers = true }: Options) => ({ name, redelivers, answers })

const deliver = (
  messages: Stream.Stream<Message>,
  { name = "memory" }: Options,
  settled: Array<{ envelope: Envelope.Envelope; settlement: Settlement }>
): Stream.Stream<Delivery> => {
  let number = 0
  return Stream.mapArrayEffect(messages, (array) =>
    Effect.clockWith((clock) => {
      const now = clock.currentTimeMillisUnsafe()
      return Effect.succeed(
        Arr.map(array, (message): Delivery => new MemoryDelivery(envelopeOf(message, name, number++, now), settled))
      )
    })
  )
}

export const component = Component.source({
  type: "memory",
  summary: "The given messages, then the end; for tests.",
  options: Schema.Struct({ messages: Schema.optionalKey(Schema.Array(Schema.Any)) }),
  make: ({ messages = [] }) => Effect.sync(() => fromIterable(messages.map((payload) => ({ payload }))))
})
