/** Who may use a gateway: keys in real files, what is open and what says so, the limit per client, and the audit log. */
import { appendFileSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect, Exit, Redacted, Result, Schema } from "effect"
import { TestClock } from "effect/testing"
import * as GatewayKeyFile from "../../src/layers/GatewayKeyFile.ts"
import * as GatewayKeys from "../../src/layers/GatewayKeys.ts"
import { type Access, fields, type Headers, type Right, rights } from "../../src/services/GatewayAccess.ts"
import { bearer, check, folder, logged, make, outcome } from "./GatewayKit.ts"

/** A key in the file, as the command line makes one. */
const added = Effect.fnUntraced(function* (
  file: string,
  more: Partial<GatewayKeys.New> & { readonly revokedAt?: string } = {}
) {
  const { revokedAt, ...asked } = more
  const createdAt = yield* Clock.currentTimeMillis
  const { key, line } = GatewayKeys.make({ client: "acme", scopes: rights, createdAt, ...asked })
  yield* GatewayKeyFile.append(file, [revokedAt === undefined ? line : { ...line, revokedAt }])
  return { id: line.id, key: Redacted.value(key), line }
})

const keyed = Effect.gen(function* () {
  const path = yield* folder
  const file = join(path, "gateway.keys")
  const first = yield* added(file)
  const access = yield* make({ access: { keys: "gateway.keys" } }, { folder: path })
  return { access, file, first, path }
})

