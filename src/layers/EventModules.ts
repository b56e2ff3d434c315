/** Finds the event modules of a directory, imports and checks each, and keeps what is wrong with the others. */
import { readdirSync } from "node:fs"
import { createRequire } from "node:module"
import { join, sep } from "node:path"
import { pathToFileURL } from "node:url"
import * as Calls from "./EventModulesCalls.ts"
import { importNow } from "./EventModulesImport.ts"
import { TimeLimit, told } from "./EventModulesLimit.ts"
import * as Resolve from "./EventModulesResolve.ts"

export type Detect = (event: string, hasuraEvent: any) => unknown
export type Handle = (event: string, hasuraEvent: any) => unknown

/** A module that can be used: `event` is its file's name without the ending. */
export interface EventModule {
  readonly event: string
  readonly file: string
  readonly detector: Detect
  readonly handler: Handle
}

/** A module that cannot be used, and why, in words that follow `file`. */
export interface ModuleProblem {
  readonly file: string
  readonly event: string
  readonly reason: string
}

/** A file that is a module by its name. */
export interface Found {
  readonly event: string
  readonly file: string
}

export interface Loaded {
  readonly modules: ReadonlyArray<EventModule>
  readonly problems: ReadonlyArray<ModuleProblem>
}

/** Units: milliseconds an import may take. */
export const importMillis = 10_000

/** Those that come first win where several files are of one event. */
const endings = [".generated.js", ".generated.cjs", ".js", ".mjs", ".cjs", ".ts", ".mts", ".cts"] as const

/** The event of a file, or undefined where it is no module by its name. */
export const eventOf = (name: string): string | undefined => {
  const ending = endings.find((one) => name.endsWith(one))
  if (ending === undefined || /\.d\.[cm]?ts$|\.(?:test|spec)\.[cm]?[jt]s$/.test(name)) return undefined
  const event = name.slice(0, -ending.length)
  return event === "" || event === "index" || event.startsWith(".") ? undefined : event
}

/**
 * The modules of a directory in the order of their names, and files that are in the way of others.
 *
 * Throws what the file system throws where the directory cannot be read.
 */
export const find = (
  directory: string
): { readonly found: ReadonlyArray<Found>; readonly problems: ReadonlyArray<ModuleProblem> } => {
  const problems: Array<ModuleProblem> = []
  const byEvent = new Map<string, string>()
  const names = readdirSync(directory, { withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map(({ name }) => name)
    .sort((a, b) => (a < b ? -1 : a > b ? 1 : 0))
  for (const name of names) {
    const event = eventOf(name)
    if (event === undefined) continue
    const before = byEvent.get(event)
    if (before === undefined) byEvent.set(event, name)
    else if (isGenerated(name) !== isGenerated(before)) byEvent.set(event, isGenerated(name) ? before : name)
    else
      problems.push({ file: join(directory, name), event, reason: `is a second module of the event, beside ${before}` })
  }
  const found = [...byEvent].map(([event, name]) => ({ event, file: join(directory, name) }))
  return { found, problems }
}

/** Bundlers leave such a copy beside the file it was made from, which is the one that counts. */
const isGenerated = (name: string): boolean => name.includes(".generated.")

/** Units: milliseconds after which the next import begins while one is still under way. */
const importTurnMillis = 200

/**
 * Imports all modules of a directory but those of the events `aside`; one that is broken or hangs leaves the others as
 * they are.
 *
 * One after the other: where two import the same ES module at the same time, one by `require`, Node refuses the second.
 *
 * Throws what the file system throws where the directory cannot be read.
 */
export const load = async (
  directory: string,
  millis: number = importMillis,
  aside: ReadonlyArray<string> = []
): Promise<Loaded> => {
  const { found, problems } = find(directory)
  const limit = new TimeLimit(millis)
  Resolve.register()
  await importNow(Resolve.hasura)
  const loading: Array<Promise<EventModule | ModuleProblem>> = []
  for (const one of found.filter(({ event }) => !aside.includes(event))) {
    const next = loadOne(one, 0, limit)
    loading.push(next)
    await turn(next)
  }
  const loaded = await Promise.all(loading)
  const modules: Array<EventModule> = []
  const broken: Array<ModuleProblem> = [...problems]
  for (const one of loaded) {
    if ("reason" in one) broken.push(one)
    else modules.push(one)
  }
  return { modules, problems: broken }
}

/** Waits for an import, but not for long. */
const turn = (loading: Promise<unknown>): Promise<void> =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, importTurnMillis)
    loading.then(() => {
      clearTimeout(timer)
      resolve()
    })
  })

/** Imports and checks one module; with a version above 0 a new copy of it, read from its file again. */
export const loadOne = async (
  { event, file }: Found,
  version = 0,
  limit: TimeLimit = new TimeLimit(importMillis)
): Promise<EventModule | ModuleProblem> => {
  Resolve.register()
  Calls.guard()
  const problem = (reason: string): ModuleProblem => ({ file, event, reason })
  const call = Calls.make(event, "import")
  try {
    if (version > 0) forget(file)
    const importing = Calls.inside(call, () => importNow(Resolve.copyOf(pathToFileURL(file).href, version)))
    const exported = await limit.bound(
      importing,
      call,
      () => new Error(`does not finish importing within ${told(limit.millis)}`),
      () => {}
    )
    if (call.exits.length > 0) return problem(`${call.exits[0]!.words} while it was imported`)
    return checked(event, file, exported)
  } catch (error) {
    if (call.exits.length > 0) return problem(`${call.exits[0]!.words} while it was imported`)
    const reason = Calls.words(error)
    return problem(reason.startsWith("does not finish") ? reason : `cannot be imported: ${reason}`)
  }
}

const require = createRequire(import.meta.url)

/** Drops a CommonJS module and what it required, but for packages, so that all of it is read from its files again. */
const forget = (file: string): void => {
  const known = require.cache[file]
  if (known === undefined || file.includes(`${sep}node_modules${sep}`) || Resolve.isOwn(file)) return
  delete require.cache[file]
  for (const { id } of known.children) forget(id)
}

/** Takes named exports, CommonJS' exports and a default export alike. */
const checked = (event: string, file: string, exported: Record<string, unknown>): EventModule | ModuleProblem => {
  const inner = exported.default as Record<string, unknown> | null | undefined
  const places = [exported, exported["module.exports"] as typeof inner, inner, inner?.default as typeof inner]
  const has = (one: typeof inner, name: string): boolean =>
    (typeof one === "object" || typeof one === "function") && one !== null && one[name] !== undefined
  const from =
    places.find((one) => has(one, "detector") && has(one, "handler")) ??
    places.find((one) => has(one, "detector") || has(one, "handler")) ??
    exported
  for (const name of ["detector", "handler"] as const) {
    const value = from[name]
    if (value === undefined) return { file, event, reason: `exports no ${name}` }
    if (typeof value !== "function") {
      const found = value === null ? "null" : Array.isArray(value) ? "a list" : `a ${typeof value}`
      return { file, event, reason: `its ${name} is ${found.replace("a object", "an object")} and no function` }
    }
  }
  return { event, file, detector: from.detector as Detect, handler: from.handler as Handle }
}
