/** An event gateway written by hand, beside which ours is measured: Fastify, ajv, and the same embedded topics, appended to in batches. */
import { randomUUID } from "node:crypto"
import type { AddressInfo } from "node:net"
import { Ajv, type ValidateFunction } from "ajv"
import { Effect, Layer, ManagedRuntime } from "effect"
import { fastify } from "fastify"
import * as Sqlite from "../src/layers/Sqlite.ts"
import * as SqliteLocks from "../src/layers/SqliteLocks.ts"
import * as SqliteMigrations from "../src/layers/SqliteMigrations.ts"
import * as TopicsSqlite from "../src/layers/TopicsSqlite.ts"
import { type NewRecord, Topics } from "../src/services/Topics.ts"

type Publish = (topic: string, record: NewRecord) => Promise<void> | undefined

/** Units: records of one append, as our own pipelines have it. */
const batchMax = 500

/** What has come while one append is under way is the next one; each request waits for its own. */
const batched = (append: (topic: string, records: ReadonlyArray<NewRecord>) => Promise<void>): Publish => {
  interface Waiting {
    readonly record: NewRecord
    readonly done: () => void
    readonly failed: (cause: unknown) => void
  }
  const waiting = new Map<string, Array<Waiting>>()
  let running = false
  const run = async () => {
    running = true
    // Requests that came in the same turn of the loop go together.
    await new Promise((turn) => setImmediate(turn))
    for (const [topic, all] of waiting) {
      while (all.length > 0) {
        const batch = all.splice(0, batchMax)
        try {
          await append(
            topic,
            batch.map(({ record }) => record)
          )
          for (const { done } of batch) done()
        } catch (cause) {
          for (const { failed } of batch) failed(cause)
        }
      }
      waiting.delete(topic)
    }
    running = false
  }
  return (topic, record) =>
    new Promise((done, failed) => {
      const all = waiting.get(topic)
      if (all === undefined) waiting.set(topic, [{ record, done, failed }])
      else all.push({ record, done, failed })
      if (!running) void run()
    })
}

const embedded = async (filename: string): Promise<Publish> => {
  const sqlite = SqliteMigrations.layer.pipe(Layer.provideMerge(Sqlite.layer({ filename })))
  const layer = TopicsSqlite.layer().pipe(Layer.provide(SqliteLocks.layer({ filename })), Layer.provide(sqlite))
  const runtime = ManagedRuntime.make(layer)
  const topics = await runtime.runPromise(Effect.map(Topics, (topics) => topics))
  return batched((topic, records) => runtime.runPromise(topics.append(topic, records)))
}

interface Event {
  readonly text: Buffer
  readonly value: unknown
}

const serve = async (publisher: string, filename: string): Promise<void> => {
  const publish: Publish = publisher === "topic" ? await embedded(filename) : () => undefined
  const ajv = new Ajv()
  const schemas = new Map<string, ValidateFunction>()
  const app = fastify()
  // The event is published as it was written.
  app.removeContentTypeParser("application/json")
  app.addContentTypeParser<Buffer>("application/json", { parseAs: "buffer" }, (_, text, done) => {
    try {
      done(null, { text, value: JSON.parse(text.toString()) } satisfies Event)
    } catch (cause) {
      done(Object.assign(cause as Error, { statusCode: 400 }))
    }
  })
  interface Params {
    readonly client: string
    readonly event: string
  }
  app.post<{ Params: Params; Body: Event }>("/api/v1/clients/:client/events/:event/versions", (request, reply) => {
    const { client, event } = request.params
    schemas.set(`${client}.${event}`, ajv.compile((request.body.value as { readonly schema: object }).schema))
    return reply.code(201).send({ version: 1 })
  })
  const properties = {
    id: { type: "string" },
    client: { type: "string" },
    event: { type: "string" },
    version: { type: "integer" }
  }
  app.post<{ Params: Params; Body: Event }>(
    "/api/v1/clients/:client/events/:event",
    { schema: { response: { 200: { type: "object", properties } } } },
    async (request, reply) => {
      const { client, event } = request.params
      const topic = `${client}.${event}`
      const validate = schemas.get(topic)
      if (validate === undefined) return reply.code(404).send({ code: "not-registered" })
      if (!validate(request.body.value)) return reply.code(422).send({ violations: validate.errors })
      const id = randomUUID()
      const headers = { client, event, version: "1", "content-type": "application/json" }
      await publish(topic, { id, key: undefined, headers, value: request.body.text })
      return { id, client, event, version: 1 }
    }
  )
  await app.listen({ port: 0, host: "127.0.0.1" })
  console.error(`listening on http://127.0.0.1:${(app.server.address() as AddressInfo).port}`)
}

const [publisher = "", filename = ""] = process.argv.slice(2)
if (import.meta.main) await serve(publisher, filename)
