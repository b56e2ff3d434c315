/** Dead letters in the embedded store. */
import { Effect, Layer, Option } from "effect"
import { SqlClient, type SqlError } from "effect/sql"
import { DeadLetters, DeadLettersError, type Letter } from "../services/DeadLetters.ts"

export interface Options {
  /** Over this size burials fail: nothing is dropped silently. Units: bytes. */
  readonly bytesMax?: number | undefined
}

interface Row {
  readonly letter: string
  readonly payload: Uint8Array
  readonly reply: Uint8Array | null
}

export const make = Effect.fnUntraced(function* ({ bytesMax = 1024 * 1024 * 1024 }: Options = {}) {
  const sql = yield* SqlClient.SqlClient
  const bury = Effect.fnUntraced(function* (letter: Letter) {
    const { payload, reply, text } = encode(letter)
    const bytes = text.length + payload.length + (reply?.length ?? 0)
    const total = yield* sql<{ bytes: number }>`SELECT bytes FROM dead_letters_total`
    if (total[0]!.bytes + bytes > bytesMax) {
      return yield* new DeadLettersError({
        reason: `the dead letters are full (${bytesMax} bytes): replay or purge some`
      })
    }
    yield* sql`DELETE FROM dead_letters WHERE id = ${letter.id}`
    yield* sql`INSERT INTO dead_letters VALUES (${letter.id}, ${letter.pipeline}, ${letter.envelope.receivedAt},
      ${letter.sequence}, ${text}, ${payload}, ${reply}, ${bytes})`
  })
  const select = (where: Parameters<typeof sql.and>[0]) =>
    sql<Row>`SELECT letter, payload, reply FROM dead_letters WHERE ${sql.and(where)} ORDER BY received_at, sequence`
  return DeadLetters.of({
    bury: (letter) => failing("bury", sql.withTransaction(bury(letter))),
    list: ({ ids, pipeline }) =>
      failing(
        "list",
        Effect.map(
          select([
            sql`1 = 1`,
            ...(pipeline === undefined ? [] : [sql`pipeline = ${pipeline}`]),
            ...(ids === undefined ? [] : [sql`id IN (SELECT value FROM json_each(${JSON.stringify(ids)}))`])
          ]),
          (rows) => rows.map(decode)
        )
      ),
    get: (id) =>
      failing(
        "get",
        Effect.map(select([sql`id = ${id}`]), (rows) => Option.map(Option.fromUndefinedOr(rows[0]), decode))
      ),
    remove: (ids) =>
      failing(
        "remove",
        Effect.map(
          sql`DELETE FROM dead_letters WHERE id IN (SELECT value FROM json_each(${JSON.stringify(ids)})) RETURNING id`,
          (rows) => rows.length
        )
      )
  })
})

export const layer = (options?: Options): Layer.Layer<DeadLetters, never, SqlClient.SqlClient> =>
  Layer.effect(DeadLetters, make(options))

const failing = <A>(what: string, effect: Effect.Effect<A, SqlError.SqlError | DeadLettersError>) =>
  Effect.mapError(effect, (error) =>
    error instanceof DeadLettersError
      ? error
      : new DeadLettersError({ reason: `cannot ${what} dead letters: ${error.reason.message}`, cause: error })
  )

/** The payloads are bytes of their own; all else is text. */
const encode = (letter: Letter) => {
  const { payload, ...envelope } = letter.envelope
  const bytes = letter.reply?.payload instanceof Uint8Array ? letter.reply.payload : undefined
  const reply = letter.reply && {
    kind: letter.reply.kind,
    status: letter.reply.status,
    headers: letter.reply.headers,
    reason: letter.reply.reason,
    payload: bytes === undefined ? letter.reply.payload : undefined
  }
  return { text: JSON.stringify({ ...letter, envelope, reply }), payload, reply: bytes ?? null }
}

const decode = ({ letter, payload, reply }: Row): Letter => {
  const read = JSON.parse(letter)
  return {
    ...read,
    event: read.event,
    leg: read.leg,
    envelope: { ...read.envelope, key: read.envelope.key, payload },
    reply: read.reply && (reply === null ? read.reply : { ...read.reply, payload: reply })
  }
}
