/** What Hasura sends is read as it came; what it never sends is told by its place. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Result } from "effect"
import { DecodeError } from "../../src/services/Codec.ts"
import type { Envelope } from "../../src/services/Envelope.ts"
import { later } from "../../src/services/Ready.ts"
import * as Hasura from "../../src/streams/Hasura.ts"
import * as payloads from "./HasuraPayloads.ts"

const { insert, cron } = payloads

const envelope = (payload: Uint8Array): Envelope => ({
  id: "1",
  source: "test",
  key: "k",
  headers: {},
  payload,
  receivedAt: 0,
  attempt: 1
})

const reasonOf = (value: unknown): string => {
  const read = Hasura.decode(value)
  return Result.isFailure(read) ? read.failure.reason : "none"
}

const withEvent = (event: unknown) => ({ ...insert, event })

describe("Hasura", () => {
  it.effect("reads each documented payload, and gives it as it came", () =>
    Effect.gen(function* () {
      for (const [name, payload] of Object.entries(payloads.all)) {
        const text = JSON.stringify({ ...payload, some_day: [1] })
        const event = yield* later(Hasura.codec.decode(envelope(Buffer.from(text))))
        assert.strictEqual(JSON.stringify(event.payload), text, name)
        assert.strictEqual(event.key, "k")
        const read = Hasura.decode(payload)
        assert.isTrue(Result.isSuccess(read) && (read.success as unknown) === payload, name)
      }
    })
  )

  it("tells its kinds apart, for the types too", () => {
    const read = Result.getOrThrow(Hasura.decode(payloads.update))
    if (Hasura.isScheduled(read) || read.event.op !== "UPDATE") throw new Error("expected an update")
    assert.strictEqual(read.event.data.old?.name, "john doe")
    assert.strictEqual(read.event.data.new.name, "jane doe")
    assert.strictEqual(read.delivery_info?.current_retry, 0)
    const scheduled = Result.getOrThrow(Hasura.decode(cron))
    assert.isTrue(Hasura.isScheduled(scheduled) && scheduled.name === "eod_reports")
  })

  it("names the place, what was expected there, and the kind of what came", () => {
    const { event } = insert
    const cases: ReadonlyArray<readonly [unknown, string | RegExp]> = [
      [null, "payload: expected object, not null"],
      [[], "payload: expected object, not an array"],
      ["x", "payload: expected object, not a value of type string"],
      [{}, "payload.event: is missing"],
      [{ event: {} }, "payload.event.op: is missing; payload.event.data: is missing"],
      [
        withEvent({ ...event, op: "UPSERT" }),
        'payload.event.op: expected "INSERT" | "UPDATE" | "DELETE" | "MANUAL", not a value of type string'
      ],
      [
        withEvent({ ...event, op: "insert" }),
        'payload.event.op: expected "INSERT" | "UPDATE" | "DELETE" | "MANUAL", not a value of type string'
      ],
      [
        withEvent({ ...event, data: { old: {}, new: {} } }),
        "payload.event.data.old: expected null, not a value of type object"
      ],
      [withEvent({ ...event, data: { old: null, new: null } }), "payload.event.data.new: expected object, not null"],
      [withEvent({ ...event, data: { old: null, new: [1] } }), "payload.event.data.new: expected object, not an array"],
      [withEvent({ ...event, op: "DELETE" }), /^payload\.event\.data\.old: .*payload\.event\.data\.new: /],
      [withEvent({ ...event, op: "UPDATE", data: { new: {} } }), "payload.event.data.old: is missing"],
      [
        withEvent({ ...event, session_variables: { "x-hasura-role": 1 } }),
        "payload.event.session_variables.x-hasura-role: expected string, not a value of type number"
      ],
      [{ ...insert, id: "" }, "payload.id: expected a value with a length of at least 1, not empty text"],
      [{ ...insert, id: 7 }, "payload.id: expected string, not a value of type number"],
      [{ ...insert, table: "users" }, "payload.table: expected object, not a value of type string"],
      [
        { ...insert, delivery_info: { max_retries: 1, current_retry: "0" } },
        /^payload\.delivery_info\.current_retry: expected .*, not a value of type string$/
      ],
      [{ ...cron, id: undefined }, "payload.id: is missing"],
      [{ ...cron, scheduled_time: 5 }, "payload.scheduled_time: expected string, not a value of type number"],
      [
        { event: { op: "INSERT", data: { old: null, new: {} } } },
        "payload.id: is missing; payload.created_at: is missing; payload.table: is missing; payload.trigger: is missing"
      ]
    ]
    for (const [value, expected] of cases) {
      const reason = reasonOf(value)
      if (typeof expected === "string") assert.strictEqual(reason, expected)
      else assert.match(reason, expected)
    }
  })

  it("shows nothing of a row, and names five problems at most", () => {
    const bad = {
      ...insert,
      id: 1,
      created_at: 2,
      table: 3,
      trigger: 4,
      delivery_info: 5,
      event: { ...insert.event, data: 6 }
    }
    const reason = reasonOf(bad)
    assert.match(reason, /; and 1 more$/)
    assert.notInclude(reasonOf({ ...insert, id: "", event: { ...insert.event, op: "SECRET" } }), "SECRET")
  })

  it.effect("reads bytes that are no JSON as a typed error", () =>
    Effect.gen(function* () {
      for (const [bytes, words] of [
        [Buffer.from("{"), /^not JSON: /],
        [Buffer.from([0xff]), /^not UTF-8 text$/],
        [Buffer.from("{}"), /^payload\.event: is missing$/]
      ] as const) {
        const error = yield* Effect.flip(later(Hasura.codec.decode(envelope(bytes))))
        assert.instanceOf(error, DecodeError)
        assert.match(error.reason, words)
      }
      const marked = yield* later(Hasura.codec.decode(envelope(Buffer.from(`\ufeff${JSON.stringify(insert)}`))))
      assert.deepStrictEqual(marked.payload, insert)
    })
  )

  it("keeps a key called __proto__ a key", () => {
    const value = JSON.parse(JSON.stringify(insert).replace('"id":"42"', '"__proto__":{"id":"43"}'))
    assert.strictEqual(reasonOf(value), "none")
    assert.isUndefined(({} as { readonly id?: unknown }).id)
    assert.strictEqual(Hasura.idOf(Object.create({ id: "inherited" })), undefined)
  })
})
