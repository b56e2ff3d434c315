/** The description of the gateway: a document that tools read, and that says what the gateway does. */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Ajv2020 } from "ajv/dist/2020.js"
import addFormats from "ajv-formats"
import { Effect } from "effect"
import { get, layer, send, started } from "./GatewayRunning.ts"

type Json = Readonly<Record<string, any>>

const official = JSON.parse(readFileSync(join(import.meta.dirname, "../fixtures/openapi-3.1/schema.json"), "utf8"))

const ajv = () => addFormats.default(new Ajv2020({ allErrors: true, strict: false }))

const described = Effect.gen(function* () {
  const { url } = yield* started()
  return { url, document: (yield* get(`${url}/api/v1/openapi.json`)).json() as Json }
})

describe("the description of the gateway", () => {
  it.live("is an OpenAPI 3.1 document, by the official schema, and so are its shapes", () =>
    Effect.gen(function* () {
      const { document } = yield* described
      const isDocument = ajv().compile(official)
      assert.isTrue(isDocument(document), JSON.stringify(isDocument.errors))
      // That schema does not look into shapes; it sees what is wrong with the rest.
      assert.isFalse(isDocument({ ...document, security: "none" }))
      const shapes = ajv()
      shapes.addSchema({ $id: "https://gateway.example/", ...document })
      for (const name of Object.keys(document.components.schemas)) {
        assert.doesNotThrow(
          () => shapes.compile({ $ref: `https://gateway.example/#/components/schemas/${name}` }),
          name
        )
      }
    }).pipe(Effect.provide(layer))
  )

  it.live("names the ways in, which an open gateway does not ask for", () =>
    Effect.gen(function* () {
      const { document } = yield* described
      const { bearer, key } = document.components.securitySchemes
      assert.deepInclude(key, { type: "apiKey", in: "header", name: "X-Api-Key" })
      assert.deepInclude(bearer, { type: "http", scheme: "bearer" })
      assert.deepStrictEqual(document.security, [{ key: [] }, { bearer: [] }, {}])
    }).pipe(Effect.provide(layer))
  )

  it.live("has the answers to bodies that are too large or not read, and to a version that is there", () =>
    Effect.gen(function* () {
      const { document, url } = yield* described
      for (const [path, methods] of Object.entries(document.paths as Json)) {
        const { get, post } = methods as Json
        if (get !== undefined) assert.notProperty(get.responses, "413", path)
        if (post !== undefined) assert.containsAllKeys(post.responses, ["413", "415"], path)
      }
      const path = "/api/v1/clients/{client}/events/{event}/versions"
      const { responses } = document.paths[path].post
      const versions = `${url}/api/v1/clients/c/events/e/versions`
      const shapes = ajv()
      shapes.addSchema({ $id: "https://gateway.example/", ...document })
      for (const status of [201, 200]) {
        const answer = yield* send(versions, "application/json", '{"schema":true}')
        assert.strictEqual(answer.status, status)
        const { $ref } = responses[status].content["application/json"].schema
        assert.isTrue(shapes.validate({ $ref: `https://gateway.example/${$ref}` }, answer.json()))
      }
      const large = yield* send(versions, "application/json", " ".repeat(1024 * 1024 + 1))
      assert.strictEqual(large.status, 413)
      assert.isTrue(
        shapes.validate(
          { $ref: `https://gateway.example/${responses[413].content["application/json"].schema.$ref}` },
          large.json()
        )
      )
    }).pipe(Effect.provide(layer))
  )

  it.live("has the headers of a binary CloudEvent, with which one is taken", () =>
    Effect.gen(function* () {
      const { document, url } = yield* described
      const { parameters, requestBody } = document.paths["/api/v1/cloudevents"].post
      const named = (parameters as ReadonlyArray<Json>).filter((one) => one.in === "header").map(({ name }) => name)
      assert.includeMembers(named, ["ce-specversion", "ce-id", "ce-source", "ce-type", "ce-time", "ce-partitionkey"])
      assert.property(requestBody.content, "application/octet-stream")
      yield* send(`${url}/api/v1/clients/c/events/e/versions`, "application/json", '{"schema":true}')
      const values: Record<string, string> = {
        "ce-specversion": "1.0",
        "ce-type": "c.e",
        "ce-time": "2026-01-31T12:00:00Z",
        "ce-dataschema": "urn:x"
      }
      const headers = Object.fromEntries(named.map((name) => [name, values[name] ?? "x"]))
      assert.strictEqual((yield* send(`${url}/api/v1/cloudevents`, "application/json", "1", headers)).status, 200)
      assert.include((yield* get(`${url}/api/v1/docs`)).text, "ce-partitionkey")
    }).pipe(Effect.provide(layer))
  )
})
