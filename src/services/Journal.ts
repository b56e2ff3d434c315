/** Remembers for a while what became of each message: what was found in it, what ran for it and how that ended. */
import { Context, type Effect, Schema } from "effect"
import type { Explanation } from "./Detector.ts"
import type { JobNote } from "./Reply.ts"

export class JournalError extends Schema.TaggedError<JournalError>()("JournalError", {
  reason: Schema.String,
  cause: Schema.optionalKey(Schema.Defect())
}) {
  override get message(): string {
    return this.reason
  }
}

/** One dispatch leg of a message. */
export interface Step {
  readonly event: string
  /** Such as `dispatch.0:prefect`. */
  readonly leg: string
  /** Tries of it in this delivery, the good one included. */
  readonly attempts: number
  /** How the leg ended; `open` when it was given back unanswered. */
  readonly outcome: "accepted" | "refused" | "failed" | "open"
  /** What was done or why it was not, in one sentence, such as `triggered ETL/nightly: brave-fox`. */
  readonly note: string | undefined
  /** From the start of its last try to its end; undefined when it never began. Units: milliseconds. */
  readonly millis: number | undefined
  readonly jobs: ReadonlyArray<JobNote>
}

/** A reply that a publisher took. */
export interface Publication {
  readonly event: string
  /** Such as `publish.0:kafka`. */
  readonly publisher: string
  readonly outcome: "published" | "failed"
  /** Why it was not. */
  readonly note: string | undefined
}

/** One settled delivery. */
export interface Entry {
  /** Units: milliseconds since 1970; when it was settled. */
  readonly at: number
  readonly pipeline: string
  readonly source: string
  /** The envelope's id. */
  readonly id: string
  /** Which delivery of the envelope it was, from 1. */
  readonly attempt: number
  readonly outcome: "acked" | "buried" | "refused" | "nacked"
  readonly reason: string | undefined
  /** From its arrival to its settlement. Units: milliseconds. */
  readonly millis: number
  /** What each rule or module said, in the order of the config; those that cannot tell are left out. */
  readonly detected: ReadonlyArray<Explanation>
  readonly steps: ReadonlyArray<Step>
  readonly published: ReadonlyArray<Publication>
}

export interface Query {
  readonly pipeline?: string | undefined
  /** The envelope's id. */
  readonly id?: string | undefined
  /** Those in which it was found. */
  readonly event?: string | undefined
  readonly outcome?: Entry["outcome"] | undefined
  /** Units: milliseconds since 1970. */
  readonly since?: number | undefined
  /** The newest so many. */
  readonly limit: number
}

export class Journal extends Context.Service<
  Journal,
  {
    /** Notes what will be written within half a second; bounded: when the store cannot follow, the oldest are left out and counted. */
    readonly note: (entry: Entry) => void
    /** The newest that match, oldest first; what this process has noted is among them. */
    readonly find: (query: Query) => Effect.Effect<ReadonlyArray<Entry>, JournalError>
  }
>()("sluice/services/Journal") {}
