/** What batches are made from: batchers, their groups of items that may go together, and the lines of the items' keys. */
import { MutableList } from "effect"
import type { Trigger } from "../services/Dispatcher.ts"
import type { Due } from "./Deadlines.ts"

export interface Item {
  readonly key: string | undefined
  /** What it counts against the bytes of a batch; absent: nothing. */
  readonly bytes?: number
  /** Goes by itself, since it failed in company. */
  alone: boolean
  /** When it was offered, where an age counts. Units: milliseconds since 1970. */
  at?: number
}

/** How one batcher groups. */
export interface BatcherOptions<I extends Item> {
  readonly size: number
  /** Units: bytes of a batch; a larger item goes by itself. */
  readonly bytesMax?: number | undefined
  /** How long the oldest item of a batch waits for company. Units: milliseconds. */
  readonly ageMillis: number
  /** Whether a batch may begin now. */
  readonly open: () => boolean
  /** Begins a batch; `done` is called when all of it is answered. */
  readonly begin: (batch: ReadonlyArray<I>, group: Group<I>, trigger: Trigger) => void
}

/** Items that may stand in one batch: those of one batcher with the same value of its key. */
export class Group<I extends Item> implements Due {
  dueAt = 0
  place = -1
  readonly fresh = MutableList.make<I>()
  /** What was put back because its key was busy or it failed, or came from behind another group; goes ahead of the fresh. */
  readonly first = MutableList.make<I>()
  /** Unanswered, wherever they are. */
  open = 0
  /** Of those in the two lists, what a batch could take now: items, bytes, and those that go by themselves. */
  ready = 0
  readyBytes = 0
  alone = 0
  /** The oldest has waited long enough. */
  due = false
  /** Stands in its batcher's list of those that can begin. */
  listed = false
  readonly batcher: Batcher<I>
  readonly key: string | undefined

  constructor(batcher: Batcher<I>, key: string | undefined) {
    this.batcher = batcher
    this.key = key
  }

  /** Why a batch is to begin now, if one is; when flushing nothing waits for company. */
  trigger(flushing: boolean): Trigger | undefined {
    const { ageMillis, bytesMax, size } = this.batcher.options
    if (this.ready === 0) return undefined
    if (this.alone > 0) return "flush"
    if (this.ready >= size) return "size"
    if (bytesMax !== undefined && this.readyBytes >= bytesMax) return "bytes"
    if (this.due || ageMillis === 0) return "age"
    return flushing ? "flush" : undefined
  }

  /** Takes the first of its lists. */
  take(): I | undefined {
    const item = MutableList.take(this.first.length > 0 ? this.first : this.fresh)
    return item === MutableList.Empty ? undefined : item
  }

  peek(): I | undefined {
    return MutableList.toArrayN(this.first.length > 0 ? this.first : this.fresh, 1)[0]
  }
}

export class Batcher<I extends Item> {
  /** Groups that can begin, each once and in turn. */
  readonly ripe = MutableList.make<Group<I>>()
  private readonly whole: Group<I>
  private readonly groups = new Map<string, Group<I>>()
  readonly options: BatcherOptions<I>

  constructor(options: BatcherOptions<I>) {
    this.options = options
    this.whole = new Group<I>(this, undefined)
  }

  group(key: string | undefined): Group<I> {
    if (key === undefined) return this.whole
    let group = this.groups.get(key)
    if (group === undefined) {
      group = new Group<I>(this, key)
      this.groups.set(key, group)
    }
    return group
  }

  /** One that is empty is not kept. */
  left(group: Group<I>): void {
    if (group.open === 0 && group.key !== undefined) this.groups.delete(group.key)
  }

  get all(): ReadonlyArray<Group<I>> {
    return [this.whole, ...this.groups.values()]
  }
}

export interface Placed<I extends Item> {
  readonly item: I
  readonly group: Group<I>
}

/** A key with unanswered items: all of them in one group, and behind it those that wait for that to end. */
export class Line<I extends Item> {
  /** Unanswered in the group. */
  open = 0
  /** Of those at work, all in the batch of that number. */
  working = 0
  batch = 0
  /** Of those in the lists of the group. */
  queued = 0
  queuedBytes = 0
  /** Of those older than what is in the lists: met while the key was at work. */
  held: Array<I> | undefined
  /** For another group, or behind one that is. */
  parked: Array<Placed<I>> | undefined
  readonly key: string
  group: Group<I>

  constructor(key: string, group: Group<I>) {
    this.key = key
    this.group = group
  }
}
