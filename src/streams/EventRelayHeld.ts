/** The events a destination has given us: handed out, settled in the inbox, or on their way back. */
import { Effect, Latch } from "effect"
import type { Delivery, Settlement } from "../services/Delivery.ts"
import type { Envelope } from "../services/Envelope.ts"
import type { RelayEvent } from "../services/EventRelay.ts"
import type { Box } from "../services/Inbox.ts"
import * as EventRelayEvent from "./EventRelayEvent.ts"

export interface Options {
  readonly source: string
  readonly box: Pick<Box, "settle">
  /** Units: events received and not settled. */
  readonly demand: number
  /** One is to be given back. */
  readonly onNacked: (one: Held) => void
}

/** Where in the inbox it lies. */
export interface Kept {
  readonly batch: number
  readonly item: number
}

export class Held implements Delivery {
  readonly envelope: Envelope
  /** Undefined where the inbox could not take it. */
  readonly kept: Kept | undefined
  /** The server knows it by its id; one that it does not stays in the inbox instead of being given back. */
  readonly isKnown: boolean
  private readonly ledger: EventRelayHeld

  constructor(ledger: EventRelayHeld, envelope: Envelope, kept: Kept | undefined, isKnown: boolean) {
    this.ledger = ledger
    this.envelope = envelope
    this.kept = kept
    this.isKnown = isKnown
  }

  settle(settlement: Settlement): void {
    this.ledger.end(this, settlement)
  }
}

export class EventRelayHeld {
  private readonly held = new Map<string, Held>()
  /** Those that somebody else may have again. */
  private readonly returning = new Set<Held>()
  private readonly roomy = Latch.makeUnsafe(true)
  /** The least room that somebody waits for. */
  private wanted = Number.POSITIVE_INFINITY
  /** Asked for and not received yet. */
  private asked = 0
  private readonly options: Options

  constructor(options: Options) {
    this.options = options
  }

  /** Units: events that may be asked for now; below 0 when more came than were asked for. */
  get room(): number {
    return this.options.demand - this.held.size - this.asked
  }

  /** Returns when there is room for so many. */
  readonly whenRoom = (count: number): Effect.Effect<void> =>
    Effect.suspend(() => {
      if (this.room >= count) return Effect.void
      this.roomy.closeUnsafe()
      this.wanted = Math.min(this.wanted, count)
      return Effect.flatMap(this.roomy.await, () => this.whenRoom(count))
    })

  ask(count: number): void {
    this.asked += count
  }

  /** The answer to a question is there, or there is none. */
  answered(count: number): void {
    this.asked -= count
    this.makeRoom()
  }

  /**
   * Takes events as they were given; what comes back is to be handed out. One that is held already is not handed out
   * twice; one that was on its way back is there again.
   */
  take(taken: ReadonlyArray<Taken>, now: number): ReadonlyArray<Held> {
    return taken.flatMap(({ attempt, event, kept, payload }) => {
      const known = this.held.get(event.id)
      if (known !== undefined && !this.returning.has(known)) {
        this.note(kept)
        return []
      }
      if (known !== undefined) this.forget(known)
      const one = new Held(this, envelopeOf(this.options.source, event, payload, attempt, now), kept, event.id !== "")
      this.held.set(one.envelope.id, one)
      return [one]
    })
  }

  end(one: Held, { _tag }: Settlement): void {
    if (this.held.get(one.envelope.id) !== one || this.returning.has(one)) return
    if (_tag !== "Nacked") return this.forget(one)
    this.returning.add(one)
    if (one.isKnown) this.options.onNacked(one)
  }

  /** Whether it is still ours to give back. */
  isReturning(one: Held): boolean {
    return this.returning.has(one)
  }

  /** Its way back is over: it is the server's again. */
  forget(one: Held): void {
    this.returning.delete(one)
    this.held.delete(one.envelope.id)
    this.note(one.kept)
    this.makeRoom()
  }

  /** What is not settled and not on its way back yet is from here on. */
  giveBack(some: Iterable<Held> = [...this.held.values()]): void {
    for (const one of some) this.end(one, { _tag: "Nacked", reason: "the source stops" })
  }

  private note(kept: Kept | undefined): void {
    if (kept !== undefined) this.options.box.settle(kept.batch, kept.item)
  }

  private makeRoom(): void {
    if (this.room < this.wanted) return
    this.wanted = Number.POSITIVE_INFINITY
    this.roomy.openUnsafe()
  }
}

/** An event, its bytes, and where the inbox has it. */
export interface Taken {
  readonly event: RelayEvent
  readonly payload: Uint8Array
  readonly kept: Kept | undefined
  readonly attempt: number
}

export const envelopeOf = (
  source: string,
  event: RelayEvent,
  payload: Uint8Array,
  attempt: number,
  receivedAt: number
): Envelope => {
  const producedAt = Date.parse(event.occurred_at)
  return {
    ...EventRelayEvent.knownAs(event, payload),
    // Without one it cannot be told from others, so it is none of them.
    id: event.id === "" ? crypto.randomUUID() : event.id,
    source,
    key: EventRelayEvent.keyOf(event),
    headers: event.context,
    payload,
    receivedAt,
    attempt,
    position: event.offset,
    ...(Number.isNaN(producedAt) ? undefined : { producedAt })
  }
}

const newline = 10

/** A whole reply as it lies in the inbox: an event per line. */
export const bytesOf = (payloads: ReadonlyArray<Uint8Array>): Uint8Array => {
  const bytes = new Uint8Array(payloads.reduce((sum, { length }) => sum + length + 1, 0))
  let at = 0
  for (const payload of payloads) {
    bytes.set(payload, at)
    at += payload.length
    bytes[at++] = newline
  }
  return bytes
}

/** What `bytesOf` has written. */
export const linesOf = (bytes: Uint8Array): ReadonlyArray<Uint8Array> => {
  const lines: Array<Uint8Array> = []
  for (let from = 0; from < bytes.length; ) {
    const end = bytes.indexOf(newline, from)
    lines.push(bytes.subarray(from, end))
    from = end + 1
  }
  return lines
}
