/** What a pipeline counts, as plain numbers: the hot path adds, a scrape reads. */

/** Units: milliseconds. */
export const durationBounds = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000]

/** Units: messages of a batch. */
export const sizeBounds = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000]

export class Histogram {
  readonly bounds: ReadonlyArray<number>
  readonly counts: Array<number>
  count = 0
  sum = 0
  min = 0
  max = 0

  constructor(bounds: ReadonlyArray<number> = durationBounds) {
    this.bounds = bounds
    this.counts = new Array<number>(bounds.length + 1).fill(0)
  }

  observe(value: number): void {
    const { bounds } = this
    let bucket = 0
    while (bucket < bounds.length && value > bounds[bucket]!) bucket++
    this.counts[bucket] = this.counts[bucket]! + 1
    this.count++
    this.sum += value
    if (value > this.max) this.max = value
    if (value < this.min) this.min = value
  }
}

/** What a batcher has sent out. */
export class BatchStats {
  size = 0
  bytes = 0
  age = 0
  flush = 0
  readonly sizes = new Histogram(sizeBounds)
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
  private readonly batchers = new Map<string, BatchStats>()

  batcher(name: string): BatchStats {
    const known = this.batchers.get(name)
    if (known !== undefined) return known
    const created = new BatchStats()
    this.batchers.set(name, created)
    return created
  }
}
