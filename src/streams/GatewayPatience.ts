/** Gives each client its share of the one thread there is: whose events take long to check has to wait. */

/** Units: milliseconds. What takes longer is paid for by so many times of it, in which the client's next ones wait. */
const slowMillis = 100
const price = 10
/** Units: milliseconds that one client may owe at most. */
const owedMax = 30_000
/** Units: milliseconds. A slow one alone in such a time is free: a machine that stalls looks the same. */
const aloneMillis = 10_000
/** Units: clients that were slow; the one that was so longest ago is forgotten first. */
const clientsMax = 10_000

interface Slow {
  /** Units: milliseconds since 1970. Until then nothing of it is checked. */
  readonly until: number
  readonly at: number
}

export class GatewayPatience {
  private readonly slow = new Map<string, Slow>()

  /** Units: milliseconds for which nothing of this client is checked; 0 when something is. */
  wait(client: string, now: number): number {
    return Math.max(0, (this.slow.get(client)?.until ?? 0) - now)
  }

  /** Units: milliseconds. */
  spent(client: string, millis: number, now: number): void {
    if (millis < slowMillis) return
    const last = this.slow.get(client)
    const isAlone = last === undefined || now - Math.max(last.at, last.until) > aloneMillis
    const owed = isAlone ? 0 : Math.max(last.until, now) + millis * price
    this.slow.delete(client)
    this.slow.set(client, { until: Math.min(owed, now + owedMax), at: now })
    if (this.slow.size > clientsMax) this.slow.delete(this.slow.keys().next().value!)
  }
}
