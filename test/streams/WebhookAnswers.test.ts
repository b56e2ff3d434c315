/** What a webhook answers to each end, in each of its shapes. */
import { assert, describe, it } from "vitest"
import { accepted, refused } from "../../src/services/Reply.ts"
import type { Ended } from "../../src/streams/HttpIntake.ts"
import { answers, listOf, shapes } from "../../src/streams/WebhookAnswers.ts"

const job = (name: string, over: object = {}) => ({
  name,
  options: { delay: 5 },
  completed: true,
  duration: 5,
  result: `${name} complete!`,
  ...over
})

const paid = { name: "order.paid", jobs: [job("bill"), job("mail", { completed: false, result: "no such box" })] }
const crashed = { name: "order.lost", error: "x is not a function" }

const ends: Readonly<Record<string, Ended>> = {
  acked: { _tag: "Acked", replies: [accepted(paid), accepted(crashed)] },
  buried: { _tag: "Buried", reason: "hush", replies: [accepted(paid)] },
  refused: { _tag: "Refused", reason: "not JSON: x" },
  nacked: { _tag: "Nacked", reason: "postgres://hush@db is away" },
  away: { _tag: "Away", reason: "the pipeline takes no more just now" }
}

describe("WebhookAnswers", () => {
  it("tell by status whether it is done, and when to come again", () => {
    const { denied, ended, unreadable } = answers("status")
    const of = (name: string) => ended(ends[name]!, "id-1", 7)
    for (const name of ["acked", "buried"]) {
      assert.deepStrictEqual(of(name), {
        status: 200,
        headers: { "content-type": "application/json" },
        body: '{"id":"id-1"}'
      })
    }
    assert.strictEqual(of("refused").status, 400)
    assert.strictEqual(of("refused").body, '{"error":"not JSON: x"}')
    assert.strictEqual(unreadable({ kind: "value", reason: "payload.event: is missing" }).status, 400)
    assert.deepStrictEqual(denied({ reason: "the token is missing", challenge: "Bearer" }), {
      status: 401,
      headers: { "content-type": "application/json", "www-authenticate": "Bearer" },
      body: '{"error":"the token is missing"}'
    })
  })

  it("ask to come again only where that can help, in whole seconds, and say nothing of what stands behind", () => {
    for (const shape of shapes) {
      const { denied, ended, unreadable } = answers(shape)
      for (const name of ["nacked", "away"]) {
        const response = ended(ends[name]!, "id-1", 7)
        assert.strictEqual(response.status, 503)
        assert.match(response.headers!["retry-after"]!, /^[1-9]\d*$/)
        assert.notInclude(response.body as string, "hush")
      }
      const final = [
        denied({ reason: "no" }),
        unreadable({ kind: "text", reason: "no" }),
        unreadable({ kind: "value", reason: "no" }),
        ...["acked", "buried", "refused"].map((name) => ended(ends[name]!, "id-1", 7))
      ]
      for (const response of final) assert.notProperty(response.headers ?? {}, "retry-after")
    }
  })

  it("list what was detected as version 0 does", () => {
    const { denied, ended, unreadable } = answers("v0")
    const response = ended(ends.acked!, "id-1", 3035)
    assert.strictEqual(response.status, 200)
    assert.deepStrictEqual(response.headers, { "content-type": "application/json" })
    assert.strictEqual(
      response.body,
      JSON.stringify({ events: [paid, { name: "order.lost" }], duration: 3035 }, null, 2)
    )
    assert.deepStrictEqual(unreadable({ kind: "text", reason: "no" }), {
      status: 500,
      headers: { "content-type": "application/json" },
      body: '{\n  "errors": [\n    {}\n  ]\n}'
    })
    assert.deepStrictEqual(JSON.parse(unreadable({ kind: "value", reason: "no" }).body as string), {
      events: [],
      duration: 0
    })
    assert.deepStrictEqual(denied({ reason: "no" }), {
      status: 401,
      headers: { "content-type": "text/plain; charset=utf-8" },
      body: "Unauthorized!"
    })
  })

  it("list also what was not detected as version 2 does", () => {
    const explained = [
      { event: "order.new", verdict: "no" },
      { event: "order.paid", verdict: "yes" },
      { event: "order.odd", verdict: "broke" },
      { event: "order.lost", verdict: "yes" },
      { event: "order.buried", verdict: "yes" }
    ] as const
    const acked: Ended = Object.assign({}, ends.acked, { explained })
    assert.deepStrictEqual(JSON.parse(answers("v2").ended(acked, "id-1", 12).body as string), {
      events: [
        { name: "order.new", detected: false, jobs: [] },
        {
          name: "order.paid",
          detected: true,
          jobs: [
            { name: "bill", durationMs: 5, result: "bill complete!", completed: true },
            {
              name: "mail",
              durationMs: 5,
              result: "Job func crashed: no such box",
              completed: false,
              error: "no such box"
            }
          ]
        },
        { name: "order.odd", detected: false, jobs: [] },
        { name: "order.lost", detected: true, jobs: [], error: "x is not a function" },
        { name: "order.buried", detected: true, jobs: [] }
      ],
      durationMs: 12
    })
  })

  it("list what is known where nobody explained, and take jobs in version 2's words where there are some", () => {
    const replies = [
      accepted({ ...paid, v2: [{ name: "bill" }] }),
      refused("no"),
      accepted(Buffer.from("x")),
      accepted(null)
    ]
    assert.deepStrictEqual(listOf("v2", replies, undefined, 1), {
      events: [{ name: "order.paid", detected: true, jobs: [{ name: "bill" }] }],
      durationMs: 1
    })
    assert.deepStrictEqual(listOf("v0", replies, undefined, 1), { events: [paid], duration: 1 })
    assert.deepStrictEqual(listOf("v2", [], [], 0), { events: [], durationMs: 0 })
  })
})
