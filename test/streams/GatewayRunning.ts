/** A gateway on a real HTTP server, with its events in memory. */
import { Effect, Layer } from "effect"
import * as DeadLettersMemory from "../../src/layers/DeadLettersMemory.ts"
import * as DedupeMemory from "../../src/layers/DedupeMemory.ts"
import * as HttpHostNode from "../../src/layers/HttpHostNode.ts"
import { HttpHost } from "../../src/services/HttpHost.ts"
import type { Outgoing, PublishError, Publisher } from "../../src/services/Publisher.ts"
import { SchemaRegistry } from "../../src/services/SchemaRegistry.ts"
import * as Define from "../../src/streams/Define.ts"
import * as Pipeline from "../../src/streams/Pipeline.ts"
import * as SourceGateway from "../../src/streams/SourceGateway.ts"
import { ask } from "../layers/Servers.ts"
import * as Kit from "./GatewayKit.ts"

export const layer = Layer.mergeAll(
  HttpHostNode.layer({ host: "127.0.0.1", port: 0 }),
  DeadLettersMemory.layer,
  DedupeMemory.layer(),
  Kit.languages
)

/** What was published, as a client and an event, and the text. */
export interface Published {
  readonly to: string
  readonly text: string
  readonly one: Outgoing
}

export interface Options extends SourceGateway.Options {
  readonly publish?: ((batch: ReadonlyArray<Outgoing>) => Effect.Effect<void, PublishError>) | undefined
  readonly buffer?: number | undefined
}

export const started = Effect.fnUntraced(function* ({ buffer, publish = () => Effect.void, ...options }: Options = {}) {
  const { control, service } = Kit.registry()
  const { port } = (yield* HttpHost).address!
  const source = yield* Effect.provideService(SourceGateway.make(options), SchemaRegistry, service)
  const published: Array<Published> = []
  const publisher: Publisher = {
    name: "stream",
    batchMax: 100,
    inFlightMax: 2,
    publish: (batch) =>
      Effect.tap(publish(batch), () =>
        Effect.sync(() => {
          for (const one of batch) {
            const { client, event } = one.envelope.headers
            published.push({ to: `${client}.${event}`, text: new TextDecoder().decode(one.value), one })
          }
        })
      )
  }
  const handle = yield* Pipeline.start(
    Define.define({
      name: "gateway",
      source,
      decode: source.codec!,
      publish: [{ to: publisher }],
      retry: { attempts: 2, backoffMillis: 1 },
      ...(buffer === undefined ? {} : { buffer: { messages: buffer }, concurrency: 1 })
    })
  )
  const url = `http://127.0.0.1:${port}${options.prefix ?? ""}`
  return { control, handle, port, published, source, url }
})

/** A request with a body of its content type. */
export const send = (url: string, contentType: string, body: string | Uint8Array, headers: object = {}) =>
  ask(url, { body: body as NonNullable<RequestInit["body"]>, headers: { "content-type": contentType, ...headers } })

export const get = (url: string) => ask(url, { method: "GET" })

/** As curl and Python's requests write them. */
export const forms: Readonly<Record<string, (name: string, text: string) => readonly [string, string]>> = {
  urlencoded: (name, text) => [
    "application/x-www-form-urlencoded",
    `other=1&${name}=${encodeURIComponent(text).replaceAll("%20", "+")}&${name}=second`
  ],
  multipart: (name, text) => [
    'multipart/form-data; boundary="b--x"',
    `--b--x\r\nContent-Disposition: form-data; name="${name}"; filename="f"\r\n\r\nfile\r\n--b--x\r\n` +
      `content-disposition: form-data; name="${name}"\r\nContent-Type: text/plain\r\n\r\n${text}\r\n--b--x--\r\n`
  ],
  json: (name, text) => ["application/json; charset=utf-8", `{"other": [1, "]"], "${name}" : ${text} }`]
}
