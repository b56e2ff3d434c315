/** Listens to one database event: loads the event modules, asks each, and runs the handlers of those that say yes. */
import { isAbsolute, join, resolve } from "node:path"
import { fileURLToPath } from "node:url"
import { getCallSites } from "node:util"
import * as EventModules from "./EventModules.ts"
import { InProcess } from "./EventModulesRun.ts"
import { log } from "./HasuraCompatHelpers.ts"
import { plainJobs, timeoutMillis } from "./HasuraCompatJobs.ts"
import * as Summary from "./HasuraCompatSummary.ts"

export interface ListenOptions {
  /** Whether all modules of the directory are listened to; then `listenedEvents` counts for nothing. True by default. */
  readonly autoLoadEventModules?: boolean
  /** A relative path starts at the folder of the file that calls. `./events` by default. */
  readonly eventModulesDirectory?: string
  readonly listenedEvents?: ReadonlyArray<string>
  /** How long a detector, a handler beside its jobs, and each job may take. Units: milliseconds; 10,000 by default. */
  readonly timeout?: number
}

export interface Response {
  readonly events: Array<Summary.Detected>
  /** Units: milliseconds. */
  duration: number
}

/**
 * Detectors are asked one after the other, in the order of their files; the handler of a detected event starts at once,
 * and all are waited for at the end. Only detected events are in the response.
 */
export const listenTo = (hasuraEvent: any, options: ListenOptions = {}, context: unknown = {}): Promise<Response> => {
  // Before anything waits, as the caller is known only now.
  const directory = options.eventModulesDirectory ?? "./events"
  return listen(hasuraEvent, isAbsolute(directory) ? directory : resolve(callerFolder(), directory), options, context)
}

const listen = async (
  hasuraEvent: any,
  directory: string,
  options: ListenOptions,
  context: unknown
): Promise<Response> => {
  const from = performance.now()
  hasuraEvent.__context = context
  const millis = options.timeout ?? timeoutMillis
  const running: Array<Promise<Summary.Detected>> = []
  for (const one of listened(directory, options)) {
    const loaded = await EventModules.loadOne(one)
    if ("reason" in loaded) {
      console.error(`Failed to load module from ${loaded.file}`, loaded.reason)
      continue
    }
    log("loadEventModule", `🧩 Loaded ${one.event} module from ${one.file}`)
    const module = new InProcess([loaded], [], {
      timeoutMillis: millis,
      jobs: plainJobs(millis),
      warn: (event, words) => log(event, words)
    })
    const verdicts = await module.detect(hasuraEvent)
    const broke = verdicts.broke.get(one.event)
    if (broke !== undefined) log(one.event, "Error detecting event", broke)
    else if (verdicts.found.length === 0) log(one.event, "No event detected")
    else {
      log(one.event, "Event detected")
      running.push(handled(module, one.event, hasuraEvent, verdicts))
    }
  }
  const response: Response = { events: await Promise.all(running), duration: 0 }
  response.duration = Math.round(performance.now() - from)
  console.log(Summary.summary(response.events))
  return response
}

const handled = async (
  module: InProcess,
  event: string,
  hasuraEvent: unknown,
  verdicts: Parameters<InProcess["handle"]>[2]
): Promise<Summary.Detected> => {
  const { crashed, jobs, name } = await module.handle(event, hasuraEvent, verdicts)
  if (crashed !== undefined) log(event, `Handler crashed: ${crashed}`)
  return { name, jobs }
}

/** The modules to listen to, in order. */
const listened = (directory: string, options: ListenOptions): ReadonlyArray<EventModules.Found> => {
  const { autoLoadEventModules = true, listenedEvents = [] } = options
  try {
    const { found, problems } = EventModules.find(directory)
    for (const { file, reason } of problems) console.error(`${file} ${reason}`)
    if (autoLoadEventModules) {
      const names = found.map(({ file }) => file.slice(directory.length + 1))
      log("DetectEventModules", `Auto-detected event modules found in: ${directory}`, names)
      return found
    }
    return listenedEvents.map((event) => {
      const one = found.find((one) => one.event === event)
      return one ?? { event, file: join(directory, `${event}.js`) }
    })
  } catch (error) {
    console.error("[ListModules] Failed to list modules", (error as Error).message)
    return []
  }
}

/** The folder of the file that called into this program. */
const callerFolder = (): string => {
  for (const { scriptName } of getCallSites(20)) {
    const file = scriptName.startsWith("file:") ? fileURLToPath(scriptName.split("?")[0]!) : scriptName
    if (isAbsolute(file) && file !== here) return join(file, "..")
  }
  return process.cwd()
}

const here = fileURLToPath(import.meta.url)
