/** Pulls events of a destination: as many as there is room for, at once while some come, once per interval while none do. */
import { type Cause, Clock, Effect, Latch, Queue, Result } from "effect"
import type { Channel, EventRelayError, RelayEvent } from "../services/EventRelay.ts"
import type { Box } from "../services/Inbox.ts"
import type { SourceError } from "../services/Source.ts"
import * as EventRelayCalls from "./EventRelayCalls.ts"
import * as EventRelayEvent from "./EventRelayEvent.ts"
import { bytesOf, type EventRelayHeld, type Held } from "./EventRelayHeld.ts"
import type { Outage } from "./Outage.ts"

export interface Options {
  /** One call at a time on each; all while there is much to pull, the first while there is little. */
  readonly channels: ReadonlyArray<Channel>
  readonly destination: string
  readonly held: EventRelayHeld
  readonly box: Box
  readonly outage: Outage
  readonly backoff: EventRelayCalls.Backoff
  /** Units: events received and not settled. */
  readonly demand: number
  /** Between two looks at an empty destination. Units: milliseconds. */
  readonly pullMillis: number
  readonly out: Queue.Queue<Held, SourceError | Cause.Done>
  /** What to do about a failure as long as nothing was granted; after that it is waited out. */
  readonly onFirstFailure: (error: EventRelayError) => Effect.Effect<unknown>
}

/** Units: events in one call, as the server has it. */
const callMax = 100_000
/** Units: events in a call as long as nobody knows how large they are; bytes that one reply should have. */
const firstMax = 1_000
const replyBytes = 32 * 1024 * 1024
/** Units: bytes of an event, when a reply was too large to be taken. */
const largeBytes = replyBytes / 10
/** Units: milliseconds. Little room is left to grow for a moment, so that events come by the batch. */
const growMillis = 5

export class EventRelayPullers {
  /** The road waits for something, or has taken something since the last call: one call goes ahead of it. */
  private readonly wanted = Latch.makeUnsafe(false)
  private readonly busy = Latch.makeUnsafe(false)
  private readonly stopped = Latch.makeUnsafe(false)
  private isWanted = false
  private isWaiting = false
  private isStopping = false
  private works = false
  private failures = 0
  /** Units: bytes; about the largest of late. */
  private eventBytes: number | undefined
  private readonly options: Options

  constructor(options: Options) {
    this.options = options
  }

  /** Runs until it is stopped. */
  readonly run: Effect.Effect<void> = Effect.suspend(() => {
    const { channels } = this.options
    const loops = channels.map((channel, i) => {
      const turn = i === 0 ? this.turn(channel) : Effect.andThen(this.busy.await, this.turn(channel))
      return Effect.whileLoop({ while: () => !this.isStopping, body: () => turn, step: () => {} })
    })
    return Effect.all(loops, { concurrency: channels.length, discard: true })
  })

  /** Whether the road waits. */
  waits(isWaiting: boolean): void {
    this.isWaiting = isWaiting
    if (isWaiting) this.want(true)
  }

  private want(isWanted: boolean): void {
    this.isWanted = isWanted
    if (isWanted) this.wanted.openUnsafe()
    else if (!this.isStopping) this.wanted.closeUnsafe()
  }

  /** A call under way is still taken. */
  stop(): void {
    this.isStopping = true
    this.stopped.openUnsafe()
    this.wanted.openUnsafe()
    this.busy.openUnsafe()
  }

  private pause(millis: number): Effect.Effect<void> {
    return Effect.asVoid(Effect.timeoutOption(this.stopped.await, millis))
  }

  private turn(channel: Channel): Effect.Effect<void> {
    return Effect.gen({ self: this }, function* () {
      const { demand, held } = this.options
      yield* this.wanted.await
      yield* Effect.raceFirst(held.whenRoom(1), this.stopped.await)
      const much = Math.ceil(demand / 2)
      if (held.room < much) {
        yield* Effect.timeoutOption(Effect.raceFirst(held.whenRoom(much), this.stopped.await), growMillis)
      }
      const count = this.share
      // Meanwhile the road may have been given something, or another connection may have asked.
      if (!this.isWanted || this.isStopping || count <= 0) return
      yield* this.pull(channel, count)
    })
  }

  private get share(): number {
    const { channels, demand, held } = this.options
    const { eventBytes } = this
    const sized = eventBytes === undefined ? firstMax : Math.max(1, Math.floor(replyBytes / eventBytes))
    return Math.min(held.room, callMax, sized, channels.length === 1 ? demand : Math.ceil(demand / channels.length))
  }

  private pull(channel: Channel, count: number): Effect.Effect<void> {
    const { destination, held, outage } = this.options
    return Effect.uninterruptibleMask((restore) =>
      Effect.gen({ self: this }, function* () {
        held.ask(count)
        if (!this.isWaiting) this.want(false)
        const pulled = yield* restore(channel.pullQueued(destination, count)).pipe(
          Effect.result,
          Effect.onInterrupt(() => Effect.sync(() => held.answered(count)))
        )
        if (Result.isFailure(pulled)) {
          held.answered(count)
          return yield* restore(this.failed(pulled.failure, count))
        }
        const events = pulled.success
        this.works = true
        this.failures = 0
        yield* outage.works("pull")
        const fresh = events.length === 0 ? [] : yield* this.keep(events)
        held.answered(count)
        if (events.length >= count) this.busy.openUnsafe()
        else if (!this.isStopping) this.busy.closeUnsafe()
        // From here on the inbox has them, whatever becomes of us.
        if (fresh.length > 0) yield* restore(Queue.offerAll(this.options.out, fresh))
        else yield* restore(this.pause(this.options.pullMillis))
      })
    )
  }

  /** Into the inbox first: nobody else can give them again. */
  private readonly keep = Effect.fnUntraced({ self: this }, function* (events: ReadonlyArray<RelayEvent>) {
    const { backoff, box, held, outage } = this.options
    const payloads = events.map(EventRelayEvent.bytesOf)
    const bytes = bytesOf(payloads)
    const average = bytes.length / events.length
    this.eventBytes = Math.max(average, ((this.eventBytes ?? average) * 7 + average) / 8)
    let batch: number | undefined
    for (let tries = 0; batch === undefined; tries++) {
      const put = yield* Effect.result(box.put(bytes, events.length))
      if (Result.isSuccess(put)) {
        batch = put.success
        yield* outage.works("inbox")
        break
      }
      yield* outage.failed("inbox", `cannot keep what was pulled: ${put.failure.reason}`)
      // Better worked without it than not at all.
      if (this.isStopping) break
      yield* this.pause(EventRelayCalls.delay(backoff, tries))
    }
    const now = yield* Clock.currentTimeMillis
    return held.take(
      events.map((event, item) => ({
        event,
        payload: payloads[item]!,
        kept: batch === undefined ? undefined : { batch, item },
        attempt: 1
      })),
      now
    )
  })

  private readonly failed = Effect.fnUntraced({ self: this }, function* (error: EventRelayError, count: number) {
    const { backoff, destination, onFirstFailure, outage } = this.options
    if (error.lost === true) {
      if (error.status === "RESOURCE_EXHAUSTED") this.eventBytes = largeBytes
      yield* Effect.logWarning(
        `eventrelay:${destination}: the reply to a pull of ${count} is lost (${error.reason}): ` +
          "what the server has locked for it stays so until somebody unlocks it there"
      )
    }
    if (!this.works) yield* onFirstFailure(error)
    yield* outage.failed("pull", error.reason)
    if (!this.isStopping) this.busy.closeUnsafe()
    yield* this.pause(EventRelayCalls.delay(backoff, this.failures++))
  })
}
