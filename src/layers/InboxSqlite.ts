/** Inboxes in the embedded store: a batch is written before it is worked, its settlements a moment after they are made. */
import { randomUUID } from "node:crypto"
import { Effect, Exit, Latch, Layer, Option, type Scope, Semaphore } from "effect"
import { SqlClient, type SqlError } from "effect/sql"
import { type Box, type Held, Inbox, InboxError } from "../services/Inbox.ts"
import { inRealTime } from "./Sqlite.ts"
import { SqliteLocks } from "./SqliteLocks.ts"

/** Units: milliseconds between a settlement and its write. */
const writeMillis = 50
/** Units: milliseconds until a write that failed is tried again. */
const againMillis = 1_000
/** Units: milliseconds. How long a stop waits for the store. */
const closeMillis = 5_000
/** Settlements in one transaction: a few milliseconds in which nobody else can write. */
const writeMax = 2_000

export const make = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  const locks = yield* SqliteLocks
  /** The boxes of this process: it lives also when one of them is closed. */
  const boxes = new Set<string>()
  const lives = (owner: string) => {
    const process = owner.slice(0, owner.indexOf("/"))
    return process === locks.self ? Effect.succeed(boxes.has(owner)) : locks.lives(process)
  }

  const open = Effect.fnUntraced(function* (
    name: string,
    onError: (error: InboxError) => Effect.Effect<void>
  ): Effect.fn.Return<Box, InboxError, Scope.Scope> {
    const owner = `${locks.self}/${randomUUID()}`
    yield* Effect.acquireRelease(
      Effect.sync(() => boxes.add(owner)),
      () => Effect.sync(() => boxes.delete(owner))
    )
    const rows = yield* inInbox(adopt(sql, name, owner, lives))
    const noted = new Noted(rows)
    const writing = makeWriting(sql, noted, onError)
    // Runs after the fiber has ended, since it stands before it, and before the box is nobody's.
    yield* Effect.addFinalizer(() => writing.close)
    yield* Effect.forkScoped(writing.later)
    return {
      left: rows.map(({ batch, bytes, holder, settled }) => ({ batch, bytes, holder, settled })),
      put: (bytes, items) =>
        inInbox(
          Effect.map(
            sql<{ batch: number }>`INSERT INTO inbox (name, owner, holder, items, bytes)
              VALUES (${name}, ${owner}, 1, ${items}, ${bytes}) RETURNING batch`,
            ([row]) => {
              noted.put(row!.batch, items)
              return row!.batch
            }
          )
        ),
      settle: (batch, item) => {
        if (noted.settle(batch, item)) writing.wake()
      },
      flush: writing.flush
    }
  })

  return Inbox.of({ open })
})

export const layer: Layer.Layer<Inbox, never, SqlClient.SqlClient | SqliteLocks> = Layer.effect(Inbox, make)

interface Row extends Held {
  readonly items: number
}

/** Makes our own what belongs to nobody that lives. */
const adopt = (
  sql: SqlClient.SqlClient,
  name: string,
  owner: string,
  lives: (owner: string) => Effect.Effect<boolean, SqlError.SqlError>
): Effect.Effect<ReadonlyArray<Row>, SqlError.SqlError> =>
  sql.withTransaction(
    Effect.gen(function* () {
      const owners = yield* sql<{ owner: string }>`SELECT DISTINCT owner FROM inbox WHERE name = ${name}`
      for (const former of owners) {
        if (yield* lives(former.owner)) continue
        yield* sql`UPDATE inbox SET owner = ${owner}, holder = holder + 1
          WHERE name = ${name} AND owner = ${former.owner}`
      }
      const rows = yield* sql<Omit<Row, "settled"> & { readonly settled: string }>`
        SELECT batch, holder, items, bytes,
          (SELECT json_group_array(item) FROM inbox_settled WHERE inbox_settled.batch = inbox.batch) AS settled
        FROM inbox WHERE name = ${name} AND owner = ${owner} ORDER BY batch`
      return rows.map((row) => ({ ...row, settled: new Set<number>(JSON.parse(row.settled)) }))
    })
  )

