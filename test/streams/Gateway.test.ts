/** The rules of registering and receiving, on memory alone. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer } from "effect"
import { TestClock } from "effect/testing"
import { later } from "../../src/services/Ready.ts"
import { type SchemaLanguage, SchemaLanguages } from "../../src/services/SchemaLanguage.ts"
import { SchemaRegistry, type SchemaVersion } from "../../src/services/SchemaRegistry.ts"
import * as Gateway from "../../src/streams/Gateway.ts"
import * as Kit from "./GatewayKit.ts"

const made = Effect.gen(function* () {
  const { control, service } = Kit.registry()
  const services = Layer.merge(Kit.languages, Layer.succeed(SchemaRegistry, service))
  // Another process on the same registry.
  const other = yield* Effect.provide(Gateway.make, services)
  return { control, gateway: yield* Effect.provide(Gateway.make, services), other }
})

const fruits = { client: "SpongeBob", event: "Fruits" }
const schema = (...required: ReadonlyArray<string>) => JSON.stringify({ type: "object", required })
const json = (text: string) => ({ ...fruits, type: "json" as const, schema: text })
const value = (value: unknown) => ({ _tag: "Value" as const, value })

const checkIn = (gateway: Gateway.Gateway, ...asked: Parameters<Gateway.Gateway["check"]>) =>
  Effect.suspend(() => later(gateway.check(...asked)))

describe("Gateway", () => {
  it.effect("takes what is valid by the schema that is registered, and nothing else", () =>
    Effect.gen(function* () {
      const { gateway } = yield* made
      assert.strictEqual((yield* checkIn(gateway, fruits, undefined, value({})))._tag, "Unregistered")
      assert.strictEqual((yield* gateway.register(json(schema("fruit"))))._tag, "Registered")
      const valid = yield* checkIn(gateway, fruits, undefined, value({ fruit: "apple" }))
      assert.deepStrictEqual(valid._tag === "Valid" && [valid.value, valid.version.version], [{ fruit: "apple" }, 1])
      const checked = yield* checkIn(gateway, fruits, undefined, value({}))
      assert.deepStrictEqual(checked._tag === "Violations" && checked.violations, [
        { path: "payload", message: "must have required property 'fruit'" }
      ])
      assert.strictEqual(
        (yield* checkIn(gateway, { ...fruits, client: "Patrick" }, undefined, value({})))._tag,
        "Unregistered"
      )
      assert.strictEqual((yield* checkIn(gateway, fruits, 2, value({})))._tag, "Unregistered")
    })
  )

  it.effect("refuses a schema that does not compile, and keeps nothing of it", () =>
    Effect.gen(function* () {
      const { control, gateway } = yield* made
      for (const text of ['{"type":"random_type"}', "{", '{"pattern":"("}', '{"$ref":"http://example.com/s"}', "[]"]) {
        const registered = yield* gateway.register(json(text))
        assert.strictEqual(registered._tag, "Invalid", text)
        assert.isNotEmpty(registered._tag === "Invalid" && registered.reason)
      }
      assert.deepStrictEqual(control.stored, [])
    })
  )

  it.effect("lets a version follow only by the rule that was set, and by its own", () =>
    Effect.gen(function* () {
      const { gateway } = yield* made
      yield* gateway.register({ ...json(schema("a")), compatibility: "backward" })
      const refused = yield* gateway.register(json(schema("a", "b")))
      assert.deepStrictEqual(refused, { _tag: "Conflict", latest: 1, reasons: ["b is required now"] })
      const loose = yield* gateway.register({ ...json(schema("a", "b")), compatibility: "none" })
      assert.strictEqual(loose._tag, "Conflict")
      const full = yield* gateway.register({ ...json(schema()), compatibility: "forward" })
      assert.deepStrictEqual(full, { _tag: "Conflict", latest: 1, reasons: ["a is no longer required"] })
      const second = yield* gateway.register({ ...json(schema()), compatibility: "none" })
      assert.strictEqual(second._tag === "Registered" && second.version.version, 2)
      assert.strictEqual((yield* gateway.register(json(schema("c"))))._tag, "Registered")
      const language = yield* gateway.register({ ...json("{}"), type: "avro", compatibility: "full" })
      assert.deepStrictEqual(language._tag === "Conflict" && language.reasons, ["version 3 is json, and this one avro"])
    })
  )

  it.effect(
    "takes the latest version again as what it is, and refuses any second one where one is all there may be",
    () =>
      Effect.gen(function* () {
        const { control, gateway } = yield* made
        yield* gateway.register(json(schema("a")))
        assert.strictEqual((yield* gateway.register(json(schema("a"))))._tag, "Unchanged")
        assert.strictEqual((yield* gateway.register({ ...json(schema("a")), once: true }))._tag, "Exists")
        assert.strictEqual((yield* gateway.register({ ...json(schema("b")), once: true }))._tag, "Exists")
        assert.strictEqual(control.stored.length, 1)
      })
  )

  it.effect("checks again what somebody else has overtaken, and gives up after a while", () =>
    Effect.gen(function* () {
      const { control, gateway } = yield* made
      const overtake = (text: string, compatibility: SchemaVersion["compatibility"]) =>
        control.stored.push({
          ...json(text),
          compatibility,
          version: control.stored.length + 1,
          deprecated: false,
          registeredAt: 0
        })
      control.before = () => {
        control.before = () => {}
        overtake(schema(), "backward")
      }
      assert.strictEqual((yield* gateway.register(json(schema("a"))))._tag, "Conflict")
      control.before = () => {
        overtake(schema(), "none")
      }
      assert.strictEqual((yield* gateway.register({ ...json(schema()), compatibility: "full" }))._tag, "Away")
      assert.strictEqual(control.stored.length, 6)
      control.stored.length = 0
      assert.strictEqual((yield* gateway.register({ ...json(schema()), once: true }))._tag, "Exists")
    })
  )

  it.effect("refuses names that make no topic of their own", () =>
    Effect.gen(function* () {
      const { control, gateway } = yield* made
      const long = "x".repeat(124)
      const bad: ReadonlyArray<readonly [string, string]> = [
        ["a.b", "c"],
        ["", "c"],
        ["a", ""],
        ["a/b", "c"],
        ["a", "c d"],
        ["ä", "c"],
        ["a", "c\n"],
        ["a\n", "c"],
        [long, `${long}x`],
        [`${long}${long}`, "x"]
      ]
      for (const [client, event] of bad) {
        const subject = { client, event }
        const answers = [
          yield* gateway.register({ ...json("{}"), ...subject }),
          yield* checkIn(gateway, subject, undefined, value(1)),
          yield* gateway.get(subject, undefined),
          yield* gateway.versions(subject),
          yield* gateway.deprecate(subject, 1, true)
        ]
        assert.deepStrictEqual([...new Set(answers.map(({ _tag }) => _tag))], ["BadName"], `${client} ${event}`)
      }
      assert.strictEqual((yield* gateway.list("a.b"))._tag, "BadName")
      assert.strictEqual(control.asked, 0)
      for (const [client, event] of [
        ["a", "b.c"],
        [long, long],
        ["__proto__", "constructor"]
      ] as const) {
        assert.strictEqual((yield* gateway.register({ ...json("{}"), client, event }))._tag, "Registered")
        assert.strictEqual((yield* checkIn(gateway, { client, event }, undefined, value(1)))._tag, "Valid")
      }
      assert.strictEqual(
        (yield* checkIn(gateway, { client: "a", event: "b" }, undefined, value(1)))._tag,
        "Unregistered"
      )
    })
  )

  it.effect("asks the registry once a second at most for a schema in use, and sees others' versions by then", () =>
    Effect.gen(function* () {
      const { control, gateway, other } = yield* made
      yield* other.register(json(schema()))
      const gate = yield* Deferred.make<void>()
      control.gate = Deferred.await(gate)
      control.asked = 0
      const checks = yield* Effect.forEach(Array.from({ length: 50 }), () =>
        Effect.forkChild(checkIn(gateway, fruits, undefined, value({})), { startImmediately: true })
      )
      // The first to ask may go; the answer is for all.
      yield* Fiber.interrupt(checks[0]!)
      yield* Deferred.succeed(gate, undefined)
      for (const one of checks.slice(1)) assert.strictEqual((yield* Fiber.join(one))._tag, "Valid")
      assert.strictEqual(control.asked, 1)
      yield* other.register(json(schema("b")))
      control.asked = 0
      yield* TestClock.adjust("999 millis")
      assert.strictEqual((yield* checkIn(gateway, fruits, undefined, value({})))._tag, "Valid")
      assert.strictEqual(control.asked, 0)
      yield* TestClock.adjust("1 millis")
      assert.strictEqual((yield* checkIn(gateway, fruits, undefined, value({})))._tag, "Violations")
      yield* gateway.register(json(schema("c")))
      assert.strictEqual((yield* checkIn(gateway, fruits, undefined, value({ c: 1 })))._tag, "Valid")
      assert.strictEqual((yield* checkIn(gateway, fruits, 1, value({})))._tag, "Valid")
    })
  )

  it.effect("sees a first registration of somebody else at once", () =>
    Effect.gen(function* () {
      const { gateway, other } = yield* made
      assert.strictEqual((yield* checkIn(gateway, fruits, undefined, value({})))._tag, "Unregistered")
      yield* other.register(json(schema()))
      assert.strictEqual((yield* checkIn(gateway, fruits, undefined, value({})))._tag, "Valid")
    })
  )

  it.effect("lists, gives and deprecates versions, of one client each", () =>
    Effect.gen(function* () {
      const { gateway } = yield* made
      yield* gateway.register(json(schema()))
      yield* gateway.register(json(schema("a")))
      yield* gateway.register({ ...json("{}"), client: "Patrick" })
      const versions = yield* gateway.versions(fruits)
      assert.deepStrictEqual(versions._tag === "Found" && versions.value.map(({ version }) => version), [1, 2])
      const list = yield* gateway.list("SpongeBob")
      assert.deepStrictEqual(list._tag === "Found" && list.value.map(({ event, version }) => [event, version]), [
        ["Fruits", 2]
      ])
      assert.deepStrictEqual(yield* gateway.list("Squidward"), { _tag: "Found", value: [] })
      const latest = yield* gateway.deprecate(fruits, undefined, true)
      assert.deepStrictEqual(latest._tag === "Found" && [latest.value.version, latest.value.deprecated], [2, true])
      const checked = yield* checkIn(gateway, fruits, undefined, value({ a: 1 }))
      assert.strictEqual(checked._tag === "Valid" && checked.version.deprecated, true)
      assert.strictEqual((yield* gateway.deprecate(fruits, 9, true))._tag, "Unregistered")
    })
  )

  it.effect("reads the bytes of a language, and says what it cannot read", () =>
    Effect.gen(function* () {
      const { gateway } = yield* made
      const bytes = (...all: ReadonlyArray<number>) => ({ _tag: "Bytes" as const, bytes: Uint8Array.from(all) })
      yield* gateway.register({ ...json('"int"'), type: "avro" })
      const valid = yield* checkIn(gateway, fruits, undefined, bytes(7))
      assert.strictEqual(valid._tag === "Valid" && valid.value, 7)
      assert.strictEqual((yield* checkIn(gateway, fruits, undefined, bytes(200)))._tag, "Violations")
      assert.strictEqual((yield* checkIn(gateway, fruits, undefined, bytes(1, 2)))._tag, "Unreadable")
      yield* gateway.register({ ...json("{}"), event: "Json" })
      assert.strictEqual(
        (yield* checkIn(gateway, { ...fruits, event: "Json" }, undefined, bytes(1)))._tag,
        "Unreadable"
      )
    })
  )

  it.effect("says that the registry is away, and goes on when it is back", () =>
    Effect.gen(function* () {
      const { control, gateway } = yield* made
      control.away = true
      const answers = [
        yield* gateway.register(json("{}")),
        yield* checkIn(gateway, fruits, undefined, value({})),
        yield* gateway.get(fruits, undefined),
        yield* gateway.versions(fruits),
        yield* gateway.list("a"),
        yield* gateway.deprecate(fruits, 1, true)
      ]
      for (const one of answers) assert.strictEqual(one._tag === "Away" && one.retryable, true)
      control.away = false
      yield* gateway.register(json("{}"))
      assert.strictEqual((yield* checkIn(gateway, fruits, undefined, value({})))._tag, "Valid")
    })
  )

  it.effect("lets a client wait whose schemas keep taking long to judge, and nobody else", () => {
    const slow: SchemaLanguage = {
      type: "json",
      compile: () => Effect.delay(Effect.succeed({ check: () => [] }), "250 millis"),
      conflicts: () => Effect.succeed([])
    }
    return Effect.gen(function* () {
      const { service } = Kit.registry()
      const services = Layer.merge(
        Layer.succeed(SchemaRegistry, service),
        Layer.succeed(SchemaLanguages, { of: () => slow })
      )
      const gateway = yield* Effect.provide(Gateway.make, services)
      const register = Effect.fnUntraced(function* (client: string, event: string) {
        const registering = yield* Effect.forkChild(gateway.register({ client, event, type: "json", schema: "true" }), {
          startImmediately: true
        })
        yield* TestClock.adjust("250 millis")
        return yield* Fiber.join(registering)
      })
      assert.strictEqual((yield* register("a", "one"))._tag, "Registered")
      assert.strictEqual((yield* register("a", "two"))._tag, "Registered")
      const third = yield* register("a", "three")
      assert.match((third._tag === "Away" && third.told) || "", /take long to check: come again in 3 s/)
      assert.strictEqual((yield* register("b", "one"))._tag, "Registered")
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual((yield* register("a", "three"))._tag, "Registered")
    })
  })

  it.live("answers who comes after its end, too", () =>
    Effect.gen(function* () {
      const { service } = Kit.registry()
      const services = Layer.merge(Kit.languages, Layer.succeed(SchemaRegistry, service))
      const gateway = yield* Effect.scoped(Effect.provide(Gateway.make, services))
      const checked = yield* checkIn(gateway, fruits, undefined, value({}))
      assert.isTrue(checked._tag === "Away" && checked.retryable)
    })
  )
})
