/** Locks between processes that vanish with their process: each is a small database that its holder keeps open, locked. */
import { createHash } from "node:crypto"
import { mkdirSync } from "node:fs"
import { DatabaseSync } from "node:sqlite"
import { Context, Effect, Layer, type Scope } from "effect"

export class SqliteLocks extends Context.Service<
  SqliteLocks,
  {
    /** True when the lock is ours until the scope closes; false when a living process, or this one, holds it. */
    readonly tryAcquire: (name: string) => Effect.Effect<boolean, never, Scope.Scope>
    /** Whether somebody holds it just now. */
    readonly isHeld: (name: string) => Effect.Effect<boolean>
  }
>()("sluice/layers/SqliteLocks") {}

/** `filename` is the store's; its locks lie beside it. */
export const layer = ({ filename }: { readonly filename: string }): Layer.Layer<SqliteLocks> =>
  Layer.sync(SqliteLocks, () => {
    const folder = `${filename}.locks`
    const tryAcquire = (name: string): Effect.Effect<boolean, never, Scope.Scope> =>
      Effect.map(
        Effect.acquireRelease(
          Effect.sync(() => lock(folder, name)),
          (held) => Effect.sync(() => held?.close())
        ),
        (held) => held !== undefined
      )
    return { tryAcquire, isHeld: (name) => Effect.scoped(Effect.map(tryAcquire(name), (free) => !free)) }
  })

/** The kernel gives the file lock back when the process ends, however it ends. */
const lock = (folder: string, name: string): DatabaseSync | undefined => {
  mkdirSync(folder, { recursive: true })
  const file = createHash("sha256").update(name).digest("hex").slice(0, 32)
  const database = new DatabaseSync(`${folder}/${file}.lock`, { timeout: 0 })
  try {
    database.exec("PRAGMA locking_mode=EXCLUSIVE; BEGIN EXCLUSIVE")
    return database
  } catch {
    database.close()
    return undefined
  }
}
