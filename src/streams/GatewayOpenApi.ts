/** Describes /api/v1 from its table: as an OpenAPI 3.1 document, and as a page that needs nothing from outside. */
import * as Answers from "./GatewayAnswers.ts"
import type { Operation } from "./GatewayApi.ts"

export const document = (prefix: string, operations: ReadonlyArray<Operation>): unknown => {
  const paths: Record<string, Record<string, unknown>> = {}
  for (const operation of operations) {
    const path = `${prefix}${operation.path}`
    paths[path] = { ...paths[path], [operation.method.toLowerCase()]: described(operation) }
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "Event gateway",
      version: "1",
      description: "Registers the schemas of events, and takes the events."
    },
    paths,
    // With a key, with a token, or where the gateway is open without.
    security: [{ key: [] }, { bearer: [] }, {}],
    components: { schemas, securitySchemes }
  }
}

const securitySchemes = {
  key: { type: "apiKey", in: "header", name: "X-Api-Key", description: "An API key, slk_..." },
  bearer: { type: "http", scheme: "bearer", description: "An API key, or a token of the identity provider." }
}

const described = (operation: Operation): unknown => {
  const { gives, headers = {}, id, keyed, many, path, problems, summary, takes, versioned } = operation
  const reference = (name: string) => ({ $ref: `#/components/schemas/${name}` })
  const shape = many === true ? { anyOf: [reference(gives.schema), reference("Results")] } : reference(gives.schema)
  const ok = { "application/json": { schema: shape } }
  const mixed = {
    description: "results that differ",
    content: { "application/json": { schema: reference("Results") } }
  }
  const parameters = [
    ...[...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
      name,
      in: "path",
      required: true,
      schema: { type: "string", ...patterns[name!] }
    })),
    ...(versioned === true
      ? [{ name: "version", in: "query", schema: { type: "string", default: "latest", ...patterns.version } }]
      : []),
    ...(keyed === true
      ? [
          {
            name: "Idempotency-Key",
            in: "header",
            schema: { type: "string" },
            description: "Names the event, so that it is published once however often it is sent."
          }
        ]
      : []),
    ...Object.entries(headers).map(([name, description]) => ({
      name,
      in: "header",
      schema: { type: "string" },
      description
    }))
  ]
  const answers: Record<string, unknown> = {}
  for (const code of new Set([...problems, ...Answers.denials])) {
    const status = Answers.codes[code]
    const known = answers[status] as { readonly description: string } | undefined
    answers[status] = {
      description: known === undefined ? code : `${known.description}, ${code}`,
      ...answerHeaders[status],
      content: { "application/problem+json": { schema: { $ref: "#/components/schemas/Problem" } } }
    }
  }
  return {
    operationId: id,
    summary,
    parameters,
    ...(takes === undefined ? {} : { requestBody: { content: contentOf(takes) } }),
    responses: {
      [gives.status]: { description: "done", content: ok },
      ...(gives.status === 201 ? { 200: { description: "there already", content: ok } } : {}),
      ...(many === true ? { 207: mixed } : {}),
      ...(takes === undefined ? {} : { 413: tooLarge }),
      ...answers
    }
  }
}

const retryAfter = { headers: { "Retry-After": { schema: { type: "integer" } } } }
const answerHeaders: Readonly<Record<number, object>> = {
  401: { headers: { "WWW-Authenticate": { schema: { type: "string" } } } },
  403: { headers: { "WWW-Authenticate": { schema: { type: "string" } } } },
  415: {
    headers: {
      "Accept-Encoding": { schema: { const: "identity" }, description: "where its content-encoding is the reason" }
    }
  },
  429: retryAfter,
  503: retryAfter
}

/** The server's own, before the gateway sees it. */
const tooLarge = {
  description: "the body is larger than the gateway takes",
  content: { "application/json": { schema: { $ref: "#/components/schemas/Error" } } }
}

const contentOf = (takes: Readonly<Record<string, unknown>>): unknown =>
  Object.fromEntries(Object.entries(takes).map(([type, schema]) => [type, { schema }]))

const patterns: Readonly<Record<string, object>> = {
  client: { pattern: "^[A-Za-z0-9_-]+$" },
  event: { pattern: "^[A-Za-z0-9._-]+$" },
  version: { pattern: "^([1-9][0-9]*|latest)$" }
}

const text = { type: "string" }
const types = { enum: ["json", "avro", "protobuf"] }
const rules = { enum: ["none", "backward", "forward", "full"] }
const violation = {
  type: "object",
  required: ["path", "message"],
  properties: { path: { type: "string", examples: ["payload.lines.0"] }, message: text }
}
const summary = {
  client: text,
  event: text,
  version: { type: "integer", minimum: 1 },
  type: types,
  compatibility: rules,
  deprecated: { type: "boolean" },
  registeredAt: { type: "string", format: "date-time" }
}
const required = Object.keys(summary)
const summaries = (name: string) => ({
  type: "object",
  required: [name],
  properties: { [name]: { type: "array", items: { type: "object", required, properties: summary } } }
})
const sent = { id: text, client: text, event: text, version: { type: "integer" } }

