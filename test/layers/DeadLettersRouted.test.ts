/** Dead letters by pipeline: which place is asked for what, and how a config says so. */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, FileSystem, Layer, Option } from "effect"
import * as App from "../../src/layers/App.ts"
import * as Config from "../../src/layers/Config.ts"
import { ConfigError } from "../../src/layers/ConfigFile.ts"
import * as DeadLettersMemory from "../../src/layers/DeadLettersMemory.ts"
import * as DeadLettersRouted from "../../src/layers/DeadLettersRouted.ts"
import * as KafkaClientMemory from "../../src/layers/KafkaClientMemory.ts"
import { DeadLetters, DeadLettersError, type Letter } from "../../src/services/DeadLetters.ts"
import { KafkaClient } from "../../src/services/Kafka.ts"
import * as DeadLettersSuite from "../suites/DeadLettersSuite.ts"
import * as TemporaryStore from "./TemporaryStore.ts"

type Place = DeadLetters["Service"]

DeadLettersSuite.suite(
  "DeadLettersRouted",
  Layer.sync(DeadLetters, () =>
    DeadLettersRouted.make(DeadLettersMemory.make(), new Map([["orders", DeadLettersMemory.make()]]))
  )
)

const letter = (id: string, pipeline: string, receivedAt = 0, over: Partial<Letter> = {}): Letter => ({
  ...DeadLettersSuite.letter(id),
  pipeline,
  envelope: { ...DeadLettersSuite.letter(id).envelope, receivedAt },
  ...over
})

const idsOf = (letters: ReadonlyArray<Letter>): ReadonlyArray<string> => letters.map(({ id }) => id)

/** A place that notes what it is asked, and can be away. */
const place = (name: string) => {
  const memory = DeadLettersMemory.make()
  const asked: Array<string> = []
  const state = { isAway: false }
  const noting = <A, E>(what: string, effect: Effect.Effect<A, E>): Effect.Effect<A, E | DeadLettersError> =>
    Effect.suspend((): Effect.Effect<A, E | DeadLettersError> => {
      asked.push(what)
      return state.isAway ? Effect.fail(new DeadLettersError({ reason: `topic ${name} is away` })) : effect
    })
  const service: Place = {
    bury: (letter) => noting("bury", memory.bury(letter)),
    list: (filter) => noting("list", memory.list(filter)),
    get: (id) => noting("get", memory.get(id)),
    remove: (ids) => noting(`remove ${ids.join(" ")}`, memory.remove(ids))
  }
  return { memory, service, asked, state }
}

const three = () => {
  const [store, one, two] = [place("store"), place("one"), place("two")]
  const routes = new Map([
    ["a", one.service],
    ["b", two.service],
    ["c", two.service]
  ])
  return { store, one, two, letters: DeadLettersRouted.make(store.service, routes) }
}

describe("DeadLettersRouted", () => {
  it.effect("buries where the pipeline's config says, and lists all in the order of origin", () =>
    Effect.gen(function* () {
      const { letters, one, store, two } = three()
      for (const [i, pipeline] of ["c", "else", "a", "b", "a"].entries()) {
        yield* letters.bury(letter(`${i}`, pipeline, i))
      }
      assert.deepStrictEqual(idsOf(yield* one.memory.list({})), ["2", "4"])
      assert.deepStrictEqual(idsOf(yield* two.memory.list({})), ["0", "3"])
      assert.deepStrictEqual(idsOf(yield* store.memory.list({})), ["1"])
      assert.deepStrictEqual(idsOf(yield* letters.list({})), ["0", "1", "2", "3", "4"])
      assert.deepStrictEqual(idsOf(yield* letters.list({ ids: ["4", "0"] })), ["0", "4"])
      for (const { asked } of [one, two, store]) assert.strictEqual(asked.filter((what) => what === "list").length, 2)
      assert.strictEqual(Option.getOrThrow(yield* letters.get("3")).pipeline, "b")
      assert.isTrue(Option.isNone(yield* letters.get("nobody")))
      assert.strictEqual(yield* letters.remove(["0", "1", "2", "nobody"]), 3)
      assert.deepStrictEqual(idsOf(yield* letters.list({})), ["3", "4"])
    })
  )

  it.effect("asks no other pipeline's topic for the letters of one, and removes where they were seen", () =>
    Effect.gen(function* () {
      const { letters, one, store, two } = three()
      yield* letters.bury(letter("x", "a"))
      yield* letters.bury(letter("y", "b"))
      two.state.isAway = true
      assert.deepStrictEqual(idsOf(yield* letters.list({ pipeline: "a" })), ["x"])
      assert.strictEqual(yield* letters.remove(["x"]), 1)
      assert.deepStrictEqual(two.asked, ["bury"])
      assert.deepStrictEqual(one.asked, ["bury", "list", "remove x"])
      assert.notInclude(store.asked, "remove x")
    })
  )

  it.effect(
    "finds what was buried before the pipeline got a place of its own, and moves it when it is buried again",
    () =>
      Effect.gen(function* () {
        const { letters, one, store } = three()
        yield* store.service.bury(letter("old", "a", 1))
        yield* letters.bury(letter("new", "a", 2))
        assert.deepStrictEqual(idsOf(yield* letters.list({ pipeline: "a" })), ["old", "new"])
        yield* letters.bury(letter("old", "a", 1, { attempts: 9 }))
        assert.deepStrictEqual(idsOf(yield* store.memory.list({})), [])
        assert.deepStrictEqual(
          (yield* letters.list({})).map(({ attempts, id }) => [id, attempts]),
          [
            ["old", 9],
            ["new", 8]
          ]
        )
        // Left in both places the newer one counts, and both are removed.
        yield* store.service.bury(letter("old", "a", 1, { at: 0 }))
        assert.strictEqual((yield* letters.list({ ids: ["old"] }))[0]?.attempts, 9)
        yield* letters.remove(["old"])
        assert.deepStrictEqual(idsOf(yield* letters.list({})), ["new"])
        assert.deepStrictEqual(idsOf(yield* one.memory.list({})), ["new"])
      })
  )

  it.effect("hides nothing when a topic is away: it says which, and still does what it can", () =>
    Effect.gen(function* () {
      const { letters, one, store } = three()
      yield* letters.bury(letter("x", "a"))
      yield* letters.bury(letter("y", "else"))
      one.state.isAway = true
      assert.strictEqual((yield* Effect.flip(letters.list({}))).message, "topic one is away")
      assert.strictEqual((yield* Effect.flip(letters.get("x"))).message, "topic one is away")
      assert.strictEqual(Option.getOrThrow(yield* letters.get("y")).id, "y")
      assert.deepStrictEqual(idsOf(yield* letters.list({ pipeline: "else" })), ["y"])
      assert.strictEqual((yield* Effect.flip(letters.remove(["x", "z"]))).message, "topic one is away")
      assert.include(store.asked, "remove x z")
      one.state.isAway = false
      assert.strictEqual(yield* letters.remove(["x", "y"]), 2)
    })
  )
})

