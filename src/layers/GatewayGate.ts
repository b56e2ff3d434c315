/** Decides on each request of a gateway: who it is, whether this is theirs to do, and whether they ask too often. */
import { type Clock, Effect } from "effect"
import type { Denial, Headers, Jwt, Right } from "../services/GatewayAccess.ts"
import { andThen, type Ready } from "../services/Ready.ts"
import type { Buckets } from "../streams/GatewayRate.ts"
import type { Tokens } from "./GatewayJwt.ts"
import * as GatewayKeys from "./GatewayKeys.ts"

export interface Parts {
  readonly clock: Clock.Clock
  /** As they are just now; undefined where none are configured. */
  readonly keys: (() => GatewayKeys.Keys) | undefined
  readonly tokens: (Pick<Jwt, "clientClaim" | "scopeClaim"> & Tokens) | undefined
  readonly buckets: Buckets | undefined
  /** Whether everybody may do everything. */
  readonly open: boolean
}

/** Whoever a credential belongs to. */
interface Identity {
  readonly who: string
  readonly what: "key" | "token"
  readonly client: string | undefined
  readonly scopes: ReadonlyArray<string>
}

type Named = Identity | { readonly denial: Denial }

/** Units: characters. No token of a common issuer is longer, and reading a longer one is work for nothing. */
const credentialMax = 8192
/** Units: seconds. */
const awaySeconds = 5

export class Gate {
  private readonly parts: Parts
  /** Who sent which request, for the audit log. */
  private readonly senders = new WeakMap<Headers, string>()

  constructor(parts: Parts) {
    this.parts = parts
  }

  check(headers: Headers, client: string, right: Right): Ready<Denial | undefined> {
    if (this.parts.open) return this.limit(client)
    return andThen(this.name(headers), (named) => this.admit(named, headers, client, right))
  }

  known(headers: Headers): Ready<Denial | undefined> {
    if (this.parts.open) return undefined
    return andThen(this.name(headers), (named) => ("denial" in named ? named.denial : undefined))
  }

  who(headers: Headers): string {
    return this.parts.open ? "anybody" : (this.senders.get(headers) ?? "nobody known")
  }

  private admit(named: Named, headers: Headers, client: string, right: Right): Denial | undefined {
    if ("denial" in named) return named.denial
    this.senders.set(headers, named.who)
    // A request that names nobody, as what cannot be read, is none of another client's: its answer says what is wrong.
    const isOwn = client === "" || named.client === GatewayKeys.everyClient || named.client === client
    if (!isOwn) {
      return { status: 403, reason: `the ${named.what} is for another client`, challenge: insufficient(right) }
    }
    if (!named.scopes.includes(right)) {
      return {
        status: 403,
        reason: `the ${named.what} does not have the scope ${right}`,
        challenge: insufficient(right)
      }
    }
    return this.limit(client === "" ? (named.client ?? "") : client)
  }

  private limit(client: string): Denial | undefined {
    const { buckets, clock } = this.parts
    const millis = buckets?.take(client, clock.currentTimeMillisUnsafe()) ?? 0
    if (millis === 0) return undefined
    return { status: 429, reason: "too many requests of this client", retryAfterSeconds: Math.ceil(millis / 1000) }
  }

  private name(headers: Headers): Ready<Named> {
    const { keys, tokens } = this.parts
    const bearer = /^bearer +(\S+)\s*$/i.exec(headers.authorization?.slice(0, credentialMax + 100) ?? "")?.[1]
    const apiKey = headers["x-api-key"]
    if (bearer !== undefined && apiKey !== undefined) return denied("the request has two credentials")
    const credential = apiKey ?? bearer
    if (credential === undefined) {
      const reason = keys === undefined ? "a token is needed" : "a key is needed"
      return { denial: { status: 401, reason, challenge: realm } }
    }
    if (credential.length > credentialMax) return denied("the credential is too long")
    if (apiKey !== undefined || credential.startsWith(GatewayKeys.prefix)) return this.nameOfKey(credential)
    return tokens === undefined ? denied("the key is not valid") : this.nameOfToken(credential, tokens)
  }

  private nameOfKey(credential: string): Named {
    const { clock, keys } = this.parts
    const verdict =
      keys === undefined ? undefined : GatewayKeys.verify(keys(), credential, clock.currentTimeMillisUnsafe())
    switch (verdict?._tag) {
      case "Good": {
        const { client, id, scopes } = verdict.line
        return { who: `key ${id}`, what: "key", client, scopes }
      }
      case "Expired":
        return denied("the key has expired")
      case "Revoked":
        return denied("the key has been revoked")
      default:
        return denied("the key is not valid")
    }
  }

  private nameOfToken(token: string, { check, clientClaim, scopeClaim }: NonNullable<Parts["tokens"]>): Ready<Named> {
    return Effect.map(check(token), (checked): Named => {
      if (checked._tag === "Bad") return denied(checked.reason)
      if (checked._tag === "Away") {
        const reason = "tokens cannot be checked just now"
        return { denial: { status: 503, reason, retryAfterSeconds: awaySeconds } }
      }
      const { claims } = checked
      const client = textOf(claims, clientClaim)
      return {
        who: `token of ${textOf(claims, "sub") ?? client ?? "nobody named"}`,
        what: "token",
        client,
        scopes: scopesOf(claims, scopeClaim)
      }
    })
  }
}

const realm = 'Bearer realm="sluice"'
const insufficient = (right: Right): string => `${realm}, error="insufficient_scope", scope="${right}"`

const denied = (reason: string) => ({
  denial: { status: 401, reason, challenge: `${realm}, error="invalid_token"` } as const
})

type Claims = Readonly<Record<string, unknown>>

const textOf = (claims: Claims, name: string): string | undefined => {
  const claim = Object.hasOwn(claims, name) ? claims[name] : undefined
  return typeof claim === "string" && claim !== "" ? claim : undefined
}

const scopesOf = (claims: Claims, name: string): ReadonlyArray<string> => {
  const claim = Object.hasOwn(claims, name) ? claims[name] : undefined
  if (typeof claim === "string") return claim.split(/\s+/)
  return Array.isArray(claim) ? claim.filter((one) => typeof one === "string") : []
}
