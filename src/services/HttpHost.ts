/** The one HTTP server of a process, and the routes that parts of it answer. */
import { Context, type Effect, Schema, type Scope } from "effect"
import type { Ready } from "./Ready.ts"

/** The route or the server cannot be had: the path is taken, or the address cannot be bound. */
export class HttpHostError extends Schema.TaggedError<HttpHostError>()("HttpHostError", {
  reason: Schema.String
}) {
  override get message(): string {
    return this.reason
  }
}

/** A request before its body. */
export interface HttpHead {
  readonly method: string
  /** Without the query. */
  readonly path: string
  readonly params: Readonly<Record<string, string>>
  readonly query: URLSearchParams
  /** By their lower-case names. */
  readonly headers: Readonly<Record<string, string>>
  /** The address of the peer; undefined when it has gone. */
  readonly remote?: string | undefined
}

export interface HttpRequest extends HttpHead {
  readonly body: Uint8Array
}

export interface HttpResponse {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>> | undefined
  readonly body?: Uint8Array | string | undefined
}

export interface Route {
  readonly method: string
  /** Such as `/hooks/github` or `/:client/:event/send_event`. */
  readonly path: string
  /** Units: bytes. A larger body is answered 413 before the handler sees it. */
  readonly bodyMax?: number | undefined
  /** Asked before the body is read: an answer refuses the request, and its body is let by. */
  readonly admit?: ((head: HttpHead) => Ready<HttpResponse | undefined>) | undefined
  /** Its effect is interrupted when the client goes away. */
  readonly handle: (request: HttpRequest) => Ready<HttpResponse>
}

export class HttpHost extends Context.Service<
  HttpHost,
  {
    /** Answers a route while the scope is open; afterwards the path answers 503 with Retry-After until it is taken again. */
    readonly route: (route: Route) => Effect.Effect<void, HttpHostError, Scope.Scope>
    /** Where it listens (port 0 where only a check is made); undefined when the config has no `http`. */
    readonly address: { readonly host: string; readonly port: number } | undefined
  }
>()("sluice/services/HttpHost") {}
