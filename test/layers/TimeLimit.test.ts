/** A limit on the processor's time: busy code is ended, code that was not given its time goes on. */
import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import * as TimeLimit from "../../src/layers/TimeLimit.ts"

describe("TimeLimit", () => {
  it("ends what takes longer, and says so", () => {
    const endless = () => {
      for (;;);
    }
    assert.deepStrictEqual(TimeLimit.within(50, endless), Result.fail("takes more than 50 ms"))
    assert.deepStrictEqual(
      TimeLimit.within(50, () => 1),
      Result.succeed(1)
    )
  })

  it("gives more time to what has not had the processor, and not without end", () => {
    const nobody = new Int32Array(new SharedArrayBuffer(4))
    let tries = 0
    const late = () => {
      tries++
      Atomics.wait(nobody, 0, 0, 200)
      return "done"
    }
    assert.deepStrictEqual(TimeLimit.within(50, late), Result.succeed("done"))
    assert.strictEqual(tries, 2)
    const never = () => Atomics.wait(nobody, 0, 0)
    assert.deepStrictEqual(TimeLimit.within(5, never), Result.fail("takes more than 5 ms"))
  })

  it("says what went wrong inside", () => {
    const deep = (): number => 1 + deep()
    assert.deepStrictEqual(TimeLimit.within(500, deep), Result.fail("is nested too deeply"))
    const broken = () => {
      throw new Error("broken")
    }
    assert.deepStrictEqual(TimeLimit.within(500, broken), Result.fail("broken"))
    assert.deepStrictEqual(TimeLimit.directly(broken), Result.fail("broken"))
  })
})
