/** Calls one HTTP endpoint with one method, over and over, as dispatchers and publishers do. */
import { Duration, Effect, Schema, type Scope } from "effect"
import type { OptionsError } from "../services/Component.ts"
import * as Fields from "../services/Fields.ts"
import type { Reply } from "../services/Reply.ts"
import type { Failure } from "./HttpAnswer.ts"
import * as HttpEndpoint from "./HttpEndpoint.ts"
import * as HttpOauth2 from "./HttpOauth2.ts"

export interface Options extends Omit<HttpEndpoint.Options, "tokens" | "words"> {
  /** POST by default. */
  readonly method?: string | undefined
}

/** The options every component that calls has. */
export const fields = {
  url: Fields.Url,
  method: Fields.orElse(Schema.Literals(["POST", "PUT", "PATCH", "DELETE", "GET", "HEAD"]), "POST"),
  headers: Schema.optionalKey(Fields.Headers),
  timeout: Fields.orElse(Fields.Duration, Duration.seconds(30)),
  /** Calls carry an access token, got by client credentials. */
  oauth2: Schema.optionalKey(HttpOauth2.Options)
}

export interface HttpCall {
  /** The endpoint's own headers win over those of one call. */
  readonly call: (
    body: Uint8Array | string | undefined,
    headers?: Readonly<Record<string, string>>
  ) => Effect.Effect<Reply, Failure>
  /** A HEAD request: any answer but 429 and 503 shows that the target is there. */
  readonly probe: Effect.Effect<void, Failure>
}

export const { responseMaxDefault } = HttpEndpoint

export const make = ({ method = "POST", ...options }: Options): Effect.Effect<HttpCall, OptionsError, Scope.Scope> =>
  Effect.map(HttpEndpoint.make(options), (endpoint) => ({
    call: (body, headers) => endpoint.ask({ method, body, headers }),
    probe: endpoint.probe({ method: "HEAD" })
  }))
