/** Locks between processes that vanish with their process: each is a small database that its holder keeps open, locked. */
import { createHash, randomUUID } from "node:crypto"
import { existsSync, mkdirSync, readdirSync, rmSync } from "node:fs"
import { DatabaseSync } from "node:sqlite"
import { Context, Effect, Layer, type Scope } from "effect"
import type { SqlError } from "effect/sql"
import { attempt, codeOf, isBusy } from "./Sqlite.ts"

export class SqliteLocks extends Context.Service<
  SqliteLocks,
  {
    /** True when the lock is ours until the scope closes; false when a living process, or this one, holds it. */
    readonly tryAcquire: (name: string) => Effect.Effect<boolean, SqlError.SqlError, Scope.Scope>
    /** Whether somebody holds it just now. */
    readonly isHeld: (name: string) => Effect.Effect<boolean, SqlError.SqlError>
    /** What this process is called by others, as long as the layer lives. */
    readonly self: string
    /** Whether the process that is called so still lives. */
    readonly lives: (process: string) => Effect.Effect<boolean, SqlError.SqlError>
  }
>()("sluice/layers/SqliteLocks") {}

/** Units: milliseconds. How long two that come at the same moment sort out who was first. */
const contendMillis = 20
const triesMax = 100

/** `filename` is the store's; its locks lie beside it. */
export const layer = ({ filename }: { readonly filename: string }): Layer.Layer<SqliteLocks, SqlError.SqlError> =>
  Layer.effect(SqliteLocks, make(`${filename}.locks`))

const make = Effect.fnUntraced(function* (folder: string) {
  const what = `cannot use the locks in ${folder}`
  yield* attempt(what, () => {
    mkdirSync(folder, { recursive: true })
    for (const file of readdirSync(folder)) if (file.endsWith(processEnding)) removeFree(`${folder}/${file}`)
  })
  const own = yield* Effect.acquireRelease(
    attempt(what, () => lockSelf(folder)),
    (own) => Effect.sync(() => release(own))
  )
  const fileOf = (name: string): string =>
    `${folder}/${createHash("sha256").update(name).digest("hex").slice(0, 32)}.lock`
  return SqliteLocks.of({
    self: own.self,
    lives: (process) => attempt(what, () => isLocked(`${folder}/${process}${processEnding}`)),
    isHeld: (name) => attempt(what, () => isLocked(fileOf(name))),
    tryAcquire: (name) =>
      Effect.map(
        Effect.acquireRelease(
          // The file stays: were it removed, a new one could be locked beside one that somebody else has open.
          attempt(what, () => lock(fileOf(name))),
          (held) => Effect.sync(() => held && unlock(held))
        ),
        (held) => held !== undefined
      )
  })
})

/** Locks of processes have names that come only once, so their files may go. */
const processEnding = ".process"

interface Own {
  readonly self: string
  readonly file: string
  readonly held: DatabaseSync
}

const lockSelf = (folder: string): Own => {
  for (let tries = 1; ; tries++) {
    const self = randomUUID()
    const file = `${folder}/${self}${processEnding}`
    const held = lock(file)
    // Between opening and locking, somebody may have taken it for a dead one's.
    if (held !== undefined && existsSync(file)) return { self, file, held }
    if (held !== undefined) unlock(held)
    if (tries === triesMax) throw new Error("files vanish as soon as they are made")
  }
}

const release = ({ file, held }: Own): void => {
  rmSync(file, { force: true })
  unlock(held)
}

/** Whoever unlinks a lock holds it, so that its owner, if there is one after all, notices. */
const removeFree = (file: string): void => {
  const held = lock(file, 0)
  if (held === undefined) return
  rmSync(file, { force: true })
  unlock(held)
}

/** What we hold must be reachable: the garbage collector closes a database, and with it the lock would be gone. */
const ours = new Set<DatabaseSync>()

const unlock = (held: DatabaseSync): void => {
  ours.delete(held)
  held.close()
}

/** Undefined when it is held. The kernel gives the file lock back when the process ends, however it ends. */
const lock = (file: string, timeout = contendMillis): DatabaseSync | undefined => {
  let database: DatabaseSync | undefined
  try {
    database = new DatabaseSync(file)
    database.exec(`PRAGMA busy_timeout=${timeout}; BEGIN EXCLUSIVE`)
    ours.add(database)
    return database
  } catch (thrown) {
    database?.close()
    if (isBusy(thrown) || isGone(thrown, file)) return undefined
    throw thrown
  }
}

/** SQLITE_IOERR: whoever held it unlinked it while it was being opened. */
const isGone = (thrown: unknown, file: string): boolean => codeOf(thrown) === 10 && !existsSync(file)

/** Only reads, so that two who look are not in each other's way. */
const isLocked = (file: string): boolean => {
  if (!existsSync(file)) return false
  let database: DatabaseSync | undefined
  try {
    database = new DatabaseSync(file, { readOnly: true })
    database.prepare("SELECT 1 FROM sqlite_schema").all()
    return false
  } catch (thrown) {
    if (isBusy(thrown)) return true
    if (existsSync(file)) throw thrown
    return false
  } finally {
    database?.close()
  }
}
