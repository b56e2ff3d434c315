/** What messages that follow from each other carry. */
import { assert, describe, it } from "@effect/vitest"
import * as Chain from "../../src/services/Chain.ts"
import { type Envelope, noHeaders } from "../../src/services/Envelope.ts"
import * as SourceMemory from "../../src/streams/SourceMemory.ts"

const envelope = (headers: Readonly<Record<string, string>>, id = "id-1"): Envelope => ({
  ...SourceMemory.envelopeOf({ id, payload: {} }, "memory", 1, 0),
  headers
})

describe("Chain", () => {
  it("takes the correlation id a message has, under whichever usual name, and otherwise its own id", () => {
    const cases: ReadonlyArray<readonly [Readonly<Record<string, string>>, string]> = [
      [noHeaders, "id-1"],
      [{}, "id-1"],
      [{ "x-request-id": "r" }, "r"],
      [{ "X-Request-Id": "r", "X-Correlation-ID": "x" }, "x"],
      [{ "x-request-id": "r", "x-correlation-id": "x", "Correlation-Id": "c" }, "c"],
      [{ "correlation-id": "", "x-correlation-id": "x" }, "x"]
    ]
    for (const [headers, id] of cases) assert.strictEqual(Chain.correlationOf(envelope(headers)), id)
  })

  it("makes an id that every wire takes, and that stays the same from then on", () => {
    for (const odd of ["a\r\nevil: header", "größe", "\ud800", "x".repeat(1000), "two words"]) {
      const once = Chain.correlationOf(envelope({ "correlation-id": odd }))
      assert.match(once, /^[!-~]{1,256}$/)
      assert.strictEqual(Chain.correlationOf(envelope(Chain.headersOf(envelope({ "correlation-id": odd })))), once)
      assert.strictEqual(Chain.correlationOf(envelope(noHeaders, odd)), once)
    }
  })

  it("counts the pipelines a message has gone through, from what is a count", () => {
    for (const [said, depth] of [
      ["0", 0],
      ["31", 31],
      ["-1", 0],
      ["1e9", 0],
      ["many", 0],
      ["99999999999999999999", 0]
    ] as const) {
      assert.strictEqual(Chain.depthOf(envelope({ "sluice-depth": said })), depth)
    }
    assert.deepStrictEqual(Chain.headersOf(envelope({ "sluice-depth": "31" })), {
      "correlation-id": "id-1",
      "sluice-depth": "32"
    })
    assert.isUndefined(Chain.tooDeep(envelope({ "sluice-depth": "32" }), 32))
    assert.match(
      Chain.tooDeep(envelope({ "sluice-depth": "33" }), 32)!,
      /^the chain id-1 has gone through 33 pipelines/
    )
  })
})
