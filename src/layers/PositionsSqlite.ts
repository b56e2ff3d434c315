/** Positions in the embedded store: one text per reader, held by one process at a time. */
import { Effect, Layer } from "effect"
import { SqlClient, type SqlError } from "effect/sql"
import { Positions, PositionsError } from "../services/Positions.ts"
import { heldBySomebody } from "./PositionsMemory.ts"
import { SqliteLocks } from "./SqliteLocks.ts"

export const make = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  const locks = yield* SqliteLocks
  return Positions.of({
    open: Effect.fnUntraced(function* (name) {
      if (!(yield* inPositions(locks.tryAcquire(JSON.stringify(["position", name]))))) {
        return yield* heldBySomebody(name)
      }
      const rows = sql<{ position: string }>`SELECT position FROM positions WHERE name = ${name}`
      return {
        read: inPositions(Effect.map(rows, ([row]) => row?.position)),
        note: (text) =>
          inPositions(
            Effect.asVoid(sql`INSERT INTO positions VALUES (${name}, ${text})
              ON CONFLICT DO UPDATE SET position = excluded.position`)
          )
      }
    })
  })
})

export const layer: Layer.Layer<Positions, never, SqlClient.SqlClient | SqliteLocks> = Layer.effect(Positions, make)

const inPositions = <A, R>(effect: Effect.Effect<A, SqlError.SqlError, R>) =>
  Effect.mapError(
    effect,
    (cause) => new PositionsError({ reason: `positions: ${cause.message}`, retryable: cause.isRetryable, cause })
  )
