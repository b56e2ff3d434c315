/** How a Kafka cluster is reached: brokers, TLS and SASL, the same for sources, publishers and dead letters. */
import { Duration, type Redacted, Schema } from "effect"
import * as Fields from "./Fields.ts"

/** Broker addresses, as a list or as text with commas; a port of 9092 may be left out. */
export const Brokers = Schema.Union([Schema.NonEmptyArray(Fields.Text), Fields.Text])

/** PEM text, or the path of a file that holds it (relative to the config). */
const Pem = Fields.Secret

export const Tls = Schema.Struct({
  ca: Schema.optionalKey(Pem),
  cert: Schema.optionalKey(Pem),
  key: Schema.optionalKey(Pem),
  /** A PKCS #12 file with key and certificate. */
  pfx: Schema.optionalKey(Fields.Text),
  passphrase: Schema.optionalKey(Fields.Secret),
  /** Whether the broker's certificate is checked. */
  verify: Fields.orElse(Fields.Boolean, true),
  /** Whether its name must be the broker's. */
  verifyHost: Fields.orElse(Fields.Boolean, true)
})

const Password = {
  username: Fields.Text,
  password: Fields.Secret
}

export const Sasl = Schema.Union([
  Schema.Struct({ mechanism: Schema.Literals(["plain", "scram-sha-256", "scram-sha-512"]), ...Password }),
  Schema.Struct({
    mechanism: Schema.Literal("oauthbearer"),
    /** A token as it is, or where to get one by client credentials. */
    token: Schema.optionalKey(Fields.Secret),
    tokenUrl: Schema.optionalKey(Fields.Url),
    clientId: Schema.optionalKey(Fields.Text),
    clientSecret: Schema.optionalKey(Fields.Secret),
    scope: Schema.optionalKey(Fields.Text)
  })
])

/** The connection's options without the brokers, which a publisher may take from its source. */
export const fields = {
  tls: Schema.optionalKey(Schema.Union([Fields.Boolean, Tls])),
  sasl: Schema.optionalKey(Sasl),
  clientId: Fields.orElse(Fields.Text, "sluice"),
  /** How long to wait for a connection, and for an answer. */
  connectTimeout: Fields.orElse(Fields.Duration, Duration.seconds(10)),
  requestTimeout: Fields.orElse(Fields.Duration, Duration.seconds(30)),
  /** How often topics and partitions are looked up again. */
  metadataAge: Fields.orElse(Fields.Duration, Duration.minutes(5))
}

const Options = Schema.Struct(fields)
export type Options = typeof Options.Type

/** A connection, with everything read and checked. */
export interface Connection {
  /** Units: `host:port`. */
  readonly brokers: ReadonlyArray<string>
  readonly clientId: string
  readonly tls: Tls | undefined
  readonly sasl: typeof Sasl.Type | undefined
  /** Units: milliseconds. */
  readonly connectMillis: number
  readonly requestMillis: number
  readonly metadataMillis: number
}

/** PEM texts and bytes, no longer paths. */
export interface Tls {
  readonly ca: Redacted.Redacted<string> | undefined
  readonly cert: Redacted.Redacted<string> | undefined
  readonly key: Redacted.Redacted<string> | undefined
  readonly pfx: Redacted.Redacted<Uint8Array> | undefined
  readonly passphrase: Redacted.Redacted<string> | undefined
  readonly verify: boolean
  readonly verifyHost: boolean
}
