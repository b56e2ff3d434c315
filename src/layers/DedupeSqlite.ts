/** Dedupe ids in the embedded store: claims of processes that are gone do not count. */
import { Clock, Effect, Layer } from "effect"
import { SqlClient, type SqlError } from "effect/sql"
import { type Claim, Dedupe, DedupeError } from "../services/Dedupe.ts"
import { SqliteLocks } from "./SqliteLocks.ts"

export interface Options {
  /** How long done ids are remembered. Units: milliseconds. */
  readonly keepMillis?: number | undefined
  /** How many done ids are remembered, the oldest forgotten first. */
  readonly keepMax?: number | undefined
}

/** Confirmations between two looks for ids that may be forgotten. */
const tidyEvery = 1_000
/** Forgotten at a time, so that no statement is long. More than comes in between two looks. */
const forgetMax = 2_000

export const make = Effect.fnUntraced(function* (options: Options = {}) {
  const { keepMax = 1_000_000, keepMillis = 7 * 86_400_000 } = options
  const sql = yield* SqlClient.SqlClient
  const { lives, self } = yield* SqliteLocks
  const every = Math.min(tidyEvery, Math.ceil(keepMax / 64))
  let confirmed = 0

  // One statement where nobody else has the id, so that most claims need no transaction.
  const claim = Effect.fnUntraced(function* (scope: string, id: string, leaseMillis: number) {
    const now = yield* Clock.currentTimeMillis
    const until = now + leaseMillis
    const claimed = yield* sql`INSERT INTO dedupe (scope, id, owner, until) VALUES (${scope}, ${id}, ${self}, ${until})
      ON CONFLICT (scope, id) DO UPDATE SET owner = excluded.owner, until = excluded.until WHERE until <= ${now}
      RETURNING 1`
    if (claimed.length > 0) return "claimed" satisfies Claim
    const [known] = yield* sql<{ owner: string | null }>`
      SELECT owner FROM dedupe WHERE scope = ${scope} AND id = ${id}`
    if (known?.owner === null) return "done" satisfies Claim
    // Released this moment: the next try will have it.
    if (known === undefined || known.owner === self || (yield* lives(known.owner))) return "busy" satisfies Claim
    const taken = yield* sql`UPDATE dedupe SET owner = ${self}, until = ${until}
      WHERE scope = ${scope} AND id = ${id} AND owner = ${known.owner} RETURNING 1`
    return taken.length > 0 ? ("claimed" satisfies Claim) : ("busy" satisfies Claim)
  })

  const confirm = Effect.fnUntraced(function* (scope: string, id: string) {
    const now = yield* Clock.currentTimeMillis
    yield* sql`INSERT INTO dedupe (scope, id, owner, until) VALUES (${scope}, ${id}, NULL, ${now + keepMillis})
      ON CONFLICT (scope, id) DO UPDATE SET owner = NULL, until = excluded.until`
    if (++confirmed % every === 0) yield* tidy(now)
  })

  /** Forgets from the old end what is out of date, then what is too much. */
  const tidy = Effect.fnUntraced(function* (now: number) {
    yield* sql`DELETE FROM dedupe WHERE place IN (
      SELECT place FROM (SELECT place, until FROM dedupe ORDER BY place LIMIT ${forgetMax}) WHERE until <= ${now})`
    const [range] = yield* sql<{ ids: number | null }>`SELECT max(place) - min(place) + 1 AS ids FROM dedupe`
    if ((range?.ids ?? 0) <= keepMax) return
    // Counted only now, since it reads a whole index; there may be fewer, as places have gaps.
    const [count] = yield* sql<{ ids: number }>`SELECT count(*) AS ids FROM dedupe`
    const excess = Math.min(count!.ids - keepMax, forgetMax)
    if (excess <= 0) return
    yield* sql`DELETE FROM dedupe WHERE place IN (
      SELECT place FROM dedupe WHERE owner IS NULL ORDER BY place LIMIT ${excess})`
  })

  return Dedupe.of({
    claim: (scope, id, leaseMillis) => failing(claim(scope, id, leaseMillis)),
    confirm: (scope, id) => failing(confirm(scope, id)),
    release: (scope, id) =>
      failing(Effect.asVoid(sql`DELETE FROM dedupe WHERE scope = ${scope} AND id = ${id} AND owner = ${self}`))
  })
})

export const layer = (options?: Options): Layer.Layer<Dedupe, never, SqlClient.SqlClient | SqliteLocks> =>
  Layer.effect(Dedupe, make(options))

const failing = <A>(effect: Effect.Effect<A, SqlError.SqlError>) =>
  Effect.mapError(effect, (cause) => new DedupeError({ reason: `dedupe: ${cause.message}`, cause }))
