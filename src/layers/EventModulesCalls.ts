/** Knows which event module the running code belongs to, and keeps a module from ending the process. */
import { AsyncLocalStorage, AsyncResource } from "node:async_hooks"
import { syncBuiltinESMExports } from "node:module"
import type { Jobs } from "./HasuraCompatJobs.ts"

export type Part = "import" | "detector" | "handler" | "job"

/** One run of a module's code; what it starts, and what that starts, belongs to it too. */
export interface Call {
  /** The event of the module. */
  event: string
  readonly part: Part
  /** The job's name, where it is a job. */
  readonly job?: string | undefined
  /** What `run` inside of it runs jobs with. */
  readonly jobs?: Jobs | undefined
  /** Jobs under way that it waits for: its own time stands still meanwhile. */
  running: number
  /** Where it tried to end the process: the event, and what it called. */
  readonly exits: Array<{ readonly event: string; readonly words: string }>
}

/** A module's code asked for the end of the process; it got this instead. */
export class ProcessEndRefused extends Error {
  override readonly name = "ProcessEndRefused"
}

interface Shared {
  readonly calls: AsyncLocalStorage<Call | undefined>
  guarded: boolean
  /** How often a module asked for the end of the process. */
  refusals: number
}

/** One value for the process: a module may find another copy of this program than the one that runs it. */
export const once = <A>(name: string, make: () => A): A => {
  const place = Symbol.for(`sluice/${name}`)
  const all = globalThis as { [place: symbol]: unknown }
  all[place] ??= make()
  return all[place] as A
}

const shared = once<Shared>("event-modules", () => ({ calls: new AsyncLocalStorage(), guarded: false, refusals: 0 }))

export const make = (event: string, part: Part, more: { job?: string; jobs?: Jobs | undefined } = {}): Call => ({
  event,
  part,
  running: 0,
  exits: [],
  ...more
})

/** The call the running code belongs to. */
export const current = (): Call | undefined => shared.calls.getStore()

/** How often a module has asked for the end of the process: cheaper to look at than all calls. */
export const refusals = (): number => shared.refusals

/** Runs code as part of a call. Costs 0.2 µs. */
export const inside = <A>(call: Call, code: () => A): A => shared.calls.run(call, code)

/** Runs code as nobody's, such as what others share. */
export const outside = <A>(code: () => A): A => shared.calls.run(undefined, code)

/** For code that runs often as part of the same call. Costs 0.01 µs. */
export const scopeOf = (call: Call): AsyncResource =>
  shared.calls.run(call, () => new AsyncResource("EventModule", { requireManualDestroy: true }))

/** Such as `the job sendMail of order.paid`. */
export const nameOf = ({ event, job, part }: Call): string =>
  job !== undefined ? `the job ${job} of ${event}` : event === "" ? "a detector" : `the ${part} of ${event}`

/** Whose code the running code is, in words; for those who log what was thrown outside of everything. */
export const currentName = (): string | undefined => {
  const call = current()
  return call === undefined ? undefined : nameOf(call)
}

/**
 * From now on the process cannot be ended by the code of a module, in whatever way it asks; everybody else ends it as
 * before. What asked for it is told with an error, and its call remembers it, should the module catch that error.
 */
export const guard = (): void => {
  if (shared.guarded) return
  shared.guarded = true
  const own = process as unknown as Record<string, (...args: Array<unknown>) => unknown>
  const wrap = (name: string, ends: (args: ReadonlyArray<unknown>) => boolean) => {
    const real = own[name]!
    own[name] = function (this: unknown, ...args: Array<unknown>): unknown {
      const call = current()
      if (call === undefined || !ends(args)) return real.apply(process, args)
      const words = `called process.${name}(${args.map((arg) => JSON.stringify(arg) ?? "").join(", ")})`
      shared.refusals++
      call.exits.push({ event: call.event, words })
      throw new ProcessEndRefused(words)
    }
  }
  wrap("exit", () => true)
  wrap("reallyExit", () => true)
  wrap("abort", () => true)
  // Signal 0 only asks; 0 and negative ids mean whole groups, of which this process may be one.
  wrap("kill", ([pid, signal]) => signal !== 0 && (Number(pid) === process.pid || Number(pid) <= 0))
  // For those who import the functions by name.
  syncBuiltinESMExports()
  process.prependListener("unhandledRejection", onRejection)
}

/**
 * Where nobody else takes rejections that nobody waits for, those of modules are said and go no further, and all others
 * end the process as they would have without this.
 */
const onRejection = (reason: unknown): void => {
  if (process.listenerCount("unhandledRejection") > 1) return
  const name = currentName()
  if (name === undefined) throw reason
  console.error(`[${current()!.event}] ${name} rejected after it had returned: ${words(reason)}`)
}

/** What was thrown, in one line, whatever it is. */
export const words = (thrown: unknown): string => {
  if (thrown === undefined || thrown === null) return `${thrown} was thrown`
  try {
    const text =
      typeof thrown === "object" && "message" in thrown && typeof thrown.message === "string" && thrown.message !== ""
        ? thrown.message
        : thrown instanceof Error
          ? thrown.name
          : typeof thrown === "object"
            ? JSON.stringify(thrown)
            : String(thrown)
    const line = text.replaceAll(/\s+/g, " ").trim()
    return line === "" ? "an empty text was thrown" : line.length > 500 ? `${line.slice(0, 500)}...` : line
  } catch {
    return "something was thrown that cannot be shown"
  }
}
