/** How an EventRelay server is reached: address, token, certificates and times, the same for the source and the publisher. */
import { Duration, type Redacted, Schema } from "effect"
import * as Fields from "./Fields.ts"

/** A path, from the config's folder, or PEM text; empty counts as absent. */
const Pem = Schema.optionalKey(Fields.Secret)

/** The authority, our certificate and its key: all three, or none for a connection without TLS. */
const TlsOptions = Schema.Struct({
  ca: Pem,
  cert: Pem,
  key: Pem,
  /** The name in the server's certificate, where it is not `host`. */
  serverName: Schema.optionalKey(Fields.Text)
})

/** The connection's options. */
export const fields = {
  host: Fields.Text,
  port: Fields.orElse(Fields.int(1, 65_535), 50_051),
  /** What an API key is known by: base64 of `key:secret`. Absent or empty sends none. */
  token: Schema.optionalKey(Fields.Secret),
  /** In a group of its own, since `key` is a message's key elsewhere. */
  tls: Schema.optionalKey(TlsOptions),
  /** How long one call may take. */
  timeout: Fields.orElse(Fields.Wait, Duration.seconds(30)),
  /** How often an idle connection is asked whether it still is one. */
  keepalive: Fields.orElse(Fields.Wait, Duration.seconds(30))
}

const Options = Schema.Struct(fields)
export type Options = typeof Options.Type

export interface Tls {
  /** PEM texts. */
  readonly ca: Redacted.Redacted<string>
  readonly cert: Redacted.Redacted<string>
  readonly key: Redacted.Redacted<string>
  readonly serverName: string | undefined
}

/** A connection, with everything read and checked. */
export interface Connection {
  readonly host: string
  readonly port: number
  readonly token: Redacted.Redacted<string> | undefined
  readonly tls: Tls | undefined
  /** Units: milliseconds. */
  readonly callMillis: number
  readonly keepaliveMillis: number
}
