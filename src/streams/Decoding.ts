/** Decodes what the codec has to wait for, until it has come or the pipeline stops waiting. */
import { Cause, type Effect, Exit, type Fiber } from "effect"
import type { DecodeError } from "../services/Codec.ts"
import type { Event } from "../services/Event.ts"
import { type Runner, sentence } from "./Runner.ts"
import type { Work } from "./Work.ts"

/** What became of a work; one of them is called once. */
export interface Decoded {
  decoded(work: Work, event: Event): void
  undecodable(work: Work, reason: string): void
  /** Nothing is known of it: it was no longer waited for. */
  undecided(work: Work): void
}

export class Decoding {
  private readonly waiting = new Set<Fiber.Fiber<Event, DecodeError>>()
  private readonly runner: Runner
  private readonly ends: Decoded
  private stopped = false

  constructor(runner: Runner, ends: Decoded) {
    this.runner = runner
    this.ends = ends
  }

  /** The fiber comes back when it must be waited for. */
  start(work: Work, later: Effect.Effect<Event, DecodeError>): Fiber.Fiber<Event, DecodeError> | undefined {
    let fiber: Fiber.Fiber<Event, DecodeError> | undefined
    fiber = this.runner.start(later, (exit) => {
      if (fiber !== undefined) this.waiting.delete(fiber)
      if (Exit.isSuccess(exit)) this.ends.decoded(work, exit.value)
      // A codec that interrupts itself has a defect like any other.
      else if (this.stopped && Cause.hasInterruptsOnly(exit.cause)) this.ends.undecided(work)
      else this.ends.undecodable(work, sentence(exit.cause))
    })
    if (fiber === undefined) return undefined
    this.waiting.add(fiber)
    if (this.stopped) fiber.interruptUnsafe()
    return fiber
  }

  /** From here on nothing is waited for. */
  stop(): void {
    this.stopped = true
    for (const fiber of this.waiting) fiber.interruptUnsafe()
  }
}
