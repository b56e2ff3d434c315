/** What every registry of schemas keeps to. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, type Layer, Option } from "effect"
import { TestClock } from "effect/testing"
import {
  NameTaken,
  type NewVersion,
  SchemaConflict,
  SchemaRegistry,
  SchemaRegistryError
} from "../../src/services/SchemaRegistry.ts"

export const version = (client: string, event: string, rest: Partial<NewVersion> = {}): NewVersion => ({
  client,
  event,
  type: "json",
  schema: '{"type":"object"}',
  compatibility: "none",
  ...rest
})

/** Adds after whatever is the last, as often as it takes. */
export const addAfterAll = (one: NewVersion): Effect.Effect<number, NameTaken | SchemaRegistryError, SchemaRegistry> =>
  Effect.gen(function* () {
    const registry = yield* SchemaRegistry
    const last = yield* registry.latest(one)
    let latest = Option.match(last, { onNone: () => 0, onSome: ({ version }) => version })
    for (;;) {
      const added = yield* Effect.result(registry.add(one, latest))
      if (added._tag === "Success") return added.success.version
      if (!(added.failure instanceof SchemaConflict)) return yield* added.failure
      assert.isAbove(added.failure.latest, latest)
      latest = added.failure.latest
    }
  })

/** 341 characters of three bytes that no compression makes smaller. */
const long = Array.from({ length: 341 }, (_, i) => String.fromCodePoint(0x4e00 + ((i * 7919 + 13) % 20_000))).join("")

const hostile = [
  "'; DROP TABLE schemas; DROP TABLE sluice_schemas; --",
  "it's",
  '"quoted" `ticks` [brackets]',
  "back\\slash \\' \\u0000 %s % _ $1 ? :name @p ${x} {{x}}",
  "__proto__",
  "../../etc/passwd",
  "line\nbreak\ttab\r\u0001\u001f\u007f",
  "\u{1f600} \u{10ffff} \ufeff \ufffd",
  "é",
  "e\u0301",
  "E\u0301",
  "עברית العربية \u202e",
  " ",
  "",
  long
]

