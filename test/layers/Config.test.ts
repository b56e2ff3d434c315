/** Configs: those we ship, the sentences for wrong ones, and ten thousand broken by chance. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { resolve } from "node:path"
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, FileSystem, Random, Result, Schema } from "effect"
import * as App from "../../src/layers/App.ts"
import * as Catalog from "../../src/layers/Catalog.ts"
import * as Config from "../../src/layers/Config.ts"
import { ConfigError, nearest, parse } from "../../src/layers/ConfigFile.ts"
import * as Graph from "../../src/layers/Graph.ts"
import * as Wiring from "../../src/layers/Wiring.ts"

const folder = resolve(import.meta.dirname, "../../config")
const shipped = readdirSync(folder).filter((file) => file.endsWith(".yaml"))

const check = (file: string, environment: Readonly<Record<string, string>> = {}) =>
  Effect.gen(function* () {
    const loaded = yield* Config.load(file, environment)
    const plans = yield* Wiring.plans(loaded).pipe(Effect.scoped, Effect.provide(App.dry(loaded)))
    return { loaded, plans }
  })

/** What a user reads for this text. */
const said = (text: string, environment: Readonly<Record<string, string>> = {}) =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const file = `${yield* fs.makeTempDirectoryScoped()}/x.yaml`
    yield* fs.writeFileString(file, text)
    const result = yield* Effect.result(check(file, environment))
    if (Result.isSuccess(result)) return "ok"
    assert.instanceOf(result.failure, ConfigError)
    return result.failure.message.replaceAll(file, "x.yaml")
  }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))

const stdin = "source: { type: stdin }"

/** What the stories have no default for. */
const needed = {
  EVENT_PASSPHRASE: "secret",
  EVENTRELAY_DESTINATION: "9f1c",
  BATCH_URL: "http://127.0.0.1:9/batches"
}

