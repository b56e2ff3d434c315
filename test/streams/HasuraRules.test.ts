/** Hasura's payloads by rules, as `config/hasura-rules.yaml` has them. */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as App from "../../src/layers/App.ts"
import * as Config from "../../src/layers/Config.ts"
import * as Wiring from "../../src/layers/Wiring.ts"
import { noHeaders } from "../../src/services/Envelope.ts"
import type { Event } from "../../src/services/Event.ts"
import { later } from "../../src/services/Ready.ts"

type Row = Readonly<Record<string, unknown>> | null

const eventOf = (op: string, before: Row, after: Row, role = "user"): Event => ({
  envelope: {
    id: "a",
    source: "test",
    key: undefined,
    headers: noHeaders,
    payload: new Uint8Array(),
    receivedAt: 0,
    attempt: 1
  },
  payload: { event: { op, data: { old: before, new: after }, session_variables: { "x-hasura-role": role } } },
  key: undefined
})

describe("rules on Hasura's payloads", () => {
  it.effect("find by operation, changed columns, old and new values, and the session's role", () =>
    Effect.gen(function* () {
      const loaded = yield* Config.load(`${import.meta.dirname}/../../config/hasura-rules.yaml`, {})
      const [plan] = yield* Wiring.plans(loaded).pipe(Effect.scoped, Effect.provide(App.dry(loaded)))
      const found = Effect.fnUntraced(function* (event: Event) {
        const names: Array<string> = []
        for (const { detect } of plan!.detectors) {
          for (const { name } of yield* later(detect(event))) names.push(name)
        }
        return names
      })
      const open = { status: "open" }
      const done = { status: "pickup successful" }
      const cases: ReadonlyArray<readonly [Event, ReadonlyArray<string>]> = [
        [eventOf("UPDATE", open, done), ["move.pickup.successful"]],
        [eventOf("UPDATE", done, done), []],
        [eventOf("UPDATE", { status: "closed" }, open), ["move.reopened"]],
        [eventOf("UPDATE", { status: "closed" }, done), ["move.pickup.successful", "move.reopened"]],
        [eventOf("INSERT", null, { weight: 1000, status: "open" }), ["move.large.created"]],
        [eventOf("INSERT", null, { weight: 999 }), []],
        [eventOf("DELETE", open, null), ["move.deleted.by.user"]],
        [eventOf("DELETE", open, null, "admin"), []],
        [eventOf("MANUAL", null, done), []]
      ]
      for (const [event, names] of cases)
        assert.deepStrictEqual(yield* found(event), names, JSON.stringify(event.payload))
    }).pipe(Effect.provide(NodeServices.layer))
  )
})
