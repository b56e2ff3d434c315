/** How a webhook answers its sender: by status alone, or in the words of the Hasura event detector. */
import type { Explanation } from "../services/Detector.ts"
import type { HttpResponse } from "../services/HttpHost.ts"
import type { Reply } from "../services/Reply.ts"
import type { Denial } from "../services/WebhookAuth.ts"
import type { Ended } from "./HttpIntake.ts"

/** status: whether it is done · v0, v2: the events and jobs, as versions 0 and 2 of the detector list them. */
export const shapes = ["status", "v0", "v2"] as const
export type Shape = (typeof shapes)[number]

/** Why a body is not worked. */
export interface Unreadable {
  /** text: no JSON at all · value: JSON, but not what this webhook takes. */
  readonly kind: "text" | "value"
  readonly reason: string
}

export interface Answers {
  readonly denied: (denial: Denial) => HttpResponse
  /** Before anything was taken. */
  readonly unreadable: (unreadable: Unreadable) => HttpResponse
  /** Units: milliseconds since the request came. */
  readonly ended: (ended: Ended, id: string, millis: number) => HttpResponse
}

export const answers = (shape: Shape): Answers => (shape === "status" ? byStatus : compatible(shape))

// ---------------------------------------------------------------------------------------------------- status

const json = { "content-type": "application/json" }

const error = (status: number, reason: string, headers: Readonly<Record<string, string>> = {}): HttpResponse => ({
  status,
  headers: { ...json, ...headers },
  body: JSON.stringify({ error: reason })
})

/**
 * Only here may `Retry-After` stand: a sender such as Hasura comes again for ever where it finds one. It reads no date,
 * only seconds.
 */
const again = (reason: string): HttpResponse => error(503, reason, { "retry-after": "1" })

const challengeOf = ({ challenge }: Denial): Readonly<Record<string, string>> =>
  challenge === undefined ? {} : { "www-authenticate": challenge }

const byStatus: Answers = {
  denied: (denial) => error(401, denial.reason, challengeOf(denial)),
  unreadable: ({ reason }) => error(400, reason),
  ended: (ended, id) => {
    switch (ended._tag) {
      case "Acked":
      case "Buried":
        return { status: 200, headers: json, body: JSON.stringify({ id }) }
      case "Refused":
        return error(400, ended.reason)
      default:
        return notDone(ended)
    }
  }
}

const notDone = (ended: Extract<Ended, { readonly _tag: "Nacked" | "Away" }>): HttpResponse =>
  // The reason of a settlement may name what stands behind this pipeline, which is no business of the sender.
  again(ended._tag === "Away" ? ended.reason : "the message could not be done just now")

// ---------------------------------------------------------------------------------------------------- v0 and v2

const compatible = (shape: "v0" | "v2"): Answers => ({
  denied: (denial) => ({
    status: 401,
    headers: { "content-type": "text/plain; charset=utf-8", ...challengeOf(denial) },
    body: "Unauthorized!"
  }),
  unreadable: ({ kind }) => (kind === "text" ? crashed : pretty(200, listOf(shape, [], undefined, 0))),
  ended: (ended, _id, millis) => {
    switch (ended._tag) {
      case "Acked":
      case "Buried":
        return pretty(200, listOf(shape, ended.replies, ended.explained, millis))
      case "Refused":
        return pretty(200, listOf(shape, [], undefined, millis))
      default:
        return notDone(ended)
    }
  }
})

const pretty = (status: number, value: unknown): HttpResponse => ({
  status,
  headers: json,
  body: JSON.stringify(value, null, 2)
})

/** An `Error` written as JSON is an empty object. */
const crashed = pretty(500, { errors: [{}] })

/**
 * The reply to a detected event, as modules give it.
 *
 * `jobs` are entries of version 0, absent where the handler crashed; `v2` are the same as version 2 has them, and are
 * made from `jobs` where they are absent; `error` is why the handler crashed.
 */
export interface Entry {
  readonly name: string
  readonly jobs?: unknown
  readonly v2?: ReadonlyArray<unknown>
  readonly error?: string
}

/** The body of an answer: version 0 lists what was detected, version 2 also what was looked for and not detected. */
export const listOf = (
  shape: "v0" | "v2",
  replies: ReadonlyArray<Reply>,
  explained: ReadonlyArray<Explanation> | undefined,
  millis: number
): unknown => {
  const entries = replies.flatMap(({ payload }) => (isEntry(payload) ? [payload] : []))
  if (shape === "v0") return { events: entries.map(({ jobs, name }) => ({ name, jobs })), duration: millis }
  const detected = new Map(entries.map((entry) => [entry.name, entry]))
  const seen = new Set<string>()
  const events: Array<unknown> = []
  for (const { event, verdict } of explained ?? []) {
    if (seen.has(event)) continue
    seen.add(event)
    const entry = detected.get(event)
    events.push(entry === undefined ? { name: event, detected: verdict === "yes", jobs: [] } : detectedOf(entry))
  }
  for (const entry of detected.values()) if (!seen.has(entry.name)) events.push(detectedOf(entry))
  return { events, durationMs: millis }
}

const isEntry = (payload: unknown): payload is Entry =>
  typeof payload === "object" && payload !== null && typeof (payload as { readonly name?: unknown }).name === "string"

const detectedOf = ({ error, jobs, name, v2 }: Entry) => ({
  name,
  detected: true,
  jobs: v2 ?? (Array.isArray(jobs) ? jobs.map(jobOf) : []),
  ...(error !== undefined && { error })
})

/** A job of version 0 as version 2 says it; what a handler returned of its own stays what it is. */
const jobOf = (job: unknown): unknown => {
  if (typeof job !== "object" || job === null || !("completed" in job)) return job
  const { completed, duration, name, result } = job as Readonly<Record<string, unknown>>
  if (completed === true) return { name, durationMs: duration, result, completed }
  return { name, durationMs: duration, result: `Job func crashed: ${result}`, completed: false, error: result }
}
