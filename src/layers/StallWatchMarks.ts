/** Tells another thread, through shared memory, in whose code this thread is and whether its event loop turns. */
import * as inspector from "node:inspector"

/** Units: names. One more than this is counted as nobody's. */
const namesMax = 8_192

const beat = 0
const entries = 1
const current = 2
const debugged = 3
/** From here on: how many calls of each name wait for something. */
const waiting = 4

/** The side that is watched. One call of `enter` and `leave` costs some ten nanoseconds and allocates nothing. */
export class Marks {
  readonly shared: SharedArrayBuffer
  private readonly cells: Int32Array
  private readonly indices = new Map<string, number>()
  private readonly outer: Array<number> = []
  private readonly named: (name: string) => void

  /** `named` is called once for each new name, in order, before the name is used. */
  constructor(named: (name: string) => void) {
    this.shared = new SharedArrayBuffer((waiting + namesMax) * Int32Array.BYTES_PER_ELEMENT)
    this.cells = new Int32Array(this.shared)
    this.cells[current] = -1
    this.named = named
  }

  /** Plain code of this name begins; `leave` must follow before anything is awaited. */
  enter(name: string): void {
    const { cells, outer } = this
    if (outer.length === 0) cells[entries] = cells[entries]! + 1
    outer.push(cells[current]!)
    // Atomic, so that no optimizer keeps it back while the code runs.
    Atomics.store(cells, current, this.indexOf(name))
  }

  /** The latest `enter` has ended; the name around it, if any, counts again. */
  leave(): void {
    const { cells, outer } = this
    Atomics.store(cells, current, outer.pop() ?? -1)
    if (outer.length === 0) cells[entries] = cells[entries]! + 1
  }

  /** Something of this name waits, such as a promise that it returned, until `end`. */
  begin(name: string): void {
    const index = this.indexOf(name)
    if (index >= 0) Atomics.add(this.cells, waiting + index, 1)
  }

  end(name: string): void {
    const index = this.indexOf(name)
    if (index >= 0) Atomics.sub(this.cells, waiting + index, 1)
  }

  /** Calls it under this name, and keeps the name while a promise that it returns is open. */
  call<A>(name: string, f: () => A): A {
    this.enter(name)
    let returned: A
    try {
      returned = f()
    } finally {
      this.leave()
    }
    if (isThenable(returned)) {
      this.begin(name)
      const end = () => this.end(name)
      returned.then(end, end)
    }
    return returned
  }

  /** Keeps turning with the event loop, without keeping the thread alive; returns how to stop it. */
  beatEvery(millis: number): () => void {
    const turn = () => {
      this.cells[debugged] = inspector.url() === undefined ? 0 : 1
      Atomics.add(this.cells, beat, 1)
    }
    turn()
    const timer = setInterval(turn, millis)
    timer.unref()
    return () => clearInterval(timer)
  }

  private indexOf(name: string): number {
    const known = this.indices.get(name)
    if (known !== undefined) return known
    const index = this.indices.size < namesMax ? this.indices.size : -1
    if (index < 0) return index
    this.indices.set(name, index)
    this.named(name)
    return index
  }
}

/** The side that watches. */
export class Reader {
  /** In the order in which the other side named them. */
  readonly names: Array<string> = []
  private readonly cells: Int32Array
  private lastBeat = -1
  private lastEntries = -1

  constructor(shared: SharedArrayBuffer) {
    this.cells = new Int32Array(shared)
  }

  /** Whether the loop has turned, or other code has begun, since this was last asked. */
  moved(): boolean {
    const beats = Atomics.load(this.cells, beat)
    const entered = Atomics.load(this.cells, entries)
    if (beats === this.lastBeat && entered === this.lastEntries) return false
    this.lastBeat = beats
    this.lastEntries = entered
    return true
  }

  /** Whose code runs; undefined when it is nobody's. */
  current(): string | undefined {
    return this.names[Atomics.load(this.cells, current)]
  }

  /** Who waits for something. */
  waiting(): ReadonlyArray<string> {
    return this.names.filter((_, index) => Atomics.load(this.cells, waiting + index) > 0)
  }

  /** Whether a debugger could have stopped the thread. */
  debugged(): boolean {
    return Atomics.load(this.cells, debugged) === 1
  }
}

/**
 * Adds up how long nothing has moved. A look that comes late adds two intervals at most: then this thread, and so the
 * whole process or machine, was not running either.
 */
export class Stillness {
  /** Units: milliseconds. */
  millis = 0
  private readonly everyMillis: number
  private lookedAt: number

  constructor(everyMillis: number, now: number) {
    this.everyMillis = everyMillis
    this.lookedAt = now
  }

  look(moved: boolean, now: number): void {
    const passed = Math.min(now - this.lookedAt, 2 * this.everyMillis)
    this.lookedAt = now
    this.millis = moved ? 0 : this.millis + passed
  }
}

/** Units: milliseconds. How often to look for a stall of this length. */
export const everyMillis = (limitMillis: number): number => Math.min(Math.max(Math.round(limitMillis / 10), 10), 500)

/** Evaluated in the thread that stands still: where it stands. */
export const whereExpression =
  "(() => { const most = Error.stackTraceLimit; Error.stackTraceLimit = 100; " +
  "try { return String(new Error().stack) } finally { Error.stackTraceLimit = most } })()"

/** The innermost place of a stack, as `path:line:column`, that lies in one of the folders. They end with a slash. */
export const placeIn = (stack: string, folders: ReadonlyArray<string>): string | undefined => {
  for (const line of stack.split("\n")) {
    const [, file, at] = frame.exec(line) ?? []
    if (file === undefined || at === undefined) continue
    const path = decoded(file)
    if (folders.some((folder) => path.startsWith(folder))) return path + at
  }
  return undefined
}

/** The innermost place of a stack that is in a file. */
export const firstPlace = (stack: string): string | undefined => placeIn(stack, [""])

/** A file's path, by itself or as an address whose query a reload may have set; the line and the column. */
const frame = /(?:\(|at (?:async )?)(?:file:\/\/)?(\/[^()]*?)(?:\?[^():]*)?(:\d+:\d+)\)?$/

const decoded = (file: string): string => {
  try {
    return decodeURIComponent(file)
  } catch {
    return file
  }
}

const isThenable = (value: unknown): value is PromiseLike<unknown> =>
  typeof value === "object" && value !== null && "then" in value && typeof value.then === "function"
