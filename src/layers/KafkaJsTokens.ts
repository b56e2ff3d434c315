/** Logs connections of kafkajs in: by password, or by a token that is given or fetched and kept until it runs out. */
import { Buffer } from "node:buffer"
import { createRequire } from "node:module"
import { Redacted } from "effect"
import type { AuthenticationProviderArgs, Mechanism } from "kafkajs"
import { KafkaError, type Trouble } from "../services/Kafka.ts"
import type { Connection } from "../services/KafkaConnection.ts"
import { words } from "../streams/Runner.ts"

const vendor = createRequire(import.meta.url)

type Sasl = NonNullable<Connection["sasl"]>
type Oauthbearer = Extract<Sasl, { readonly mechanism: "oauthbearer" }>
type Provider = (credentials: { username: string; password: string }) => Mechanism["authenticationProvider"]

/** Units: milliseconds. How long before its end a token is no longer used, and how long one is kept that does not say. */
const earlyMillis = 60_000
const keptMillis = 300_000
const timeoutMillis = 10_000

/** `isAway` tells a connection that breaks on the way from a refusal. */
export const mechanismOf = (sasl: Sasl, isAway: (thrown: unknown) => boolean): Mechanism => {
  const { mechanism } = sasl
  if (mechanism === "oauthbearer") return { mechanism, authenticationProvider: bearing(sasl) }
  const provider = vendor(`kafkajs/src/broker/saslAuthenticator/${mechanism.replace("-sha-", "")}`) as Provider
  const password = Redacted.value(sasl.password)
  return { mechanism, authenticationProvider: truthful(provider({ username: sasl.username, password }), isAway) }
}

/** The vendor calls all that goes wrong on the way a refusal. */
const truthful =
  (provider: Mechanism["authenticationProvider"], isAway: (thrown: unknown) => boolean): typeof provider =>
  (given) => {
    let broken: unknown
    const saslAuthenticate: typeof given.saslAuthenticate = (exchange) =>
      given.saslAuthenticate(exchange).catch((thrown) => {
        broken = thrown
        throw thrown
      })
    const { authenticate } = provider({ ...given, saslAuthenticate })
    return {
      authenticate: () =>
        authenticate().catch((thrown) => {
          throw broken !== undefined && isAway(broken) ? broken : thrown
        })
    }
  }

// ---------------------------------------------------------------------------------------------------- bearing

/**
 * The vendor's own way takes a broker's refusal for a success, and fails at the next request with a connection that is
 * closed. Fails: `KafkaError`. Source: https://www.rfc-editor.org/rfc/rfc7628#section-3
 */
const bearing =
  (sasl: Oauthbearer): Mechanism["authenticationProvider"] =>
  ({ saslAuthenticate }) => ({
    authenticate: async () => {
      const tokens = tokensOf(sasl)
      const token = await tokens.token()
      const refusal = await say(saslAuthenticate, `n,,\u0001auth=Bearer ${token}\u0001\u0001`)
      if (refusal === "") return
      // Another try fetches another one.
      tokens.forget(token)
      // The broker has refused us in the server's words, and wants them acknowledged before it says so in Kafka's.
      await say(saslAuthenticate, "\u0001").catch(() => {})
      throw new KafkaError({ trouble: "refused", reason: `the broker refuses the token: ${statusOf(refusal, token)}` })
    }
  })

/** Returns the broker's answer, which is empty when it has nothing against us. */
const say = async (saslAuthenticate: AuthenticationProviderArgs["saslAuthenticate"], text: string): Promise<string> => {
  const request = { encode: async () => framed(Buffer.from(text)) }
  const response = { decode: async (raw: Buffer) => raw.subarray(4).toString(), parse: async (said: string) => said }
  return (await (saslAuthenticate as unknown as Exchange)({ request, response })) ?? ""
}

/** What the vendor does with what it is given; its types ask for more. */
type Exchange = (exchange: {
  readonly request: { readonly encode: () => Promise<Buffer> }
  readonly response: {
    readonly decode: (raw: Buffer) => Promise<string>
    readonly parse: (said: string) => Promise<string>
  }
}) => Promise<string | undefined>

const framed = (bytes: Buffer): Buffer => {
  const length = Buffer.alloc(4)
  length.writeInt32BE(bytes.length)
  return Buffer.concat([length, bytes])
}

