/** An embedded store in a folder of its own, for tests. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Effect, Layer, type Scope } from "effect"
import * as Sqlite from "../../src/layers/Sqlite.ts"
import * as SqliteLocks from "../../src/layers/SqliteLocks.ts"
import * as SqliteMigrations from "../../src/layers/SqliteMigrations.ts"

/** A file that is not there yet; its folder goes with the scope. */
export const filename: Effect.Effect<string, never, Scope.Scope> = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "sluice-"))),
    (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
  ),
  (folder) => join(folder, "store/sluice.db")
)

/** What the stores need, in this file. */
export const layerIn = (filename: string) =>
  Layer.mergeAll(
    SqliteMigrations.layer.pipe(Layer.provideMerge(Sqlite.layer({ filename }))),
    SqliteLocks.layer({ filename })
  )

/** What the stores need, in a file of its own each time. */
export const layer = Layer.unwrap(Effect.map(filename, layerIn))
