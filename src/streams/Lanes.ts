/** One lane per key: the work of a key goes one by one, in the order it came; an idle lane does not exist. */
import { MutableList } from "effect"

export class Lanes<W> {
  private readonly lanes = new Map<string, MutableList.MutableList<W> | undefined>()
  /** Works that wait behind another of their key. */
  waiting = 0

  get size(): number {
    return this.lanes.size
  }

  has(key: string): boolean {
    return this.lanes.has(key)
  }

  /** True when the work may begin; otherwise it waits, and `leave` returns it when its turn comes. */
  enter(key: string, work: W): boolean {
    const lane = this.lanes.get(key)
    if (lane !== undefined) {
      MutableList.append(lane, work)
      this.waiting++
      return false
    }
    if (this.lanes.has(key)) {
      const created = MutableList.make<W>()
      MutableList.append(created, work)
      this.lanes.set(key, created)
      this.waiting++
      return false
    }
    this.lanes.set(key, undefined)
    return true
  }

  /** The work that had the lane is done with it; returns the next one of that key. */
  leave(key: string): W | undefined {
    const lane = this.lanes.get(key)
    if (lane === undefined || lane.length === 0) {
      this.lanes.delete(key)
      return undefined
    }
    this.waiting--
    return MutableList.take(lane) as W
  }

  /** Takes back all that waits, in order per key; the works that have their lanes keep them. */
  takeWaiting(): ReadonlyArray<W> {
    const taken: Array<W> = []
    for (const lane of this.lanes.values()) if (lane !== undefined) taken.push(...MutableList.takeAll(lane))
    this.waiting = 0
    return taken
  }

  /** The key with the longest queue: whom the others wait for when the buffer is full. */
  longest(): { readonly key: string; readonly waiting: number } | undefined {
    let found: { key: string; waiting: number } | undefined
    for (const [key, lane] of this.lanes)
      if (lane !== undefined && lane.length > (found?.waiting ?? 0)) found = { key, waiting: lane.length }
    return found
  }
}
