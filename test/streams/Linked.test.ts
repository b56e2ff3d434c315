/** Things that come in order and leave in any. */
import { assert, describe, it } from "@effect/vitest"
import { type Link, Linked } from "../../src/streams/Linked.ts"

class One implements Link<One> {
  before: One | undefined
  after: One | undefined
  readonly name: number

  constructor(name: number) {
    this.name = name
  }
}

describe("Linked", () => {
  it("keeps the order of a Set, whoever leaves and comes again", () => {
    const linked = new Linked<One>()
    const set = new Set<One>()
    const all = Array.from({ length: 12 }, (_, name) => new One(name))
    let random = 7
    for (let step = 0; step < 5_000; step++) {
      random = (random * 1_103_515_245 + 12_345) % 2_147_483_648
      const one = all[random % all.length]!
      // Every third leaves whether it is in or not.
      if (step % 3 === 0 || set.has(one)) {
        linked.remove(one)
        set.delete(one)
      } else {
        linked.add(one)
        set.add(one)
      }
      assert.deepStrictEqual(
        Array.from(linked, ({ name }) => name),
        Array.from(set, ({ name }) => name)
      )
      assert.strictEqual(linked.size, set.size)
    }
  })

  it("ties nothing that has left to what is still in", () => {
    const linked = new Linked<One>()
    const all = [new One(0), new One(1), new One(2)]
    for (const one of all) linked.add(one)
    for (const one of all) linked.remove(one)
    for (const { after, before } of all) assert.deepStrictEqual([before, after], [undefined, undefined])
    assert.strictEqual(linked.first, undefined)
  })
})
