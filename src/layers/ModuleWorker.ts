/** Runs a directory's event modules in a worker, which is stopped and started again when one of them never yields. */
import { Effect, Schema, type Scope } from "effect"
import type { ModuleProblem } from "./EventModules.ts"
import * as Calls from "./EventModulesCalls.ts"
import type { Handled, Modules, Verdicts } from "./EventModulesRun.ts"
import type { JobTimes } from "./HasuraCompatRun.ts"
import type * as JobRunner from "./JobRunner.ts"
import { Life, type Loss } from "./ModuleWorkerLife.ts"
import { type Ask, plain, type Tell } from "./ModuleWorkerProtocol.ts"

export interface Options {
  /** Absolute. */
  readonly directory: string
  /** How long a detector, and a handler beside its jobs, may take; and how long code may go without yielding. */
  readonly timeoutMillis: number
  readonly jobs: JobRunner.Options
  readonly parallel?: boolean | undefined
  /** Reloads modules when their files change. */
  readonly watch?: boolean | undefined
  /** Units: MiB of heap. */
  readonly memoryMax?: number | undefined
  /** Losses within a minute after which it stays without a worker. */
  readonly restartsMax?: number | undefined
  /** What went wrong where nobody waits for it. */
  readonly say: (isBroken: boolean, words: string) => void
}

/** The directory cannot be read, or no worker stayed. `code` is the file system's, where it is its error. */
export class ModuleWorkerError extends Schema.TaggedError<ModuleWorkerError>()("ModuleWorkerError", {
  reason: Schema.String,
  code: Schema.optionalKey(Schema.String)
}) {
  override get message(): string {
    return this.reason
  }
}

const memoryMax = 512
const restartsMax = 20
/** Losses by one module's doing within the window after which it is set aside. */
const lossesMax = 3
/** Units: milliseconds. A window holds at least this many limits, as each loss takes one to be seen. */
const windowMillis = 60_000
const windowLimits = 6
/** Units: milliseconds between a loss and the next start; it doubles with each loss within the window. */
const backoffMillis = 100
const backoffMaxMillis = 5_000

/** Returns once the modules are loaded; the worker ends with the scope. */
export const make = Effect.fnUntraced(function* (
  options: Options
): Effect.fn.Return<Modules, ModuleWorkerError, Scope.Scope> {
  const worker = yield* Effect.acquireRelease(
    Effect.sync(() => new ModuleWorker(options)),
    (worker) => Effect.promise(() => worker.close())
  )
  const error = yield* Effect.promise(() => worker.up)
  if (error !== undefined) return yield* error
  return worker
})

/** What its own handlers may find again: the thread keeps the payload as the detector left it. */
class Found implements Verdicts {
  readonly found: ReadonlyArray<string>
  readonly asked: ReadonlyArray<string>
  readonly broke: ReadonlyMap<string, string>
  readonly life: Life | undefined
  readonly id: number

  constructor(verdicts: Verdicts, life: Life | undefined, id: number) {
    this.found = verdicts.found
    this.asked = verdicts.asked
    this.broke = verdicts.broke
    this.life = life
    this.id = id
  }
}

interface Detecting {
  readonly kind: "detect"
  readonly payload: unknown
  /** Modules that lost a worker over this payload, and in which words. */
  readonly lost: Map<string, string>
  began: boolean
  readonly end: (verdicts: Verdicts) => void
}

interface Handling {
  readonly kind: "handle"
  readonly payload: unknown
  readonly event: string
  readonly foundBy: Found | undefined
  began: boolean
  /** How often its worker was lost while it ran, by the doing of others. */
  losses: number
  readonly end: (handled: Handled) => void
}

class ModuleWorker implements Modules {
  names: ReadonlyArray<string> = []
  /** Settles when the modules are loaded, or never will be. */
  readonly up: Promise<ModuleWorkerError | undefined>
  private readonly options: Options
  private readonly calls = new Map<number, Detecting | Handling>()
  private readonly losses: Array<{ readonly at: number; readonly event: string | undefined }> = []
  private readonly aside = new Map<string, ModuleProblem>()
  private isUp!: (error?: ModuleWorkerError) => void
  private loadedProblems: ReadonlyArray<ModuleProblem> = []
  private files = new Map<string, string>()
  private nextId = 1
  private life: Life | undefined
  /** Whether the worker takes calls: before that they wait here. */
  private isReady = false
  /** Why there will be no worker any more. */
  over: string | undefined
  private timer: NodeJS.Timeout | undefined

