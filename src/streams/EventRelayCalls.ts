/** What calls to an EventRelay server have in common: how long to wait after one that failed, and which end the source. */
import { Effect, Result } from "effect"
import type { EventRelayError } from "../services/EventRelay.ts"
import { SourceError } from "../services/Source.ts"
import type { Outage } from "./Outage.ts"

/** Between two tries: at first, then twice as long each time, at most. Units: milliseconds. */
export interface Backoff {
  readonly minMillis: number
  readonly maxMillis: number
}

export const backoffDefault: Backoff = { minMillis: 500, maxMillis: 5_000 }

/** Units: milliseconds after so many failures before this one. */
export const delay = ({ maxMillis, minMillis }: Backoff, failures: number): number =>
  Math.min(minMillis * 2 ** Math.min(failures, 20), maxMillis)

/** What the server refuses before it has granted anything: no later try helps until somebody changes something. */
export const refusal = (source: string, error: EventRelayError): SourceError | undefined =>
  error.trouble === "denied" || error.trouble === "unfit"
    ? new SourceError({ source, reason: error.reason, away: false, cause: error })
    : undefined

export interface Options {
  readonly source: string
  readonly outage: Outage
  readonly backoff: Backoff
}

/** Makes calls that are tried until they are granted. Fails: `SourceError` when the first that is answered is refused. */
export const make = ({ backoff, outage, source }: Options) => {
  let works = false
  return Effect.fnUntraced(function* <A>(call: Effect.Effect<A, EventRelayError>) {
    for (let failures = 0; ; failures++) {
      const answer = yield* Effect.result(call)
      if (Result.isSuccess(answer)) {
        works = true
        yield* outage.works("pull")
        return answer.success
      }
      const refused = works ? undefined : refusal(source, answer.failure)
      if (refused !== undefined) return yield* refused
      yield* outage.failed("pull", answer.failure.reason)
      yield* Effect.sleep(delay(backoff, failures))
    }
  })
}
