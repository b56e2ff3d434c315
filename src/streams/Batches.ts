/** Groups items into batches by size, bytes and age; a key's items keep their order within and across batches and groups. */
import { type Fiber, MutableList } from "effect"
import { Batcher, type BatcherOptions, type Group, type Item, Line, type Placed } from "./BatchGroups.ts"
import { Deadlines } from "./Deadlines.ts"
import type { Runner } from "./Runner.ts"

/** Batchers whose items share one order per key. */
export class Batches<I extends Item> {
  private readonly lines = new Map<string, Line<I>>()
  private readonly batchers: Array<Batcher<I>> = []
  private readonly deadlines = new Deadlines<Group<I>>()
  private timer: { readonly at: number; readonly fiber: Fiber.Fiber<unknown> | undefined } | undefined
  private begun = 0
  private flushing = false
  private stopped = false
  private readonly runner: Runner

  constructor(runner: Runner) {
    this.runner = runner
    runner.loop(() => this.pump())
  }

  add(options: BatcherOptions<I>): Batcher<I> {
    const batcher = new Batcher(options)
    this.batchers.push(batcher)
    return batcher
  }

  offer(item: I, group: Group<I>): void {
    if (group.batcher.options.ageMillis > 0) item.at = this.runner.time
    this.enter(item, group)
  }

  /** All of a batch is answered: its keys are free again, and `again` goes ahead of all that came later. */
  done(group: Group<I>, batch: ReadonlyArray<I>, again: ReadonlyArray<I> = []): void {
    if (again.length === 0) return this.leave(group, batch, again)
    const stays = new Set(again)
    this.leave(
      group,
      batch.filter((item) => !stays.has(item)),
      again
    )
  }

  /** Part of a batch is answered and part of it goes `again`, first of its key but behind what is still at work. */
  leave(group: Group<I>, answered: ReadonlyArray<I>, again: ReadonlyArray<I>): void {
    const freed: Array<Line<I>> = []
    const returns: Array<I> = []
    for (let i = 0; i < answered.length; i++) {
      const { key } = answered[i]!
      group.open--
      if (key === undefined) continue
      const line = this.lines.get(key)!
      line.open--
      if (--line.working === 0) freed.push(line)
    }
    for (const { key } of again) {
      if (key === undefined) continue
      const line = this.lines.get(key)!
      if (--line.working === 0) freed.push(line)
    }
    for (let i = again.length - 1; i >= 0; i--) {
      const line = this.lineOf(again[i]!)
      if (line === undefined || line.working === 0) returns.push(again[i]!)
      else if (line.held === undefined) line.held = [again[i]!]
      else line.held.unshift(again[i]!)
    }
    returns.reverse()
    for (const line of freed) {
      group.ready += line.queued
      group.readyBytes += line.queuedBytes
      if (line.held === undefined) continue
      returns.push(...line.held)
      line.held = undefined
    }
    for (const item of returns) this.counted(item, group, this.lineOf(item))
    if (returns.length > 0) MutableList.prependAllUnsafe(group.first, returns, true)
    for (const line of freed) if (line.open === 0) this.next(line)
    this.renew(group)
    group.batcher.left(group)
  }

  /** From now on nothing waits for company. */
  flush(): void {
    this.flushing = true
    for (const { all } of this.batchers) for (const group of all) this.list(group)
  }

  /** From now on everything begins at once: whoever takes it gives it back. */
  stop(): void {
    this.stopped = true
    this.flush()
  }

  /** Takes back what no batch has taken yet, or those of it that are meant. */
  takeAll(meant: (item: I) => boolean = () => true): ReadonlyArray<I> {
    const all = this.emptied()
    const taken: Array<I> = []
    for (const { group, item } of all) {
      if (meant(item)) taken.push(item)
      else this.enter(item, group.batcher.group(group.key))
    }
    return taken
  }

  // ---------------------------------------------------------------------------------------------------- ways in

  private enter(item: I, group: Group<I>): void {
    group.open++
    const line = item.key === undefined ? undefined : this.entered(item.key, item, group)
    if (line === null) return
    this.counted(item, group, line)
    MutableList.append(group.fresh, item)
    this.grown(item, group)
  }

  /** The line in which it stands now; null when it has to wait behind another group. */
  private entered(key: string, item: I, group: Group<I>): Line<I> | null {
    let line = this.lines.get(key)
    if (line === undefined) {
      line = new Line<I>(key, group)
      this.lines.set(key, line)
    } else if (line.parked !== undefined) {
      line.parked.push({ item, group })
      return null
    } else if (line.group !== group) {
      line.parked = [{ item, group }]
      return null
    }
    line.open++
    return line
  }

  /** It stands in the lists of its group from now on. */
  private counted(item: I, group: Group<I>, line: Line<I> | undefined): void {
    const bytes = item.bytes ?? 0
    if (item.alone) group.alone++
    if (line !== undefined) {
      line.queued++
      line.queuedBytes += bytes
      if (line.working > 0) return
    }
    group.ready++
    group.readyBytes += bytes
  }

  private grown(item: I, group: Group<I>): void {
    const { ageMillis } = group.batcher.options
    if (ageMillis > 0 && !group.due && group.ready > 0) {
      const dueAt = item.at! + ageMillis
      if (dueAt <= this.runner.time) this.isDue(group)
      else if (group.place < 0 || dueAt < group.dueAt) this.deadlines.set(group, dueAt)
    }
    this.list(group)
  }

