/** Runs code of others as a call that has a name, and that cannot end the process. */
import { type Context, Effect, Exit, Fiber, Scheduler } from "effect"
import { isLater } from "../services/Ready.ts"
import * as Calls from "./EventModulesCalls.ts"
import { isPromise } from "./JobRunner.ts"

/** Gives what the code returns: a value, a promise or an effect. One that asked for the end of the process fails. */
export const contained = (call: Calls.Call, code: () => unknown): unknown => {
  const returned = Calls.inside(call, code)
  if (call.exits.length > 0) {
    // It fails now: nobody waits for what it returned.
    if (isPromise(returned)) returned.then(undefined, () => {})
    return refuseExit(call, undefined)
  }
  if (isLater(returned)) return effectOf(call, returned as Effect.Effect<unknown, unknown>)
  return isPromise(returned) ? returned.then((value) => refuseExit(call, value)) : returned
}

/** A job that asked for the end of the process has failed, also where it caught what it was told. */
const refuseExit = <A>({ exits }: Calls.Call, value: A): A => {
  if (exits.length > 0) throw new Calls.ProcessEndRefused(exits[0]!.words)
  return value
}

/** An effect as part of a call: with a scheduler of its own, as one that is shared would run others' effects in its name. */
const effectOf = (call: Calls.Call, effect: Effect.Effect<unknown, unknown>): Effect.Effect<unknown, unknown> =>
  Effect.contextWith((context: Context.Context<never>) =>
    Effect.callback<unknown, unknown>((resume) => {
      const scheduler = new Scheduler.MixedScheduler()
      const fiber = Calls.inside(call, () => Effect.runForkWith(context)(effect, { scheduler }))
      fiber.addObserver((exit) => Calls.outside(() => resume(Exit.map(exit, (value) => refuseExit(call, value)))))
      return Fiber.interrupt(fiber)
    })
  )
