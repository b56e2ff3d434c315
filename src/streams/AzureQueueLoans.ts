/** The messages borrowed from an Azure queue: lent on while they are worked, then forgotten, given back or lost. */
import { Clock, Effect, Latch, Result, Semaphore } from "effect"
import { type AzureQueue, AzureQueueError, type Received } from "../services/AzureQueue.ts"
import type { Delivery, Settlement } from "../services/Delivery.ts"
import type { Envelope } from "../services/Envelope.ts"
import type { Outage } from "./Outage.ts"

export interface Options {
  readonly queue: AzureQueue
  readonly outage: Outage
  /** Units: whole seconds. */
  readonly visibilitySeconds: number
  /** Units: messages that may be held. */
  readonly heldMax: number
  /** Ids that are settled and could not be forgotten, over all openings: they must not run again. */
  readonly settled: Set<string>
  /** Some were lost to another receiver. */
  readonly onLost: Effect.Effect<void>
  /** Runs what nobody waits for, as long as the source is open. */
  readonly fork: (effect: Effect.Effect<void>) => void
  readonly envelopeOf: (message: Received, now: number) => Envelope
}

/** Units: ids. Beyond them the oldest are forgotten: the dedupe of the pipeline still knows them. */
const settledMax = 100_000
/** Units: renewals at the same time. */
const renewingMax = 16
/** Units: milliseconds. Between two tries to forget a message, and for giving one back. */
const removeMillis = 200
const removeMaxMillis = 5_000
const giveBackMillis = 5_000
/** Units: seconds for which a message that is given back stays out of sight. */
const backMaxSeconds = 30

export class Held implements Delivery {
  gone = false
  /** The newest receipt is somewhere on the way: the message comes again by itself. */
  orphan = false
  /** A renewal may have been done although its answer is missing. */
  uncertain = false
  ending = false
  receipt: string
  /** Units: milliseconds since 1970. */
  until: number
  readonly envelope: Envelope
  readonly dequeueCount: number
  /** Only one request at a time may use the receipt. */
  readonly lock = Semaphore.makeUnsafe(1)
  private readonly loans: AzureQueueLoans

  constructor(loans: AzureQueueLoans, envelope: Envelope, message: Received, until: number) {
    this.loans = loans
    this.envelope = envelope
    this.dequeueCount = message.dequeueCount
    this.receipt = message.receipt
    this.until = until
  }

  get loan() {
    return { id: this.envelope.id, receipt: this.receipt }
  }

  settle(settlement: Settlement) {
    return this.loans.end(this, settlement)
  }
}

export class AzureQueueLoans {
  /** In the order in which they run out. */
  private readonly held = new Map<string, Held>()
  private readonly room = Latch.makeUnsafe(true)
  /** Asked for and not received yet. */
  private asked = 0
  private readonly options: Options

  constructor(options: Options) {
    this.options = options
  }

  /** Reserves room, at most for so many; waits until there is room for so many at least. */
  readonly reserve = (most: number, least: number): Effect.Effect<number> =>
    Effect.flatMap(this.room.await, () => {
      const { free } = this
      if (free < least) {
        this.room.closeUnsafe()
        return this.reserve(most, least)
      }
      const count = Math.min(most, free)
      this.asked += count
      return Effect.succeed(count)
    })

  /** Units: messages. */
  get most(): number {
    return this.options.heldMax
  }

  get free(): number {
    return this.options.heldMax - this.held.size - this.asked
  }

  /** Nothing came for a reservation. */
  release(reserved: number): void {
    this.asked -= reserved
    if (this.free > 0) this.room.openUnsafe()
  }

  /** Takes what was received for a reservation; what comes back is to be handed out. Units: milliseconds since 1970. */
  received(reserved: number, messages: ReadonlyArray<Received>, now: number): ReadonlyArray<Held> {
    const until = now + this.options.visibilitySeconds * 1000
    const fresh: Array<Held> = []
    for (const message of messages) {
      const known = this.held.get(message.id)
      if (known !== undefined) this.lentAgain(known, message.receipt, until)
      else {
        const one = new Held(this, this.options.envelopeOf(message, now), message, until)
        this.held.set(message.id, one)
        if (this.options.settled.has(message.id)) this.removeAgain(one)
        else fresh.push(one)
      }
    }
    this.release(reserved)
    return fresh
  }

  /** Ends a message as its delivery ended. */
  end(one: Held, settlement: Settlement): Effect.Effect<void> | undefined {
    if (one.gone) return undefined
    one.ending = true
    if (settlement._tag === "Nacked") return this.giveBack(one, 2 ** Math.min(one.dequeueCount - 1, 10))
    this.remember(one.envelope.id)
    return this.remove(one)
  }

