/** Asks a Prefect API: no more at once than it bears, with the CSRF token where it wants one, and with its own words. */
import { randomUUID } from "node:crypto"
import { type Duration, Effect, Result, type Scope, Semaphore } from "effect"
import type { OptionsError } from "../services/Component.ts"
import type { Reply } from "../services/Reply.ts"
import * as Gate from "../streams/Gate.ts"
import * as Path from "../streams/Path.ts"
import { blameless, type Conceal, type Failure } from "./HttpAnswer.ts"
import * as HttpEndpoint from "./HttpEndpoint.ts"
import type * as HttpOauth2 from "./HttpOauth2.ts"
import * as PrefectWords from "./PrefectWords.ts"

export interface Options {
  /** Of the API, such as `http://127.0.0.1:4200/api`. */
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly timeout: Duration.Input | undefined
  /** Calls that may be under way at the same time, if the server bears them. */
  readonly connections: number
  readonly hide: Conceal
  /** Takes the credentials out of what the server says. */
  readonly conceal: Conceal
  readonly tokens: HttpOauth2.Tokens | undefined
}

export interface Ask {
  /** Stands in front of each reason, such as the deployment's name. */
  readonly about: string
  readonly method: "GET" | "POST"
  /** From the API's URL on. */
  readonly path: string
  /** JSON. */
  readonly body?: string | undefined
}

export interface PrefectClient {
  /** A good answer's payload is its JSON. Whatever no message is at fault for is a failure, never a refusal. */
  readonly ask: (ask: Ask) => Effect.Effect<Reply, Failure>
  readonly probe: Effect.Effect<void, Failure>
}

/** Units: bytes of an answer; a flow run holds its parameters. */
const responseMax = 16 * 1024 * 1024
/** Units: calls. How many a server is asked at once at first. */
const callsFirst = 4

export const make: (options: Options) => Effect.Effect<PrefectClient, OptionsError, Scope.Scope> = Effect.fnUntraced(
  function* ({ connections, ...options }: Options) {
    const endpoint = yield* HttpEndpoint.make({ ...options, connections, responseMax, words: PrefectWords.said })
    const { origin, pathname } = endpoint.url
    const base = pathname.replace(/\/+$/, "")
    const at = (path: string): URL => new URL(origin + base + path)
    const gate = yield* gateOf(origin + base, connections)

    const once = (request: HttpEndpoint.Request): Effect.Effect<Reply, Failure> =>
      gate.run(
        Effect.catchIf(endpoint.ask(request), isReset, () => endpoint.ask({ ...request, isFresh: true })),
        isOverloaded
      )
    const csrf = csrfOf((client) => once({ method: "GET", url: at(`/csrf-token?client=${client}`) }))

    const ask = ({ about, body, method, path }: Ask): Effect.Effect<Reply, Failure> => {
      const type = body === undefined ? undefined : { "content-type": "application/json" }
      const send = () =>
        once({
          about,
          method,
          url: at(path),
          body,
          headers: { accept: "application/json", ...type, ...csrf.headers() }
        })
      return Effect.suspend(() => {
        const used = csrf.headers()
        return Effect.flatMap(send(), (reply) =>
          isCsrf(reply)
            ? Effect.flatMap(csrf.renew(used), (renewed) => (renewed ? send() : Effect.succeed(reply)))
            : Effect.succeed(reply)
        )
      }).pipe(Effect.flatMap((reply) => understood(about, reply)))
    }
    return { ask, probe: endpoint.probe({ method: "GET", url: at("/health") }) }
  }
)

/** The request may have come through or not; all that is asked of Prefect may be asked twice. */
const isReset = ({ presence }: Failure): boolean => presence === "reset"

const isOverloaded = ({ presence }: Failure): boolean => presence === "busy" || presence === "reset"

// ---------------------------------------------------------------------------------------------------- answers

const understood = (about: string, reply: Reply): Effect.Effect<Reply, Failure> => {
  const { kind, payload, reason = "refused", status = 0 } = reply
  if (kind === "refused") return isOurs(status) ? blameless(reason) : Effect.succeed(reply)
  const json = Result.try(() => JSON.parse(new TextDecoder().decode(payload as Uint8Array)) as unknown)
  return Result.isSuccess(json)
    ? Effect.succeed({ ...reply, payload: json.success })
    : blameless(`${about}: Prefect answered ${status} without JSON: is this the URL of its API?`)
}

/** A redirect, or credentials that are not enough: the config is wrong, or a key was revoked, and no message is at fault. */
const isOurs = (status: number): boolean => status < 400 || status === 401 || status === 403 || status === 407

// ---------------------------------------------------------------------------------------------------- csrf

type CsrfHeaders = Readonly<Record<string, string>> | undefined

const isCsrf = ({ kind, reason = "", status }: Reply): boolean =>
  kind === "refused" && status === 403 && /csrf/i.test(reason)

/** Source: prefect.server.api.csrf_token; a token is good for an hour, and asked for only when one is wanted. */
const csrfOf = (fetch: (client: string) => Effect.Effect<Reply, Failure>) => {
  const client = randomUUID()
  const alone = Semaphore.makeUnsafe(1)
  let headers: CsrfHeaders
  const fetched = Effect.map(fetch(client), ({ kind, payload }) => {
    const token = kind === "accepted" ? Path.follow(Path.parsed(payload), ["token"]) : undefined
    headers = typeof token === "string" ? { "prefect-csrf-token": token, "prefect-csrf-client": client } : undefined
    return headers !== undefined
  })
  return {
    headers: () => headers,
    /** Other than these; false when there are none to be had. */
    renew: (refusedWith: CsrfHeaders): Effect.Effect<boolean, Failure> =>
      alone.withPermits(1)(Effect.suspend(() => (headers === refusedWith ? fetched : Effect.succeed(true))))
  }
}

// ---------------------------------------------------------------------------------------------------- gates

/** One for each API, whoever asks it: what a server bears is not each pipeline's own. */
const gates = new Map<string, { readonly gate: Gate.Gate; users: number }>()

const gateOf = (api: string, connections: number): Effect.Effect<Gate.Gate, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const known = gates.get(api)
      if (known === undefined) {
        const gate = Gate.make({ first: callsFirst, max: connections })
        gates.set(api, { gate, users: 1 })
        return gate
      }
      known.users++
      known.gate.max += connections
      return known.gate
    }),
    (gate) =>
      Effect.sync(() => {
        const known = gates.get(api)!
        gate.max -= connections
        if (--known.users === 0) gates.delete(api)
      })
  )
