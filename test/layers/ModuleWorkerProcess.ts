/** A process whose event module prints and then hangs in its worker, or takes all its memory. */
import { resolve } from "node:path"
import process from "node:process"
import { Duration, Effect } from "effect"
import * as ModuleWorker from "../../src/layers/ModuleWorker.ts"

const [, , folder = "events"] = process.argv

await Effect.runPromise(
  Effect.scoped(
    Effect.gen(function* () {
      const modules = yield* ModuleWorker.make({
        directory: resolve(import.meta.dirname, "stalling", folder),
        timeoutMillis: folder === "memory" ? 10_000 : 300,
        memoryMax: 64,
        jobs: { defaults: { timeout: Duration.seconds(1) } },
        say: () => {}
      })
      const verdicts = yield* Effect.promise(async () => modules.detect({}))
      for (const words of verdicts.broke.values()) process.stderr.write(`${words}\n`)
    })
  )
)
process.stdout.write("ended\n")
