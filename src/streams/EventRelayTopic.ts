/** Reads a topic of EventRelay page by page, with a position of its own; takes nothing from anybody. */
import { Clock, Deferred, Effect, Stream } from "effect"
import type { Delivery } from "../services/Delivery.ts"
import type { Channel, Page, RelayEvent } from "../services/EventRelay.ts"
import { Positions, type PositionsError } from "../services/Positions.ts"
import { type Source, SourceError } from "../services/Source.ts"
import * as Committer from "./Committer.ts"
import * as EventRelayCalls from "./EventRelayCalls.ts"
import * as EventRelayEvent from "./EventRelayEvent.ts"
import { envelopeOf } from "./EventRelayHeld.ts"
import { EventRelayPages } from "./EventRelayPages.ts"
import * as Outage from "./Outage.ts"

export interface Options {
  readonly pipeline: string
  readonly channel: Channel
  /** Such as `users` or `users:123`. */
  readonly topic: string
  /** Whose position it is. */
  readonly group: string
  /** In the server's words, such as `data.cart.total == 30`; empty for all, as by default. */
  readonly query?: string | undefined
  readonly from?: "earliest" | "latest" | undefined
  /** Units: events in one call, at most 999; 100 by default. */
  readonly batch?: number | undefined
  /** Between two looks when there is nothing new; 5 seconds by default. Units: milliseconds. */
  readonly pullMillis?: number | undefined
  readonly backoff?: EventRelayCalls.Backoff | undefined
}

/** A settlement is durable after this long or this many. Units: milliseconds; settlements. */
const commitMillis = 50
const commitCount = 256
/** Units: events before the last one among which those are looked for that have appeared. */
const lookBackMax = 10_000

export const make = Effect.fnUntraced(function* (options: Options): Effect.fn.Return<Source, never, Positions> {
  const positions = yield* Positions
  const name = `eventrelay:${options.topic}`
  const open = Effect.gen(function* () {
    const place = yield* positions.open(JSON.stringify(["eventrelay", options.topic, options.group]))
    const noted = yield* place.read
    const pages = new EventRelayPages(noted)
    const failed = yield* Deferred.make<never, SourceError>()
    const committer = yield* Committer.make({
      millis: commitMillis,
      count: commitCount,
      commit: Effect.suspend(() => place.note(pages.encode())),
      onError: (error) => Deferred.fail(failed, sourceError(name, error))
    })
    yield* Effect.addFinalizer(() => Effect.ignore(committer.now))
    const settle = (offset: number): void => {
      pages.settle(offset)
      committer.settled()
    }
    const reading = readingOf(options, name, pages)
    if (noted === undefined && options.from === "latest") {
      yield* reading.beginAtEnd
      yield* committer.now
    }
    const read = Effect.gen(function* () {
      const events = yield* reading.next
      const now = yield* Clock.currentTimeMillis
      return events.map((event) => deliveryOf(name, event, now, settle))
    })
    return Stream.fromIterableEffectRepeat(read).pipe(Stream.interruptWhen(Deferred.await(failed)))
  })
  return {
    name,
    redelivers: true,
    answers: false,
    codec: EventRelayEvent.codec,
    open: Effect.mapError(open, (error) => sourceError(name, error))
  }
})

/** Pages in which all is settled already, one after the other; after a restart there may be as many. */
const knownMax = 100

/** Brings what is to be worked, and waits while there is nothing. */
const readingOf = (options: Options, source: string, pages: EventRelayPages) => {
  const { batch = 100, channel, pipeline, pullMillis = 5_000, query = "", topic } = options
  const { backoff = EventRelayCalls.backoffDefault } = options
  const granted = EventRelayCalls.make({ source, outage: Outage.make(pipeline), backoff })
  const page = (offset: number, batchSize: number): Effect.Effect<Page, SourceError> =>
    granted(channel.pull({ topic, batchSize, offset, query }))
  const unseen = (events: ReadonlyArray<RelayEvent>) => events.filter(({ offset }) => pages.see(offset))

  /** How many events there are up to this offset. */
  const countUpTo = Effect.fnUntraced(function* (offset: number) {
    let low = 0
    let high = (yield* page(0, 1)).totalCount
    while (low < high) {
      const middle = Math.floor((low + high) / 2)
      const found = (yield* page(middle, 1)).events[0]
      if (found !== undefined && found.offset <= offset) low = middle + 1
      else high = middle
    }
    return low
  })

  /** The last one is not where it was: some have appeared before it, or are gone. Brings those that have appeared. */
  const lookBack = Effect.fnUntraced(function* (last: number) {
    const index = yield* countUpTo(last)
    let missing = index - pages.index
    const late: Array<RelayEvent> = []
    let end = index
    let lastNow: number | undefined
    // What went away may hide what came: so one page in any case.
    while (end > 0 && (lastNow === undefined || missing > 0) && index - end < lookBackMax) {
      const start = Math.max(0, end - batch)
      const { events } = yield* page(start, end - start)
      lastNow ??= events.at(-1)?.offset ?? last
      const fresh = unseen(events)
      late.unshift(...fresh)
      missing -= fresh.length
      end = start
    }
    pages.index = index
    pages.last = lastNow
    if (missing > 0 && end > 0) {
      yield* Effect.logWarning(
        `${source}: ${missing} events appeared more than ${lookBackMax} events before the last one and are not read`
      )
    }
    return late
  })

  const next: Effect.Effect<ReadonlyArray<RelayEvent>, SourceError> = Effect.gen(function* () {
    for (let known = 0; ; known++) {
      // A server that gives the same again and again is not to be asked without a pause.
      if (known >= knownMax) yield* Effect.sleep(pullMillis)
      if (pages.isFull) {
        yield* Effect.sleep(commitMillis)
        continue
      }
      const { index, last } = pages
      // With the last one again, which tells whether all before it is where it was.
      const overlap = index > 0 ? 1 : 0
      const { events } = yield* page(index - overlap, batch + overlap)
      if (overlap === 1 && last !== undefined && events[0]?.offset !== last) {
        const late = yield* lookBack(last)
        if (late.length > 0) return late
        continue
      }
      const following = events.slice(overlap)
      if (following.length === 0) {
        known = -1
        yield* Effect.sleep(pullMillis)
        continue
      }
      pages.index += following.length
      pages.last = following.at(-1)!.offset
      const fresh = unseen(following)
      if (fresh.length > 0) return fresh
    }
  })

  const beginAtEnd = Effect.gen(function* () {
    const { totalCount } = yield* page(0, 1)
    const [last] = totalCount === 0 ? [] : (yield* page(totalCount - 1, 1)).events
    if (last !== undefined) pages.begin(totalCount, last.offset)
  })

  return { next, beginAtEnd }
}

const deliveryOf = (source: string, event: RelayEvent, now: number, settle: (offset: number) => void): Delivery => ({
  envelope: envelopeOf(source, event, EventRelayEvent.bytesOf(event), 1, now),
  settle: ({ _tag }) => {
    if (_tag !== "Nacked") settle(event.offset)
  }
})

const sourceError = (source: string, error: PositionsError | SourceError): SourceError =>
  error instanceof SourceError
    ? error
    : new SourceError({ source, reason: error.reason, away: error.retryable, cause: error })