  /** The key has nothing open in its group: what waited behind it goes on, as far as it goes to one group. */
  private next(line: Line<I>): void {
    const { parked } = line
    if (parked === undefined) {
      this.lines.delete(line.key)
      return
    }
    const { group } = parked[0]!
    line.group = group
    let n = 0
    while (n < parked.length && parked[n]!.group === group) {
      const { item } = parked[n++]!
      line.open++
      this.counted(item, group, line)
      MutableList.append(group.first, item)
      this.grown(item, group)
    }
    if (n === parked.length) line.parked = undefined
    else parked.splice(0, n)
  }

  // --------------------------------------------------------------------------------------------------- ways out

  private pump(): boolean {
    let did = false
    for (const { options, ripe } of this.batchers) {
      while (ripe.length > 0 && (this.stopped || options.open())) {
        const group = MutableList.take(ripe) as Group<I>
        group.listed = false
        if (group.trigger(this.flushing) === undefined) continue
        did = true
        this.begin(group)
      }
    }
    this.arm()
    return did
  }

  private list(group: Group<I>): void {
    if (group.listed || group.trigger(this.flushing) === undefined) return
    group.listed = true
    MutableList.append(group.batcher.ripe, group)
  }

  private begin(group: Group<I>): void {
    const { begin, bytesMax = Number.POSITIVE_INFINITY, size } = group.batcher.options
    const wanted = group.trigger(this.flushing)!
    const batch: Array<I> = []
    const lines: Array<Line<I>> = []
    const number = ++this.begun
    let total = 0
    let cut = false
    while (batch.length < size && !cut) {
      const item = group.take()
      if (item === undefined) break
      const line = this.lineOf(item)
      if (line !== undefined && line.working > 0 && line.batch !== number) {
        this.hold(item, line, group)
        continue
      }
      const bytes = item.bytes ?? 0
      cut = total + bytes > bytesMax
      if (batch.length > 0 && (cut || item.alone)) {
        MutableList.prepend(group.first, item)
        break
      }
      batch.push(item)
      total += bytes
      group.ready--
      group.readyBytes -= bytes
      if (item.alone) group.alone--
      if (line !== undefined) {
        line.queued--
        line.queuedBytes -= bytes
        if (line.working++ === 0) {
          line.batch = number
          lines.push(line)
        }
      }
      if (item.alone) break
    }
    // What these keys have left waits until the batch is answered.
    for (const { queued, queuedBytes } of lines) {
      group.ready -= queued
      group.readyBytes -= queuedBytes
    }
    this.renew(group)
    if (batch.length === 0) return
    begin(batch, group, batch.length === size ? "size" : cut ? "bytes" : wanted)
  }

  /** Its key is at work: it waits aside, ahead of what stands in the lists. */
  private hold(item: I, line: Line<I>, group: Group<I>): void {
    if (item.alone) group.alone--
    line.queued--
    line.queuedBytes -= item.bytes ?? 0
    if (line.held === undefined) line.held = [item]
    else line.held.push(item)
  }

  /** The oldest that could go. */
  private head(group: Group<I>): I | undefined {
    for (;;) {
      const item = group.peek()
      if (item === undefined) return undefined
      const line = this.lineOf(item)
      if (line === undefined || line.working === 0) return item
      group.take()
      this.hold(item, line, group)
    }
  }

  private lineOf({ key }: I): Line<I> | undefined {
    return key === undefined ? undefined : this.lines.get(key)
  }

  private emptied(): ReadonlyArray<Placed<I>> {
    const all: Array<Placed<I>> = []
    const out = (item: I, group: Group<I>, line: Line<I> | undefined): void => {
      all.push({ item, group })
      group.open--
      if (line !== undefined) line.open--
    }
    for (const line of this.lines.values()) {
      for (const item of line.held ?? []) out(item, line.group, line)
      line.held = undefined
      line.queued = 0
      line.queuedBytes = 0
    }
    const groups = this.batchers.flatMap((batcher) => batcher.all)
    for (const group of groups) {
      for (const item of MutableList.takeAll(group.first)) out(item, group, this.lineOf(item))
      for (const item of MutableList.takeAll(group.fresh)) out(item, group, this.lineOf(item))
      group.ready = 0
      group.readyBytes = 0
      group.alone = 0
    }
    for (const line of [...this.lines.values()]) {
      for (const { group, item } of line.parked ?? []) out(item, group, undefined)
      line.parked = undefined
      if (line.open === 0) this.lines.delete(line.key)
    }
    for (const group of groups) {
      this.renew(group)
      group.batcher.left(group)
    }
    return all
  }

  // ------------------------------------------------------------------------------------------------------- time

  /** Looks anew at how long the group may wait. */
  private renew(group: Group<I>): void {
    const { ageMillis } = group.batcher.options
    if (ageMillis > 0) {
      const head = group.ready > 0 ? this.head(group) : undefined
      group.due = false
      if (head === undefined) this.deadlines.remove(group)
      else if (head.at! + ageMillis <= this.runner.time) this.isDue(group)
      else this.deadlines.set(group, head.at! + ageMillis)
    }
    this.list(group)
  }

  /** One timer, for whoever is due first. */
  private arm(): void {
    const { first } = this.deadlines
    if (first === undefined || (this.timer !== undefined && this.timer.at <= first.dueAt)) return
    this.timer?.fiber?.interruptUnsafe()
    const at = first.dueAt
    const fiber = this.runner.after(Math.max(1, at - this.runner.time), () => this.wake())
    this.timer = { at, fiber }
  }

  private wake(): void {
    this.timer = undefined
    for (;;) {
      const { first } = this.deadlines
      if (first === undefined || first.dueAt > this.runner.time) return
      this.isDue(first)
      this.list(first)
    }
  }

  private isDue(group: Group<I>): void {
    this.deadlines.remove(group)
    group.due = true
  }
}