// ---------------------------------------------------------------------------------------------------- config

const loadedOf = Effect.fnUntraced(function* (text: string) {
  const fs = yield* FileSystem.FileSystem
  const file = `${yield* fs.makeTempDirectoryScoped()}/x.yaml`
  yield* fs.writeFileString(file, text)
  return yield* Config.load(file, {})
})

const said = (text: string) =>
  Effect.gen(function* () {
    const error = yield* Effect.flip(loadedOf(text))
    assert.instanceOf(error, ConfigError)
    return error.message.replace(/^.*x\.yaml/, "x.yaml")
  }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))

const pipeline = (deadLetters: string): string =>
  `pipelines:\n  a:\n    source: { type: stdin }\n    deadLetters: ${deadLetters}\n`

describe("deadLetters in a config", () => {
  it.effect("say what is wrong with them", () =>
    Effect.gen(function* () {
      const cases: ReadonlyArray<readonly [string, string]> = [
        [
          "{ type: kafak, topic: t }",
          'x.yaml:4:26: pipelines.a.deadLetters.type: expected one of store, kafka, azure-queue, found "kafak" (did you mean kafka?)'
        ],
        [
          "{ topic: t }",
          "x.yaml:4:5: pipelines.a.deadLetters.type: expected one of store, kafka, azure-queue, found nothing"
        ],
        [
          "{ type: kafka, brokers: b }",
          "x.yaml:4:5: pipelines.a.deadLetters.topic: expected a value, since it is required, found nothing"
        ],
        [
          "{ type: kafka, topic: t }",
          "x.yaml:4:5: pipelines.a.deadLetters.brokers: expected the brokers, since the pipeline's source is not kafka, found nothing"
        ],
        ["{ type: store, topic: t }", 'x.yaml:4:33: pipelines.a.deadLetters.topic: expected one of type, found "topic"']
      ]
      for (const [deadLetters, sentence] of cases) assert.strictEqual(yield* said(pipeline(deadLetters)), sentence)
    })
  )

  it.effect("lead each pipeline's letters to their topic, and all others to the store", () =>
    Effect.gen(function* () {
      const cluster = yield* KafkaClientMemory.make()
      const loaded = yield* loadedOf(`pipelines:
  a: { source: { type: stdin }, deadLetters: { type: kafka, topic: a.dlq, brokers: "b:9092, c" } }
  b: { source: { type: generate }, deadLetters: { type: kafka, topic: a.dlq, brokers: ["c:9092", "b"] } }
  c: { source: { type: kafka, brokers: b, topic: t }, deadLetters: { type: kafka, topic: c.dlq } }
  d: { source: { type: generate }, deadLetters: { type: store } }
  e: { source: { type: generate } }
`)
      yield* Effect.gen(function* () {
        const letters = yield* DeadLetters
        const names = ["a", "b", "c", "d", "e"]
        for (const [i, name] of names.entries()) yield* letters.bury(letter(name, name, i))
        assert.deepStrictEqual(idsOf(yield* letters.list({})), names)
        // Pipelines with the same topic share it: it is read once.
        assert.strictEqual(cluster.calls("readAll"), 2)
        assert.deepStrictEqual(idsOf(yield* letters.list({ pipeline: "b" })), ["b"])
        assert.strictEqual(yield* letters.remove(names), 5)
      }).pipe(Effect.provide(layerOf(loaded, cluster)))
      assert.strictEqual(cluster.records("a.dlq", 0).length, 4)
      assert.strictEqual(cluster.records("c.dlq", 0).length, 2)
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )

  it.effect("say where an option of theirs cannot be used", () =>
    Effect.gen(function* () {
      const cluster = yield* KafkaClientMemory.make()
      const loaded = yield* loadedOf(pipeline("{ type: kafka, topic: t, brokers: b, tls: { ca: nowhere.pem } }"))
      const error = yield* Effect.flip(Layer.build(layerOf(loaded, cluster)))
      assert.match(
        error.message,
        /x\.yaml:4:66: pipelines\.a\.deadLetters\.tls\.ca: expected a file that can be read \(NotFound\)/
      )
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )
})

const layerOf = (loaded: Config.Loaded, { client }: KafkaClientMemory.KafkaMemory) =>
  App.deadLetters(loaded).pipe(Layer.provide(TemporaryStore.layer), Layer.provide(Layer.succeed(KafkaClient, client)))
