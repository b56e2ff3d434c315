/** Directories of event modules: what is found, what is imported, what is said of the rest, and what a change does. */
import { mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as EventModules from "../../src/layers/EventModules.ts"
import { InProcess } from "../../src/layers/EventModulesRun.ts"
import { Watch } from "../../src/layers/EventModulesWatch.ts"
import { sparingly } from "../../src/streams/Sparingly.ts"
import { directory, moduleOf } from "./EventModulesKit.ts"

const yes = moduleOf("() => true")

const esmOf = (detector: string): string => `export const detector = ${detector}; export const handler = () => []`

const load = (place: string, millis?: number) => Effect.promise(() => EventModules.load(place, millis))

/** What is said about each file, by its event. */
const reasons = ({ problems }: EventModules.Loaded): Readonly<Record<string, string>> =>
  Object.fromEntries(problems.map(({ event, reason }) => [event, reason]))

describe("EventModules", () => {
  it("knows a module by its file's name", () => {
    const names: Readonly<Record<string, string | undefined>> = {
      "order.paid.js": "order.paid",
      "a.mjs": "a",
      "a.cjs": "a",
      "a.b.ts": "a.b",
      "a.mts": "a",
      "a.cts": "a",
      "a.generated.js": "a",
      "index.js": undefined,
      "index.ts": undefined,
      "a.d.ts": undefined,
      "a.d.mts": undefined,
      "a.test.js": undefined,
      "a.spec.ts": undefined,
      "a.json": undefined,
      "a.js.map": undefined,
      ".js": undefined,
      ".eslintrc.js": undefined
    }
    for (const [name, event] of Object.entries(names)) assert.strictEqual(EventModules.eventOf(name), event, name)
  })

  it.effect("finds them in the order of their names, and says which file stands in another's way", () =>
    Effect.gen(function* () {
      const place = yield* directory({
        "b.js": yes,
        "a.generated.js": "throw new Error('not this one')",
        "a.js": yes,
        "b.mjs": "",
        "c.generated.js": yes
      })
      const { found, problems } = EventModules.find(place)
      assert.deepStrictEqual(
        found.map(({ event, file }) => [event, file]),
        [
          ["a", join(place, "a.js")],
          ["b", join(place, "b.js")],
          ["c", join(place, "c.generated.js")]
        ]
      )
      assert.deepStrictEqual(problems, [
        { file: join(place, "b.mjs"), event: "b", reason: "is a second module of the event, beside b.js" }
      ])
    })
  )

  it.live(
    "imports CommonJS, ES modules, TypeScript and default exports alike, each with sluice/hasura from anywhere",
    () =>
      Effect.gen(function* () {
        const parse = "parseHasuraEvent(h).operation === 'UPDATE'"
        const imports = "import { parseHasuraEvent } from 'sluice/hasura'\n"
        const place = yield* directory({
          "cjs.cjs": `const { parseHasuraEvent } = require('sluice/hasura')\n${moduleOf(`(e, h) => ${parse}`)}`,
          "js.js": `const { parseHasuraEvent } = require('sluice/hasura')\n${moduleOf(`(e, h) => ${parse}`)}`,
          "esm.mjs": `${imports}export const detector = async (e, h) => ${parse}; export const handler = () => []`,
          "default.mjs": `${imports}export default { detector: (e, h) => ${parse}, handler: () => [] }`,
          "whole.cjs": `const hasura = require('sluice/hasura')\nmodule.exports = { detector: (e, h) => hasura.${parse}, handler() {} }`,
          "transpiled.cjs": `exports.__esModule = true; exports.default = { detector: () => true, handler: () => [] }`,
          "typed.ts": `${imports}import type { HasuraEvent } from 'sluice/hasura'
export const detector = async (e: string, h: HasuraEvent): Promise<boolean> => ${parse}
export const handler = (): ReadonlyArray<unknown> => []`,
          "own.mts": `import hasura from 'sluice/hasura'; await 1
export const detector = (e: string, h: object) => hasura.${parse}; export const handler = () => []`,
          "contract.ts": `import { accepted } from 'sluice/services/Reply'
export const detector = () => accepted(1).kind === "accepted"; export const handler = () => []`
        })
        const loaded = yield* load(place)
        assert.deepStrictEqual(loaded.problems, [])
        assert.lengthOf(loaded.modules, 9)
        const modules = new InProcess(loaded.modules, [], { timeoutMillis: 1000, warn: () => {} })
        const verdicts = yield* Effect.promise(async () => modules.detect({ event: { op: "UPDATE", data: {} } }))
        assert.deepStrictEqual(verdicts.found, modules.names)
      })
  )

  it.live("says what is wrong with each broken module and uses the others", () =>
    Effect.gen(function* () {
      const place = yield* directory({
        "fine.js": yes,
        "throws.js": "throw new Error('no database')",
        "throws-text.js": "throw 'text'",
        "throws-nothing.mjs": "throw undefined",
        "syntax.js": "module.exports = {",
        "types.ts": "enum Colour { Red }\nexport const detector = () => Colour.Red; export const handler = () => []",
        "hangs.mjs": "await new Promise(() => {}); export const detector = () => true",
        "exits.js": `process.exit(0)`,
        "catches.js": `try { process.exit(0) } catch {}\n${yes}`,
        "missing.js": "require('no-such-package')",
        "empty.js": "",
        "half.js": "module.exports.detector = () => true",
        "text.js": "module.exports = { detector: 'yes', handler: () => [] }",
        "null.js": "module.exports = { detector: () => true, handler: null }",
        "object.js": "module.exports = { detector: {}, handler: () => [] }"
      })
      const loaded = yield* load(place, 300)
      assert.deepStrictEqual(
        loaded.modules.map(({ event }) => event),
        ["fine"]
      )
      const said = reasons(loaded)
      assert.match(said.types!, /^cannot be imported: .*enum/)
      assert.match(said.missing!, /^cannot be imported: Cannot find module 'no-such-package'/)
      assert.match(said.syntax!, /^cannot be imported: Unexpected end of input/)
      assert.deepStrictEqual(
        { ...said, types: "", missing: "", syntax: "" },
        {
          types: "",
          missing: "",
          syntax: "",
          throws: "cannot be imported: no database",
          "throws-text": "cannot be imported: text",
          "throws-nothing": "cannot be imported: undefined was thrown",
          hangs: "does not finish importing within 300 ms",
          exits: "called process.exit(0) while it was imported",
          catches: "called process.exit(0) while it was imported",
          empty: "exports no detector",
          half: "exports no handler",
          text: "its detector is a string and no function",
          null: "its handler is null and no function",
          object: "its detector is an object and no function"
        }
      )
    })
  )

  it("says the same once in a while, and then how often it was", () => {
    const said: Array<string> = []
    let now = 0
    const say = sparingly(
      (event, words) => said.push(`${event}: ${words}`),
      () => now
    )
    for (; now < 25_000; now += 1000) say("a", "broke")
    say("b", "broke")
    say("b", "broke otherwise")
    assert.deepStrictEqual(said, [
      "a: broke",
      "a: broke (9 times more in 10 s)",
      "a: broke (9 times more in 10 s)",
      "b: broke",
      "b: broke otherwise"
    ])
  })

  it.live("reloads what has changed; a broken new copy leaves the old one in place and says so", () =>
    Effect.gen(function* () {
      const place = yield* directory({
        "a.js": moduleOf("() => require('./words.json').a"),
        "b.mjs": "export const detector = () => false; export const handler = () => []",
        "words.json": "{}"
      })
      const first = yield* load(place)
      const modules = new InProcess(first.modules, first.problems, { timeoutMillis: 1000, warn: () => {} })
      const said: Array<string> = []
      const watch = yield* Effect.acquireRelease(
        Effect.sync(
          () =>
            new Watch({
              directory: place,
              first,
              replace: (loaded, problems) => modules.replace(loaded, problems),
              say: (words) => said.push(words.replace(`${place}/`, ""))
            })
        ),
        (watch) => Effect.sync(() => watch.close())
      )
      assert.isDefined(watch)
      const found = Effect.promise(async () => (await modules.detect({})).found)
      // Written beside and moved, as editors do it.
      const write = (name: string, text: string) => {
        writeFileSync(join(place, `${name}.tmp`), text)
        renameSync(join(place, `${name}.tmp`), join(place, name))
      }
      const heard = (words: RegExp) =>
        Effect.gen(function* () {
          for (let i = 0; i < 400 && !said.some((one) => words.test(one)); i++) yield* Effect.sleep(25)
          assert.isTrue(
            said.some((one) => words.test(one)),
            `${words} in ${said.join(" | ")}`
          )
        })
      assert.deepStrictEqual(yield* found, [])
      write("a.js", yes)
      yield* heard(/^a: its module was reloaded$/)
      assert.deepStrictEqual(yield* found, ["a"])
      write("b.mjs", "export const detector = () => true; export const handler = () => []")
      yield* heard(/^b: its module was reloaded$/)
      assert.deepStrictEqual(yield* found, ["a", "b"])
      write("b.mjs", "export const detector = (")
      yield* heard(/^b\.mjs cannot be imported: .*; the copy before stays in use$/)
      assert.deepStrictEqual(yield* found, ["a", "b"])
      assert.lengthOf(modules.problems, 1)
      write("b.mjs", "export const detector = () => 1; export const handler = () => []")
      write("c.ts", "export const detector = (): boolean => true; export const handler = () => []")
      yield* heard(/^c: its module was loaded$/)
      assert.deepStrictEqual(yield* found, ["a", "b", "c"])
      assert.deepStrictEqual(modules.problems, [])
      // The directory itself is put aside, and another one takes its place.
      renameSync(place, `${place}.old`)
      mkdirSync(place)
      write("a.js", moduleOf("() => 'again'"))
      write("words.json", "{}")
      yield* heard(/^c: its module is gone$/)
      write("b.mjs", esmOf("() => true"))
      yield* heard(/^b: its module was loaded$/)
      renameSync(place, `${place}.older`)
      yield* heard(/cannot be read, its modules stay as they are: ENOENT/)
      renameSync(`${place}.old`, place)
      write("b.mjs", esmOf("() => 1"))
      said.length = 0
      yield* heard(/^c: its module was loaded$/)
      rmSync(`${place}.older`, { recursive: true })
      assert.deepStrictEqual(yield* found, ["a", "b", "c"])
      // What a module imports by a relative path comes new with it.
      write("words.cjs", "module.exports = false")
      write("words.mjs", "export default false")
      said.length = 0
      write("a.js", `const words = require('./words.cjs')\n${moduleOf("() => words")}`)
      write("b.mjs", `import yes from './words.mjs'; ${esmOf("() => yes")}`)
      write("c.ts", `import yes from './words.mjs'; ${esmOf("(): boolean => yes")}`)
      yield* heard(/^c: its module was reloaded$/)
      assert.deepStrictEqual(yield* found, [])
      said.length = 0
      write("words.cjs", "module.exports = true")
      write("words.mjs", "export default true")
      write("a.js", `const words = require('./words.cjs')\n${moduleOf("() => words || 0")}`)
      write("b.mjs", `import yes from './words.mjs'; ${esmOf("() => yes || 0")}`)
      write("c.ts", `import yes from './words.mjs'; ${esmOf("(): boolean => yes || false")}`)
      yield* heard(/^c: its module was reloaded$/)
      assert.deepStrictEqual(yield* found, ["a", "b", "c"])
      rmSync(join(place, "a.js"))
      yield* heard(/^a: its module is gone$/)
      assert.deepStrictEqual(yield* found, ["b", "c"])
    })
  )
})
