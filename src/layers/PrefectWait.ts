/** Follows a flow run to its final state. */
import { Clock, Duration, Effect } from "effect"
import { accepted, type Reply, refused } from "../services/Reply.ts"
import type { PrefectClient } from "./PrefectClient.ts"

export interface Options {
  /** How often the run is looked at. */
  readonly every: Duration.Duration
  /** How long it is followed. */
  readonly within: Duration.Duration
}

/** A flow run as Prefect gives it. */
export interface FlowRun {
  readonly id: string
  readonly name: string
  readonly state_type?: string | null
  readonly state?: { readonly type?: string; readonly name?: string; readonly message?: string | null } | null
}

export const isFlowRun = (value: unknown): value is FlowRun =>
  typeof value === "object" &&
  value !== null &&
  typeof (value as FlowRun).id === "string" &&
  typeof (value as FlowRun).name === "string"

/** Source: prefect.states.TERMINAL_STATES. */
const finals: ReadonlySet<string> = new Set(["COMPLETED", "FAILED", "CRASHED", "CANCELLED"])

/** Units: milliseconds. A server that does not answer is asked at least this often. */
const backoffMaxMillis = 30_000
/** Units: characters of a state's message in a reason. */
const messageMax = 600

const stateOf = ({ state, state_type }: FlowRun): string => state_type ?? state?.type ?? "UNKNOWN"

/** Begins with the run as it was created, which may be an earlier one's and over. Failures meanwhile are waited out. */
export const follow = Effect.fnUntraced(function* (
  client: PrefectClient,
  { every, within }: Options,
  deployment: string,
  created: FlowRun
): Effect.fn.Return<Reply> {
  const end = (yield* Clock.currentTimeMillis) + Duration.toMillis(within)
  const everyMillis = Duration.toMillis(every)
  const ask = { about: deployment, method: "GET" as const, path: `/flow_runs/${created.id}` }
  let run = created
  let failures = 0
  let lastReason = ""
  let askedMillis = 0
  while (!finals.has(stateOf(run))) {
    const waitMax = Math.max(everyMillis, backoffMaxMillis)
    const wait = Math.min(Math.max(everyMillis * 2 ** failures, askedMillis), waitMax)
    const left = end - (yield* Clock.currentTimeMillis)
    if (left <= 0) return late(deployment, run, within, failures === 0 ? "" : lastReason)
    yield* Effect.sleep(Math.min(wait, left))
    const looked = yield* Effect.result(client.ask(ask))
    if (looked._tag === "Failure") {
      // A failure that lasts is the dispatches' to report.
      failures++
      lastReason = looked.failure.reason
      askedMillis = looked.failure.retryAfterMillis ?? 0
      yield* Effect.logDebug(`waiting for the flow run ${run.name} goes on: ${lastReason}`)
    } else if (looked.success.kind === "refused") {
      return refused(`the flow run ${run.name} can no longer be read: ${looked.success.reason}`, run)
    } else {
      failures = 0
      askedMillis = 0
      if (isFlowRun(looked.success.payload)) run = looked.success.payload
    }
  }
  return ended(deployment, run)
})

const ended = (deployment: string, run: FlowRun): Reply => {
  const state = stateOf(run)
  if (state === "COMPLETED") return accepted(run)
  const message = (run.state?.message ?? "").replaceAll(/[\s\p{Cc}]+/gu, " ").trim()
  const said = message.length > messageMax ? `${message.slice(0, messageMax)}...` : message
  return refused(`${deployment}: the flow run ${run.name} ended as ${state}${said === "" ? "" : `: ${said}`}`, run)
}

const late = (deployment: string, run: FlowRun, within: Duration.Duration, failing: string): Reply => {
  const why = failing === "" ? `is still ${stateOf(run)}` : `was last seen ${stateOf(run)} (${failing})`
  return refused(`${deployment}: the flow run ${run.name} ${why} after ${Duration.format(within)}`, run)
}