describe("Config", () => {
  for (const file of shipped) {
    it.effect(`config/${file} is right and can be drawn`, () =>
      Effect.gen(function* () {
        const { loaded, plans } = yield* check(`${folder}/${file}`, needed)
        assert.isAbove(plans.length, 0)
        assert.match(Graph.mermaid(loaded.config, loaded.file.hide), /^flowchart LR\n/)
      }).pipe(Effect.provide(NodeServices.layer))
    )
  }

  it.effect("says where, what was expected, what came, and what was meant", () =>
    Effect.gen(function* () {
      const cases: ReadonlyArray<readonly [string, string]> = [
        [
          "pipelines:\n  a:\n    source: { type: stdn }\n",
          'x.yaml:3:21: pipelines.a.source.type: expected one of http, webhook, gateway, kafka, azure-queue, eventrelay, topic, zeromq, stdin, file, generate, memory, found "stdn" (did you mean stdin?)'
        ],
        [
          `pipelines:\n  a:\n    ${stdin}\n    dispatch: [{ type: http, url: "http://a:SECRET@b c" }]\n`,
          'x.yaml:4:35: pipelines.a.dispatch.0.url: expected a URL such as http://localhost:9000/path, found "http://<credentials>@b c"'
        ],
        [
          "pipelines:\n  a:\n    source: { type: gateway, prefix: /gateway/ }\n",
          'x.yaml:3:38: pipelines.a.source.prefix: expected a path such as /gateway, without / at its end, found "/gateway/"'
        ],
        ...["0 seconds", "100 days"].map(
          (wait) =>
            [
              `pipelines:\n  a:\n    source: { type: http, path: /in, answerWithin: ${wait} }\n`,
              `x.yaml:3:52: pipelines.a.source.answerWithin: expected a duration from 1 millis to 24 days, such as 10 seconds or 5m, found "${wait}"`
            ] as const
        ),
        [
          `pipelines:\n  a:\n    ${stdin}\n    concurency: 3\n`,
          'x.yaml:4:5: pipelines.a.concurency: expected one of source, decode, key, order, exactlyOnce, unkeyed, concurrency, rate, buffer, detect, dispatch, publish, retry, failures, deadLetters, batch, batchers, dedupe, depthMax, journal, log, found "concurency" (did you mean concurrency?)'
        ],
        [
          "pipelines:\n  a:\n    source: { type: kafka, brokers: 'a:b', topic: ^(, from: soon }\n",
          [
            'x.yaml:3:61: pipelines.a.source.from: expected earliest, latest, none or a time such as 2026-01-31T12:00:00Z, found "soon"',
            'x.yaml:3:51: pipelines.a.source.topic: expected a regular expression, found "^("',
            'x.yaml:3:37: pipelines.a.source.brokers: expected a broker such as localhost:9092, found "a:b"'
          ].join("\n")
        ],
        [
          "pipelines:\n  a:\n    source: { type: kafka, brokers: a, topic: t, sasl: { mechanism: plain, username: u, password: 12345678 } }\n",
          "x.yaml:3:99: pipelines.a.source.sasl.password: expected text, in quotes where it could be read as something else; what came is not shown"
        ],
        [
          `pipelines:\n  a:\n    ${stdin}\n    publish: [{ type: kafka, topic: out }]\n`,
          "x.yaml:4:15: pipelines.a.publish.0.brokers: expected the brokers, since the pipeline's source is not kafka, found nothing"
        ],
        [
          `pipelines:\n  a:\n    ${stdin}\n    publish: [{ type: azure-queue, queue: Orders, account: a_b, sas: \${SECRET} }]\n`,
          [
            'x.yaml:4:43: pipelines.a.publish.0.queue: expected the name of a queue: 3 to 63 lower-case letters, digits and single dashes, a letter or digit at both ends, found "Orders"',
            "x.yaml:4:70: pipelines.a.publish.0.sas: expected a shared access signature such as sv=...&sig=..., found ${SECRET}",
            'x.yaml:4:60: pipelines.a.publish.0.account: expected the name of a storage account: 3 to 24 lower-case letters and digits, found "a_b"'
          ].join("\n")
        ],
        [
          "pipelines:\n  a:\n    source: { type: zeromq, connect: 'localhost:5555', bind: 'tcp://*:1', topics: x, curve: { server: true, secretKey: short } }\n",
          [
            'x.yaml:3:83: pipelines.a.source.topics: expected no topics, which are for socket: sub, found "x"',
            'x.yaml:3:62: pipelines.a.source.bind: expected either connect or bind, found "both"',
            'x.yaml:3:120: pipelines.a.source.curve.secretKey: expected a CURVE key of 40 characters (Z85); what came is not shown, found "other text"'
          ].join("\n")
        ],
        [
          `pipelines:\n  a:\n    ${stdin}\n    publish: [{ type: zeromq, topic: a b, frames: single, connect: ["tcp://a:99999"] }]\n`,
          [
            'x.yaml:4:38: pipelines.a.publish.0.topic: expected a topic without spaces, { and [, since frames: single, found "a b"',
            'x.yaml:4:69: pipelines.a.publish.0.connect.0: expected an address such as tcp://localhost:5555 or ipc:///run/events.sock, found "tcp://a:99999"'
          ].join("\n")
        ],
        [
          `pipelines:\n  a:\n    ${stdin}\n    exactlyOnce: true\n    publish: [{ type: stdout }, { type: none }]\n    batch: {}\n    batchers: { a: {} }\n`,
          [
            'x.yaml:3:21: pipelines.a.source.type: expected kafka, since exactlyOnce is set, found "stdin"',
            'x.yaml:5:5: pipelines.a.publish: expected one publisher, since exactlyOnce is set, found "2 of them"',
            'x.yaml:5:23: pipelines.a.publish.0.type: expected kafka, since exactlyOnce is set, found "stdout"',
            "x.yaml:6:5: pipelines.a.batch: expected no batch, since exactlyOnce is set, found a map",
            "x.yaml:7:5: pipelines.a.batchers: expected no batchers, since exactlyOnce is set, found a map"
          ].join("\n")
        ],
        [
          `pipelines:\n  a:\n    ${stdin}\n    decode: { type: confluent, url: "localhost:8081", password: 12345678 }\n`,
          [
            'x.yaml:4:37: pipelines.a.decode.url: expected a URL such as http://localhost:9000/path, found "localhost:8081"',
            "x.yaml:4:65: pipelines.a.decode.password: expected text, in quotes where it could be read as something else; what came is not shown"
          ].join("\n")
        ],
        [
          `pipelines:\n  a:\n    ${stdin}\n    decode: { type: confluent, url: "http://localhost:8081", password: "\${SECRET}" }\n`,
          'x.yaml:4:5: pipelines.a.decode.username: expected a username, since there is a password, found "none"'
        ],
        [
          `pipelines:\n  a:\n    ${stdin}\n    batchers: { bulk: { size: 0, age: soon } }\n    dispatch: [{ type: http, url: "http://a", batcher: { default: bulk } }]\n`,
          [
            "x.yaml:5:47: pipelines.a.dispatch.0.batcher.by: expected a value, since it is required, found nothing",
            "x.yaml:4:31: pipelines.a.batchers.bulk.size: expected a whole number from 1 to 100000, found 0",
            'x.yaml:4:39: pipelines.a.batchers.bulk.age: expected a duration such as 10 seconds, 200 millis or 5m, found "soon"'
          ].join("\n")
        ],
        [
          `pipelines:\n  a:\n    ${stdin}\n    batchers: { bulk: { key: customer } }\n    dispatch: [{ type: http, url: "http://a", batcher: { by: kind } }]\n`,
          [
            'x.yaml:5:62: pipelines.a.dispatch.0.batcher.by: expected a path that starts at payload, envelope or event, found "kind"',
            'x.yaml:4:30: pipelines.a.batchers.bulk.key: expected a path that starts at payload, envelope or event, found "customer"'
          ].join("\n")
        ],
        [
          `pipelines:\n  a:\n    ${stdin}\n    batch: {}\n    batchers: { bulk: {}, default: {} }\n    dispatch: [{ type: http, url: "http://a", batcher: bulky }, { type: http, url: "http://a", batcher: { by: payload.kind, default: rest } }]\n`,
          [
            "x.yaml:4:5: pipelines.a.batch: expected none beside batchers.default, found a map",
            'x.yaml:6:56: pipelines.a.dispatch.0.batcher: expected one of the batchers: bulk, default, found "bulky" (did you mean bulk?)',
            'x.yaml:6:134: pipelines.a.dispatch.1.batcher.default: expected one of the batchers: bulk, default, found "rest"'
          ].join("\n")
        ],
        [
          `pipelines:\n  a:\n    ${stdin}\n    concurrency: many\n`,
          'x.yaml:4:18: pipelines.a.concurrency: expected a whole number from 1 to 100000, found "many"'
        ],
        [
          `pipelines:\n  a:\n    ${stdin}\n    concurrency: \${WORKERS}\n`,
          "x.yaml:4:18: the environment variable WORKERS is not set and has no default (${WORKERS:-default})"
        ],
        [
          `pipelines:\n  a:\n    ${stdin}\n    retry: { backoff: \${SECRET} }\n`,
          "x.yaml:4:23: pipelines.a.retry.backoff: expected a duration such as 10 seconds, 200 millis or 5m, found ${SECRET}"
        ],
        [
          `pipelines:\n  a:\n    ${stdin}\n    detect: [{ event: order.paid, when: {} }]\n    dispatch: [{ on: order.piad, type: http, url: http://localhost/ }]\n`,
          'x.yaml:5:22: pipelines.a.dispatch.0.on: expected an event that is detected: order.paid, found "order.piad" (did you mean order.paid?)'
        ],
        [
          `storage: { sqlite: s.db, postgres: { url: "postgres://u:hush/hush@h/d" } }\npipelines:\n  a:\n    ${stdin}\n`,
          'x.yaml:1:43: storage.postgres.url: expected a URL such as postgres://user:password@host:5432/database, what is special in the password percent-encoded (@ as %40), found "another text"'
        ],
        [
          `storage: { sqlite: s.db, postgres: { url: "\${SECRET}" } }\npipelines:\n  a:\n    ${stdin}\n`,
          "x.yaml:1:43: storage.postgres.url: expected a URL such as postgres://user:password@host:5432/database, what is special in the password percent-encoded (@ as %40), found ${SECRET}"
        ],
        [
          `storage: { postgres: { url: "postgres://h/d" } }\npipelines:\n  a:\n    ${stdin}\n`,
          'x.yaml:1:12: storage.postgres: expected storage.sqlite besides it: Postgres keeps schemas only, not topics, dead letters or dedupe ids, found "only postgres"'
        ],
        ["pipelines: {}\n", "x.yaml:1:1: pipelines: expected at least one pipeline, found a map"],
        ["a: 1\na: 2\n", "x.yaml:2:1: Map keys must be unique"],
        ["", "x.yaml:1:1: expected a map, found nothing"],
        [
          `pipelines:\n  a:\n    ${stdin}\n    key: customer\n`,
          'x.yaml:4:10: pipelines.a.key: expected a path that starts at payload or envelope, found "customer"'
        ]
      ]
      for (const [text, sentence] of cases) assert.strictEqual(yield* said(text, { SECRET: "hush" }), sentence)
    })
  )

  it.effect("fills in variables anywhere, reads them as what the field wants, and drops what is empty", () =>
    Effect.gen(function* () {
      const text = `http: { port: \${PORT:-8080}, host: "\${HOST}", bodyMax: \${EMPTY:-} }
pipelines:
  a:
    ${stdin}
    concurrency: \${N}
    dispatch: [{ type: http, url: "http://\${HOST}:\${PORT:-1}/x" }]
    publish: [{ type: file, path: $\${literal} }]
`
      const file = parse("x.yaml", text, { HOST: "h", N: "7" })
      assert.notInstanceOf(file, ConfigError)
      if (file instanceof ConfigError) return
      const config = Schema.decodeUnknownSync(Config.Config)(file.value)
      assert.deepStrictEqual(config.http, { port: 8080, host: "h", bodyMax: 1024 * 1024 })
      assert.strictEqual(config.pipelines.a?.concurrency, 7)
      assert.strictEqual(config.pipelines.a?.dispatch[0]?.url, "http://h:1/x")
      assert.strictEqual(config.pipelines.a?.publish[0]?.path, "${literal}")
    })
  )

  it("suggests only what is near", () => {
    assert.strictEqual(nearest("topc", ["topic", "http"]), "topic")
    assert.isUndefined(nearest("banana", ["topic", "http"]))
  })

  it.live(
    "never crashes on a broken config: 10,000 mutations of those we ship",
    () =>
      Effect.gen(function* () {
        const texts = shipped.map((file) => readFileSync(`${folder}/${file}`, "utf8"))
        const words = [
          "type",
          "source",
          "http",
          "{",
          "}",
          "[",
          "]",
          ":",
          "- ",
          "&a",
          "*a",
          "${",
          "${X}",
          "${X:-}",
          "null",
          "1e999",
          "!!x",
          "\t",
          "'",
          '"',
          "\u0000",
          "\ue000\ue100\ue002",
          "__proto__",
          "payload.",
          "|",
          "<<: *rules",
          "-1",
          "\n"
        ]
        let wrong = 0
        for (let i = 0; i < 10_000; i++) {
          let text = texts[yield* Random.nextIntBetween(0, texts.length - 1)]!
          for (let k = yield* Random.nextIntBetween(0, 4); k >= 0; k--) {
            const at = yield* Random.nextIntBetween(0, Math.max(0, text.length - 1))
            const cut = yield* Random.nextIntBetween(0, 12)
            const word = words[yield* Random.nextIntBetween(0, words.length - 1)]!
            text = text.slice(0, at) + ((yield* Random.nextBoolean) ? word : "") + text.slice(at + cut)
          }
          const file = parse("x.yaml", text, {})
          const decoded = file instanceof ConfigError ? file : Config.decode(file)
          if (!(decoded instanceof ConfigError)) continue
          wrong++
          for (const line of decoded.message.split("\n")) assert.match(line, /^x\.yaml:\d+:\d+: ./, text)
        }
        assert.isAbove(wrong, 5_000)
      }).pipe(Random.withSeed("configs")),
    120_000
  )

  it("has its schema for editors beside the configs we ship", () => {
    const file = `${folder}/sluice.schema.json`
    const wanted = `${JSON.stringify(Config.jsonSchema(), null, 2)}\n`
    if (process.env.UPDATE_DOCS !== undefined) writeFileSync(file, wanted)
    assert.strictEqual(
      readFileSync(file, "utf8"),
      wanted,
      "run UPDATE_DOCS=1 npx vitest run test/layers/Config.test.ts"
    )
  })

  it("is documented: docs/catalog.md lists every component and its fields", () => {
    const file = resolve(import.meta.dirname, "../../docs/catalog.md")
    const wanted = catalog()
    if (process.env.UPDATE_DOCS !== undefined) writeFileSync(file, wanted)
    assert.strictEqual(
      readFileSync(file, "utf8"),
      wanted,
      "run UPDATE_DOCS=1 npx vitest run test/layers/Config.test.ts"
    )
  })
})

const catalog = (): string => {
  const kinds = {
    Sources: Catalog.sources,
    Codecs: Catalog.codecs,
    Detectors: Catalog.detectors,
    Dispatchers: Catalog.dispatchers,
    Publishers: Catalog.publishers
  }
  const sections = Object.entries(kinds).map(([kind, components]) => {
    const rows = components.map(({ options, summary, type }) => {
      const { schema } = Schema.toJsonSchemaDocument(options as never)
      const required = (schema.required as ReadonlyArray<string> | undefined) ?? []
      const fields = Object.keys(options.fields).map((name) =>
        required.includes(name) ? `**\`${name}\`**` : `\`${name}\``
      )
      return `| \`${type}\` | ${summary.replaceAll("|", "\\|")} | ${fields.join(", ")} |`
    })
    return `## ${kind}\n\n| \`type\` | | Fields |\n|---|---|---|\n${rows.join("\n")}\n`
  })
  return `# Catalog\n\nDerived from \`src/layers/Catalog.ts\`. Fields in bold are required.\n\n${sections.join("\n")}`
}