type Item = readonly [batch: number, item: number]

/** What is settled, and what of it is still to be written. */
class Noted {
  private readonly batches = new Map<number, { readonly items: number; readonly settled: Set<number> }>()
  private items: Array<Item> = []
  private done: Array<number> = []

  constructor(rows: ReadonlyArray<Row>) {
    for (const { batch, items, settled } of rows) this.batches.set(batch, { items, settled: new Set(settled) })
  }

  put(batch: number, items: number): void {
    this.batches.set(batch, { items, settled: new Set() })
  }

  /** False when it was before. */
  settle(batch: number, item: number): boolean {
    const one = this.batches.get(batch)
    if (one === undefined || one.settled.has(item)) return false
    one.settled.add(item)
    if (one.settled.size < one.items) this.items.push([batch, item])
    else {
      this.batches.delete(batch)
      this.done.push(batch)
    }
    return true
  }

  get isEmpty(): boolean {
    return this.items.length === 0 && this.done.length === 0
  }

  take() {
    const done = this.done.splice(0, writeMax)
    // What belongs to a batch that is done goes with it.
    const items = this.items.splice(0, writeMax).filter(([batch]) => this.batches.has(batch))
    return { done, items }
  }

  putBack({ done, items }: ReturnType<Noted["take"]>): void {
    this.done = [...done, ...this.done]
    this.items = [...items, ...this.items]
  }
}

const makeWriting = (sql: SqlClient.SqlClient, noted: Noted, onError: (error: InboxError) => Effect.Effect<void>) => {
  const some = Latch.makeUnsafe(false)
  const oneAtATime = Semaphore.makeUnsafe(1)
  const write = ({ done, items }: ReturnType<Noted["take"]>) =>
    sql.withTransaction(
      Effect.gen(function* () {
        if (items.length > 0) {
          yield* sql`INSERT OR IGNORE INTO inbox_settled
            SELECT value ->> 0, value ->> 1 FROM json_each(${JSON.stringify(items)})`
        }
        if (done.length === 0) return
        const batches = JSON.stringify(done)
        yield* sql`DELETE FROM inbox WHERE batch IN (SELECT value FROM json_each(${batches}))`
        yield* sql`DELETE FROM inbox_settled WHERE batch IN (SELECT value FROM json_each(${batches}))`
      })
    )
  /** Writes all that is noted; what cannot be written stays noted. */
  const flush = inInbox(
    oneAtATime.withPermit(
      Effect.gen(function* () {
        while (!noted.isEmpty) {
          yield* Effect.acquireUseRelease(
            Effect.sync(() => noted.take()),
            write,
            (taken, exit) => Effect.sync(() => Exit.isFailure(exit) && noted.putBack(taken))
          )
        }
      })
    )
  )
  const later = Effect.gen(function* () {
    // Nothing wakes a process in which nothing is settled.
    yield* some.await
    yield* Effect.sleep(writeMillis)
    some.closeUnsafe()
    const written = yield* Effect.result(flush)
    if (written._tag === "Success") return
    some.openUnsafe()
    yield* onError(written.failure)
    yield* Effect.sleep(againMillis)
  })
  const close = Effect.gen(function* () {
    const written = yield* Effect.timeoutOption(Effect.interruptible(flush), closeMillis)
    if (Option.isNone(written)) yield* onError(tooLong)
  }).pipe(Effect.catch(onError), inRealTime)
  return { flush, later: Effect.forever(later), close, wake: () => some.openUnsafe() }
}

const tooLong = new InboxError({
  reason: `inbox: the store took no settlements for ${closeMillis / 1000} s; what they end comes again`,
  retryable: true
})

const inInbox = <A, R>(effect: Effect.Effect<A, SqlError.SqlError, R>) =>
  Effect.mapError(
    effect,
    (cause) => new InboxError({ reason: `inbox: ${cause.message}`, retryable: cause.isRetryable, cause })
  )
