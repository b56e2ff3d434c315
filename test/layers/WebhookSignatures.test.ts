/** Signatures of webhooks: what their makers document, rotation, replays, tricks with headers, and bodies that were changed. */
import { createHmac } from "node:crypto"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { TestClock } from "effect/testing"
import { github, hmac, make, outcome, standard, stripe } from "./WebhookKit.ts"

const wrongBody = "body: the signature is not that of this body"

describe("a signature of GitHub", () => {
  /** Source: https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries#testing-the-webhook-payload-validation */
  const documented = {
    secret: "It's a Secret to Everybody",
    body: "Hello, World!",
    headers: {
      "x-hub-signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    }
  }
  const auth = make({ auth: { type: "github", secret: documented.secret } })

  it.effect("is the documented one", () =>
    Effect.gen(function* () {
      assert.strictEqual(outcome(yield* auth, documented), "in")
    })
  )

  it.effect("is no other, for no other body", () =>
    Effect.gen(function* () {
      const { body, headers } = documented
      const signature = headers["x-hub-signature-256"]
      assert.strictEqual(outcome(yield* auth, { headers, body: "Hello, World?" }), wrongBody)
      assert.strictEqual(outcome(yield* auth, { headers, body: `${body}\n` }), wrongBody)
      assert.strictEqual(outcome(yield* auth, { headers, body: "" }), wrongBody)
      assert.strictEqual(outcome(yield* auth, { body, headers: github("another", body) }), wrongBody)
      assert.strictEqual(
        outcome(yield* auth, {
          body,
          headers: { "x-hub-signature-256": signature.toUpperCase().replace("SHA", "sha") }
        }),
        "in"
      )
      const malformed = [
        "",
        "sha256=",
        signature.slice(7),
        signature.slice(0, -1),
        `${signature}0`,
        ` ${signature}`,
        `${signature.slice(0, -1)}g`,
        `${signature}, ${signature}`,
        signature.replace("sha256", "sha1"),
        // A Unicode digit is not one of a signature.
        `${signature.slice(0, -1)}\u0667`,
        `sha256=${"\u0130".repeat(64)}`
      ]
      for (const value of malformed) {
        assert.strictEqual(
          outcome(yield* auth, { body, headers: { "x-hub-signature-256": value } }),
          "head: the header x-hub-signature-256 is not sha256=<sha256 in hex>",
          value
        )
      }
      assert.strictEqual(outcome(yield* auth, { body }), "head: the header x-hub-signature-256 is missing")
      const older = { "x-hub-signature": `sha1=${hmac(documented.secret, body, "sha1").toString("hex")}` }
      assert.strictEqual(
        outcome(yield* auth, { body, headers: older }),
        "head: the header x-hub-signature-256 is missing"
      )
    })
  )

  it.effect("is good by either of two secrets while one is replaced", () =>
    Effect.gen(function* () {
      const rotating = yield* make({ auth: { type: "github", secrets: ["new", "old"] } })
      for (const secret of ["new", "old"])
        assert.strictEqual(outcome(rotating, { body: "x", headers: github(secret, "x") }), "in")
      assert.strictEqual(outcome(rotating, { body: "x", headers: github("older", "x") }), wrongBody)
    })
  )
})

/** Source: https://github.com/standard-webhooks/standard-webhooks (the tests of its libraries). */
describe("a signature of Standard Webhooks", () => {
  const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
  const key = Buffer.from(secret.slice(6), "base64")
  const id = "msg_p5jXN8AQM9LWM0D4loKWxJek"
  const body = '{"test": 2432232314}'
  const seconds = 1614265330
  const headers = {
    "webhook-id": id,
    "webhook-timestamp": `${seconds}`,
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
  }
  const auth = Effect.andThen(TestClock.setTime(seconds * 1000), make({ auth: { type: "standard-webhooks", secret } }))

  it.effect("is the documented one, also among others", () =>
    Effect.gen(function* () {
      const good = headers["webhook-signature"]
      assert.strictEqual(outcome(yield* auth, { body, headers }), "in")
      const other = "Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc="
      const several = `v1,${other} v2,${other} v1a,x ${good} v1,${other}`
      assert.strictEqual(outcome(yield* auth, { body, headers: { ...headers, "webhook-signature": several } }), "in")
      assert.strictEqual(
        outcome(yield* auth, { body, headers: { ...headers, "webhook-signature": `v1,${other}` } }),
        wrongBody
      )
    })
  )

  it.effect("needs its three headers, well formed", () =>
    Effect.gen(function* () {
      for (const name of Object.keys(headers)) {
        const { [name as "webhook-id"]: _, ...others } = headers
        assert.strictEqual(
          outcome(yield* auth, { body, headers: others as never }),
          `head: the header ${name} is missing`
        )
      }
      const good = headers["webhook-signature"]
      const none = "head: the header webhook-signature has no v1,<sha256 in base64>"
      const cases: ReadonlyArray<readonly [string, string]> = [
        ["v1,dawfeoifkpqwoekfpqoekf", none],
        [good.slice(0, 8), none],
        ["v1,", none],
        ["", none],
        [good.replace("v1", "v2"), none],
        [good.replace("v1", "V1"), none],
        [good.replace("=", ""), none],
        [good.replace("OE=", "OF="), none],
        [`${good}, ${good}`, "head: the header webhook-signature came twice"]
      ]
      for (const [value, said] of cases) {
        assert.strictEqual(
          outcome(yield* auth, { body, headers: { ...headers, "webhook-signature": value } }),
          said,
          value
        )
      }
      for (const time of ["hello", "", "1614265330.5", "-1", "1e9", "0x10", "\u0661", `${seconds}, ${seconds}`]) {
        assert.strictEqual(
          outcome(yield* auth, { body, headers: { ...headers, "webhook-timestamp": time } }),
          "head: the time of the signature is not in seconds since 1970",
          time
        )
      }
    })
  )

  it.effect("covers the id and the time", () =>
    Effect.gen(function* () {
      assert.strictEqual(outcome(yield* auth, { body, headers: { ...headers, "webhook-id": `${id}x` } }), wrongBody)
      assert.strictEqual(
        outcome(yield* auth, { body, headers: { ...headers, "webhook-timestamp": `${seconds + 1}` } }),
        wrongBody
      )
      assert.strictEqual(
        outcome(yield* auth, { body, headers: { ...headers, "webhook-timestamp": `0${seconds}` } }),
        wrongBody
      )
    })
  )

  it.effect("is refused outside its window, before and after", () =>
    Effect.gen(function* () {
      const late = "head: the time of the signature is more than 300 s from now"
      const standing = yield* auth
      const at = (offset: number) =>
        Effect.map(TestClock.setTime((seconds + offset) * 1000), () => outcome(standing, { body, headers }))
      assert.strictEqual(yield* at(300), "in")
      assert.strictEqual(yield* at(301), late)
      assert.strictEqual(yield* at(-300), "in")
      assert.strictEqual(yield* at(-301), late)
      yield* TestClock.setTime(seconds * 1000 + 300_001)
      assert.strictEqual(outcome(standing, { body, headers }), late)
      yield* TestClock.setTime((seconds + 3000) * 1000)
      const patient = yield* make({ auth: { type: "standard-webhooks", secret, tolerance: "1 hour" } })
      assert.strictEqual(outcome(patient, { body, headers }), "in")
    })
  )

  it.effect("takes a secret as text, and several while one is replaced", () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(seconds * 1000)
      const rotating = yield* make({ auth: { type: "standard-webhooks", secrets: ["just text", secret] } })
      for (const one of ["just text", key]) {
        assert.strictEqual(outcome(rotating, { body, headers: standard(one, id, seconds, body) }), "in")
      }
      assert.strictEqual(outcome(rotating, { body, headers: standard("other", id, seconds, body) }), wrongBody)
    })
  )
})

