/** Ways into a webhook as a config says them, requests to try them with, and signatures made by hand. */
import { createHmac } from "node:crypto"
import { Effect, Schema } from "effect"
import * as WebhookAuthNode from "../../src/layers/WebhookAuthNode.ts"
import type { HttpRequest } from "../../src/services/HttpHost.ts"
import { type Auth, fields, type Where } from "../../src/services/WebhookAuth.ts"

const Options = Schema.Struct(fields)

/** From what stands in a config. */
export const make = (options: unknown, where: Partial<Where> = {}) =>
  Effect.flatMap(Schema.decodeUnknownEffect(Options)(options), (options) =>
    WebhookAuthNode.make(options, { host: "127.0.0.1", pipeline: "hooks", ...where })
  )

export interface Asking {
  readonly headers?: Readonly<Record<string, string>>
  readonly query?: string
  readonly body?: string | Uint8Array
}

export const request = ({ body = "", headers = {}, query = "" }: Asking = {}): HttpRequest => ({
  method: "POST",
  path: "/hooks",
  params: {},
  query: new URLSearchParams(query),
  headers,
  body: typeof body === "string" ? new TextEncoder().encode(body) : body
})

/** As the server asks: the head first. */
export const outcome = (auth: Auth, asking: Asking = {}): string => {
  const asked = request(asking)
  const head = auth.head(asked)
  if (head !== undefined) return `head: ${head.reason}`
  const body = auth.body(asked)
  return body === undefined ? "in" : `body: ${body.reason}`
}

export const hmac = (secret: string | Buffer, text: string, algorithm = "sha256"): Buffer =>
  createHmac(algorithm, secret).update(text).digest()

export const github = (secret: string, body: string) => ({
  "x-hub-signature-256": `sha256=${hmac(secret, body).toString("hex")}`
})

/** Source: https://docs.stripe.com/webhooks#verify-manually */
export const stripe = (secrets: ReadonlyArray<string>, seconds: number, body: string) => ({
  "stripe-signature": [
    `t=${seconds}`,
    ...secrets.map((secret) => `v1=${hmac(secret, `${seconds}.${body}`).toString("hex")}`)
  ].join(",")
})

export const standard = (key: string | Buffer, id: string, seconds: number, body: string) => ({
  "webhook-id": id,
  "webhook-timestamp": `${seconds}`,
  "webhook-signature": `v1,${hmac(key, `${id}.${seconds}.${body}`).toString("base64")}`
})
