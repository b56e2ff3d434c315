/** The other process of the registries' tests: adds versions to one subject, or only opens the registry. */
import { argv, stdin, stdout } from "node:process"
import { createInterface } from "node:readline"
import { Effect, Layer, Redacted } from "effect"
import * as SchemaRegistryPostgres from "../../src/layers/SchemaRegistryPostgres.ts"
import * as SchemaRegistrySqlite from "../../src/layers/SchemaRegistrySqlite.ts"
import { SchemaRegistry } from "../../src/services/SchemaRegistry.ts"
import { addAfterAll, version } from "../suites/SchemaRegistrySuite.ts"
import * as TemporaryStore from "./TemporaryStore.ts"

const [what = "", where = "", name = "", count = ""] = argv.slice(2)
const lines = createInterface({ input: stdin })
const say = (line: string) => Effect.sync(() => void stdout.write(`${line}\n`))
const told = Effect.callback<void>((resume) => void lines.once("line", () => resume(Effect.void)))

const layer: Layer.Layer<SchemaRegistry, unknown> = where.startsWith("postgres:")
  ? SchemaRegistryPostgres.layer({ url: Redacted.make(where) })
  : SchemaRegistrySqlite.layer.pipe(Layer.provide(TemporaryStore.layerIn(where)))

const programs: Readonly<Record<string, Effect.Effect<void, unknown, SchemaRegistry>>> = {
  /** Adds from several fibers at once, as often as is asked for; without a count until it is killed. */
  add: Effect.gen(function* () {
    yield* say("ready")
    yield* told
    const total = count === "" ? 1_000_000 : Number(count)
    yield* Effect.forEach(
      Array.from({ length: total }, (_, i) => i),
      (i) =>
        Effect.flatMap(addAfterAll(version("c", "e", { schema: `${name} ${i}` })), (number) => say(`added ${number}`)),
      { concurrency: count === "" ? 1 : 5, discard: true }
    )
  }),
  open: Effect.gen(function* () {
    yield* say("ready")
    yield* told
    const registry = yield* SchemaRegistry
    const all = yield* registry.list("c")
    yield* say(`found ${all.length}`)
  })
}

await Effect.runPromise(Effect.provide(programs[what]!, layer))
stdin.destroy()