describe("a signature of Stripe", () => {
  const body = '{"id":"evt_1","object":"event"}'
  const seconds = 1_700_000_000
  const auth = Effect.andThen(
    TestClock.setTime(seconds * 1000),
    make({ auth: { type: "stripe", secret: "whsec_test" } })
  )

  it.effect("covers the time and the body, by the secret as it is written", () =>
    Effect.gen(function* () {
      const headers = stripe(["whsec_test"], seconds, body)
      assert.strictEqual(outcome(yield* auth, { body, headers }), "in")
      assert.strictEqual(outcome(yield* auth, { body: `${body} `, headers }), wrongBody)
      const moved = { "stripe-signature": headers["stripe-signature"].replace(`${seconds}`, `${seconds + 1}`) }
      assert.strictEqual(outcome(yield* auth, { body, headers: moved }), wrongBody)
    })
  )

  it.effect("may stand beside others, and those of other schemes do not count", () =>
    Effect.gen(function* () {
      const good = stripe(["whsec_test"], seconds, body)["stripe-signature"]
      const v1 = good.split(",")[1]!
      const cases: ReadonlyArray<readonly [string, string]> = [
        [stripe(["rolled", "whsec_test"], seconds, body)["stripe-signature"], "in"],
        [`${good},v0=${"0".repeat(64)}`, "in"],
        [`t=${seconds},v1=short,${v1}`, "in"],
        [`t=${seconds},${v1.replace("v1", "v0")}`, "head: the header stripe-signature has no v1=<sha256 in hex>"],
        [`t=${seconds}`, "head: the header stripe-signature has no v1=<sha256 in hex>"],
        [v1, "head: the header stripe-signature does not have one t=<seconds>"],
        [`t=${seconds},${good}`, "head: the header stripe-signature does not have one t=<seconds>"],
        [`t=soon,${v1}`, "head: the time of the signature is not in seconds since 1970"],
        ["", "head: the header stripe-signature does not have one t=<seconds>"],
        [stripe(["rolled"], seconds, body)["stripe-signature"], wrongBody],
        // Of more than sixteen signatures those behind are not looked at.
        [`t=${seconds},${`v1=${"0".repeat(64)},`.repeat(16)}${v1}`, wrongBody]
      ]
      for (const [value, said] of cases) {
        assert.strictEqual(outcome(yield* auth, { body, headers: { "stripe-signature": value } }), said, value)
      }
      assert.strictEqual(outcome(yield* auth, { body }), "head: the header stripe-signature is missing")
    })
  )

  it.effect("is refused when it was replayed after five minutes", () =>
    Effect.gen(function* () {
      const headers = stripe(["whsec_test"], seconds, body)
      const standing = yield* auth
      yield* TestClock.adjust("300 seconds")
      assert.strictEqual(outcome(standing, { body, headers }), "in")
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(
        outcome(standing, { body, headers }),
        "head: the time of the signature is more than 300 s from now"
      )
    })
  )
})

