/** How a ZeroMQ socket meets its peers: addresses, keys and intervals, the same for the source and the publisher. */
import { Duration, Schema } from "effect"
import * as Fields from "./Fields.ts"

/** One address or several. */
export const Addresses = Schema.Union([Schema.NonEmptyArray(Fields.Text), Fields.Text])

/** CURVE: a server has its secret key, a client the server's public one. Units: Z85 text of 40 characters. */
export const Curve = Schema.Struct({
  server: Fields.orElse(Fields.Boolean, false),
  serverKey: Schema.optionalKey(Fields.Text),
  publicKey: Schema.optionalKey(Fields.Text),
  secretKey: Schema.optionalKey(Fields.Secret)
})

/** The options of both. */
export const fields = {
  /** One of the two: `tcp://host:port` or `ipc://path`. */
  connect: Schema.optionalKey(Addresses),
  bind: Schema.optionalKey(Addresses),
  curve: Schema.optionalKey(Curve),
  /** How long to wait before a connection is tried again; doubled from `min` to `max`. */
  reconnect: Fields.group({
    min: Fields.orElse(Fields.Duration, Duration.millis(100)),
    max: Fields.orElse(Fields.Duration, Duration.seconds(5))
  }),
  /** Pings that find a dead peer where TCP's own do not; both sides need libzmq 4.2 or newer. */
  heartbeat: Schema.optionalKey(
    Schema.Struct({
      interval: Fields.Duration,
      timeout: Schema.optionalKey(Fields.Duration)
    })
  )
}

const Options = Schema.Struct(fields)
export type Options = typeof Options.Type
