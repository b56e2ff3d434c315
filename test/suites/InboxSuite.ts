/** What every store of inboxes keeps to. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Scope } from "effect"
import type { Process } from "../../src/layers/InboxMemory.ts"
import type { Box, Inbox } from "../../src/services/Inbox.ts"

/** `makeStore` makes an empty store, which several processes use. */
export const suite = <E, E2>(
  name: string,
  makeStore: Effect.Effect<Effect.Effect<Process, E2, Scope.Scope>, E, Scope.Scope>
): void => {
  const test = (
    what: string,
    body: (process: Effect.Effect<Process, E2, Scope.Scope>) => Effect.Effect<void, unknown, Scope.Scope>
  ) => it.live(what, () => Effect.scoped(Effect.flatMap(makeStore, body)))

  describe(`${name} as inboxes`, () => {
    test("gives what was not settled to the next that opens the name, as it was put and in order", (process) =>
      Effect.gen(function* () {
        const { inbox } = yield* process
        yield* Effect.scoped(
          Effect.gen(function* () {
            const box = yield* open(inbox, "a")
            assert.deepStrictEqual(box.left, [])
            const first = yield* box.put(bytes("first"), 3)
            const second = yield* box.put(bytes("second"), 1)
            const third = yield* box.put(new Uint8Array(0), 2)
            assert.deepStrictEqual([...new Set([first, second, third])].length, 3)
            box.settle(first, 1)
            box.settle(second, 0)
          })
        )
        const box = yield* open(inbox, "a")
        assert.deepStrictEqual(told(box), [
          ["first", 2, [1]],
          ["", 2, []]
        ])
        // They are its own, and nobody else's.
        assert.deepStrictEqual((yield* open(inbox, "a")).left, [])
      }))

    test("forgets a batch when the last of it is settled, in whatever order and however often", (process) =>
      Effect.gen(function* () {
        const { inbox } = yield* process
        yield* Effect.scoped(
          Effect.gen(function* () {
            const box = yield* open(inbox, "a")
            const batch = yield* box.put(bytes("x"), 2_500)
            for (let i = 2_499; i >= 1; i--) box.settle(batch, i)
            yield* box.flush
            box.settle(batch, 7)
            box.settle(batch, 7)
          })
        )
        yield* Effect.scoped(
          Effect.gen(function* () {
            const box = yield* open(inbox, "a")
            const [held] = box.left
            assert.strictEqual(held!.settled.size, 2_499)
            assert.isFalse(held!.settled.has(0))
            box.settle(held!.batch, 0)
            // Nobody has it any more: that says nothing about what is put later.
            const other = yield* box.put(bytes("y"), 1)
            box.settle(held!.batch, 0)
            assert.notStrictEqual(other, held!.batch)
          })
        )
        assert.deepStrictEqual(told(yield* open(inbox, "a")), [["y", 2, []]])
      }))

    test("keeps names apart", (process) =>
      Effect.gen(function* () {
        const { inbox } = yield* process
        yield* Effect.scoped(
          Effect.gen(function* () {
            const [a, b] = [yield* open(inbox, "a"), yield* open(inbox, "b")]
            yield* a.put(bytes("of a"), 1)
            yield* b.put(bytes("of b"), 1)
          })
        )
        assert.deepStrictEqual(told(yield* open(inbox, "b")), [["of b", 2, []]])
        assert.deepStrictEqual(told(yield* open(inbox, "a")), [["of a", 2, []]])
      }))

    test("gives what a killed process held to the next, and counts who had it; a living one keeps its own", (process) =>
      Effect.gen(function* () {
        const [first, second] = [yield* process, yield* process]
        const killed = yield* open(first.inbox, "a")
        const living = yield* open(second.inbox, "a")
        const batch = yield* killed.put(bytes("of the killed"), 2)
        yield* living.put(bytes("of the living"), 1)
        killed.settle(batch, 0)
        yield* killed.flush
        yield* first.kill
        const third = yield* process
        const heir = yield* open(third.inbox, "a")
        assert.deepStrictEqual(told(heir), [["of the killed", 2, [0]]])
        yield* third.kill
        assert.deepStrictEqual(told(yield* open((yield* process).inbox, "a")), [["of the killed", 3, [0]]])
      }))

    test("writes settlements a moment after they are made, without being told to", (process) =>
      Effect.gen(function* () {
        const [first, second] = [yield* process, yield* process]
        const killed = yield* open(first.inbox, "a")
        killed.settle(yield* killed.put(bytes("x"), 1), 0)
        const batch = yield* killed.put(bytes("y"), 2)
        killed.settle(batch, 1)
        yield* Effect.sleep(500)
        yield* first.kill
        assert.deepStrictEqual(told(yield* open(second.inbox, "a")), [["y", 2, [1]]])
      }))

    test("lets a box end with its scope while others of the process go on", (process) =>
      Effect.gen(function* () {
        const { inbox } = yield* process
        const scope = yield* Scope.make()
        const ended = yield* Scope.provide(open(inbox, "a"), scope)
        const box = yield* open(inbox, "a")
        yield* ended.put(bytes("x"), 1)
        const batch = yield* box.put(bytes("y"), 1)
        yield* Scope.close(scope, Exit.void)
        box.settle(batch, 0)
        yield* box.flush
        assert.deepStrictEqual(told(yield* open(inbox, "a")), [["x", 2, []]])
      }))
  })
}

const utf8 = new TextEncoder()
const bytes = (text: string): Uint8Array => utf8.encode(text)

const open = (inbox: Inbox["Service"], name: string) => inbox.open(name, () => Effect.void)

const told = (box: Box) =>
  box.left.map(({ bytes, holder, settled }) => [new TextDecoder().decode(bytes), holder, [...settled]])
