/** Receives from an Azure queue: at once while there is something, ever more seldom while there is nothing. */
import { Clock, Effect, Latch, Queue, Result } from "effect"
import type { AzureQueue, AzureQueueError } from "../services/AzureQueue.ts"
import type { AzureQueueLoans, Held } from "./AzureQueueLoans.ts"
import type { Outage } from "./Outage.ts"

export interface Options {
  readonly queue: AzureQueue
  readonly loans: AzureQueueLoans
  readonly outage: Outage
  /** At work when there is much to receive and room for it; one is when there is little. */
  readonly receivers: number
  /** Units: 1 to 32 messages per request. */
  readonly batchMax: number
  readonly visibilitySeconds: number
  /** Between two looks at an empty queue: at first, then twice as long each time, at most. Units: milliseconds. */
  readonly poll: { readonly minMillis: number; readonly maxMillis: number }
  readonly out: Queue.Queue<Held>
  /** What to do about a failure as long as nothing has ever been received; after that it is waited out. */
  readonly onFirstFailure: (error: AzureQueueError) => Effect.Effect<unknown>
}

/** Units: milliseconds. Little room is left to grow for a moment, so that messages come by the batch. */
const growMillis = 20
/** Units: milliseconds. After a failure. */
const backoffMillis = 500
const backoffMaxMillis = 5_000

export class AzureQueueReceivers {
  private readonly busy = Latch.makeUnsafe(false)
  private readonly stopped = Latch.makeUnsafe(false)
  private isStopping = false
  private works = false
  private empty = 0
  private failures = 0
  private readonly options: Options

  constructor(options: Options) {
    this.options = options
  }

  /** Runs until it is stopped. */
  readonly run: Effect.Effect<void> = Effect.suspend(() => {
    const { batchMax, loans, receivers } = this.options
    const whole = Math.min(batchMax, loans.most)
    const first = Effect.suspend(() =>
      loans.free < batchMax && loans.free < loans.most / 2
        ? Effect.andThen(this.pause(growMillis), this.receive(1))
        : this.receive(1)
    )
    const others = Array.from({ length: receivers - 1 }, () => Effect.andThen(this.busy.await, this.receive(whole)))
    return Effect.all(
      [first, ...others].map((one) => this.repeat(one)),
      {
        concurrency: this.options.receivers,
        discard: true
      }
    )
  })

  /** A request under way is still taken. */
  stop(): void {
    this.isStopping = true
    this.stopped.openUnsafe()
    this.busy.openUnsafe()
  }

  private repeat(one: Effect.Effect<void>): Effect.Effect<void> {
    return Effect.whileLoop({ while: () => !this.isStopping, body: () => one, step: () => {} })
  }

  private pause(millis: number): Effect.Effect<void> {
    return Effect.asVoid(Effect.timeoutOption(this.stopped.await, millis))
  }

  private readonly receive = Effect.fnUntraced({ self: this }, function* (least: number) {
    const { batchMax, loans, out, outage, queue, visibilitySeconds } = this.options
    const count = yield* Effect.raceFirst(loans.reserve(batchMax, least), Effect.as(this.stopped.await, 0))
    if (count === 0 || this.isStopping) return loans.release(count)
    const now = yield* Clock.currentTimeMillis
    const received = yield* Effect.result(queue.receive(count, visibilitySeconds))
    if (Result.isFailure(received)) {
      loans.release(count)
      return yield* this.failed(received.failure)
    }
    const messages = received.success
    yield* Queue.offerAll(out, loans.received(count, messages, now))
    this.works = true
    this.failures = 0
    yield* outage.works("receive")
    if (messages.length === count) this.busy.openUnsafe()
    else if (!this.isStopping) this.busy.closeUnsafe()
    if (messages.length > 0) this.empty = 0
    else yield* this.rest
  })

  private readonly rest: Effect.Effect<void> = Effect.suspend(() => {
    const { maxMillis, minMillis } = this.options.poll
    return this.pause(Math.min(minMillis * 2 ** Math.min(this.empty++, 20), maxMillis))
  })

  private readonly failed = Effect.fnUntraced({ self: this }, function* (error: AzureQueueError) {
    const { onFirstFailure, outage, queue } = this.options
    if (!this.works) yield* onFirstFailure(error)
    yield* outage.failed("receive", `cannot receive from ${queue.name}: ${error.reason}`)
    if (!this.isStopping) this.busy.closeUnsafe()
    const backoff = Math.min(backoffMillis * 2 ** Math.min(this.failures++, 20), backoffMaxMillis)
    yield* this.pause(Math.min(error.retryAfterMillis ?? backoff, 10 * backoffMaxMillis))
  })
}
