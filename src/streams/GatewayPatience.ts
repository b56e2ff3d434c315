/** Gives each client its share of the one thread there is: whose events take long to check has to wait. */

/** Units: milliseconds. What takes longer is paid for by so many times of it, in which the client's next ones wait. */
const slowMillis = 100
const price = 10
/** Units: milliseconds that one client may owe at most. */
const owedMax = 30_000
/** Units: clients that owe something; the one that has owed longest is forgotten first. */
const clientsMax = 10_000

export class GatewayPatience {
  /** Units: milliseconds since 1970. */
  private readonly until = new Map<string, number>()

  /** Units: milliseconds for which nothing of this client is checked; 0 when something is. */
  wait(client: string, now: number): number {
    const until = this.until.get(client)
    if (until === undefined) return 0
    if (until > now) return until - now
    this.until.delete(client)
    return 0
  }

  /** Units: milliseconds. */
  spent(client: string, millis: number, now: number): void {
    if (millis < slowMillis) return
    const owed = Math.max(this.until.get(client) ?? 0, now) + millis * price
    this.until.delete(client)
    this.until.set(client, Math.min(owed, now + owedMax))
    if (this.until.size > clientsMax) this.until.delete(this.until.keys().next().value!)
  }
}
