/** The thread of `ModuleWorker`: loads the event modules of a directory, asks them and runs their handlers. */
import { writeSync } from "node:fs"
import process from "node:process"
import { parentPort, workerData } from "node:worker_threads"
import * as EventModules from "./EventModules.ts"
import * as Calls from "./EventModulesCalls.ts"
import { type Handled, InProcess, type Verdicts } from "./EventModulesRun.ts"
import { Watch } from "./EventModulesWatch.ts"
import { jobsOf } from "./HasuraCompatJobs.ts"
import { timesOf } from "./HasuraCompatRun.ts"
import * as HeldByJson from "./HeldByJson.ts"
import { JobRunner } from "./JobRunner.ts"
import { type Ask, runnerOptions, type Start, type Tell } from "./ModuleWorkerProtocol.ts"
import { Marks } from "./StallWatchMarks.ts"

/** Units: rounds whose payloads are kept for the handlers of what they found. */
const roundsMax = 1_024
/** Units: milliseconds that a full pipe is waited for. */
const writeMillis = 1_000

const start = workerData as Start
const running = new Int32Array(start.running)
const tell = (message: Tell) => parentPort!.postMessage(message)
const marks = new Marks((name) => tell({ kind: "name", name }))
tell({ kind: "marks", shared: marks.shared })
marks.beatEvery(start.everyMillis)

/** What a thread prints goes through the main thread otherwise, and is lost after its first line when it is stopped. */
const printNow =
  (fd: number) =>
  (chunk: string | Uint8Array, encoding?: unknown, done?: unknown): boolean => {
    const coded = typeof encoding === "string" ? (encoding as BufferEncoding) : "utf8"
    const bytes = typeof chunk === "string" ? Buffer.from(chunk, coded) : chunk
    let written = 0
    for (const until = performance.now() + writeMillis; written < bytes.length && performance.now() < until; ) {
      try {
        written += writeSync(fd, bytes, written)
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EAGAIN") break
        Atomics.wait(pause, 0, 0, 5)
      }
    }
    const then = typeof encoding === "function" ? encoding : done
    if (typeof then === "function") process.nextTick(then as () => void)
    return true
  }

const pause = new Int32Array(new SharedArrayBuffer(4))
process.stdout.write = printNow(1) as typeof process.stdout.write
process.stderr.write = printNow(2) as typeof process.stderr.write

const say = (isBroken: boolean, words: string) => tell({ kind: "said", isBroken, words })

// What nobody waits for any more belongs to no call: it is said, and everything goes on.
for (const event of ["uncaughtException", "unhandledRejection"] as const) {
  process.on(event, (thrown: unknown) =>
    say(true, `${Calls.currentName() ?? "a module"} threw after it had returned: ${Calls.words(thrown)}`)
  )
}

/** The same modules, whose code can be named when the thread stands still in it. */
const marked = (module: EventModules.EventModule): EventModules.EventModule => ({
  ...module,
  detector: markedPart(`detector ${module.event}`, module.detector),
  handler: markedPart(`handler ${module.event}`, module.handler)
})

/** Named so that `ModuleWorkerLife` can read it. */
const markedPart = (mark: string, part: EventModules.Detect): EventModules.Detect =>
  part.constructor.name === "AsyncFunction"
    ? async (name, payload) => marks.call(mark, () => part(name, payload))
    : (name, payload) => marks.call(mark, () => part(name, payload))

const options = {
  timeoutMillis: start.timeoutMillis,
  jobs: jobsOf(JobRunner.makeUnsafe(runnerOptions(start.jobs))),
  parallel: start.parallel,
  warn: (event: string, words: string) => say(true, `${event}: ${words}`)
}

const tellLoaded = (
  modules: ReadonlyArray<EventModules.EventModule>,
  problems: ReadonlyArray<EventModules.ModuleProblem>
) => tell({ kind: "loaded", modules: modules.map(({ event, file }) => ({ event, file })), problems })

const serve = (first: EventModules.Loaded) => {
  const modules = new InProcess(first.modules.map(marked), first.problems, options)
  const rounds = new Map<number, Verdicts>()
  if (start.watch) {
    new Watch({
      directory: start.directory,
      first,
      replace: (loaded, problems) => {
        modules.replace(loaded.map(marked), problems)
        tellLoaded(loaded, problems)
      },
      say: (words, isBroken) => say(isBroken, words)
    })
  }
  const detected = (id: number, verdicts: Verdicts) => {
    const { asked, broke, found } = verdicts
    if (found.length > 0) {
      rounds.set(id, verdicts)
      if (rounds.size > roundsMax) rounds.delete(rounds.keys().next().value!)
    }
    tell({ kind: "verdicts", id, found, asked, broke })
  }
  const detect = (id: number, payload: unknown, skip: ReadonlyArray<string>) => {
    const asked =
      skip.length === 0
        ? modules
        : new InProcess(
            modules.modules.filter(({ event }) => !skip.includes(event)),
            [],
            options
          )
    const verdicts = asked.detect(payload)
    if (verdicts instanceof Promise) verdicts.then((verdicts) => detected(id, verdicts))
    else detected(id, verdicts)
  }
  parentPort!.on("message", (ask: Ask) => {
    const { id, payload } = ask
    Atomics.store(running, 0, id)
    tell({ kind: "began", id })
    if (ask.kind === "detect") detect(id, payload, ask.skip)
    else {
      const round = ask.foundBy === undefined ? undefined : rounds.get(ask.foundBy)
      modules.handle(ask.event, payload, round).then((handled) => tellHandled(id, handled))
    }
    Atomics.store(running, 0, 0)
  })
  tellLoaded(first.modules, first.problems)
}

/** What a handler returned may hold what no other thread can be given, such as a function: then as JSON has it. */
const tellHandled = (id: number, handled: Handled) => {
  const times = Array.isArray(handled.jobs) ? handled.jobs.map(timesOf) : []
  try {
    tell({ kind: "handled", id, handled, times })
  } catch {
    try {
      const jobs: unknown =
        handled.jobs === undefined ? undefined : JSON.parse(JSON.stringify(HeldByJson.whole(handled.jobs)))
      tell({ kind: "handled", id, handled: { ...handled, jobs }, times })
    } catch (error) {
      const crashed = `it returned what cannot leave its worker: ${Calls.words(error)}`
      tell({ kind: "handled", id, handled: { name: handled.name, jobs: undefined, crashed }, times: [] })
    }
  }
}

EventModules.load(start.directory, undefined, start.aside).then(serve, (error: NodeJS.ErrnoException) =>
  tell({ kind: "unreadable", code: error.code, reason: Calls.words(error) })
)
