/** How much may work at the same time: a bound, and a queue of what is ready to start, first come first served. */
import { MutableList } from "effect"
import type { Runner } from "./Runner.ts"

export interface Job {
  /** Called with a slot taken; whoever ends the job calls `release`. */
  start(): void
}

export class Slots {
  active = 0
  private readonly ready = MutableList.make<Job>()
  /** How many may start: none while held. */
  private room: number
  private wanted: number

  constructor(limit: number, runner: Runner) {
    this.wanted = limit
    this.room = limit
    const next = (): boolean => this.next()
    runner.loop(() => this.ready.length > 0 && this.active < this.room && runner.slice(next))
  }

  get free(): boolean {
    return this.active + this.ready.length < this.room
  }

  get limit(): number {
    return this.wanted
  }

  set limit(limit: number) {
    if (this.room === this.wanted) this.room = limit
    this.wanted = limit
  }

  /** Nothing starts any more until it is let go. */
  hold(): void {
    this.room = 0
  }

  go(): void {
    this.room = this.wanted
  }

  /** Starts the job at once when a slot is free and nobody waits for one, otherwise in its turn. */
  submit(job: Job): void {
    if (this.active < this.room && this.ready.length === 0) {
      this.active++
      job.start()
    } else MutableList.append(this.ready, job)
  }

  /** Ahead of the others: for the next of a lane, so that a key with a backlog goes as fast as its order allows. */
  submitFirst(job: Job): void {
    if (this.active < this.room) {
      this.active++
      job.start()
    } else MutableList.prepend(this.ready, job)
  }

  release(): void {
    this.active--
  }

  /** Takes back what has not started. */
  takeAll(): ReadonlyArray<Job> {
    return MutableList.takeAll(this.ready)
  }

  private next(): boolean {
    if (this.active >= this.room) return false
    const job = MutableList.take(this.ready)
    if (job === MutableList.Empty) return false
    this.active++
    job.start()
    return true
  }
}
