/** Asks event modules about a payload and runs their handlers, in this process, each for a limited time. */
import type { AsyncResource } from "node:async_hooks"
import type { EventModule, ModuleProblem } from "./EventModules.ts"
import * as Calls from "./EventModulesCalls.ts"
import * as Copy from "./EventModulesCopy.ts"
import { TimeLimit, told, type Waiting } from "./EventModulesLimit.ts"
import type { Jobs } from "./HasuraCompatJobs.ts"

/** What the modules said about one payload. */
export interface Verdicts {
  /** The events that were detected, in the order of the modules. */
  readonly found: ReadonlyArray<string>
  /** Every module that was asked, in order. */
  readonly asked: ReadonlyArray<string>
  /** Modules that threw or ran out of time, and in which words. */
  readonly broke: ReadonlyMap<string, string>
}

/** What a handler did. */
export interface Handled {
  readonly name: string
  /** What it returned: the entries of its jobs where it ended with `run`; undefined where it crashed. */
  readonly jobs: unknown
  /** Why it crashed. */
  readonly crashed: string | undefined
}

/** Event modules that can be asked, wherever their code runs. */
export interface Modules {
  readonly names: ReadonlyArray<string>
  readonly problems: ReadonlyArray<ModuleProblem>
  /** At once where no module makes one wait. Never throws or rejects. */
  readonly detect: (payload: unknown) => Verdicts | Promise<Verdicts>
  /** Never throws or rejects. `verdicts` are those that found the event, where they are at hand. */
  readonly handle: (event: string, payload: unknown, verdicts?: Verdicts) => Promise<Handled>
}

export interface Options {
  /** Units: milliseconds a detector, and a handler beside its jobs, may take. */
  readonly timeoutMillis: number
  /** Runs the jobs that handlers hand to `run`. */
  readonly jobs?: Jobs | undefined
  /** Asks all detectors at the same time instead of one after the other. */
  readonly parallel?: boolean | undefined
  /** What went wrong where nobody waits for it: in which module, and in which words. */
  readonly warn: (event: string, words: string) => void
}

/** A module, and what was learnt about it. */
export interface Entry {
  readonly event: string
  readonly module: EventModule
  /** Set where its detector makes one wait: it runs as its own call from then on, so that what it leaves has a name. */
  scope: AsyncResource | undefined
  readonly call: Calls.Call
  /** Its detector writes to the payload: it gets a copy of its own. */
  writes: boolean
}

export const entryOf = (module: EventModule): Entry => {
  const call = Calls.make(module.event, "detector")
  const isAsync = module.detector.constructor.name === "AsyncFunction"
  return { event: module.event, module, scope: isAsync ? Calls.scopeOf(call) : undefined, call, writes: false }
}

const noneBroke: ReadonlyMap<string, string> = new Map()

export class InProcess implements Modules {
  problems: ReadonlyArray<ModuleProblem>
  readonly options: Options
  readonly limit: TimeLimit
  /** Detectors that answer at once run as this call, which is told whose turn it is. */
  readonly turn = Calls.make("", "detector")
  private readonly turnScope = Calls.scopeOf(this.turn)
  private entries: ReadonlyArray<Entry> = []
  private byEvent = new Map<string, Entry>()

  constructor(modules: ReadonlyArray<EventModule>, problems: ReadonlyArray<ModuleProblem>, options: Options) {
    Calls.guard()
    this.options = options
    this.limit = new TimeLimit(options.timeoutMillis)
    this.problems = problems
    this.replace(modules, problems)
  }

  get names(): ReadonlyArray<string> {
    return this.entries.map(({ event }) => event)
  }

  /** From now on these modules; a payload that is being looked at stays with those before. */
  replace(modules: ReadonlyArray<EventModule>, problems: ReadonlyArray<ModuleProblem>): void {
    this.problems = problems
    this.entries = modules.map((module) => {
      const before = this.byEvent.get(module.event)
      return before?.module === module ? before : entryOf(module)
    })
    this.byEvent = new Map(this.entries.map((entry) => [entry.event, entry]))
  }

  get modules(): ReadonlyArray<EventModule> {
    return this.entries.map(({ module }) => module)
  }

  detect(payload: unknown): Verdicts | Promise<Verdicts> {
    return this.inTurn(new Round(this, this.entries, withContext(payload), false))
  }

  warn(event: string, words: string): void {
    Calls.outside(() => this.options.warn(event, words))
  }

  /** Goes on with a round for as long as nothing makes it wait. */
  inTurn(round: Round): Verdicts | Promise<Verdicts> {
    return this.turnScope.runInAsyncScope(goOn, undefined, round)
  }

