/** Lets a request of the gateway in by who sends it, and has a line written for each registration. */
import { Effect } from "effect"
import type { Access, Denial, Right } from "../services/GatewayAccess.ts"
import type { HttpHead, HttpRequest, HttpResponse, Route } from "../services/HttpHost.ts"
import { andThen, later, type Ready } from "../services/Ready.ts"
import * as Path from "./Path.ts"

export interface Guarded {
  /** What the request wants to do. */
  readonly right: Right
  /** Whose events it is about; absent: those of the client in its path. */
  readonly clients?: (request: HttpRequest) => ReadonlyArray<string>
  readonly handle: (request: HttpRequest) => Ready<HttpResponse>
  /** Whether it registers a schema. */
  readonly registers?: boolean
}

/** What a route is, beside its place. */
export interface Door extends Pick<Route, "handle"> {
  readonly admit: NonNullable<Route["admit"]>
}

/** Whom the path names is let in, or not, by the head. `denied` says a denial in the words of its route. */
export const guarded = (
  access: Access,
  { clients, handle, registers = false, right }: Guarded,
  denied: (denial: Denial) => HttpResponse
): Door => {
  const answerTo = (denial: Denial): HttpResponse => withHeaders(denied(denial), denial)
  const audited = (head: HttpHead, response: HttpResponse): Ready<HttpResponse> =>
    registers ? Effect.as(access.audit(registrationOf(head, response)), response) : response
  const admit = (head: HttpHead): Ready<HttpResponse | undefined> => {
    const { headers, params } = head
    const denial = clients === undefined ? access.check(headers, params.client ?? "", right) : access.known(headers)
    return andThen(denial, (denial) => (denial === undefined ? undefined : audited(head, answerTo(denial))))
  }
  if (clients === undefined) {
    return { admit, handle: (request) => andThen(handle(request), (response) => audited(request, response)) }
  }
  return {
    admit,
    handle: (request) =>
      Effect.flatMap(denialOf(access, request, clients(request), right), (denial) =>
        denial === undefined ? later(handle(request)) : Effect.succeed(answerTo(denial))
      )
  }
}

/** The first of the clients that it may not speak for; a request that names none speaks for nobody known. */
const denialOf = Effect.fnUntraced(function* (
  access: Access,
  { headers }: HttpRequest,
  clients: ReadonlyArray<string>,
  right: Right
): Effect.fn.Return<Denial | undefined> {
  for (const client of clients.length === 0 ? [""] : new Set(clients)) {
    const denial = yield* later(access.check(headers, client, right))
    if (denial !== undefined) return denial
  }
  return undefined
})

const withHeaders = (response: HttpResponse, { challenge, retryAfterSeconds }: Denial): HttpResponse => ({
  ...response,
  headers: {
    ...response.headers,
    ...(challenge === undefined ? undefined : { "www-authenticate": challenge }),
    ...(retryAfterSeconds === undefined ? undefined : { "retry-after": `${retryAfterSeconds}` })
  }
})

const registrationOf = ({ headers, params, remote }: HttpHead, response: HttpResponse) => ({
  headers,
  client: params.client ?? "",
  event: params.event ?? "",
  outcome: outcomes[response.status] ?? "refused",
  remote,
  ...versionOf(response)
})

const outcomes: Readonly<Record<number, string>> = {
  200: "registered",
  201: "registered",
  401: "denied",
  403: "denied",
  409: "incompatible",
  429: "denied",
  503: "not now"
}

const versionOf = ({ body }: HttpResponse): { readonly version?: number } => {
  const version = typeof body === "string" ? Path.follow(Path.parsed(body), ["version"]) : undefined
  return typeof version === "number" ? { version } : {}
}
