/** What an EventRelay server takes, what it refuses and with which words, without a server around it. */
import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { newEvent } from "../../src/layers/EventRelayMemory.ts"
import * as EventRelayQuery from "../../src/layers/EventRelayQuery.ts"
import * as EventRelayRules from "../../src/layers/EventRelayRules.ts"

const nobody = { authorization: undefined, now: 1_500 }
const open = () => EventRelayRules.make({ auth: false })
const failureOf = (answer: EventRelayRules.Answer<unknown>) =>
  Result.match(answer, { onSuccess: () => "granted", onFailure: ({ status, words }) => `${status}: ${words}` })
const publish = (rules: EventRelayRules.Rules, ...events: ReadonlyArray<Parameters<typeof newEvent>[0]>) =>
  rules.publish({ topic: "orders", durable: true, events: events.map(newEvent) }, nobody)

describe("EventRelayRules", () => {
  it("makes a topic once, with a name it can use", () => {
    const rules = open()
    assert.deepStrictEqual(rules.createTopic("My Orders!"), Result.succeed("my_orders_"))
    assert.strictEqual(failureOf(rules.createTopic("my_orders_")), "ALREADY_EXISTS: Topic already exists")
    assert.match(failureOf(rules.createTopic("x".repeat(46))), /^INVALID_ARGUMENT: the name of a topic has 1 to 45/)
  })

  it("keeps times to the second and answers in reversed order", () => {
    const rules = open()
    rules.createTopic("orders")
    const stored = Result.getOrThrow(
      publish(rules, { name: "a" }, { name: "b", occurred_at: "2024-02-29T12:00:00.900+01:00" })
    )
    assert.deepStrictEqual(
      stored.map(({ available_at, name, occurred_at, offset }) => [name, offset, occurred_at, available_at]),
      [
        ["b", 2, "2024-02-29T11:00:00Z", "1970-01-01T00:00:01Z"],
        ["a", 1, "1970-01-01T00:00:01Z", "1970-01-01T00:00:01Z"]
      ]
    )
  })

  for (const [event, words] of [
    [{ data: "{" }, /^data is invalid JSON$/],
    [{ data: "[1]" }, /^data is invalid$/],
    [{ data: "null" }, /^data is invalid$/],
    [{ name: "" }, /^name can't be blank$/],
    [{ source: "" }, /^source can't be blank$/],
    [{ prev_id: "7" }, /^prev_id is invalid$/],
    [{ occurred_at: "soon" }, /no time/],
    [{ data_schema: "{" }, /^data_schema is invalid JSON$/],
    [
      { data: { n: "1" }, data_schema: JSON.stringify({ properties: { n: { type: "number" } } }) },
      /^data does not validate against the schema because of errors: .*number/
    ]
  ] as const) {
    it(`does not take ${JSON.stringify(event)}, and takes its neighbours`, () => {
      const rules = open()
      rules.createTopic("orders")
      const stored = Result.getOrThrow(publish(rules, { name: "before" }, event, { name: "after" }))
      assert.deepStrictEqual(
        stored.map(({ name }) => name),
        ["after", "before"]
      )
      const [untaken, ...none] = rules.untakenEvents()
      assert.deepStrictEqual(none, [])
      assert.match(untaken!.errors[0]!, words)
      rules.setUntaken("fails")
      assert.strictEqual(failureOf(publish(rules, { name: "before" }, event)), "UNKNOWN: Internal Server Error")
      assert.strictEqual(rules.stored("orders")!.length, 3)
    })
  }

  it("takes what its schema allows", () => {
    const rules = open()
    rules.createTopic("orders")
    const data_schema = JSON.stringify({ properties: { n: { type: "number" } } })
    assert.strictEqual(Result.getOrThrow(publish(rules, { data: { n: 1 }, data_schema })).length, 1)
  })

  it("keeps no more events than it may", () => {
    const rules = EventRelayRules.make({ auth: false, eventsMax: 1 })
    rules.createTopic("orders")
    assert.strictEqual(Result.getOrThrow(publish(rules, {}, {})).length, 1)
    assert.match(rules.untakenEvents()[0]!.errors[0]!, /no more than 1 events/)
  })

  it("counts calls by the second, those that are refused among them", () => {
    const rules = open()
    rules.access.limit({ publishDurable: 1, publishEphemeral: 2 })
    const call = (durable: boolean, now: number) =>
      failureOf(rules.publish({ topic: "orders", durable, events: [] }, { ...nobody, now }))
    assert.deepStrictEqual([call(true, 0), call(false, 0), call(false, 999)], ["granted", "granted", "granted"])
    const words = "RESOURCE_EXHAUSTED: Rate limit exceeded for publish_events at"
    assert.strictEqual(call(true, 999), `${words} 1 requests per 1.0 second(s)`)
    assert.strictEqual(call(false, 999), `${words} 2 requests per 1.0 second(s)`)
    assert.deepStrictEqual([call(true, 1000), call(false, 1000)], ["granted", "granted"])
  })

  it("gives a destination with a query what matches it, and a page too large a hundred", () => {
    const rules = open()
    rules.createTopic("orders")
    for (let n = 0; n < 150; n++) publish(rules, { data: { n } })
    const id = Result.getOrThrow(rules.createDestination({ topic: "orders", query: "data.n >= 148" }))
    assert.strictEqual(Result.getOrThrow(rules.pullQueued(id, 1000, nobody)).length, 2)
    const page = Result.getOrThrow(rules.pull({ topic: "orders", batchSize: 1001, offset: 0, query: "" }, nobody))
    assert.deepStrictEqual([page.events.length, page.totalCount, page.nextOffset], [100, 150, 100])
    const all = Result.getOrThrow(rules.createDestination({ topic: "orders" }))
    assert.strictEqual(Result.getOrThrow(rules.pullQueued(all, 0, nobody)).length, 100)
  })
})

describe("EventRelayQuery", () => {
  const event = {
    ...newEvent({ name: "left", data: { n: 30, on: true, cart: { kind: "a b" } }, context: { ip: "::1" } }),
    id: "",
    topic: "orders",
    offset: 7,
    errors: []
  }
  const matches = (query: string) => Result.getOrThrow(EventRelayQuery.read(query))(event)

  for (const query of [
    "",
    "data.n == 30",
    "data.n==30",
    "data.n != 31 and data.n > 29.5 and data.n <= 30",
    "data.on == true",
    "data.cart.kind == 'a b' AND context.ip == \"::1\"",
    "name == 'left' and offset >= 7",
    "data.n == 1 or data.n == 30",
    "data.n < 100"
  ]) {
    it(`matches ${query === "" ? "all" : query}`, () => assert.isTrue(matches(query)))
  }
  for (const query of [
    "data.n == '30'",
    "data.nothing != 1",
    "data.n < 'x'",
    "data.cart == 1",
    "data.__proto__.n == 1",
    // From the left, as the server reads it.
    "data.n == 30 or data.n == 30 and data.n == 1"
  ]) {
    it(`does not match ${query}`, () => assert.isFalse(matches(query)))
  }
  for (const [query, words] of [
    ["n == 1", /no such field: n/],
    ["data == 1", /no such field: data/],
    ["data.n", /expects one of ==/],
    ["data.n == ", /expects a number/],
    ["data.n == x", /expects a number.*found x/],
    ["data.n = 1", /cannot be read/],
    ["data.n == 1 and", /no such field|ends too early/],
    ["data.n == 1 xor data.n == 2", /expects and, or; found xor/],
    ["(data.n == 1)", /cannot be read/],
    ["'", /cannot be read/]
  ] as const) {
    it(`cannot read ${query}`, () => {
      const read = EventRelayQuery.read(query)
      assert.match(Result.isFailure(read) ? read.failure : "read", words)
    })
  }
})
