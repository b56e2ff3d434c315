/** How many deliveries are let in per interval: a count of those of the last one, in whatever moment it is looked at. */
import { Duration, Option, Schema } from "effect"
import * as Fields from "../services/Fields.ts"

/** The limit cannot be one. */
export class RateError extends Schema.TaggedError<RateError>()("RateError", { reason: Schema.String }) {
  override get message(): string {
    return this.reason
  }
}

/** Units: deliveries. */
const messagesMax = 1_000_000_000
/** Units: milliseconds. A longer timer would fire at once. */
const perMax = 2 ** 31 - 1

/** As configs say it. */
export const Options = Schema.Struct({
  messages: Fields.int(1, messagesMax),
  per: Fields.orElse(Fields.Wait, Duration.seconds(1))
})

export interface Input {
  /** Units: deliveries, from 1 to 1,000,000,000. */
  readonly messages: number
  /** From 1 millisecond to 24 days; 1 second by default. */
  readonly per?: Duration.Input | undefined
}

export interface Limit {
  readonly messages: number
  readonly perMillis: number
}

export const limitOf = ({ messages, per = "1 second" }: Input): Limit | RateError => {
  if (!Number.isInteger(messages) || messages < 1 || messages > messagesMax) {
    return new RateError({
      reason: `rate.messages: expected a whole number from 1 to ${messagesMax}, found ${messages}`
    })
  }
  const perMillis = Option.getOrUndefined(Option.map(Duration.fromInput(per), Duration.toMillis)) ?? Number.NaN
  if (!(perMillis >= 1 && perMillis <= perMax)) {
    return new RateError({ reason: `rate.per: expected a duration from 1 millis to 24 days, found ${String(per)}` })
  }
  return { messages, perMillis }
}

/** Some that were let in at about the same time. Units: milliseconds since 1970; deliveries. */
interface Group {
  readonly first: number
  last: number
  count: number
}

/** Groups an interval is told apart into: what is remembered is bounded, and no refill is later than a thousandth of it. */
const groupsPerInterval = 1000

/**
 * In any stretch of time as long as the interval at most `messages` are let in: each makes room for another when it is
 * one interval old. So a burst at the end of one interval is no burst at the start of the next.
 */
export class Rate {
  private limited: Limit | undefined
  private readonly groups: Array<Group> = []
  /** Those in `groups`. */
  private count = 0

  constructor(limit: Limit | undefined) {
    this.limited = limit
  }

  get limit(): Limit | undefined {
    return this.limited
  }

  /** From now on; what was let in before counts, as far as it is remembered: for one interval of the old limit. */
  set limit(limit: Limit | undefined) {
    this.limited = limit
    if (limit !== undefined) return
    this.groups.length = 0
    this.count = 0
  }

  /** Units of `now`: milliseconds since 1970; of what comes back: deliveries. */
  allowed(now: number): number {
    if (this.limited === undefined) return Number.POSITIVE_INFINITY
    this.forget(now, this.limited.perMillis)
    return Math.max(0, this.limited.messages - this.count)
  }

  /** So many were let in. */
  spend(count: number, now: number): void {
    if (this.limited === undefined || count === 0) return
    this.count += count
    const group = this.groups.at(-1)
    if (group !== undefined && now - group.first < this.limited.perMillis / groupsPerInterval) {
      group.last = now
      group.count += count
    } else this.groups.push({ first: now, last: now, count })
  }

  /** How long until one more is allowed. Units: milliseconds. */
  waitMillis(now: number): number {
    let excess = this.count - (this.limited?.messages ?? Number.POSITIVE_INFINITY)
    for (const { count, last } of this.groups) {
      if (excess < 0) break
      excess -= count
      if (excess < 0) return Math.max(1, Math.ceil(last + this.limited!.perMillis - now))
    }
    return 0
  }

  private forget(now: number, perMillis: number): void {
    // A clock that was set back: what is remembered of its future happened at the latest now.
    if ((this.groups.at(-1)?.last ?? now) > now) {
      this.groups.splice(0)
      if (this.count > 0) this.groups.push({ first: now, last: now, count: this.count })
    }
    while (this.groups.length > 0 && this.groups[0]!.last + perMillis <= now) this.count -= this.groups.shift()!.count
  }
}
