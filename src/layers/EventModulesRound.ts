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
  /** Set where its detector makes one wait: it runs as its own call from then on, so that what it leaves has a name. */
  scope: AsyncResource | undefined
  readonly call: Calls.Call
  /** Whether its detector gives its promise an answer without waiting for anything: the next one need not wait for it. */
  isQuick: boolean | undefined
  /** Its detector writes to the payload: it gets a copy of its own. */
  writes: boolean
}

export const entryOf = (module: EventModule): Entry => {
  const call = Calls.make(module.event, "detector")
  const isAsync = module.detector.constructor.name === "AsyncFunction"
  return {
    event: module.event,
    module,
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
  /** Goes on with a round for as long as nothing makes it wait. */
  readonly inTurn: (round: Round) => Verdicts | Promise<Verdicts>
  readonly warn: (event: string, words: string) => void
}

type Batch = Array<{ readonly entry: Entry; readonly answer: Promise<unknown> }>

export class Round implements Verdicts, Waiting {
  found: Array<string> = []
  broke: ReadonlyMap<string, string> = noneBroke
  /** Copies that belong to one module alone. */
  owned: Map<string, unknown> | undefined
  readonly call = undefined
  /** How long the one that is waited for has been. */
  ticks = 0
  private next = 0
  /** Those whose answers are waited for, and which of them is. */
  private batch: Batch = []
  private at = 0
  private isLong = false
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
    const { asking, entries } = this
    const { turn } = asking
    while (this.next < entries.length) {
      const entry = entries[this.next]!
      const { event, module, scope } = entry
      // Whoever makes one wait for long begins when those before have answered.
      if (entry.isQuick !== true && this.batch.length > 0 && !asking.parallel) break
      this.next++
      const seen = this.apart || entry.writes ? this.own(event) : this.shared
      let answer: unknown
      try {
        if (scope === undefined) {
          turn.event = event
          answer = module.detector(event, seen)
        } else answer = scope.runInAsyncScope(module.detector, undefined, event, seen)
        if (answer === false || answer === undefined) continue
        if (typeof answer !== "object" || !isPromise(answer)) {
          if (answer) this.found.push(event)
          continue
        }
      } catch (error) {
        this.breaks(entry, error)
        continue
      }
      // What a promise is not, but acts as, may call back at once or twice: this one does not.
      this.batch.push({ entry, answer: Promise.resolve(answer) })
      entry.scope ??= Calls.scopeOf(entry.call)
      if (entry.isQuick !== true && !asking.parallel) break
    }
    turn.event = ""
    return this.batch.length === 0 ? this.ended() : this.wait()
  }

  /** Waits for the answers of a batch in their order. */
  private wait(): Promise<Verdicts> {
    this.promise ??= new Promise((resolve) => {
      this.resolve = resolve
    })
    this.ticks = 0
    this.isLong = false
    this.asking.limit.add(this)
    queueMicrotask(this.lookLater)
    this.take(this.batch)
    return this.promise
  }

  /**
   * Goes through the answers one by one: most are there, and a promise that is awaited costs a third of one that is told
   * whom to call.
   */
  private async take(batch: Batch): Promise<void> {
    for (let at = this.at; at < batch.length; at++) {
      const { answer, entry } = batch[at]!
      let value: unknown
      try {
        value = await answer
      } catch (error) {
        // It was given up, and somebody else has gone on from there.
        if (this.at !== at || this.batch !== batch) return this.late(entry, error)
        this.breaks(entry, error)
      }
      if (this.at !== at || this.batch !== batch) return
      if (value) this.found.push(entry.event)
      if (!this.isLong) entry.isQuick ??= true
      this.at++
    }
    this.answered()
  }

  /** The one that is waited for has had its time, and so have those behind it: all began together. */
  onTimeUp(): void {
    const { batch } = this
    this.breaks(batch[this.at]!.entry, new Error(`no answer within ${told(this.asking.limit.millis)}`))
    const at = ++this.at
    this.asking.limit.add(this)
    this.take(batch)
    setImmediate(() => {
      if (this.batch === batch && this.at === at && this.asking.limit.end(this)) this.onTimeUp()
    })
  }

  /** After all that could be answered without waiting has been, and before rejections are said to be nobody's. */
  private readonly lookLater = () => process.nextTick(look, this)

  look(): void {
    this.isLong = true
    const { at, batch } = this
    if (at < batch.length) batch[at]!.entry.isQuick = false
    // They may reject before their turn has come.
    for (let i = at + 1; i < batch.length; i++) batch[i]!.answer.catch(nothing)
  }

  private late(entry: Entry, error: unknown): void {
    this.asking.warn(entry.event, `the detector rejected too late: ${Calls.words(error)}`)
  }

  private answered(): void {
    this.asking.limit.end(this)
    this.batch = []
    this.at = 0
    const result = this.next < this.entries.length ? this.asking.inTurn(this) : this.ended()
    if (result !== this.promise) this.resolve!(result as Verdicts)
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

const look = (round: Round): void => round.look()

const nothing = (): void => {}

const isPromise = (value: object | null): value is PromiseLike<unknown> =>
  value !== null && "then" in value && typeof value.then === "function"
