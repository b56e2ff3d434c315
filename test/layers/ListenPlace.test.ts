/** Which topic holds an event, by what a config publishes where. */
import { assert, describe, it } from "vitest"
import type { Config } from "../../src/layers/Config.ts"
import * as ListenPlace from "../../src/layers/ListenPlace.ts"

const subject = { client: "SpongeBob", event: "Fruits" }

const pipelines = (all: Readonly<Record<string, readonly [source: string, ...publish: ReadonlyArray<object>]>>) =>
  Object.fromEntries(
    Object.entries(all).map(([name, [type, ...publish]]) => [name, { source: { type }, publish }])
  ) as unknown as Config["pipelines"]

const found = (all: Parameters<typeof pipelines>[0]) => {
  const place = ListenPlace.find(pipelines(all), subject)
  return place && [place.path.join("."), place.type, place.topic, place.isShared]
}

const topic = (topic?: string) => ({ type: "topic", ...(topic === undefined ? {} : { topic }) })
const kafka = (topic?: string) => ({ type: "kafka", ...(topic === undefined ? {} : { topic }) })

describe("ListenPlace", () => {
  it("finds the topic of the event's name in any pipeline, embedded or in Kafka", () => {
    const other = ["generate", { type: "stdout" }, topic("SpongeBob.Colors")] as const
    const place = ["pipelines.b.publish.1", "topic", "SpongeBob.Fruits", false]
    assert.deepStrictEqual(found({ a: other, b: ["http", kafka("x"), topic("SpongeBob.Fruits")] }), place)
    const inKafka = ["pipelines.b.publish.0", "kafka", "SpongeBob.Fruits", false]
    assert.deepStrictEqual(found({ a: other, b: ["http", kafka("SpongeBob.Fruits")] }), inKafka)
  })

  it("finds a gateway's topic, whose name is the event's where nothing is said, before others", () => {
    const other = ["http", topic("SpongeBob.Fruits")] as const
    const gateway = ["pipelines.g.publish.0", "kafka", "SpongeBob.Fruits", false]
    assert.deepStrictEqual(found({ a: other, g: ["gateway", kafka()] }), gateway)
    const named = "prod.{{envelope.headers.client}}-{{ envelope.headers.event }}"
    const prod = ["pipelines.g.publish.0", "topic", "prod.SpongeBob-Fruits", false]
    assert.deepStrictEqual(found({ a: other, g: ["gateway", topic(named)] }), prod)
  })

  it("takes a name that could become the event's, and last what holds all events of a gateway", () => {
    const could = ["pipelines.b.publish.0", "topic", "SpongeBob.Fruits", false]
    assert.deepStrictEqual(found({ g: ["gateway", topic("all")], b: ["http", topic("SpongeBob.{{event}}")] }), could)
    assert.isUndefined(found({ b: ["http", topic("Patrick.{{event}}")] }))
    assert.isUndefined(found({ b: ["http", topic("SpongeBobx{{event}}")] }))
    assert.deepStrictEqual(found({ g: ["gateway", topic("all")] }), ["pipelines.g.publish.0", "topic", "all", true])
    const ofClient = ["pipelines.g.publish.0", "topic", "events.SpongeBob", true]
    assert.deepStrictEqual(found({ g: ["gateway", topic("events.{{envelope.headers.client}}")] }), ofClient)
  })

  it("finds nothing where nothing is published to a topic of that name, and knows the names there are", () => {
    const all = { a: ["http", topic("x"), { type: "file", path: "SpongeBob.Fruits" }, kafka("y"), topic("x")] } as const
    assert.isUndefined(found(all))
    assert.deepStrictEqual(ListenPlace.topics(pipelines(all)), ["x", "y"])
  })
})
