/** The registry of schemas on a real Postgres: the contract, servers that go away, several processes, and the predecessor's table. */
import { randomBytes } from "node:crypto"
import { type AddressInfo, connect, createServer, type Socket } from "node:net"
import { inspect } from "node:util"
import { NodeServices } from "@effect/platform-node"
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, FileSystem, Layer, Option, Redacted, type Scope } from "effect"
import { SqlClient, type SqlError } from "effect/sql"
import { afterAll, beforeAll } from "vitest"
import * as App from "../../src/layers/App.ts"
import * as Config from "../../src/layers/Config.ts"
import * as SchemaRegistryPostgres from "../../src/layers/SchemaRegistryPostgres.ts"
import { SchemaRegistry, SchemaRegistryError } from "../../src/services/SchemaRegistry.ts"
import * as Processes from "../layers/Processes.ts"
import * as PostgresServer from "../services/PostgresServer.ts"
import * as SchemaRegistrySuite from "../suites/SchemaRegistrySuite.ts"

const { version } = SchemaRegistrySuite
const reason = await PostgresServer.available()
if (reason !== undefined) console.warn(`tests with Postgres are skipped: ${reason}`)
const noOwn = await PostgresServer.available({ own: true })
if (noOwn !== undefined) console.warn(`tests that stop Postgres are skipped: ${noOwn}`)

/** Statements of the test's own, past the registry. */
const asked = <A>(url: string, use: (sql: SqlClient.SqlClient) => Effect.Effect<A, SqlError.SqlError, Scope.Scope>) =>
  Effect.scoped(Effect.flatMap(SqlClient.SqlClient, use)).pipe(
    Effect.provide(PgClient.layer({ url: Redacted.make(url), maxConnections: 2 }))
  )

/** The same database, in a schema of its own that goes with the scope. */
const fresh = (url: string): Effect.Effect<string, SqlError.SqlError, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.gen(function* () {
      const name = `sluice_test_${randomBytes(6).toString("hex")}`
      yield* asked(url, (sql) => sql`CREATE SCHEMA ${sql(name)}`)
      return name
    }),
    (name) => Effect.ignore(asked(url, (sql) => sql`DROP SCHEMA ${sql(name)} CASCADE`))
  ).pipe(
    Effect.map((name) => {
      const own = new URL(url)
      own.searchParams.set("options", `-csearch_path=${name}`)
      return own.href
    })
  )

const registryAt = (url: string, options: Omit<SchemaRegistryPostgres.Options, "url"> = {}) =>
  SchemaRegistryPostgres.layer({ ...options, url: Redacted.make(url) })

const using = <A, E>(
  layer: Layer.Layer<SchemaRegistry, SchemaRegistryError>,
  use: (registry: SchemaRegistry["Service"]) => Effect.Effect<A, E>
) => Effect.provide(Effect.flatMap(SchemaRegistry, use), layer)

/** A way to a server on which nothing moves while it is held, as behind a firewall that has forgotten it. */
const interruptible = (to: number): Promise<{ port: number; hold: (held: boolean) => void; close: () => void }> =>
  new Promise((made) => {
    const sockets = new Set<Socket>()
    let held = false
    const way = createServer((near) => {
      const far = connect(to, "127.0.0.1")
      for (const [from, into] of [
        [near, far],
        [far, near]
      ] as const) {
        sockets.add(from)
        from.on("error", () => {})
        from.on("close", () => sockets.delete(from))
        from.on("close", () => into.destroy())
        from.on("data", (bytes) => into.write(bytes))
        if (held) from.pause()
      }
    })
    way.listen(0, "127.0.0.1", () => {
      made({
        port: (way.address() as AddressInfo).port,
        hold: (now) => {
          held = now
          for (const one of sockets) now ? one.pause() : one.resume()
        },
        close: () => {
          way.close()
          for (const one of sockets) one.destroy()
        }
      })
    })
  })

const subject = { client: "c", event: "e" }
const numbers = (to: number) => Array.from({ length: to }, (_, i) => i + 1)

