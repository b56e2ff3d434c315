/** Runs effects from plain callbacks, in turns: the road's loops are plain code, and only what suspends stays a fiber. */
import { Cause, Clock, Context, Effect, Exit, type Fiber, Random, type Scope } from "effect"

/** Units: milliseconds a loop may run before timers, heartbeats and sockets get their turn. */
const sliceMillis = 8

export class Runner {
  private readonly fibers = new Set<Fiber.Fiber<unknown, unknown>>()
  private readonly loops: Array<() => boolean> = []
  private readonly fork: <A, E>(effect: Effect.Effect<A, E>) => Fiber.Fiber<A, E>
  private readonly clock: Clock.Clock
  private depth = 0
  private turnedAt = 0
  private continuing = false
  /** Called when the road's own code throws. */
  onDefect: (defect: unknown) => void = () => {}

  readonly context: Context.Context<never>

  constructor(context: Context.Context<never>) {
    this.context = context
    this.fork = Effect.runForkWith(context)
    this.clock = Context.get(context, Clock.Clock)
  }

  /** The time as of this turn, or of the last look at the clock within it. Units: milliseconds since 1970. */
  time = 0

  now(): number {
    this.time = this.clock.currentTimeMillisUnsafe()
    return this.time
  }

  random(): number {
    return Context.get(this.context, Random.Random).nextDoubleUnsafe()
  }

  /**
   * Starts an effect and hands its exit to `onExit`, at once when it need not wait.
   *
   * A synchronous effect costs no scheduling, since its fiber ends within the call.
   */
  start<A, E>(effect: Effect.Effect<A, E>, onExit: (exit: Exit.Exit<A, E>) => void): Fiber.Fiber<A, E> | undefined {
    const fiber = this.fork(effect)
    const exit = fiber.pollUnsafe()
    if (exit !== undefined) {
      onExit(exit)
      return undefined
    }
    this.fibers.add(fiber)
    fiber.addObserver((exit) => {
      this.fibers.delete(fiber)
      this.turn(() => onExit(exit))
    })
    return fiber
  }

  after(millis: number, f: () => void): Fiber.Fiber<void> | undefined {
    return this.start(Effect.sleep(millis), (exit) => {
      if (Exit.isSuccess(exit)) f()
    })
  }

  log(effect: Effect.Effect<void>): void {
    this.start(effect, () => {})
  }

  /** A loop that is run at the end of each turn; it returns true when it did something. */
  loop(f: () => boolean): void {
    this.loops.push(f)
  }

  /** Everything that touches the road happens in a turn; when the outermost ends, the loops run until all are idle. */
  turn(f: () => void): void {
    if (++this.depth === 1) this.turnedAt = this.now()
    try {
      f()
      if (this.depth === 1) while (this.runLoops()) {}
    } catch (defect) {
      this.onDefect(defect)
    } finally {
      this.depth--
    }
  }

  /** Calls `next` until it returns false, but goes on in a later turn when the time slice is used up. */
  slice(next: () => boolean): boolean {
    let did = false
    for (let i = 1; next(); i++) {
      did = true
      if ((i & 15) === 0 && this.late()) {
        this.continueLater()
        return false
      }
    }
    return did
  }

  /** Looks at the clock: whether this turn has used up its time. */
  late(): boolean {
    return this.now() > this.turnedAt + sliceMillis
  }

  /** Set while everything is interrupted. */
  closing = false

  /** Returns once all fibers started here have ended. */
  interruptAll(): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.closing = true
      for (const fiber of this.fibers) fiber.interruptUnsafe()
      return this.fibers.size === 0
        ? Effect.void
        : Effect.forEach([...this.fibers], (fiber) => Effect.exit(settled(fiber)), { discard: true })
    })
  }

  private runLoops(): boolean {
    let did = false
    for (let i = 0; i < this.loops.length; i++) if (this.loops[i]!()) did = true
    return did
  }

  private continueLater(): void {
    if (this.continuing) return
    this.continuing = true
    this.start(Effect.yieldNow, () => {
      this.continuing = false
    })
  }
}

const settled = <A, E>(fiber: Fiber.Fiber<A, E>): Effect.Effect<void> =>
  Effect.callback<void>((resume) => {
    fiber.addObserver(() => resume(Effect.void))
  })

/** A runner whose fibers end with the scope. */
export const make: Effect.Effect<Runner, never, Scope.Scope> = Effect.acquireRelease(
  Effect.map(Effect.context<never>(), (context) => new Runner(context)),
  (runner) => runner.interruptAll()
)

/** What a cause says in one line. */
export const sentence = (cause: Cause.Cause<unknown>): string => {
  const failure = cause.reasons.find(Cause.isFailReason)
  if (failure !== undefined) return words(failure.error)
  const defect = cause.reasons.find(Cause.isDieReason)
  return defect === undefined ? "interrupted" : `defect: ${words(defect.defect)}`
}

/** What an error, or anything thrown in its place, says in one line. */
export const words = (error: unknown): string => {
  const text =
    error instanceof Error
      ? error.message === ""
        ? error.name
        : error.message
      : typeof error === "string"
        ? error
        : typeof error === "object" && error !== null && "message" in error && typeof error.message === "string"
          ? error.message
          : (JSON.stringify(error) ?? String(error))
  const line = text.replaceAll(/\s+/g, " ").trim()
  return line.length > 500 ? `${line.slice(0, 500)}...` : line
}
