/** One worker from its start to its end: what it says, whether it stands still, and who was at work when it was lost. */
import { Worker } from "node:worker_threads"
import { eventOf } from "./EventModules.ts"
import { stackOf } from "./ModuleWorkerPlace.ts"
import type { Ask, Start, Tell } from "./ModuleWorkerProtocol.ts"
import { everyMillis, firstPlace, placeIn, Reader, Stillness } from "./StallWatchMarks.ts"

/** Units: MiB. */
const youngMax = 16

/** Units: milliseconds. A thread that waits inside of the system, such as for a child, ends only when that does. */
const endMillis = 500

export type Part = "detector" | "handler"

/** A part of a module, as the thread marks it. */
interface Mark {
  readonly event: string
  readonly part: Part | undefined
}

/** Why there is no worker any more. */
export interface Loss {
  /** Such as `did not yield for 10 s (at /app/events/order.paid.js:3:5)`. */
  readonly words: string
  /** The module whose code it was; undefined where that cannot be told. */
  readonly event: string | undefined
  /** Which part of it; undefined where that cannot be told. */
  readonly part: Part | undefined
  /** The call whose code ran; undefined where none did, or it had waited for something since. */
  readonly call: number | undefined
  /** Whether its modules had been loaded. */
  readonly wasLoaded: boolean
}

export interface Options extends Omit<Start, "everyMillis" | "running"> {
  /** How long its code may go without yielding. Units: milliseconds. */
  readonly stallMillis: number
  /** Units: MiB. */
  readonly memoryMax: number
  readonly onTell: (tell: Tell) => void
  /** Called once, after all that it said. */
  readonly onLost: (loss: Loss) => void
}

export class Life {
  private readonly options: Options
  private readonly worker: Worker
  private readonly running = new Int32Array(new SharedArrayBuffer(4))
  private readonly timer: NodeJS.Timeout
  private readonly stillness: Stillness
  private names: Array<string> = []
  private reader: Reader | undefined
  private files = new Map<string, string>()
  private wasLoaded = false
  private isStopping = false
  private isLost = false
  private stall: Omit<Loss, "wasLoaded"> | undefined
  private crash: string | undefined

  constructor(options: Options) {
    this.options = options
    const every = everyMillis(options.stallMillis)
    const { aside, directory, jobs, parallel, timeoutMillis, watch } = options
    const running = this.running.buffer as SharedArrayBuffer
    const start: Start = { aside, directory, everyMillis: every, jobs, parallel, running, timeoutMillis, watch }
    this.worker = new Worker(threadUrl, {
      name: "event modules",
      workerData: start,
      // With little that is young, a heap that is full is seen in time to end the worker and not the process.
      resourceLimits: { maxOldGenerationSizeMb: options.memoryMax, maxYoungGenerationSizeMb: youngMax }
    })
    this.worker.on("message", (message: Tell) => this.hear(message))
    this.worker.on("error", (error: NodeJS.ErrnoException) => {
      this.crash =
        error.code === "ERR_WORKER_OUT_OF_MEMORY"
          ? `used more than ${options.memoryMax} MiB of memory`
          : `crashed: ${error.message.split("\n")[0]}`
    })
    this.worker.on("exit", (code) => this.ended(code))
    this.stillness = new Stillness(every, performance.now())
    this.timer = setInterval(() => this.look(), every)
    this.timer.unref()
  }

  ask(ask: Ask): void {
    this.worker.postMessage(ask)
  }

  /** Nothing is told of it any more. */
  async stop(): Promise<void> {
    this.isStopping = true
    clearInterval(this.timer)
    await this.worker.terminate()
  }

  private hear(message: Tell): void {
    if (this.isStopping || this.isLost) return
    if (message.kind === "marks") {
      this.reader = new Reader(message.shared)
      this.names = this.reader.names
    } else if (message.kind === "name") this.names.push(message.name)
    else {
      if (message.kind === "loaded") {
        this.wasLoaded = true
        this.files = new Map(message.modules.map(({ event, file }) => [file, event]))
      }
      this.options.onTell(message)
    }
  }

  private look(): void {
    if (this.reader === undefined || this.stall !== undefined) return
    this.stillness.look(this.reader.moved() || this.reader.debugged(), performance.now())
    if (this.stillness.millis <= this.options.stallMillis) return
    const marked = markOf(this.reader.current())
    const call = Atomics.load(this.running, 0) || undefined
    const words = `did not yield for ${this.options.stallMillis / 1000} s`
    this.stall = { words, event: marked?.event, part: marked?.part, call }
    stackOf(this.worker.threadId).then((stack = "") => {
      // What it was asked in the meantime was too late to save it only if it still stands.
      if (this.reader!.moved()) {
        this.stall = undefined
        return this.stillness.look(true, performance.now())
      }
      const own = placeIn(stack, [...this.files.keys()]) ?? this.importing(stack)
      const at = own ?? firstPlace(stack)
      const { event, part } = marked ?? this.waiting(this.eventAt(own)) ?? {}
      this.stall = { words: at === undefined ? words : `${words} (at ${at})`, event, part, call }
      void this.worker.terminate()
      // None of its code runs any more, so nobody has to wait for it.
      setTimeout(() => this.ended(1), endMillis).unref()
    })
  }

  /** A place in a module that is being imported. */
  private importing(stack: string): string | undefined {
    return this.wasLoaded ? undefined : placeIn(stack, [`${this.options.directory}/`])
  }

  private eventAt(place: string | undefined): string | undefined {
    const file = place?.replace(/:\d+:\d+$/, "")
    if (file === undefined) return undefined
    return this.files.get(file) ?? eventOf(file.slice(file.lastIndexOf("/") + 1))
  }

  /** The part of this module that waits for something; of no module: where just one waits, what happens is its doing. */
  private waiting(event: string | undefined): Mark | undefined {
    const open = (this.reader?.waiting() ?? [])
      .map((name) => markOf(name)!)
      .filter((one) => event === undefined || one.event === event)
    const events = new Set(open.map((one) => one.event))
    const only = event ?? (events.size === 1 ? open[0]!.event : undefined)
    return only === undefined ? undefined : { event: only, part: open.length === 1 ? open[0]!.part : undefined }
  }

  private ended(code: number): void {
    clearInterval(this.timer)
    if (this.isStopping || this.isLost) return
    this.isLost = true
    const { reader, wasLoaded } = this
    if (this.stall !== undefined) return this.options.onLost({ ...this.stall, wasLoaded })
    const { event, part } = markOf(reader?.current()) ?? this.waiting(undefined) ?? {}
    const call = Atomics.load(this.running, 0) || undefined
    const words = this.crash ?? `ended its worker with ${code}`
    this.options.onLost({ words, event, part, call, wasLoaded })
  }
}

const markOf = (name: string | undefined): Mark | undefined => {
  if (name === undefined) return undefined
  const space = name.indexOf(" ")
  return { event: name.slice(space + 1), part: name.slice(0, space) as Part }
}

/** `dist` has it beside this file as JavaScript, the sources as TypeScript. */
const threadUrl = new URL(import.meta.url.replace(/ModuleWorkerLife(\.[jt]s)$/, "ModuleWorkerThread$1"))