  constructor(options: Options) {
    this.options = options
    this.up = new Promise((resolve) => {
      this.isUp = resolve
    })
    this.start()
  }

  get problems(): ReadonlyArray<ModuleProblem> {
    return [...this.loadedProblems, ...this.aside.values()]
  }

  detect(payload: unknown): Promise<Verdicts> {
    return new Promise((end) => this.call({ kind: "detect", payload, lost: new Map(), began: false, end }))
  }

  handle(event: string, payload: unknown, verdicts?: Verdicts): Promise<Handled> {
    const foundBy = verdicts instanceof Found ? verdicts : undefined
    return new Promise((end) => this.call({ kind: "handle", payload, event, foundBy, began: false, losses: 0, end }))
  }

  async close(): Promise<void> {
    clearTimeout(this.timer)
    const { life } = this
    this.life = undefined
    this.giveUp("it was stopped")
    await life?.stop()
  }

  private start(): void {
    const { directory, jobs, parallel, timeoutMillis, watch } = this.options
    this.isReady = false
    const life = new Life({
      directory,
      timeoutMillis,
      stallMillis: timeoutMillis,
      jobs: plain(jobs),
      parallel: parallel ?? false,
      watch: watch ?? false,
      aside: [...this.aside.keys()],
      memoryMax: this.options.memoryMax ?? memoryMax,
      onTell: (tell) => this.hear(tell),
      onLost: (loss) => this.lost(loss)
    })
    this.life = life
  }

  private call(call: Detecting | Handling): void {
    const id = this.nextId
    this.nextId = id === 0x7fff_ffff ? 1 : id + 1
    this.calls.set(id, call)
    if (this.over !== undefined) this.answerWithout(id, call, this.over, true)
    else if (this.isReady) this.send(id, call)
  }

  private send(id: number, call: Detecting | Handling): void {
    if (call.kind === "handle" && this.aside.has(call.event)) {
      return this.answerWithout(id, call, this.aside.get(call.event)!.reason)
    }
    try {
      this.life!.ask(askOf(id, call, this.life))
    } catch (error) {
      this.answerWithout(id, call, `its payload cannot be given to a worker: ${Calls.words(error)}`)
    }
  }

  private hear(tell: Tell): void {
    if (tell.kind === "loaded") return this.loaded(tell)
    if (tell.kind === "said") return this.options.say(tell.isBroken, tell.words)
    if (tell.kind === "unreadable") {
      const code = tell.code === undefined ? {} : { code: tell.code }
      this.isUp(new ModuleWorkerError({ reason: tell.reason, ...code }))
      this.giveUp(`${this.options.directory} cannot be read any more: ${tell.reason}`)
      return void this.life?.stop()
    }
    if (tell.kind === "marks" || tell.kind === "name") return
    const call = this.calls.get(tell.id)
    if (call === undefined) return
    if (tell.kind === "began") call.began = true
    else if (tell.kind === "verdicts" && call.kind === "detect") {
      this.calls.delete(tell.id)
      call.end(new Found(this.whole(tell, call.lost), this.life, tell.id))
    } else if (tell.kind === "handled" && call.kind === "handle") {
      this.calls.delete(tell.id)
      remember(tell.handled.jobs, tell.times)
      call.end(tell.handled)
    }
  }

  private loaded({ modules, problems }: Tell & { readonly kind: "loaded" }): void {
    // One whose file has changed since may have been mended.
    for (const { event } of modules) this.aside.delete(event)
    this.files = new Map([...this.files, ...modules.map(({ event, file }) => [event, file] as const)])
    this.names = [...modules.map(({ event }) => event), ...this.aside.keys()].sort()
    this.loadedProblems = problems
    if (this.isReady) return
    this.isReady = true
    for (const [id, call] of this.calls) this.send(id, call)
    this.isUp()
  }

  /** With those who were not asked, as they have cost workers: they count as broken. */
  private whole({ asked, broke, found }: Verdicts, lost: ReadonlyMap<string, string>): Verdicts {
    if (lost.size === 0 && this.aside.size === 0) return { asked, broke, found }
    const all = new Map(broke)
    for (const [event, words] of lost) all.set(event, words)
    for (const [event, { reason }] of this.aside) if (!all.has(event)) all.set(event, reason)
    return { found, asked: [...new Set([...asked, ...all.keys()])].sort(), broke: all }
  }

