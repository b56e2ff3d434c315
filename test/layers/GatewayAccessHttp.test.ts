/** An access behind the real HTTP server: what headers look like once they have been over a wire. */
import { request } from "node:http"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"
import * as GatewayAccessNode from "../../src/layers/GatewayAccessNode.ts"
import * as GatewayKeyFile from "../../src/layers/GatewayKeyFile.ts"
import * as GatewayKeys from "../../src/layers/GatewayKeys.ts"
import * as HttpHostNode from "../../src/layers/HttpHostNode.ts"
import { GatewayAccess } from "../../src/services/GatewayAccess.ts"
import { HttpHost } from "../../src/services/HttpHost.ts"
import { guarded } from "../../src/streams/GatewayGuard.ts"
import { folder } from "./GatewayKit.ts"
import { raw } from "./Servers.ts"

/** A server whose one route asks for the right to send. */
const serving = Effect.gen(function* () {
  const path = yield* folder
  const { key, line } = GatewayKeys.make({ client: "acme", scopes: ["send"], createdAt: 0 })
  yield* GatewayKeyFile.append(join(path, "keys"), [line])
  const { make } = yield* GatewayAccess
  const host = yield* HttpHost
  const where = { folder: path, host: host.address?.host, pipeline: "orders" }
  const access = yield* make({ access: { keys: "keys" }, rate: { perSecond: 1000, burst: 1000 } }, where)
  yield* host.route({
    method: "POST",
    path: "/:client",
    ...guarded(access, { right: "send", handle: () => ({ status: 200 }) }, ({ status }) => ({ status }))
  })
  return { key: Redacted.value(key), port: host.address!.port }
})

const services = Layer.merge(HttpHostNode.layer({ host: "127.0.0.1", port: 0 }), GatewayAccessNode.layer)

const host = ["Host", "gateway", "Content-Length", "0"]

const post = (port: number, headers: ReadonlyArray<string>, path = "/acme"): Effect.Effect<number> =>
  Effect.callback((resume) => {
    const asked = request(
      { host: "127.0.0.1", port, path, method: "POST", headers: [...host, ...headers] },
      (response) => {
        response.resume()
        response.on("end", () => resume(Effect.succeed(response.statusCode ?? 0)))
      }
    )
    asked.on("error", () => resume(Effect.succeed(0)))
    asked.end()
  })

describe("an access behind HTTP", () => {
  it.live("takes one key, however its header is written, and no mixture", () =>
    Effect.gen(function* () {
      const { key, port } = yield* serving
      const cases: ReadonlyArray<readonly [ReadonlyArray<string>, number]> = [
        [["AUTHORIZATION", `Bearer ${key}`], 200],
        [["x-API-key", key], 200],
        [["X-Api-Key", ` ${key} `], 200],
        [["X-Api-Key", key, "X-Api-Key", key], 401],
        [["X-Api-Key", "slk_x", "X-Api-Key", key], 401],
        [["Authorization", `Bearer ${key}`, "X-Api-Key", key], 401],
        [["X_Api_Key", key], 401],
        [["Cookie", `authorization=${key}`], 401],
        [[], 401]
      ]
      for (const [headers, status] of cases) assert.strictEqual(yield* post(port, headers), status, headers.join(" "))
      assert.strictEqual(yield* post(port, ["X-Api-Key", key], "/other"), 403)
      assert.strictEqual(yield* post(port, ["X-Api-Key", key], "/%61cme"), 200)
    }).pipe(Effect.scoped, Effect.provide(services))
  )

  it.live("answers header bombs, and whoever comes after them", () =>
    Effect.gen(function* () {
      const { key, port } = yield* serving
      const long = (length: number): ReadonlyArray<string> => ["Authorization", `Bearer slk_${"x".repeat(length)}`]
      assert.strictEqual(yield* post(port, long(8_000)), 401)
      assert.strictEqual(yield* post(port, long(15_000)), 401)
      assert.strictEqual(yield* post(port, long(50_000)), 431)
      const many = Array.from({ length: 900 }, (_, i) => [`a${i}`, "slk_"]).flat()
      assert.strictEqual(yield* post(port, [...many, "X-Api-Key", "slk_"]), 401)
      assert.strictEqual(yield* post(port, ["X-Api-Key", key]), 200)
    }).pipe(Effect.scoped, Effect.provide(services))
  )

  it.live("has room for who has a key while others without one hold their bodies back", () =>
    Effect.gen(function* () {
      const { key, port } = yield* serving
      for (let i = 0; i < 100; i++) {
        const socket = yield* raw(port)
        // Together more than the server reads at the same time.
        yield* socket.send("POST /acme HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n")
        assert.match(yield* socket.until("\r\n\r\n"), /^HTTP\/1\.1 401 /)
        yield* socket.send("x".repeat(900_000))
      }
      assert.strictEqual(yield* post(port, ["X-Api-Key", key]), 200)
    }).pipe(Effect.scoped, Effect.provide(services))
  )
})
