/** Runs plain code with a limit on its time, by ending it where it is. */
import { createContext, Script } from "node:vm"
import { Result } from "effect"

/**
 * Returns what the task returns; fails with a sentence when it throws, or when it takes longer. What it was working on
 * is then in an unknown state and must be dropped. Costs about 0.1 ms, so that cheap work is better done without.
 */
export const within = <A>(millis: number, task: () => A): Result.Result<A, string> => {
  let result: { readonly value: A } | undefined
  box.task = () => {
    result = { value: task() }
  }
  try {
    script.runInContext(box, { timeout: millis })
    return Result.succeed(result!.value)
  } catch (error) {
    return Result.fail(sentence(error, millis))
  } finally {
    box.task = undefined
  }
}

/** Like `within`, but without the limit in time: for work that is known to be little. */
export const directly = <A>(task: () => A): Result.Result<A, string> =>
  Result.try({ try: task, catch: (error) => sentence(error, 0) })

const box = createContext({ task: undefined as (() => void) | undefined })
const script = new Script("task()")

const sentence = (error: unknown, millis: number): string => {
  const { code, name, message } = error as { code?: string; name?: string; message?: string }
  if (code === "ERR_SCRIPT_EXECUTION_TIMEOUT") return `takes more than ${millis} ms`
  if (name === "RangeError" && message?.includes("call stack") === true) return "is nested too deeply"
  return message ?? String(error)
}
