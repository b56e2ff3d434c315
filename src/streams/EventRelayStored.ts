/** Which of the events of a call the server has not stored: its reply is in no order, and what it does not take is missing. */
import { Result } from "effect"
import type { NewEvent, RelayEvent } from "../services/EventRelay.ts"

export interface Missing<A> {
  readonly events: ReadonlyArray<A>
  /** One sentence. */
  readonly reason: string
}

/** Undefined when some are missing and nobody can tell which. */
export const missing = <A extends { readonly event: NewEvent }>(
  sent: ReadonlyArray<A>,
  reply: ReadonlyArray<RelayEvent>
): Missing<A> | undefined => {
  const refused = reply.filter(({ errors }) => errors.length > 0)
  const stored = refused.length === 0 ? reply : reply.filter(({ errors }) => errors.length === 0)
  if (stored.length >= sent.length) return { events: [], reason: "" }
  const reason =
    refused.length > 0
      ? `the server does not take it: ${refused[0]!.errors.join("; ").slice(0, wordsMax)}`
      : "the server did not store it: its data may not fit a schema of the topic, or there is no such topic"
  if (stored.length === 0) return { events: sent, reason }
  const count = new Map<string, number>()
  for (const event of stored) {
    const known = wordsOf(event)
    count.set(known, (count.get(known) ?? 0) + 1)
  }
  const events = sent.filter(({ event }) => {
    const known = wordsOf(event)
    const left = count.get(known) ?? 0
    count.set(known, left - 1)
    return left <= 0
  })
  return events.length === sent.length - stored.length ? { events, reason } : undefined
}

/** Units: characters. */
const wordsMax = 300

/** What the server keeps as it came; equal ones are equally good. */
const wordsOf = (event: NewEvent): string =>
  JSON.stringify([
    event.name,
    event.source,
    event.group_key,
    event.reference_key,
    event.trace_key,
    event.user_key,
    event.anonymous_key,
    sorted(event.context),
    sorted(
      Result.getOrElse(
        Result.try(() => JSON.parse(event.data) as unknown),
        () => event.data
      )
    )
  ])

/** The server stores JSON without the order of its fields. */
const sorted = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== "object" || value === null) return value
  return Object.entries(value)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, part]) => [name, sorted(part)])
}