/** The server's words are JSON with a status such as `invalid_token`. */
const statusOf = (refusal: string, token: string): string => {
  const { status } = fieldsOf(refusal)
  return words(typeof status === "string" ? status : refusal).replaceAll(token, "<token>")
}

// ---------------------------------------------------------------------------------------------------- tokens

interface Tokens {
  /** The token there is, or a new one: one request for all that wait for it. */
  readonly token: () => Promise<string>
  readonly forget: (token: string) => void
}

/** All connections with the same options share their token. */
const shared = new WeakMap<Oauthbearer, Tokens>()

const tokensOf = (sasl: Oauthbearer): Tokens => {
  const known = shared.get(sasl)
  if (known !== undefined) return known
  const made = make(sasl)
  shared.set(sasl, made)
  return made
}

const make = (sasl: Oauthbearer): Tokens => {
  if (sasl.token !== undefined) {
    const token = Redacted.value(sasl.token)
    return { token: () => Promise.resolve(token), forget: () => {} }
  }
  let kept: Kept | undefined
  let flight: Promise<Kept> | undefined
  const fetched = async (): Promise<Kept> => {
    try {
      kept = await fetchToken(sasl)
      return kept
    } finally {
      flight = undefined
    }
  }
  return {
    token: async () => {
      if (kept !== undefined && Date.now() < kept.until) return kept.token
      flight ??= fetched()
      return (await flight).token
    },
    forget: (token) => {
      if (kept?.token === token) kept = undefined
    }
  }
}

interface Kept {
  readonly token: string
  /** Units: milliseconds since 1970. */
  readonly until: number
}

/** Source: https://www.rfc-editor.org/rfc/rfc6749#section-4.4 */
const fetchToken = async ({ clientId = "", clientSecret, scope, tokenUrl = "" }: Oauthbearer): Promise<Kept> => {
  const url = new URL(tokenUrl)
  const where = `no token: ${url.origin}${url.pathname}`
  // What stands before the @ is neither sent nor shown: the client has its own id and secret.
  url.username = url.password = ""
  const pair = [clientId, clientSecret === undefined ? "" : Redacted.value(clientSecret)].map(encoded).join(":")
  const request: RequestInit = {
    method: "POST",
    headers: { accept: "application/json", authorization: `Basic ${Buffer.from(pair).toString("base64")}` },
    body: new URLSearchParams({ grant_type: "client_credentials", ...(scope === undefined ? undefined : { scope }) }),
    // It would get the secret, too.
    redirect: "manual",
    signal: AbortSignal.timeout(timeoutMillis)
  }
  const answer = await fetch(url, request)
    .then(async (response) => ({ status: response.status, text: await response.text() }))
    .catch((thrown: Error) => fail("away", `${where} cannot be reached: ${words(thrown.cause ?? thrown)}`))
  const { access_token, error, expires_in } = fieldsOf(answer.text)
  if (answer.status !== 200) {
    const isAway = answer.status >= 500 || answer.status === 429 || answer.status === 408
    // Of its words only the code, which is one of a few: the rest may be anything.
    const code = typeof error === "string" && /^[a-z_]{1,40}$/.test(error) ? `: ${error}` : ""
    return fail(isAway ? "away" : "refused", `${where} answered ${answer.status}${code}`)
  }
  if (typeof access_token !== "string" || !/^[\x21-\x7e]+$/.test(access_token)) {
    return fail("refused", `${where} answered without an access_token`)
  }
  const seconds = Number(expires_in ?? Number.NaN)
  const lives = Number.isFinite(seconds) ? Math.max(0, seconds * 1000) : keptMillis
  return { token: access_token, until: Date.now() + Math.max(lives - earlyMillis, lives / 2) }
}

const fail = (trouble: Trouble, reason: string): never => {
  throw new KafkaError({ trouble, reason })
}

/** As in a form. Source: https://www.rfc-editor.org/rfc/rfc6749#section-2.3.1 */
const encoded = (text: string): string => new URLSearchParams([["", text]]).toString().slice(1)

const fieldsOf = (text: string): Readonly<Record<string, unknown>> => {
  try {
    const read: unknown = JSON.parse(text)
    return typeof read === "object" && read !== null ? (read as Readonly<Record<string, unknown>>) : {}
  } catch {
    return {}
  }
}
