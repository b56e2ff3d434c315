/** What a pipeline counts, as plain numbers: the hot path adds, a scrape reads. */

/** Units: milliseconds. */
export const durationBounds = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000]

export class Histogram {
  readonly counts = new Array<number>(durationBounds.length + 1).fill(0)
  count = 0
  sum = 0
  min = 0
  max = 0

  observe(value: number): void {
    let bucket = 0
    while (bucket < durationBounds.length && value > durationBounds[bucket]!) bucket++
    this.counts[bucket] = this.counts[bucket]! + 1
    this.count++
    this.sum += value
    if (value > this.max) this.max = value
    if (value < this.min) this.min = value
  }
}

export class Stats {
  received = 0
  acked = 0
  buried = 0
  refused = 0
  nacked = 0
  duplicates = 0
  dropped = 0
  undetected = 0
  retries = 0
  /** Dead letters written: one per buried leg. */
  letters = 0
  published = 0
  /** Deliveries received and not settled. */
  held = 0
  /** Units: bytes of their payloads, as they came and decoded. */
  heldBytes = 0
  /** From the source's hand to the settlement. */
  readonly latency = new Histogram()
  /** One try of a leg. */
  readonly leg = new Histogram()
}