const schemas = {
  NewVersion: {
    type: "object",
    required: ["schema"],
    additionalProperties: false,
    properties: {
      type: { ...types, default: "json" },
      schema: { description: "The schema itself where it is JSON (json, avro), or its text." },
      compatibility: {
        ...rules,
        description:
          "What this version must be to the one before it, and the next to this. Absent: the rule there is, at first none."
      }
    }
  },
  Deprecate: { type: "object", properties: { deprecated: { type: "boolean", default: true } } },
  Version: { type: "object", required: [...required, "schema"], properties: { ...summary, schema: {} } },
  Versions: summaries("versions"),
  Events: summaries("events"),
  Sent: { type: "object", required: Object.keys(sent), properties: sent },
  Results: {
    type: "object",
    required: ["results"],
    properties: {
      results: {
        type: "array",
        items: { anyOf: [{ $ref: "#/components/schemas/Sent" }, { $ref: "#/components/schemas/Problem" }] }
      }
    }
  },
  Validation: {
    type: "object",
    required: ["valid", "version", "violations"],
    properties: {
      valid: { type: "boolean" },
      version: { type: "integer" },
      violations: { type: "array", items: violation }
    }
  },
  Problem: {
    type: "object",
    required: ["status", "code", "detail"],
    properties: {
      title: text,
      status: { type: "integer" },
      code: { enum: Object.keys(Answers.codes) },
      detail: text,
      version: { type: "integer" },
      violations: { type: "array", items: violation },
      reasons: { type: "array", items: text }
    }
  },
  Error: { type: "object", required: ["error"], properties: { error: text } },
  CloudEvent: {
    type: "object",
    required: ["specversion", "id", "source", "type"],
    properties: {
      specversion: { const: "1.0" },
      id: { type: "string", minLength: 1 },
      source: { type: "string", minLength: 1, format: "uri-reference" },
      type: { type: "string", description: "<client>.<event>" },
      datacontenttype: { type: ["string", "null"], default: "application/json" },
      dataschema: { type: ["string", "null"], format: "uri" },
      subject: { type: ["string", "null"], minLength: 1 },
      time: { type: ["string", "null"], format: "date-time" },
      partitionkey: { type: ["string", "null"], minLength: 1, description: "the key of the event" },
      data: {},
      data_base64: { type: ["string", "null"], contentEncoding: "base64" }
    }
  }
}

// ---------------------------------------------------------------------------------------------------- page

export const page = (prefix: string, operations: ReadonlyArray<Operation>): string => {
  const sections = operations.map(
    ({ gives, headers = {}, id, keyed, method, path, problems, summary, takes, versioned }) => {
      const rows = [
        ...(takes === undefined ? [] : [["takes", Object.keys(takes).join(", ")]]),
        ...(versioned === true ? [["?version=", "a version, or latest (default)"]] : []),
        ...(keyed === true ? [["Idempotency-Key:", "names the event, so that it is published once"]] : []),
        ...Object.entries(headers).map(([name, says]) => [`${name}:`, says]),
        ["gives", `${gives.status} ${gives.schema}`],
        ["problems", problems.map((code) => `${Answers.codes[code]} ${code}`).join(", ")]
      ]
      const table = rows
        .map(([name, value]) => `<tr><th>${escaped(name!)}</th><td>${escaped(value!)}</td></tr>`)
        .join("")
      return `<section id="${id}"><h2><b>${method}</b> ${escaped(prefix + path)}</h2><p>${escaped(summary)}</p><table>${table}</table></section>`
    }
  )
  const links = operations.map(({ id }) => `<a href="#${id}">${id}</a>`).join(" ")
  const shapes = Object.entries(schemas).map(
    ([name, schema]) => `<h3 id="schema-${name}">${name}</h3><pre>${escaped(JSON.stringify(schema, null, 2))}</pre>`
  )
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Event gateway</title><style>${style}</style></head><body>
<h1>Event gateway</h1><p>Also as <a href="openapi.json">OpenAPI 3.1</a>. ${links}</p>
${sections.join("\n")}
<h2>Shapes</h2>${shapes.join("\n")}
</body></html>
`
}

const style =
  "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}h2{font:600 1rem ui-monospace,monospace;border-top:1px solid #ccc;padding-top:1rem}th{text-align:left;vertical-align:top;padding-right:1rem;font-weight:600}pre{background:#f5f5f5;padding:.7rem;overflow:auto}"

const escaped = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;")
