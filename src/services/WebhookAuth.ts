/** Who may send to a webhook: those who know a secret, or who sign what they send. */
import { Context, Duration, type Effect, Schema } from "effect"
import type { OptionsError } from "./Component.ts"
import * as Fields from "./Fields.ts"
import type { HttpHead, HttpRequest } from "./HttpHost.ts"

/** One secret, or several of which any is good, so that a new one can be brought in before the old one goes. */
const secrets = {
  secret: Schema.optionalKey(Fields.Secret),
  secrets: Schema.optionalKey(Schema.NonEmptyArray(Fields.Secret))
}

/** How far the time of a signature may be from ours, before or after: what is older was replayed. */
const tolerance = Fields.orElse(Fields.Duration, Duration.minutes(5))

/** A word in a header, or in the query of the URL. */
const Passphrase = Schema.Struct({
  type: Schema.Literal("passphrase"),
  passphrase: Fields.Secret,
  /** The name of the header. */
  header: Fields.orElse(Fields.Text, "passphrase"),
  /** The name of the query's parameter; it counts where there is no such header. */
  query: Fields.orElse(Fields.Text, "passphrase")
})

/** Source: https://www.rfc-editor.org/rfc/rfc7617 */
const Basic = Schema.Struct({ type: Schema.Literal("basic"), user: Fields.Text, password: Fields.Secret })

/** Source: https://www.rfc-editor.org/rfc/rfc6750#section-2.1 */
const Bearer = Schema.Struct({ type: Schema.Literal("bearer"), token: Fields.Secret })

/** A header that the sender was told to add, such as those of a Hasura trigger. */
const Header = Schema.Struct({ type: Schema.Literal("header"), name: Fields.Text, value: Fields.Secret })

/**
 * Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md. A secret is
 * `whsec_` and base64; one without it counts as it is written.
 */
const StandardWebhooks = Schema.Struct({ type: Schema.Literal("standard-webhooks"), ...secrets, tolerance })

/** Source: https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries */
const Github = Schema.Struct({ type: Schema.Literal("github"), ...secrets })

/** Source: https://docs.stripe.com/webhooks#verify-manually */
const Stripe = Schema.Struct({ type: Schema.Literal("stripe"), ...secrets, tolerance })

/** The signature of anybody else: an HMAC over the body, in a header. It has no time, so it can be replayed. */
const Hmac = Schema.Struct({
  type: Schema.Literal("hmac"),
  header: Fields.Text,
  ...secrets,
  algorithm: Fields.orElse(Schema.Literals(["sha256", "sha1", "sha512"]), "sha256"),
  encoding: Fields.orElse(Schema.Literals(["hex", "base64"]), "hex"),
  /** What stands before the signature, such as `sha256=`. */
  prefix: Schema.optionalKey(Schema.String)
})

export const Way = Schema.Union([Passphrase, Basic, Bearer, Header, StandardWebhooks, Github, Stripe, Hmac]).annotate({
  expected: "a map with the type passphrase, basic, bearer, header, standard-webhooks, github, stripe or hmac"
})
export type Way = typeof Way.Type

/** The options of a webhook that say who may send to it. */
export const fields = {
  /** One way in or several, of which any is enough. Absent: open to everybody, which only loopback may be. */
  auth: Schema.optionalKey(Schema.Union([Way, Schema.NonEmptyArray(Way)])),
  /** The word for a webhook that everybody may send to, wherever it listens. */
  open: Schema.optionalKey(Fields.Boolean)
}

const Options = Schema.Struct(fields)
export type Options = typeof Options.Type

export const waysOf = ({ auth }: Options): ReadonlyArray<Way> => (auth === undefined ? [] : [auth].flat())

/** Where a webhook stands. */
export interface Where {
  /** What its HTTP server binds. One that is not known counts as one that others can reach. */
  readonly host: string | undefined
  readonly pipeline: string
}

/** Why a request is not let in: always a 401. */
export interface Denial {
  /** For the sender; holds nothing of what it sent. */
  readonly reason: string
  /** The value of `WWW-Authenticate`. */
  readonly challenge?: string | undefined
}

export interface Auth {
  /** What can be told before the body is read; undefined lets it be read. */
  readonly head: (head: HttpHead) => Denial | undefined
  /** Asked once the body is there, after `head` let it be read; undefined lets it in. */
  readonly body: (request: HttpRequest) => Denial | undefined
  /** The lower-case names of headers that hold a secret: they must not stand in what is kept of a request. */
  readonly secretHeaders: ReadonlyArray<string>
}

export class WebhookAuth extends Context.Service<
  WebhookAuth,
  {
    /**
     * Reads the options, and warns where they are open.
     *
     * Fails: `OptionsError` for a secret that is empty, and when others can reach a webhook without `auth`.
     */
    readonly make: (options: Options, where: Where) => Effect.Effect<Auth, OptionsError>
  }
>()("sluice/services/WebhookAuth") {}
