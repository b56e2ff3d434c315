/** Who is due next: a heap in which each member stands once, so that the first is known without a look at the others. */

export interface Due {
  /** Units: milliseconds since 1970. The heap sets it. */
  dueAt: number
  /** Its place in the heap, or -1 outside. The heap sets it. */
  place: number
}

export class Deadlines<D extends Due> {
  private readonly heap: Array<D> = []

  get first(): D | undefined {
    return this.heap[0]
  }

  /** Puts it in, or moves it to another time. */
  set(one: D, dueAt: number): void {
    if (one.place < 0) {
      one.place = this.heap.length
      this.heap.push(one)
    } else if (one.dueAt === dueAt) return
    one.dueAt = dueAt
    this.settle(one)
  }

  remove(one: D): void {
    if (one.place < 0) return
    const { place } = one
    const last = this.heap.pop()!
    one.place = -1
    if (last === one) return
    this.put(last, place)
    this.settle(last)
  }

  private settle(one: D): void {
    this.rise(one)
    this.sink(one)
  }

  private rise(one: D): void {
    while (one.place > 0) {
      const parent = this.heap[(one.place - 1) >> 1]!
      if (parent.dueAt <= one.dueAt) return
      this.swap(parent, one)
    }
  }

  private sink(one: D): void {
    for (;;) {
      const left = this.heap[2 * one.place + 1]
      if (left === undefined) return
      const right = this.heap[2 * one.place + 2]
      const least = right !== undefined && right.dueAt < left.dueAt ? right : left
      if (least.dueAt >= one.dueAt) return
      this.swap(one, least)
    }
  }

  private swap(one: D, other: D): void {
    const { place } = one
    this.put(one, other.place)
    this.put(other, place)
  }

  private put(one: D, place: number): void {
    this.heap[place] = one
    one.place = place
  }
}
