/** The thread of `StallWatch`: looks at the marks of the main thread, and ends the process when they stand still. */
import { writeSync } from "node:fs"
import { Session } from "node:inspector"
import process from "node:process"
import { parentPort, workerData } from "node:worker_threads"
import { firstPlace, placeIn, Reader, Stillness, whereExpression } from "./StallWatchMarks.ts"

export interface Settings {
  readonly shared: SharedArrayBuffer
  /** Units: milliseconds. */
  readonly everyMillis: number
  /** Units: milliseconds. */
  readonly limitMillis: number
  /** Absolute, each with a slash at its end. */
  readonly folders: ReadonlyArray<string>
  readonly terminal: boolean
  /** Ends the process with 1 where it is evaluated: in the main thread. */
  readonly endExpression: string
}

/** Units: milliseconds. How long the main thread may take to say where it is, and to end. */
const graceMillis = 1_000
/** How many limits a stall must last when nothing but the modules that have not ended speaks for its cause. */
const openFactor = 3

const settings = workerData as Settings
const reader = new Reader(settings.shared)
const stillness = new Stillness(settings.everyMillis, performance.now())

interface Stall {
  /** Absent where Node was built or started without an inspector. */
  readonly session: Session | undefined
  /** Undefined until the main thread has said it. */
  stack: string | undefined
  warned: boolean
  /** Whether nothing more will be said or done about it. */
  done: boolean
}

/** Undefined while there is none. */
let stall: Stall | undefined
/** What the process had used when something last moved. */
let cpu = process.cpuUsage()

parentPort!.on("message", (name: string) => reader.names.push(name))

setInterval(() => {
  stillness.look(reader.moved(), performance.now())
  if (stillness.millis === 0) {
    stall?.session?.disconnect()
    stall = undefined
    cpu = process.cpuUsage()
  } else if (stillness.millis > settings.limitMillis) {
    stall ??= ask()
    if (!stall.done) judge(stall)
  }
}, settings.everyMillis)

/** Interrupts the main thread, where that is possible, for the place it is at. */
const ask = (): Stall => {
  const asked: Stall = { session: connect(), stack: undefined, warned: false, done: false }
  asked.session?.post("Runtime.evaluate", { expression: whereExpression, returnByValue: true }, (_, answer) => {
    asked.stack = String(answer?.result.value ?? "")
  })
  return asked
}

const connect = (): Session | undefined => {
  try {
    const session = new Session()
    session.connectToMainThread()
    return session
  } catch {
    return undefined
  }
}

/** Detectors are marked together, since a mark for each would cost as much as they do: the file says which it is. */
const namedBy = (mark: string | undefined, place: string | undefined): string | undefined => {
  const module = place === undefined ? undefined : /([^/\\]+)\.\w+(?::\d+)*$/.exec(place)?.[1]
  return module === undefined ? mark : mark?.replace(/\ba detector$/, `the detector of ${module}`)
}

/** Names who keeps the thread: what is marked, else whose file it is in, else who has not ended. */
const judge = (stall: Stall): void => {
  const { stack } = stall
  if (stack === undefined && stillness.millis < settings.limitMillis + graceMillis) return
  const own = placeIn(stack ?? "", settings.folders)
  const at = own ?? firstPlace(stack ?? "")
  const name = namedBy(reader.current(), own) ?? own ?? open()
  const since = `has not yielded for ${settings.limitMillis / 1000} s`
  const where = at === undefined || at === name ? "" : ` (at ${at})`
  if (name === undefined) {
    if (!stall.warned) say("WARN", `the main thread ${since}${where}: in no module`)
    stall.warned = true
    return
  }
  stall.done = true
  if (reader.debugged()) return say("WARN", `${name} ${since}${where}: it goes on, as a debugger may be attached`)
  say("ERROR", `${name} ${since}${where}: ending the process (event modules can run with isolation: worker)`)
  stall.session?.post("Runtime.evaluate", { expression: settings.endExpression })
  setTimeout(() => process.kill(process.pid, "SIGKILL"), stack === undefined ? 0 : graceMillis)
}

/**
 * The modules that have not ended. A loop of promises alone may have no other trace; but the program's own work in one
 * long call has none either: so they are given more time, and nothing is blamed on them while a disk is waited for.
 */
const open = (): string | undefined => {
  if (stillness.millis < openFactor * settings.limitMillis + graceMillis) return undefined
  const open = usedMillis() > stillness.millis / 10 ? reader.waiting() : []
  return open.length > 1 ? `one of ${open.join(", ")}` : open[0]
}

const usedMillis = (): number => {
  const { system, user } = process.cpuUsage(cpu)
  return (system + user) / 1000
}

/** Written here and now: what a thread prints goes through the main thread, which stands still. */
const say = (level: "ERROR" | "WARN", message: string) => {
  const date = new Date().toISOString()
  const line = settings.terminal
    ? `${date.slice(11, 23)} ${level.padEnd(5)} ${message}\n`
    : `${JSON.stringify({ message, level, timestamp: date })}\n`
  const bytes = Buffer.from(line)
  let written = 0
  // A full pipe is waited for, for as long as anything waits here.
  for (const until = performance.now() + graceMillis; written < bytes.length && performance.now() < until; ) {
    try {
      written += writeSync(2, bytes, written)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") return
      Atomics.wait(pause, 0, 0, 5)
    }
  }
}

const pause = new Int32Array(new SharedArrayBuffer(4))
