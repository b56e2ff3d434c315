/** Lets a request of the gateway in by who sends it, and has a line written for each registration. */
import { Effect } from "effect"
import type { Access, Denial, Right } from "../services/GatewayAccess.ts"
import type { HttpRequest, HttpResponse } from "../services/HttpHost.ts"
import { later } from "../services/Ready.ts"
import * as Path from "./Path.ts"

export interface Guarded {
  /** What the request wants to do. */
  readonly right: Right
  /** Whose events it is about; absent: those of the client in its path. */
  readonly clients?: (request: HttpRequest) => ReadonlyArray<string>
  readonly handle: (request: HttpRequest) => Effect.Effect<HttpResponse>
  /** Whether it registers a schema. */
  readonly registers?: boolean
}

/** `denied` says a denial in the words of its route; the headers that go with it are added. */
export const guarded =
  (
    access: Access,
    { clients = ofPath, handle, registers = false, right }: Guarded,
    denied: (denial: Denial) => HttpResponse
  ) =>
  (request: HttpRequest): Effect.Effect<HttpResponse> => {
    const { headers, params } = request
    const answered = Effect.flatMap(denialOf(access, request, clients(request), right), (denial) =>
      denial === undefined ? handle(request) : Effect.succeed(withHeaders(denied(denial), denial))
    )
    if (!registers) return answered
    return Effect.tap(answered, (response) =>
      access.audit({
        headers,
        client: params.client ?? "",
        event: params.event ?? "",
        outcome: outcomes[response.status] ?? "refused",
        ...versionOf(response)
      })
    )
  }

const ofPath = ({ params }: HttpRequest): ReadonlyArray<string> => [params.client ?? ""]

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
