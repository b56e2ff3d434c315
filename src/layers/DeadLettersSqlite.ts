/** Dead letters in the embedded store. */
import { Effect, Layer, Option } from "effect"
import { SqlClient, type SqlError } from "effect/sql"
import { DeadLetters, DeadLettersError, type Filter, type Letter } from "../services/DeadLetters.ts"
import * as DeadLetterReply from "./DeadLetterReply.ts"

export interface Options {
  /** Over this size burials fail: nothing is dropped silently. Units: bytes. */
  readonly bytesMax?: number | undefined
}

/** Read at a time, so that other fibers have their turn. Units: letters; bytes. */
const readMax = 256
const readBytesMax = 4 * 1024 * 1024

interface Row {
  readonly letter: string
  readonly payload: Uint8Array
  readonly reply: Uint8Array | null
}

interface Found {
  readonly place: number
  readonly bytes: number
}

export const make = Effect.fnUntraced(function* ({ bytesMax = 1024 ** 3 }: Options = {}) {
  const sql = yield* SqlClient.SqlClient

  const bury = Effect.fnUntraced(function* (letter: Letter) {
    const { payload, reply, text } = encode(letter)
    const bytes = text.length + payload.length + (reply?.length ?? 0)
    const [row] = yield* sql<{ total: number; known: number | null }>`SELECT bytes AS total,
      (SELECT bytes FROM dead_letters WHERE id = ${letter.id}) AS known FROM dead_letters_total`
    const more = bytes - (row!.known ?? 0)
    if (more > 0 && row!.total + more > bytesMax) return yield* full(bytesMax)
    // A letter that is known keeps its place among those of the same origin.
    yield* sql`INSERT INTO dead_letters (id, pipeline, received_at, sequence, bytes, letter, payload, reply)
      VALUES (${letter.id}, ${letter.pipeline}, ${letter.envelope.receivedAt}, ${letter.sequence},
        ${bytes}, ${text}, ${payload}, ${reply})
      ON CONFLICT (id) DO UPDATE SET pipeline = excluded.pipeline, received_at = excluded.received_at,
        sequence = excluded.sequence, bytes = excluded.bytes, letter = excluded.letter,
        payload = excluded.payload, reply = excluded.reply`
  })

  const list = Effect.fnUntraced(function* ({ ids, pipeline }: Filter) {
    const found = yield* sql<Found>`SELECT place, bytes FROM dead_letters WHERE ${sql.and([
      sql`1 = 1`,
      ...(pipeline === undefined ? [] : [sql`pipeline = ${pipeline}`]),
      ...(ids === undefined ? [] : [sql`id IN (SELECT value FROM json_each(${JSON.stringify(ids)}))`])
    ])} ORDER BY received_at, sequence, place`
    const letters: Array<Letter> = []
    for (const places of parts(found)) {
      const rows = yield* sql<Row>`SELECT letter, payload, reply FROM dead_letters
        WHERE place IN (SELECT value FROM json_each(${JSON.stringify(places)})) ORDER BY received_at, sequence, place`
      for (const row of rows) letters.push(decode(row))
      yield* Effect.yieldNow
    }
    return letters
  })

  const get = Effect.fnUntraced(function* (id: string) {
    const rows = yield* sql<Row>`SELECT letter, payload, reply FROM dead_letters WHERE id = ${id}`
    return Option.map(Option.fromUndefinedOr(rows[0]), decode)
  })

  const remove = Effect.fnUntraced(function* (ids: ReadonlyArray<string>) {
    const rows = yield* sql`DELETE FROM dead_letters
      WHERE id IN (SELECT value FROM json_each(${JSON.stringify(ids)})) RETURNING place`
    return rows.length
  })

  return DeadLetters.of({
    bury: (letter) => failing("bury", sql.withTransaction(bury(letter))),
    list: (filter) => failing("list", list(filter)),
    get: (id) => failing("read", get(id)),
    remove: (ids) => failing("remove", remove(ids))
  })
})

export const layer = (options?: Options): Layer.Layer<DeadLetters, never, SqlClient.SqlClient> =>
  Layer.effect(DeadLetters, make(options))

const failing = <A>(what: string, effect: Effect.Effect<A, SqlError.SqlError | DeadLettersError>) =>
  Effect.mapError(effect, (error) =>
    error instanceof DeadLettersError
      ? error
      : new DeadLettersError({ reason: `cannot ${what} dead letters: ${error.message}`, cause: error })
  )

const full = (bytes: number): DeadLettersError =>
  new DeadLettersError({ reason: `the dead letters are full (${bytes} bytes): replay or purge some` })

/** The payloads are bytes of their own; all else is text. */
const encode = (letter: Letter) => {
  const { keyBytes, payload, ...envelope } = letter.envelope
  const { bytes, rest } = DeadLetterReply.split(letter.reply)
  const key = keyBytes && { keyBytes: DeadLetterReply.toBase64(keyBytes) }
  return {
    text: JSON.stringify({ ...letter, envelope: { ...envelope, ...key }, reply: rest }),
    payload,
    reply: bytes
  }
}

const decode = ({ letter, payload, reply }: Row): Letter => {
  const read = JSON.parse(letter)
  const { keyBytes, ...envelope } = read.envelope
  return {
    ...read,
    // JSON leaves out what is undefined.
    event: read.event,
    leg: read.leg,
    envelope: {
      ...envelope,
      key: envelope.key,
      ...(keyBytes === undefined ? undefined : { keyBytes: DeadLetterReply.fromBase64(keyBytes) }),
      payload
    },
    reply: DeadLetterReply.join(read.reply, reply)
  }
}

/** Cut where a part holds enough letters or bytes. */
const parts = (found: ReadonlyArray<Found>): ReadonlyArray<ReadonlyArray<number>> => {
  const all: Array<Array<number>> = []
  let bytes = 0
  for (const { bytes: more, place } of found) {
    const last = all.at(-1)
    if (last === undefined || last.length === readMax || bytes + more > readBytesMax) {
      all.push([place])
      bytes = more
    } else {
      last.push(place)
      bytes += more
    }
  }
  return all
}
