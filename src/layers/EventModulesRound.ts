/** One payload on its way through the detectors of event modules. */
import type { AsyncResource } from "node:async_hooks"
import type { EventModule } from "./EventModules.ts"
import * as Calls from "./EventModulesCalls.ts"
import * as Copy from "./EventModulesCopy.ts"
import { type TimeLimit, told, type Waiting } from "./EventModulesLimit.ts"
import type { Snapshot } from "./EventModulesSnapshot.ts"
import { beginTurn, endTurn } from "./HasuraCompatHelpers.ts"

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
  /** Its detector answers at once, as far as is known: it sees the payload itself, and what it writes is taken back. */
  isQuick: boolean
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
    isQuick: false,
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
  /** Of the payload that is being asked about. */
  readonly snapshot: Snapshot
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
  /** What all of them share beside the payload. */
  private readonly context: object
  /** Of all that keep it for longer than a turn. */
  private copied: unknown
  /** Each module has a copy of its own: one of them wrote to what all of them saw, and is looked for. */
  private readonly apart: boolean
  private readonly refusals = Calls.refusals()
  /** One of them wrote to what the others see, and it was taken back. */
  private isSpoiled = false
  private resolve: ((verdicts: Verdicts) => void) | undefined
  private promise: Promise<Verdicts> | undefined

  constructor(asking: Asking, entries: ReadonlyArray<Entry>, payload: unknown, apart?: object) {
    this.asking = asking
    this.entries = entries
    this.payload = payload
    this.context = apart ?? {}
    this.apart = apart !== undefined
  }

  get asked(): ReadonlyArray<string> {
    return this.entries.map(({ event }) => event)
  }

  entryOf(event: string): Entry | undefined {
    return this.entries.find((entry) => entry.event === event)
  }

  goOn(): Verdicts | Promise<Verdicts> {
    const isWaiting = this.apart ? this.askOn(undefined) : this.askTogether()
    this.asking.turn.event = ""
    return isWaiting || this.open > 0 ? this.promise! : this.ended()
  }

  /** Those that answer at once see the payload itself. */
  private askTogether(): boolean {
    const { snapshot } = this.asking
    const seen = Copy.surface(this.payload, this.context)
    if (seen === undefined || !snapshot.take(seen)) return this.askOn(this.shared())
    beginTurn(seen)
    const isWaiting = this.askOn(seen)
    if (!endTurn()) this.isSpoiled = true
    if (!snapshot.holds()) {
      snapshot.restore()
      this.isSpoiled = true
    }
    return isWaiting
  }

  /**
   * Whether one that makes it wait is to answer before the next is asked. A plain loop: what a detector that answers at
   * once costs beside its own work is a call and a try.
   */
  private askOn(payload: unknown): boolean {
    const { apart, asking, entries } = this
    const { turn } = asking
    for (let i = this.next; i < entries.length; i++) {
      const entry = entries[i]!
      const { detector, event, scope } = entry
      const seen = apart || entry.writes ? this.own(event) : entry.isQuick ? payload : this.shared()
      let answer: unknown
      try {
        if (scope === undefined) {
          turn.event = event
          answer = detector(event, seen)
        } else answer = scope.runInAsyncScope(detector, undefined, event, seen)
        if (typeof answer !== "object" || answer === null || !isPromise(answer)) {
          entry.isQuick = true
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
      return true
    }
    this.next = entries.length
    return false
  }

  private waitFor(entry: Entry, answer: Promise<unknown>): void {
    const { limit } = this.asking
    entry.isQuick = false
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

  private shared(): unknown {
    this.copied ??= Copy.copy(this.payload, this.context)
    return this.copied
  }

  private own(event: string): unknown {
    const made = Copy.copy(this.payload, this.context)
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
    if (this.copied !== undefined && !Copy.isSame(this.payload, this.context, this.copied)) this.isSpoiled = true
    this.copied = undefined
    if (this.isSpoiled) return this.asking.inTurn(new Round(this.asking, this.entries, this.payload, this.context))
    if (this.asking.parallel && this.found.length > 1) {
      const order = new Map(this.entries.map(({ event }, i) => [event, i]))
      this.found.sort((a, b) => order.get(a)! - order.get(b)!)
    }
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
      const writes = !Copy.isSame(this.payload, this.context, seen)
      if (writes && !entry.writes) {
        entry.writes = true
        this.asking.warn(event, "the detector changes its payload: it has a copy of its own from now on")
      }
      if (!writes) this.owned!.delete(event)
    }
  }
}

const isPromise = (value: object): value is PromiseLike<unknown> => "then" in value && typeof value.then === "function"