  async handle(event: string, payload: unknown, verdicts?: Verdicts): Promise<Handled> {
    const entry = (verdicts instanceof Round ? verdicts.entryOf(event) : undefined) ?? this.byEvent.get(event)
    if (entry === undefined) return { name: event, jobs: undefined, crashed: "there is no such module any more" }
    // What its detector wrote it finds again, as it always has; what others wrote it does not.
    const own = verdicts instanceof Round ? verdicts.owned?.get(event) : undefined
    const call = Calls.make(event, "handler", { jobs: this.options.jobs })
    const { limit } = this
    try {
      const jobs = await limit.bound(
        Calls.inside(call, () => start(() => entry.module.handler(event, own ?? Copy.copy(withContext(payload))))),
        call,
        () => new Error(`no end within ${told(limit.millis)}`),
        (error) => this.warn(event, `the handler rejected too late: ${Calls.words(error)}`)
      )
      if (call.exits.length > 0) return { name: event, jobs: undefined, crashed: call.exits[0]!.words }
      return { name: event, jobs, crashed: undefined }
    } catch (error) {
      return { name: event, jobs: undefined, crashed: call.exits[0]?.words ?? Calls.words(error) }
    }
  }
}

/** What the predecessor adds to each payload. */
const withContext = (payload: unknown): unknown =>
  typeof payload === "object" && payload !== null && !Array.isArray(payload) && !("__context" in payload)
    ? { ...payload, __context: {} }
    : payload

const start = async <A>(code: () => A): Promise<Awaited<A>> => await code()

const goOn = (round: Round): Verdicts | Promise<Verdicts> => round.goOn()

/** One payload on its way through the detectors. */
class Round implements Verdicts {
  found: Array<string> = []
  broke: ReadonlyMap<string, string> = noneBroke
  /** Copies that belong to one module alone. */
  owned: Map<string, unknown> | undefined
  private next = 0
  private open = 0
  private readonly modules: InProcess
  private readonly entries: ReadonlyArray<Entry>
  private readonly payload: unknown
  private shared: unknown
  /** Each module has a copy of its own: one of them wrote to what all of them saw, and is looked for. */
  private readonly apart: boolean
  private readonly refusals = Calls.refusals()
  private resolve: ((verdicts: Verdicts) => void) | undefined
  private promise: Promise<Verdicts> | undefined

  constructor(modules: InProcess, entries: ReadonlyArray<Entry>, payload: unknown, apart: boolean) {
    this.modules = modules
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
    const { entries, modules } = this
    const { turn } = modules
    while (this.next < entries.length) {
      const entry = entries[this.next++]!
      const { event, module, scope } = entry
      const seen = this.apart || entry.writes ? this.own(event) : this.shared
      let answer: unknown
      try {
        if (scope === undefined) {
          turn.event = event
          answer = module.detector(event, seen)
        } else answer = scope.runInAsyncScope(module.detector, undefined, event, seen)
      } catch (error) {
        this.breaks(entry, error)
        continue
      }
      if (answer === false || answer === undefined) continue
      if (typeof answer === "object" && isPromise(answer)) {
        this.waitFor(entry, answer)
        if (modules.options.parallel === true) continue
        turn.event = ""
        return this.promise!
      }
      if (answer) this.found.push(event)
    }
    turn.event = ""
    if (this.open > 0) return this.promise!
    return this.ended()
  }

  private own(event: string): unknown {
    const made = Copy.copy(this.payload)
    this.owned ??= new Map()
    this.owned.set(event, made)
    return made
  }

  private waitFor(entry: Entry, answer: PromiseLike<unknown>): void {
    const { limit } = this.modules
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
          return this.modules.warn(entry.event, `the detector rejected too late: ${Calls.words(error)}`)
        this.breaks(entry, error)
        this.answered()
      }
    )
  }

  private answered(): void {
    this.open--
    if (this.next < this.entries.length) {
      const result = this.modules.inTurn(this)
      if (result !== this.promise) this.resolve!(result as Verdicts)
    } else if (this.open === 0) {
      const result = this.ended()
      // Looked at a second time it may be a promise, which is fine too.
      this.resolve!(result as Verdicts)
    }
  }

  private breaks({ event }: Entry, error: unknown): void {
    if (this.broke === noneBroke) this.broke = new Map()
    const words = Calls.words(error)
    ;(this.broke as Map<string, string>).set(event, words)
    this.modules.warn(event, `the detector broke: ${words}`)
  }

  private ended(): Verdicts | Promise<Verdicts> {
    if (Calls.refusals() !== this.refusals) this.takeRefusals()
    if (this.apart || this.owned !== undefined) this.findWriters()
    if (!this.apart && !Copy.isSame(this.payload, this.shared)) {
      this.shared = undefined
      return this.modules.inTurn(new Round(this.modules, this.entries, this.payload, true))
    }
    if (this.modules.options.parallel === true && this.found.length > 1) {
      const order = new Map(this.entries.map(({ event }, i) => [event, i]))
      this.found.sort((a, b) => order.get(a)! - order.get(b)!)
    }
    this.shared = undefined
    return this
  }

  /** Who asked for the end of the process has broken, also where it caught what it was told. */
  private takeRefusals(): void {
    const calls = [this.modules.turn, ...this.entries.map(({ call }) => call)]
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
        this.modules.warn(event, "the detector changes its payload: it has a copy of its own from now on")
      }
      if (!writes) this.owned!.delete(event)
    }
  }
}

const isPromise = (value: object | null): value is PromiseLike<unknown> =>
  value !== null && "then" in value && typeof value.then === "function"
