/** Runs jobs where no pipeline does: all at once, each for a limited time. */
import * as Calls from "./EventModulesCalls.ts"
import { told } from "./EventModulesLimit.ts"
import { log } from "./HasuraCompatHelpers.ts"
import type { JobOutcome, JobSpec, Jobs } from "./HasuraCompatRun.ts"

/** Units: milliseconds. */
export const timeoutMillis = 10_000

/** Units: milliseconds before the second try; it doubles with each further one, up to the second. */
const backoffMillis = 200
const backoffMaxMillis = 10_000

export const plainJobs =
  (millis: number = timeoutMillis): Jobs =>
  (specs) =>
    Promise.all(specs.map((spec) => runOne(spec, spec.timeoutMillis ?? millis)))

const runOne = async (spec: JobSpec, millis: number): Promise<JobOutcome> => {
  const startedAt = Date.now()
  const from = performance.now()
  for (let attempts = 1; ; attempts++) {
    const ended = await attempt(spec, millis)
    if (ended.ok || attempts > (spec.retries ?? 0)) {
      return { ...ended, attempts, startedAt, millis: performance.now() - from }
    }
    const wait = Math.min(backoffMaxMillis, backoffMillis * 2 ** (attempts - 1))
    await new Promise((resolve) => setTimeout(resolve, wait))
  }
}

type Ended = { readonly ok: true; readonly result: unknown } | { readonly ok: false; readonly reason: string }

const attempt = ({ name, run }: JobSpec, millis: number): Promise<Ended> =>
  new Promise((resolve) => {
    const controller = new AbortController()
    const { signal } = controller
    const timer = setTimeout(() => {
      controller.abort()
      resolve({ ok: false, reason: `no result within ${told(millis)}` })
    }, millis)
    const end = (ended: Ended) => {
      clearTimeout(timer)
      resolve(ended)
    }
    const failed = (error: unknown) => {
      if (signal.aborted) {
        // It obeyed, or it failed when nobody waited for it any more.
        if (error !== signal.reason) log(name, `rejected after it was given up: ${Calls.words(error)}`)
      } else end({ ok: false, reason: Calls.words(error) })
    }
    try {
      Promise.resolve(run(signal)).then((result) => end({ ok: true, result }), failed)
    } catch (error) {
      failed(error)
    }
  })
