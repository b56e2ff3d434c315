/** The registry's contract in memory and on SQLite; that of Postgres is in test/integration. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { SqlClient } from "effect/sql"
import * as SchemaRegistryMemory from "../../src/layers/SchemaRegistryMemory.ts"
import * as SchemaRegistrySqlite from "../../src/layers/SchemaRegistrySqlite.ts"
import * as SqliteMigrations from "../../src/layers/SqliteMigrations.ts"
import { SchemaRegistry } from "../../src/services/SchemaRegistry.ts"
import * as SchemaRegistrySuite from "../suites/SchemaRegistrySuite.ts"
import * as Processes from "./Processes.ts"
import * as TemporaryStore from "./TemporaryStore.ts"

SchemaRegistrySuite.suite("SchemaRegistryMemory", SchemaRegistryMemory.layer)
SchemaRegistrySuite.suite("SchemaRegistrySqlite", SchemaRegistrySqlite.layer.pipe(Layer.provide(TemporaryStore.layer)))

describe("SchemaRegistrySqlite", () => {
  it.effect("lets events that shared a topic before it was asked for go on, and takes no further one", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      // The store as it was: without the column, and with names that are no longer taken beside one another.
      yield* sql`DROP INDEX schemas_topic`
      yield* sql`ALTER TABLE schemas DROP COLUMN topic`
      for (const column of ["upto", "detected", "published"]) {
        yield* sql`ALTER TABLE journal DROP COLUMN ${sql(column)}`
      }
      for (const table of ["inbox", "inbox_settled", "positions"]) yield* sql`DROP TABLE ${sql(table)}`
      yield* sql`DELETE FROM sluice_migrations WHERE migration_id >= 6`
      const old = [
        ["u", "v_w", 1],
        ["u_v", "w", 1],
        ["u_v", "w", 2],
        ["u", "other", 1]
      ] as const
      for (const [client, event, number] of old) {
        yield* sql`INSERT INTO schemas (client, event, version, type, schema, compatibility, deprecated, registered_at)
          VALUES (${client}, ${event}, ${number}, 'json', '{}', 'none', 0, 5)`
      }
      yield* SqliteMigrations.migrate
      const registry = yield* SchemaRegistry
      assert.strictEqual((yield* registry.versions({ client: "u_v", event: "w" })).length, 2)
      assert.strictEqual((yield* registry.add(SchemaRegistrySuite.version("u_v", "w"), 2)).version, 3)
      assert.strictEqual((yield* registry.add(SchemaRegistrySuite.version("u", "v_w"), 1)).version, 2)
      for (const [client, event] of [
        ["u", "v.w"],
        ["u_other", "x"],
        ["u", "oth.er"]
      ] as const) {
        const added = yield* Effect.result(registry.add(SchemaRegistrySuite.version(client, event), 0))
        assert.strictEqual(
          added._tag === "Failure" ? added.failure._tag : "added",
          event === "v.w" ? "NameTaken" : "added"
        )
      }
    }).pipe(Effect.provide(SchemaRegistrySqlite.layer.pipe(Layer.provideMerge(TemporaryStore.layer))))
  )

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
