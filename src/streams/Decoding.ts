/** Decodes what the codec has to wait for, until it has come or the pipeline stops waiting. */
import type { Effect, Exit, Fiber } from "effect"
import type { DecodeError } from "../services/Codec.ts"
import type { Event } from "../services/Event.ts"
import type { Runner } from "./Runner.ts"

export class Decoding {
  private readonly waiting = new Set<Fiber.Fiber<Event, DecodeError>>()
  private readonly runner: Runner
  private stopped = false

  constructor(runner: Runner) {
    this.runner = runner
  }

  /** The fiber comes back when it must be waited for; what was interrupted has not been decoded, and is no failure. */
  start(
    later: Effect.Effect<Event, DecodeError>,
    onExit: (exit: Exit.Exit<Event, DecodeError>) => void
  ): Fiber.Fiber<Event, DecodeError> | undefined {
    let fiber: Fiber.Fiber<Event, DecodeError> | undefined
    fiber = this.runner.start(later, (exit) => {
      if (fiber !== undefined) this.waiting.delete(fiber)
      onExit(exit)
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
