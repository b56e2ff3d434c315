/** Parts of JSON text, cut as they were written, mean what the parser says they mean. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import * as JsonText from "../../src/streams/JsonText.ts"

const json = Schema.Json as unknown as Schema.Codec<unknown>

describe("JsonText", () => {
  for (const space of [undefined, 2, "\t"]) {
    it.effect.prop(
      `gives each part of what is written with ${JSON.stringify(space)} between`,
      [Schema.Array(json)],
      ([all]) =>
        Effect.sync(() => {
          const text = ` ${JSON.stringify(all, null, space)}\n`
          const value = JSON.parse(text) as ReadonlyArray<unknown>
          assert.deepStrictEqual(
            JsonText.items(text)!.map((part) => JSON.parse(part) as unknown),
            value
          )
          const object = Object.fromEntries(all.map((one, i) => [`${i}"\\\n{é`, one]))
          const written = JSON.stringify(object, null, space)
          const parts = [...JsonText.members(written)!].map(([name, part]) => [name, JSON.parse(part) as unknown])
          assert.deepStrictEqual(Object.fromEntries(parts), JSON.parse(written))
        })
    )
  }

  it("keeps what the parser would lose, and takes the last of a name that comes twice", () => {
    const text = '{"a" : 1.0 , "b":[ "}]," , {"c":1e2} ], "a":12345678901234567890,"\\u0061b":-0}'
    assert.deepStrictEqual(
      [...JsonText.members(text)!],
      [
        ["a", "12345678901234567890"],
        ["b", '[ "}]," , {"c":1e2} ]'],
        ["ab", "-0"]
      ]
    )
    assert.deepStrictEqual(JsonText.items('[ 1.0,"\\"]" ,[] , {}]'), ["1.0", '"\\"]"', "[]", "{}"])
    assert.deepStrictEqual(JsonText.items("[ ]"), [])
    assert.deepStrictEqual([...JsonText.members("{ }")!], [])
  })

  it("says when the text is something else", () => {
    for (const text of ["1", '"{"', "null"]) {
      assert.isUndefined(JsonText.members(text))
      assert.isUndefined(JsonText.items(text))
    }
    assert.isUndefined(JsonText.members("[]"))
    assert.isUndefined(JsonText.items("{}"))
  })
})
