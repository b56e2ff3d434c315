/** A process whose event module prints and then hangs in its worker. */
import { resolve } from "node:path"
import process from "node:process"
import { Duration, Effect } from "effect"
import * as ModuleWorker from "../../src/layers/ModuleWorker.ts"

await Effect.runPromise(
  Effect.scoped(
    Effect.gen(function* () {
      const modules = yield* ModuleWorker.make({
        directory: resolve(import.meta.dirname, "stalling/events"),
        timeoutMillis: 300,
        jobs: { defaults: { timeout: Duration.seconds(1) } },
        say: () => {}
      })
      yield* Effect.promise(async () => modules.detect({}))
    })
  )
)
process.stdout.write("ended\n")
