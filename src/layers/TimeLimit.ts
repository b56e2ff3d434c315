/** Runs plain code with a limit on the processor's time it takes, by ending it where it is. */
import process from "node:process"
import { createContext, Script } from "node:vm"
import { Result } from "effect"

/**
 * Returns what the task returns; fails with a sentence when it throws, or when it takes longer. What it was working on
 * is then in an unknown state and must be dropped. On a machine that is too busy to give it its time it is begun anew,
 * with more patience. Costs about 0.1 ms, so that cheap work is better done without.
 */
export const within = <A>(millis: number, task: () => A): Result.Result<A, string> => {
  for (let patience = millis; ; ) {
    const before = cpuUsage()
    try {
      return Result.succeed(runFor(patience, task))
    } catch (error) {
      const { system, user } = cpuUsage(before)
      const spent = Math.max((system + user) / 1000, 1)
      if (!isTimeUp(error) || spent > 0.8 * millis || patience >= busiest * millis)
        return Result.fail(sentence(error, millis))
      patience = Math.min(busiest * millis, (patience * millis) / spent)
    }
  }
}

/** Older versions know only what all threads take together. */
const cpuUsage = process.threadCpuUsage ?? process.cpuUsage

/** The least part of a processor that is waited for: one of this many. */
const busiest = 40

const runFor = <A>(millis: number, task: () => A): A => {
  let result: { readonly value: A } | undefined
  box.task = () => {
    result = { value: task() }
  }
  try {
    script.runInContext(box, { timeout: Math.ceil(millis) })
    return result!.value
  } finally {
    box.task = undefined
  }
}

/** Like `within`, but without the limit in time: for work that is known to be little. */
export const directly = <A>(task: () => A): Result.Result<A, string> =>
  Result.try({ try: task, catch: (error) => sentence(error, 0) })

const box = createContext({ task: undefined as (() => void) | undefined })
const script = new Script("task()")

const isTimeUp = (error: unknown): boolean =>
  (error as { readonly code?: string } | undefined)?.code === "ERR_SCRIPT_EXECUTION_TIMEOUT"

const sentence = (error: unknown, millis: number): string => {
  const { name, message } = error as { name?: string; message?: string }
  if (isTimeUp(error)) return `takes more than ${millis} ms`
  if (name === "RangeError" && message?.includes("call stack") === true) return "is nested too deeply"
  return message ?? String(error)
}
