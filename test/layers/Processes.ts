/** Other processes for tests: started, listened to line by line, told to go on, and killed. */
import { type ChildProcess, spawn } from "node:child_process"
import { resolve } from "node:path"
import { Effect, type Scope } from "effect"

export interface Process {
  /** Returns the first line that begins so, or dies with what it said when it ends before. */
  readonly says: (start: string) => Effect.Effect<string>
  readonly tell: (line: string) => Effect.Effect<void>
  /** kill -9, and the wait until it is gone. */
  readonly kill: Effect.Effect<void>
  /** Returns when it has ended well; otherwise dies with what it said. */
  readonly ended: Effect.Effect<void>
}

/** Runs `StoreProcess.ts` with these arguments; it is gone with the scope. */
export const store = (...args: ReadonlyArray<string>) => program("StoreProcess.ts", ...args)

/** Runs a program of this folder. */
export const program = (file: string, ...args: ReadonlyArray<string>): Effect.Effect<Process, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => listen(spawn(process.execPath, [resolve(import.meta.dirname, file), ...args]))),
    ({ kill }) => kill
  )

const listen = (child: ChildProcess): Process => {
  let output = ""
  let errors = ""
  let over = false
  const waiting = new Set<() => boolean>()
  const look = () => {
    for (const isDone of waiting) if (isDone()) waiting.delete(isDone)
  }
  child.stdout!.setEncoding("utf8").on("data", (text) => {
    output += text
    look()
  })
  child.stderr!.setEncoding("utf8").on("data", (text) => {
    errors += text
  })
  // One that is killed does not read what it was told.
  child.stdin!.on("error", () => {})
  child.on("close", () => {
    over = true
    look()
  })
  const when = <A>(holds: () => Effect.Effect<A> | undefined): Effect.Effect<A> =>
    Effect.callback<A>((resume) => {
      const isDone = () => {
        const effect = holds()
        if (effect !== undefined) resume(effect)
        return effect !== undefined
      }
      if (!isDone()) waiting.add(isDone)
    })
  const ended = () => new Error(`the process ended: ${child.exitCode ?? child.signalCode}\n${output}${errors}`)
  return {
    says: (start) =>
      when(() => {
        const line = output
          .split("\n")
          .slice(0, -1)
          .find((line) => line.startsWith(start))
        if (line !== undefined) return Effect.succeed(line)
        return over ? Effect.die(ended()) : undefined
      }),
    tell: (line) => Effect.sync(() => void child.stdin!.write(`${line}\n`)),
    kill: Effect.suspend(() => {
      child.kill("SIGKILL")
      return when(() => (over ? Effect.void : undefined))
    }),
    ended: when(() => (over ? (child.exitCode === 0 ? Effect.void : Effect.die(ended())) : undefined))
  }
}
