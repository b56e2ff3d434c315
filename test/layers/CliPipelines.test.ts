/** The command line beside a running process: its pipelines shown and tuned, and the sentences for what is wrong. */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Console, Effect, FileSystem, Redacted, Result } from "effect"
import * as Admin from "../../src/layers/Admin.ts"
import * as Cli from "../../src/layers/Cli.ts"
import * as CodecJson from "../../src/layers/CodecJson.ts"
import * as DeadLettersMemory from "../../src/layers/DeadLettersMemory.ts"
import { Environment } from "../../src/layers/Environment.ts"
import * as HttpHostNode from "../../src/layers/HttpHostNode.ts"
import * as Supervisor from "../../src/layers/Supervisor.ts"
import { HttpHost } from "../../src/services/HttpHost.ts"
import * as Define from "../../src/streams/Define.ts"
import * as SourceMemory from "../../src/streams/SourceMemory.ts"
import { answering, serve } from "./Servers.ts"

const key = "hush-hush"

/** A process with a pipeline, and the folder with its config. */
const running = Effect.gen(function* () {
  const source = yield* SourceMemory.make()
  const plan = Define.define({ name: "orders/eu", source, decode: CodecJson.make() })
  const supervisor = yield* Supervisor.start([plan], { drainMillis: 1000, restartsMax: 3, windowMillis: 60_000 })
  const host = yield* HttpHostNode.make({ host: "0.0.0.0", port: 0 })
  yield* Effect.provideService(Admin.routes(supervisor, { key: Redacted.make(key) }), HttpHost, host)
  const { port } = host.address!
  const fs = yield* FileSystem.FileSystem
  const folder = yield* fs.makeTempDirectoryScoped()
  /** Runs the command line; what it said on both outputs, and the code it would end with. */
  const sluice = (http: string, ...args: ReadonlyArray<string>) =>
    Effect.gen(function* () {
      const config = `${folder}/c.yaml`
      const pipeline = "  orders/eu:\n    source: { type: stdin }\n"
      yield* fs.writeFileString(config, `${http === "" ? "" : `http: ${http}\n`}pipelines:\n${pipeline}`)
      const said: Array<string> = []
      const note = (...parts: ReadonlyArray<unknown>) => void said.push(parts.join(" "))
      const result = yield* Cli.main(args.map((arg) => (arg === "CONFIG" ? config : arg))).pipe(
        Effect.provideService(Console.Console, { ...globalThis.console, log: note, error: note }),
        Effect.provideService(Environment, {}),
        Effect.result
      )
      return { said: said.join("\n"), code: Result.isSuccess(result) ? 0 : result.failure.code }
    })
  return {
    one: supervisor.pipelines[0]!,
    http: `{ host: 0.0.0.0, port: ${port}, admin: { key: ${key} } }`,
    port,
    sluice
  }
})

describe("sluice pipelines and tune", () => {
  it.live("shows the pipelines, and changes one", () =>
    Effect.gen(function* () {
      const { http, one, sluice } = yield* running
      assert.deepStrictEqual(yield* sluice(http, "pipelines", "CONFIG"), {
        code: 0,
        said: "orders/eu  running  acked 0, buried 0, held 0, working 0 of 64  no rate"
      })
      const tuned = yield* sluice(http, "tune", "CONFIG", "orders/eu", "--rate", "10/100ms", "--concurrency", "3")
      assert.deepStrictEqual(tuned, {
        code: 0,
        said: "orders/eu  running  acked 0, buried 0, held 0, working 0 of 3  rate 10 per 100 millis"
      })
      assert.deepInclude(yield* one.handle!.status, { concurrency: 3, rate: { messages: 10, perMillis: 100 } })
      // Flags may stand anywhere.
      const json = yield* sluice(http, "--json", "tune", "--pause", "--rate", "7", "CONFIG", "orders/eu")
      assert.deepInclude(JSON.parse(json.said), { state: "paused", rate: { messages: 7, per: "1000 millis" } })
      const resumed = yield* sluice(http, "tune", "-f", "CONFIG", "orders/eu", "--resume", "--rate", "none")
      assert.include(resumed.said, "orders/eu  running  ")
      assert.include(resumed.said, "no rate")
      const all = JSON.parse((yield* sluice(http, "pipelines", "-f", "CONFIG", "--json")).said)
      assert.strictEqual(all.pipelines[0].name, "orders/eu")
    }).pipe(Effect.scoped, Effect.provide([NodeServices.layer, DeadLettersMemory.layer]))
  )

  it.live("says what is wrong, before and after it has asked, and shows no key", () =>
    Effect.gen(function* () {
      const { http, port, sluice } = yield* running
      const closed = yield* Effect.scoped(serve(answering(200)))
      const other = yield* serve(answering(404, "not here"))
      const cases: ReadonlyArray<readonly [string, string, number, string | RegExp]> = [
        [http, "tune CONFIG orders", 2, 'expected a pipeline: one of orders/eu, found "orders"'],
        [http, "tune CONFIG orders/eu", 2, "expected what to change: --rate, --concurrency, --pause or --resume"],
        [http, "tune CONFIG orders/eu --pause --resume", 2, "expected --pause or --resume, not both"],
        [
          http,
          "tune CONFIG orders/eu --rate 0/1s",
          2,
          '--rate: expected a rate such as 10/1s, 500 (per second) or none, found "0/1s"'
        ],
        [http, "tune CONFIG orders/eu --rate 5/soon", 2, /found "5\/soon"$/],
        [http, "tune CONFIG orders/eu --concurrency 0", 2, /from 1 to 100000, found 0$/],
        ["", "pipelines CONFIG", 2, "the config has no http: { admin: true }, so its process cannot be asked"],
        ["{ admin: true, port: 0 }", "pipelines CONFIG", 2, /say with --url where the process listens$/],
        [`{ port: ${port}, admin: { key: wrong } }`, "pipelines CONFIG", 1, /expected another Bearer key/],
        [
          `{ port: ${closed.port}, admin: true }`,
          "pipelines CONFIG",
          1,
          /ECONNREFUSED.*is the process running there\?$/
        ],
        [`{ port: ${other.port}, admin: true }`, "pipelines CONFIG", 1, /answered 404: that is no answer of such/],
        [http, "pipelines CONFIG --url nowhere", 2, /^--url: expected .*found "nowhere"$/]
      ]
      for (const [http, line, code, expected] of cases) {
        const outcome = yield* sluice(http, ...line.split(" "))
        if (typeof expected === "string") assert.strictEqual(outcome.said, expected, line)
        else assert.match(outcome.said, expected, line)
        assert.strictEqual(outcome.code, code, line)
        assert.notInclude(outcome.said, key)
      }
    }).pipe(Effect.scoped, Effect.provide([NodeServices.layer, DeadLettersMemory.layer]))
  )
})
