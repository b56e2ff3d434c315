/** Asks event modules about a payload and runs their handlers, in this process, each for a limited time. */
import type { EventModule, ModuleProblem } from "./EventModules.ts"
import * as Calls from "./EventModulesCalls.ts"
import * as Copy from "./EventModulesCopy.ts"
import { TimeLimit, told } from "./EventModulesLimit.ts"
import { type Asking, type Entry, entryOf, Round, type Verdicts } from "./EventModulesRound.ts"
import { Snapshot } from "./EventModulesSnapshot.ts"
import type { Jobs } from "./HasuraCompatJobs.ts"

export type { Verdicts } from "./EventModulesRound.ts"

/** What a handler did. */
export interface Handled {
  readonly name: string
  /** What it returned: the entries of its jobs where it ended with `run`; undefined where it crashed. */
  readonly jobs: unknown
  /** Why it crashed. */
  readonly crashed: string | undefined
  /** It did not crash by its own doing, and what it did is not known: its event is kept for somebody to look at. */
  readonly isLost?: boolean | undefined
}

/** Event modules that can be asked, wherever their code runs. */
export interface Modules {
  readonly names: ReadonlyArray<string>
  readonly problems: ReadonlyArray<ModuleProblem>
  /** Why none of them can be asked any more. */
  readonly over?: string | undefined
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

export class InProcess implements Asking, Modules {
  problems: ReadonlyArray<ModuleProblem>
  readonly options: Options
  readonly limit: TimeLimit
  readonly turn = Calls.make("", "detector")
  readonly snapshot = new Snapshot()
  private readonly turnScope = Calls.scopeOf(this.turn)
  private entries: ReadonlyArray<Entry> = []
  private byEvent = new Map<string, Entry>()

  get parallel(): boolean {
    return this.options.parallel === true
  }

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
    return this.inTurn(new Round(this, this.entries, payload))
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
    if (entry === undefined)
      return { name: event, jobs: undefined, crashed: "there is no such module any more", isLost: true }
    // What its detector wrote it finds again, as it always has; what others wrote it does not.
    const own = verdicts instanceof Round ? verdicts.owned?.get(event) : undefined
    const call = Calls.make(event, "handler", { jobs: this.options.jobs })
    const { limit } = this
    const { handler } = entry.module
    try {
      const jobs = await limit.bound(
        Calls.inside(call, () => start(() => handler(event, own ?? Copy.copy(payload, {})))),
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

const start = async <A>(code: () => A): Promise<Awaited<A>> => await code()

const goOn = (round: Round): Verdicts | Promise<Verdicts> => round.goOn()
