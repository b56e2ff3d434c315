/** Hostile requests, the same for the same seed. */
import { Agent, type IncomingHttpHeaders, request } from "node:http"

export interface HostileRequest {
  readonly method: string
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer
}

export interface Answered {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly text: string
}

/** Mulberry32. */
const randomOf = (seed: number) => {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
}

const badNames = [
  "..",
  ".",
  "%2e%2e",
  "%00",
  "a.b",
  "a%2Fb",
  "victim%2e",
  "victim%00",
  "v%C3%ADctim",
  "%F0%9F%8D%8E",
  "'%20OR%201=1--",
  "%25",
  "%E0%A4%A",
  "a%0d%0aSet-Cookie:x",
  "x".repeat(250),
  "x".repeat(1025),
  "$%7Bjndi:ldap%7D",
  "{{envelope.id}}"
]
const goodNames = ["VICTIM", "victim_", "__proto__", "constructor", "toString", "Fruits", "a", "-1", "api"]
const values = [
  "{}",
  "[]",
  "null",
  "NaN",
  "{",
  '"\\ud800"',
  '{"__proto__":{"polluted":true}}',
  '{"constructor":{"prototype":{"polluted":true}}}',
  `${"[".repeat(5000)}${"]".repeat(5000)}`,
  `${'{"a":'.repeat(3000)}1${"}".repeat(3000)}`,
  "[".repeat(20_000),
  "1e999",
  '{"type":"random_type"}',
  '{"pattern":"(a+)+$("}',
  '{"$ref":"http://169.254.169.254/latest"}',
  '{"$ref":"file:///etc/passwd"}',
  '{"$id":7}',
  '{"required":{}}'
]
/** Strange, but schemas. */
const isSchema = (value: string): boolean => /^\{("__proto__|"constructor|"a"|\})/.test(value)
const contentTypes = [
  "application/json",
  "application/json; charset=utf-16",
  "application/x-www-form-urlencoded",
  "multipart/form-data; boundary=b",
  "multipart/form-data; boundary=",
  `multipart/form-data; boundary=${"b".repeat(200)}`,
  "application/cloudevents+json",
  "application/cloudevents-batch+json",
  "text/html",
  ";;;",
  "application/octet-stream"
]

/** None of them is right in any way: each is to be answered with a reason. `victim` is registered, and takes nothing of this. */
export const requests = (seed: number, count: number): ReadonlyArray<HostileRequest> => {
  const random = randomOf(seed)
  const pick = <A>(all: ReadonlyArray<A>): A => all[Math.floor(random() * all.length)]!
  const name = () => (random() < 0.5 ? pick(badNames) : pick(goodNames))
  const bytes = () => Buffer.from(Array.from({ length: Math.floor(random() * 200) }, () => Math.floor(random() * 256)))
  const body = (field: string, contentType: string): Buffer => {
    const value = pick(field.endsWith("schema") ? values.filter((one) => !isSchema(one)) : values)
    switch (Math.floor(random() * 6)) {
      case 0:
        return bytes()
      case 1:
        return Buffer.from(`{"${field}":${value}}`)
      case 2:
        return Buffer.from(`${"&".repeat(1000)}${field}=${encodeURIComponent(value)}&${field}`)
      case 3:
        return Buffer.from(
          `--b\r\ncontent-disposition: form-data; name="${field}"\r\n\r\n${value}\r\n--b${pick(["", "--", "\r\n\r\n"])}`
        )
      case 4:
        return Buffer.from(contentType.includes("batch") ? `[${value},7]` : value)
      default:
        return Buffer.from(`{"schema":${value},"type":${pick(['"json"', "7", '"xml"'])},"x":1}`)
    }
  }
  const post = (path: string, field: string): HostileRequest => {
    const contentType = pick(contentTypes)
    const headers = { "content-type": contentType, "idempotency-key": pick(["k", "../../k", "x".repeat(500)]) }
    return { method: "POST", path, headers, body: body(field, contentType) }
  }
  const other = (method: string, path: string): HostileRequest => ({ method, path, headers: {}, body: Buffer.alloc(0) })
  const one = (): HostileRequest => {
    const v1 = `/api/v1/clients/${name()}/events/${name()}`
    switch (Math.floor(random() * 12)) {
      case 0:
        return post(`/${name()}/${name()}/register_event`, "event_schema")
      case 1:
        return post(`/${name()}/${name()}/send_event`, "event")
      case 2:
        return post("/victim/secret/send_event", "event")
      case 3:
        return post("/victim/secret/register_event", "event_schema")
      case 4:
        return other("GET", `/${name()}/${name()}/schema`)
      case 5:
        return other("GET", pick([`/${pick(badNames)}/list_events`, `/api/v1/clients/${pick(badNames)}/events`]))
      case 6:
        return post(`${v1}/versions`, "schema")
      case 7:
        return post(`${v1}${pick(["", "/batch", "/validate", "?version=-1", "/versions/9/deprecate"])}`, "event")
      case 8:
        return post("/api/v1/clients/victim/events/secret", "event")
      case 9:
        return other("GET", `${v1}/versions${pick(["", "/1", "/latest", "/%00", "/99999999999"])}`)
      case 10:
        return post("/api/v1/cloudevents", "data")
      default:
        return other(
          pick(["PUT", "DELETE", "PATCH", "TRACE", "OPTIONS"]),
          pick([v1, "/", "/victim/secret/schema", "//"])
        )
    }
  }
  return Array.from({ length: count }, one)
}

/** Sends them all, a few at a time, over connections that stay open. */
export const send = async (
  port: number,
  all: ReadonlyArray<HostileRequest>,
  answered: (request: HostileRequest, answer: Answered) => void
): Promise<void> => {
  const agent = new Agent({ keepAlive: true, maxSockets: 16 })
  let next = 0
  const work = async (): Promise<void> => {
    while (next < all.length) {
      const one = all[next++]!
      answered(one, await ask(port, agent, one))
    }
  }
  await Promise.all(Array.from({ length: 16 }, work))
  agent.destroy()
}

const ask = (port: number, agent: Agent, { body, headers, method, path }: HostileRequest): Promise<Answered> =>
  new Promise((resolve, reject) => {
    const length = method === "POST" ? { "content-length": `${body.length}` } : {}
    const asking = request(
      { host: "127.0.0.1", port, agent, method, path, headers: { ...headers, ...length } },
      (answer) => {
        let text = ""
        answer.setEncoding("utf8")
        answer.on("data", (chunk: string) => {
          text += chunk
        })
        answer.on("end", () => resolve({ status: answer.statusCode!, headers: answer.headers, text }))
      }
    )
    asking.on("error", reject)
    asking.end(method === "POST" ? body : undefined)
  })