  /** Gives back what nobody has begun, or what is left when everything stops. */
  readonly giveBackAll = (some: Iterable<Held> = this.held.values()): Effect.Effect<void> =>
    Effect.forEach(
      [...some].filter(({ ending }) => !ending),
      (one) => {
        one.ending = true
        return this.giveBack(one, 0)
      },
      { concurrency: renewingMax, discard: true }
    )

  /** Lends on, again and again, what is held: each when half its time is over. */
  readonly renewing: Effect.Effect<never> = Effect.suspend(() =>
    Effect.forever(
      Effect.andThen(
        Effect.sleep(this.options.visibilitySeconds * 100),
        Effect.flatMap(Clock.currentTimeMillis, this.renewDue)
      )
    )
  )

  private readonly renewDue = (now: number): Effect.Effect<void> => {
    const half = this.options.visibilitySeconds * 500
    const due: Array<Held> = []
    for (const one of this.held.values()) {
      if (one.until - now > half) break
      if (!one.ending && !one.orphan) due.push(one)
    }
    return Effect.forEach(due, (one) => one.lock.withPermits(1)(this.renew(one)), {
      concurrency: renewingMax,
      discard: true
    })
  }

  private readonly renew = Effect.fnUntraced({ self: this }, function* (one: Held) {
    const { onLost, outage, queue, visibilitySeconds } = this.options
    if (one.ending || one.orphan) return
    const now = yield* Clock.currentTimeMillis
    const renewed = yield* queue.renew(one.loan, visibilitySeconds).pipe(
      Effect.timeoutOrElse({
        duration: (visibilitySeconds * 1000) / 3,
        orElse: () => Effect.fail(new AzureQueueError({ trouble: "away", reason: "no answer in time" }))
      }),
      Effect.result
    )
    if (Result.isSuccess(renewed)) {
      this.lentAgain(one, renewed.success, now + visibilitySeconds * 1000)
      return yield* outage.works("renew")
    }
    const { reason, trouble } = renewed.failure
    if (trouble !== "lost") {
      one.uncertain ||= trouble === "away"
      return yield* outage.failed("renew", `cannot keep ${one.envelope.id}: ${reason}`)
    }
    if (one.uncertain) {
      one.orphan = true
      return
    }
    one.gone = true
    this.forget(one)
    yield* Effect.logWarning(`${queue.name}: ${one.envelope.id} was lost to another receiver: ${reason}`)
    yield* onLost
  })

  /** Deletes until it is done, or comes again: then it is deleted at once. */
  private readonly remove = (one: Held): Effect.Effect<void> => one.lock.withPermits(1)(this.tryToRemove(one))

  private readonly tryToRemove = Effect.fnUntraced({ self: this }, function* (one: Held) {
    const { outage, queue, settled } = this.options
    for (let tries = 0; !one.orphan; tries++) {
      const removed = yield* Effect.result(queue.remove(one.loan))
      if (Result.isSuccess(removed)) {
        settled.delete(one.envelope.id)
        // Who can delete could also keep: nobody may ever ask for that again.
        yield* outage.works("renew")
        yield* outage.works("delete")
        break
      }
      const { reason, trouble } = removed.failure
      if (trouble === "lost") {
        yield* Effect.logDebug(`${queue.name}: ${one.envelope.id} cannot be deleted any more: ${reason}`)
        break
      }
      yield* outage.failed("delete", `cannot delete ${one.envelope.id}: ${reason}`)
      const delay = Math.min(removeMillis * 2 ** tries, removeMaxMillis)
      if ((yield* Clock.currentTimeMillis) + delay >= one.until) break
      yield* Effect.sleep(delay)
    }
    this.forget(one)
  })

  private removeAgain(one: Held): void {
    one.ending = true
    this.options.fork(this.remove(one))
  }

  private readonly giveBack = (one: Held, seconds: number): Effect.Effect<void> => {
    const { queue } = this.options
    const tried = Effect.suspend(() =>
      one.orphan ? Effect.void : queue.renew(one.loan, Math.min(seconds, backMaxSeconds))
    )
    return one.lock
      .withPermits(1)(tried)
      .pipe(
        Effect.timeout(giveBackMillis),
        // It comes again by itself when its time is over.
        Effect.ignore,
        Effect.andThen(Effect.sync(() => this.forget(one)))
      )
  }

  private lentAgain(one: Held, receipt: string, until: number): void {
    one.receipt = receipt
    one.until = until
    one.orphan = false
    one.uncertain = false
    this.held.delete(one.envelope.id)
    this.held.set(one.envelope.id, one)
  }

  private remember(id: string): void {
    const { settled } = this.options
    settled.add(id)
    if (settled.size > settledMax) settled.delete(settled.values().next().value!)
  }

  private forget(one: Held): void {
    if (this.held.get(one.envelope.id) === one) this.held.delete(one.envelope.id)
    if (this.free > 0) this.room.openUnsafe()
  }
}
