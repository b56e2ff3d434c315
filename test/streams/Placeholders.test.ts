/** Texts with placeholders. */
import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import * as Placeholders from "../../src/streams/Placeholders.ts"
import * as SourceMemory from "../../src/streams/SourceMemory.ts"

const payload = { name: "ETL", n: 7, ok: false, none: null, list: ["a"], empty: "" }
const event = { envelope: SourceMemory.envelopeOf({ id: "i", payload }, "memory", 1, 0), payload, key: "k" }
const from = { event, detection: { name: "order.paid", event } }

const filled = (text: string) => Result.flatMap(Placeholders.compile(text), (one) => one.fill(from))

describe("Placeholders", () => {
  it("are filled with text, numbers and booleans, and the rest of the text stays", () => {
    for (const [text, expected] of [
      ["plain / text }}", "plain / text }}"],
      ["{{payload.name}}/{{ payload.n }}", "ETL/7"],
      ["a {{event}} of {{envelope.source}}: {{payload.ok}}{{payload.empty}}.", "a order.paid of memory: false."],
      ["{{payload.list.0}}{{envelope.key}}", "ak"]
    ] as const) {
      assert.deepStrictEqual(filled(text), Result.succeed(expected))
    }
    assert.isTrue(Result.getOrThrow(Placeholders.compile("plain")).isPlain)
    assert.isFalse(Result.getOrThrow(Placeholders.compile("{{event}}")).isPlain)
  })

  it("say at which path there is nothing to fill in", () => {
    for (const path of ["payload.no", "payload.none", "payload.list", "payload", "payload.constructor"]) {
      assert.deepStrictEqual(filled(`x{{${path}}}`), Result.fail(path))
    }
  })

  it("are refused where they are no paths", () => {
    for (const [text, expected] of [
      ["{{name}}", "in {{name}} a path that starts at payload, envelope or event"],
      ["{{payload.name", "a path in each {{...}}, such as {{payload.name}}"],
      ["{{}}", "in {{}} a path that starts at payload, envelope or event"],
      ["{{reply.x}}", "in {{reply.x}} a path that starts at payload, envelope or event"]
    ] as const) {
      assert.deepStrictEqual(
        Result.map(Placeholders.compile(text), () => "compiled"),
        Result.fail(expected)
      )
    }
  })
})
