/** Puts buried messages into an Azure queue, as they came: the poison queue of those who know the convention. */
import { Effect, Schedule } from "effect"
import type { AzureQueue } from "../services/AzureQueue.ts"
import type { Envelope } from "../services/Envelope.ts"
import * as AzureQueueEncoding from "./AzureQueueEncoding.ts"
import * as Outage from "./Outage.ts"

/** Units: milliseconds between two tries while the queue cannot be reached. */
const backoffMillis = 200
const backoffMaxMillis = 5_000

/**
 * Makes a missing queue, and waits for one that cannot be reached. One that does not take the message, or is not ours to
 * write to, gets a line in the log: the message is in the dead letters in any case.
 */
export const make = (queue: AzureQueue) => {
  const outage = Outage.make(queue.name)
  return (envelope: Envelope): Effect.Effect<void> => {
    const send = queue.send(AzureQueueEncoding.textOf(envelope), { ttlSeconds: "never" })
    return send.pipe(
      Effect.catchIf(
        ({ trouble }) => trouble === "missing",
        () => Effect.andThen(queue.create, send)
      ),
      Effect.tapError(({ reason, trouble }) => (trouble === "away" ? outage.failed("send", reason) : Effect.void)),
      Effect.retry({ schedule: backoff, while: ({ trouble }) => trouble === "away" }),
      Effect.andThen(outage.works("send")),
      Effect.catch(({ reason }) =>
        Effect.logWarning(`${queue.name} has no copy of ${envelope.id}, which was buried: ${reason}`)
      )
    )
  }
}

const backoff = Schedule.min([Schedule.exponential(backoffMillis), Schedule.spaced(backoffMaxMillis)])
