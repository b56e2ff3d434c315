/** Watches, from another thread, that event modules give the main thread back; ends the process when one never does. */
import { closeSync } from "node:fs"
import { sep } from "node:path"
import process from "node:process"
import { Worker } from "node:worker_threads"
import { Effect, type Scope } from "effect"
import { everyMillis, Marks } from "./StallWatchMarks.ts"
import type { Settings } from "./StallWatchThread.ts"

export interface Options {
  /** How long plain code may keep the main thread. Units: milliseconds. */
  readonly limitMillis: number
  /** Absolute paths of where modules lie, to find who loops after it has waited for something. */
  readonly folders?: ReadonlyArray<string>
  /** Human lines instead of JSON lines; absent: as standard error is a terminal. */
  readonly terminal?: boolean
}

export type StallWatch = Pick<Marks, "begin" | "call" | "end" | "enter" | "leave">

/**
 * The thread ends with the scope. It ends the process with 1, after one line on standard error, when nothing has moved
 * for the limit and a module is at work; where the code cannot be interrupted (one very long `JSON.parse` or `sort`, a
 * child process that is waited for), by SIGKILL a second later. Nothing else of the process is run then.
 */
export const make = Effect.fnUntraced(function* (options: Options): Effect.fn.Return<StallWatch, never, Scope.Scope> {
  const every = everyMillis(options.limitMillis)
  const names: Array<string> = []
  let thread: Worker | undefined
  const marks = new Marks((name) => {
    names.push(name)
    thread?.postMessage(name)
  })
  yield* Effect.acquireRelease(
    Effect.sync(() => {
      Object.defineProperty(globalThis, endKey, { value: end, configurable: true })
      thread = new Worker(threadUrl, {
        name: "stall watch",
        workerData: settings(options, marks.shared, every),
        // It keeps names and one stack.
        resourceLimits: { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 4 },
        execArgv: []
      })
      thread.unref()
      return { thread, stop: marks.beatEvery(every) }
    }),
    ({ stop, thread }) =>
      Effect.promise(() => {
        stop()
        return thread.terminate()
      })
  )
  return marks
})

const settings = (options: Options, shared: SharedArrayBuffer, every: number): Settings => ({
  shared,
  everyMillis: every,
  limitMillis: options.limitMillis,
  folders: (options.folders ?? []).map((folder) => (folder.endsWith(sep) ? folder : folder + sep)),
  terminal: options.terminal ?? process.stderr.isTTY === true,
  endExpression: `globalThis[Symbol.for(${JSON.stringify(endName)})]()`
})

/** `dist` has it beside this file as JavaScript, the sources as TypeScript. */
const threadUrl = new URL(import.meta.url.replace(/StallWatch(\.[jt]s)$/, "StallWatchThread$1"))

const endName = "sluice/layers/StallWatch/end"
const endKey = Symbol.for(endName)

// Taken now, as modules may be kept from ending the process in the usual way.
const reallyExit = (process as unknown as { readonly reallyExit: (code: number) => never }).reallyExit.bind(process)

/** Standard error is closed first: Node would write there that it waits for the debugger, which is our own thread. */
const end = () => {
  try {
    closeSync(2)
  } finally {
    reallyExit(1)
  }
}
