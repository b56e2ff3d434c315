/** Answers as an event gateway does, and as one in trouble: for the tools that ask one. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"

export interface Call {
  readonly path: string
  readonly headers: IncomingMessage["headers"]
  readonly body: string
}

export interface Answer {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: unknown
}

/** What happens to a call before the gateway itself looks at it; undefined lets it pass. */
export type Trouble = (
  call: Call,
  n: number
) => Answer | "hang up" | undefined | Promise<Answer | "hang up" | undefined>

export type StandIn = Awaited<ReturnType<typeof open>>

/** Knows the event Fruits with a field `fruit`, and what is registered; of two with the same idempotency key it publishes the first. */
export const open = async (trouble: Trouble = () => undefined, port = 0) => {
  const calls: Array<Call> = []
  const published: Array<unknown> = []
  const keys = new Set<string>()
  const schemas: Array<string> = []
  const registered = new Map<string, ReadonlyArray<string>>([["Fruits", ["fruit"]]])
  let inFlight = 0
  let inFlightMax = 0

  const problem = (status: number, code: string, detail: string, more: object = {}): Answer => ({
    status,
    headers: { "content-type": "application/problem+json" },
    body: { title: "Problem", status, code, detail, ...more }
  })

  const send = (required: ReadonlyArray<string>, { body, headers }: Call): Answer => {
    const event = JSON.parse(body) as object
    const missing = required.find((name) => !Object.hasOwn(event, name))
    if (missing !== undefined) {
      const violations = [{ path: "payload", message: `must have the field "${missing}"` }]
      return problem(422, "event-invalid", "1 violation of the schema", { version: 1, violations })
    }
    const key = String(headers["idempotency-key"])
    if (!keys.has(key)) published.push(event)
    keys.add(key)
    return { status: 200, body: { id: key, client: "SpongeBob", event: "Fruits", version: 1 } }
  }

  const register = (event: string, { body }: Call): Answer => {
    const { schema, type } = JSON.parse(body) as { readonly schema: unknown; readonly type: string }
    if (type === "json" && (schema as { readonly type?: string }).type === "random_type") {
      return problem(422, "schema-invalid", "type: no such type")
    }
    const text = JSON.stringify(schema)
    const known = schemas.indexOf(text)
    if (known === -1) {
      if (text.includes("narrow")) {
        return problem(409, "schema-conflict", "it cannot follow version 1", { reasons: ["payload.fruit is gone"] })
      }
      schemas.push(text)
      registered.set(event, (schema as { readonly required?: ReadonlyArray<string> }).required ?? [])
    }
    return { status: known === -1 ? 201 : 200, body: { version: schemas.indexOf(text) + 1, type, schema } }
  }

  const answer = async (call: Call): Promise<Answer | "hang up"> => {
    const first = await trouble(call, calls.length)
    if (first !== undefined) return first
    const [, event, versions] = /^\/api\/v1\/clients\/SpongeBob\/events\/(\w+)(\/versions)?$/.exec(call.path) ?? []
    if (event !== undefined && versions !== undefined) return register(event, call)
    const required = registered.get(event ?? "")
    if (required !== undefined) return send(required, call)
    return problem(404, "not-registered", `${call.path.split("/").slice(4).join(" ")} is not registered`)
  }

  const handle = (request: IncomingMessage, response: ServerResponse): void => {
    const chunks: Array<Buffer> = []
    inFlightMax = Math.max(inFlightMax, ++inFlight)
    request.on("data", (chunk) => chunks.push(chunk))
    request.on("end", async () => {
      const call = { path: request.url ?? "", headers: request.headers, body: Buffer.concat(chunks).toString() }
      calls.push(call)
      const answered = await answer(call)
      inFlight--
      if (answered === "hang up") return void request.socket.destroy()
      const { body, headers, status } = answered
      response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(body ?? {}))
    })
  }

  const server = createServer(handle)
  await new Promise<void>((listening) => server.listen(port, "127.0.0.1", listening))
  const { port: taken } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${taken}`,
    port: taken,
    calls,
    published,
    inFlightMax: () => inFlightMax,
    close: () =>
      new Promise<void>((closed) => {
        server.close(() => closed())
        server.closeAllConnections()
      })
  }
}

/** A port nobody listens on. */
export const freePort = async (): Promise<number> => {
  const one = await open()
  await one.close()
  return one.port
}
