/** One payload on its way through the detectors of event modules. */
import type { AsyncResource } from "node:async_hooks"
import type { EventModule } from "./EventModules.ts"
import * as Calls from "./EventModulesCalls.ts"
import * as Copy from "./EventModulesCopy.ts"
import { type TimeLimit, told, type Waiting } from "./EventModulesLimit.ts"

/** What the modules said about one payload. */
export interface Verdicts {
  /** The events that were detected, in the order of the modules. */
  readonly found: ReadonlyArray<string>
  /** Every module that was asked, in order. */
  readonly asked: ReadonlyArray<string>
  /** Modules that threw or ran out of time, and in which words. */
  readonly broke: ReadonlyMap<string, string>
}

/** A module, and what was learnt about it. */
export interface Entry {
  readonly event: string
  readonly module: EventModule
  /** The module's, without its `this`, as it has always been called. */
  readonly detector: EventModule["detector"]
  /** Set where its detector makes one wait: it runs as its own call from then on, so that what it leaves has a name. */
  scope: AsyncResource | undefined
  readonly call: Calls.Call
  /** Its detector writes to the payload: it gets a copy of its own. */
  writes: boolean
}

export const entryOf = (module: EventModule): Entry => {
  const call = Calls.make(module.event, "detector")
  const isAsync = module.detector.constructor.name === "AsyncFunction"
  return {
    event: module.event,
    module,
    detector: module.detector,
    scope: isAsync ? Calls.scopeOf(call) : undefined,
    call,
    writes: false
  }
}

const noneBroke: ReadonlyMap<string, string> = new Map()

/** Who asks the detectors. */
export interface Asking {
  readonly limit: TimeLimit
  /** All detectors at the same time. */
  readonly parallel: boolean
  /** Detectors that answer at once run as this call, which is told whose turn it is. */
  readonly turn: Calls.Call
  /** Goes on with a round for as long as nothing makes it wait. */
  readonly inTurn: (round: Round) => Verdicts | Promise<Verdicts>
  readonly warn: (event: string, words: string) => void
}

export class Round implements Verdicts {
  found: Array<string> = []
  broke: ReadonlyMap<string, string> = noneBroke
  /** Copies that belong to one module alone. */
  owned: Map<string, unknown> | undefined
  private next = 0
  private open = 0
  private readonly asking: Asking
  private readonly entries: ReadonlyArray<Entry>
  private readonly payload: unknown
  private shared: unknown
  /** Each module has a copy of its own: one of them wrote to what all of them saw, and is looked for. */
  private readonly apart: boolean
  private readonly refusals = Calls.refusals()
  private resolve: ((verdicts: Verdicts) => void) | undefined
  private promise: Promise<Verdicts> | undefined

  constructor(asking: Asking, entries: ReadonlyArray<Entry>, payload: unknown, apart: boolean) {
    this.asking = asking
    this.entries = entries
    this.payload = payload
    this.apart = apart
    this.shared = apart ? undefined : Copy.copy(payload)
  }

  get asked(): ReadonlyArray<string> {
    return this.entries.map(({ event }) => event)
  }

  entryOf(event: string): Entry | undefined {
    return this.entries.find((entry) => entry.event === event)
  }

  /** A plain loop: what a detector that answers at once costs beside its own work is a call and a try. */
  goOn(): Verdicts | Promise<Verdicts> {
    const { apart, asking, entries, shared } = this
    const { turn } = asking
    for (let i = this.next; i < entries.length; i++) {
      const entry = entries[i]!
      const { detector, event, scope } = entry
      const seen = apart || entry.writes ? this.own(event) : shared
      let answer: unknown
      try {
        if (scope === undefined) {
          turn.event = event
          answer = detector(event, seen)
        } else answer = scope.runInAsyncScope(detector, undefined, event, seen)
        if (answer === false || answer === undefined) continue
        if (typeof answer !== "object" || !isPromise(answer)) {
          if (answer) this.found.push(event)
          continue
        }
      } catch (error) {
        this.breaks(entry, error)
        continue
      }
      // What only acts as a promise may call back at once or twice: this one does not.
      this.waitFor(entry, Promise.resolve(answer))
      if (asking.parallel) continue
      this.next = i + 1
      turn.event = ""
      return this.promise!
    }
    this.next = entries.length
    turn.event = ""
    return this.open > 0 ? this.promise! : this.ended()
  }

  private waitFor(entry: Entry, answer: Promise<unknown>): void {
    const { limit } = this.asking
    entry.scope ??= Calls.scopeOf(entry.call)
    this.promise ??= new Promise((resolve) => {
      this.resolve = resolve
    })
    this.open++
    const one: Waiting = {
      call: undefined,
      ticks: 0,
      onTimeUp: () => {
        this.breaks(entry, new Error(`no answer within ${told(limit.millis)}`))
        this.answered()
      }
    }
    limit.add(one)
    answer.then(
      (value) => {
        if (!limit.end(one)) return
        if (value) this.found.push(entry.event)
        this.answered()
      },
      (error) => {
        if (!limit.end(one))
          return this.asking.warn(entry.event, `the detector rejected too late: ${Calls.words(error)}`)
        this.breaks(entry, error)
        this.answered()
      }
    )
  }

  private answered(): void {
    this.open--
    if (this.next < this.entries.length) {
      const result = this.asking.inTurn(this)
      if (result !== this.promise) this.resolve!(result as Verdicts)
    } else if (this.open === 0) {
      const result = this.ended()
      // Looked at a second time it may be a promise, which is fine too.
      this.resolve!(result as Verdicts)
    }
  }

  private own(event: string): unknown {
    const made = Copy.copy(this.payload)
    this.owned ??= new Map()
    this.owned.set(event, made)
    return made
  }

  private breaks({ event }: Entry, error: unknown): void {
    if (this.broke === noneBroke) this.broke = new Map()
    const words = Calls.words(error)
    ;(this.broke as Map<string, string>).set(event, words)
    this.asking.warn(event, `the detector broke: ${words}`)
  }

  private ended(): Verdicts | Promise<Verdicts> {
    if (Calls.refusals() !== this.refusals) this.takeRefusals()
    if (this.apart || this.owned !== undefined) this.findWriters()
    if (!this.apart && !Copy.isSame(this.payload, this.shared)) {
      this.shared = undefined
      return this.asking.inTurn(new Round(this.asking, this.entries, this.payload, true))
    }
    if (this.asking.parallel && this.found.length > 1) {
      const order = new Map(this.entries.map(({ event }, i) => [event, i]))
      this.found.sort((a, b) => order.get(a)! - order.get(b)!)
    }
    this.shared = undefined
    return this
  }

  /** Who asked for the end of the process has broken, also where it caught what it was told. */
  private takeRefusals(): void {
    const calls = [this.asking.turn, ...this.entries.map(({ call }) => call)]
    for (const { exits } of calls) {
      for (const { event, words } of exits.splice(0)) {
        this.found = this.found.filter((found) => found !== event)
        const entry = this.entryOf(event)
        if (entry !== undefined && !this.broke.has(event)) this.breaks(entry, new Error(words))
      }
    }
  }

  private findWriters(): void {
    for (const [event, seen] of this.owned!) {
      const entry = this.entryOf(event)!
      const writes = !Copy.isSame(this.payload, seen)
      if (writes && !entry.writes) {
        entry.writes = true
        this.asking.warn(event, "the detector changes its payload: it has a copy of its own from now on")
      }
      if (!writes) this.owned!.delete(event)
    }
  }
}

const isPromise = (value: object | null): value is PromiseLike<unknown> =>
  value !== null && "then" in value && typeof value.then === "function"
