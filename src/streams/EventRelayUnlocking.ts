/** Gives events back to their destination: many in one call, again while the server is away; finds out whether it can. */
import { Effect, Latch, Result, Semaphore } from "effect"
import type { Channel, EventRelayError } from "../services/EventRelay.ts"
import * as EventRelayCalls from "./EventRelayCalls.ts"
import type { EventRelayHeld, Held } from "./EventRelayHeld.ts"
import type { Outage } from "./Outage.ts"

/** Whether the server takes events back; undefined until it has said so. It outlives an opening. */
export interface Ability {
  can: boolean | undefined
}

export interface Options {
  readonly source: string
  readonly channel: Channel
  readonly destination: string
  readonly outage: Outage
  readonly ability: Ability
  readonly backoff: EventRelayCalls.Backoff
  readonly held: () => EventRelayHeld
}

/** Units: ids in one call. */
const idsMax = 1_000
/** Units: milliseconds in which more of them gather. */
const gatherMillis = 10
/** How often the server may say no to the same ids, other than by being away. */
const noesMax = 5

export class EventRelayUnlocking {
  private readonly pending = new Set<Held>()
  private readonly some = Latch.makeUnsafe(false)
  private readonly alone = Semaphore.makeUnsafe(1)
  private readonly options: Options

  constructor(options: Options) {
    this.options = options
  }

  add(one: Held): void {
    this.pending.add(one)
    this.some.openUnsafe()
  }

  readonly run: Effect.Effect<never> = Effect.suspend(() =>
    Effect.forever(Effect.andThen(this.some.await, Effect.andThen(Effect.sleep(gatherMillis), this.now)))
  )

  /** Returns when all of them are back, or stay in the inbox since they cannot be. */
  readonly now: Effect.Effect<void> = Effect.suspend(() => this.alone.withPermit(this.unlockAll))

  /** Asks with no ids whether the server can, until it says so. */
  readonly find: Effect.Effect<void> = Effect.gen({ self: this }, function* () {
    const { ability, backoff, channel, destination } = this.options
    for (let tries = 0; ; tries++) {
      const asked = yield* Effect.result(channel.unlock(destination, []))
      // Once it is known that it cannot, it is told by whoever found out.
      if (Result.isSuccess(asked)) ability.can = true
      else if (isInability(asked.failure)) yield* this.cannot(asked.failure)
      // It does not like the question, which says nothing about the others.
      else if (isNo(asked.failure)) ability.can ??= true
      else {
        yield* Effect.sleep(EventRelayCalls.delay(backoff, tries))
        continue
      }
      return
    }
  })

  private readonly unlockAll: Effect.Effect<void> = Effect.gen({ self: this }, function* () {
    const { ability, backoff, channel, destination, outage, source } = this.options
    this.some.closeUnsafe()
    for (let tries = 0, noes = 0; ; tries++) {
      if (ability.can === false) this.pending.clear()
      const held = this.options.held()
      const batch: Array<Held> = []
      for (const one of this.pending) {
        // The server has given it to us again, so it had it back.
        if (!held.isReturning(one)) this.pending.delete(one)
        else if (batch.length < idsMax) batch.push(one)
      }
      if (batch.length === 0) return
      const ids = batch.map(({ envelope }) => envelope.id)
      const unlocked = yield* Effect.result(channel.unlock(destination, ids))
      if (Result.isSuccess(unlocked)) {
        for (const one of batch) {
          this.pending.delete(one)
          if (held.isReturning(one)) held.forget(one)
        }
        tries = -1
        noes = 0
        ability.can = true
        yield* outage.works("unlock")
        continue
      }
      const { failure } = unlocked
      if (isInability(failure)) {
        yield* this.cannot(failure)
        continue
      }
      yield* outage.failed("unlock", `cannot give events back: ${failure.reason}`)
      if (isNo(failure) && ++noes >= noesMax) {
        for (const one of batch) this.pending.delete(one)
        noes = 0
        yield* outage.works("unlock")
        yield* Effect.logWarning(
          `${source}: ${batch.length} events cannot be given back (${failure.reason}); they stay in the inbox until the next start`
        )
        continue
      }
      yield* Effect.sleep(EventRelayCalls.delay(backoff, tries))
    }
  })

  private cannot(error: EventRelayError): Effect.Effect<void> {
    const { ability, source } = this.options
    if (ability.can === false) return Effect.void
    ability.can = false
    return Effect.logWarning(
      `${source}: this server takes no events back (${error.reason}): at a stop they are worked until the deadline, then buried`
    )
  }
}

const isInability = ({ status, trouble }: EventRelayError): boolean =>
  trouble === "unsupported" || status === "PERMISSION_DENIED"

const isNo = ({ trouble }: EventRelayError): boolean => trouble === "unfit" || trouble === "failed"
