/** How often each client may ask: a token bucket for every one, in memory that many names cannot grow. */

export interface Options {
  /** Units: requests per second. */
  readonly perSecond: number
  /** Units: requests at once. */
  readonly burst: number
  /** Units: clients with a bucket of their own; 10,000 by default. */
  readonly clientsMax?: number | undefined
}

interface Bucket {
  readonly name: string
  tokens: number
  /** Units: milliseconds since 1970. */
  at: number
}

/** Units: buckets that all other clients share. */
const sharedCount = 1024
/** What sums of fractions may be off by. */
const rounding = 1e-6
/** Units: characters. Clients with longer names share buckets too. */
const nameMax = 200

/**
 * A bucket that nobody has used for as long as it takes to fill is as good as a new one, and the only one that is ever
 * dropped: naming clients at random takes nothing from those who are there. While all are in use, a newcomer shares a
 * bucket with others, by a hash that nobody outside can foresee.
 */
export class Buckets {
  /** By the time of their last use. */
  private readonly own = new Map<string, Bucket>()
  private readonly shared: ReadonlyArray<Bucket>
  private readonly seed = crypto.getRandomValues(new Uint32Array(1))[0]!
  private readonly perMilli: number
  private readonly burst: number
  private readonly fillMillis: number
  private readonly clientsMax: number

  constructor({ burst, clientsMax = 10_000, perSecond }: Options) {
    this.perMilli = perSecond / 1000
    this.burst = burst
    this.fillMillis = burst / this.perMilli
    this.clientsMax = clientsMax
    this.shared = Array.from({ length: sharedCount }, () => ({ name: "", tokens: burst, at: 0 }))
  }

  /** Units: milliseconds until there is a token; 0 has taken one. */
  take(client: string, now: number): number {
    const bucket = this.bucketOf(client, now)
    // A clock that was set back gives nothing, and takes nothing.
    const passed = Math.max(0, now - bucket.at)
    bucket.tokens = Math.min(this.burst, bucket.tokens + passed * this.perMilli)
    bucket.at = now
    const missing = 1 - bucket.tokens
    if (missing > rounding) return Math.max(1, Math.ceil(missing / this.perMilli - rounding))
    bucket.tokens -= 1
    return 0
  }

  /** Units: clients with a bucket of their own. */
  get size(): number {
    return this.own.size
  }

  private bucketOf(client: string, now: number): Bucket {
    const known = this.own.get(client)
    if (known !== undefined) return this.moved(known)
    const fits = client.length <= nameMax && (this.own.size < this.clientsMax || this.dropFilled(now))
    if (!fits) return this.shared[this.hash(client) % sharedCount]!
    // A copy: a part of a URL would keep the whole of it in memory.
    const name = JSON.parse(JSON.stringify(client)) as string
    return this.moved({ name, tokens: this.burst, at: now })
  }

  private moved(bucket: Bucket): Bucket {
    this.own.delete(bucket.name)
    this.own.set(bucket.name, bucket)
    return bucket
  }

  private dropFilled(now: number): boolean {
    const { done, value } = this.own.entries().next()
    if (done === true || now - value[1].at < this.fillMillis) return false
    return this.own.delete(value[0])
  }

  /** Source: http://www.isthe.com/chongo/tech/comp/fnv/ (FNV-1a), begun at a number of this process. */
  private hash(text: string): number {
    let hash = this.seed
    for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193)
    return (hash ^ (hash >>> 15)) >>> 0
  }
}