export const suite = <E>(name: string, layer: Layer.Layer<SchemaRegistry, E>): void => {
  describe(`${name} as schema registry`, () => {
    it.effect("keeps what was registered, version by version", () =>
      Effect.gen(function* () {
        const registry = yield* SchemaRegistry
        const subject = { client: "c", event: "e" }
        assert.isTrue(Option.isNone(yield* registry.latest(subject)))
        assert.deepStrictEqual(yield* registry.versions(subject), [])
        yield* TestClock.setTime(1_700_000_000_123)
        const one = yield* registry.add(version("c", "e", { compatibility: "full" }), 0)
        const expected = { registeredAt: 1_700_000_000_123, deprecated: false, version: 1 }
        assert.deepStrictEqual(one, { ...version("c", "e", { compatibility: "full" }), ...expected })
        yield* TestClock.adjust(5)
        const two = yield* registry.add(version("c", "e", { type: "avro", schema: ' "int" ' }), 1)
        const three = yield* registry.add(version("c", "e", { type: "protobuf", compatibility: "backward" }), 2)
        assert.strictEqual(two.registeredAt, 1_700_000_000_128)
        assert.deepStrictEqual(yield* registry.versions(subject), [one, two, three])
        assert.deepStrictEqual(yield* registry.latest(subject), Option.some(three))
        for (const known of [one, two, three]) {
          assert.deepStrictEqual(yield* registry.get(subject, known.version), Option.some(known))
        }
        for (const none of [0, -1, 4, 1.5, 2 ** 31, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY]) {
          assert.deepStrictEqual(yield* registry.get(subject, none), Option.none(), `${none}`)
          assert.isFalse(yield* registry.deprecate(subject, none, true), `${none}`)
        }
      }).pipe(Effect.provide(layer))
    )

    it.effect("adds only after the version that is the last, and says which that is", () =>
      Effect.gen(function* () {
        const registry = yield* SchemaRegistry
        const conflict = (latest: number) => Effect.flip(registry.add(version("c", "e"), latest))
        assert.deepStrictEqual(yield* conflict(1), new SchemaConflict({ latest: 0 }))
        yield* registry.add(version("c", "e"), 0)
        for (const wrong of [0, 2, 7, -1, 0.5, 2 ** 31 - 1, 2 ** 40, Number.NaN]) {
          assert.deepStrictEqual(yield* conflict(wrong), new SchemaConflict({ latest: 1 }), `${wrong}`)
        }
        assert.strictEqual((yield* registry.versions({ client: "c", event: "e" })).length, 1)
      }).pipe(Effect.provide(layer))
    )

    it.effect("takes one of fifty that come at once after the same version", () =>
      Effect.gen(function* () {
        const registry = yield* SchemaRegistry
        for (const latest of [0, 1]) {
          const results = yield* Effect.forEach(
            Array.from({ length: 50 }, (_, i) => version("c", "e", { schema: `${latest} ${i}` })),
            (one) => Effect.result(registry.add(one, latest)),
            { concurrency: "unbounded" }
          )
          const won = results.flatMap((one) => (one._tag === "Success" ? [one.success] : []))
          const lost = results.flatMap((one) => (one._tag === "Failure" ? [one.failure] : []))
          assert.strictEqual(won.length, 1)
          assert.strictEqual(won[0]!.version, latest + 1)
          for (const one of lost) assert.deepStrictEqual(one, new SchemaConflict({ latest: latest + 1 }))
          assert.deepStrictEqual(yield* registry.latest({ client: "c", event: "e" }), Option.some(won[0]!))
        }
      }).pipe(Effect.provide(layer))
    )

    it.effect("numbers without gaps what fifty fibers add one after another", () =>
      Effect.gen(function* () {
        const registry = yield* SchemaRegistry
        const numbers = Array.from({ length: 50 }, (_, i) => i + 1)
        const added = yield* Effect.forEach(
          numbers,
          (i) => Effect.map(addAfterAll(version("c", "e", { schema: `${i}` })), (number) => [number, `${i}`] as const),
          { concurrency: "unbounded" }
        )
        const versions = yield* registry.versions({ client: "c", event: "e" })
        assert.deepStrictEqual(
          versions.map(({ version }) => version),
          numbers
        )
        assert.deepStrictEqual(new Map(versions.map((one) => [one.version, one.schema])), new Map(added))
      }).pipe(Effect.provide(layer))
    )

    it.effect("takes no event whose topic is another's up to . and _, of whatever client", () =>
      Effect.gen(function* () {
        const registry = yield* SchemaRegistry
        const first = [
          ["u_v", "w"],
          ["c", "order.paid"],
          ["a", "b"]
        ] as const
        for (const [client, event] of first) yield* registry.add(version(client, event), 0)
        const taken = [
          ["u", "v_w"],
          ["u", "v.w"],
          ["c", "order_paid"],
          ["c_order", "paid"]
        ] as const
        for (const [client, event] of taken) {
          assert.instanceOf(
            yield* Effect.flip(registry.add(version(client, event), 0)),
            NameTaken,
            `${client} ${event}`
          )
          assert.deepStrictEqual(yield* registry.latest({ client, event }), Option.none())
        }
        assert.deepStrictEqual(
          yield* Effect.flip(registry.add(version("u", "v_w"), 1)),
          new SchemaConflict({ latest: 0 })
        )
        assert.deepStrictEqual(
          yield* Effect.flip(registry.add(version("u_v", "w"), 0)),
          new SchemaConflict({ latest: 1 })
        )
        const others = [
          ["U", "v_w"],
          ["u", "v-w"],
          ["u-v", "w"],
          ["c", "orderpaid"]
        ] as const
        for (const [client, event] of others) yield* registry.add(version(client, event), 0)
        for (const [client, event] of first) {
          assert.strictEqual((yield* registry.add(version(client, event), 1)).version, 2)
        }
      }).pipe(Effect.provide(layer))
    )

    it.effect("takes one of forty that come at once with the same topic up to . and _", () =>
      Effect.gen(function* () {
        const registry = yield* SchemaRegistry
        const names = ["u_v/w", "u/v_w", "u/v.w", "u_v/w"].map((name) => name.split("/"))
        const results = yield* Effect.forEach(
          Array.from({ length: 40 }, (_, i) => version(names[i % 4]![0]!, names[i % 4]![1]!)),
          (one) => Effect.result(registry.add(one, 0)),
          { concurrency: "unbounded" }
        )
        const won = results.flatMap((one) => (one._tag === "Success" ? [one.success] : []))
        assert.strictEqual(won.length, 1)
        for (const [i, one] of results.entries()) {
          if (one._tag === "Success") continue
          const [client, event] = names[i % 4]!
          const same = client === won[0]!.client && event === won[0]!.event
          assert.strictEqual(one.failure._tag, same ? "SchemaConflict" : "NameTaken")
        }
      }).pipe(Effect.provide(layer))
    )

    it.effect("lists the latest of each event of a client by name, and nothing of other clients", () =>
      Effect.gen(function* () {
        const registry = yield* SchemaRegistry
        // In the order of code points: neither that of a language nor that of 16-bit units.
        const events = ["", "10", "9", "B", "a", "ab", "b", "~", "Ä", "\uffee", "\u{10000}", "\u{1f600}"]
        for (const event of [...events].reverse()) {
          yield* registry.add(version("c", event, { schema: "old" }), 0)
          yield* registry.add(version("c", event, { schema: "new" }), 1)
        }
        yield* registry.add(version("C", "a"), 0)
        yield* registry.add(version("c ", "a"), 0)
        yield* registry.add(version("", "ca"), 0)
        const listed = yield* registry.list("c")
        assert.deepStrictEqual(
          listed.map(({ event, schema, version }) => [event, schema, version]),
          events.map((event) => [event, "new", 2])
        )
        assert.deepStrictEqual(
          (yield* registry.list("C")).map(({ client, event, version }) => [client, event, version]),
          [["C", "a", 1]]
        )
        assert.deepStrictEqual(yield* registry.list("nobody"), [])
        assert.strictEqual((yield* registry.versions({ client: "c ", event: "a" })).length, 1)
        assert.deepStrictEqual(yield* registry.versions({ client: "ca", event: "" }), [])
      }).pipe(Effect.provide(layer))
    )

    it.effect("marks a version as deprecated, and takes it back", () =>
      Effect.gen(function* () {
        const registry = yield* SchemaRegistry
        const subject = { client: "c", event: "e" }
        const marked = Effect.map(registry.versions(subject), (all) => all.map(({ deprecated }) => deprecated))
        assert.isFalse(yield* registry.deprecate(subject, 1, true))
        yield* registry.add(version("c", "e"), 0)
        yield* registry.add(version("c", "e"), 1)
        yield* registry.add(version("c", "other"), 0)
        assert.isTrue(yield* registry.deprecate(subject, 1, true))
        assert.isTrue(yield* registry.deprecate(subject, 1, true))
        assert.deepStrictEqual(yield* marked, [true, false])
        assert.isTrue(yield* registry.deprecate(subject, 2, true))
        yield* registry.add(version("c", "e"), 2)
        assert.deepStrictEqual(yield* marked, [true, true, false])
        assert.isTrue(yield* registry.deprecate(subject, 1, false))
        assert.deepStrictEqual(yield* marked, [false, true, false])
        assert.isFalse(Option.getOrThrow(yield* registry.latest({ client: "c", event: "other" })).deprecated)
      }).pipe(Effect.provide(layer))
    )

    it.effect("keeps hostile names and schemas as they are, each for itself", () =>
      Effect.gen(function* () {
        const registry = yield* SchemaRegistry
        for (const text of hostile) yield* registry.add(version(text, text, { schema: text }), 0)
        for (const text of hostile) {
          const subject = { client: text, event: text }
          const [only, ...more] = yield* registry.versions(subject)
          assert.deepStrictEqual([only!.client, only!.event, only!.schema, more], [text, text, text, []])
          assert.deepStrictEqual(yield* registry.latest(subject), Option.some(only!))
          assert.deepStrictEqual(yield* registry.list(text), [only!])
          assert.isTrue(yield* registry.deprecate(subject, 1, true))
        }
      }).pipe(Effect.provide(layer))
    )

    it.effect("keeps a schema of 1 MiB as it is", () =>
      Effect.gen(function* () {
        const registry = yield* SchemaRegistry
        const unit = `${long}\u{1f600}'"\\`
        const text = unit.repeat(Math.floor((1024 * 1024) / Buffer.byteLength(unit)))
        const schema = text + "x".repeat(1024 * 1024 - Buffer.byteLength(text))
        yield* registry.add(version("c", "e", { schema }), 0)
        assert.isTrue(Option.getOrThrow(yield* registry.latest({ client: "c", event: "e" })).schema === schema)
        const error = yield* Effect.flip(registry.add(version("c", "e", { schema: `${schema}x` }), 1))
        assert.instanceOf(error, SchemaRegistryError)
        assert.match(error.message, /^the schema is longer than 1048576 bytes$/)
      }).pipe(Effect.provide(layer))
    )

    it.effect("refuses what not every store can hold, and finds nothing there", () =>
      Effect.gen(function* () {
        const registry = yield* SchemaRegistry
        const refused: ReadonlyArray<readonly [Partial<NewVersion>, RegExp]> = [
          [{ client: "a\0b" }, /^the client's name holds the character U\+0000/],
          [{ event: "\0" }, /^the event's name holds the character U\+0000/],
          [{ schema: '{"a":"\0"}' }, /^the schema holds the character U\+0000/],
          [{ event: "\ud83d" }, /^the event's name is not well-formed Unicode/],
          [{ schema: "\ude00" }, /^the schema is not well-formed Unicode/],
          [{ client: `${long}xx` }, /^the client's name is longer than 1024 bytes$/]
        ]
        for (const [rest, reason] of refused) {
          const one = version("a", "b", rest)
          const error = yield* Effect.flip(registry.add(one, 0))
          assert.instanceOf(error, SchemaRegistryError)
          assert.match(error.message, reason)
          assert.isFalse(error.retryable)
          assert.deepStrictEqual(yield* registry.latest(one), Option.none())
          assert.deepStrictEqual(yield* registry.get(one, 1), Option.none())
          assert.deepStrictEqual(yield* registry.versions(one), [])
          assert.deepStrictEqual(yield* registry.list(one.client), [])
          assert.isFalse(yield* registry.deprecate(one, 1, true))
        }
      }).pipe(Effect.provide(layer))
    )
  })
}