describe.skipIf(reason !== undefined)("SchemaRegistryPostgres", () => {
  let server: PostgresServer.PostgresServer
  beforeAll(async () => {
    server = await PostgresServer.start()
  })
  afterAll(() => server?.close())
  const url = Effect.suspend(() => fresh(server.url))

  SchemaRegistrySuite.suite("SchemaRegistryPostgres", Layer.unwrap(Effect.map(url, (url) => registryAt(url))))

  it.live("numbers without gaps what two processes add at the same time, on tables they make together", () =>
    Effect.gen(function* () {
      const own = yield* url
      const writers = yield* Effect.forEach(["a", "b"], (name) =>
        Processes.program("SchemaRegistryProcess.ts", "add", own, name, "50")
      )
      for (const writer of writers) yield* writer.says("ready")
      for (const writer of writers) yield* writer.tell("go")
      for (const writer of writers) yield* writer.ended
      const versions = yield* using(registryAt(own), (registry) => registry.versions(subject))
      assert.deepStrictEqual(
        versions.map(({ version }) => version),
        numbers(100)
      )
      assert.strictEqual(new Set(versions.map(({ schema }) => schema)).size, 100)
    }).pipe(Effect.scoped)
  )

  const predecessors = (url: string) =>
    asked(url, (sql) =>
      Effect.gen(function* () {
        yield* sql`CREATE TABLE event_schemas (client_id text, event_name text, event_schema json,
          PRIMARY KEY (client_id, event_name))`
        const rows = [
          ["c", "Fruits", '{"type": "object",  "required":["fruit"]}'],
          // Of the same topic up to . and _: those that are there stay.
          ["u_v", "w", "{}"],
          ["u", "v_w", "{}"],
          ["c", "it's", '{"pattern": "\\u0000"}'],
          ["c2", "Fruits", "true"],
          ["c", "x".repeat(1025), "{}"]
        ]
        for (const [client, event, schema] of rows) {
          yield* sql`INSERT INTO event_schemas VALUES (${client}::text, ${event}::text, ${schema}::json)`
        }
        yield* sql`INSERT INTO event_schemas VALUES ('c', 'nothing', NULL)`
      })
    )

  it.live("takes over what its predecessor has registered, once, whoever comes first", () =>
    Effect.gen(function* () {
      const own = yield* url
      yield* predecessors(own)
      const processes = yield* Effect.forEach(numbers(3), () =>
        Processes.program("SchemaRegistryProcess.ts", "open", own)
      )
      for (const one of processes) yield* one.says("ready")
      for (const one of processes) yield* one.tell("go")
      for (const one of processes) assert.strictEqual(yield* one.says("found"), "found 2")
      for (const one of processes) yield* one.ended
      const before = yield* asked(own, (sql) => sql`SELECT event_name FROM event_schemas`)
      assert.strictEqual(before.length, 7)
      yield* asked(own, (sql) => sql`INSERT INTO event_schemas VALUES ('c', 'late', '{}')`)
      yield* using(registryAt(own), (registry) =>
        Effect.gen(function* () {
          const listed = yield* registry.list("c")
          const imported = { client: "c", version: 1, type: "json", compatibility: "none", deprecated: false }
          assert.deepStrictEqual(
            listed.map(({ registeredAt, ...rest }) => rest),
            [
              { ...imported, event: "Fruits", schema: '{"type": "object",  "required":["fruit"]}' },
              { ...imported, event: "it's", schema: '{"pattern": "\\u0000"}' }
            ] as never
          )
          assert.closeTo(listed[0]!.registeredAt, Date.now(), 60_000)
          assert.strictEqual((yield* registry.add(version("c", "Fruits"), 1)).version, 2)
          assert.strictEqual((yield* registry.list("c2")).length, 1)
          assert.strictEqual((yield* registry.add(version("u", "v_w"), 1)).version, 2)
          assert.strictEqual((yield* registry.add(version("u_v", "w"), 1)).version, 2)
          assert.strictEqual((yield* Effect.flip(registry.add(version("u", "v.w"), 0)))._tag, "NameTaken")
        })
      )
    }).pipe(Effect.scoped)
  )

  it.live("leaves a table of that name alone which is somebody else's", () =>
    Effect.gen(function* () {
      const own = yield* url
      yield* asked(own, (sql) => sql`CREATE TABLE event_schemas (client_id text, event_name text, other text)`)
      yield* asked(own, (sql) => sql`INSERT INTO event_schemas VALUES ('c', 'e', '{}')`)
      assert.deepStrictEqual(yield* using(registryAt(own), (registry) => registry.list("c")), [])
    }).pipe(Effect.scoped)
  )

  it.live("lets events that shared a topic before it was asked for go on, and takes no further one", () =>
    Effect.gen(function* () {
      const own = yield* url
      yield* using(registryAt(own), (registry) => registry.list("c"))
      // The tables as they were.
      yield* asked(own, (sql) => sql`ALTER TABLE sluice_schemas DROP COLUMN topic`)
      yield* asked(own, (sql) => sql`DELETE FROM sluice_schema_migrations WHERE id = 2`)
      yield* asked(
        own,
        (sql) => sql`INSERT INTO sluice_schemas
          (client, event, version, type, schema, compatibility, deprecated, registered_at)
          SELECT client, event, version, 'json', '{}', 'none', false, 5
          FROM (VALUES ('u', 'v_w', 1), ('u_v', 'w', 1), ('u_v', 'w', 2), ('u', 'other', 1)) AS v (client, event, version)`
      )
      yield* using(registryAt(own), (registry) =>
        Effect.gen(function* () {
          assert.strictEqual((yield* registry.add(version("u_v", "w"), 2)).version, 3)
          assert.strictEqual((yield* registry.add(version("u", "v_w"), 1)).version, 2)
          assert.strictEqual((yield* Effect.flip(registry.add(version("u", "v.w"), 0)))._tag, "NameTaken")
          assert.strictEqual((yield* registry.add(version("u", "v-w"), 0)).version, 1)
        })
      )
    }).pipe(Effect.scoped)
  )

  it.live("fails for good on tables of a newer version", () =>
    Effect.gen(function* () {
      const own = yield* url
      yield* using(registryAt(own), (registry) => registry.list("c"))
      yield* asked(own, (sql) => sql`INSERT INTO sluice_schema_migrations (id) VALUES (99)`)
      const error = yield* Effect.flip(using(registryAt(own), (registry) => registry.list("c")))
      assert.match(error.message, /newer version of sluice/)
      assert.isFalse(error.retryable)
    }).pipe(Effect.scoped)
  )

  it.live("makes its tables anew where another database has come up in the place of the first", () =>
    Effect.gen(function* () {
      const own = yield* url
      yield* using(registryAt(own), (registry) =>
        Effect.gen(function* () {
          yield* registry.add(version("c", "e"), 0)
          yield* asked(own, (sql) => sql`DROP TABLE sluice_schemas, sluice_schema_migrations`)
          assert.isTrue((yield* Effect.flip(registry.list("c"))).retryable)
          assert.strictEqual((yield* registry.add(version("c", "e"), 0)).version, 1)
        })
      )
    }).pipe(Effect.scoped)
  )

  it.live("waits for nobody longer than it is told, and goes on when it can", () =>
    Effect.gen(function* () {
      const own = yield* url
      const limits = { connectionsMax: 2, acquireMillis: 2_000, queryMillis: 4_000 }
      yield* using(registryAt(own, limits), (registry) =>
        Effect.gen(function* () {
          yield* registry.add(version("c", "e"), 0)
          yield* asked(own, (sql) =>
            Effect.gen(function* () {
              const locker = yield* sql.reserve
              yield* locker.execute("BEGIN", [], undefined)
              yield* locker.execute("LOCK TABLE sluice_schemas IN ACCESS EXCLUSIVE MODE", [], undefined)
              const began = performance.now()
              const errors = yield* Effect.forEach(
                numbers(5),
                () => Effect.orDie(Effect.flip(registry.latest(subject))),
                {
                  concurrency: "unbounded"
                }
              )
              assert.isBelow(performance.now() - began, 10_000)
              const said = errors.map(({ message, retryable }) => [retryable, message.split(": ").at(-1)]).sort()
              assert.deepStrictEqual(said, [
                [true, "no answer within 4 s"],
                [true, "no answer within 4 s"],
                [true, "no connection was free within 2 s"],
                [true, "no connection was free within 2 s"],
                [true, "no connection was free within 2 s"]
              ])
              yield* locker.execute("ROLLBACK", [], undefined)
            })
          ).pipe(Effect.orDie)
          assert.isTrue(Option.isSome(yield* registry.latest(subject)))
        })
      )
    }).pipe(Effect.scoped)
  )

  it.live("is the registry of a config with storage.postgres, and the embedded store of one without", () =>
    Effect.gen(function* () {
      const own = yield* url
      const fs = yield* FileSystem.FileSystem
      const folder = yield* fs.makeTempDirectoryScoped()
      const stored = (storage: string) =>
        Effect.gen(function* () {
          const file = `${folder}/x.yaml`
          yield* fs.writeFileString(file, `storage: { ${storage} }\npipelines:\n  a: { source: { type: stdin } }\n`)
          const loaded = yield* Config.load(file, { DATABASE_URL: own })
          return yield* Effect.provide(
            Effect.flatMap(SchemaRegistry, (registry) =>
              Effect.andThen(Effect.ignore(registry.add(version("c", storage), 0)), registry.list("c"))
            ),
            App.storage(loaded)
          )
        })
      const postgres = `sqlite: "${folder}/s.db", postgres: { url: "\${DATABASE_URL}" }`
      assert.strictEqual((yield* stored(postgres)).length, 1)
      assert.deepStrictEqual(
        (yield* stored(`sqlite: "${folder}/s.db"`)).map(({ event }) => event),
        [`sqlite: "${folder}/s.db"`]
      )
      const there = yield* using(registryAt(own), (registry) => registry.list("c"))
      assert.deepStrictEqual(
        there.map(({ event }) => event),
        [postgres]
      )
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )
})

describe.skipIf(noOwn !== undefined)("SchemaRegistryPostgres and a server that goes away", () => {
  let server: PostgresServer.PostgresServer
  beforeAll(async () => {
    server = await PostgresServer.start({ own: true })
  })
  afterAll(() => server?.close())
  const url = Effect.suspend(() => fresh(server.url))

  it.live("fails while it is stopped, with who is meant, and works when it is back", () =>
    Effect.gen(function* () {
      const own = yield* url
      yield* using(registryAt(own), (registry) =>
        Effect.gen(function* () {
          yield* registry.add(version("c", "e"), 0)
          yield* Effect.promise(server.stop)
          const began = performance.now()
          const errors = yield* Effect.forEach(numbers(50), () => Effect.flip(registry.latest(subject)), {
            concurrency: "unbounded"
          })
          assert.isBelow(performance.now() - began, 4_000)
          for (const error of errors) {
            const start = `schema registry: Postgres at 127.0.0.1:${server.port}, database postgres cannot be reached: `
            assert.isTrue(error.message.startsWith(start), error.message)
            assert.isTrue(error.retryable)
          }
          yield* Effect.promise(server.start)
          assert.strictEqual((yield* registry.add(version("c", "e"), 1)).version, 2)
        })
      )
    }).pipe(Effect.scoped)
  )

  it.live("need not be there when the registry is made", () =>
    Effect.gen(function* () {
      const own = yield* url
      yield* Effect.promise(server.stop)
      yield* using(registryAt(own), (registry) =>
        Effect.gen(function* () {
          for (const one of [registry.list("c"), registry.add(version("c", "e"), 0), registry.list("c")]) {
            const error = yield* Effect.flip(one as Effect.Effect<unknown, unknown>)
            assert.instanceOf(error, SchemaRegistryError)
            assert.isTrue(error.retryable)
          }
          yield* Effect.promise(server.start)
          assert.strictEqual((yield* registry.add(version("c", "e"), 0)).version, 1)
        })
      )
    }).pipe(Effect.scoped)
  )

  it.live("loses nothing that was confirmed when it is killed", () =>
    Effect.gen(function* () {
      const own = yield* url
      yield* using(registryAt(own), (registry) =>
        Effect.gen(function* () {
          const confirmed: Array<string> = []
          const failures: Array<SchemaRegistryError> = []
          const write = Effect.forEach(
            numbers(4),
            (writer) =>
              Effect.gen(function* () {
                for (let i = 0; ; i++) {
                  const event = `${writer}`
                  const added = yield* Effect.result(registry.add(version("c", event, { schema: `${i}` }), i))
                  if (added._tag === "Success") confirmed.push(`${event} ${added.success.version} ${i}`)
                  else {
                    assert.instanceOf(added.failure, SchemaRegistryError)
                    if (added.failure instanceof SchemaRegistryError) failures.push(added.failure)
                    return
                  }
                }
              }),
            { concurrency: "unbounded" }
          )
          const writing = yield* Effect.forkChild(write)
          while (confirmed.length < 200) yield* Effect.sleep(5)
          yield* Effect.promise(server.kill)
          yield* Fiber.join(writing)
          assert.strictEqual(failures.length, 4)
          for (const error of failures) assert.isTrue(error.retryable, error.message)
          yield* Effect.promise(server.start)
          const stored = new Set<string>()
          for (const writer of numbers(4)) {
            const versions = yield* registry.versions({ client: "c", event: `${writer}` })
            assert.deepStrictEqual(
              versions.map(({ version }) => version),
              numbers(versions.length)
            )
            for (const { event, schema, version } of versions) stored.add(`${event} ${version} ${schema}`)
          }
          assert.deepStrictEqual(
            confirmed.filter((one) => !stored.has(one)),
            []
          )
          // What was not confirmed may be there: one of each writer.
          assert.isAtMost(stored.size - confirmed.length, 4)
        })
      )
    }).pipe(Effect.scoped)
  )

  it.live("gives up on a server that stops answering, and works with it when it answers again", () =>
    Effect.gen(function* () {
      const own = yield* url
      const line = yield* Effect.acquireRelease(
        Effect.promise(() => interruptible(server.port)),
        (line) => Effect.sync(line.close)
      )
      const through = new URL(own)
      through.port = `${line.port}`
      yield* using(registryAt(through.href, { connectMillis: 500, queryMillis: 500 }), (registry) =>
        Effect.gen(function* () {
          yield* registry.add(version("c", "e"), 0)
          line.hold(true)
          for (const said of [/no answer within 0.5 s/, /cannot be reached: .*timed out/i]) {
            const began = performance.now()
            const error = yield* Effect.flip(registry.latest(subject))
            assert.isBelow(performance.now() - began, 12_000)
            assert.match(error.message, said)
            assert.isTrue(error.retryable)
          }
          line.hold(false)
          assert.isTrue(Option.isSome(yield* registry.latest(subject)))
        })
      )
    }).pipe(Effect.scoped)
  )

  it.live("says in no error what the password is", () =>
    Effect.gen(function* () {
      const silent = yield* Effect.acquireRelease(
        Effect.callback<ReturnType<typeof createServer>>((resume) => {
          const made = createServer((socket) => void socket.on("error", () => {}))
          made.listen(0, "127.0.0.1", () => resume(Effect.succeed(made)))
        }),
        (made) => Effect.sync(() => made.close())
      )
      const silentPort = (silent.address() as AddressInfo).port
      const change = (f: (url: URL) => void) => {
        const changed = new URL(server.url)
        f(changed)
        return changed.href
      }
      const wrong = "hush-hush-very-secret"
      const cases: ReadonlyArray<readonly [string, RegExp, boolean]> = [
        [
          change((one) => {
            one.password = wrong
          }),
          /password authentication failed for user "sluice"/,
          false
        ],
        [
          change((one) => {
            one.username = "nobody"
          }),
          /password authentication failed/,
          false
        ],
        [
          change((one) => {
            one.pathname = "/missing"
          }),
          /database missing: database "missing" does not exist/,
          false
        ],
        [
          change((one) => {
            one.port = "1"
          }),
          /127\.0\.0\.1:1, database postgres cannot be reached: connect ECONNREFUSED/,
          true
        ],
        [
          change((one) => {
            one.port = `${silentPort}`
          }),
          /cannot be reached: .*timed out/i,
          true
        ],
        [`postgres://sluice:${wrong}/x@127.0.0.1/db`, /expected a URL such as/, false],
        [`postgres://sluice:1/${wrong}@127.0.0.1/db`, /expected a URL such as/, false],
        [`postgres://sluice:1?${wrong}@127.0.0.1/db`, /expected a URL such as/, false],
        [`postgres://sluice:1#${wrong}@127.0.0.1/db`, /expected a URL such as/, false],
        [`postgres://sluice:%${wrong}@127.0.0.1/db`, /expected a URL such as/, false],
        [`mysql://sluice:${wrong}@127.0.0.1/db`, /expected a URL such as/, false]
      ]
      const secrets = [wrong, server.password, encodeURIComponent(server.password), new URL(server.url).password]
      for (const [url, reason, retryable] of cases) {
        const error = yield* Effect.flip(
          using(registryAt(url, { connectMillis: 500 }), (registry) => registry.list("c"))
        )
        assert.match(error.message, reason)
        assert.strictEqual(error.retryable, retryable, error.message)
        const all = `${inspect(error, { depth: 30, showHidden: true, getters: true })} ${JSON.stringify(error)} ${error.stack}`
        for (const secret of secrets) assert.notInclude(all, secret)
      }
    }).pipe(Effect.scoped)
  )
})
