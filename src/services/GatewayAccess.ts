/** Who may use an event gateway: API keys or tokens per client, how often, and the record of what was registered. */
import { Context, type Effect, Schema } from "effect"
import type { OptionsError } from "./Component.ts"
import * as Fields from "./Fields.ts"
import type { Ready } from "./Ready.ts"

/** What a request wants to do. The names are the scopes of keys and tokens. */
export const Right = Schema.Literals(["send", "register", "read"])
export type Right = typeof Right.Type
export const rights = Right.literals

const TextOrList = Schema.Union([Schema.NonEmptyArray(Fields.Text), Fields.Text])

const Jwt = Schema.Struct({
  /** The keys that sign tokens: a URL, or a file that starts at the config's folder. */
  jwks: Fields.Text,
  issuer: Schema.optionalKey(TextOrList),
  audience: Schema.optionalKey(TextOrList),
  /** The claim that names the client; `*` in it stands for all clients. */
  clientClaim: Fields.orElse(Fields.Text, "sub"),
  /** The claim with the scopes: a list, or text with spaces between them. */
  scopeClaim: Fields.orElse(Fields.Text, "scope")
})
export type Jwt = typeof Jwt.Type

/** The options of a gateway that say who may use it. */
export const fields = {
  /** Absent: open to everybody, which only a server on loopback may be. */
  access: Schema.optionalKey(
    Schema.Struct({
      /** A file of keys, made by `sluice key add`; its path starts at the config's folder. */
      keys: Schema.optionalKey(Fields.Text),
      jwt: Schema.optionalKey(Jwt),
      /** The word for a gateway that everybody may use, wherever it listens. */
      open: Schema.optionalKey(Fields.Boolean)
    })
  ),
  /** For each client; absent: no limit. */
  rate: Schema.optionalKey(
    Schema.Struct({
      /** Units: requests per second. */
      perSecond: Fields.Positive,
      /** Units: requests at once; absent: those of one second. */
      burst: Schema.optionalKey(Fields.int(1, 1_000_000))
    })
  )
}

const Options = Schema.Struct(fields)
export type Options = typeof Options.Type

/** Where a gateway stands. */
export interface Where {
  /** The folder of the config, from which relative paths start. */
  readonly folder: string
  /** What its HTTP server binds. One that is not known counts as one that others can reach. */
  readonly host: string | undefined
  readonly pipeline: string
  /** Puts the names of variables back where their values stand in a text that is logged. */
  readonly hide?: ((text: string) => string) | undefined
}

/** Why a request is not let in. */
export interface Denial {
  /**
   * 401 nobody known · 403 known, but this is not theirs to do · 429 too often · 503 it cannot be told just now, since
   * the keys that sign tokens cannot be had.
   */
  readonly status: 401 | 403 | 429 | 503
  /** For the client; holds nothing of what it sent. */
  readonly reason: string
  /** The value of `Retry-After`, with 429 and 503. */
  readonly retryAfterSeconds?: number | undefined
  /** The value of `WWW-Authenticate`. Source: https://www.rfc-editor.org/rfc/rfc6750#section-3 */
  readonly challenge?: string | undefined
}

/** An attempt to register a schema, with what became of it. */
export interface Registration {
  /** Of the request, the same object that was checked: it tells who it was. */
  readonly headers: Headers
  readonly client: string
  readonly event: string
  /** That was made, where one was. */
  readonly version?: number | undefined
  /** Such as `registered`, `unchanged`, `incompatible` or `denied`. */
  readonly outcome: string
  /** The address of the peer. */
  readonly remote: string | undefined
}

/** The headers that credentials come in: they must not stand in what is kept or passed on of a request. */
export const credentialHeaders: ReadonlyArray<string> = ["authorization", "x-api-key"]

/** By their lower-case names. */
export type Headers = Readonly<Record<string, string>>

export interface Access {
  /** Whether it is somebody at all, where only the body tells what a request is about; undefined lets it be read. */
  readonly known: (headers: Headers) => Ready<Denial | undefined>
  /**
   * Asked once for each request and client, before anything is done for it; undefined lets it in. An empty client is
   * nobody's: whoever is known and has the right may ask that.
   */
  readonly check: (headers: Headers, client: string, right: Right) => Ready<Denial | undefined>
  /** Writes one line of the audit log. Called after `check` for every attempt, also one that was denied. */
  readonly audit: (registration: Registration) => Effect.Effect<void>
}

export class GatewayAccess extends Context.Service<
  GatewayAccess,
  {
    /**
     * Reads what the options name and warns where they are open. Connects to nothing.
     *
     * Fails: `OptionsError` when a file cannot be used, and when a server that others can reach has no access options.
     */
    readonly make: (options: Options, where: Where) => Effect.Effect<Access, OptionsError>
  }
>()("sluice/services/GatewayAccess") {}
