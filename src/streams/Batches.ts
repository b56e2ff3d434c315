/** Groups items into batches by size and age; a key's items keep their order within and across batches. */
import { type Fiber, MutableList } from "effect"
import type { Runner } from "./Runner.ts"

export interface Item {
  readonly key: string | undefined
  /** Goes by itself, since it failed in company. */
  alone: boolean
}

export interface Options<I> {
  readonly size: number
  /** How long the first item of a batch waits for company. Units: milliseconds. */
  readonly ageMillis: number
  readonly runner: Runner
  /** Whether a batch may begin now. */
  readonly open: () => boolean
  /** Begins a batch; `done` is called when all of it is answered. */
  readonly begin: (batch: ReadonlyArray<I>) => void
}

export class Batches<I extends Item> {
  private readonly fresh = MutableList.make<I>()
  /** What was put back because its key was busy or it failed; older than anything fresh of its key. */
  private readonly first = MutableList.make<I>()
  private readonly busy = new Map<string, Array<I>>()
  private timer: Fiber.Fiber<unknown> | undefined
  private due = false
  private flushing = false
  private readonly options: Options<I>

  constructor(options: Options<I>) {
    this.options = options
    options.runner.loop(() => this.pump())
  }

  get size(): number {
    return this.fresh.length + this.first.length
  }

  offer(item: I): void {
    MutableList.append(this.fresh, item)
  }

  /** A batch is answered: its keys are free again, and `again` goes ahead of all that came later. */
  done(batch: ReadonlyArray<I>, again: ReadonlyArray<I> = []): void {
    const released: Array<I> = [...again]
    for (const { key } of batch) {
      if (key === undefined) continue
      const held = this.busy.get(key)
      if (held === undefined) continue
      this.busy.delete(key)
      released.push(...held)
    }
    if (released.length > 0) {
      MutableList.prependAll(this.first, released)
      this.due = true
    }
  }

  /** Part of a batch stays at work: the rest leaves it, and of that `again` goes first, but behind what stays of its key. */
  leave(stays: ReadonlyArray<I>, left: ReadonlyArray<I>, again: ReadonlyArray<I>): void {
    const held = new Set(stays.map(({ key }) => key))
    const waits = ({ key }: I): boolean => key !== undefined && held.has(key)
    for (const item of again.filter(waits).reverse()) this.busy.get(item.key!)!.unshift(item)
    const free = again.filter((item) => !waits(item))
    this.done([...left.filter((item) => !waits(item)), ...free], free)
  }

  /** From now on nothing waits for company. */
  flush(): void {
    this.flushing = true
  }

  /** Takes back what no batch has taken yet. */
  takeAll(): ReadonlyArray<I> {
    const taken = [...MutableList.takeAll(this.first), ...MutableList.takeAll(this.fresh)]
    for (const held of this.busy.values()) taken.push(...held.splice(0))
    return taken
  }

  private pump(): boolean {
    let did = false
    while (this.size > 0 && this.options.open() && this.ripe()) {
      const batch = this.take()
      if (batch.length === 0) break
      did = true
      this.options.begin(batch)
    }
    if (this.size > 0 && this.timer === undefined && this.options.ageMillis > 0 && !this.flushing) this.wakeAtAge()
    return did
  }

  private ripe(): boolean {
    return this.options.ageMillis === 0 || this.flushing || this.due || this.size >= this.options.size
  }

  private take(): ReadonlyArray<I> {
    const batch: Array<I> = []
    const keys = new Set<string>()
    while (batch.length < this.options.size) {
      const item = this.next()
      if (item === undefined) {
        this.due = false
        break
      }
      if (item.key !== undefined && !keys.has(item.key)) {
        const held = this.busy.get(item.key)
        if (held !== undefined) {
          held.push(item)
          continue
        }
      }
      if (item.alone && batch.length > 0) {
        MutableList.prepend(this.first, item)
        break
      }
      batch.push(item)
      if (item.key !== undefined) {
        keys.add(item.key)
        this.busy.set(item.key, this.busy.get(item.key) ?? [])
      }
      if (item.alone) break
    }
    if (batch.length === this.options.size) this.restart()
    return batch
  }

  private next(): I | undefined {
    const item = MutableList.take(this.first.length > 0 ? this.first : this.fresh)
    return item === MutableList.Empty ? undefined : item
  }

  /** What is left over after a full batch waits for its own company. */
  private restart(): void {
    this.timer?.interruptUnsafe()
    this.timer = undefined
    this.due = false
  }

  private wakeAtAge(): void {
    const { ageMillis, runner } = this.options
    this.timer = runner.after(ageMillis, () => {
      this.timer = undefined
      this.due = true
    })
  }
}