describe("a signature of anybody else", () => {
  it.effect("is an HMAC in a header, by any common digest and encoding", () =>
    Effect.gen(function* () {
      for (const algorithm of ["sha256", "sha1", "sha512"]) {
        for (const encoding of ["hex", "base64"] as const) {
          const options = { type: "hmac", header: "X-Signature", secret: "s", algorithm, encoding, prefix: "v=" }
          const auth = yield* make({ auth: options })
          const signature = hmac("s", "text", algorithm).toString(encoding)
          const headers = { "x-signature": `v=${signature}` }
          assert.strictEqual(outcome(auth, { body: "text", headers }), "in")
          assert.strictEqual(outcome(auth, { body: "texT", headers }), wrongBody)
          assert.strictEqual(
            outcome(auth, { body: "text", headers: { "x-signature": signature } }),
            `head: the header x-signature is not v=<${algorithm} in ${encoding}>`
          )
        }
      }
    })
  )
})

describe("a body that was changed", () => {
  /** A place in the body, and the bits that are turned there. */
  const Change = Schema.Tuple([
    Schema.Uint8Array.check(Schema.isMinLength(1), Schema.isMaxLength(300)),
    Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 299 })),
    Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 255 }))
  ])

  it.effect.prop("by any byte is refused by every kind of signature", [Change], ([[bytes, place, bits]]) =>
    Effect.gen(function* () {
      const text = Buffer.from(bytes)
      const changed = Uint8Array.from(bytes)
      changed[place % bytes.length]! ^= bits
      const seconds = 1000
      yield* TestClock.setTime(seconds * 1000)
      const sign = (before: string) => createHmac("sha256", "s").update(before).update(text).digest()
      const cases: ReadonlyArray<readonly [unknown, Readonly<Record<string, string>>]> = [
        [{ type: "github", secret: "s" }, { "x-hub-signature-256": `sha256=${sign("").toString("hex")}` }],
        [{ type: "stripe", secret: "s" }, { "stripe-signature": `t=1000,v1=${sign("1000.").toString("hex")}` }],
        [
          { type: "standard-webhooks", secret: "s" },
          {
            "webhook-id": "m",
            "webhook-timestamp": "1000",
            "webhook-signature": `v1,${sign("m.1000.").toString("base64")}`
          }
        ],
        [{ type: "hmac", header: "h", secret: "s" }, { h: sign("").toString("hex") }]
      ]
      for (const [options, headers] of cases) {
        const auth = yield* make({ auth: options })
        assert.strictEqual(outcome(auth, { body: text, headers }), "in")
        assert.strictEqual(outcome(auth, { body: changed, headers }), wrongBody)
        assert.strictEqual(outcome(auth, { body: bytes.subarray(1), headers }), wrongBody)
      }
    })
  )

  it.effect("at each of its places is refused", () =>
    Effect.gen(function* () {
      const auth = yield* make({ auth: { type: "github", secret: "s" } })
      const body = Buffer.from(JSON.stringify({ action: "opened", number: 1, title: "\u00fc\u{1f600}" }))
      const headers = github("s", body.toString())
      assert.strictEqual(outcome(auth, { body, headers }), "in")
      for (let at = 0; at < body.length; at++) {
        for (const bits of [1, 128]) {
          const changed = Uint8Array.from(body)
          changed[at]! ^= bits
          assert.strictEqual(outcome(auth, { body: changed, headers }), wrongBody)
        }
      }
    })
  )
})
