/** What the frames of a ZeroMQ message mean, as a table. */
import { assert, describe, it } from "vitest"
import * as ZeroMqFrames from "../../src/streams/ZeroMqFrames.ts"

const utf8 = new TextEncoder()
const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)
const bytes = (frame: string | Uint8Array): Uint8Array => (typeof frame === "string" ? utf8.encode(frame) : frame)

type Case = readonly [
  frames: ReadonlyArray<string | Uint8Array>,
  headers: Readonly<Record<string, string>>,
  body: string | Uint8Array
]

const both: ReadonlyArray<Case> = [
  [["orders", '{"n":1}'], { topic: "orders" }, '{"n":1}'],
  [["", '{"n":1}'], { topic: "" }, '{"n":1}'],
  [["orders", ""], { topic: "orders" }, ""],
  [["orders", "a", "b", "body"], { topic: "orders", "frame-1": "a", "frame-2": "b" }, "body"],
  [["orders", new Uint8Array([0xff]), "b", "body"], { topic: "orders", "frame-2": "b" }, "body"],
  [[new Uint8Array([0xff, 0x01]), "body"], { topic: "hex:ff01" }, "body"],
  [["ünïcödé 🙂", "body"], { topic: "ünïcödé 🙂" }, "body"],
  [["orders", new Uint8Array([0xff, 0x20, 0xfe])], { topic: "orders" }, new Uint8Array([0xff, 0x20, 0xfe])]
]

const split: ReadonlyArray<Case> = [
  [['{"n":1}'], {}, '{"n":1}'],
  [['  {"n":1}'], {}, '  {"n":1}'],
  [["[1,2]"], {}, "[1,2]"],
  [['"a b"'], {}, '"a b"'],
  [["12 "], {}, "12 "],
  [["true"], {}, "true"],
  [['orders {"n":1}'], { topic: "orders" }, '{"n":1}'],
  [['orders{"n":1}'], { topic: "orders" }, '{"n":1}'],
  [["orders[1]"], { topic: "orders" }, "[1]"],
  [["orders  two spaces"], { topic: "orders" }, " two spaces"],
  [['orders.eu/new {"a b":"c d"}'], { topic: "orders.eu/new" }, '{"a b":"c d"}'],
  [["true story"], { topic: "true" }, "story"],
  [['10001 {"t":20}'], { topic: "10001" }, '{"t":20}'],
  [["word"], {}, "word"],
  [[""], {}, ""],
  [["orders "], { topic: "orders" }, ""],
  [["{broken"], {}, "{broken"],
  [[new Uint8Array([0xff, 0x20, 0x01])], {}, new Uint8Array([0xff, 0x20, 0x01])]
]

const check = (cases: ReadonlyArray<Case>, splits: ZeroMqFrames.Split): void => {
  for (const [frames, headers, body] of cases) {
    const message = ZeroMqFrames.read(frames.map(bytes), splits)
    const shown = JSON.stringify(frames)
    assert.deepStrictEqual(message.headers, headers, shown)
    assert.deepStrictEqual([...message.body], [...bytes(body)], `${shown}: ${text(message.body)}`)
  }
}

describe("ZeroMqFrames", () => {
  it("takes the first of several frames for the topic, and the last for the body", () => {
    for (const split of ["always", "json", "never"] as const) check(both, split)
  })

  it("finds the topic in front of a single frame that is not JSON", () => check(split, "always"))

  it("leaves a single frame as it is where nothing is split", () => {
    check(
      split.map(([frames]): Case => [frames, {}, frames[0]!]),
      "never"
    )
  })

  it("finds it where that is wanted only in front of an object or an array", () => {
    const found = ['orders {"n":1}', 'orders{"n":1}', "orders[1]", 'orders.eu/new {"a b":"c d"}', '10001 {"t":20}']
    check(
      split.map((one): Case => (found.includes(String(one[0][0])) ? one : [one[0], {}, one[0][0]!])),
      "json"
    )
  })
})
