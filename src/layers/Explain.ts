/** Tells what became of one message: what was found in it and why not, what ran for it, what was published. */
import { Console, DateTime, Effect, type Scope } from "effect"
import { HttpHost, type HttpHostError } from "../services/HttpHost.ts"
import { type Entry, Journal, type JournalError, type Publication, type Step } from "../services/Journal.ts"
import { oneLine } from "../streams/OneLine.ts"
import { isLoopback } from "./GatewayAccessNode.ts"

/** Units: deliveries of one message, the newest. */
const entriesMax = 100

/** All deliveries of a message, oldest first; of these pipelines, where some are named. */
export const find = (
  id: string,
  pipelines?: ReadonlyArray<string>
): Effect.Effect<ReadonlyArray<Entry>, JournalError, Journal> =>
  Effect.gen(function* () {
    const journal = yield* Journal
    const found = yield* journal.find({ id, limit: entriesMax })
    return pipelines === undefined ? found : found.filter(({ pipeline }) => pipelines.includes(pipeline))
  })

export const json = (entries: ReadonlyArray<Entry>): string =>
  JSON.stringify(entries, (_, value) => (value === undefined ? null : value))

/** Prints them; false when there are none. */
export const print = Effect.fnUntraced(function* (id: string, entries: ReadonlyArray<Entry>, asJson: boolean) {
  if (asJson) yield* Console.log(json(entries))
  else if (entries.length === 0) yield* Console.error(oneLine(`nothing is known of ${id}: the journal has no such id`))
  for (const line of asJson ? [] : entries.flatMap(linesOf)) yield* Console.log(oneLine(line))
  return entries.length > 0
})

/**
 * Serves `GET /api/v1/explain/:id`. What stands there may be nobody else's business, so a server that others can reach does it
 * only when it is told to.
 */
export const route = Effect.fnUntraced(function* (
  asked: boolean | undefined
): Effect.fn.Return<void, HttpHostError, HttpHost | Journal | Scope.Scope> {
  const { address, route } = yield* HttpHost
  const journal = yield* Journal
  if (address === undefined || !(asked ?? isLoopback(address.host))) return
  const headers = { "content-type": "application/json" }
  yield* route({
    method: "GET",
    path: "/api/v1/explain/:id",
    handle: ({ params }) =>
      find(params.id!).pipe(
        Effect.provideService(Journal, journal),
        Effect.match({
          onSuccess: (entries) =>
            entries.length === 0
              ? { status: 404, headers, body: JSON.stringify({ error: "the journal has no such id" }) }
              : { status: 200, headers, body: json(entries) },
          onFailure: () => ({
            status: 503,
            headers: { ...headers, "retry-after": "1" },
            body: JSON.stringify({ error: "the journal cannot be read just now" })
          })
        })
      )
  })
})

// ---------------------------------------------------------------------------------------------------- lines

const linesOf = (entry: Entry): ReadonlyArray<string> => {
  const { at, attempt, detected, id, millis, outcome, pipeline, published, reason, source, steps } = entry
  const when = DateTime.formatIsoOffset(DateTime.setZone(DateTime.makeUnsafe(at), DateTime.zoneMakeLocal()))
  const again = attempt > 1 ? `, its delivery ${attempt}` : ""
  const why = reason === undefined ? "" : `: ${reason}`
  return [
    `${id}  ${pipeline} (from ${source}${again})  ${outcome} at ${when}, after ${millis} ms${why}`,
    ...detected.map(
      ({ event, verdict, why }) => `  ${verdict.padEnd(5)} ${event}${why === undefined ? "" : `: ${why}`}`
    ),
    ...steps.flatMap(stepLines),
    ...published.map(publicationLine)
  ]
}

const stepLines = ({ attempts, event, jobs, leg, millis, note, outcome }: Step): ReadonlyArray<string> => [
  // The jobs say it each for itself.
  `  ${event} > ${leg} ${outcome}${tries(attempts)}${took(millis)}${note === undefined || jobs.length > 0 ? "" : `: ${note}`}`,
  ...jobs.map(
    (job) =>
      `    ${job.ok ? "done  " : "failed"} ${job.name}${tries(job.attempts)}${took(job.millis)}${job.note === undefined ? "" : `: ${job.note}`}`
  )
]

const publicationLine = ({ event, note, outcome, publisher }: Publication): string =>
  `  ${event} > ${publisher} ${outcome}${note === undefined ? "" : `: ${note}`}`

const tries = (attempts: number): string => (attempts > 1 ? ` after ${attempts} tries` : "")

const took = (millis: number | undefined): string => (millis === undefined ? "" : ` in ${millis} ms`)
