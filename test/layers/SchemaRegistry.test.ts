/** The registry's contract in memory and on SQLite; that of Postgres is in test/integration. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import * as SchemaRegistryMemory from "../../src/layers/SchemaRegistryMemory.ts"
import * as SchemaRegistrySqlite from "../../src/layers/SchemaRegistrySqlite.ts"
import { SchemaRegistry } from "../../src/services/SchemaRegistry.ts"
import * as SchemaRegistrySuite from "../suites/SchemaRegistrySuite.ts"
import * as Processes from "./Processes.ts"
import * as TemporaryStore from "./TemporaryStore.ts"

SchemaRegistrySuite.suite("SchemaRegistryMemory", SchemaRegistryMemory.layer)
SchemaRegistrySuite.suite("SchemaRegistrySqlite", SchemaRegistrySqlite.layer.pipe(Layer.provide(TemporaryStore.layer)))

describe("SchemaRegistrySqlite", () => {
  it.live(
    "numbers without gaps what two processes add at the same time",
    () =>
      Effect.gen(function* () {
        const filename = yield* TemporaryStore.filename
        const program = (name: string) => Processes.program("SchemaRegistryProcess.ts", "add", filename, name, "50")
        const writers = yield* Effect.forEach(["a", "b"], program)
        for (const writer of writers) yield* writer.says("ready")
        for (const writer of writers) yield* writer.tell("go")
        for (const writer of writers) yield* writer.ended
        const versions = yield* Effect.provide(
          Effect.flatMap(SchemaRegistry, (registry) => registry.versions({ client: "c", event: "e" })),
          SchemaRegistrySqlite.layer.pipe(Layer.provide(TemporaryStore.layerIn(filename)))
        )
        assert.deepStrictEqual(
          versions.map(({ version }) => version),
          Array.from({ length: 100 }, (_, i) => i + 1)
        )
        assert.strictEqual(new Set(versions.map(({ schema }) => schema)).size, 100)
      }).pipe(Effect.scoped),
    60_000
  )
})
