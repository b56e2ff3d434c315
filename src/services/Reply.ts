/** What a dispatcher got back: accepted, or refused for good. */

/** One job that ran for a reply. */
export interface JobNote {
  readonly name: string
  readonly ok: boolean
  readonly attempts: number
  readonly millis: number
  /** Why it failed, in one sentence. */
  readonly note: string | undefined
}

export interface Reply {
  readonly kind: "accepted" | "refused"
  /** The answer's body as it came (bytes), or a value that is published as JSON. */
  readonly payload: unknown
  /** The answer's status where the protocol has one. */
  readonly status?: number | undefined
  readonly headers?: Readonly<Record<string, string>> | undefined
  /** Why it was refused: one sentence with the other side's words. */
  readonly reason?: string | undefined
  /** What was done, in a few words for the journal, such as `triggered ETL/nightly: brave-fox`. */
  readonly note?: string | undefined
  /** The jobs that ran, for the journal. */
  readonly jobs?: ReadonlyArray<JobNote> | undefined
}

export const accepted = (payload: unknown): Reply => ({ kind: "accepted", payload })

export const refused = (reason: string, payload: unknown = reason): Reply => ({ kind: "refused", payload, reason })

const utf8 = new TextEncoder()

/** The payload as the bytes that go out. */
export const bytes = (payload: unknown): Uint8Array =>
  payload instanceof Uint8Array
    ? payload
    : typeof payload === "string"
      ? utf8.encode(payload)
      : utf8.encode(JSON.stringify(payload ?? null))
