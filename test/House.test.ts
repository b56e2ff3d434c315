/** The rules of the house: who may import whom, where vendors live, and the one place that settles. */
import { readdirSync, readFileSync } from "node:fs"
import { dirname, relative, resolve } from "node:path"
import { assert, describe, it } from "vitest"

const src = resolve(import.meta.dirname, "../src")
const files = readdirSync(src, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".ts"))
const text = (file: string): string => readFileSync(resolve(src, file), "utf8")
const code = (file: string): string => text(file).replaceAll(/\/\*[\s\S]*?\*\/|(?<=^|\s)\/\/.*$/gm, "")
const imports = (file: string): ReadonlyArray<string> =>
  [
    ...code(file).matchAll(
      /^(?:import|export)\b[^"\n]*(?:\n[^"]*?)?from "([^"]+)"|^import "([^"]+)"|\bimport\("([^"]+)"\)/gm
    )
  ].map((match) => match[1] ?? match[2] ?? match[3]!)
const own = (file: string): ReadonlyArray<string> =>
  imports(file)
    .filter((path) => path.startsWith("."))
    .map((path) => relative(src, resolve(src, dirname(file), path)))
const floor = (file: string): number => ["services", "streams", "layers", "main.ts"].indexOf(file.split("/")[0]!)
const wiring = [
  "Catalog",
  "App",
  "Supervisor",
  "Observability",
  "Wiring",
  "Config",
  "Cli",
  "CliDeadLetters",
  "Graph",
  "Sluice",
  "Testing"
].map((name) => `layers/${name}.ts`)
const kinds = /^(?:layers|streams)\/(?:Source|Dispatcher|Publisher|Detector|Codec)[A-Z]/

describe("House", () => {
  it("has only the four floors", () => {
    assert.deepStrictEqual([...new Set(files.map((file) => file.split("/")[0]))].sort(), [
      "layers",
      "main.ts",
      "services",
      "streams"
    ])
  })

  it("imports its own floor or a lower one, never up", () => {
    for (const file of files) {
      for (const imported of own(file)) assert.isAtMost(floor(imported), floor(file), `${file} imports ${imported}`)
    }
  })

  it("lets no component import another of its kind", () => {
    for (const file of files.filter((file) => kinds.test(file) && !wiring.includes(file))) {
      for (const imported of own(file)) assert.notMatch(imported, kinds, `${file} imports ${imported}`)
    }
  })

  it("keeps vendor packages and node itself in layers", () => {
    for (const file of files.filter((file) => floor(file) < 2)) {
      for (const imported of imports(file))
        assert.match(imported, /^(?:\.|effect$|effect\/)/, `${file} imports ${imported}`)
    }
  })

  it("settles in one place", () => {
    const settling = files.filter((file) => /\bdelivery\.settle\(|\.settle\(settlement/.test(code(file)))
    assert.deepStrictEqual(settling, ["streams/Settlement.ts"])
  })

  it("leaves time, promises and the process to Effect below layers", () => {
    for (const file of files.filter((file) => floor(file) < 2)) {
      assert.notMatch(
        code(file),
        /\basync\b|\bawait \b|\bDate\.now|\bnew Date\b|\bconsole\.|\bprocess\.|\bsetTimeout\b/,
        file
      )
    }
  })

  it("has one sentence at the top of every file", () => {
    for (const file of files) assert.match(text(file).replace(/^#!.*\n/, ""), /^\/\*\* .+[.?!] \*\/\n/, file)
  })

  it("keeps files short enough to be read in one go", () => {
    for (const file of files)
      assert.isAtMost(text(file).split("\n").length, file === "streams/Road.ts" ? 390 : 350, file)
  })
})