  private lost(loss: Loss): void {
    const { event, wasLoaded, words } = loss
    const now = performance.now()
    const window = Math.max(windowMillis, windowLimits * this.options.timeoutMillis)
    this.losses.push({ at: now, event })
    while (this.losses[0]!.at < now - window) this.losses.shift()
    this.life = undefined
    this.isReady = false
    const who = event ?? "an event module"
    const times = this.losses.filter((one) => one.event === event).length
    if (event !== undefined && (!wasLoaded || times >= lossesMax)) this.setAside(event, words, wasLoaded ? times : 0)
    else this.options.say(true, `${who} ${words}: its worker was stopped`)
    for (const [id, one] of this.calls) this.judge(id, one, { ...loss, words: `${who} ${words}` })
    const max = this.options.restartsMax ?? restartsMax
    if (this.losses.length > max) {
      const reason = `the worker of the modules was lost ${this.losses.length} times within ${window / 1000} s, the last time as ${who} ${words}`
      this.options.say(true, `${reason}: it is not started again`)
      this.isUp(new ModuleWorkerError({ reason }))
      return this.giveUp(reason)
    }
    const delay = Math.min(backoffMillis * 2 ** (this.losses.length - 1), backoffMaxMillis)
    this.timer = setTimeout(() => this.start(), delay)
  }

  private setAside(event: string, words: string, times: number): void {
    const file = this.files.get(event) ?? event
    const reason = times === 0 ? `${words} while it was imported` : `${words}, ${times} times: it is set aside`
    this.aside.set(event, { file, event, reason })
    this.options.say(true, `${event} ${reason}${times === 0 ? ": it is set aside" : " and asked no more"}`)
  }

  /** What becomes of a call whose worker was lost. What had not begun waits for the next worker. */
  private judge(id: number, one: Detecting | Handling, { call, event, part, words }: Loss): void {
    if (!one.began) return
    // Where no code ran whose call is known, each call in which this part of the module is open may be the one.
    const isOpen = event !== undefined && (part === undefined || part === partOf[one.kind])
    const isCause = call === undefined ? isOpen : call === id
    if (one.kind === "detect") {
      // Detectors may be asked again: all but the one that took the worker away.
      if (isCause && event !== undefined) one.lost.set(event, words)
      one.began = false
    } else if (isCause && (event === undefined || one.event === event)) {
      this.answerWithout(id, one, words)
    } else if (++one.losses < lossesMax) {
      // Others must not cost it its work: it runs again from its beginning, as after any other loss of a process.
      one.began = false
    } else {
      const reason = `its worker was lost ${lossesMax} times while it ran, the last time as ${words}`
      this.answerWithout(id, one, reason, true)
    }
  }

  private giveUp(reason: string): void {
    this.over ??= reason
    for (const [id, call] of this.calls) this.answerWithout(id, call, reason, true)
  }

  private answerWithout(id: number, call: Detecting | Handling, words: string, isLost = false): void {
    this.calls.delete(id)
    if (call.kind === "handle") return call.end({ name: call.event, jobs: undefined, crashed: words, isLost })
    const broke = new Map(this.names.map((name) => [name, words]))
    call.end(new Found({ found: [], asked: this.names, broke }, undefined, id))
  }
}

const partOf = { detect: "detector", handle: "handler" } as const

const askOf = (id: number, call: Detecting | Handling, life: Life | undefined): Ask => {
  const { payload } = call
  if (call.kind === "detect") return { kind: "detect", id, payload, skip: [...call.lost.keys()] }
  const foundBy = call.foundBy?.life === life ? call.foundBy?.id : undefined
  return { kind: "handle", id, payload, event: call.event, foundBy }
}

/** What the thread knew of jobs beside their entries, for who asks here. */
const remember = (jobs: unknown, times: ReadonlyArray<JobTimes | undefined>): void => {
  if (!Array.isArray(jobs)) return
  const known = Calls.once("job-times", () => new WeakMap<object, JobTimes>())
  for (const [i, one] of times.entries()) {
    if (one !== undefined && typeof jobs[i] === "object" && jobs[i] !== null) known.set(jobs[i], one)
  }
}
