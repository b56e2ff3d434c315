/** Conditions: what holds, what does not, why not, and what cannot be written. */
import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import * as DetectorRules from "../../src/layers/DetectorRules.ts"
import { noHeaders } from "../../src/services/Envelope.ts"

const event = (payload: unknown, headers: Record<string, string> = noHeaders) => ({
  envelope: { id: "1", source: "t", key: "k", headers, payload: new Uint8Array(), receivedAt: 1, attempt: 1 },
  payload,
  key: "k"
})

const holds = (when: unknown, payload: unknown, headers?: Record<string, string>): boolean => {
  const made = Result.getOrThrow(DetectorRules.make([{ event: "x", when }]))
  return (made.detect(event(payload, headers)) as ReadonlyArray<unknown>).length === 1
}

const order = { status: "paid", amount: 120, note: null, tags: ["a", "b"], customer: { id: 7, email: "a@b.c" } }

describe("Rules", () => {
  it("hold", () => {
    for (const when of [
      {},
      { "payload.status": "paid" },
      { "payload.status": ["open", "paid"] },
      { "payload.note": null },
      { "payload.customer.id": 7, "payload.amount": { gt: 100, lte: 120 } },
      { "payload.tags.1": "b" },
      { "payload.tags": { exists: true }, "payload.other": { exists: false }, "payload.customer": { exists: true } },
      { "payload.status": { prefix: "pa", suffix: "id", matches: "^p.*d$" } },
      { any: [{ "payload.status": "open" }, { "payload.amount": { gte: 120 } }] },
      { all: [{ "payload.status": "paid" }, { not: { "payload.amount": { lt: 100 } } }] },
      { "envelope.headers.x-tenant": "t1", "envelope.key": "k" }
    ]) {
      assert.isTrue(holds(when, order, { "X-Tenant": "t1" }), JSON.stringify(when))
    }
  })

  it("do not hold", () => {
    for (const when of [
      { "payload.status": "open" },
      { "payload.amount": "120" },
      { "payload.amount": { gt: 120 } },
      { "payload.status": { gt: 1 } },
      { "payload.note": { exists: true } },
      { "payload.toString": { exists: true } },
      { "payload.__proto__": { exists: true } },
      { any: [] },
      { not: {} },
      { "payload.a.b.c": "x" }
    ]) {
      assert.isFalse(holds(when, order), JSON.stringify(when))
    }
  })

  it("see changes wherever the old and the new row lie", () => {
    const row = { old: { status: "open", n: 1 }, new: { status: "paid", n: 1 } }
    for (const payload of [row, { event: { data: row } }, { before: row.old, after: row.new }, { data: row }]) {
      assert.isTrue(holds({ "payload.status": { changed: true, from: "open", to: ["paid", "x"] } }, payload))
      assert.isFalse(holds({ "payload.n": { changed: true } }, payload))
      assert.isTrue(holds({ "payload.n": { changed: false } }, payload))
      assert.isFalse(holds({ "payload.status": { to: "open" } }, payload))
    }
    assert.isTrue(holds({ "payload.event.data.new.status": { changed: true } }, { event: { data: row } }))
    assert.isTrue(holds({ "payload.new.status": { to: "paid" } }, { old: null, new: row.new }))
    assert.isTrue(holds({ "payload.title": { from: "a" } }, { title: { old: "a", new: "b" } }))
  })

  it("say which condition did not hold", () => {
    const made = Result.getOrThrow(
      DetectorRules.make([
        { event: "yes", when: { "payload.status": "paid" } },
        { event: "no", when: { "payload.status": "paid", "payload.amount": { gt: 500 } } }
      ])
    )
    assert.deepStrictEqual(made.explain!(event(order)), [
      { event: "yes", verdict: "yes", why: undefined },
      { event: "no", verdict: "no", why: "payload.amount is 120, not gt 500" }
    ])
  })

  it("match in linear time", () => {
    const text = `${"a".repeat(50_000)}!`
    assert.isFalse(holds({ "payload.status": { matches: "^(a+)+$" } }, { status: text }))
  })

  it("name the place of what cannot be written", () => {
    for (const [when, path] of [
      [{ "payload.a": { bigger: 1 } }, ["payload.a", "bigger"]],
      [{ status: "x" }, ["status"]],
      [{ "payload.a": { gt: "x" } }, ["payload.a", "gt"]],
      [{ any: [{}, { "payload.a": { matches: "(?=x)" } }] }, ["any", 1, "payload.a", "matches"]],
      [{ any: {} }, ["any"]],
      [{ not: [] }, ["not"]],
      [{ "payload.a": {} }, ["payload.a"]],
      [{ "envelope.nothing": 1 }, ["envelope.nothing"]],
      [[], []]
    ] as const) {
      const made = DetectorRules.make([{ event: "x", when }])
      assert.isTrue(Result.isFailure(made), JSON.stringify(when))
      if (Result.isFailure(made)) assert.deepStrictEqual(made.failure[0]?.path, [0, "when", ...path])
    }
  })
})
