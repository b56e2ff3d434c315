/** Tokens for SASL OAUTHBEARER: one that is given, or one fetched by client credentials and kept until it runs out. */
import { Buffer } from "node:buffer"
import { Redacted } from "effect"
import type { Connection } from "../services/KafkaConnection.ts"

type Oauthbearer = Extract<NonNullable<Connection["sasl"]>, { readonly mechanism: "oauthbearer" }>

/** Units: milliseconds. How long before its end a token is no longer used, and how long one is kept that does not say. */
const earlyMillis = 60_000
const keptMillis = 300_000
const timeoutMillis = 10_000

/** Source: https://www.rfc-editor.org/rfc/rfc6749#section-4.4 */
export const provider = ({ clientId, clientSecret, scope, token, tokenUrl }: Oauthbearer) => {
  let kept: { readonly value: string; readonly until: number } | undefined
  return async (): Promise<{ value: string }> => {
    if (token !== undefined) return { value: Redacted.value(token) }
    if (kept !== undefined && Date.now() < kept.until) return kept
    const secret = clientSecret === undefined ? "" : Redacted.value(clientSecret)
    const pair = `${encodeURIComponent(clientId ?? "")}:${encodeURIComponent(secret)}`
    const answer = await fetch(tokenUrl!, {
      method: "POST",
      headers: { authorization: `Basic ${Buffer.from(pair).toString("base64")}` },
      body: new URLSearchParams({ grant_type: "client_credentials", ...(scope === undefined ? undefined : { scope }) }),
      signal: AbortSignal.timeout(timeoutMillis)
    })
    if (!answer.ok) throw new Error(`the token endpoint ${new URL(tokenUrl!).origin} answered ${answer.status}`)
    const { access_token, expires_in } = (await answer.json()) as { access_token?: unknown; expires_in?: unknown }
    if (typeof access_token !== "string") throw new Error("the token endpoint answered without an access_token")
    const lives = typeof expires_in === "number" ? expires_in * 1000 : keptMillis
    kept = { value: access_token, until: Date.now() + Math.max(lives - earlyMillis, lives / 2) }
    return kept
  }
}
