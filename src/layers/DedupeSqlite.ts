/** Dedupe ids in the embedded store: claims of processes that are gone do not count. */
import { Clock, Effect, Layer } from "effect"
import { SqlClient, type SqlError } from "effect/sql"
import { type Claim, Dedupe, DedupeError } from "../services/Dedupe.ts"
import type { Options } from "./DedupeMemory.ts"
import { SqliteLocks } from "./SqliteLocks.ts"

/** Confirmations between two looks for ids that may be forgotten. */
const tidyEvery = 1_000

export const make = Effect.fnUntraced(function* ({ keepMax = 1_000_000, keepMillis = 7 * 86_400_000 }: Options = {}) {
  const sql = yield* SqlClient.SqlClient
  const locks = yield* SqliteLocks
  // The lock of this process: as long as it is held, our claims count.
  const owner = crypto.randomUUID()
  yield* locks.tryAcquire(lockOf(owner))
  let confirmed = 0

  const claim = Effect.fnUntraced(function* (scope: string, id: string, leaseMillis: number) {
    const now = yield* Clock.currentTimeMillis
    const rows = yield* sql<{ owner: string | null; until: number }>`
      SELECT owner, until FROM dedupe WHERE scope = ${scope} AND id = ${id}`
    const known = rows[0]
    if (known !== undefined && known.until > now) {
      if (known.owner === null) return "done" satisfies Claim
      if (known.owner === owner || (yield* locks.isHeld(lockOf(known.owner)))) return "busy" satisfies Claim
    }
    yield* sql`INSERT OR REPLACE INTO dedupe VALUES (${scope}, ${id}, ${owner}, ${now + leaseMillis})`
    return "claimed" satisfies Claim
  })
  const confirm = Effect.fnUntraced(function* (scope: string, id: string) {
    const now = yield* Clock.currentTimeMillis
    yield* sql`INSERT OR REPLACE INTO dedupe VALUES (${scope}, ${id}, NULL, ${now + keepMillis})`
    if (++confirmed % tidyEvery !== 0) return
    yield* sql`DELETE FROM dedupe WHERE until <= ${now}`
    yield* sql`DELETE FROM dedupe WHERE owner IS NULL AND until <=
      (SELECT until FROM dedupe WHERE owner IS NULL ORDER BY until DESC LIMIT 1 OFFSET ${keepMax})`
  })
  return Dedupe.of({
    claim: (scope, id, leaseMillis) => failing(sql.withTransaction(claim(scope, id, leaseMillis))),
    confirm: (scope, id) => failing(confirm(scope, id)),
    release: (scope, id) =>
      failing(Effect.asVoid(sql`DELETE FROM dedupe WHERE scope = ${scope} AND id = ${id} AND owner = ${owner}`))
  })
})

export const layer = (options?: Options): Layer.Layer<Dedupe, never, SqlClient.SqlClient | SqliteLocks> =>
  Layer.effect(Dedupe, make(options))

const lockOf = (owner: string): string => `dedupe ${owner}`

const failing = <A>(effect: Effect.Effect<A, SqlError.SqlError>) =>
  Effect.mapError(effect, (cause) => new DedupeError({ reason: `dedupe: ${cause.reason.message}`, cause }))