describe("keys", () => {
  it.effect("let their client in, by either header", () =>
    Effect.gen(function* () {
      const { access, first } = yield* keyed
      for (const headers of [
        bearer(first.key),
        { authorization: `bearer  ${first.key}` },
        { "x-api-key": first.key },
        { "x-api-key": first.key, authorization: "Basic YTpi" }
      ]) {
        for (const right of rights) assert.strictEqual(yield* outcome(access, headers, "acme", right), "in")
      }
    })
  )

  it.effect("need no fiber where nothing has changed", () =>
    Effect.gen(function* () {
      const { access, first } = yield* keyed
      assert.isUndefined(access.check(bearer(first.key), "acme", "send"))
    })
  )

  it.effect("let nobody in for another client, for another right, or after their end", () =>
    Effect.gen(function* () {
      const { access, file, first } = yield* keyed
      const reader = yield* added(file, { scopes: ["read"] })
      const short = yield* added(file, { expiresAt: 60_000 })
      const revoked = yield* added(file, { revokedAt: GatewayKeys.iso(0) })
      const all = yield* added(file, { client: "*", scopes: ["send"] })
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(yield* outcome(access, bearer(first.key), "other"), "403 the key is for another client")
      const register = yield* check(access, bearer(reader.key), "acme", "register")
      assert.deepStrictEqual(register, {
        status: 403,
        reason: "the key does not have the scope register",
        challenge: 'Bearer realm="sluice", error="insufficient_scope", scope="register"'
      })
      assert.strictEqual(yield* outcome(access, bearer(reader.key), "acme", "read"), "in")
      assert.strictEqual(yield* outcome(access, bearer(revoked.key)), "401 the key has been revoked")
      assert.strictEqual(yield* outcome(access, bearer(all.key), "anybody at all"), "in")
      assert.strictEqual(
        yield* outcome(access, bearer(all.key), "acme", "read"),
        "403 the key does not have the scope read"
      )
      assert.strictEqual(yield* outcome(access, bearer(short.key)), "in")
      yield* TestClock.adjust("57999 millis")
      assert.strictEqual(yield* outcome(access, bearer(short.key)), "in")
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(yield* outcome(access, bearer(short.key)), "401 the key has expired")
    })
  )

  it.effect("let in what names no client, by their right and their client's rate", () =>
    Effect.gen(function* () {
      const path = yield* folder
      const file = join(path, "gateway.keys")
      const first = yield* added(file, { scopes: ["send"] })
      const second = yield* added(file, { client: "other" })
      const access = yield* make({ access: { keys: file }, rate: { perSecond: 1, burst: 1 } }, { folder: path })
      assert.match(yield* outcome(access, {}, ""), /^401/)
      assert.strictEqual(
        yield* outcome(access, bearer(first.key), "", "read"),
        "403 the key does not have the scope read"
      )
      assert.strictEqual(yield* outcome(access, bearer(first.key), ""), "in")
      assert.match(yield* outcome(access, bearer(first.key), "acme"), /^429/)
      assert.strictEqual(yield* outcome(access, bearer(second.key), ""), "in")
    })
  )

  it.effect("are refused when they are garbage, and say nothing of it", () =>
    Effect.gen(function* () {
      const { access, file, first } = yield* keyed
      const other = yield* added(file)
      yield* TestClock.adjust("2 seconds")
      const secret = first.key.split("_").slice(2).join("_")
      const cases: ReadonlyArray<Headers> = [
        bearer(`slk_${other.id}_${secret}`),
        bearer(first.key.slice(0, -1)),
        bearer(`${first.key}A`),
        bearer(`${first.key.slice(0, -1)}${first.key.endsWith("A") ? "B" : "A"}`),
        bearer(first.key.toUpperCase()),
        bearer(`slk_${first.id}_`),
        bearer(`slk_${first.id}_${first.line.sha256}`),
        bearer("slk___proto___"),
        bearer("slk_constructor_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
        bearer("\u0000"),
        bearer("not.a.token"),
        bearer("x".repeat(8_000_000)),
        { "x-api-key": "" },
        { "x-api-key": `${first.key}, ${first.key}` },
        { "x-api-key": "slk_".repeat(100_000) },
        { "x-api-key": first.key, ...bearer(first.key) },
        { authorization: `Bearer ${first.key} ${first.key}` },
        { authorization: first.key },
        { authorization: `Basic ${Buffer.from(`a:${first.key}`).toString("base64")}` },
        { authorization: `Bearer${" ".repeat(1_000_000)}` },
        { cookie: first.key },
        {}
      ]
      for (const headers of cases) {
        const denial = yield* check(access, headers)
        const words = JSON.stringify(denial)
        assert.strictEqual(denial?.status, 401, words)
        assert.match(denial?.challenge ?? "", /^Bearer realm="sluice"/)
        assert.notInclude(words, first.id)
        assert.notInclude(words, secret)
      }
    })
  )

  it.effect("cannot be found by 10,000 tries, of known ids or unknown ones, which take as long", () =>
    Effect.gen(function* () {
      const { access, first } = yield* keyed
      const tries = Array.from({ length: 10_000 }, (_, i) => {
        const { key } = GatewayKeys.make({ client: "acme", scopes: rights, createdAt: 0 })
        const random = Redacted.value(key)
        return bearer(i % 2 === 0 ? random : `slk_${first.id}_${random.slice(-43)}`)
      })
      const micros: [Array<number>, Array<number>] = [[], []]
      for (const [i, headers] of tries.entries()) {
        const began = performance.now()
        const denial = access.check(headers, "acme", "send")
        micros[(i % 2) as 0 | 1].push((performance.now() - began) * 1000)
        assert.strictEqual((denial as { readonly status?: number } | undefined)?.status, 401)
      }
      const [unknown, known] = micros.map((all) => all.sort((a, b) => a - b)[all.length / 2]!) as [number, number]
      assert.isBelow(Math.max(unknown, known) / Math.min(unknown, known), 1.5, `${unknown} and ${known} microseconds`)
    })
  )

  it.effect("are stored as hashes only", () =>
    Effect.gen(function* () {
      const { file, first } = yield* keyed
      const text = readFileSync(file, "utf8")
      assert.notInclude(text, first.key.slice(-43))
      assert.deepStrictEqual(Object.keys(JSON.parse(text)), ["id", "client", "sha256", "scopes", "createdAt"])
    })
  )
})

describe("the file of keys", () => {
  it.effect("is read again within two seconds of a change, when somebody asks", () =>
    Effect.gen(function* () {
      const { access, file, first } = yield* keyed
      const next = yield* added(file)
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(yield* outcome(access, bearer(next.key)), "in")
      assert.strictEqual(yield* outcome(access, bearer(first.key)), "in")
      yield* GatewayKeyFile.append(file, [{ ...first.line, revokedAt: GatewayKeys.iso(0) }])
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(yield* outcome(access, bearer(first.key)), "401 the key has been revoked")
      assert.strictEqual(yield* outcome(access, bearer(next.key)), "in")
    })
  )

  it.effect("leaves the last good keys when it is broken, gone or torn, and says so once", () => {
    const { layer, lines } = logged()
    return Effect.gen(function* () {
      const { access, file, first } = yield* keyed
      const good = readFileSync(file, "utf8")
      const holds = Effect.fnUntraced(function* () {
        for (let i = 0; i < 3; i++) {
          yield* TestClock.adjust("2 seconds")
          assert.strictEqual(yield* outcome(access, bearer(first.key)), "in")
        }
      })
      appendFileSync(file, `{"id":"torn","sha256":"${"ab".repeat(16)}`)
      yield* holds()
      writeFileSync(file, Buffer.from([0xff, 0xfe, 0x00]))
      yield* holds()
      rmSync(file)
      yield* holds()
      assert.lengthOf(lines, 1)
      assert.match(lines[0]!, /orders: gateway\.keys: line 2 is no key.*what was read before still holds.*"WARN"/)
      assert.notInclude(lines[0], "abab")
      writeFileSync(`${file}.new`, good)
      renameSync(`${file}.new`, file)
      yield* holds()
      rmSync(file)
      yield* holds()
      assert.lengthOf(lines, 3)
      assert.match(lines[1]!, /gateway\.keys: can be read again.*"INFO"/)
      assert.match(lines[2]!, /there is no such file/)
    }).pipe(Effect.provide(layer))
  })

  it.effect("must be there at the start, whole", () =>
    Effect.gen(function* () {
      const path = yield* folder
      const missing = yield* Effect.flip(make({ access: { keys: "./gateway.keys" } }, { folder: path }))
      assert.deepStrictEqual(missing.problems, [
        {
          path: ["access", "keys"],
          expected: `a file of keys, such as sluice key add ${path}/gateway.keys <client> makes (there is no such file)`,
          found: "./gateway.keys"
        }
      ])
      const good = JSON.stringify(GatewayKeys.make({ client: "a", scopes: ["send"], createdAt: 0 }).line)
      for (const [text, words] of [
        [`${good}\n\nhush hush\n`, "line 3 is no key"],
        [good.replace('"send"', '"admin"'), "line 1 is no key"],
        [good.replace(/"sha256":"../, '"sha256":"'), "line 1 is no key"],
        [`${good.slice(0, -1)},"expiresAt":"soon"}`, "line 1 is no key"],
        ["\u0000", "line 1 is no key"]
      ] as const) {
        writeFileSync(join(path, "gateway.keys"), text)
        const broken = yield* Effect.flip(make({ access: { keys: "gateway.keys" } }, { folder: path }))
        assert.include(broken.problems[0]?.expected, words)
        assert.notInclude(JSON.stringify(broken), "hush")
      }
      const directory = yield* Effect.flip(make({ access: { keys: "." } }, { folder: path }))
      assert.include(directory.problems[0]?.expected, "cannot be read (EISDIR)")
    })
  )

  it("takes several keys of a client, and the last line of each, with the earliest end of all", () => {
    const { line } = GatewayKeys.make({ client: "a", scopes: ["send"], createdAt: 0 })
    const parsed = (...lines: ReadonlyArray<GatewayKeys.Line>) =>
      Result.getOrThrow(GatewayKeys.parse(lines.map((one) => `${JSON.stringify(one)}\n`).join("\r\n"))).get(line.id)!
    const revoked = { ...line, revokedAt: GatewayKeys.iso(5) }
    // A rotation that read the key before it was revoked, and wrote after that.
    const rotated = { ...line, expiresAt: GatewayKeys.iso(9_000) }
    assert.strictEqual(GatewayKeys.stateOf(parsed(revoked, rotated), 10), "Revoked")
    assert.strictEqual(GatewayKeys.stateOf(parsed(rotated, line), 8_999), "Good")
    assert.strictEqual(GatewayKeys.stateOf(parsed(rotated, line), 9_000), "Expired")
    assert.deepStrictEqual(parsed(line, { ...line, scopes: ["read"] }).line.scopes, ["read"])
  })

  it.effect("goes on behind a line that has no end", () =>
    Effect.gen(function* () {
      const file = join(yield* folder, "keys")
      const one = GatewayKeys.make({ client: "a", scopes: ["send"], createdAt: 0 }).line
      writeFileSync(file, JSON.stringify(one))
      yield* added(file)
      assert.strictEqual((yield* GatewayKeyFile.read(file)).size, 2)
    })
  )
})

describe("openness", () => {
  const hosts = {
    loopback: ["127.0.0.1", "127.255.0.9", "::1", "[::1]", "localhost", "LOCALHOST"],
    public: [
      "0.0.0.0",
      "::",
      "",
      "10.0.0.1",
      "127.0.0.1.example",
      "127.0.0",
      "127.0.0.256",
      "x127.0.0.1",
      "localhost.example",
      "::ffff:8.8.8.8",
      "gateway",
      undefined
    ]
  }
  const anything: ReadonlyArray<Headers> = [{}, bearer("whatever"), { "x-api-key": "slk_x" }]

  it.effect("is the default only where no other machine can come, and says so once", () =>
    Effect.gen(function* () {
      for (const host of hosts.loopback) {
        const { layer, lines } = logged()
        yield* Effect.gen(function* () {
          for (const options of [{}, { access: {} }]) {
            lines.length = 0
            const access = yield* make(options, { host })
            for (const headers of anything) {
              for (const right of rights) assert.strictEqual(yield* outcome(access, headers, "x", right), "in")
            }
            assert.lengthOf(lines, 1)
            assert.match(lines[0]!, /orders: everybody on this machine may use the gateway.*"WARN"/)
          }
        }).pipe(Effect.provide(layer))
      }
      for (const host of hosts.public) {
        const { problems } = yield* Effect.flip(make({}, { host }))
        assert.deepStrictEqual(problems[0]?.path, ["access"], `${host}`)
        assert.match(problems[0]?.expected ?? "", /^keys or jwt, since .*; or open: true, if everybody may use/)
      }
    })
  )

  it.effect("elsewhere needs its word, and warns", () => {
    const { layer, lines } = logged()
    return Effect.gen(function* () {
      const access = yield* make({ access: { open: true } }, { host: "0.0.0.0" })
      for (const headers of anything) assert.strictEqual(yield* outcome(access, headers), "in")
      assert.lengthOf(lines, 1)
      assert.match(lines[0]!, /everybody who can reach 0\.0\.0\.0 may use the gateway.*"WARN"/)
    }).pipe(Effect.provide(layer))
  })

  it.effect("contradicts keys, and open: false wants some", () =>
    Effect.gen(function* () {
      const path = yield* folder
      yield* added(join(path, "keys"))
      const both = yield* Effect.flip(make({ access: { open: true, keys: "keys" } }, { folder: path }))
      assert.deepStrictEqual(
        both.problems.map(({ found, path }) => [path, found]),
        [[["access", "open"], "both"]]
      )
      const none = yield* Effect.flip(make({ access: { open: false } }))
      assert.deepStrictEqual(
        none.problems.map(({ found, path }) => [path, found]),
        [[["access", "open"], "neither"]]
      )
      const closed = yield* make({ access: { open: false, keys: "keys" } }, { folder: path, host: "0.0.0.0" })
      assert.strictEqual(yield* outcome(closed, {}), "401 a key is needed")
    })
  )
})

describe("the options", () => {
  const decode = Schema.decodeUnknownExit(Schema.Struct(fields), { onExcessProperty: "error" })

  it("have defaults where they may, and take the text of variables", () => {
    const jwt = { jwks: "https://idp.example/keys" }
    assert.deepStrictEqual(decode({}), Exit.succeed({}))
    assert.deepStrictEqual(
      decode({ access: { jwt, open: "false" }, rate: { perSecond: "2.5", burst: "10" } }),
      Exit.succeed({
        access: { jwt: { ...jwt, clientClaim: "sub", scopeClaim: "scope" }, open: false },
        rate: { perSecond: 2.5, burst: 10 }
      })
    )
    for (const wrong of [
      { access: { key: "x" } },
      { access: { open: "yes" } },
      { access: { jwt: {} } },
      { access: { jwt: { ...jwt, algorithms: ["none"] } } },
      { rate: { perSecond: 0 } },
      { rate: { burst: 1 } },
      { rate: { perSecond: 1, burst: 0 } }
    ]) {
      assert.isTrue(Exit.isFailure(decode(wrong)), JSON.stringify(wrong))
    }
  })
})

describe("the limit", () => {
  it.effect("counts for each client what was let in, and says when to come again", () =>
    Effect.gen(function* () {
      const { file, first, path } = yield* keyed
      const other = yield* added(file, { client: "other" })
      const options = { access: { keys: "gateway.keys" }, rate: { perSecond: 0.5, burst: 2 } }
      const access = yield* make(options, { folder: path })
      const send = (headers: Headers, client = "acme") => check(access, headers, client)
      // What does not get in costs nothing.
      for (let i = 0; i < 10; i++) assert.strictEqual((yield* send(bearer("slk_no")))?.status, 401)
      for (let i = 0; i < 10; i++) assert.strictEqual((yield* send(bearer(other.key)))?.status, 403)
      assert.isUndefined(yield* send(bearer(first.key)))
      assert.isUndefined(yield* send(bearer(first.key)))
      const denial = { status: 429, reason: "too many requests of this client" } as const
      assert.deepStrictEqual(yield* send(bearer(first.key)), { ...denial, retryAfterSeconds: 2 })
      assert.isUndefined(yield* send(bearer(other.key), "other"))
      yield* TestClock.adjust("1001 millis")
      assert.deepStrictEqual(yield* send(bearer(first.key)), { ...denial, retryAfterSeconds: 1 })
      yield* TestClock.adjust("999 millis")
      assert.isUndefined(yield* send(bearer(first.key)))
      assert.strictEqual((yield* send(bearer(first.key)))?.status, 429)
    })
  )

  it.effect("is off by default, is one second's worth where no burst is said, and holds for an open gateway", () =>
    Effect.gen(function* () {
      const unlimited = yield* make({})
      for (let i = 0; i < 5_000; i++) assert.isUndefined(unlimited.check({}, "a", "send"))
      const limited = yield* make({ rate: { perSecond: 2.5 } })
      const statuses = Array.from({ length: 5 }, () => limited.check({}, "a", "send") === undefined)
      assert.deepStrictEqual(statuses, [true, true, true, false, false])
      yield* TestClock.adjust(Duration.millis(400))
      assert.isUndefined(limited.check({}, "a", "send"))
    })
  )
})

describe("the audit log", () => {
  const attempt = Effect.fnUntraced(function* (access: Access, headers: Headers, right: Right = "register") {
    const denial = yield* check(access, headers, "acme", right)
    const outcome = denial === undefined ? "registered" : "denied"
    yield* access.audit({ headers, client: "acme", event: "order.paid", version: 3, outcome, remote: "10.1.2.3" })
  })

  it.effect("has one line for each attempt, that says who it was", () => {
    const { layer, lines } = logged()
    return Effect.gen(function* () {
      const { access, file, first } = yield* keyed
      const reader = yield* added(file, { scopes: ["read"] })
      yield* TestClock.adjust("2 seconds")
      yield* attempt(access, bearer(first.key))
      yield* attempt(access, bearer(reader.key))
      yield* attempt(access, bearer(`slk_${first.id}_${"A".repeat(43)}`))
      const open = yield* make({ access: { open: true } })
      lines.pop()
      yield* attempt(open, bearer(first.key))
      const told = lines.map((line) => JSON.parse(line))
      assert.deepStrictEqual(
        told.map(({ level, message }) => `${level} ${message}`),
        [
          `INFO orders: registration of acme/order.paid version 3: registered, by key ${first.id} from 10.1.2.3`,
          `INFO orders: registration of acme/order.paid version 3: denied, by key ${reader.id} from 10.1.2.3`,
          "INFO orders: registration of acme/order.paid version 3: denied, by nobody known from 10.1.2.3",
          "INFO orders: registration of acme/order.paid version 3: registered, by anybody from 10.1.2.3"
        ]
      )
      assert.deepStrictEqual(told[0].annotations, {
        audit: "registration",
        pipeline: "orders",
        who: `key ${first.id}`,
        client: "acme",
        event: "order.paid",
        outcome: "registered",
        version: 3,
        remote: "10.1.2.3"
      })
      for (const line of lines) assert.notInclude(line, first.key.slice(-43))
    }).pipe(Effect.provide(layer))
  })

  it.effect("stays one line of bounded length, whatever names hold", () => {
    const { layer, lines } = logged()
    return Effect.gen(function* () {
      const access = yield* make({ access: { open: true } })
      lines.length = 0
      const nasty = `a\nINFO forged\r\u001b[2J\u202e\u2028\u200b${"z".repeat(100_000)}`
      yield* access.audit({ headers: {}, client: nasty, event: nasty, outcome: nasty, remote: nasty })
      assert.lengthOf(lines, 1)
      assert.isBelow(lines[0]!.length, 4000)
      const { annotations, message } = JSON.parse(lines[0]!)
      for (const text of [message, ...Object.values(annotations)]) {
        assert.notMatch(String(text), /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u)
      }
      assert.include(message, "a\\nINFO forged\\r\\u001b[2J\\u202e\\u2028\\u{200b}zzz")
    }).pipe(Effect.provide(layer))
  })
})
