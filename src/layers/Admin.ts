/** Shows the pipelines of a running process over HTTP, and changes how fast they go, for whom the config lets in. */
import { createHash, timingSafeEqual } from "node:crypto"
import { Effect, Exit, Redacted, Schema, type Scope } from "effect"
import * as Fields from "../services/Fields.ts"
import {
  type HttpHead,
  HttpHost,
  type HttpHostError,
  type HttpRequest,
  type HttpResponse
} from "../services/HttpHost.ts"
import type { Ready } from "../services/Ready.ts"
import * as Path from "../streams/Path.ts"
import * as Rate from "../streams/Rate.ts"
import { problemsOf } from "./ConfigProblems.ts"
import { isLoopback } from "./GatewayAccessNode.ts"
import { type Supervised, type Supervisor, type Tuning, tune } from "./Supervisor.ts"

/** false serves nothing; true, to this machine alone; with a key, to those who have it. */
export type Options = boolean | { readonly key: Redacted.Redacted<string> }

/** Units: working legs. */
export const Concurrency = Fields.int(1, 100_000)

export const Body = Schema.Struct({
  rate: Schema.optionalKey(Schema.NullOr(Rate.Options)),
  concurrency: Schema.optionalKey(Concurrency),
  paused: Schema.optionalKey(Fields.Boolean)
})

export const path = "/api/v1/pipelines"
/** Units: bytes. */
const bodyMax = 16 * 1024

/** Serves `GET /api/v1/pipelines`, and `GET` and `PATCH` of each pipeline below it. */
export const routes = Effect.fnUntraced(function* (
  { pipelines }: Pick<Supervisor, "pipelines">,
  options: Options | undefined
): Effect.fn.Return<void, HttpHostError, HttpHost | Scope.Scope> {
  const host = yield* HttpHost
  if (options === undefined || options === false || host.address === undefined) return
  const admit = options === true ? localOnly(host.address.host) : withKey(options.key)
  const of = (f: (one: Supervised, request: HttpRequest) => Ready<HttpResponse>) => (request: HttpRequest) => {
    const one = pipelines.find(({ name }) => name === request.params.name)
    return one === undefined ? problem(404, "unknown-pipeline", "there is no pipeline of this name") : f(one, request)
  }
  yield* host.route({
    method: "GET",
    path,
    admit,
    handle: () => Effect.map(Effect.forEach(pipelines, shown), (pipelines) => json({ pipelines }))
  })
  yield* host.route({ method: "GET", path: `${path}/:name`, admit, handle: of((one) => Effect.map(shown(one), json)) })
  yield* host.route({ method: "PATCH", path: `${path}/:name`, admit, bodyMax, handle: of(patch) })
})

// ---------------------------------------------------------------------------------------------------- who may

/** By the name the request came for, too: a page of another site that is led here by its own name is not let in. */
const localOnly =
  (listens: string) =>
  ({ headers }: HttpHead): HttpResponse | undefined =>
    isLoopback(listens) && isLoopback((headers.host ?? "").replace(/:\d*$/, ""))
      ? undefined
      : problem(403, "forbidden", "without http.admin.key only this machine, by its own name, may do that")

const withKey = (key: Redacted.Redacted<string>) => {
  const known = sha256(Redacted.value(key))
  return ({ headers }: HttpHead): HttpResponse | undefined => {
    const given = /^Bearer +(\S+)$/i.exec(headers.authorization ?? "")?.[1]
    if (given !== undefined && timingSafeEqual(sha256(given), known)) return undefined
    const denied = problem(401, "unauthorized", `expected ${given === undefined ? "a" : "another"} Bearer key`)
    return { ...denied, headers: { ...denied.headers, "www-authenticate": "Bearer" } }
  }
}

const sha256 = (text: string): Buffer => createHash("sha256").update(text).digest()

// ---------------------------------------------------------------------------------------------------- what is changed

const decode = Schema.decodeUnknownExit(Body)

const patch = (one: Supervised, { body }: HttpRequest): Ready<HttpResponse> => {
  const read = tuningOf(body)
  if ("status" in read) return read
  if (one.state === "ended" || one.state === "failed") {
    return problem(409, "not-running", `the pipeline has ${one.state}`)
  }
  return Effect.gen(function* () {
    yield* tune(one, read)
    const words = wordsOf(read)
    if (words.length > 0) yield* Effect.logInfo(`${one.name}: tuned: ${words.join(", ")}`)
    return json(yield* shown(one))
  })
}

const tuningOf = (body: Uint8Array): Tuning | HttpResponse => {
  const value = Path.parsed(body)
  const exit = decode(value, { errors: "all", onExcessProperty: "error" })
  if (Exit.isSuccess(exit)) {
    const { rate, ...rest } = exit.value
    if (rate === undefined || rate === null) return rate === undefined ? rest : { ...rest, rate }
    const limit = Rate.limitOf(rate)
    return limit instanceof Rate.RateError ? problem(400, "request-invalid", limit.message) : { ...rest, rate: limit }
  }
  const failure = exit.cause.reasons[0]
  const problems = failure?._tag === "Fail" ? problemsOf(failure.error.issue, [], value) : []
  const violations = problems.map(({ expected, found, path }) => ({
    path: path.join("."),
    message: `expected ${expected}, found ${foundText(found)}`
  }))
  const detail = violations.map(({ message, path }) => (path === "" ? message : `${path}: ${message}`)).join("; ")
  return problem(400, "request-invalid", detail, { violations })
}

const foundText = (found: unknown): string => (found === undefined ? "nothing" : JSON.stringify(found).slice(0, 100))

const wordsOf = ({ concurrency, paused, rate }: Tuning): ReadonlyArray<string> => [
  ...(rate === undefined ? [] : [rate === null ? "no rate" : `rate ${rate.messages} per ${rate.perMillis} ms`]),
  ...(concurrency === undefined ? [] : [`concurrency ${concurrency}`]),
  ...(paused === undefined ? [] : [paused ? "paused" : "resumed"])
]

// ---------------------------------------------------------------------------------------------------- what is shown

/** A pipeline as it is now; what is unset is null. `state` is of the pipeline while it runs, otherwise of its restarts. */
const shown = ({ handle, name, paused, plan, state, stats }: Supervised) =>
  Effect.map(handle?.status ?? Effect.succeed(undefined), (status) => ({
    name,
    state: status?.state ?? state,
    paused,
    rate: plan.rate === undefined ? null : { messages: plan.rate.messages, per: `${plan.rate.perMillis} millis` },
    concurrency: plan.concurrency,
    received: stats.received,
    acked: stats.acked,
    buried: stats.buried,
    refused: stats.refused,
    nacked: stats.nacked,
    held: stats.held,
    working: status?.working ?? 0,
    lanes: status?.lanes ?? 0,
    waiting: status?.waiting ?? false,
    away: status?.away ?? [],
    longestLane: status?.longestLane ?? null
  }))

const json = (value: unknown): HttpResponse => ({
  status: 200,
  headers: { "content-type": "application/json", "cache-control": "no-store" },
  body: JSON.stringify(value)
})

const titles: Readonly<Record<number, string>> = {
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  409: "Conflict"
}

/** Source: RFC 9457, with a `code` for programs. */
const problem = (status: number, code: string, detail: string, more: object = {}): HttpResponse => ({
  status,
  headers: { "content-type": "application/problem+json" },
  body: JSON.stringify({ title: titles[status], status, code, detail, ...more })
})
